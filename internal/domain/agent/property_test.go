package agent_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// world draws a spec, what may be found, and what the operator may have decided.
func world(t *rapid.T) (agent.Spec, agent.Observed, agent.Options) {
	s, opt := wanted(), options()
	a := s.Agents["bot"]
	if rapid.Bool().Draw(t, "listed roles") {
		a.Roles = agent.Roles{List: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) agent.RoleAt {
			return agent.RoleAt{Role: rapid.SampledFrom([]string{"Reader", "Key Vault Reader", "AcrPull"}).Draw(t, "role"), Scope: rapid.SampledFrom([]string{group, vault, strings.ToUpper(group)}).Draw(t, "scope")}
		}), 0, 4).Draw(t, "roles")}
	}
	sums := []string{sum1, sum2, sum3, knownSum, ""}
	a.Certificates = []string{knownSum}
	o := untouched()
	o.GroupExists = rapid.IntRange(0, 9).Draw(t, "group") > 0
	if rapid.IntRange(0, 9).Draw(t, "vault") == 0 {
		o.Vault = nil
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "generations") {
		g := agent.Generation{ID: fmt.Sprintf("gen%029d", i), Ref: secret.Ref{Backend: "memory", Name: fmt.Sprint(i)}, SHA256: sums[i], KeyID: rapid.SampledFrom([]string{"", fmt.Sprint("k", i)}).Draw(t, "recorded key id"), NotBefore: now().AddDate(0, -1, 0), NotAfter: now().AddDate(0, rapid.IntRange(-1, 11).Draw(t, "life"), 0)}
		o.Record.Generations = append(o.Record.Generations, g)
		o.Keys[g.ID] = rapid.SampledFrom([]agent.KeyState{agent.KeyPresent, agent.KeyPresent, agent.KeyAbsent, agent.KeyMismatched}).Draw(t, "key")
	}
	if n := len(o.Record.Generations); n > 0 && rapid.Bool().Draw(t, "active") {
		o.Record.Generations[rapid.IntRange(0, n-1).Draw(t, "which")].Active = true
	}
	o.Record.EnvFile = rapid.SampledFrom([]string{"", "/w/.env"}).Draw(t, "environment file")
	if !rapid.Bool().Draw(t, "provisioned") {
		for range rapid.IntRange(0, 2).Draw(t, "namesakes") {
			o.Namesakes = append(o.Namesakes, agent.Namesake{Application: agent.Application{ID: other}})
		}
		opt.CreateBeside = rapid.Bool().Draw(t, "beside")
		return s, o, opt
	}
	good := inOrder()
	o.Record.ApplicationID, o.Record.AppID, o.Record.UniqueName = good.Record.ApplicationID, good.Record.AppID, good.Record.UniqueName
	o.Record.PrincipalID = rapid.SampledFrom([]string{"", principal, principal, principal}).Draw(t, "recorded principal")
	credentials := func(label string) (c []agent.Certificate, p []agent.Password) {
		for i := range rapid.IntRange(0, 4).Draw(t, label+" certificates") {
			c = append(c, certificate(fmt.Sprint("k", i), rapid.SampledFrom(sums).Draw(t, "hash")))
		}
		for i := range rapid.IntRange(0, 2).Draw(t, label+" passwords") {
			p = append(p, agent.Password{KeyID: fmt.Sprint(label, "-p", i)})
		}
		return c, p
	}
	if rapid.IntRange(0, 9).Draw(t, "application") > 0 {
		app := *good.Application
		app.Certificates, app.Passwords = credentials("app")
		app.SignInAudience = rapid.SampledFrom([]string{"AzureADMyOrg", "AzureADMultipleOrgs"}).Draw(t, "audience")
		o.Application = &app
	}
	if rapid.IntRange(0, 4).Draw(t, "principal") > 0 {
		p := agent.Principal{ID: rapid.SampledFrom([]string{principal, principal, principal, other}).Draw(t, "principal id"), AppID: appID, Enabled: rapid.IntRange(0, 4).Draw(t, "enabled") > 0}
		_, p.Passwords = credentials("sp")
		o.Principal = &p
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "assignments") {
		d := role.Builtin()[rapid.IntRange(0, 20).Draw(t, "assigned role")]
		as := agent.Assignment{ID: fmt.Sprint("id", i), Name: fmt.Sprint("n", i), RoleID: d.ID, Role: d.Name, Scope: rapid.SampledFrom([]string{group, vault, "/subscriptions/" + sub}).Draw(t, "assigned at"),
			PrincipalID: rapid.SampledFrom([]string{principal, principal, other}).Draw(t, "assigned to"), Condition: rapid.SampledFrom([]string{"", "", "c"}).Draw(t, "condition")}
		o.Assignments = append(o.Assignments, as)
		if rapid.Bool().Draw(t, "recorded") {
			o.Record.Assignments = append(o.Record.Assignments, agent.Assigned{Grant: as.Grant(), Name: as.Name, Ours: rapid.Bool().Draw(t, "ours")})
		}
	}
	o.Unread = rapid.SliceOfN(rapid.SampledFrom([]string{group, vault, "/subscriptions/" + sub}), 0, 2).Draw(t, "unread")
	if o.Application != nil {
		for i := range rapid.IntRange(0, 2).Draw(t, "federated") {
			o.Application.Federated = append(o.Application.Federated, agent.FederatedCredential{ID: fmt.Sprint("fic", i), Name: "n"})
		}
	}
	opt.RemoveForeign = rapid.SliceOfN(rapid.SampledFrom([]string{sum3, "k0", "k2", "app-p0", "sp-p1", "fic1", "nothing"}), 0, 3).Draw(t, "remove")
	return s, o, opt
}

