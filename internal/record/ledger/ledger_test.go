package ledger

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func newLedger(t *testing.T, entries int) *Ledger {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	l, err := New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), db); err != nil {
		t.Fatalf("a second New: %v", err)
	}
	for i := range entries {
		if _, err := l.Append(t.Context(), api.LedgerEntry{Actor: "me <&> \xff", Action: "apply", Subject: fmt.Sprint("agent ", i), Allowed: i%2 == 0}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestEntriesAreChained(t *testing.T) {
	l, ctx := newLedger(t, 0), t.Context()
	if head, err := l.Head(ctx); head != "" || err != nil {
		t.Fatal(head, err)
	}
	l.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)) }
	var want []api.LedgerEntry
	prev := ""
	for i := range int64(5) {
		e, err := l.Append(ctx, api.LedgerEntry{Seq: 77, Prev: "x", Hash: "y", Actor: "me", Action: "apply", Subject: "a", Allowed: true, Detail: "digest"})
		if err != nil || e.Seq != i+1 || e.Prev != prev || len(e.Hash) != 64 || !e.At.Equal(l.Now()) {
			t.Fatalf("%+v %v", e, err)
		}
		prev = e.Hash
		want = append(want, e)
	}
	if head, err := l.Head(ctx); head != prev || err != nil {
		t.Fatal(head, err)
	}
	if all, err := l.List(ctx, 0); err != nil || !reflect.DeepEqual(all, want) {
		t.Fatalf("%+v %v", all, err)
	}
	if all, err := l.List(ctx, 2); err != nil || !reflect.DeepEqual(all, want[3:]) {
		t.Fatalf("%+v %v", all, err)
	}
	if v, err := l.Verify(ctx); err != nil || v != (api.LedgerVerdict{Entries: 5, Head: prev, Intact: true}) {
		t.Fatalf("%+v %v", v, err)
	}
	// An auditor recomputes the hash from this text; a change of it breaks every ledger that exists.
	const first = `{"seq":1,"at":"2026-01-02T02:04:05.000000006Z","actor":"me","action":"apply","subject":"a","allowed":true,"detail":"digest","prev":""}`
	if hashOf([]byte(first)) != want[0].Hash {
		t.Fatal("the canonical form has changed")
	}
}

func TestLedgerRefusesChangeBySQL(t *testing.T) {
	l := newLedger(t, 3)
	for _, q := range []string{
		`UPDATE ledger SET hash = ''`, `DELETE FROM ledger WHERE seq = 3`, `INSERT INTO ledger VALUES (9, '', '')`,
		`INSERT OR REPLACE INTO ledger VALUES (2, '', '')`, `DELETE FROM ledger`,
	} {
		if _, err := l.db.ExecContext(t.Context(), q); err == nil {
			t.Errorf("%s passed", q)
		}
	}
	if v, err := l.Verify(t.Context()); err != nil || !v.Intact || v.Entries != 3 {
		t.Fatalf("%+v %v", v, err)
	}
}

