//go:build !unix

package statefile

import (
	"io/fs"
	"os"
)

const noFollow = 0

// trustedLink is true: making a link is a privilege here.
func trustedLink(link, target fs.FileInfo) bool { return true }

func names(fs.FileInfo) uint64 { return 1 }

// sameness is unknown: it takes an open file to tell here.
func sameness(fs.FileInfo) string { return "" }

// uid is -1: owners here are no numbers.
func uid(fs.FileInfo) int { return -1 }

// keepOwner does nothing: a new file inherits the access list of its folder.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

func renameFault(at string, err error) error { return unavailable("replace "+at, err) }

// own is always true: who may read a temporary folder here has one of his own.
func own(fs.FileInfo) bool { return true }

// trusted is always true: folders are their owner's own here.
func trusted(fs.FileInfo) bool { return true }

// writable is nil: that a folder cannot be written shows when it is.
func writable(string) error { return nil }

// mounted is false: a file cannot be a mount point here.
func mounted(string) bool { return false }
