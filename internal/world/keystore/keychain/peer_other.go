//go:build !linux && !darwin && !windows

package keychain

import "net"

// checkPeer has no portable question to ask here; the bus daemon lets in its own user only.
func checkPeer(*net.UnixConn) error { return nil }
