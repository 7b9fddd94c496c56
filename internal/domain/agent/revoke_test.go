package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

func withdraw(t *testing.T, o agent.Observed, opt agent.RevokeOptions) agent.Plan {
	t.Helper()
	opt.Options = options()
	p := agent.Withdraw(wanted(), "bot", o, opt)
	sound(t, p)
	safe(t, p)
	return p
}

// safe checks that a withdrawal which stops anywhere leaves nothing that works: the door is shut first, and what could open it again is
// kept until the doors themselves are gone.
func safe(t interface{ Errorf(string, ...any) }, p agent.Plan) {
	rank := map[agent.Action]int{
		agent.DisablePrincipal: 1, agent.RemoveRole: 2, agent.RemovePassword: 3, agent.ClearCertificates: 4, agent.DeleteApplication: 5,
		agent.PurgePrincipal: 6, agent.PurgeApplication: 7, agent.ProveDead: 8, agent.DeleteKey: 9, agent.ClearEnv: 10, agent.Forget: 11,
	}
	reached := map[string]bool{} // all that is done before the steps of this rank
	highest := 0
	for _, s := range p.Steps {
		r, ok := rank[s.Action]
		if !ok || r < highest {
			t.Errorf("%s (%s) comes after a step of rank %d", s.ID, s.Action, highest)
		}
		if r > highest {
			highest = r
			for _, before := range p.Steps {
				if before.ID == s.ID {
					break
				}
				reached[before.ID] = true
			}
		}
		if s.Action == agent.RemoveRole {
			continue // side by side
		}
		// Whatever came before is waited for, directly or through others.
		var seen func(id string) []string
		seen = func(id string) []string {
			step, _ := p.Step(id)
			all := slices.Clone(step.After)
			for _, a := range step.After {
				all = append(all, seen(a)...)
			}
			return all
		}
		waits := seen(s.ID)
		for id := range reached {
			if id != s.ID && !slices.Contains(waits, id) {
				t.Errorf("%s does not wait for %s", s.ID, id)
			}
		}
	}
}

