//go:build !darwin && !windows

package keychain

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// dialBus connects to the session bus of this user, or says why there is none.
//
// Address and socket are ours to choose and to dial, and never the library's: with no address in the environment it would run
// dbus-launch, and a bus and a keyring daemon started that way outlive this process, one more with each run.
func dialBus(ctx context.Context, address string) (*dbus.Conn, error) {
	if address == "" {
		return nil, noBus("no session bus: DBUS_SESSION_BUS_ADDRESS is not set", nil)
	}
	conn, err := dialSocket(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := checkPeer(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	// With ctx the connection closes itself, which ends every call that still waits on it.
	bus, err := dbus.DialUnix(conn, dbus.WithContext(ctx))
	if err != nil {
		_ = conn.Close()
		return nil, noBus("session bus", err)
	}
	if err := greet(bus); err != nil {
		_ = bus.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, noBus("session bus does not answer", err)
	}
	return bus, nil
}

func greet(bus *dbus.Conn) error {
	if err := bus.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		return err
	}
	return bus.Hello()
}

// dialSocket tries the addresses of a D-Bus server address list in order ("unix:path=/run/user/1000/bus;unix:abstract=…", D-Bus
// specification, Server Addresses). Only Unix sockets will do: tcp would send private keys over a network in clear, and unixexec and
// autolaunch start programs.
func dialSocket(ctx context.Context, list string) (*net.UnixConn, error) {
	var failures []error
	for address := range strings.SplitSeq(list, ";") {
		socket, ok := socketPath(address)
		if !ok {
			continue
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		failures = append(failures, err)
	}
	if len(failures) == 0 {
		return nil, noBus("no session bus: its address names no Unix socket", nil)
	}
	return nil, noBus("no session bus at its address", errors.Join(failures...))
}

// socketPath is the Unix socket of one address, in the notation of package net (a leading @ for an abstract one).
func socketPath(address string) (string, bool) {
	params, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return "", false
	}
	for param := range strings.SplitSeq(params, ",") {
		key, value, _ := strings.Cut(param, "=")
		value, err := url.PathUnescape(value)
		if err != nil || value == "" {
			continue
		}
		switch key {
		case "path":
			return value, true
		case "abstract":
			return "@" + value, true
		}
	}
	return "", false
}

// sessionBus is the address of this user's bus: the environment's, else the socket that systemd keeps for a user (its path is fixed,
// see systemd's user-runtime-dir@.service), else "". "autolaunch:" is taken for unset.
func sessionBus() string {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && !strings.HasPrefix(address, "autolaunch:") {
		return address
	}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(os.Geteuid())} {
		socket := filepath.Join(dir, "bus")
		if info, err := os.Stat(socket); dir != "" && err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix:path=" + dbus.EscapeBusAddressValue(socket)
		}
	}
	return ""
}

func noBus(what string, err error) error {
	return &fault.Error{Code: fault.Unavailable, Op: what, Err: err, Hint: noKeychainHint}
}
