package statefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	maxSize  = 1 << 20
	lockPoll = 10 * time.Millisecond
)

// Change is what was done to a file. Keys are sorted; no value is in it.
type Change struct {
	Path       string      `json:"path"` // absolute, links resolved
	Set        []string    `json:"set,omitempty"`
	Removed    []string    `json:"removed,omitempty"`
	Created    bool        `json:"created,omitempty"`
	Unchanged  bool        `json:"unchanged,omitempty"` // nothing was written
	ModeBefore fs.FileMode `json:"mode_before"`         // 0 if it was created
	ModeAfter  fs.FileMode `json:"mode_after"`          // differs from ModeBefore where it was tightened
}

// Tightened tells whether others could read or write the file before and cannot now: worth saying aloud.
func (c Change) Tightened() bool { return !c.Created && c.ModeAfter != c.ModeBefore }

// ReadEnv reads an environment file, through links. exists is false, without an error, if there is none. The values may be other
// people's secrets: take the keys that are ours and drop the rest.
func ReadEnv(path string) (values map[string]string, exists bool, err error) {
	at, err := resolve(path)
	if err != nil {
		return nil, false, err
	}
	have, err := read(at)
	if err != nil || !have.exists() {
		return nil, false, err
	}
	e, err := have.env(at)
	if err != nil {
		return nil, false, err
	}
	values = map[string]string{}
	for _, key := range e.Keys() {
		values[key], _ = e.Get(key)
	}
	return values, true, nil
}

// UpdateEnv sets and removes keys of an environment file and keeps everything else in it. It works under <file>.lock, through links, by
// way of a complete temporary file beside the target; killed at any instant it leaves the old file or the new one. A new file is 0600, an
// existing one keeps its owner and loses what its mode gives to others. If nothing has to change, nothing is written. The folder must exist.
//
// fault.Invalid: what is there is no environment file, or a value cannot be written safely. fault.Refused: it cannot be replaced as a
// file (a mount point, a second name, somebody else's link). fault.Busy: another process holds the lock until ctx ends.
// fault.Conflict: somebody without the lock changed the file meanwhile; nothing was written.
func UpdateEnv(ctx context.Context, path string, set map[string]string, remove []string) (Change, error) {
	return rewrite(ctx, path, func(have found, at string) (content []byte, done, removed []string, err error) {
		e, err := have.env(at)
		if err != nil {
			return nil, nil, nil, err
		}
		if done, removed, err = edit(&e, set, remove); err != nil {
			return nil, nil, nil, fmt.Errorf("change %s: %w", at, err)
		}
		return e.Bytes(), done, removed, nil
	})
}

// rewrite changes a file under its lock. edit gives the new content with the names of what it set and removed; if it names nothing,
// nothing is written.
func rewrite(ctx context.Context, path string, edit func(have found, at string) (content []byte, set, removed []string, err error)) (Change, error) {
	at, err := resolve(path)
	if err != nil {
		return Change{}, err
	}
	unlock, err := lock(ctx, at)
	if err != nil {
		return Change{}, err
	}
	change, err := underLock(at, edit)
	return change, errors.Join(err, unlock())
}

func underLock(at string, edit func(have found, at string) (content []byte, set, removed []string, err error)) (Change, error) {
	// What a killed process left holds the same secrets as the file. Its owner is dead: we have its lock.
	temp := filepath.Join(filepath.Dir(at), filepath.Base(at)+".leastkey-new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Change{}, unavailable("remove unfinished "+temp, err)
	}
	have, err := read(at)
	if err != nil {
		return Change{}, err
	}
	c := Change{Path: at, Created: !have.exists(), ModeBefore: have.mode(), ModeAfter: have.mode()}
	var content []byte
	if content, c.Set, c.Removed, err = edit(have, at); err != nil {
		return Change{}, err
	}
	if len(c.Set)+len(c.Removed) == 0 {
		c.Created, c.Unchanged = false, true
		return c, nil
	}
	c.ModeAfter = 0o600
	if have.exists() {
		c.ModeAfter = have.mode() & 0o600
	}
	if err := have.replaceable(at); err != nil {
		return Change{}, err
	}
	if err := have.replace(at, temp, content, c.ModeAfter); err != nil {
		return Change{}, errors.Join(err, discard(temp))
	}
	return c, nil
}

func edit(e *Env, set map[string]string, remove []string) (done, removed []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		changed, err := e.Set(key, set[key])
		if err != nil {
			return nil, nil, err
		}
		if changed {
			done = append(done, key)
		}
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(remove))) {
		if _, both := set[key]; both {
			return nil, nil, fault.Newf(fault.Invalid, "%s is to be both set and removed", key)
		}
		gone, err := e.Remove(key)
		if err != nil {
			return nil, nil, err
		}
		if gone {
			removed = append(removed, key)
		}
	}
	return done, removed, nil
}

// resolve is the absolute path of the file itself. A file that does not exist yet is fine, a link to nowhere is not: whoever made it meant
// another place.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", unavailable("find "+path, err)
	}
	link, err := os.Lstat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fault.New(fault.NotFound, "the folder of "+abs+" does not exist", "make it, or name another file")
		}
		if err != nil {
			return "", unavailable("find "+abs, err)
		}
		return filepath.Join(dir, filepath.Base(abs)), nil
	}
	if err != nil {
		return "", unavailable("look at "+abs, err)
	}
	at, err := filepath.EvalSymlinks(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fault.New(fault.Refused, abs+" is a link to a file that does not exist", "make the file, or remove the link")
	case err != nil:
		return "", unavailable("find "+abs, err)
	case link.Mode()&fs.ModeSymlink == 0:
		return at, nil
	}
	target, err := os.Stat(at)
	if err != nil {
		return "", unavailable("look at "+at, err)
	}
	// Otherwise an agent that may write its own folder could lead a provisioner run by root into any file of the machine.
	if !trustedLink(link, target) {
		return "", fault.New(fault.Refused, abs+" is a link that somebody else made", "name the file itself: "+at)
	}
	return at, nil
}

