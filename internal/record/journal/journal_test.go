package journal

import (
	"context"
	"database/sql"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.FixedZone("", 3600))

func openAt(ctx context.Context, path string) (*Journal, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path)+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	j, err := New(ctx, db)
	if err != nil {
		return nil, err
	}
	j.Now = func() time.Time { return noon }
	return j, nil
}

func newJournal(t *testing.T) *Journal {
	t.Helper()
	j, err := openAt(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.db.Close() })
	return j
}

func example(id, name string) agent.Run {
	p := agent.Plan{Version: 1, Verb: agent.Apply, Tenant: "t", Agent: name, Spec: &agent.Spec{Cloud: agent.Local, Agents: map[string]*agent.Agent{name: {Name: name}}},
		Steps: []agent.Step{{ID: "app", Action: agent.CreateApplication, With: map[string]string{"name": "<&>"}}}}
	return agent.Run{ID: id, Agent: name, Verb: agent.Apply, Digest: p.Digest(), Actor: "me", Plan: p}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunFromStartToFinish(t *testing.T) {
	j, ctx := newJournal(t), t.Context()
	if open, err := j.Open(ctx, "a"); open != nil || err != nil {
		t.Fatal(open, err)
	}
	if last, err := j.Last(ctx, "a"); last != nil || err != nil {
		t.Fatal(last, err)
	}
	want := example("r1", "a")
	must(t, j.Start(ctx, want))
	must(t, j.Start(ctx, example("r2", "b")))
	want.Started, want.Status = noon.UTC(), agent.RunOpen
	got, err := j.Open(ctx, "a")
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Fatalf("%+v %v", got, err)
	}
	if got.Plan.Digest() != want.Digest {
		t.Fatal("the plan that comes back has another digest")
	}
	if all, err := j.OpenRuns(ctx); err != nil || len(all) != 2 || all[0].ID != "r1" || all[1].ID != "r2" {
		t.Fatalf("%+v %v", all, err)
	}

	must(t, j.Finish(ctx, "r1", agent.RunDone))
	must(t, j.Finish(ctx, "r1", agent.RunDone))
	if err := j.Finish(ctx, "r1", agent.RunSuperseded); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
	if open, err := j.Open(ctx, "a"); open != nil || err != nil {
		t.Fatal(open, err)
	}
	must(t, j.Start(ctx, example("r0", "a")))
	if last, err := j.Last(ctx, "a"); err != nil || last.ID != "r0" {
		t.Fatal(last, err)
	}
	must(t, j.Finish(ctx, "r0", agent.RunSuperseded))
	if last, err := j.Last(ctx, "a"); err != nil || last.Status != agent.RunSuperseded || !last.Finished.Equal(noon) {
		t.Fatal(last, err)
	}
}

