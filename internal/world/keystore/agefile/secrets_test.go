package agefile

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

const secretVictimEnv = "LEASTKEY_TEST_AGEFILE_SECRET_VICTIM"

// numbered is a secret that says which one it is, long enough to be cut.
func numbered(n int) secret.Value {
	return secret.New(fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 3000)))
}

func number(t *testing.T, v secret.Value) (n int) {
	t.Helper()
	err := v.Use(func(b []byte) (err error) {
		head, tail, _ := strings.Cut(string(b), " ")
		if len(tail) != 3000 {
			t.Errorf("a secret of %d bytes came back", len(b))
		}
		n, err = strconv.Atoi(head)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// secretVictim replaces the secret without end, each with the next number. It prints the number before PutSecret begins and again when it
// has returned.
func secretVictim(dir string) {
	s, err := New(Config{Path: dir, Development: true})
	if err != nil {
		panic(err)
	}
	n := 0
	switch v, err := s.Secret(context.Background(), "login/t"); {
	case err == nil:
		_ = v.Use(func(b []byte) error { _, err := fmt.Sscan(string(b), &n); return err })
	case !fault.Is(err, fault.NotFound):
		panic(err)
	}
	for {
		n++
		fmt.Println("begin", n)
		if err := s.PutSecret(context.Background(), "login/t", numbered(n)); err != nil {
			panic(err)
		}
		fmt.Println("end", n)
	}
}

// A process killed at any moment leaves the secret that it reported last or the one that it was writing, whole, and never none.
func TestKilledProcessLeavesTheOldSecretOrTheNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, Config{Path: dir, Development: true})
	last := 0
	for round := range 40 {
		for _, reported := range killAfter(t, secretVictimEnv, dir, round%5+1) {
			n, err := strconv.Atoi(reported)
			if err != nil {
				t.Fatal(err)
			}
			last = n
		}
		v, err := s.Secret(t.Context(), "login/t")
		if last == 0 && fault.Is(err, fault.NotFound) {
			continue // killed in the very first
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		got := number(t, v)
		if got != last && got != last+1 {
			t.Fatalf("round %d: secret %d, but %d was reported", round, got, last)
		}
		last = got
	}
	if last < 40 {
		t.Errorf("only %d secrets were written in 40 rounds", last)
	}
	if err := s.PutSecret(t.Context(), "login/t", numbered(0)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 0 {
		t.Errorf("left over after the next put: %q", left)
	}
}

// A file that does not prove itself under its temporary name never takes the place of the old one.
func TestOldSecretStaysUntilTheNewOneIsProven(t *testing.T) {
	s, file := withSecret(t)
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	err = s.replace("put", file, []byte("garbage"), func(temp string) error {
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, old) {
			t.Errorf("the old file is gone before the new one is proven: %v", err)
		}
		_, err := decryptFile(temp, s.keys)
		return err
	})
	want(t, "replace with garbage", err, fault.Corrupt)
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, old) {
		t.Errorf("the old file did not survive: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, tempPrefix+"*")); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
}

// withSecret is a store with the key "k" and the secret "login/t", and the path of the secret's file.
func withSecret(t *testing.T) (*Store, string) {
	t.Helper()
	s, _ := stored(t)
	if err := s.PutSecret(t.Context(), "login/t", secret.New([]byte("refresh-token"))); err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(s.dir, "secret%3Alogin%2Ft.age")
}

func TestSecretFileIsPrivateAndHoldsNoPlaintext(t *testing.T) {
	_, file := withSecret(t)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(content, []byte("age-encryption.org/v1\n")) || bytes.Contains(content, []byte("refresh")) || bytes.Contains(content, []byte("login")) {
		t.Error("the secret is not in an age file")
	}
}

// Whoever may write into the folder, but not read, must not be able to choose what is sent as the refresh token of a tenant.
func TestFileUnderAnotherNameIsNoSecret(t *testing.T) {
	s, file := withSecret(t)
	if err := s.PutSecret(t.Context(), "login/other", secret.New([]byte("other"))); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"k.age", "secret%3Alogin%2Fother.age"} {
		content, err := os.ReadFile(filepath.Join(s.dir, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := s.Secret(t.Context(), "login/t")
		want(t, from+" in its place", err, fault.Corrupt)
		if !v.Empty() {
			t.Errorf("%s: a value came with the error", from)
		}
	}
	content, err := os.ReadFile(filepath.Join(s.dir, "secret%3Alogin%2Fother.age"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "k.age"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), s.Ref("k"))
	want(t, "a secret in the place of a key", err, fault.Corrupt)
}

func TestDamagedSecretIsNeverAbsentAndCanBeReplaced(t *testing.T) {
	s, file := withSecret(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 1 + n%7 {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Secret(t.Context(), "login/t")
		want(t, fmt.Sprintf("cut to %d bytes", n), err, fault.Corrupt)
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Secret(t.Context(), "login/t")
	want(t, "endless file", err, fault.Corrupt)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = s.Secret(t.Context(), "login/t")
	want(t, "open to other users", err, fault.Refused)
	if err := s.PutSecret(t.Context(), "login/t", secret.New([]byte("again"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Secret(t.Context(), "login/t"); err != nil {
		t.Error(err)
	}
}

// A link in the place of the file is refused on read; on write it goes, and what it led to stays.
func TestLinkInThePlaceOfASecret(t *testing.T) {
	s, file := withSecret(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Rename(file, victim); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, file); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Secret(t.Context(), "login/t")
	want(t, "symbolic link", err, fault.Refused)
	if err := s.PutSecret(t.Context(), "login/t", secret.New([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(victim); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a file outside the folder was written: %v", err)
	}
	if _, err := s.Secret(t.Context(), "login/t"); err != nil {
		t.Error(err)
	}
}

func TestOtherIdentityIsNotAnAbsentSecret(t *testing.T) {
	s, _ := withSecret(t)
	_, err := open(t, Config{Path: s.dir, IdentityFile: identityFile(t)}).Secret(t.Context(), "login/t")
	want(t, "other identity", err, fault.Unauthenticated)
	away := open(t, Config{Path: filepath.Join(t.TempDir(), "disk", "keys"), IdentityFile: s.cfg.IdentityFile})
	_, err = away.Secret(t.Context(), "login/t")
	want(t, "disk that is not there", err, fault.Unavailable)
	want(t, "put on it", away.PutSecret(t.Context(), "login/t", secret.New([]byte("x"))), fault.Unavailable)
	want(t, "delete on it", away.DeleteSecret(t.Context(), "login/t"), fault.Unavailable)
}

// A store that holds secrets alone is not an empty one.
func TestSecretsAloneProvePassphraseAndIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	right := open(t, Config{Path: dir, Passphrase: phrase("right"), WorkFactor: 4})
	if err := right.PutSecret(t.Context(), "login/t", secret.New([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	wrong := open(t, Config{Path: dir, Passphrase: phrase("wrong"), WorkFactor: 4})
	want(t, "put under a mistyped passphrase", wrong.PutSecret(t.Context(), "login/t", secret.New([]byte("y"))), fault.Unauthenticated)
	_, err := wrong.Create(t.Context(), "k", newKey(t))
	want(t, "create under a mistyped passphrase", err, fault.Unauthenticated)

	dev := open(t, Config{Path: filepath.Join(t.TempDir(), "keys"), Development: true})
	if err := dev.PutSecret(t.Context(), "login/t", secret.New([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dev.cfg.IdentityFile); err != nil {
		t.Fatal(err)
	}
	want(t, "put with the identity gone", reopened(t, dev).PutSecret(t.Context(), "login/t", secret.New([]byte("y"))), fault.Corrupt)
}

// The longest secret fits beside the header of many post-quantum identities.
func TestLongestSecretFits(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "keys"), IdentityFile: hybridFile(t)})
	long := bytes.Repeat([]byte("x"), keystore.MaxSecret)
	if err := s.PutSecret(t.Context(), "x", secret.New(long)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Secret(t.Context(), "x")
	if err != nil || !got.Equal(secret.New(long)) {
		t.Error(err)
	}
}
