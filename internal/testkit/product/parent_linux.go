package product

import (
	"os/exec"
	"syscall"
)

// withParent has the kernel end the process when the thread that starts it ends, and so with this process, also when a panic leaves no
// time for anything (prctl(2), PR_SET_PDEATHSIG). The thread must not end before: the caller locks it.
func withParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
