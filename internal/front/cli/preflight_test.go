package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/report"
)

func (d *fakeDoor) Preflight(_ context.Context, r api.PreflightRequest, tell func(api.Event)) (api.PreflightReport, error) {
	d.planned.Agent = r.Agent
	for _, f := range d.examined.Findings {
		tell(api.Event{Step: f.ID, Status: api.Done, Finding: &f})
	}
	if d.err != nil {
		return api.PreflightReport{}, d.err
	}
	return d.examined, d.keptErr
}

func (d *fakeDoor) PreflightRuns(_ context.Context, agent string, limit int) ([]api.PreflightReport, error) {
	d.planned.Agent, d.limit = agent, limit
	return d.kept, d.err
}

func (d *fakeDoor) PreflightRun(_ context.Context, _, id string) (api.PreflightReport, error) {
	if id != "latest" && id != d.examined.ID {
		return api.PreflightReport{}, fault.New(fault.NotFound, "no report "+id, "")
	}
	return d.examined, nil
}

func (d *fakeDoor) PreflightVerify(_ context.Context, r api.PreflightReport) (api.PreflightVerdict, error) {
	v := d.judged
	v.Report = r
	return v, d.err
}

func sampleChecks() []api.PreflightCheck {
	return []api.PreflightCheck{
		{ID: "owners", Category: finding.Identity, Name: "Owners", Question: "Who owns it?", Severity: finding.Medium, Remedy: "remove them", Docs: "docs/preflight.md#owners"},
		{ID: "elevated", Category: finding.RBAC, Name: "No elevated role", Question: "Is a role elevated?", Severity: finding.Critical, Required: true, Remedy: "leastkey roles fix"},
		{ID: "vault", Category: finding.Secrets, Name: "Vault", Question: "Is it there?", Severity: finding.Low},
	}
}

// preflightReport is green, or not where the elevated role fails.
func preflightReport(elevated finding.Outcome) api.PreflightReport {
	all := []finding.Finding{
		{ID: "owners", Category: finding.Identity, Name: "Owners", Question: "Who owns it?", Outcome: finding.Warn, Detail: "two: ann, \x1b[31mbob", Remedy: "remove bob", Evidence: []finding.Evidence{{Asked: "GET https://graph/owners", Answer: "[]", Status: 200}}},
		{ID: "elevated", Category: finding.RBAC, Name: "No elevated role", Question: "Is a role elevated?", Required: true, Outcome: elevated, Detail: "Owner on the subscription\nby group admins", Remedy: "leastkey roles fix"},
		{ID: "vault", Category: finding.Secrets, Name: "Vault", Question: "Is it there?", Outcome: finding.Pass, Detail: "kv-polyclaw answers", Evidence: []finding.Evidence{{Asked: "GET https://vault", Answer: "secrets", Status: 200}}},
	}
	r := api.PreflightReport{
		ID: "0123456789abcdef", Agent: "bot", Kind: "service-principal", Cloud: "local", TenantID: tenantID, AppID: clientID, At: at(9), Version: "0.1.0",
		As: api.Caller{Operator: "az", Name: "ann"}, Findings: all, Counts: api.Count(all), Green: finding.Green(all), Requests: 12, Rounds: 4, WallMS: 345,
		Changes: []api.PreflightChange{{ID: "elevated", Was: finding.Pass, Now: elevated}, {ID: "vault", Now: finding.Pass}}, Before: "fedc", LedgerHead: strings.Repeat("ab", 32),
	}
	r.Digest = r.Seal()
	return r
}

func newPreflight(t *testing.T, elevated finding.Outcome) *run {
	r := newRun(t)
	r.world.Checks = sampleChecks
	r.door.examined = preflightReport(elevated)
	return r
}

