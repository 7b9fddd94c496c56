package keychain

import (
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// An address that su or sudo carried over leads to the bus of another user, who would receive our keys.
func TestBusOfAnotherUserIsRefused(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() != 0 {
		t.Log("not root: only a bus of this user can be made, which is let through")
		l := listenAs(t, os.Geteuid())
		conn, err := dialSocket(t.Context(), "unix:abstract="+strings.TrimPrefix(l.Addr().String(), "@"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := checkPeer(conn); err != nil {
			t.Error(err)
		}
		return
	}
	l := listenAs(t, nobody)
	_, err := dialBus(t.Context(), "unix:abstract="+strings.TrimPrefix(l.Addr().String(), "@"))
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "DBUS_SESSION_BUS_ADDRESS") {
		t.Errorf("%v (hint %q)", err, fault.Hint(err))
	}
}

// listenAs listens on a socket whose peers see uid as its owner: the kernel notes who called listen.
func listenAs(t *testing.T, uid int) net.Listener {
	t.Helper()
	type answer struct {
		l   net.Listener
		err error
	}
	made := make(chan answer)
	go func() {
		// This thread alone becomes the other user, and ends with the goroutine because it is never unlocked.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			made <- answer{err: errno}
			return
		}
		l, err := net.Listen("unix", "@leastkey-test-"+strings.ReplaceAll(t.Name(), "/", "-"))
		made <- answer{l, err}
	}()
	a := <-made
	if a.err != nil {
		t.Fatal(a.err)
	}
	t.Cleanup(func() { _ = a.l.Close() })
	return a.l
}
