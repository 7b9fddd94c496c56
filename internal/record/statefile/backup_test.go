package statefile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const backedUp = "{\"PROVISIONER_CLIENT_SECRET\": \"CAN8Q~aRyCAN8Q~aRy\", \"X\": 1}\n"

func backUp(t *testing.T) (path, at string, id *age.X25519Identity) {
	t.Helper()
	path, id = filepath.Join(t.TempDir(), "state"), identity(t)
	if err := os.WriteFile(path, []byte(backedUp), 0o644); err != nil {
		t.Fatal(err)
	}
	at, err := BackUp(t.Context(), path, filepath.Join(t.TempDir(), "made", "here"), "run", id)
	if err != nil {
		t.Fatal(err)
	}
	return path, at, id
}

func TestABackUpOpensWithItsIdentityAlone(t *testing.T) {
	path, at, id := backUp(t)
	v, err := OpenBackUp(at, id)
	if err != nil {
		t.Fatal(err)
	}
	_ = v.Use(func(b []byte) error {
		if string(b) != backedUp {
			t.Errorf("%q", b)
		}
		return nil
	})
	if s, err := BackUpSecret(at, id); err != nil || s.Empty() || !s.Equal(values("CAN8Q~aRyCAN8Q~aRy")[0]) {
		t.Error(err)
	}
	sealed, err := os.ReadFile(at)
	if err != nil || strings.Contains(string(sealed), "8Q~") {
		t.Error("the copy is not encrypted", err)
	}
	if info, err := os.Stat(at); err != nil || (info.Mode().Perm()&0o077) != 0 {
		t.Error(info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(at)); err != nil || (info.Mode().Perm()&0o077) != 0 {
		t.Error(info.Mode(), err)
	}
	if _, err := OpenBackUp(at, identity(t)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another identity: %v", err)
	}
	if _, err := OpenBackUp(at+".none", id); !fault.Is(err, fault.NotFound) {
		t.Errorf("none: %v", err)
	}
	for n := range len(sealed) {
		if err := os.WriteFile(at, sealed[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBackUp(at, id); !fault.Is(err, fault.Corrupt) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(sealed), err)
		}
	}
	if _, err := BackUp(t.Context(), path, filepath.Dir(at), "run", id); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a damaged one that is there already is relied on: %v", err)
	}
}

func TestABackUpIsMadeOnce(t *testing.T) {
	path, at, id := backUp(t)
	dir := filepath.Dir(at)
	before, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil { // purged meanwhile
		t.Fatal(err)
	}
	if again, err := BackUp(t.Context(), path, dir, "run", id); err != nil || again != at {
		t.Error(again, err)
	}
	if after, err := os.ReadFile(at); err != nil || string(after) != string(before) {
		t.Error("the first copy, which holds the secret, was replaced")
	}
	// A process that was killed has left half a file under the temporary name.
	if err := os.WriteFile(filepath.Join(dir, "next.age.leastkey-new"), before[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := BackUp(t.Context(), path, dir, "next", id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBackUp(next, id); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(next + ".leastkey-new"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a temporary file is left")
	}
	if _, err := BackUp(t.Context(), path+".none", dir, "none", id); !fault.Is(err, fault.NotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := BackUp(t.Context(), path, filepath.Join(path, "x"), "run", id); err == nil {
		t.Error("a folder that cannot be made")
	}
	if s, err := BackUpSecret(next, id); err != nil || !s.Empty() {
		t.Errorf("a copy without a secret: %v", err)
	}
}

func TestBackUpsExpire(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 8, 8, 12, 0, 0, 0, time.UTC)
	for name, age := range map[string]time.Duration{
		"old.age": BackUpLife + time.Second, "due.age": BackUpLife, "young.age": BackUpLife - time.Second, "old.age.leastkey-new": BackUpLife + time.Hour, "young.age.leastkey-new": 0, "other.txt": 100 * BackUpLife, "later.age": -time.Hour,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chtimes(path, now.Add(-age), now.Add(-age))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.age"), 0o700); err != nil {
		t.Fatal(err)
	}
	removed, err := ExpireBackUps(dir, now)
	want := []string{filepath.Join(dir, "due.age"), filepath.Join(dir, "old.age"), filepath.Join(dir, "old.age.leastkey-new")}
	if slices.Sort(removed); err != nil || !slices.Equal(removed, want) {
		t.Errorf("%q %v", removed, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Error(entries, err)
	}
	if removed, err := ExpireBackUps(dir, now); err != nil || len(removed) > 0 {
		t.Error(removed, err)
	}
	if removed, err := ExpireBackUps(filepath.Join(dir, "none"), now); err != nil || len(removed) > 0 {
		t.Error(removed, err)
	}
	if _, err := ExpireBackUps(filepath.Join(dir, "other.txt"), now); err == nil {
		t.Error("a file is no folder")
	}
}
