package agent_test

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func TestDiffOfNothing(t *testing.T) {
	p := diff(t, untouched(), options())
	const want = "application principal<application> key certificate<application,key> " +
		"role:azure-bot-service-contributor-role@polyclaw-rg<principal> role:reader@polyclaw-rg<principal> role:key-vault-secrets-officer@kv<principal> " +
		"login<certificate,principal> " +
		"verify<application,principal,key,certificate,role:azure-bot-service-contributor-role@polyclaw-rg,role:reader@polyclaw-rg,role:key-vault-secrets-officer@kv,login> environment<verify>"
	if got := line(p); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if findings(p) != "" || p.Empty() {
		t.Errorf("findings %s", findings(p))
	}
	for _, s := range p.Steps {
		if s.Destroys {
			t.Errorf("step %s of a first apply destroys something", s.ID)
		}
	}
}

func TestDiffInOrderIsEmpty(t *testing.T) {
	if p := diff(t, inOrder(), options()); !p.Empty() || findings(p)+blockers(p) != "" {
		t.Errorf("steps %q, findings %q, blockers %q", line(p), findings(p), blockers(p))
	}
}

// Each row is one thing that somebody did behind our back, and the whole of what a plan says to it.
func TestDiffOfDrift(t *testing.T) {
	const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	for name, c := range map[string]struct {
		change   func(*agent.Observed)
		options  func(*agent.Options)
		steps    string // with order; "" for none
		findings string
		blockers string
	}{
		"the private key is gone": {
			change: func(o *agent.Observed) { o.Keys[gen1] = agent.KeyAbsent },
			steps: "key certificate<key> login<certificate> remove-certificate:" + keyID + "<certificate,login> delete-key:" + gen1 + "<remove-certificate:" + keyID + ",login> " +
				"verify<key,certificate,login,remove-certificate:" + keyID + ",delete-key:" + gen1 + ">",
		},
		"the keystore holds another key": {
			change: func(o *agent.Observed) { o.Keys[gen1] = agent.KeyMismatched },
			steps: "key certificate<key> login<certificate> remove-certificate:" + keyID + "<certificate,login> delete-key:" + gen1 + "<remove-certificate:" + keyID + ",login> " +
				"verify<key,certificate,login,remove-certificate:" + keyID + ",delete-key:" + gen1 + ">",
		},
		"the certificate has expired": {
			change: func(o *agent.Observed) { o.Record.Generations[0].NotAfter = now() },
			steps: "key certificate<key> login<certificate> remove-certificate:" + keyID + "<certificate,login> delete-key:" + gen1 + "<remove-certificate:" + keyID + ",login> " +
				"verify<key,certificate,login,remove-certificate:" + keyID + ",delete-key:" + gen1 + ">",
		},
		"the certificate expires soon": {
			change:   func(o *agent.Observed) { o.Record.Generations[0].NotAfter = now().AddDate(0, 0, 7) },
			findings: "certificate-expiry:warn",
		},
		"the certificate was removed from the application": {
			change: func(o *agent.Observed) { o.Application.Certificates = nil },
			steps:  "certificate login<certificate> verify<certificate,login>",
		},
		"the certificate was replaced by somebody's": {
			change:   func(o *agent.Observed) { o.Application.Certificates = []agent.Certificate{certificate("f1", sum3)} },
			steps:    "certificate login<certificate> verify<certificate,login>",
			findings: "foreign-certificate:fail",
		},
		"key and certificate are both gone": {
			change: func(o *agent.Observed) { o.Keys[gen1], o.Application.Certificates = agent.KeyAbsent, nil },
			steps:  "key certificate<key> login<certificate> delete-key:" + gen1 + "<login> verify<key,certificate,login,delete-key:" + gen1 + ">",
		},
		"a foreign certificate is reported": {
			change: func(o *agent.Observed) {
				o.Application.Certificates = append(o.Application.Certificates, certificate("f1", sum3))
			},
			findings: "foreign-certificate:fail",
		},
		"a foreign certificate with our display name and key id is foreign": {
			change: func(o *agent.Observed) {
				o.Application.Certificates = append(o.Application.Certificates, agent.Certificate{KeyID: keyID, SHA256: sum3, DisplayName: "leastkey bot"})
			},
			findings: "foreign-certificate:fail",
		},
		"a foreign certificate is removed when asked for": {
			change: func(o *agent.Observed) {
				o.Application.Certificates = append(o.Application.Certificates, certificate("f1", sum3))
			},
			options: func(o *agent.Options) { o.RemoveForeign = []string{strings.ToUpper(sum3)} },
			steps:   "login remove-certificate:f1<login> verify<login,remove-certificate:f1>",
		},
		"a foreign certificate without hash is removed by its key id": {
			change: func(o *agent.Observed) {
				o.Application.Certificates = append(o.Application.Certificates, agent.Certificate{KeyID: "f1"})
			},
			options: func(o *agent.Options) { o.RemoveForeign = []string{"f1"} },
			steps:   "login remove-certificate:f1<login> verify<login,remove-certificate:f1>",
		},
		"asking for a certificate that is ours removes nothing": {
			options: func(o *agent.Options) { o.RemoveForeign = []string{sum1, keyID, ""} },
		},
		"a known certificate of another machine": {
			change: func(o *agent.Observed) {
				o.Application.Certificates = append(o.Application.Certificates, certificate("known", knownSum))
			},
		},
		"an earlier certificate of ours goes, and its key after it": {
			change: older,
			steps:  "login remove-certificate:k2<login> delete-key:" + gen2 + "<remove-certificate:k2,login> verify<login,remove-certificate:k2,delete-key:" + gen2 + ">",
		},
		"a key that no run ever registered goes": {
			change: func(o *agent.Observed) {
				older(o)
				o.Application.Certificates = o.Application.Certificates[:1]
			},
			steps: "delete-key:" + gen2 + " login verify<delete-key:" + gen2 + ",login>",
		},
		"certificates are removed one after the other": {
			change: func(o *agent.Observed) {
				older(o)
				o.Application.Certificates = append(o.Application.Certificates, certificate("f1", sum3))
			},
			options: func(o *agent.Options) { o.RemoveForeign = []string{"f1"} },
			steps: "login remove-certificate:f1<login> remove-certificate:k2<remove-certificate:f1,login> delete-key:" + gen2 + "<remove-certificate:k2,login> " +
				"verify<login,remove-certificate:f1,remove-certificate:k2,delete-key:" + gen2 + ">",
		},
		"a password on the application is reported": {
			change:   func(o *agent.Observed) { o.Application.Passwords = []agent.Password{{KeyID: "p1", Hint: "abc"}} },
			findings: "password-credential:fail",
		},
		"a password on the service principal is reported": {
			change:   func(o *agent.Observed) { o.Principal.Passwords = []agent.Password{{KeyID: "p2"}} },
			findings: "password-credential:fail",
		},
		"passwords are removed when asked for, after a login": {
			change: func(o *agent.Observed) {
				o.Application.Passwords, o.Principal.Passwords = []agent.Password{{KeyID: "p1"}}, []agent.Password{{KeyID: "p2"}, {KeyID: "p3"}}
			},
			options:  func(o *agent.Options) { o.RemoveForeign = []string{"p1", "P2"} },
			steps:    "login remove-password:p1<login> remove-password:p2<login> verify<login,remove-password:p1,remove-password:p2>",
			findings: "password-credential:fail",
		},
		"a certificate of the service principal itself": {
			change:   func(o *agent.Observed) { o.Principal.Certificates = []agent.Certificate{certificate("f1", sum3)} },
			findings: "foreign-principal-certificate:fail",
		},
		"an assignment was removed": {
			change: func(o *agent.Observed) { o.Assignments = o.Assignments[1:] },
			steps:  "role:azure-bot-service-contributor-role@polyclaw-rg login verify<role:azure-bot-service-contributor-role@polyclaw-rg,login>",
		},
		"an assignment was added": {
			change: func(o *agent.Observed) {
				o.Assignments = append(o.Assignments, agent.Assignment{ID: "x", Name: "n", RoleID: reader, Role: "Reader", Scope: "/subscriptions/" + sub, PrincipalID: principal})
			},
			steps: "remove-role:reader@" + sub + " login verify<remove-role:reader@" + sub + ",login>",
		},
		"two assignments were added whose scopes end alike": {
			change: func(o *agent.Observed) {
				for _, g := range []string{"b", "a"} {
					o.Assignments = append(o.Assignments, agent.Assignment{ID: g, Name: g, RoleID: reader, Role: "Reader", Scope: "/subscriptions/" + sub + "/resourceGroups/" + g + "/providers/X.Y/z/same", PrincipalID: principal})
				}
			},
			steps: "remove-role:reader@same remove-role:reader@same-2 login verify<remove-role:reader@same,remove-role:reader@same-2,login>",
		},
		"a planned role under another name satisfies the plan": {
			change: func(o *agent.Observed) { o.Assignments[0].Name, o.Assignments[0].ID = "n", "x" },
		},
		"a planned role in other case satisfies the plan": {
			change: func(o *agent.Observed) {
				o.Assignments[0].Scope = strings.ToUpper(o.Assignments[0].Scope)
				o.Assignments[0].PrincipalID = strings.ToUpper(principal)
			},
		},
		"a planned role that comes through a group does not": {
			change: func(o *agent.Observed) { o.Assignments[0].PrincipalID = other },
			steps:  "role:azure-bot-service-contributor-role@polyclaw-rg login verify<role:azure-bot-service-contributor-role@polyclaw-rg,login>",
		},
		"a role that comes through a group is reported": {
			change: func(o *agent.Observed) {
				o.Assignments = append(o.Assignments, agent.Assignment{ID: "x", Name: "n", RoleID: reader, Role: "Reader", Scope: "/subscriptions/" + sub, PrincipalID: other})
			},
			findings: "group-assignment:fail",
		},
		"a role of ours that the spec no longer asks for goes, though nobody may list it there": {
			change: func(o *agent.Observed) {
				o.Record.Assignments = append(o.Record.Assignments, far(true))
				o.Unread = []string{farScope}
			},
			steps: "remove-role:reader@far login verify<remove-role:reader@far,login>",
		},
		"so does one that a replica has not heard of": {
			change: func(o *agent.Observed) { o.Record.Assignments = append(o.Record.Assignments, far(true)) },
			steps:  "remove-role:reader@far login verify<remove-role:reader@far,login>",
		},
		"one that is not ours stays where nobody may look, and is said to be unknown": {
			change: func(o *agent.Observed) {
				o.Record.Assignments = append(o.Record.Assignments, far(false))
				o.Unread = []string{farScope + "/"}
			},
			findings: "assignment-unread:unknown",
		},
		"one that was not ours and is gone is no matter": {
			change: func(o *agent.Observed) { o.Record.Assignments = append(o.Record.Assignments, far(false)) },
		},
		"a planned role that is recorded where nobody may look is unknown": {
			change: func(o *agent.Observed) {
				o.Unread, o.Assignments = []string{o.Assignments[0].Scope}, o.Assignments[1:]
			},
			findings: "assignment-unread:unknown",
		},
		"a planned role that is not recorded is assigned though nobody may look": {
			change: func(o *agent.Observed) {
				o.Unread, o.Assignments, o.Record.Assignments = []string{o.Assignments[0].Scope}, o.Assignments[1:], o.Record.Assignments[1:]
			},
			steps: "role:azure-bot-service-contributor-role@polyclaw-rg login verify<role:azure-bot-service-contributor-role@polyclaw-rg,login>",
		},
		"a federated credential is reported": {
			change: func(o *agent.Observed) {
				o.Application.Federated = []agent.FederatedCredential{{ID: "fic", Name: "evil"}}
			},
			findings: "federated-credential:fail",
		},
		"federated credentials are removed when asked for, by id or name, after a login": {
			change: func(o *agent.Observed) {
				o.Application.Federated = []agent.FederatedCredential{{ID: "fic2", Name: "worse"}, {ID: "fic1", Name: "evil"}}
			},
			options: func(o *agent.Options) { o.RemoveForeign = []string{"FIC1", "worse"} },
			steps:   "login remove-federated:fic1<login> remove-federated:fic2<login> verify<login,remove-federated:fic1,remove-federated:fic2>",
		},
		"an owner whom nobody named": {
			change: func(o *agent.Observed) {
				o.Record.CreatedBy = "creator"
				o.Application.Owners = []agent.Owner{{ID: "creator"}, {ID: strings.ToUpper(listedOwner)}, {ID: "stranger"}}
			},
			findings: "unexpected-owner:warn",
		},
		"the owners of an adopted application, which were accepted with it": {
			change: func(o *agent.Observed) {
				o.Record.Adopted, o.Application.Owners = true, []agent.Owner{{ID: listedOwner}}
			},
		},
		"the environment file is elsewhere now": {
			change: func(o *agent.Observed) { o.EnvPath = "/elsewhere/.env" },
			steps:  "login verify<login> environment<verify> clear-environment<environment>",
		},
		"the environment file is where it was": {
			change: func(o *agent.Observed) { o.EnvPath = o.Record.EnvFile },
		},
		"ours has got a condition: it is written again": {
			change: func(o *agent.Observed) { o.Assignments[0].Condition = "x" },
			steps:  "role:azure-bot-service-contributor-role@polyclaw-rg login verify<role:azure-bot-service-contributor-role@polyclaw-rg,login>",
		},
		"somebody else's has a condition: ARM allows none beside it": {
			change:   func(o *agent.Observed) { o.Assignments[0].Condition, o.Assignments[0].Name = "x", "n" },
			findings: "conditional-assignment:fail",
		},
		"the application admits other tenants": {
			change: func(o *agent.Observed) { o.Application.SignInAudience = "AzureADMultipleOrgs" },
			steps:  "single-tenant login verify<single-tenant,login>",
		},
		"the application takes redirects": {
			change:   func(o *agent.Observed) { o.Application.RedirectURIs = []string{"https://x"} },
			findings: "redirect-uris:warn",
		},
		"the environment file was changed": {
			change: func(o *agent.Observed) { o.Env = map[string]string{"AZURE_CLIENT_ID": appID} },
			steps:  "login verify<login> environment<verify>",
		},
		"the service principal was deleted": {
			change: func(o *agent.Observed) { o.Principal, o.Assignments = nil, nil },
			steps: "principal role:azure-bot-service-contributor-role@polyclaw-rg<principal> role:reader@polyclaw-rg<principal> role:key-vault-secrets-officer@kv<principal> login<principal> " +
				"verify<principal,role:azure-bot-service-contributor-role@polyclaw-rg,role:reader@polyclaw-rg,role:key-vault-secrets-officer@kv,login>",
		},
		"somebody made the service principal before us": {
			change: func(o *agent.Observed) {
				o.Record.PrincipalID, o.Assignments, o.Record.Assignments = "", nil, nil
			},
			steps: "principal role:azure-bot-service-contributor-role@polyclaw-rg<principal> role:reader@polyclaw-rg<principal> role:key-vault-secrets-officer@kv<principal> login<principal> " +
				"verify<principal,role:azure-bot-service-contributor-role@polyclaw-rg,role:reader@polyclaw-rg,role:key-vault-secrets-officer@kv,login>",
		},
		"the service principal was made anew by somebody": {
			change:   func(o *agent.Observed) { o.Principal.ID = other },
			blockers: "principal-replaced",
		},
		"the service principal was disabled": {
			change:   func(o *agent.Observed) { o.Principal.Enabled = false },
			blockers: "principal-disabled",
		},
		"the application was deleted": {
			change:   func(o *agent.Observed) { o.Application, o.Principal = nil, nil },
			blockers: "application-gone",
		},
		"another application has our unique name": {
			change: func(o *agent.Observed) {
				o.Namesakes = []agent.Namesake{{Application: agent.Application{ID: other, UniqueName: "leastkey-0123"}}}
			},
			blockers: "nonce",
		},
		"another application has the display name": {
			change: func(o *agent.Observed) {
				o.Namesakes = []agent.Namesake{{Application: agent.Application{ID: other, AppID: other}}}
			},
			findings: "namesake:warn",
		},
		"nobody has looked for the key": {
			change:   func(o *agent.Observed) { o.Keys = nil },
			blockers: "key-unknown",
		},
		"the resource group is gone":            {change: func(o *agent.Observed) { o.GroupExists = false }, blockers: "resource-group"},
		"the vault is gone":                     {change: func(o *agent.Observed) { o.Vault = nil }, blockers: "key-vault"},
		"the vault is not in RBAC mode":         {change: func(o *agent.Observed) { o.Vault.RBAC = false }, blockers: "key-vault-mode"},
		"several reasons are named all at once": {change: func(o *agent.Observed) { o.GroupExists, o.Vault, o.Principal.Enabled = false, nil, false }, blockers: "resource-group key-vault principal-disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			o, opt := inOrder(), options()
			if c.change != nil {
				c.change(&o)
			}
			if c.options != nil {
				c.options(&opt)
			}
			s := wanted()
			s.Agents["bot"].Certificates, s.Agents["bot"].Owners = []string{knownSum}, []string{listedOwner}
			p := agent.Diff(s, "bot", o, opt)
			sound(t, p)
			proven(t, p)
			if got := line(p); got != c.steps {
				t.Errorf("steps\n got %s\nwant %s", got, c.steps)
			}
			if got := findings(p); got != c.findings {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
			if got := blockers(p); got != c.blockers {
				t.Errorf("blockers %q, want %q", got, c.blockers)
			}
			for _, f := range append(p.Findings, p.Blockers...) {
				if f.Question == "" || f.Detail == "" {
					t.Errorf("finding %s does not say what was asked and found", f.ID)
				}
			}
		})
	}
}

