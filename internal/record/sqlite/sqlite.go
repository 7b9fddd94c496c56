// Package sqlite opens the one database file in which leastkey keeps its memory, and refuses it rather than repair it.
//
// The file holds no secret, but who can write it decides what leastkey takes for its own. So the file is 0600 and its owner's, its
// folder is writable by nobody else, and what looks damaged or foreign is left as it is for a person to look at.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// busyTimeout is how long a statement waits for another process's transaction; ours last milliseconds.
const busyTimeout = 10 * time.Second

// lockPoll is how often the lock around the making of a new file is tried again.
const lockPoll = 10 * time.Millisecond

// Primary result codes of SQLite (https://www.sqlite.org/rescode.html).
const (
	codeBusy    = 5
	codeCorrupt = 11
	codeNotADB  = 26
)

// Open opens the database at path and makes it if there is none; the folder, too, is made if missing. Every commit is on disk
// before it returns (synchronous=FULL). The handle has a single connection: within a transaction use only that transaction, and
// close rows before the next statement.
//
// fault.Refused: a link, another owner, a wider mode, another program's database, or one of a later version of leastkey.
// fault.Corrupt: not a database, or a damaged one; it is not touched.
func Open(ctx context.Context, path string) (*sql.DB, error) {
	all, err := embedded()
	if err != nil {
		return nil, err
	}
	return open(ctx, path, all)
}

func open(ctx context.Context, path string, all []migration) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "find database " + path, Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &fault.Error{Code: fault.Unavailable, Op: "make folder of database", Err: err}
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(ctx, path, all); err != nil {
			return nil, err
		}
	}
	// The checks go by name, never by opening: closing any descriptor of a file drops this process's POSIX locks on it, and so
	// those of another handle that SQLite holds (https://www.sqlite.org/howtocorrupt.html, section 2.2).
	for _, name := range []string{path, path + "-wal", path + "-shm", path + "-journal"} {
		if err := checkFile(name, name == path); err != nil {
			return nil, err
		}
	}
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	if err := accept(ctx, db, path, all); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// connect makes the handle; nothing is opened before its first use. mode=rw: SQLite never makes the file, only create does.
func connect(path string) (*sql.DB, error) {
	q := url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"synchronous(FULL)",
		"fullfsync(1)", // macOS: fsync alone leaves the bytes in the drive's cache
		"checkpoint_fullfsync(1)",
		"foreign_keys(1)",
		"trusted_schema(0)",
	}}
	name := filepath.ToSlash(path)
	if !strings.HasPrefix(name, "/") {
		name = "/" + name // C:/… on Windows
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: name, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, explain("open database "+path, err)
	}
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return db, nil
}

// accept reads the whole file once and decides whether it is ours, whole and not from the future.
func accept(ctx context.Context, db *sql.DB, path string, all []migration) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return explain("check database "+path, err)
	}
	if verdict != "ok" {
		return damaged(path, errors.New(verdict))
	}
	if err := upgrade(ctx, db, path, all); err != nil {
		return err
	}
	// Only now, since it writes to the file; the mode stays with the file and holds for every later connection.
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return explain("open database "+path, err)
	}
	return nil
}

// create makes the file under another name, complete, and then gives it its own: a database of ours that is empty or lacks its mark
// is therefore always a damaged one and never one that is being made.
func create(ctx context.Context, path string, all []migration) (err error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			return &fault.Error{Code: fault.Busy, Op: "make database " + path, Err: err, Hint: "another leastkey process is making it"}
		}
		return &fault.Error{Code: fault.Unavailable, Op: "make database " + path, Err: err}
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // another process was faster, or it cannot be looked at: the checks that follow say so
	}
	// A log without its database would be replayed into the new one.
	if _, err := os.Lstat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		return damaged(path, errors.New("its write-ahead log is there, the database itself is not"))
	}
	unfinished := path + ".new"
	for _, leftover := range []string{unfinished, unfinished + "-journal"} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &fault.Error{Code: fault.Unavailable, Op: "remove an unfinished database", Err: err}
		}
	}
	if err := fill(ctx, unfinished, all); err != nil {
		return err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "make database " + path, Err: err}
	}
	return syncFolder(filepath.Dir(path))
}

func fill(ctx context.Context, path string, all []migration) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "make database", Err: err}
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil && runtime.GOOS != "windows" { // an umask may have taken the owner's own bits
		return &fault.Error{Code: fault.Unavailable, Op: "make database", Err: err}
	}
	db, err := connect(path)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, db, path, 0, all), db.Close())
}

// syncFolder flushes the folder, so that the new name survives a power cut. Windows has no such call.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "flush folder of database", Err: err}
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "flush folder of database", Err: err}
	}
	return nil
}

func damaged(path string, cause error) error {
	return &fault.Error{Code: fault.Corrupt, Op: "database " + path + " is damaged", Err: cause,
		Hint: "nothing was changed; keep the file, restore it from a backup or move it away"}
}

// explain turns an error of SQLite into a fault by its result code.
func explain(op string, err error) error {
	f := &fault.Error{Code: fault.Unavailable, Op: op, Err: err}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case codeBusy:
			f.Code, f.Hint = fault.Busy, "another leastkey process is writing; try again"
		case codeCorrupt, codeNotADB:
			f.Code, f.Hint = fault.Corrupt, "nothing was changed; keep the file, restore it from a backup or move it away"
		}
	}
	return f
}