func TestWhatARunRefuses(t *testing.T) {
	j, ctx := newJournal(t), t.Context()
	must(t, j.Start(ctx, example("r1", "a")))
	for what, c := range map[string]struct {
		err  error
		want fault.Code
	}{
		"a second open run":    {j.Start(ctx, example("r2", "a")), fault.Conflict},
		"an id that is taken":  {j.Start(ctx, example("r1", "b")), fault.Conflict},
		"a run without an id":  {j.Start(ctx, example("", "b")), fault.Invalid},
		"an unknown run":       {j.Finish(ctx, "r9", agent.RunDone), fault.NotFound},
		"to finish as open":    {j.Finish(ctx, "r1", agent.RunOpen), fault.Invalid},
		"an end without begin": {j.End(ctx, "r1", "app", agent.Result{}), fault.Conflict},
	} {
		if !fault.Is(c.err, c.want) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	if _, err := j.Begin(ctx, "r9", "app", nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	_, err := j.Begin(ctx, "r1", "app", nil)
	must(t, err)
	if err := j.Finish(ctx, "r1", agent.RunDone); !fault.Is(err, fault.Conflict) {
		t.Errorf("a run with a pending step is done: %v", err)
	}
	must(t, j.Finish(ctx, "r1", agent.RunSuperseded))
	if _, err := j.Begin(ctx, "r1", "sp", nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("a step of a finished run: %v", err)
	}
}

func TestStepKeepsItsFirstIntent(t *testing.T) {
	j, ctx := newJournal(t), t.Context()
	must(t, j.Start(ctx, example("r1", "a")))
	first, err := j.Begin(ctx, "r1", "sp", map[string]string{"nonce": "one"})
	must(t, err)
	if !first.Begun.Equal(noon) || first.Ended != nil {
		t.Fatalf("%+v", first)
	}
	again, err := j.Begin(ctx, "r1", "sp", map[string]string{"nonce": "two"})
	must(t, err)
	if !reflect.DeepEqual(again, first) {
		t.Fatalf("%+v, first %+v", again, first)
	}
	_, err = j.Begin(ctx, "r1", "app", nil)
	must(t, err)

	r := agent.Result{Detail: "made <it>", Facts: map[string]string{"b": "2", "a": "1"},
		Evidence: []finding.Evidence{{Asked: "GET x", Answer: "200", At: noon.UTC(), Took: time.Second}}}
	must(t, j.End(ctx, "r1", "sp", r))
	must(t, j.End(ctx, "r1", "sp", r))
	other := r
	other.Detail = "other"
	if err := j.End(ctx, "r1", "sp", other); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
	all, err := j.Entries(ctx, "r1")
	must(t, err)
	ended := noon.UTC()
	first.Ended, first.Result = &ended, r
	if len(all) != 2 || !reflect.DeepEqual(all[0], first) || all[1].StepID != "app" || all[1].Ended != nil {
		t.Fatalf("%+v", all)
	}
	if e, err := j.Begin(ctx, "r1", "sp", nil); err != nil || !reflect.DeepEqual(e, first) {
		t.Fatalf("%+v %v", e, err)
	}
}

func TestDamagedJournalIsRefused(t *testing.T) {
	for name, damage := range map[string]string{
		"two open runs":            `DROP INDEX runs_open; INSERT INTO runs SELECT 'r2', 2, agent, verb, digest, actor, plan, started, finished, status FROM runs`,
		"a plan cut off":           `UPDATE runs SET plan = '{"version":'`,
		"a plan of a later shape":  `UPDATE runs SET plan = '{"version":2,"more":true}'`,
		"a time that is none":      `UPDATE runs SET started = 'yesterday'`,
		"open with a finishing":    `UPDATE runs SET finished = started`,
		"no status that we know":   `UPDATE runs SET status = 'paused', finished = started`,
		"an intent cut off":        `UPDATE entries SET intent = '{"nonce"'`,
		"an end without a result":  `UPDATE entries SET ended = begun`,
		"a result that is no JSON": `UPDATE entries SET ended = begun, result = 'ok'`,
	} {
		t.Run(name, func(t *testing.T) {
			j, ctx := newJournal(t), t.Context()
			must(t, j.Start(ctx, example("r1", "a")))
			_, err := j.Begin(ctx, "r1", "app", map[string]string{"nonce": "n"})
			must(t, err)
			if _, err := j.db.ExecContext(ctx, damage); err != nil {
				t.Fatal(err)
			}
			_, openErr := j.Open(ctx, "a")
			_, lastErr := j.Last(ctx, "a")
			_, entriesErr := j.Entries(ctx, "r1")
			_, beginErr := j.Begin(ctx, "r1", "app", nil)
			if name == "no status that we know" {
				openErr = lastErr // it is not open, but it is the last
			}
			if !fault.Is(openErr, fault.Corrupt) && (!fault.Is(entriesErr, fault.Corrupt) || !fault.Is(beginErr, fault.Corrupt)) {
				t.Fatalf("%v; %v; %v", openErr, entriesErr, beginErr)
			}
		})
	}
}
