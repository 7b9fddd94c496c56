package app

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// otherProcess names the record for the process that TestAnotherProcess is.
const otherProcess = "LEASTKEY_TEST_OTHER_PROCESS"

// TestAnotherProcess is what the test below runs as a process of its own: one that opens the record, and that SQLite takes for its last user
// where the first one has lost its locks.
func TestAnotherProcess(t *testing.T) {
	path := os.Getenv(otherProcess)
	if path == "" {
		return
	}
	db, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Closing any descriptor of the database drops this process's locks on it (see record/sqlite). Then the next process believes itself alone,
// writes the log back and deletes it, and what this process writes from then on is lost.
func TestAPreflightLeavesTheRecordLocked(t *testing.T) {
	s := newServed(t)
	l, err := s.enter(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Apply(t.Context(), api.ApplyRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Preflight(t.Context(), api.PreflightRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(s.dir, dbName), filepath.Join(s.dir, serverDB)} {
		before, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		other := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestAnotherProcess$")
		other.Env = append(os.Environ(), otherProcess+"="+path)
		if out, err := other.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if after, err := os.Stat(path + "-wal"); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: its log is gone: this process has lost its locks (%v)", filepath.Base(path), errors.Join(err))
		}
	}
}
