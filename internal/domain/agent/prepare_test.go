package agent_test

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

// legacy is a world in which the agent logs in with a client secret: nothing of it is recorded, and the application is as it will be.
func legacyWorld() (agent.Observed, agent.PrepareOptions) {
	o := inOrder()
	o.Record = agent.Record{Agent: "bot"}
	o.Record.Adopt(*o.Application, principal, nil, "me")
	o.Application.Certificates, o.Keys, o.Env = nil, map[string]agent.KeyState{}, map[string]string{agent.LegacyAppID: appID, agent.LegacyTenant: tenant}
	o.Application.Passwords = []agent.Password{{KeyID: "p1", DisplayName: "rbac", Hint: "abc"}}
	o.AzureUnread = true
	return o, agent.PrepareOptions{Options: options(), Adopt: true, Legacy: agent.Legacy{File: "/w/.env", AppID: appID, Tenant: tenant, Works: agent.Alive}}
}

func TestPrepare(t *testing.T) {
	const rest = "key<application> certificate<application,key> login<certificate> verify<application,key,certificate,login> environment<verify>"
	for name, c := range map[string]struct {
		change                     func(*agent.Observed, *agent.PrepareOptions)
		steps, findings, blockedBy string
	}{
		"an application that is not recorded": {steps: "application " + rest, findings: "legacy-password:fail"},
		"it has no service principal": {
			change: func(o *agent.Observed, _ *agent.PrepareOptions) { o.Principal, o.Record.PrincipalID = nil, "" },
			steps: "application principal<application> key<application> certificate<application,key> login<certificate,principal> " +
				"verify<application,principal,key,certificate,login> environment<verify>",
			findings: "legacy-password:fail",
		},
		"it is recorded": {
			change:   func(_ *agent.Observed, opt *agent.PrepareOptions) { opt.Adopt = false },
			steps:    "key certificate<key> login<certificate> verify<key,certificate,login> environment<verify>",
			findings: "legacy-password:fail",
		},
		"it is prepared": {
			change: func(o *agent.Observed, opt *agent.PrepareOptions) {
				passwords := o.Application.Passwords
				*o = inOrder()
				o.Application.Passwords, opt.Adopt = passwords, false
			},
			findings: "legacy-password:fail",
		},
		"an earlier certificate of ours, another machine's, and a way in without a key: nothing goes": {
			change: func(o *agent.Observed, opt *agent.PrepareOptions) {
				*o = inOrder()
				older(o)
				o.Application.Certificates = append(o.Application.Certificates, certificate("k3", sum3))
				o.Application.Federated = []agent.FederatedCredential{{ID: "f", Name: "f"}}
				o.Principal.Passwords = []agent.Password{{KeyID: "p2"}}
				o.Principal.Certificates = []agent.Certificate{certificate("k4", strings.Repeat("d4", 32))}
				opt.Adopt = false
			},
			findings: "foreign-certificate:fail federated-credential:fail foreign-principal-certificate:fail legacy-password:fail",
		},
		"its certificate has expired: the old one stays": {
			change: func(o *agent.Observed, opt *agent.PrepareOptions) {
				*o = inOrder()
				o.Record.Generations[0].NotAfter, opt.Adopt, opt.Legacy.Works, opt.Legacy.Said = now(), false, agent.Dead, "AADSTS7000222"
			},
			steps: "key certificate<key> login<certificate> verify<key,certificate,login>", findings: "legacy-secret:warn",
		},
		"no password is listed, and the secret works": {
			change: func(o *agent.Observed, _ *agent.PrepareOptions) { o.Application.Passwords = nil },
			steps:  "application " + rest, findings: "legacy-password:fail",
		},
		"nobody knows whether the secret works": {
			change: func(o *agent.Observed, opt *agent.PrepareOptions) {
				o.Application.Passwords, opt.Legacy.Works = nil, agent.WorksUnknown
			},
			steps: "application " + rest, findings: "legacy-secret:unknown",
		},
		"env_file has moved: the next apply moves the keys": {
			change: func(o *agent.Observed, opt *agent.PrepareOptions) {
				*o = inOrder()
				o.EnvPath, o.Env, opt.Adopt, opt.Legacy.Works = "/other/.env", nil, false, agent.Dead
			},
			findings: "legacy-secret:warn env-moved:warn",
		},
		"the application is gone": {
			change:    func(o *agent.Observed, _ *agent.PrepareOptions) { o.Application = nil },
			blockedBy: "application-gone",
		},
		"the service principal is disabled": {
			change:    func(o *agent.Observed, _ *agent.PrepareOptions) { o.Principal.Enabled = false },
			blockedBy: "principal-disabled",
		},
	} {
		o, opt := legacyWorld()
		if c.change != nil {
			c.change(&o, &opt)
		}
		p := agent.Prepare(wanted(), "bot", o, opt)
		sound(t, p)
		if line(p) != c.steps || findings(p) != c.findings || blockers(p) != c.blockedBy {
			t.Errorf("%s:\nsteps    %s\nfindings %s\nblockers %s", name, line(p), findings(p), blockers(p))
		}
		for _, s := range p.Steps {
			if s.Destroys || s.Plane == agent.ARM || s.Action == agent.SingleTenant {
				t.Errorf("%s: step %s is not for a preparation", name, s.ID)
			}
		}
	}
}

// A file may hold another value than ours, and a digest has to change with what would be written; the value itself is shown to nobody.
func TestPrepareShowsWhatItWritesAndNoValue(t *testing.T) {
	o, opt := legacyWorld()
	before := agent.Prepare(wanted(), "bot", o, opt)
	o.Env["AZURE_CLIENT_ID"] = "somebody's"
	after := agent.Prepare(wanted(), "bot", o, opt)
	env, _ := after.Step("environment")
	if before.Digest() == after.Digest() || env.Why != "adds AZURE_TENANT_ID; replaces the value of AZURE_CLIENT_ID; every other line stays" {
		t.Errorf("why %q", env.Why)
	}
	opt.Legacy.File = "/elsewhere/.env"
	if agent.Prepare(wanted(), "bot", o, opt).Digest() == after.Digest() {
		t.Error("the file that names the application is not part of what is approved")
	}
}

func TestRunCommandOfAMigration(t *testing.T) {
	for _, c := range []struct{ agent, want string }{{"bot", "leastkey migrate bot --prepare"}, {"@provisioner", "leastkey provisioner migrate"}} {
		if got := (agent.Run{Agent: c.agent, Verb: agent.Migrate}).Command(); got != c.want {
			t.Errorf("%s", got)
		}
	}
}