var knownSum = strings.Repeat("d4", 32)

func TestDiffBesideNamesakes(t *testing.T) {
	o := untouched()
	o.Namesakes = []agent.Namesake{
		{Application: agent.Application{ID: "z", AppID: "app-z", DisplayName: "bot", Passwords: []agent.Password{{}}}},
		{Application: agent.Application{ID: "y", AppID: "app-y", DisplayName: "bot", UniqueName: "leastkey-of-another", Owners: []agent.Owner{{ID: "o1", DisplayName: "Mallory"}}}},
	}
	p := diff(t, o, options())
	if len(p.Steps) > 0 || blockers(p) != "namesake" {
		t.Fatalf("steps %q, blockers %q", line(p), blockers(p))
	}
	const want = "2 other application(s) named bot: app id app-y (owned by Mallory o1; 0 certificates, 0 passwords) app id app-z (no owner; 0 certificates, 1 passwords)"
	if got := p.Blockers[0]; got.Detail != want || !strings.Contains(got.Remedy, "adopt") || !strings.Contains(got.Remedy, "--create-beside") {
		t.Errorf("got %q, remedy %q", got.Detail, got.Remedy)
	}
	opt := options()
	opt.CreateBeside = true
	beside := diff(t, o, opt)
	if len(beside.Steps) == 0 || !beside.CreateBeside {
		t.Error("--create-beside does not create")
	}
	if alone := diff(t, untouched(), options()); alone.Digest() == beside.Digest() {
		t.Error("creating beside a namesake has the digest of creating alone")
	}
}

