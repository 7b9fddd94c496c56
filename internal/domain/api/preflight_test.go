package api_test

import (
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

func TestSealCoversEverythingButItself(t *testing.T) {
	r := api.PreflightReport{ID: "1", At: time.Unix(0, 0).UTC(), Findings: []finding.Finding{{ID: "x", Outcome: finding.Fail}}, LedgerHead: "head"}
	seal := r.Seal()
	r.Digest = seal
	if r.Seal() != seal {
		t.Error("the digest is part of what it seals")
	}
	for name, change := range map[string]func(*api.PreflightReport){
		"an outcome":      func(r *api.PreflightReport) { r.Findings = []finding.Finding{{ID: "x", Outcome: finding.Pass}} },
		"the ledger head": func(r *api.PreflightReport) { r.LedgerHead = "other" },
		"the agent":       func(r *api.PreflightReport) { r.Agent = "other" },
		"the verdict":     func(r *api.PreflightReport) { r.Green = true },
	} {
		changed := r
		change(&changed)
		if changed.Seal() == seal {
			t.Errorf("%s can be changed without breaking the seal", name)
		}
	}
}

func TestCount(t *testing.T) {
	got := api.Count([]finding.Finding{{Outcome: finding.Pass}, {Outcome: finding.Fail}, {Outcome: finding.Warn}, {Outcome: finding.Skip},
		{Outcome: finding.Unknown}, {Outcome: finding.Unknown, Required: true}, {Outcome: "never heard of"}})
	if want := (api.Counts{Passed: 1, Failed: 1, Warnings: 1, Skipped: 1, Unknown: 3, Required: 1}); got != want {
		t.Errorf("Count = %+v, want %+v", got, want)
	}
}

func TestLevelIncludes(t *testing.T) {
	order := []api.Level{api.View, api.Approve, api.Full}
	for i, have := range order {
		for j, need := range order {
			if got := have.Includes(need); got != (i >= j) {
				t.Errorf("%s includes %s: %v", have, need, got)
			}
		}
	}
	for _, strange := range []api.Level{"", "admin", "APPLY"} {
		if strange.Includes(api.View) || api.Full.Includes(strange) {
			t.Errorf("level %q is one", strange)
		}
	}
}
