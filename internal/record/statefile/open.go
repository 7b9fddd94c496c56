package statefile

import (
	"os"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// open opens a file to read it. A database of ours is refused: see [sqlite.Part].
func open(path string) (*os.File, error) {
	if sqlite.Part(path) {
		return nil, fault.New(fault.Refused, path+" is a database of leastkey's", "name another file")
	}
	return os.Open(path)
}
