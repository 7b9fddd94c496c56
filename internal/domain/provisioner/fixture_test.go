package provisioner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

const (
	tenant    = "11111111-0000-4000-8000-000000000001"
	other     = "22222222-0000-4000-8000-000000000002"
	appObject = "33333333-0000-4000-8000-000000000003"
	appID     = "44444444-0000-4000-8000-000000000004"
	principal = "55555555-0000-4000-8000-000000000005"
	graph     = "66666666-0000-4000-8000-000000000006"
	stateFile = "/w/.entraclaw-state.json"
	gen1      = "aaaaaaaa000000000000000000000001"
	gen2      = "bbbbbbbb000000000000000000000002"
)

func now() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }

func sum(of string) string { return fmt.Sprintf("%064x", of) }

func spec() agent.Spec {
	s := agent.Spec{Tenant: tenant}
	s.Defaults()
	return s
}

func options() provisioner.Options {
	return provisioner.Options{Tenant: tenant, Instance: "cloud-1", EnvFile: "/w/.env"}
}

// offered is what Graph offers: the base roles, and two of Agent ID in no order.
func offered() (all []provisioner.AppRole) {
	for i, v := range append(provisioner.BaseRoles(), "Mail.Read", "AgentIdUser.ReadWrite.All", "AgentIdentity.Create.All") {
		all = append(all, provisioner.AppRole{ID: fmt.Sprintf("r%d", i), Value: v, Enabled: true})
	}
	return all
}

// all are the permissions of the seed's set, in their order.
func all() []string {
	return append(provisioner.BaseRoles(), "AgentIdUser.ReadWrite.All", "AgentIdentity.Create.All")
}

func slot() secret.Ref {
	return secret.Ref{Backend: "keychain", Store: provisioner.Service, Name: tenant}
}

func beside(id string) secret.Ref {
	r := slot()
	r.Name += "#" + id
	return r
}

func certificate(of string) agent.Certificate {
	return agent.Certificate{KeyID: "k-" + of, SHA256: sum(of), DER: []byte("certificate of " + of), DisplayName: of, Start: now().AddDate(0, -1, 0), End: now().AddDate(0, 11, 0)}
}

func generation(id string, active bool) agent.Generation {
	g := agent.Generation{ID: id, Ref: beside(id), DER: []byte("certificate of " + id), SHA256: sum(id), KeyID: "k-" + id, NotBefore: now().AddDate(0, -1, 0), NotAfter: now().AddDate(0, 11, 0), Active: active}
	if active {
		g.Ref = slot()
	}
	return g
}

// untouched is a tenant in which nobody has made a Provisioner.
func untouched() provisioner.Observed {
	return provisioner.Observed{Record: agent.Record{Agent: provisioner.Name}, File: provisioner.File{Path: stateFile}, Offered: offered(), GraphID: graph,
		Keys: map[string]agent.KeyState{}, Slot: provisioner.Slot{State: agent.KeyAbsent}, Rights: provisioner.Rights{Known: true, Enough: true}, Now: now()}
}

// made has the application, as the original has left it or as ours is.
func made() provisioner.Observed {
	o := untouched()
	o.File.Exists, o.File.Tenant, o.File.Client = true, tenant, appID
	o.Application = &agent.Application{ID: appObject, AppID: appID, DisplayName: spec().Provisioner.DisplayName, SignInAudience: "AzureADMyOrg"}
	o.Principal = &agent.Principal{ID: principal, AppID: appID, Enabled: true}
	for i, r := range o.Offered {
		if slices.Contains(all(), r.Value) {
			o.Declared = append(o.Declared, r.ID)
			o.Granted = append(o.Granted, provisioner.Grant{ID: fmt.Sprint("g", i), RoleID: r.ID})
		}
	}
	return o
}

// legacy is an install of the original: a secret in the state file, in a copy of it and in the environment file, two passwords on the
// application and one on the service principal, and another machine's certificate.
func legacy() provisioner.Observed {
	o := made()
	o.File.HasSecret, o.Secret = true, provisioner.SecretLive
	o.Places = []provisioner.Place{{Path: stateFile, Line: 4, Kind: provisioner.StateFile}, {Path: "/w/.env", Line: 2, Kind: provisioner.EnvFile}, {Path: stateFile + ".bak", Line: 4, Kind: provisioner.Other}}
	o.Application.Passwords = []agent.Password{{KeyID: "p1", DisplayName: "first", Hint: "abc", Start: now().AddDate(-1, 0, 0), End: now().AddDate(1, 0, 0)}, {KeyID: "p2"}}
	o.Principal.Passwords = []agent.Password{{KeyID: "p3"}}
	o.Application.Certificates = []agent.Certificate{certificate("machine-b")}
	return o
}