// shuffled is the same observation as a service might have answered it in another order.
func shuffled(o agent.Observed, seed uint64) agent.Observed {
	r := rand.New(rand.NewPCG(seed, 1))
	mix := func(n int, swap func(i, j int)) { r.Shuffle(n, swap) }
	o.Assignments = slices.Clone(o.Assignments)
	mix(len(o.Assignments), func(i, j int) { o.Assignments[i], o.Assignments[j] = o.Assignments[j], o.Assignments[i] })
	if o.Application != nil {
		app := *o.Application
		app.Certificates, app.Passwords = slices.Clone(app.Certificates), slices.Clone(app.Passwords)
		mix(len(app.Certificates), func(i, j int) {
			app.Certificates[i], app.Certificates[j] = app.Certificates[j], app.Certificates[i]
		})
		mix(len(app.Passwords), func(i, j int) { app.Passwords[i], app.Passwords[j] = app.Passwords[j], app.Passwords[i] })
		o.Application = &app
	}
	return o
}

func TestEveryPlanIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o, opt := world(t)
		p := agent.Diff(s, "bot", o, opt)
		sound(t, p)
		proven(t, p)
		again := agent.Diff(s, "bot", shuffled(o, rapid.Uint64().Draw(t, "order")), opt)
		if p.Digest() != again.Digest() {
			t.Errorf("the same world in another order gives another plan:\n%s\n%s", line(p), line(again))
		}
		last := len(p.Steps) - 1
		if last >= 0 && !p.Empty() {
			if _, ok := p.Step("verify"); !ok {
				t.Errorf("a plan that changes something does not read back: %s", line(p))
			}
		}
		oneWorks(t, o, p)
		removesOnlyOurs(t, s, o, opt, p)
	})
}

// oneWorks checks that whatever a plan removes, the generation that it logs in with is not among it.
func oneWorks(t *rapid.T, o agent.Observed, p agent.Plan) {
	active := o.Record.Active()
	_, minted := p.Step("key")
	for _, s := range p.Steps {
		if active == nil || minted {
			return
		}
		if s.Action == agent.DeleteKey && s.With["generation"] == active.ID {
			t.Errorf("the key in use is deleted without a successor: %s", line(p))
		}
		if s.Action == agent.RemoveCertificate && strings.EqualFold(s.With["sha256"], active.SHA256) {
			t.Errorf("the certificate in use is removed without a successor: %s", line(p))
		}
	}
}

