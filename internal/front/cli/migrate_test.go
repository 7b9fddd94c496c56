package cli

import (
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// preparing is a run whose door prepares a migration.
func preparing(t *testing.T) *run {
	r := newRun(t)
	r.door.plan = agent.Plan{Version: 1, Verb: agent.Migrate, Cloud: agent.Public, Tenant: tenantID, Agent: "bot", Spec: &agent.Spec{}, Steps: []agent.Step{
		{ID: "application", Action: agent.AdoptApplication, Plane: agent.Here, Title: "record application"},
		{ID: "certificate", Action: agent.RegisterCertificate, Plane: agent.Graph, Title: "register its certificate"}}}
	r.door.report.Prepared, r.door.report.Proof.PasswordCredentials = true, 2
	r.door.report.Findings = []finding.Finding{{ID: agent.FindLegacy, Question: "does only its certificate open the identity?", Outcome: finding.Fail, Detail: "2 are left"}}
	return r
}

func TestMigrateWithoutPrepareDoesNothing(t *testing.T) {
	r := preparing(t)
	want(t, r, api.ExitUsage, nil, []string{"comes with the broker", "hint: add --prepare"}, "migrate", "bot", "--yes")
	if len(r.door.migrated) != 0 {
		t.Errorf("asked for %+v", r.door.migrated)
	}
}

func TestMigrateNeverEndsWithZeroBesideAPassword(t *testing.T) {
	r := preparing(t)
	want(t, r, api.ExitFindings, []string{"bot logs in with a certificate, and with 2 passwords beside it: prepared, not migrated", "legacy-password"}, []string{"next: leastkey plan bot"}, "migrate", "bot", "--prepare", "--yes", "--env-file", "x.env")
	if q := r.door.migrated[0]; q.Agent != "bot" || q.EnvFile != "x.env" || q.DryRun {
		t.Errorf("asked for %+v", q)
	}
	r = preparing(t)
	want(t, r, api.ExitFindings, []string{`"prepared": true`, `"legacy-password"`}, nil, "migrate", "bot", "--prepare", "--yes", "--json")
	r = preparing(t)
	want(t, r, api.ExitUsage, nil, []string{"migrate on the public cloud needs approval"}, "migrate", "bot", "--prepare")
	r = preparing(t)
	r.door.report.Changed, r.door.report.Findings, r.door.report.Proof.PasswordCredentials = false, nil, 0
	want(t, r, api.ExitDone, []string{"Nothing to do: bot logs in with a certificate; no password is left"}, nil, "migrate", "bot", "--prepare", "--yes")
}

func TestMigrateDryRunShowsWhatWouldBeAdopted(t *testing.T) {
	r := preparing(t)
	plan := r.door.plan
	r.door.report.Plan, r.door.report.Digest = &plan, plan.Digest()
	r.door.report.Adopts = &agent.Application{DisplayName: "polyclaw-runtime", AppID: clientID, Passwords: []agent.Password{{KeyID: "p1"}}}
	want(t, r, api.ExitFindings, []string{"Application polyclaw-runtime", "PASSWORD", "register its certificate"},
		[]string{"next: leastkey migrate bot --prepare --env-file 'a file' --digest " + api.ShortDigest(plan.Digest())}, "migrate", "bot", "--prepare", "--dry-run", "--yes", "--env-file", "a file")
}

// On the local cloud little needs consent; an application of somebody else's making does.
func TestAdoptingNeedsConsentOnTheLocalCloudToo(t *testing.T) {
	r := preparing(t)
	p := r.door.plan
	p.Cloud = agent.Local
	if c := (api.PlanAnswer{Plan: p}).Consent(); c != api.YesConsent {
		t.Errorf("consent %s", c)
	}
}
