package access

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "access.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func text(t *testing.T, v secret.Value) (s string) {
	t.Helper()
	_ = v.Use(func(b []byte) error { s = string(b); return nil })
	return s
}

func TestATokenIsShownOnceAndKnownAgain(t *testing.T) {
	s, dir := open(t)
	made, err := s.Add(t.Context(), "ci", api.Approve, "ada")
	if err != nil {
		t.Fatal(err)
	}
	shown := text(t, made.Value)
	if !strings.HasPrefix(shown, "lk_") || len(shown) != 55 {
		t.Fatalf("a token of %d letters", len(shown))
	}
	got, err := s.Check(t.Context(), secret.New([]byte(shown)))
	if err != nil || got.Name != "ci" || got.Level != api.Approve || got.By != "ada" || got.Used.IsZero() {
		t.Fatalf("%+v %v", got, err)
	}
	for _, name := range []string{"access.db", "access.db-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(shown)) || bytes.Contains(b, []byte(shown[3:])) {
			t.Errorf("%s holds the token", name)
		}
	}
}

func TestWhatIsNotAToken(t *testing.T) {
	s, _ := open(t)
	made, err := s.Add(t.Context(), "one", api.View, "ada")
	if err != nil {
		t.Fatal(err)
	}
	shown := text(t, made.Value)
	for _, wrong := range []string{"", "lk_", shown[:len(shown)-1], shown + "A", strings.ToLower(shown), shown[3:], " " + shown} {
		if _, err := s.Check(t.Context(), secret.New([]byte(wrong))); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%d letters: %v", len(wrong), err)
		}
	}
	if err := s.Revoke(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(t.Context(), secret.New([]byte(shown))); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("revoked, and it opens: %v", err)
	}
	if _, err := s.Current(t.Context(), "one"); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("revoked, and it is current: %v", err)
	}
	if err := s.Revoke(t.Context(), "one"); !fault.Is(err, fault.NotFound) {
		t.Errorf("revoked twice: %v", err)
	}
}

func TestNamesAndRoles(t *testing.T) {
	s, _ := open(t)
	for _, name := range []string{"", "ADMIN_SECRET", "a b", "a\nb", "-a", "a-", strings.Repeat("a", 64), "ä"} {
		if _, err := s.Add(t.Context(), name, api.View, "ada"); !fault.Is(err, fault.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := s.Add(t.Context(), "root", "owner", "ada"); !fault.Is(err, fault.Invalid) {
		t.Errorf("role owner: %v", err)
	}
	if _, err := s.Add(t.Context(), "a", api.View, "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), "a", api.Full, "ada"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second token of a name: %v", err)
	}
	if err := s.Revoke(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), "a", api.Full, "eve"); err != nil {
		t.Errorf("a name of a revoked token: %v", err)
	}
	all, err := s.List(t.Context())
	if err != nil || len(all) != 2 || all[0].Revoked.IsZero() || !all[1].Revoked.IsZero() || all[1].Level != api.Full {
		t.Errorf("%+v %v", all, err)
	}
}

func TestTheLastUseIsKeptToTheMinute(t *testing.T) {
	s, _ := open(t)
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	made, err := s.Add(t.Context(), "a", api.View, "ada")
	if err != nil {
		t.Fatal(err)
	}
	first := now
	for _, row := range []struct {
		after time.Duration
		want  time.Time
	}{{0, first}, {59 * time.Second, first}, {time.Second, first.Add(time.Minute)}} {
		now = now.Add(row.after)
		got, err := s.Check(t.Context(), made.Value)
		if err != nil || !got.Used.Equal(row.want) {
			t.Errorf("at %s: used %s, %v", now, got.Used, err)
		}
	}
}

func TestADamagedTableLetsNobodyIn(t *testing.T) {
	s, _ := open(t)
	made, err := s.Add(t.Context(), "a", api.View, "ada")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.ExecContext(t.Context(), `UPDATE tokens SET level = 'everything'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(t.Context(), made.Value); !fault.Is(err, fault.Corrupt) {
		t.Errorf("%v", err)
	}
}
