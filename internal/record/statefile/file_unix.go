//go:build unix

package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// noFollow keeps a planted link from making us open another file.
const noFollow = syscall.O_NOFOLLOW

// trustedLink tells whether the link was made by root, by us, or by the owner of what it leads to (as Linux' protected_symlinks asks).
func trustedLink(link, target fs.FileInfo) bool {
	l, ok1 := link.Sys().(*syscall.Stat_t)
	t, ok2 := target.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && (l.Uid == 0 || int(l.Uid) == os.Geteuid() || l.Uid == t.Uid)
}

// names is how many names the file has.
func names(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}

// sameness is the file's device and number there.
func sameness(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	}
	return ""
}

// uid is the file's owner, -1 if the system does not say.
func uid(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// keepOwner gives a new file the owner of the one that it will replace. Only root may give a file to another user. The group does not
// matter where we may not set it: the mode gives it nothing.
func keepOwner(f *os.File, was fs.FileInfo) error {
	st, ok := was.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	err := f.Chown(int(st.Uid), int(st.Gid))
	if err != nil && int(st.Uid) == os.Geteuid() {
		return nil
	}
	return err
}

// renameFault explains why a file cannot be replaced.
func renameFault(at string, err error) error {
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) {
		return &fault.Error{Code: fault.Refused, Op: "replace " + at, Err: err,
			Hint: "it is a mount point; mount its folder instead of the file, or name another file"}
	}
	return unavailable("replace "+at, err)
}

// own tells whether the file is the caller's.
func own(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// trusted tells whether the file is the caller's or root's.
func trusted(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (st.Uid == 0 || own(info))
}

// writable is why the caller may make no files in the folder; nil if he may.
func writable(dir string) error {
	const write = 2 // W_OK
	return syscall.Access(dir, write)
}

// mounted tells whether something is mounted at that very path, where the system says so: a file that is a mount point cannot be
// replaced. See proc_pid_mountinfo(5); the fifth field is the path, with spaces as \040.
func mounted(path string) bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	written := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(path)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == written {
			return true
		}
	}
	return false
}
