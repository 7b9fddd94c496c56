package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// checkFolder refuses a folder in which somebody else could exchange the database for one of theirs.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "look at folder of database", Err: err}
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return fault.New(fault.Refused, fmt.Sprintf("folder %s can be written by other users (mode %04o)", dir, info.Mode().Perm()), "chmod 700 "+dir)
	}
	if uid, ok := owner(info); ok && uid != os.Geteuid() && uid != 0 {
		return fault.New(fault.Refused, fmt.Sprintf("folder %s belongs to another user (uid %d)", dir, uid), "run leastkey as its owner, or choose another LEASTKEY_HOME")
	}
	return nil
}

// checkFile refuses what is not a regular file of our own that nobody else may read or write. It is refused rather than tightened:
// who could write it until now may have done so, and a person has to judge that.
func checkFile(path string, mustExist bool) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		return nil
	}
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "look at database", Err: err}
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fault.New(fault.Refused, "database "+path+" is a symbolic link", "set LEASTKEY_HOME to the place where the database really is")
	}
	if !info.Mode().IsRegular() {
		return fault.Newf(fault.Refused, "database %s is not a regular file", path)
	}
	if uid, ok := owner(info); ok && uid != os.Geteuid() {
		return fault.New(fault.Refused, fmt.Sprintf("database %s belongs to another user (uid %d)", path, uid), "run leastkey as its owner")
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fault.New(fault.Refused, fmt.Sprintf("database %s is open to other users (mode %04o)", path, info.Mode().Perm()),
			"make sure that nobody else changed it, then chmod 600 "+path)
	}
	return nil
}
