package keystore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// lockPoll is how often a lock that somebody else holds is tried again: an entry is written in milliseconds.
const lockPoll = 10 * time.Millisecond

// Lock takes the lock file at path for this call and returns what gives it back. The folder is made if missing. The operating
// system frees the lock when its holder dies, so nobody ever has to guess whether a lock is stale. Two calls of one process
// exclude each other as well. fault.Busy if ctx ends while another holds it.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &fault.Error{Code: fault.Unavailable, Op: "make folder of keystore lock", Err: err}
	}
	l := flock.New(path, flock.SetPermissions(0o600))
	_, err = l.TryLockContext(ctx, lockPoll)
	switch {
	case err == nil:
		// The file stays: removing it would let a third process lock a new file of that name beside the holder of the old one.
		return func() { _ = l.Close() }, nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil, &fault.Error{Code: fault.Busy, Op: "wait for keystore lock " + path,
			Hint: "another leastkey process is writing to the keystore", Err: err}
	}
	return nil, &fault.Error{Code: fault.Unavailable, Op: "take keystore lock", Err: err}
}