func TestPreflightShowsWhatSomebodyHasToDo(t *testing.T) {
	r := newPreflight(t, finding.Fail)
	out, _ := want(t, r, 3, []string{
		"Preflight of bot. Not green: 1 passed, 1 failed, 1 warned", "345 ms, 12 requests, 4 in a row", "ann (az)", "Identity: 1 warned", "Roles (RBAC): 1 failed", "Secrets: 1 passed",
		"warn    Owners: two: ann, \\x1b[31mbob (owners)", "do: remove bob", "FAIL    No elevated role: Owner on the subscription (elevated)\n          by group admins\n          do: leastkey roles fix",
		"pass    Vault (vault)", "elevated: pass before, now FAIL", "vault: not asked before, now pass",
	}, []string{"local cloud, tenant " + tenantID, "next: leastkey preflight explain elevated, or, once that is done: leastkey preflight bot"}, "preflight", "bot")
	if strings.Contains(out, "kv-polyclaw answers") || strings.Contains(out, "https://graph") || r.door.planned.Agent != "bot" {
		t.Errorf("evidence that nobody asked for:\n%s", out)
	}
	want(t, r, 3, []string{"asked GET https://graph/owners, came back [] (200)", "kv-polyclaw answers", "asked GET https://vault"}, nil, "preflight", "--evidence")
	want(t, newPreflight(t, finding.Unknown), 3, []string{"UNKNOWN No elevated role"}, nil, "preflight")
	want(t, newPreflight(t, finding.Pass), 0, []string{"Green: 2 passed, 1 warned"}, []string{"next: leastkey preflight bot -o report.html"}, "preflight")
}

func TestPreflightFitsATerminal(t *testing.T) {
	for _, width := range []int{40, 80, 120} {
		r := newPreflight(t, finding.Fail)
		r.width = width
		for _, args := range [][]string{{"preflight", "--evidence"}, {"preflight", "explain"}, {"preflight", "explain", "elevated"}} {
			_, out, _ := r.do(args...)
			for line := range strings.Lines(out) {
				if n := cells(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%v: %d columns of %d: %s", args, n, width, line)
				}
			}
		}
	}
}

func TestPreflightCountsAnswersOnATerminal(t *testing.T) {
	r := newPreflight(t, finding.Pass)
	r.live, r.terminal = true, true
	want(t, r, 0, nil, []string{"3 of 3 checks answered", "\r\x1b[K"}, "preflight")
	if _, _, story := newPreflight(t, finding.Pass).do("preflight"); strings.Contains(story, "answered") {
		t.Errorf("it counts where nobody sees it:\n%s", story)
	}
}

func TestPreflightInEveryForm(t *testing.T) {
	dir := t.TempDir()
	for _, f := range report.Formats() {
		r := newPreflight(t, finding.Fail)
		code, out, _ := r.do("preflight", "--format", string(f))
		doc, err := report.Read([]byte(out))
		if code != 3 || err != nil || doc.Format != f || doc.Differs != "" || !reflect.DeepEqual(doc.Report, r.door.examined) {
			t.Errorf("%s on stdout: exit %d, %v, %+v", f, code, err, doc)
		}
		path := filepath.Join(dir, "report"+f.Suffix())
		want(t, r, 3, []string{"Preflight of bot."}, []string{"wrote " + path + ", as " + string(f)}, "preflight", "-o", path)
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s is not its owner's alone: %v %v", path, info, err)
		}
		b, err := os.ReadFile(path)
		if err != nil || string(b) != out {
			t.Errorf("%s in a file: %v\n%s", f, err, b)
		}
	}
	r := newPreflight(t, finding.Pass)
	if _, out, _ := r.do("preflight", "--json"); !json.Valid([]byte(out)) {
		t.Error(out)
	}
	want(t, r, 0, nil, []string{"next: leastkey preflight verify " + filepath.Join(dir, "x.html")}, "preflight", "-o", filepath.Join(dir, "x.html"))
}

func TestPreflightUsage(t *testing.T) {
	for args, story := range map[string]string{
		"preflight a b":                            "at most one",
		"preflight --format pdf":                   "not one of table, json, sarif, junit, html",
		"preflight --json --format html":           "exclude each other",
		"preflight -o report.pdf":                  "tells no form",
		"preflight -o x.html --format table":       "a table is not written to a file",
		"preflight verify":                         "name one report",
		"preflight explain ownrs":                  "did you mean owners?",
		"preflight explain a b":                    "name one check",
		"preflight history --limit -1":             "--limit",
		"preflight history --format html":          "add --show latest",
		"preflight history --format json -o x.pdf": "a list of reports",
	} {
		r := newPreflight(t, finding.Pass)
		if out, _ := want(t, r, 2, nil, []string{story}, strings.Fields(args)...); out != "" {
			t.Errorf("%s: stdout is not empty: %s", args, out)
		}
	}
}