// What guards the table is made once: to open the ledger again does not hide that somebody has taken a guard away or emptied it.
func TestAMissingGuardIsTold(t *testing.T) {
	const still = `CREATE TRIGGER ledger_only_grows BEFORE INSERT ON ledger BEGIN SELECT 1; END`
	for change, want := range map[string][]string{
		``: nil, `DROP TRIGGER ledger_is_not_deleted`: {"ledger_is_not_deleted"}, `DROP TRIGGER ledger_only_grows; ` + still: {"ledger_only_grows"},
		`DROP TRIGGER ledger_is_not_changed; DROP TRIGGER ledger_is_not_deleted`: {"ledger_is_not_changed", "ledger_is_not_deleted"},
	} {
		l := newLedger(t, 1)
		if _, err := l.db.ExecContext(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		again, err := New(t.Context(), l.db)
		if err != nil {
			t.Fatal(err)
		}
		if gone, err := again.Unguarded(t.Context()); err != nil || !reflect.DeepEqual(gone, want) {
			t.Errorf("%s: %v %v, want %v", change, gone, err, want)
		}
	}
}

func TestVerifySeesTampering(t *testing.T) {
	const unguard = `DROP TRIGGER ledger_is_not_changed; DROP TRIGGER ledger_is_not_deleted; DROP TRIGGER ledger_only_grows;`
	for name, c := range map[string]struct {
		tamper string
		broken int64
	}{
		"a changed entry":            {`UPDATE ledger SET entry = replace(entry, 'agent 1', 'agent 7') WHERE seq = 2`, 2},
		"a changed hash":             {`UPDATE ledger SET hash = replace(hash, '0', '1') WHERE seq = 3`, 3},
		"a deleted first entry":      {`DELETE FROM ledger WHERE seq = 1`, 1},
		"a deleted middle":           {`DELETE FROM ledger WHERE seq = 3`, 3},
		"a gap closed by renumber":   {`DELETE FROM ledger WHERE seq = 3; UPDATE ledger SET seq = seq - 1 WHERE seq > 3`, 3},
		"two entries changed places": {`UPDATE ledger SET seq = -1 WHERE seq = 2; UPDATE ledger SET seq = 2 WHERE seq = 3; UPDATE ledger SET seq = 3 WHERE seq = -1`, 2},
		"an entry that is no JSON":   {`UPDATE ledger SET entry = 'x' WHERE seq = 4`, 4},
		"an entry with more fields":  {`UPDATE ledger SET entry = replace(entry, '{', '{"x":1,') WHERE seq = 4`, 4},
		"an entry before the first":  {`INSERT INTO ledger SELECT 0, entry, hash FROM ledger WHERE seq = 1`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l, ctx := newLedger(t, 5), t.Context()
			if _, err := l.db.ExecContext(ctx, unguard+c.tamper); err != nil {
				t.Fatal(err)
			}
			if v, err := l.Verify(ctx); err != nil || v.Intact || v.Broken != c.broken {
				t.Fatalf("%+v %v, want broken at %d", v, err, c.broken)
			}
		})
	}
	t.Run("an end cut off, against the head known from before", func(t *testing.T) {
		l, ctx := newLedger(t, 5), t.Context()
		head, err := l.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := l.VerifyHead(ctx, head); err != nil || !v.Intact {
			t.Fatalf("%+v %v", v, err)
		}
		if _, err := l.Append(ctx, api.LedgerEntry{Actor: "me"}); err != nil {
			t.Fatal(err)
		}
		if v, err := l.VerifyHead(ctx, head); err != nil || !v.Intact {
			t.Fatalf("a ledger that has grown since: %+v %v", v, err)
		}
		if _, err := l.db.ExecContext(ctx, unguard+`DELETE FROM ledger WHERE seq > 4`); err != nil {
			t.Fatal(err)
		}
		if v, err := l.Verify(ctx); err != nil || !v.Intact {
			t.Fatalf("%+v %v", v, err)
		}
		if v, err := l.VerifyHead(ctx, head); err != nil || v.Intact || v.Broken != 5 {
			t.Fatalf("%+v %v", v, err)
		}
	})
	t.Run("a changed last entry stops the next", func(t *testing.T) {
		l, ctx := newLedger(t, 2), t.Context()
		if _, err := l.db.ExecContext(ctx, unguard+`UPDATE ledger SET entry = replace(entry, 'apply', 'apple') WHERE seq = 2`); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(ctx, api.LedgerEntry{}); !fault.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
		if _, err := l.Head(ctx); !fault.Is(err, fault.Corrupt) {
			t.Fatal(err)
		}
	})
}

func TestManyAppendAtOnce(t *testing.T) {
	l := newLedger(t, 0)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := l.Append(t.Context(), api.LedgerEntry{Actor: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v, err := l.Verify(t.Context()); err != nil || !v.Intact || v.Entries != 20 {
		t.Fatalf("%+v %v", v, err)
	}
}
