package keychain

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/testkit/secretservice"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/keystoretest"
)

func open(t *testing.T, service string) *Store {
	t.Helper()
	s, err := New(Config{Service: service, LockPath: filepath.Join(t.TempDir(), "home", "keychain.lock")})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newKey(t *testing.T) *keystore.Key {
	t.Helper()
	k, err := keystore.Generate(0)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func samePublic(a, b crypto.Signer) bool { return a.Public().(*rsa.PublicKey).Equal(b.Public()) }

func TestSecretServiceKeepsTheContract(t *testing.T) {
	if !secretservice.Available(t) {
		return
	}
	secretservice.Start(t)
	n := 0
	keystoretest.Run(t, func(t *testing.T) keystore.Store {
		n++
		return open(t, fmt.Sprintf("leastkey-test-%d", n))
	})
	keystoretest.RunReplacer(t, func(t *testing.T) keystoretest.ReplacingStore {
		n++
		return open(t, fmt.Sprintf("leastkey-test-%d", n))
	})
	keystoretest.RunSecrets(t, func(t *testing.T) keystoretest.SecretStore {
		n++
		return open(t, fmt.Sprintf("leastkey-test-%d", n))
	})
}

// Other programs find what we store, and we find what they stored: go-keyring (and with it Python's keyring, which uses the same
// attributes) and libsecret's own tool.
func TestEntriesAreThoseOfOtherPrograms(t *testing.T) {
	if !secretservice.Available(t, "secret-tool") {
		return
	}
	service := secretservice.Start(t)
	s, key := open(t, ""), newKey(t)
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	_ = encoded.Use(func(b []byte) error { text = string(b); return nil })

	if _, err := s.Create(t.Context(), "tenant/agent#1", key); err != nil {
		t.Fatal(err)
	}
	got, err := keyring.Get(keystore.AgentService, "tenant/agent#1")
	if err != nil || got != text {
		t.Errorf("go-keyring does not see our entry: %v", err)
	}
	tool := exec.CommandContext(t.Context(), "secret-tool", "lookup", "service", keystore.AgentService, "username", "tenant/agent#1")
	tool.Env = service.Env
	out, err := tool.Output()
	if err != nil || string(out) != text {
		t.Errorf("secret-tool does not see our entry: %v", err)
	}

	for name, stored := range map[string]string{
		"plain":  text,
		"base64": "go-keyring-base64:" + base64.StdEncoding.EncodeToString([]byte(text)),
		"hex":    fmt.Sprintf("%x", text),
	} {
		if err := keyring.Set(keystore.AgentService, name, stored); err != nil {
			t.Fatal(err)
		}
		opened, err := s.Open(t.Context(), s.Ref(name))
		if err != nil || !samePublic(key, opened) {
			t.Errorf("entry %s of go-keyring does not open: %v", name, err)
		}
	}
	if err := s.Delete(t.Context(), s.Ref("plain")); err != nil {
		t.Error(err)
	}
	if _, err := keyring.Get(keystore.AgentService, "plain"); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("go-keyring still sees a deleted entry: %v", err)
	}
	if err := keyring.Set(keystore.AgentService, "junk", "not a key"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), s.Ref("junk")); !fault.Is(err, fault.Corrupt) || strings.Contains(err.Error(), "not a key") {
		t.Errorf("junk: %v", err)
	}
}

func TestLockedKeychainIsNeverAnAbsentEntry(t *testing.T) {
	if !secretservice.Available(t) {
		return
	}
	service := secretservice.Start(t)
	s, key := open(t, ""), newKey(t)
	if _, err := s.Create(t.Context(), "here", key); err != nil {
		t.Fatal(err)
	}
	if err := s.PutSecret(t.Context(), "here", secret.New([]byte("token"))); err != nil {
		t.Fatal(err)
	}
	service.Lock(t)
	for what, err := range everyCall(t, s, "here", "absent") {
		if !fault.Is(err, fault.Unauthenticated) || !strings.Contains(fault.Hint(err), "--keystore age:") {
			t.Errorf("%s: %v (%s; hint %q)", what, err, fault.CodeOf(err), fault.Hint(err))
		}
	}
}

// everyCall makes each call for each name and collects the errors.
func everyCall(t *testing.T, s *Store, names ...string) map[string]error {
	t.Helper()
	key := newKey(t)
	errs := make(map[string]error)
	for _, n := range names {
		_, errs["open "+n] = s.Open(t.Context(), s.Ref(n))
		_, errs["create "+n] = s.Create(t.Context(), n, key)
		errs["delete "+n] = s.Delete(t.Context(), s.Ref(n))
		_, errs["secret "+n] = s.Secret(t.Context(), n)
		errs["put secret "+n] = s.PutSecret(t.Context(), n, secret.New([]byte("token")))
		errs["delete secret "+n] = s.DeleteSecret(t.Context(), n)
	}
	_, errs["list"] = s.List(t.Context())
	return errs
}

