package preflight

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	s, err := New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), db); err != nil {
		t.Fatalf("a second New: %v", err)
	}
	return s
}

func example(agent, id string) api.PreflightReport {
	r := api.PreflightReport{
		ID: id, Agent: agent, Kind: "service-principal", Cloud: "local", TenantID: "t", At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), LedgerHead: "head",
		Findings: []finding.Finding{{ID: "owners", Outcome: finding.Warn, Detail: "<two> & \u2028 é", Category: finding.Identity, Required: true,
			Evidence: []finding.Evidence{{Asked: "GET https://graph", Answer: "{}", Status: 200, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: time.Millisecond}}}},
		Counts: api.Counts{Warnings: 1}, Green: true, Changes: []api.PreflightChange{{ID: "owners", Was: finding.Pass, Now: finding.Warn}},
	}
	r.Digest = r.Seal()
	return r
}

func save(t *testing.T, s *Store, agent string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := s.Save(t.Context(), example(agent, id)); err != nil {
			t.Fatal(err)
		}
	}
}

func ids(all []api.PreflightReport) string {
	var b strings.Builder
	for _, r := range all {
		b.WriteString(r.ID + " ")
	}
	return strings.TrimSpace(b.String())
}

func TestReportsAreKeptWholeAndInOrder(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	if r, err := s.Latest(ctx, "bot"); r != nil || err != nil {
		t.Fatal(r, err)
	}
	if all, err := s.List(ctx, "bot", 0); len(all) != 0 || err != nil {
		t.Fatal(all, err)
	}
	save(t, s, "bot", "c", "a", "b")
	save(t, s, "other", "z")
	if r, err := s.Latest(ctx, "bot"); err != nil || !reflect.DeepEqual(*r, example("bot", "b")) {
		t.Fatalf("%+v %v", r, err)
	}
	if r, err := s.Get(ctx, "bot", "c"); err != nil || !reflect.DeepEqual(r, example("bot", "c")) {
		t.Fatalf("%+v %v", r, err)
	}
	for limit, want := range map[int]string{0: "b a c", 2: "b a", 9: "b a c"} {
		if all, err := s.List(ctx, "bot", limit); err != nil || ids(all) != want {
			t.Errorf("List %d is %q (%v), want %q", limit, ids(all), err, want)
		}
	}
	for _, who := range [][2]string{{"bot", "z"}, {"other", "a"}, {"bot", "x"}, {"", ""}} {
		if _, err := s.Get(ctx, who[0], who[1]); !fault.Is(err, fault.NotFound) {
			t.Errorf("Get %v: %v", who, err)
		}
	}
}

