package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

const (
	tenant    = "11111111-0000-0000-0000-000000000001"
	sub       = "22222222-0000-0000-0000-000000000002"
	group     = "/subscriptions/" + sub + "/resourceGroups/polyclaw-rg"
	vault     = group + "/providers/Microsoft.KeyVault/vaults/kv"
	appObject = "33333333-0000-0000-0000-000000000003"
	appID     = "44444444-0000-0000-0000-000000000004"
	principal = "55555555-0000-0000-0000-000000000005"
	other     = "66666666-0000-0000-0000-000000000006"
	keyID     = "77777777-0000-0000-0000-000000000007"
	gen1      = "aaaaaaaa000000000000000000000001"
	gen2      = "bbbbbbbb000000000000000000000002"
)

var sum1, sum2, sum3 = strings.Repeat("a1", 32), strings.Repeat("b2", 32), strings.Repeat("c3", 32)

func now() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }

// wanted is the spec of one agent with a vault: three roles.
func wanted() agent.Spec {
	s := agent.Spec{Tenant: tenant, Subscription: sub, Agents: map[string]*agent.Agent{"bot": {KeyVault: "kv"}}}
	s.Defaults()
	return s
}

func options() agent.Options {
	return agent.Options{Roles: role.Builtin(), Tenant: tenant, Instance: "cloud-1"}
}

// untouched is a world in which nothing of the agent exists yet.
func untouched() agent.Observed {
	return agent.Observed{Record: agent.Record{Agent: "bot"}, GroupExists: true, Vault: &agent.Vault{ID: vault, RBAC: true}, Keys: map[string]agent.KeyState{}, Now: now()}
}

// inOrder is a world in which everything is as wanted.
func inOrder() agent.Observed {
	s, o := wanted(), untouched()
	o.Record = agent.Record{
		Agent: "bot", Kind: agent.ServicePrincipal, Instance: "cloud-1", UniqueName: "leastkey-0123", ApplicationID: appObject, AppID: appID, PrincipalID: principal, Subscription: sub, EnvFile: "/w/.env",
		Generations: []agent.Generation{{ID: gen1, Ref: secret.Ref{Backend: "memory", Name: "bot#" + gen1}, DER: []byte("certificate"), SHA256: sum1, KeyID: keyID, NotBefore: now().AddDate(0, -1, 0), NotAfter: now().AddDate(0, 11, 0), Active: true}},
	}
	o.Application = &agent.Application{ID: appObject, AppID: appID, DisplayName: "bot", UniqueName: "leastkey-0123", SignInAudience: "AzureADMyOrg", Certificates: []agent.Certificate{certificate(keyID, sum1)}}
	o.Principal = &agent.Principal{ID: principal, AppID: appID, Enabled: true}
	for _, g := range s.Grants(s.Agents["bot"], role.Builtin()) {
		name := role.AssignmentName(g, principal)
		o.Assignments = append(o.Assignments, agent.Assignment{ID: g.Scope + "/a/" + name, Name: name, RoleID: g.RoleID, Role: g.Role, Scope: g.Scope, PrincipalID: principal})
		o.Record.Assignments = append(o.Record.Assignments, agent.Assigned{Grant: g, Name: name, Ours: true})
	}
	o.Keys[gen1] = agent.KeyPresent
	o.Env = agent.EnvKeys(appID, tenant)
	return o
}

func certificate(id, sum string) agent.Certificate {
	return agent.Certificate{KeyID: id, SHA256: sum, DisplayName: "leastkey bot", End: now().AddDate(0, 11, 0)}
}

const (
	farScope    = "/subscriptions/88888888-0000-0000-0000-000000000008/resourceGroups/far"
	listedOwner = "99999999-0000-0000-0000-00000000000a"
)

// far is a recorded assignment in another subscription, which the spec does not name.
func far(ours bool) agent.Assigned {
	return agent.Assigned{Grant: role.Grant{Role: "Reader", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: farScope}, Name: "far-1", Ours: ours}
}

// older adds a second generation that is not the active one, with its certificate.
func older(o *agent.Observed) {
	o.Record.Generations = append(o.Record.Generations, agent.Generation{ID: gen2, Ref: secret.Ref{Backend: "memory", Name: "bot#" + gen2}, SHA256: sum2, KeyID: "k2", NotBefore: now().AddDate(0, -2, 0), NotAfter: now().AddDate(0, 10, 0)})
	o.Keys[gen2] = agent.KeyPresent
	o.Application.Certificates = append(o.Application.Certificates, certificate("k2", sum2))
}

