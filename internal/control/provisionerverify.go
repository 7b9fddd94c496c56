package control

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/work/verify"
)

// Runbook is where the runbook is looked for, beside the state file.
const Runbook = "docs/runbooks/cert-auth-migration.md"

// ProvisionerVerify answers the checklist. It changes nothing, and needs nobody's approval. Where nobody can be asked as the operator, or
// they are of another tenant, what only they could tell is unknown, and the rest is answered all the same.
func (d *Door) ProvisionerVerify(ctx context.Context, r api.VerifyRequest) (api.VerifyAnswer, error) {
	at := d.c.Where
	ans := api.VerifyAnswer{TenantID: at.TenantID, Cloud: at.Cloud, At: time.Now().UTC()}
	parts, err := d.provisioner()
	if err != nil {
		return ans, err
	}
	where, err := parts.Files(api.ProvisionerRequest{StateFile: r.StateFile, Also: r.Also})
	if err := d.enter(ctx, "provisioner verify", provisioner.Name, where.State, err); err != nil {
		return ans, err
	}
	rec, err := d.record(ctx, provisioner.Name)
	if err != nil {
		return ans, err
	}
	_, who := d.Caller(ctx)
	runbook, err := filepath.Abs(cmp.Or(r.Runbook, filepath.Join(filepath.Dir(where.State), filepath.FromSlash(Runbook))))
	if err != nil {
		return ans, err
	}
	seen := parts.Verify.Check(ctx, verify.Ask{State: where.State, Also: where.Also, Runbook: runbook, Helper: r.Helper, Record: rec, Operator: who, Now: ans.At})
	if err := ctx.Err(); err != nil {
		return ans, context.Cause(ctx)
	}
	ans.StateFile, ans.ApplicationID, ans.Findings = where.State, seen.AppID, seen.Findings
	ans.Key, ans.SHA256, ans.NotAfter = seen.Key, seen.SHA256, seen.NotAfter
	if ans.Migrated, err = d.migrations(ctx, rec); err != nil {
		return ans, err
	}
	ans.LedgerHead, err = d.c.Ledger.Head(ctx)
	return ans, err
}

// migrations is what the migrations of this machine have done together; nil if there was none. One that was cut off may have ended in
// several runs.
func (d *Door) migrations(ctx context.Context, rec agent.Record) (*api.Migrated, error) {
	runs, err := d.c.Journal.Runs(ctx, provisioner.Name)
	if err != nil {
		return nil, err
	}
	var m *api.Migrated
	removed := map[string]bool{}
	for _, run := range runs {
		if run.Verb != provisioner.Migrate {
			continue
		}
		if m == nil {
			m = &api.Migrated{Purged: []string{}}
		}
		entries, err := d.c.Journal.Entries(ctx, run.ID)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			i := slices.IndexFunc(run.Plan.Steps, func(s agent.Step) bool { return s.ID == e.StepID })
			if i < 0 || e.Ended == nil {
				continue
			}
			tally(m, run.Plan.Steps[i], e.Result, removed)
		}
	}
	if m == nil {
		return nil, nil
	}
	m.Passwords = len(removed)
	for _, b := range rec.BackUps {
		if b.Path == m.BackUp {
			m.Expires = b.Expires
		}
	}
	return m, nil
}

func tally(m *api.Migrated, s agent.Step, r agent.Result, removed map[string]bool) {
	switch s.Action {
	case agent.RemovePassword:
		removed[s.With["key_id"]] = true
	case provisioner.PurgeSecret:
		if path := s.With["file"]; !slices.Contains(m.Purged, path) {
			m.Purged = append(m.Purged, path)
		}
	case provisioner.ScanSecret:
		m.Places = nil
		for line := range strings.Lines(r.Facts[provisioner.FactLeft]) {
			m.Places = append(m.Places, provisioner.Place{Path: strings.TrimSpace(line), Kind: provisioner.Other})
		}
	case provisioner.BackUp:
		m.BackUp = r.Facts[provisioner.FactBackUp]
	}
}
