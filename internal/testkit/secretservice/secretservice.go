//go:build linux

// Package secretservice runs a private session bus with GNOME Keyring on it, so that tests meet a real Secret Service on a machine
// without a desktop, and never the developer's own.
package secretservice

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	name = "org.freedesktop.secrets"
	path = dbus.ObjectPath("/org/freedesktop/secrets")

	// patience bounds each wait for a daemon. Nothing sleeps: each wait ends with the event that it is for.
	patience = 30 * time.Second
)

// Service is a running bus and keyring daemon.
type Service struct {
	Address string   // of the bus; also in DBUS_SESSION_BUS_ADDRESS of the test
	Env     []string // for child processes: PATH, private HOME and XDG folders, the bus
	Pids    []int    // the processes that Start made

	conn *dbus.Conn
}

// Available tells whether the programs are installed. If not, the test fails and says which Debian packages to install, or, with
// ALLOW_MISSING=1 in the environment, logs what is missing; the caller then returns.
func Available(t testing.TB, programs ...string) bool {
	t.Helper()
	for _, program := range append([]string{"dbus-daemon", "gnome-keyring-daemon"}, programs...) {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("ALLOW_MISSING") == "1" {
			t.Logf("missing: gnome-keyring (%s not found)", program)
			return false
		}
		t.Fatalf("%s not found: install the Debian packages dbus, gnome-keyring and libsecret-tools, or set ALLOW_MISSING=1", program)
	}
	return true
}

// Start runs the daemons until the end of the test. The default keyring is empty and unlocked. It sets DBUS_SESSION_BUS_ADDRESS, so the
// test cannot be parallel. Ask Available first.
func Start(t testing.TB) *Service {
	t.Helper()
	// Not t.TempDir: a socket path has room for 107 bytes.
	dir, err := os.MkdirTemp("", "lk-bus-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Service{Env: []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}}
	for _, v := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		sub := filepath.Join(dir, strings.ToLower(v))
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		s.Env = append(s.Env, v+"="+sub)
	}
	s.startBus(t, dir)
	s.Env = append(s.Env, "DBUS_SESSION_BUS_ADDRESS="+s.Address)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", s.Address)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if s.conn, err = dbus.Connect(s.Address); err != nil {
		t.Fatalf("connect to private bus: %v", err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	owned := make(chan *dbus.Signal, 16)
	s.conn.Signal(owned)
	err = s.conn.AddMatchSignalContext(ctx, dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name))
	if err != nil {
		t.Fatal(err)
	}
	s.startKeyring(t)
	for appeared := false; !appeared; {
		select {
		case sig := <-owned: // name, old owner, new owner; the bus also greets us with signals of its own
			appeared = sig.Name == "org.freedesktop.DBus.NameOwnerChanged" && sig.Body[0] == name && sig.Body[2] != ""
		case <-ctx.Done():
			t.Fatal("gnome-keyring-daemon did not appear on the bus")
		}
	}
	s.conn.RemoveSignal(owned)
	s.awaitDefault(ctx, t)
	return s
}

// awaitDefault waits until the default keyring is there: the daemon takes its name before it has made everything that goes under it.
func (s *Service) awaitDefault(ctx context.Context, t testing.TB) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		var p dbus.ObjectPath
		err := s.conn.Object(name, path).CallWithContext(ctx, "org.freedesktop.Secret.Service.ReadAlias", 0, "default").Store(&p)
		if err == nil && p != "/" {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("gnome-keyring-daemon made no default keyring: %v", err)
		}
	}
}

// busConfig knows no service files: nothing on this bus can start a program.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

func (s *Service) startBus(t testing.TB, dir string) {
	t.Helper()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := s.command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.run(t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n') // printed when it listens
	if err != nil {
		t.Fatalf("dbus-daemon printed no address: %v", err)
	}
	s.Address = strings.TrimSpace(line)
}

func (s *Service) startKeyring(t testing.TB) {
	t.Helper()
	cmd := s.command("gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock")
	// The password of the throw-away keyring, read to the end of input.
	cmd.Stdin = strings.NewReader("throw-away")
	s.run(t, cmd)
}

func (s *Service) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = s.Env
	// If the test binary is killed, its daemons go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (s *Service) run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Pids = append(s.Pids, cmd.Process.Pid)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (s *Service) defaultCollection(t testing.TB) (p dbus.ObjectPath) {
	t.Helper()
	if err := s.conn.Object(name, path).Call("org.freedesktop.Secret.Service.ReadAlias", 0, "default").Store(&p); err != nil {
		t.Fatalf("read alias of default keyring: %v", err)
	}
	return p
}

// Lock locks the default keyring.
func (s *Service) Lock(t testing.TB) {
	t.Helper()
	var locked []dbus.ObjectPath
	var prompt dbus.ObjectPath
	err := s.conn.Object(name, path).Call("org.freedesktop.Secret.Service.Lock", 0,
		[]dbus.ObjectPath{s.defaultCollection(t)}).Store(&locked, &prompt)
	if err != nil || len(locked) != 1 {
		t.Fatalf("lock default keyring: %d locked, %v", len(locked), err)
	}
}
