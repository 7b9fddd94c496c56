package localcloud

import (
	"io/fs"
	"os"
)

// alive tells whether a process has the id: Windows opens it for us only then.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}

// private is left to the folder's access control list, which Windows inherits from the user's profile.
func private(fs.FileInfo) error { return nil }