// removesOnlyOurs checks that what is not ours goes only when it was asked for, and a known one never unless asked.
func removesOnlyOurs(t *rapid.T, spec agent.Spec, o agent.Observed, opt agent.Options, p agent.Plan) {
	for _, s := range p.Steps {
		asked := slices.ContainsFunc(opt.RemoveForeign, func(id string) bool {
			return strings.EqualFold(id, s.With["key_id"]) || (id != "" && strings.EqualFold(id, s.With["sha256"]))
		})
		switch s.Action {
		case agent.RemovePassword, agent.RemoveFederated:
			if !asked {
				t.Errorf("credential %s is removed though nobody asked", s.With["key_id"])
			}
		case agent.RemoveCertificate:
			whose := o.Record.Whose(spec.Agents["bot"], agent.Certificate{KeyID: s.With["key_id"], SHA256: s.With["sha256"]})
			if whose == agent.Known || (whose == agent.Foreign && !asked) {
				t.Errorf("a %s certificate is removed though nobody asked: %s", whose, s.ID)
			}
		case agent.RemoveRole:
			i := slices.IndexFunc(o.Assignments, func(a agent.Assignment) bool { return a.Name == s.With["name"] })
			recorded := slices.ContainsFunc(o.Record.Assignments, func(a agent.Assigned) bool { return a.Ours && a.Name == s.With["name"] })
			direct := i >= 0 && (o.Assignments[i].PrincipalID == o.Record.PrincipalID || (o.Principal != nil && o.Assignments[i].PrincipalID == o.Principal.ID))
			if !recorded && !direct {
				t.Errorf("an assignment of another principal is removed: %s", s.ID)
			}
		}
	}
}

func TestEveryWithdrawalIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o, opt := world(t)
		r := agent.RevokeOptions{Options: opt, Purge: rapid.Bool().Draw(t, "purge"), All: rapid.Bool().Draw(t, "all")}
		p := agent.Withdraw(s, "bot", o, r)
		sound(t, p)
		safe(t, p)
		if p.Digest() != agent.Withdraw(s, "bot", shuffled(o, rapid.Uint64().Draw(t, "order")), r).Digest() {
			t.Errorf("the same world in another order gives another plan")
		}
		if len(p.Steps) > 0 && p.Steps[len(p.Steps)-1].Action != agent.Forget {
			t.Errorf("the record is not forgotten last: %s", line(p))
		}
		for _, g := range o.Record.Generations {
			if _, ok := p.Step("delete-key:" + g.ID); !ok {
				t.Errorf("key %s is left behind: %s", g.ID, line(p))
			}
		}
		for _, a := range o.Record.Assignments {
			if a.Ours && !slices.ContainsFunc(p.Steps, func(s agent.Step) bool { return s.Action == agent.RemoveRole && s.With["name"] == a.Name }) && o.Record.Provisioned() {
				t.Errorf("assignment %s of ours is left behind: %s", a.Name, line(p))
			}
		}
		if o.Record.Provisioned() {
			if _, ok := p.Step("delete"); !ok {
				t.Errorf("the application is left behind: %s", line(p))
			}
		}
	})
}

// Half and rest together are the plan, and neither waits for what it does not have.
func TestEveryPlanCanBeSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o, opt := world(t)
		p := agent.Diff(s, "bot", o, opt)
		plane := rapid.SampledFrom([]agent.Plane{agent.Graph, agent.ARM}).Draw(t, "plane")
		half, rest := p.Only(plane)
		if err := errors.Join(half.Sound(), rest.Sound()); err != nil {
			t.Error(err)
		}
		count := map[string]int{}
		for _, h := range []agent.Plan{half, rest} {
			for _, step := range h.Steps {
				count[step.ID]++
				for _, id := range step.After {
					if _, ok := h.Step(id); !ok {
						t.Errorf("%s waits for %s, which is not in its half", step.ID, id)
					}
				}
			}
		}
		for _, step := range p.Steps {
			mine := step.Plane == agent.ARM == (plane == agent.ARM)
			if _, in := half.Step(step.ID); in && !mine {
				t.Errorf("the half for %s has %s of %s", plane, step.ID, step.Plane)
			}
			if count[step.ID] > 1 {
				t.Errorf("%s is in both halves", step.ID)
			}
		}
	})
}
