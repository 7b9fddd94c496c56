package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

func (d *fakeDoor) Roles(context.Context, string) (api.RolesAnswer, error) { return d.listed, d.err }

func (d *fakeDoor) FixRoles(_ context.Context, r api.FixRequest, events func(api.Event)) (api.Report, error) {
	d.repaired = append(d.repaired, r)
	return d.carry(api.ApplyRequest{Digest: r.Digest, Approve: r.Approve}, events)
}

// holding is a run whose agent needs two roles and holds three.
func holding(t *testing.T, second api.Presence) *run {
	r := newRun(t)
	r.door.listed = api.RolesAnswer{
		Agent: "bot", PrincipalID: clientID, Readable: []string{"/subscriptions/" + subID},
		Required: []api.RequiredRole{
			{Role: "Reader", RoleID: readerID, Scope: groupID, Presence: api.Assigned, Detail: "assigned on group rg"},
			{Role: "Key Vault Secrets Officer", Scope: groupID, Presence: second, Detail: "missing on vaults kv"},
		},
		Held: []api.HeldRole{
			{Role: "Reader", Scope: groupID, Ours: true, Required: true},
			{Role: "Owner", Scope: "/subscriptions/" + subID, Elevated: []string{"*"}, Through: "everybody (1)"},
			{Role: "Reader", Scope: "/subscriptions/" + subID, Inherited: true, Condition: "@Resource"},
		},
	}
	if second == api.Missing {
		r.door.listed.Pending, r.door.listed.Digest = []string{"assign Key Vault Secrets Officer on vaults kv"}, strings.Repeat("ab", 32)
	}
	return r
}

func TestRolesListSaysWhatIsMissing(t *testing.T) {
	want(t, holding(t, api.Missing), api.ExitFindings, []string{"bot: 1 of 2 required roles are assigned", "MISSING", "missing on vaults kv", "assign Key Vault Secrets Officer", "ELEVATED: *", "somebody else's, through group everybody (1)", "lies above where it is needed", "under a condition: @Resource"},
		[]string{"next: leastkey roles fix bot"}, "roles", "list")
	want(t, holding(t, api.PresenceUnknown), api.ExitFindings, []string{"UNKNOWN"}, []string{"next: leastkey plan bot"}, "roles", "list")
	want(t, holding(t, api.Assigned), api.ExitDone, []string{"bot: 2 of 2 required roles are assigned"}, []string{"next: leastkey preflight bot"}, "roles", "list", "bot")
	want(t, holding(t, api.Missing), api.ExitFindings, []string{`"presence": "missing"`}, nil, "roles", "list", "--json")
	r := newRun(t)
	r.door.listed = api.RolesAnswer{Agent: "bot", Required: []api.RequiredRole{{Role: "Reader", Scope: groupID, Presence: api.Missing, Detail: "there is no identity yet"}}}
	want(t, r, api.ExitFindings, []string{"there is no identity yet"}, []string{"next: leastkey apply bot"}, "roles", "list")
}

// repairing is a run whose door repairs.
func repairing(t *testing.T) *run {
	r := newRun(t)
	r.door.plan = agent.Plan{Version: 1, Verb: agent.FixRoles, Cloud: agent.Public, Tenant: tenantID, Agent: "bot", Spec: &agent.Spec{}, Steps: []agent.Step{
		{ID: "role:reader@rg", Action: agent.AssignRole, Plane: agent.ARM, Title: "assign Reader on group rg"}}}
	r.door.report = api.Report{Agent: "bot", Changed: true, Steps: []api.StepReport{{Step: "role:reader@rg", Title: "assign Reader on group rg", Status: api.Done}}, LedgerHead: strings.Repeat("cd", 32)}
	return r
}

func TestRolesFixNeedsApprovalAndTellsWhatItDid(t *testing.T) {
	want(t, repairing(t), api.ExitUsage, nil, []string{"assign Reader on group rg", "needs approval"}, "roles", "fix", "bot")
	r := repairing(t)
	want(t, r, api.ExitDone, []string{"bot: 1 step is done", "assign Reader on group rg"}, []string{"next: leastkey roles list bot"}, "roles", "fix", "bot", "--yes")
	if len(r.door.repaired) != 1 || r.door.repaired[0].Agent != "bot" {
		t.Errorf("%+v", r.door.repaired)
	}
	r = repairing(t)
	r.terminal, r.stdin = true, "y\n"
	want(t, r, api.ExitDone, []string{"1 step is done"}, []string{"Carry this plan out?"}, "roles", "fix")
	r = repairing(t)
	want(t, r, api.ExitDone, []string{"1 step is done"}, nil, "roles", "fix", "--digest", r.door.plan.Digest())
	want(t, repairing(t), api.ExitUsage, nil, []string{"--digest wants", "hint: leastkey roles list shows it"}, "roles", "fix", "--digest", "abc")
	want(t, repairing(t), api.ExitFailed, nil, []string{"look at it again: leastkey roles list bot"}, "roles", "fix", "--digest", strings.Repeat("ab", 8))
	r = repairing(t)
	r.door.report.Changed, r.door.report.Steps = false, nil
	r.door.report.Findings = []finding.Finding{{ID: "assignment-unread", Question: "q", Outcome: finding.Unknown, Detail: "nobody could read it"}}
	want(t, r, api.ExitFindings, []string{"nothing could be repaired", "nobody could read it"}, nil, "roles", "fix", "--yes")
	r = repairing(t)
	r.door.report.Changed, r.door.report.Steps = false, nil
	want(t, r, api.ExitDone, []string{"Nothing to do: bot has every role"}, nil, "roles", "fix", "--yes")
	want(t, newRun(t), api.ExitUsage, nil, []string{`unknown command "lst"`, "did you mean list?"}, "roles", "lst")
}
