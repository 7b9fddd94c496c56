package agent_test

import (
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

// seenOn is the observation of somebody who could read the subscription.
func seenOn() agent.Observed {
	o := inOrder()
	o.Readable = []string{"/subscriptions/" + sub}
	return o
}

// without takes the i-th assignment out of what was seen; the record still has it.
func without(o *agent.Observed, i int) {
	o.Assignments = append(o.Assignments[:i:i], o.Assignments[i+1:]...)
}

func reader(scope, holder string) agent.Assignment {
	return agent.Assignment{ID: scope + "/a/x", Name: "x-" + holder, RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Role: "Reader", Scope: scope, PrincipalID: holder}
}

func TestRepairGivesWhatIsMissingAndTakesWhatIsOursAndStale(t *testing.T) {
	subscription := "/subscriptions/" + sub
	// The three grants in order: Bot Service Contributor and Reader on the group, Secrets Officer on the vault.
	for name, test := range map[string]struct {
		change   func(*agent.Observed)
		steps    string
		findings string
		blockers string
	}{
		"all is there": {func(*agent.Observed) {}, "", "", ""},
		"one was removed": {func(o *agent.Observed) { without(o, 1) },
			"role:reader@polyclaw-rg", "", ""},
		"one is inherited from the subscription, which is not ours": {func(o *agent.Observed) {
			without(o, 1)
			o.Assignments = append(o.Assignments, reader(subscription, principal))
		}, "", "assignment-left:warn", ""},
		"one comes through a group": {func(o *agent.Observed) {
			without(o, 1)
			o.Assignments = append(o.Assignments, reader(group, other))
		}, "", "", ""},
		"one is at the wrong scope": {func(o *agent.Observed) {
			without(o, 1)
			o.Assignments = append(o.Assignments, reader(vault, principal))
		}, "role:reader@polyclaw-rg", "assignment-left:warn", ""},
		"one carries a condition of somebody else's": {func(o *agent.Observed) {
			without(o, 1)
			a := reader(group, principal)
			a.Condition = "@Resource[x] StringEquals 'y'"
			o.Assignments = append(o.Assignments, a)
		}, "", "conditional-assignment:fail", ""},
		"our own carries a condition": {func(o *agent.Observed) { o.Assignments[1].Condition = "@Resource[x] StringEquals 'y'" },
			"role:reader@polyclaw-rg", "", ""},
		"one of ours is stale": {func(o *agent.Observed) { o.Record.Assignments = append(o.Record.Assignments, far(true)) },
			"remove-role:reader@far", "", ""},
		"one of ours is stale and would satisfy another": {func(o *agent.Observed) {
			without(o, 1)
			a := reader(subscription, principal)
			o.Assignments = append(o.Assignments, a)
			o.Record.Assignments = append(o.Record.Assignments, agent.Assigned{Grant: a.Grant(), Name: a.Name, Ours: true})
		}, "role:reader@polyclaw-rg remove-role:reader@" + sub + "<role:reader@polyclaw-rg>", "", ""},
		"one that was found there is not asked for any more": {func(o *agent.Observed) { o.Record.Assignments = append(o.Record.Assignments, far(false)) },
			"", "", ""},
		"somebody else has given it one": {func(o *agent.Observed) {
			o.Assignments = append(o.Assignments, agent.Assignment{Name: "c", RoleID: "b24988ac-6180-42a0-ab88-20f7382dd24c", Role: "Contributor", Scope: group, PrincipalID: principal})
		}, "", "assignment-left:warn", ""},
		"nobody may read": {func(o *agent.Observed) { o.Assignments, o.Readable = nil, nil },
			"", "assignment-unread:unknown assignment-unread:unknown assignment-unread:unknown", ""},
		"its service principal was made anew": {func(o *agent.Observed) { o.Principal.ID = other }, "", "", "principal-replaced"},
		"nobody has looked for its service principal": {func(o *agent.Observed) { o.Principal = nil; without(o, 1) },
			"role:reader@polyclaw-rg", "", ""},
		"it is not provisioned":    {func(o *agent.Observed) { o.Record = agent.Record{Agent: "bot"} }, "", "", "not-provisioned"},
		"the group is gone":        {func(o *agent.Observed) { o.GroupExists = false }, "", "", "resource-group"},
		"the vault heeds no roles": {func(o *agent.Observed) { o.Vault.RBAC = false }, "", "", "key-vault-mode"},
	} {
		t.Run(name, func(t *testing.T) {
			o := seenOn()
			test.change(&o)
			p := agent.Repair(wanted(), "bot", o, options())
			sound(t, p)
			proven(t, p)
			if line(p) != test.steps || findings(p) != test.findings || blockers(p) != test.blockers {
				t.Errorf("steps %q findings %q blockers %q\nwant  %q %q %q", line(p), findings(p), blockers(p), test.steps, test.findings, test.blockers)
			}
			for _, s := range p.Steps {
				if s.Plane != agent.ARM || (s.Action != agent.AssignRole && s.Action != agent.RemoveRole) {
					t.Errorf("%s is no step of a repair of roles", s.ID)
				}
			}
			if p.Verb != agent.FixRoles {
				t.Errorf("the verb is %s", p.Verb)
			}
		})
	}
}

func TestARepairIsTheSameTwice(t *testing.T) {
	o := seenOn()
	without(&o, 0)
	if a, b := agent.Repair(wanted(), "bot", o, options()).Digest(), agent.Repair(wanted(), "bot", o, options()).Digest(); a != b {
		t.Errorf("%s and %s", a, b)
	}
	p := agent.Repair(wanted(), "bot", o, options())
	if s, ok := p.Step("role:azure-bot-service-contributor-role@polyclaw-rg"); !ok || s.Why != agent.WhyRemoved || s.With["principal"] != "$principal" {
		t.Errorf("%+v", s)
	}
	if got := (agent.Run{Agent: "bot", Verb: agent.FixRoles}).Command(); got != "leastkey roles fix bot" {
		t.Error(got)
	}
}