func TestTheOldestReportsOfAnAgentGo(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	s.Keep = 3
	save(t, s, "bot", "1", "2")
	save(t, s, "other", "o1", "o2", "o3")
	save(t, s, "bot", "3", "4", "5")
	for agent, want := range map[string]string{"bot": "5 4 3", "other": "o3 o2 o1"} {
		if all, err := s.List(ctx, agent, 0); err != nil || ids(all) != want {
			t.Errorf("%s has %q (%v), want %q", agent, ids(all), err, want)
		}
	}
	if _, err := s.Get(ctx, "bot", "1"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestManyRunsOfADayEraseNoOtherDay(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	day := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	run := func(id string, at time.Time) {
		t.Helper()
		r := example("bot", id)
		r.At = at
		r.Digest = r.Seal()
		if err := s.Save(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for d := range 3 {
		for i := range 2 {
			run(fmt.Sprintf("d%d-%d", d, i), day.AddDate(0, 0, d).Add(time.Duration(i)*time.Hour))
		}
	}
	save(t, s, "other", "o1", "o2")
	if _, err := s.db.ExecContext(ctx, `UPDATE preflights SET report = 'damaged' WHERE id = 'd1-0'`); err != nil {
		t.Fatal(err)
	}
	for i := range 450 {
		run(fmt.Sprintf("flood%03d", i), day.AddDate(0, 0, 5).Add(time.Duration(i)*time.Second))
	}
	var have []string
	rows, err := s.db.QueryContext(ctx, `SELECT id FROM preflights WHERE agent = 'bot' ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		have = append(have, id)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if len(have) > Keep || !strings.HasPrefix(strings.Join(have, " "), "d0-1 d1-0 d1-1 d2-1 flood") || have[len(have)-1] != "flood449" {
		t.Errorf("%d are kept: %v", len(have), have)
	}
	if all, err := s.List(ctx, "other", 0); err != nil || ids(all) != "o2 o1" {
		t.Errorf("another agent has %q %v", ids(all), err)
	}
	for d := range 400 { // a year of one a day stays bounded
		run(fmt.Sprintf("year%03d", d), day.AddDate(0, 1, d))
	}
	var n int
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM preflights WHERE agent = 'bot'`).Scan(&n); err != nil || n > Keep {
		t.Errorf("%d are kept after a year: %v", n, err)
	}
}

// The seals are those of every agent's reports, and what was changed in one shows in them.
func TestTheSealsOfAllAgents(t *testing.T) {
	s := newStore(t)
	save(t, s, "a", "1", "2")
	save(t, s, "b", "3")
	if _, err := s.db.ExecContext(t.Context(), `UPDATE preflights SET report = replace(report, '"ledger_head":"head"', '"ledger_head":"other"') WHERE id = '2'`); err != nil {
		t.Fatal(err)
	}
	all, err := s.Seals(t.Context())
	if err != nil || ids(all) != ids([]api.PreflightReport{{ID: "1"}, {ID: "2"}, {ID: "3"}}) {
		t.Fatalf("%v %v", all, err)
	}
	for i, want := range []string{"head", "other", "head"} {
		if all[i].LedgerHead != want || all[i].Digest == "" || all[i].Agent == "" || all[i].Findings != nil {
			t.Errorf("%+v", all[i])
		}
	}
}

func TestOnlyASealedReportIsKeptAndNoneReplacesAnother(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	save(t, s, "bot", "1")
	for name, change := range map[string]func(*api.PreflightReport){
		"without an id":      func(r *api.PreflightReport) { r.ID = "" },
		"without an agent":   func(r *api.PreflightReport) { r.Agent = "" },
		"without a digest":   func(r *api.PreflightReport) { r.Digest = "" },
		"of another content": func(r *api.PreflightReport) { r.Green = false },
	} {
		r := example("bot", "2")
		change(&r)
		if !strings.Contains(name, "content") && r.Digest != "" {
			r.Digest = r.Seal()
		}
		if err := s.Save(ctx, r); !fault.Is(err, fault.Invalid) {
			t.Errorf("one %s: %v", name, err)
		}
	}
	for _, agent := range []string{"bot", "other"} {
		if err := s.Save(ctx, example(agent, "1")); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second report 1, of %s: %v", agent, err)
		}
	}
	if all, err := s.List(ctx, "bot", 0); err != nil || ids(all) != "1" {
		t.Error(ids(all), err)
	}
}

func TestReportThatDoesNotReadIsRefused(t *testing.T) {
	for name, tamper := range map[string]string{
		"cut off":                 `UPDATE preflights SET report = substr(report, 1, 40)`,
		"with a changed outcome":  `UPDATE preflights SET report = replace(report, '"warn"', '"pass"')`,
		"of a later version":      `UPDATE preflights SET report = replace(report, '{"id":"1"', '{"new":1,"id":"1"')`,
		"of another agent":        `UPDATE preflights SET report = replace(report, '"agent":"bot"', '"agent":"eve"')`,
		"under another id":        `UPDATE preflights SET id = '2'`,
		"followed by something":   `UPDATE preflights SET report = report || '{}'`,
		"empty":                   `UPDATE preflights SET report = ''`,
		"with another ledger end": `UPDATE preflights SET report = replace(report, '"head"', '"feet"')`,
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newStore(t), t.Context()
			save(t, s, "bot", "1")
			if _, err := s.db.ExecContext(ctx, tamper); err != nil {
				t.Fatal(err)
			}
			id := "1"
			if strings.Contains(tamper, "SET id") {
				id = "2"
			}
			_, byID := s.Get(ctx, "bot", id)
			_, newest := s.Latest(ctx, "bot")
			_, listed := s.List(ctx, "bot", 0)
			for what, err := range map[string]error{"Get": byID, "Latest": newest, "List": listed} {
				if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "agent bot") {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func TestManySaveAtOnce(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.Save(t.Context(), example("bot", fmt.Sprint("r", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := s.List(t.Context(), "bot", 0); err != nil || len(all) != 20 {
		t.Fatal(len(all), err)
	}
}

func TestClosedDatabaseIsNotAnEmptyHistory(t *testing.T) {
	s := newStore(t)
	_ = s.db.Close()
	if _, err := s.Latest(t.Context(), "bot"); err == nil {
		t.Error("an empty history")
	}
	if _, err := s.Get(t.Context(), "bot", "1"); err == nil || fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if err := s.Save(t.Context(), example("bot", "1")); err == nil {
		t.Error("it was kept")
	}
}
