package control_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	_ "modernc.org/sqlite"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// preflight runs it, and fails the test if there is no report.
func (w *world) preflight() api.PreflightReport {
	w.Helper()
	r, err := w.door().Preflight(w.Context(), api.PreflightRequest{}, nil)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) judge(r api.PreflightReport) api.PreflightVerdict {
	w.Helper()
	v, err := w.door().PreflightVerify(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// bad lists what is not good, for a test that has failed.
func bad(r api.PreflightReport) string {
	var b strings.Builder
	for _, f := range r.Findings {
		if f.Outcome != finding.Pass {
			b.WriteString("\n" + string(f.Outcome) + " " + f.ID + ": " + f.Detail)
		}
	}
	return b.String()
}

func outcome(r api.PreflightReport, id string) finding.Outcome {
	for _, f := range r.Findings {
		if f.ID == id {
			return f.Outcome
		}
	}
	return ""
}

func TestPreflightIsSealedRecordedAndKept(t *testing.T) {
	w := newWorld(t)
	w.hooks.Keys = nil // the keystore of the folder: one in memory is found to be none
	w.provision()
	var one sync.Mutex
	heard := map[string]finding.Outcome{}
	r, err := w.door().Preflight(t.Context(), api.PreflightRequest{Agent: bot}, func(e api.Event) {
		one.Lock()
		defer one.Unlock()
		heard[e.Step] = e.Finding.Outcome
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Green || len(r.Findings) == 0 || r.Counts != api.Count(r.Findings) || r.Before != "" || r.Changes != nil {
		t.Errorf("green %v, %+v, before %q%s", r.Green, r.Counts, r.Before, bad(r))
	}
	if len(heard) != len(r.Findings) {
		t.Errorf("%d events of %d findings", len(heard), len(r.Findings))
	}
	for _, f := range r.Findings {
		if heard[f.ID] != f.Outcome {
			t.Errorf("%s is %s, and was told as %s", f.ID, f.Outcome, heard[f.ID])
		}
	}
	rec := w.record()
	if r.Agent != bot || r.Kind != agent.ServicePrincipal || r.AppID != rec.AppID || r.PrincipalID != rec.PrincipalID || r.TenantID != w.cloud.TenantID() || r.As.Name == "" || r.Version == "" || len(r.ID) != 32 {
		t.Errorf("%+v", r)
	}
	if r.Requests == 0 || r.Rounds == 0 || r.Rounds > r.Requests {
		t.Errorf("%d requests, %d in a row", r.Requests, r.Rounds)
	}
	last := w.ledger(2)
	if last[0].Action != "preflight" || last[0].Detail != "asked" || last[1].Action != "preflight" || last[1].Detail != "report "+r.Digest || last[1].Subject != bot || last[1].Prev != r.LedgerHead {
		t.Errorf("the ledger has %+v", last)
	}
	kept, err := w.door().PreflightRun(t.Context(), "", "latest")
	if err != nil || !reflect.DeepEqual(kept, r) {
		t.Errorf("kept is %+v (%v)", kept, err)
	}
	if v := w.judge(r); !v.Sealed || !v.Recorded || !v.Intact || v.Entry != last[1].Seq || v.Detail != "" {
		t.Errorf("%+v", v)
	}
}

func TestPreflightSeesWhatHasChanged(t *testing.T) {
	w := newWorld(t)
	w.provision()
	first := w.preflight()
	id := w.record().Assignments[0]
	w.call(http.MethodDelete, id.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+id.Name+"?api-version=2022-04-01", nil, nil)
	second := w.preflight()
	if second.Green || second.Before != first.ID || len(second.Changes) == 0 {
		t.Fatalf("green %v, before %q, changes %+v%s", second.Green, second.Before, second.Changes, bad(second))
	}
	for _, c := range second.Changes {
		if c.Was != outcome(first, c.ID) || c.Now != outcome(second, c.ID) || c.Was == c.Now {
			t.Errorf("%+v", c)
		}
	}
	if third := w.preflight(); third.Before != second.ID || third.Changes != nil {
		t.Errorf("nothing has changed since, and it says %+v", third.Changes)
	}
	runs, err := w.door().PreflightRuns(t.Context(), bot, 2)
	if err != nil || len(runs) != 2 || runs[1].ID != second.ID {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, f := range runs[1].Findings {
		if f.Evidence != nil {
			t.Errorf("a list has the evidence of %s", f.ID)
		}
	}
	whole, err := w.door().PreflightRun(t.Context(), bot, second.ID)
	if err != nil || !reflect.DeepEqual(whole, second) {
		t.Errorf("%+v %v", whole, err)
	}
	for _, id := range []string{"ffff", first.ID + "0"} {
		if _, err := w.door().PreflightRun(t.Context(), bot, id); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestReportThatIsNotGenuineIsNotProved(t *testing.T) {
	w := newWorld(t)
	w.provision()
	r := w.preflight()
	resealed := func(r api.PreflightReport, change func(*api.PreflightReport)) api.PreflightReport {
		change(&r)
		r.Digest = r.Seal()
		return r
	}
	edited := r
	edited.Green, edited.Counts.Failed = !r.Green, 7
	head := w.ledger(1)[0].Hash
	other := newWorld(t)
	other.provision()
	for name, c := range map[string]struct {
		r                api.PreflightReport
		sealed, recorded bool
		detail           string
	}{
		"one that was edited":                      {edited, false, true, "its digest is not that of what it says"},
		"one that was edited and sealed again":     {resealed(r, func(r *api.PreflightReport) { r.Green = !r.Green }), true, false, "no entry of this report"},
		"one that names a head after its entry":    {resealed(r, func(r *api.PreflightReport) { r.LedgerHead = head }), true, false, "no entry of this report"},
		"one that names no head":                   {resealed(r, func(r *api.PreflightReport) { r.LedgerHead = "" }), true, false, "no entry of this report"},
		"one without a digest":                     {func() api.PreflightReport { r := r; r.Digest = ""; return r }(), false, false, "the report was changed"},
		"one of another agent, with this digest":   {func() api.PreflightReport { r := r; r.Agent = "x"; return r }(), false, false, "no entry of this report"},
		"one that was made at another local cloud": {other.preflight(), true, false, "no entry of this report"},
		"one of another tenant":                    {resealed(r, func(r *api.PreflightReport) { r.TenantID = "other" }), true, false, "the report is of tenant other"},
	} {
		v := w.judge(c.r)
		if v.Sealed != c.sealed || v.Recorded != c.recorded || !v.Intact || !strings.Contains(v.Detail, c.detail) {
			t.Errorf("%s: sealed %v, recorded %v, intact %v: %s", name, v.Sealed, v.Recorded, v.Intact, v.Detail)
		}
	}
	w.sql(`DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET entry = replace(entry, 'local:admin', 'local:eve') WHERE seq = 1`)
	if v := w.judge(r); v.Intact || v.Recorded || !v.Sealed || !strings.Contains(v.Detail, "broken at entry 1") {
		t.Errorf("on a broken ledger: %+v", v)
	}
}

func (w *world) sql(query string) {
	w.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(w.dir, "leastkey.db")))
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(w.Context(), query); err != nil {
		w.Fatal(err)
	}
}

// meddling is a ledger in which somebody else writes before the entry that ends a run.
type meddling struct{ control.Ledger }

func (m meddling) Append(ctx context.Context, e api.LedgerEntry) (api.LedgerEntry, error) {
	if strings.HasPrefix(e.Detail, "report ") {
		if _, err := m.Ledger.Append(ctx, api.LedgerEntry{Actor: "somebody", Action: "plan", Subject: "other", Allowed: true}); err != nil {
			return e, err
		}
	}
	return m.Ledger.Append(ctx, e)
}

func TestSomebodyElseMayWriteTheLedgerDuringARun(t *testing.T) {
	w := newWorld(t)
	w.hooks.Ledger = func(l control.Ledger) control.Ledger { return meddling{l} }
	r := w.preflight()
	if last := w.ledger(1)[0]; last.Prev == r.LedgerHead {
		t.Fatal("nobody has written")
	}
	if v := w.judge(r); !v.Sealed || !v.Recorded || !v.Intact {
		t.Errorf("%+v", v)
	}
}

// elsewhere is a ledger whose head is another's while a run begins.
type elsewhere struct{ control.Ledger }

func (elsewhere) Head(context.Context) (string, error) { return strings.Repeat("ab", 32), nil }

func TestEntryOfAReportWhoseHeadIsNotInTheLedgerProvesNothing(t *testing.T) {
	w := newWorld(t)
	w.hooks.Ledger = func(l control.Ledger) control.Ledger { return elsewhere{l} }
	r := w.preflight()
	w.hooks.Ledger = nil
	if last := w.ledger(1)[0]; last.Detail != "report "+r.Digest {
		t.Fatalf("%+v", last)
	}
	if v := w.judge(r); !v.Sealed || v.Recorded || !v.Intact {
		t.Errorf("sealed %v, recorded %v: %s", v.Sealed, v.Recorded, v.Detail)
	}
}

// A name of a file may hold bytes that are no text; what is kept and what is sealed is the same all the same.
func TestReportOfBytesThatAreNoTextIsSealedAsItIsRead(t *testing.T) {
	w := newWorld(t)
	w.spec.Agents[bot].EnvFile = "runtime\xff.env"
	r := w.preflight()
	if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), "runtime\ufffd.env") {
		t.Fatalf("the name of the file is not in the report (%v)", err)
	}
	kept, err := w.door().PreflightRun(t.Context(), bot, "")
	if err != nil || !reflect.DeepEqual(kept, r) || kept.Seal() != r.Digest {
		t.Errorf("%+v %v", kept, err)
	}
}

// noLogin is a world in which nobody can log in.
type noLogin struct{ next http.RoundTripper }

func (n noLogin) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/token") {
		return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
			Body: io.NopCloser(strings.NewReader(`{"error":"invalid_grant","error_description":"AADSTS50173: the session was revoked"}`))}, nil
	}
	return n.next.RoundTrip(r)
}

