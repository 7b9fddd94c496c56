package sqlite

import (
	"errors"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Failed gives an error of the database its class, by the primary result codes of SQLite (https://www.sqlite.org/rescode.html); what
// it does not know stays unknown.
func Failed(op string, err error) error {
	f := &fault.Error{Code: fault.Unknown, Op: op, Err: err}
	if e, ok := errors.AsType[interface {
		error
		Code() int
	}](err); ok {
		switch e.Code() & 0xff {
		case 5: // SQLITE_BUSY
			f.Code, f.Hint = fault.Busy, "another leastkey process is writing; try again"
		case 11, 26: // SQLITE_CORRUPT, SQLITE_NOTADB
			f.Code, f.Hint = fault.Corrupt, "keep the file; restore it from a backup"
		}
	}
	return f
}
