//go:build unix

package localcloud

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// alive tells whether a process has the id, whoever owns it.
func alive(pid int) bool {
	if pid <= 0 { // kill(2) means groups by these
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// private tells what is wrong with a file that only its owner, who is us, should reach.
func private(info fs.FileInfo) error {
	if info.Mode().Perm()&0o077 != 0 {
		return errors.New("other users may reach it; its mode has to be 0600")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return errors.New("it belongs to another user")
	}
	return nil
}
