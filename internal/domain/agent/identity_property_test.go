package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

// keylessWorld draws what world does, for an identity without a key of either kind, with any federated credentials on it.
func keylessWorld(t *rapid.T) (agent.Spec, agent.Observed, agent.Options) {
	s, o, opt := world(t)
	a := s.Agents["bot"]
	jobs := []agent.Federated{jobA, jobB, {Issuer: "https://issuer", Subject: "a", Audience: "api://other"}, {Issuer: "https://other", Subject: "a", Audience: agent.TokenExchange}}
	a.Federated = rapid.SliceOfNDistinct(rapid.SampledFrom([]agent.Federated{jobs[rapid.SampledFrom([]int{0, 2}).Draw(t, "audience")], jobB, jobs[3]}), 0, 3, agent.Federated.Name).Draw(t, "wanted")
	var found []agent.FederatedCredential
	for i, f := range rapid.SliceOfNDistinct(rapid.SampledFrom([]agent.Federated{jobs[rapid.SampledFrom([]int{0, 2}).Draw(t, "audience there")], jobB, jobs[3]}), 0, 3, agent.Federated.Name).Draw(t, "there") {
		c := f.Credential()
		c.ID = fmt.Sprint("f", i)
		if rapid.IntRange(0, 3).Draw(t, "renamed") == 0 {
			c.Name = fmt.Sprint("theirs", i)
		}
		if rapid.IntRange(0, 4).Draw(t, "changed") == 0 {
			c.Subject += "-changed"
		}
		if rapid.Bool().Draw(t, "ours") {
			o.Record.Federated = append(o.Record.Federated, c.Name)
		}
		found = append(found, c)
	}
	opt.RemoveForeign = append(opt.RemoveForeign, rapid.SliceOfN(rapid.SampledFrom([]string{"f0", "f1", "theirs2"}), 0, 2).Draw(t, "give up")...)
	if len(a.Federated) > 0 && rapid.Bool().Draw(t, "application") {
		if o.Application != nil {
			o.Application.Federated = found
		}
		return s, o, opt
	}
	a.Kind, a.Certificates = agent.ManagedIdentity, nil
	provisioned, held := o.Record.Provisioned(), o.Record.PrincipalID != ""
	o.Application, o.Record.ApplicationID, o.Record.UniqueName, o.Record.Generations = nil, "", "", nil
	if o.Principal != nil {
		o.Principal.ID = principal
	}
	if provisioned && held {
		o.Record.ResourceID, o.Record.Kind, o.Record.Adopted = identityID, agent.ManagedIdentity, rapid.Bool().Draw(t, "adopted")
	} else {
		o.Record = agent.Record{Agent: "bot"}
		o.Principal = nil
	}
	if rapid.IntRange(0, 5).Draw(t, "identity") > 0 {
		o.Identity = &agent.UserAssignedIdentity{ID: identityID, ClientID: appID, PrincipalID: rapid.SampledFrom([]string{principal, principal, principal, other}).Draw(t, "its principal"), Federated: found}
	}
	return s, o, opt
}

func TestEveryPlanWithoutAKeyIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o, opt := keylessWorld(t)
		p := agent.Diff(s, "bot", o, opt)
		sound(t, p)
		proven(t, p)
		keyless(t, s, p)
		if again := agent.Diff(s, "bot", shuffled(o, rapid.Uint64().Draw(t, "order")), opt); p.Digest() != again.Digest() {
			t.Errorf("the same world in another order gives another plan:\n%s\n%s", line(p), line(again))
		}
		if _, ok := p.Step("verify"); !ok && !p.Empty() {
			t.Errorf("a plan that changes something does not read back: %s", line(p))
		}
		touchesOnlyOurs(t, o, opt, p)
	})
}

// touchesOnlyOurs checks that nobody else's credential is removed or written over unless somebody asked.
func touchesOnlyOurs(t *rapid.T, o agent.Observed, opt agent.Options, p agent.Plan) {
	var found []agent.FederatedCredential
	if o.Application != nil {
		found = o.Application.Federated
	}
	if o.Identity != nil {
		found = o.Identity.Federated
	}
	for _, s := range p.Steps {
		if s.Action != agent.RemoveFederated && s.Action != agent.WriteFederated && s.Action != agent.RemoveCertificate {
			continue
		}
		asked := func(ids ...string) bool {
			return slices.ContainsFunc(opt.RemoveForeign, func(want string) bool {
				return slices.ContainsFunc(ids, func(id string) bool { return id != "" && strings.EqualFold(id, want) })
			})
		}
		if s.Action == agent.RemoveCertificate {
			if !asked(s.With["key_id"], s.With["sha256"]) {
				t.Errorf("a certificate goes though nobody asked: %s", s.ID)
			}
			continue
		}
		for _, f := range found {
			touched := f.Name == s.With["name"] || f.ID == s.With["key_id"] || f.Name == s.With["key_id"]
			if touched && !slices.Contains(o.Record.Federated, f.Name) && !asked(f.ID, f.Name) {
				t.Errorf("%s touches %q, which is not ours", s.ID, f.Name)
			}
		}
	}
}

func TestEveryWithdrawalOfAManagedIdentityIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o, opt := keylessWorld(t)
		if !o.Record.Managed() {
			return
		}
		r := agent.RevokeOptions{Options: opt, Purge: rapid.Bool().Draw(t, "purge"), All: rapid.Bool().Draw(t, "all")}
		p := agent.Withdraw(s, "bot", o, r)
		sound(t, p)
		if p.Digest() != agent.Withdraw(s, "bot", shuffled(o, rapid.Uint64().Draw(t, "order")), r).Digest() {
			t.Errorf("the same world in another order gives another plan")
		}
		if p.Steps[len(p.Steps)-1].Action != agent.Forget {
			t.Errorf("the record is not forgotten last: %s", line(p))
		}
		at := func(match func(agent.Step) bool) int { return slices.IndexFunc(p.Steps, match) }
		deleted := at(func(s agent.Step) bool { return s.Action == agent.DeleteIdentity })
		anew := o.Identity != nil && o.Identity.PrincipalID != o.Record.PrincipalID
		if want := !anew && (!o.Record.Adopted || r.Purge); want != (deleted >= 0) {
			t.Errorf("it is deleted: %v, want %v", deleted >= 0, want)
		}
		for _, a := range o.Record.Assignments {
			i := at(func(s agent.Step) bool { return s.Action == agent.RemoveRole && s.With["name"] == a.Name })
			if a.Ours && (i < 0 || (deleted >= 0 && i > deleted)) {
				t.Errorf("assignment %s of ours is not removed before the identity: %s", a.Name, line(p))
			}
		}
		for _, name := range o.Record.Federated {
			i := at(func(s agent.Step) bool { return s.Action == agent.RemoveFederated && s.With["name"] == name })
			if !anew && (i < 0 || (deleted >= 0 && i > deleted)) {
				t.Errorf("federated credential %s of ours is not removed before the identity: %s", name, line(p))
			}
		}
	})
}
