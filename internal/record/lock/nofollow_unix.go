//go:build unix

package lock

import "syscall"

// noFollow keeps a planted link from making us write into another file.
const noFollow = syscall.O_NOFOLLOW
