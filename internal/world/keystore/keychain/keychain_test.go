package keychain

import (
	"bytes"
	"context"
	"encoding/pem"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// fake is a vault with faults.
type fake struct {
	mu      sync.Mutex
	entries map[string]string
	forget  bool          // add succeeds and keeps nothing, a write that fails in silence
	garble  bool          // add keeps something else
	keep    bool          // remove succeeds and removes nothing
	lookup  error         // every get fails
	block   chan struct{} // add waits for it, deaf to its context; nil does not wait
	adds    int
}

func (f *fake) get(_ context.Context, service, account string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lookup != nil {
		return nil, f.lookup
	}
	e, ok := f.entries[service+":"+account]
	if !ok {
		return nil, fault.New(fault.NotFound, "none", "")
	}
	return []byte(e), nil
}

func (f *fake) add(_ context.Context, service, account string, content secret.Value) error {
	if f.block != nil {
		<-f.block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.adds++
	return content.Use(func(b []byte) error {
		switch {
		case f.forget:
		case f.garble:
			f.entries[service+":"+account] = strings.ToUpper(string(b))
		default:
			f.entries[service+":"+account] = string(b)
		}
		return nil
	})
}

func (f *fake) put(ctx context.Context, service, account string, content secret.Value) error {
	return f.add(ctx, service, account, content)
}

func (f *fake) remove(_ context.Context, service, account string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.keep {
		delete(f.entries, service+":"+account)
	}
	return nil
}

func over(t *testing.T, f *fake) (*Store, *keystore.Key) {
	t.Helper()
	f.entries = make(map[string]string)
	s, err := New(Config{LockPath: filepath.Join(t.TempDir(), "lock")})
	if err != nil {
		t.Fatal(err)
	}
	s.vault = f
	key, err := keystore.Generate(0)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func TestWriteIsBelievedOnlyWhenReadBack(t *testing.T) {
	for what, row := range map[string]struct {
		vault *fake
		code  fault.Code
	}{
		"a write that was lost":    {&fake{forget: true}, fault.Unavailable},
		"a write that was garbled": {&fake{garble: true}, fault.Corrupt},
	} {
		s, key := over(t, row.vault)
		if _, err := s.Create(t.Context(), "x", key); !fault.Is(err, row.code) {
			t.Errorf("%s: %v (%s)", what, err, fault.CodeOf(err))
		}
		if err := s.Replace(t.Context(), "x", key); !fault.Is(err, row.code) {
			t.Errorf("%s, of a replacement: %v (%s)", what, err, fault.CodeOf(err))
		}
		if err := s.PutSecret(t.Context(), "x", secret.New([]byte("token"))); !fault.Is(err, row.code) {
			t.Errorf("%s, of a secret: %v (%s)", what, err, fault.CodeOf(err))
		}
	}
	s, key := over(t, &fake{keep: true})
	ref, err := s.Create(t.Context(), "x", key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), ref); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a deletion that was lost: %v", err)
	}
	if err := s.PutSecret(t.Context(), "x", secret.New([]byte("token"))); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSecret(t.Context(), "x"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a deletion of a secret that was lost: %v", err)
	}
}

// A lookup that failed must not be taken for an absent key: Create would write a second key over one that is only out of reach.
func TestFailedLookupStopsEveryCall(t *testing.T) {
	f := &fake{lookup: fault.New(fault.Unauthenticated, "locked", "unlock it")}
	s, key := over(t, f)
	_, create := s.Create(t.Context(), "x", key)
	_, open := s.Open(t.Context(), s.Ref("x"))
	_, read := s.Secret(t.Context(), "x")
	_, beside := s.Certificate(t.Context(), s.Ref("x"))
	for what, err := range map[string]error{
		"create": create, "open": open, "delete": s.Delete(t.Context(), s.Ref("x")),
		"certificate": beside, "secret": read, "delete secret": s.DeleteSecret(t.Context(), "x"),
	} {
		if !fault.Is(err, fault.Unauthenticated) || fault.Hint(err) != "unlock it" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if f.adds != 0 {
		t.Error("something was written")
	}
}

// An entry of the original holds the certificate before the key: both are read, and a replacement leaves our own form, a key alone.
func TestTheOriginalsEntryGivesBoth(t *testing.T) {
	f := &fake{}
	s, key := over(t, f)
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "entraclaw-provisioner", Days: 365, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	_ = encoded.Use(func(b []byte) error {
		f.entries[keystore.AgentService+":tenant"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})) + string(b)
		return nil
	})
	if der, err := s.Certificate(t.Context(), s.Ref("tenant")); err != nil || !bytes.Equal(der, cert.Raw) {
		t.Errorf("%d bytes, %v", len(der), err)
	}
	opened, err := s.Open(t.Context(), s.Ref("tenant"))
	if err != nil || keystore.Matches(cert, opened) != nil {
		t.Error(err)
	}
	if err := s.Replace(t.Context(), "tenant", opened); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Certificate(t.Context(), s.Ref("tenant")); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := s.Certificate(t.Context(), s.Ref("none")); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	f.entries[keystore.AgentService+":tenant"] = "words"
	if _, err := s.Certificate(t.Context(), s.Ref("tenant")); !fault.Is(err, fault.Corrupt) {
		t.Errorf("an entry that does not read is taken for one without a certificate: %v", err)
	}
}

// A library that is deaf to its context is left behind at the deadline, but its lock is held until it returns, so that the abandoned write
// cannot meet the next one.
func TestAbandonedWriteKeepsItsLock(t *testing.T) {
	f := &fake{block: make(chan struct{})}
	s, key := over(t, f)
	for range 2 { // the first waits in the write, the second for the lock
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := s.Create(ctx, "x", key); !fault.Is(err, fault.Unavailable, fault.Busy) {
			t.Errorf("create: %v", err)
		}
		cancel()
	}
	close(f.block)
	if _, err := s.Create(t.Context(), "x", key); !fault.Is(err, fault.Conflict) {
		t.Errorf("create after the abandoned one: %v", err)
	}
	if f.adds != 1 {
		t.Errorf("%d writes", f.adds)
	}
}

// The limit is that of the smallest keychain everywhere, and the error says which and what to do.
func TestSecretThatSomeKeychainCannotHoldIsRefused(t *testing.T) {
	f := &fake{}
	s, _ := over(t, f)
	if err := s.PutSecret(t.Context(), "x", secret.New([]byte(strings.Repeat("t", maxSecret)))); err != nil {
		t.Error(err)
	}
	f.adds = 0
	err := s.PutSecret(t.Context(), "x", secret.New([]byte(strings.Repeat("t", maxSecret+1))))
	if !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "2400 bytes") || !strings.Contains(fault.Hint(err), "--keystore age:") {
		t.Errorf("%v (%s; hint %q)", err, fault.CodeOf(err), fault.Hint(err))
	}
	if f.adds != 0 {
		t.Error("something was written")
	}
}

func TestServiceMustBeAPlainName(t *testing.T) {
	for _, bad := range []string{"a:b", "a\nb"} {
		if _, err := New(Config{Service: bad}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s, err := New(Config{})
	if err != nil || s.Ref("t/a#1").String() != "keychain:leastkey-agent/t/a#1" {
		t.Errorf("%s, %v", s.Ref("t/a#1"), err)
	}
}
