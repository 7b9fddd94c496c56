package keychain

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// checkPeer refuses a bus that another user runs: an environment carried over by su or sudo would make us hand our keys to that
// user's daemon. root is let through; it needs no bus to read them.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return noBus("session bus", err)
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return noBus("session bus: cannot tell whose it is", errors.Join(err, failed))
	}
	if uid := int(peer.Uid); uid != os.Geteuid() && uid != 0 {
		return fault.New(fault.Refused, "the session bus belongs to another user",
			"unset DBUS_SESSION_BUS_ADDRESS (su and sudo may carry it over), or "+noKeychainHint)
	}
	return nil
}