// A bus that is not there is a failure with a hint and starts nothing: a program dbus-launch in PATH would leave a trace.
func TestNoBusIsUnavailableAndStartsNothing(t *testing.T) {
	bin, nowhere := t.TempDir(), t.TempDir()
	trace := filepath.Join(bin, "launched")
	for _, program := range []string{"dbus-launch", "dbus-daemon", "dbus-run-session", "gnome-keyring-daemon"} {
		script := "#!/bin/sh\n: > " + trace + "\nexit 1\n"
		if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("XDG_RUNTIME_DIR", nowhere)
	before := daemons(t)
	for what, address := range map[string]string{
		"no address":                   "",
		"a socket that does not exist": "unix:path=" + filepath.Join(nowhere, "bus"),
		"several dead sockets":         "unix:abstract=leastkey-none;unix:path=/nonexistent/bus,guid=00",
		"a network address":            "tcp:host=127.0.0.1,port=1",
		"a program":                    "unixexec:path=" + filepath.Join(bin, "dbus-launch"),
		"autolaunch":                   "autolaunch:",
		"garbage":                      "%%%",
	} {
		s := open(t, "")
		s.vault = secretService{address: func() string { return address }}
		for call, err := range everyCall(t, s, "x") {
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Hint(err), "--keystore age:") {
				t.Errorf("%s: %s: %v (%s; hint %q)", what, call, err, fault.CodeOf(err), fault.Hint(err))
			}
		}
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("a bus was launched")
	}
	if after := daemons(t); after > before {
		t.Errorf("%d dbus-daemon processes before, %d after", before, after)
	}
}

func TestNoDaemonOutlivesItsTest(t *testing.T) {
	if !secretservice.Available(t) {
		return
	}
	var pids []int
	t.Run("work", func(t *testing.T) {
		service := secretservice.Start(t)
		pids = service.Pids
		s := open(t, "")
		for range 3 {
			if _, err := s.Open(t.Context(), s.Ref("absent")); !fault.Is(err, fault.NotFound) {
				t.Error(err)
			}
		}
	})
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
}

// daemons counts the processes named dbus-daemon that this test binary started, or that were started on its behalf and left alone.
func daemons(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(comm)) != "dbus-daemon" {
			continue
		}
		env, err := os.ReadFile(filepath.Join(filepath.Dir(name), "environ"))
		if err == nil && strings.Contains(string(env), "XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR")+"\x00") {
			n++
		}
	}
	return n
}

func TestSessionBusPrefersTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/given")
	if got := sessionBus(); got != "unix:path=/given" {
		t.Errorf("got %q", got)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, unset := range []string{"", "autolaunch:", "autolaunch:scope=*user"} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", unset)
		got, ok := socketPath(sessionBus())
		if !ok || got != filepath.Join(dir, "bus") {
			t.Errorf("%q: got %q", unset, got)
		}
	}
}

// A bus, or a daemon behind it, that takes the connection and never speaks must not hold a caller beyond its deadline.
func TestSilentBusEndsWithTheContext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := open(t, "")
	s.vault = secretService{address: func() string { return "unix:path=" + socket }}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Open(ctx, s.Ref("x"))
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.vault.get(ctx, "service", "account"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("get itself does not end with its context: %v", err)
	}
}

// Without a lock two writers can meet; then both entries are there, and nobody picks one of them.
func TestTwoEntriesOfOneNameAreRefused(t *testing.T) {
	if !secretservice.Available(t) {
		return
	}
	secretservice.Start(t)
	s, v := open(t, ""), secretService{address: sessionBus}
	encode := func() secret.Value {
		e, err := keystore.EncodeKey(newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if err := v.add(t.Context(), keystore.AgentService, "twice", encode()); err != nil {
		t.Fatal(err)
	}
	first, err := s.Open(t.Context(), s.Ref("twice"))
	if err != nil {
		t.Fatal(err)
	}
	// What a racer does that looked before the first entry was there.
	if err := v.add(t.Context(), keystore.AgentService, "twice", encode()); !fault.Is(err, fault.Conflict) {
		t.Errorf("second add: %v", err)
	}
	again, err := s.Open(t.Context(), s.Ref("twice"))
	if err != nil || !samePublic(first, again) {
		t.Errorf("the first entry did not survive: %v", err)
	}
}

// A replaced secret is the same item: a service that was killed on the way would have the old or the new one, and there is never a second.
func TestSecretIsReplacedInItsPlace(t *testing.T) {
	if !secretservice.Available(t) {
		return
	}
	secretservice.Start(t)
	s, v := open(t, ""), secretService{address: sessionBus}
	item := func() (path dbus.ObjectPath, title string) {
		bus, err := v.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer bus.close()
		if path, err = bus.find(keystore.AgentService, "secret:login/t"); err != nil {
			t.Fatal(err)
		}
		if err := bus.property(path, ssItem, "Label", &title); err != nil {
			t.Fatal(err)
		}
		return path, title
	}
	put := func(text string) {
		if err := s.PutSecret(t.Context(), "login/t", secret.New([]byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	path, title := item()
	put("second")
	again, titleAgain := item()
	if path != again || title != titleAgain || title != "Leastkey: secret login/t" {
		t.Errorf("%s %q became %s %q", path, title, again, titleAgain)
	}
	if got, err := keyring.Get(keystore.AgentService, "secret:login/t"); err != nil || got != "second" {
		t.Errorf("go-keyring does not see the new secret: %v", err)
	}
	// What another program could have stored beside it is not chosen from.
	if err := v.add(t.Context(), keystore.AgentService, "secret:login/t", secret.New([]byte("third"))); !fault.Is(err, fault.Conflict) {
		t.Errorf("second item: %v", err)
	}
	if got, err := s.Secret(t.Context(), "login/t"); err != nil || !got.Equal(secret.New([]byte("second"))) {
		t.Errorf("the secret did not survive: %v", err)
	}
}