func TestPreflightWithNobodyLoggedInIsStillAReport(t *testing.T) {
	w := newWorld(t)
	w.provision()
	w.hooks.Transport = func(next http.RoundTripper) http.RoundTripper { return noLogin{next} }
	r := w.preflight()
	if r.Green || r.As.Name != "" || r.Counts.Skipped+r.Counts.Unknown < r.Counts.Passed {
		t.Errorf("green %v, %+v, as %+v%s", r.Green, r.Counts, r.As, bad(r))
	}
	w.hooks.Transport = nil
	if v := w.judge(r); !v.Sealed || !v.Recorded {
		t.Errorf("%+v", v)
	}
}

func TestPreflightOfNothingProvisionedIsNotGreen(t *testing.T) {
	w := newWorld(t)
	if r := w.preflight(); r.Green || r.AppID != "" {
		t.Errorf("green %v, %+v%s", r.Green, r.Counts, bad(r))
	}
}

// deaf is a transport that interrupts the run at its first request.
type deaf struct {
	next   http.RoundTripper
	cancel context.CancelFunc
}

func (d deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	d.cancel()
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestInterruptedPreflightIsNotAReport(t *testing.T) {
	w := newWorld(t)
	w.provision()
	ctx, cancel := context.WithCancel(t.Context())
	w.hooks.Transport = func(next http.RoundTripper) http.RoundTripper { return deaf{next, cancel} }
	if r, err := w.door().Preflight(ctx, api.PreflightRequest{}, nil); !errors.Is(err, context.Canceled) || r.Digest != "" {
		t.Errorf("%+v %v", r, err)
	}
	if last := w.ledger(1)[0]; last.Detail != "asked" {
		t.Errorf("the ledger has %+v", last)
	}
	if _, err := w.door().PreflightRun(t.Context(), bot, ""); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestPreflightIsRefusedWhereItCannotBeWrittenDown(t *testing.T) {
	w := newWorld(t)
	w.preflight()
	if _, err := w.door().Preflight(t.Context(), api.PreflightRequest{Agent: "polyclaw-runtme"}, nil); !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), bot) {
		t.Error(err)
	}
	w.sql(`UPDATE preflights SET report = replace(report, '"green":', '"green" :')`) // the same to a decoder, and to the seal
	if _, err := w.door().PreflightRun(t.Context(), bot, ""); err != nil {
		t.Error(err)
	}
	w.sql(`UPDATE preflights SET report = replace(report, '"local"', '"public"')`)
	before := len(w.ledger(0))
	if _, err := w.door().Preflight(t.Context(), api.PreflightRequest{}, nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("with a history that does not read: %v", err)
	}
	if n := len(w.ledger(0)); n != before+1 {
		t.Errorf("%d entries, then %d", before, n)
	}
	w.sql(`DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET hash = 'x' WHERE seq = (SELECT max(seq) FROM ledger)`)
	if _, err := w.door().Preflight(t.Context(), api.PreflightRequest{}, nil); !fault.Is(err, fault.Corrupt) {
		t.Errorf("with a broken ledger: %v", err)
	}
}