// The list of certificates is replaced as a whole: each change says which ones it must have seen, so that a replica that lags cannot
// make it remove one.
func TestWhatAChangeOfCertificatesExpects(t *testing.T) {
	o := inOrder()
	older(&o)
	o.Application.Certificates = append(o.Application.Certificates, certificate("f1", sum3), certificate("f2", knownSum))
	o.Keys[gen1] = agent.KeyAbsent
	opt := options()
	opt.RemoveForeign = []string{"f1"}
	p := diff(t, o, opt)
	for id, want := range map[string]string{
		"certificate":                 keyID + " f1 f2 k2",
		"remove-certificate:" + keyID: keyID + " f1 f2 k2",
		"remove-certificate:f1":       "f1 f2 k2",
		"remove-certificate:k2":       "f2 k2",
	} {
		s, ok := p.Step(id)
		if !ok || s.With["expected"] != want {
			t.Errorf("%s expects %q, want %q (%v)", id, s.With["expected"], want, ok)
		}
	}
	if s, _ := diff(t, untouched(), options()).Step("certificate"); s.With["expected"] != "" {
		t.Errorf("an application that is made by the plan has certificates %q", s.With["expected"])
	}
}

func TestWhose(t *testing.T) {
	rec := inOrder().Record
	rec.Generations = append(rec.Generations, agent.Generation{ID: gen2, SHA256: sum2, KeyID: "k2"}, agent.Generation{ID: "not registered yet"})
	a := &agent.Agent{Certificates: []string{strings.ToUpper(sum3)}}
	for name, c := range map[string]struct {
		certificate agent.Certificate
		want        agent.Ownership
	}{
		"ours by its hash":                        {agent.Certificate{KeyID: "x", SHA256: strings.ToUpper(sum1)}, agent.Current},
		"ours by its key id, no hash shown":       {agent.Certificate{KeyID: keyID}, agent.Current},
		"our key id with another hash is foreign": {agent.Certificate{KeyID: keyID, SHA256: knownSum}, agent.Foreign},
		"an earlier one":                          {agent.Certificate{SHA256: sum2}, agent.OursOlder},
		"an earlier one by its key id":            {agent.Certificate{KeyID: "k2"}, agent.OursOlder},
		"known by the spec":                       {agent.Certificate{SHA256: sum3}, agent.Known},
		"our display name proves nothing":         {agent.Certificate{KeyID: "x", DisplayName: "leastkey bot"}, agent.Foreign},
		"neither hash nor key id":                 {agent.Certificate{}, agent.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rec.Whose(a, c.certificate); got != c.want {
				t.Errorf("Whose = %s, want %s", got, c.want)
			}
		})
	}
}

func TestRecordLookups(t *testing.T) {
	rec := inOrder().Record
	if rec.Active() != &rec.Generations[0] || rec.Generation(gen1) != &rec.Generations[0] || rec.Generation(gen2) != nil || !rec.Provisioned() {
		t.Error("the record does not find its generations")
	}
	if (agent.Record{}).Active() != nil || (agent.Record{Generations: []agent.Generation{{}}}).Active() != nil || (agent.Record{AppID: appID}).Provisioned() {
		t.Error("the zero record is of something")
	}
}

// Every action of a plan is one that the catalogue of roles knows how to name; a role that the catalogue lacks is still removed by its GUID.
func TestAnUnknownRoleIsRemovedByItsGUID(t *testing.T) {
	o := inOrder()
	o.Assignments = append(o.Assignments, agent.Assignment{ID: "x", Name: "n", RoleID: other, Scope: group, PrincipalID: principal})
	p := diff(t, o, options())
	if s, ok := p.Step("remove-role:" + other + "@polyclaw-rg"); !ok || s.With["role_id"] != other || !strings.Contains(s.Title, other) {
		t.Errorf("steps %s", line(p))
	}
	if _, ok := role.Builtin().Find(other); ok {
		t.Fatal("the role is known after all")
	}
}