// found is a file as it was read; info is nil if there was none.
type found struct {
	content []byte
	info    fs.FileInfo
}

// env is the file as an environment file.
func (f found) env(at string) (Env, error) {
	e, err := ParseEnv(f.content)
	if err != nil {
		return Env{}, fmt.Errorf("read %s: %w", at, err)
	}
	return e, nil
}

func (f found) exists() bool { return f.info != nil }

func (f found) mode() fs.FileMode {
	if f.info == nil {
		return 0
	}
	return f.info.Mode().Perm()
}

// read tries again when the file was replaced between the look at it and its opening: another of us may be at work.
func read(at string) (found, error) {
	for try := 1; ; try++ {
		f, err := readOnce(at)
		if try == 5 || !fault.Is(err, fault.Conflict) {
			return f, err
		}
	}
}

func readOnce(at string) (found, error) {
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	}
	if err != nil {
		return found{}, unavailable("look at "+at, err)
	}
	if !info.Mode().IsRegular() {
		return found{}, fault.New(fault.Refused, at+" is not a regular file", "name a file")
	}
	f, err := open(at)
	if err != nil {
		return found{}, unavailable("read "+at, err)
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil {
		return found{}, unavailable("read "+at, err)
	}
	if !os.SameFile(info, opened) {
		return found{}, meanwhile(at)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return found{}, unavailable("read "+at, err)
	}
	if len(b) > maxSize {
		return found{}, fault.New(fault.Invalid, at+" is larger than 1 MiB", "neither an environment file nor a state file is as large")
	}
	return found{content: b, info: opened}, nil
}

// replaceable refuses a file that has a second name: a rename would leave that one with the old content.
func (f found) replaceable(at string) error {
	if f.exists() && names(f.info) > 1 {
		return fault.New(fault.Refused, fmt.Sprintf("%s has %d names (hard links)", at, names(f.info)), "keep one name, or make the others symbolic links")
	}
	return nil
}

// replace puts the new content in the place of what was read. The temporary file is complete, on disk and has its owner and mode before
// it gets the name.
func (f found) replace(at, temp string, content []byte, mode fs.FileMode) error {
	if err := f.write(temp, content, mode); err != nil {
		return err
	}
	now, err := os.Lstat(at)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return unavailable("look at "+at, err)
	case (err == nil) != f.exists(), err == nil && !unchanged(f.info, now):
		return meanwhile(at)
	}
	if err := os.Rename(temp, at); err != nil {
		return renameFault(at, err)
	}
	return syncFolder(filepath.Dir(at))
}

func (f found) write(temp string, content []byte, mode fs.FileMode) error {
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return unavailable("make "+temp, err)
	}
	_, err = out.Write(content)
	if err == nil && f.exists() {
		err = keepOwner(out, f.info)
	}
	if err == nil && runtime.GOOS != "windows" {
		err = out.Chmod(mode) // an umask may have taken more
	}
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return unavailable("write "+temp, err)
	}
	return nil
}

func unchanged(was, now fs.FileInfo) bool {
	return os.SameFile(was, now) && was.Size() == now.Size() && was.ModTime().Equal(now.ModTime()) && was.Mode() == now.Mode()
}

func discard(temp string) error {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable("remove "+temp, err)
	}
	return nil
}

// syncFolder flushes the folder, so that the rename survives a power cut. Windows has no such call.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return unavailable("flush folder "+dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return unavailable("flush folder "+dir, err)
	}
	return nil
}

// lock takes <file>.lock. The file stays: removing it would let a third process lock a new one beside the holder of the old.
func lock(ctx context.Context, at string) (unlock func() error, err error) {
	l := flock.New(at+".lock", flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o600))
	_, err = l.TryLockContext(ctx, lockPoll)
	switch {
	case err == nil:
		return l.Close, nil
	case ctx.Err() != nil:
		return nil, &fault.Error{Code: fault.Busy, Op: "wait for " + at + ".lock", Err: err, Hint: "another process is changing the file"}
	}
	return nil, unavailable("take "+at+".lock", err)
}

func meanwhile(at string) error {
	return fault.New(fault.Conflict, at+" was changed by somebody else meanwhile", "nothing was written; run the command again")
}

// unavailable gives an error of the file system its class.
func unavailable(op string, err error) error {
	f := &fault.Error{Code: fault.Unavailable, Op: op, Err: err}
	switch {
	case fault.Is(err, fault.Refused):
		return err
	case errors.Is(err, fs.ErrPermission):
		f.Code, f.Hint = fault.Forbidden, "run leastkey as the owner of the file and its folder"
	case errors.Is(err, fs.ErrNotExist):
		f.Code = fault.NotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		// Waiting does not make room, and the file is as it was.
		f.Code, f.Hint = fault.Refused, "make room on the disk, then run it again"
	case errors.Is(err, syscall.EROFS):
		f.Code, f.Hint = fault.Refused, "make the file system writable, then run it again"
	}
	return f
}