// remade is a world in which somebody has deleted the service principal and made it anew, with a role of their choice.
func remade(o *agent.Observed) {
	o.Principal.ID = other
	o.Assignments = append(o.Assignments, agent.Assignment{ID: "x", Name: "n", RoleID: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", Role: "Owner", Scope: group, PrincipalID: other})
}

func TestWithdraw(t *testing.T) {
	const (
		roles  = "remove-role:azure-bot-service-contributor-role@polyclaw-rg<disable> remove-role:reader@polyclaw-rg<disable> remove-role:key-vault-secrets-officer@kv<disable> "
		rolesW = "remove-role:azure-bot-service-contributor-role@polyclaw-rg,remove-role:reader@polyclaw-rg,remove-role:key-vault-secrets-officer@kv"
		tail   = "delete<credentials> prove<delete> delete-key:" + gen1 + "<prove> environment<delete-key:" + gen1 + "> forget<environment>"
		all    = "disable " + roles + "credentials<" + rolesW + "> " + tail
	)
	for name, c := range map[string]struct {
		change   func(*agent.Observed)
		options  agent.RevokeOptions
		steps    string
		findings string
	}{
		"everything": {steps: all},
		"from the recycle bin too": {
			options: agent.RevokeOptions{Purge: true},
			steps: "disable " + roles + "credentials<" + rolesW + "> delete<credentials> purge-principal<delete> purge<purge-principal> prove<purge> " +
				"delete-key:" + gen1 + "<prove> environment<delete-key:" + gen1 + "> forget<environment>",
		},
		"nothing is recorded":             {change: func(o *agent.Observed) { *o = untouched() }},
		"the application is gone":         {change: func(o *agent.Observed) { o.Application, o.Principal, o.Assignments = nil, nil, nil }, steps: all},
		"no environment file was written": {change: func(o *agent.Observed) { o.Record.EnvFile = "" }, steps: strings.ReplaceAll(strings.ReplaceAll(all, "environment<delete-key:"+gen1+"> ", ""), "forget<environment>", "forget<delete-key:"+gen1+">")},
		"no service principal was ever made": {change: func(o *agent.Observed) {
			o.Record.PrincipalID, o.Principal, o.Assignments, o.Record.Assignments = "", nil, nil, nil
		}, steps: "credentials " + tail},
		"a service principal that is not recorded": {change: func(o *agent.Observed) { o.Record.PrincipalID, o.Assignments, o.Record.Assignments = "", nil, nil }, steps: "disable credentials<disable> " + tail},
		"keys alone, of a run that stopped early": {change: func(o *agent.Observed) {
			o.Record = agent.Record{Agent: "bot", Generations: o.Record.Generations}
			o.Record.Generations[0].Active = false
		}, steps: "delete-key:" + gen1 + " forget<delete-key:" + gen1 + ">"},
		"no key was ever active":                    {change: func(o *agent.Observed) { o.Record.Generations[0].Active = false }, steps: strings.ReplaceAll(strings.ReplaceAll(all, "prove<delete> ", ""), "<prove>", "<delete>")},
		"an assignment that is not ours stays":      {change: func(o *agent.Observed) { o.Record.Assignments[0].Ours = false }, steps: "disable remove-role:reader@polyclaw-rg<disable> remove-role:key-vault-secrets-officer@kv<disable> credentials<remove-role:reader@polyclaw-rg,remove-role:key-vault-secrets-officer@kv> " + tail, findings: "assignment-left:warn"},
		"an assignment that is not ours, all asked": {change: func(o *agent.Observed) { o.Record.Assignments[0].Ours = false }, options: agent.RevokeOptions{All: true}, steps: all},
		"an assignment of a group is not touched": {change: func(o *agent.Observed) {
			o.Assignments = append(o.Assignments, agent.Assignment{Name: "n", RoleID: other, Scope: group, PrincipalID: other})
		}, options: agent.RevokeOptions{All: true}, steps: all},
		"what a service principal made anew holds goes too, when all is asked": {change: remade, options: agent.RevokeOptions{All: true, Purge: true}, steps: "disable " + roles + "remove-role:owner@polyclaw-rg<disable> credentials<" + rolesW + ",remove-role:owner@polyclaw-rg> " +
			"delete<credentials> purge-principal<delete> purge-recorded-principal<purge-principal> purge<purge-recorded-principal> prove<purge> delete-key:" + gen1 + "<prove> environment<delete-key:" + gen1 + "> forget<environment>"},
		"what a service principal made anew holds is named otherwise": {change: remade, steps: all, findings: "assignment-left:warn"},
		"a federated credential goes with it": {change: func(o *agent.Observed) {
			o.Application.Federated = []agent.FederatedCredential{{ID: "fic", Name: "evil"}}
		}, steps: all, findings: "federated-credential:warn"},
		"an assignment recorded twice goes once": {change: func(o *agent.Observed) { o.Record.Assignments = append(o.Record.Assignments, o.Record.Assignments[0]) }, steps: all},
		"a foreign certificate goes with it": {change: func(o *agent.Observed) {
			o.Application.Certificates = append(o.Application.Certificates, certificate("f1", sum3))
		}, steps: all, findings: "foreign-certificate:warn"},
		"a password of the service principal goes": {change: func(o *agent.Observed) { o.Principal.Passwords = []agent.Password{{KeyID: "p2"}} }, steps: "disable " + roles + "remove-password:p2<" + rolesW + "> credentials<remove-password:p2> " + tail},
		"a certificate of the service principal":   {change: func(o *agent.Observed) { o.Principal.Certificates = []agent.Certificate{certificate("f1", sum3)} }, steps: all, findings: "foreign-principal-certificate:warn"},
	} {
		t.Run(name, func(t *testing.T) {
			o := inOrder()
			if c.change != nil {
				c.change(&o)
			}
			p := withdraw(t, o, c.options)
			if got := line(p); got != c.steps {
				t.Errorf("steps\n got %s\nwant %s", got, c.steps)
			}
			if got := findings(p); got != c.findings {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
			for _, s := range p.Steps {
				if s.Destroys == (s.Action == agent.ProveDead) {
					t.Errorf("%s destroys: %v", s.ID, s.Destroys)
				}
			}
		})
	}
}

func TestWithdrawOfTwoGenerationsDeletesBothKeys(t *testing.T) {
	o := inOrder()
	older(&o)
	if got := ids(withdraw(t, o, agent.RevokeOptions{})); !strings.Contains(got, "prove delete-key:"+gen1+" delete-key:"+gen2+" environment forget") {
		t.Errorf("steps %s", got)
	}
}