func TestPreflightThatCannotBegin(t *testing.T) {
	r := newPreflight(t, finding.Pass)
	path := filepath.Join(t.TempDir(), "x.json")
	r.door.err = errors.New("no ledger")
	if out, _ := want(t, r, 1, nil, []string{"no ledger"}, "preflight", "-o", path); out != "" {
		t.Error(out)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a report was written")
	}
	r = newPreflight(t, finding.Pass)
	r.door.keptErr = errors.New("disk full")
	want(t, r, 1, []string{"Preflight of bot."}, []string{"the report was not kept: disk full"}, "preflight")
}

func TestPreflightVerify(t *testing.T) {
	good := api.PreflightVerdict{Sealed: true, Recorded: true, Intact: true, Entry: 7}
	r := newPreflight(t, finding.Fail)
	_, page, _ := r.do("preflight", "--format", "html")
	_, doc, _ := r.do("preflight", "--format", "json")
	for _, tt := range []struct {
		name    string
		text    string
		verdict api.PreflightVerdict
		code    int
		out     []string
		story   []string
	}{
		{"a genuine page", page, good, 0, []string{"GENUINE: report (html) is as it was made; the ledger here has it as entry 7", "found        Not green"}, nil},
		{"genuine JSON", doc, good, 0, []string{"GENUINE: report (json)"}, nil},
		{"a page whose text was changed", strings.Replace(page, "Not green", "Green", 1), good, 3, []string{"NOT PROVED: report: the document does not show what its report says", "unchanged    NO"}, []string{"history bot --show 0123456789abcdef"}},
		{"one that was changed and one of elsewhere", page, api.PreflightVerdict{Intact: true, Detail: "its digest is not that of what it says"}, 3, []string{"NOT PROVED: report: its digest", "recorded     NO"}, nil},
		{"a broken ledger", page, api.PreflightVerdict{Sealed: true, Recorded: true, Detail: "broken"}, 3, []string{"ledger       BROKEN"}, nil},
		{"no report", "hello", good, 1, nil, []string{"no preflight report is in it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			if err := os.WriteFile("report", []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newPreflight(t, finding.Fail)
			r.door.judged = tt.verdict
			want(t, r, tt.code, tt.out, tt.story, "preflight", "verify", "report")
			if tt.code == 1 {
				return
			}
			_, out, _ := r.do("preflight", "verify", "report", "--json")
			var v api.PreflightVerdict
			if err := json.Unmarshal([]byte(out), &v); err != nil || v.File != "report" || (v.Sealed && v.Recorded && v.Intact) != (tt.code == 0) || v.Report.Agent != "bot" {
				t.Errorf("%v\n%s", err, out)
			}
			r.stdin = tt.text
			want(t, r, tt.code, nil, nil, "preflight", "verify", "-")
		})
	}
	want(t, newPreflight(t, finding.Pass), 1, nil, []string{"cannot read report /none: no such file"}, "preflight", "verify", "/none")
}

func TestPreflightHistoryAndExplain(t *testing.T) {
	r := newPreflight(t, finding.Fail)
	want(t, r, 0, []string{"No preflight is kept here."}, []string{"next: leastkey preflight bot"}, "preflight", "history", "bot")
	newest, oldest := preflightReport(finding.Fail), preflightReport(finding.Pass)
	oldest.Before = ""
	r.door.kept = []api.PreflightReport{newest, oldest}
	want(t, r, 0, []string{"NOT GREEN", "green", "1 passed, 1 failed, 1 warned", newest.ID, newest.Digest[:16]}, []string{"next: leastkey preflight history bot --show " + newest.ID}, "preflight", "history", "--limit", "5")
	if r.door.limit != 5 {
		t.Error(r.door.limit)
	}
	_, out, _ := r.do("preflight", "history", "--json")
	var all []api.PreflightReport
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	want(t, r, 3, []string{"FAIL    No elevated role"}, nil, "preflight", "history", "bot", "--show", "latest")
	want(t, r, 3, []string{"<!doctype html>"}, nil, "preflight", "history", "--show", newest.ID, "--format", "html")
	want(t, r, 1, nil, []string{"no report x"}, "preflight", "history", "--show", "x")

	want(t, r, 0, []string{"CHECK", "elevated", "required", "advisory", "Who owns it?"}, nil, "preflight", "explain")
	want(t, r, 0, []string{"No elevated role (elevated)", "critical", "required: where nobody could tell, the preflight is not green", "leastkey roles fix"}, nil, "preflight", "explain", "elevated")
	want(t, r, 0, []string{`"id": "owners"`}, nil, "preflight", "explain", "owners", "--json")
}