// Nothing that the preflight tries as the identity, or asks as the operator, changes anything.
func TestPreflightChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.provision()
	since := len(w.cloud.Requests())
	w.preflight()
	for _, r := range w.cloud.Requests()[since:] {
		reads := r.Method == http.MethodGet || strings.Contains(r.URL, "/token") || strings.Contains(strings.ToLower(r.URL), "resourcegraph") || strings.Contains(r.URL, "getMember")
		if !reads && !(r.Method == http.MethodDelete && r.Status == http.StatusForbidden) {
			t.Errorf("%s %s: %d", r.Method, r.URL, r.Status)
		}
	}
	w.inOrder(0)
}

func TestPreflightTellsOfARunThatStoppedMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		if got := outcome(w.preflight(), "identity_open_run"); got != finding.Pass {
			t.Errorf("with nothing open: %s", got)
		}
		w.stopAt("certificate", errors.New("killed"))
		if _, err := w.rotate(false, api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("stopped with %v", err)
		}
		w.goOn()
		said := map[string]finding.Finding{}
		for _, f := range w.preflight().Findings {
			said[f.ID] = f
		}
		if f := said["identity_open_run"]; f.Outcome != finding.Warn || !strings.HasPrefix(f.Remedy, "leastkey rotate "+bot) {
			t.Errorf("%s: %s (%s)", f.Outcome, f.Detail, f.Remedy)
		}
		if f := said["identity_certificates_known"]; !strings.HasPrefix(f.Detail, "1 current, 1 being brought in, 0 of ours from before") {
			t.Errorf("%s: %s", f.Outcome, f.Detail)
		}
	})
}