// ours is a Provisioner of ours, with everything as wanted.
func ours() provisioner.Observed {
	o := made()
	g := generation(gen1, true)
	o.Record = agent.Record{Agent: provisioner.Name, ApplicationID: appObject, AppID: appID, PrincipalID: principal, Permissions: all(), StateFile: stateFile, Generations: []agent.Generation{g}}
	o.Keys[gen1] = agent.KeyPresent
	c := certificate(gen1)
	o.Application.Certificates = []agent.Certificate{c}
	o.Slot = provisioner.Slot{State: agent.KeyPresent, Certificate: &c}
	o.File.Certs = [][]byte{g.DER}
	return o
}

// imported is what the original's own migration has left: its key in the slot, its certificate on the application, nothing recorded.
func imported() provisioner.Observed {
	o := made()
	c := certificate("original")
	o.Application.Certificates = []agent.Certificate{c, certificate("machine-b")}
	o.Slot = provisioner.Slot{State: agent.KeyPresent, Certificate: &c}
	return o
}

// older records a generation that is not the active one, with its certificate on the application.
func older(o *provisioner.Observed, id string, retire time.Time) {
	g := generation(id, false)
	g.RetireAt = retire
	o.Record.Generations = append(o.Record.Generations, g)
	o.Keys[id] = agent.KeyPresent
	o.Application.Certificates = append(o.Application.Certificates, certificate(id))
}

// line is a plan's steps as one string: what each waits for in angle brackets.
func line(p agent.Plan) string {
	var out []string
	for _, s := range p.Steps {
		id := s.ID
		if len(s.After) > 0 {
			id += "<" + strings.Join(s.After, ",") + ">"
		}
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func ids(p agent.Plan) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, s.ID)
	}
	return strings.Join(out, " ")
}

func names(all []finding.Finding) string {
	var out []string
	for _, f := range all {
		out = append(out, f.ID)
	}
	return strings.Join(out, " ")
}

func finds(all []finding.Finding, id string) finding.Finding {
	i := slices.IndexFunc(all, func(f finding.Finding) bool { return f.ID == id })
	if i < 0 {
		return finding.Finding{}
	}
	return all[i]
}

// lawful checks what holds of every plan.
func lawful(t interface {
	Helper()
	Errorf(string, ...any)
}, p agent.Plan) {
	t.Helper()
	if err := p.Sound(); err != nil {
		t.Errorf("%v: %s", err, line(p))
	}
	if len(p.Blockers) > 0 && len(p.Steps) > 0 {
		t.Errorf("a plan that is blocked has steps: %s", line(p))
	}
	for _, f := range p.Blockers {
		if f.Outcome != finding.Fail || f.Question == "" || f.Detail == "" || f.Remedy == "" {
			t.Errorf("a blocker does not say what to do: %+v", f)
		}
	}
	for _, s := range p.Steps {
		for _, id := range append(slices.Clone(s.After), s.Proof...) {
			if _, ok := p.Step(id); !ok {
				t.Errorf("%s names %s, which the plan does not have", s.ID, id)
			}
		}
		for _, id := range s.Proof {
			if !before(p, id, s.ID) {
				t.Errorf("%s does not wait for its proof %s: %s", s.ID, id, line(p))
			}
		}
		if s.Destroys && len(s.Proof) == 0 && p.Verb != provisioner.Rollback {
			t.Errorf("%s destroys without a proof", s.ID)
		}
		if s.Action == agent.DeleteKey && s.With["key"] == slot().String() {
			t.Errorf("%s deletes the active slot", s.ID)
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Errorf("%v", err)
	}
	var back agent.Plan
	if err := json.Unmarshal(text, &back); err != nil || back.Digest() != p.Digest() {
		t.Errorf("a plan that goes through a file has another digest (%v)", err)
	}
}

// before tells whether a step is sure to be done before another begins, in whatever order the runner takes them.
func before(p agent.Plan, first, then string) bool {
	s, ok := p.Step(then)
	return ok && slices.ContainsFunc(s.After, func(id string) bool { return id == first || before(p, first, id) })
}

func check(t *testing.T, p agent.Plan, want string) {
	t.Helper()
	lawful(t, p)
	if got := ids(p); got != want {
		t.Errorf("steps\n got %s\nwant %s\n(blockers: %s)", got, want, names(p.Blockers))
	}
}

func blocked(t *testing.T, p agent.Plan, want ...string) {
	t.Helper()
	lawful(t, p)
	if names(p.Blockers) != strings.Join(want, " ") || len(p.Steps) > 0 {
		t.Errorf("blockers %q, want %q; steps %q", names(p.Blockers), want, ids(p))
	}
}