// line is a plan's steps as one string: what each waits for in brackets.
func line(p agent.Plan) string {
	var all []string
	for _, s := range p.Steps {
		id := s.ID
		if len(s.After) > 0 {
			id += "<" + strings.Join(s.After, ",") + ">"
		}
		all = append(all, id)
	}
	return strings.Join(all, " ")
}

func ids(p agent.Plan) string {
	var all []string
	for _, s := range p.Steps {
		all = append(all, s.ID)
	}
	return strings.Join(all, " ")
}

func findings(p agent.Plan) string {
	var all []string
	for _, f := range p.Findings {
		all = append(all, f.ID+":"+string(f.Outcome))
	}
	return strings.Join(all, " ")
}

func blockers(p agent.Plan) string {
	var all []string
	for _, f := range p.Blockers {
		all = append(all, f.ID)
	}
	return strings.Join(all, " ")
}

// sound checks what must hold of every plan, whatever the world was.
func sound(t interface{ Errorf(string, ...any) }, p agent.Plan) {
	at := map[string]int{}
	for i, s := range p.Steps {
		if _, twice := at[s.ID]; twice || s.ID == "" {
			t.Errorf("step id %q is there twice, or empty", s.ID)
		}
		at[s.ID] = i
	}
	// before tells whether b is done whenever a runs.
	var before func(a, b string) bool
	before = func(a, b string) bool {
		for _, id := range p.Steps[at[a]].After {
			if id == b || before(id, b) {
				return true
			}
		}
		return false
	}
	for i, s := range p.Steps {
		for _, id := range s.After {
			j, ok := at[id]
			if !ok || j >= i {
				t.Errorf("step %s waits for %s, which is not before it", s.ID, id)
				return
			}
		}
		for _, id := range s.Proof {
			if _, ok := at[id]; !ok || !before(s.ID, id) {
				t.Errorf("step %s rests on the proof %s, which it does not wait for", s.ID, id)
			}
		}
		for name, v := range s.With {
			if fact, ok := strings.CutPrefix(v, "$"); ok && !made(p, s.ID, fact, before) {
				t.Errorf("step %s: %s is $%s, which nothing before it makes", s.ID, name, fact)
			}
		}
	}
	// Two steps that replace the list of certificates never run side by side.
	var last string
	for _, s := range p.Steps {
		if s.Action == agent.RegisterCertificate || s.Action == agent.RemoveCertificate || s.Action == agent.ClearCertificates {
			if last != "" && !before(s.ID, last) {
				t.Errorf("%s and %s would replace the certificates side by side", last, s.ID)
			}
			last = s.ID
		}
	}
	// Nor do two that write federated credentials.
	last = ""
	for _, s := range p.Steps {
		if s.Action == agent.WriteFederated || (s.Action == agent.RemoveFederated && last != "") {
			if last != "" && !before(s.ID, last) {
				t.Errorf("%s and %s would write federated credentials side by side", last, s.ID)
			}
			last = s.ID
		}
	}
	if len(p.Blockers) > 0 && len(p.Steps) > 0 {
		t.Errorf("a plan that is blocked has steps")
	}
}

// made tells whether a fact is known, or made by a step that is done before.
func made(p agent.Plan, step, fact string, before func(a, b string) bool) bool {
	if p.Facts[fact] != "" {
		return true
	}
	for _, s := range p.Steps {
		switch s.Action {
		case agent.CreateApplication:
			if (fact == agent.FactApplication || fact == agent.FactAppID) && before(step, s.ID) {
				return true
			}
		case agent.CreateIdentity:
			if (fact == agent.FactResource || fact == agent.FactAppID || fact == agent.FactPrincipal) && before(step, s.ID) {
				return true
			}
		case agent.CreatePrincipal:
			if fact == agent.FactPrincipal && before(step, s.ID) {
				return true
			}
		case agent.MintKey:
			if fact == agent.FactGeneration && before(step, s.ID) {
				return true
			}
		}
	}
	return false
}

// proven checks that an apply destroys what logs in only after a login.
func proven(t interface{ Errorf(string, ...any) }, p agent.Plan) {
	for _, s := range p.Steps {
		switch s.Action {
		case agent.RemoveCertificate, agent.RemovePassword, agent.RemoveFederated:
			if !s.Destroys || len(s.Proof) == 0 {
				t.Errorf("step %s destroys a credential without a proof", s.ID)
			}
		case agent.DeleteKey, agent.RemoveRole, agent.ClearEnv:
			if !s.Destroys {
				t.Errorf("step %s does not say that it destroys", s.ID)
			}
		}
	}
}

func diff(t *testing.T, o agent.Observed, opt agent.Options) agent.Plan {
	t.Helper()
	p := agent.Diff(wanted(), "bot", o, opt)
	sound(t, p)
	proven(t, p)
	return p
}
