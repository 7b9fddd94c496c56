// Package lock keeps two processes from working on one agent at once. The operating system frees the lock when its holder dies, however
// it dies, so nobody ever has to guess whether a lock is stale; what the file says about its holder is for people only.
package lock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/gofrs/flock"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// The wait between two tries grows from the first to the second, each drawn from its upper half so that waiters do not march in step.
const (
	firstWait = 20 * time.Millisecond
	lastWait  = 250 * time.Millisecond
)

// Lock is a lock that is held.
type Lock struct {
	path string
	file *flock.Flock
	once sync.Once
	err  error
}

// Acquire takes the lock file at path; its folder is made if missing. who says what the holder is doing ("apply polyclaw-runtime") and
// must not hold a secret: others read it. If another holds the lock and wait is set, onWait (nil is allowed) is told who that is, once per
// holder, and Acquire tries again until ctx ends. fault.Busy names the holder; it wraps the error of a ctx that ended. Two calls of one
// process exclude each other as well.
func Acquire(ctx context.Context, path, who string, wait bool, onWait func(holder string)) (*Lock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &fault.Error{Code: fault.Unavailable, Op: "make folder of lock", Err: err}
	}
	f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o600))
	told := ""
	for pause := firstWait; ; pause = min(2*pause, lastWait) {
		if err := ctx.Err(); err != nil {
			return nil, busy(path, err)
		}
		ok, err := f.TryLock()
		switch {
		case err != nil:
			return nil, &fault.Error{Code: fault.Unavailable, Op: "take lock " + path, Err: err}
		case ok:
			return hold(path, who, f)
		case !wait:
			return nil, busy(path, nil)
		}
		// A holder between its note and its release is no new one.
		if holder := holderOf(path); onWait != nil && holder != told && (told == "" || holder != unnamed) {
			told = holder
			onWait(holder)
		}
		if err := sleep(ctx, pause/2+rand.N(pause/2)); err != nil {
			return nil, busy(path, err)
		}
	}
}

// Release gives the lock back; a second call does nothing. The file stays: removing it would let a third process lock a new file of
// that name beside the holder of the old one.
func (l *Lock) Release() error {
	l.once.Do(func() {
		l.err = errors.Join(write(l.path, nil), l.file.Close())
	})
	return l.err
}

func hold(path, who string, f *flock.Flock) (*Lock, error) {
	l := &Lock{path: path, file: f}
	text, err := json.Marshal(note{PID: os.Getpid(), Command: short(who), Since: time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		err = write(path, text)
	}
	if err != nil {
		return nil, errors.Join(&fault.Error{Code: fault.Unavailable, Op: "write into lock " + path, Err: err}, f.Close())
	}
	return l, nil
}

func busy(path string, cause error) error {
	return &fault.Error{Code: fault.Busy, Op: holderOf(path) + " holds " + path, Err: cause, Hint: "wait until it is done, or end that process"}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// note is what the holder says of itself.
type note struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// The note lies behind the first byte of the file, always at its full length: Windows lets nobody else touch the byte that is locked, nor
// cut the file.
const (
	noteAt   = 1
	noteSize = 512
)

func write(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|noFollow, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, bytes.Repeat([]byte("\n"), noteSize-len(text))...), noteAt)
	return errors.Join(err, f.Close())
}

// unnamed is a holder whose note does not read.
const unnamed = "another leastkey process"

// holderOf says who holds the lock, as far as the file tells: a holder that has only just got the lock, or one that died and left its
// note, is possible, so nothing is decided by it.
func holderOf(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return unnamed
	}
	defer f.Close()
	var n note
	text, err := io.ReadAll(io.NewSectionReader(f, noteAt, noteSize))
	if err != nil || json.Unmarshal(text, &n) != nil || n.PID <= 0 {
		return unnamed
	}
	return fmt.Sprintf("process %d (%s, since %s)", n.PID, short(n.Command), n.Since.Format(time.RFC3339))
}

// short keeps what prints on one line; the note must fit whatever the escapes of JSON make of it.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	for len(s) > 60 {
		r := []rune(s)
		s = string(r[:len(r)-1])
	}
	return s
}
