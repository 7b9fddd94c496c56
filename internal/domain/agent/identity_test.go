package agent_test

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const identityID = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bot-mi"

var (
	jobA = agent.Federated{Issuer: "https://issuer", Subject: "a", Audience: agent.TokenExchange}
	jobB = agent.Federated{Issuer: "https://issuer", Subject: "b", Audience: agent.TokenExchange}
)

func wantedOf(kind agent.Kind, federated ...agent.Federated) agent.Spec {
	s := wanted()
	s.Agents["bot"].Kind, s.Agents["bot"].Federated = kind, federated
	return s
}

// identityInOrder is a world in which a managed identity without federated credentials is as wanted.
func identityInOrder() agent.Observed {
	o := inOrder()
	o.Application, o.Keys = nil, map[string]agent.KeyState{}
	o.Record.ApplicationID, o.Record.UniqueName, o.Record.Generations = "", "", nil
	o.Record.Kind, o.Record.ResourceID = agent.ManagedIdentity, identityID
	o.Identity = &agent.UserAssignedIdentity{ID: identityID, Name: "bot-mi", ClientID: appID, PrincipalID: principal}
	o.Env = agent.EnvOf(identityID, appID, tenant)
	return o
}

// federatedInOrder is a world in which an application with the federated credential of job a is as wanted.
func federatedInOrder() agent.Observed {
	o := inOrder()
	o.Application.Certificates, o.Record.Generations, o.Keys = nil, nil, map[string]agent.KeyState{}
	o.Application.Federated = []agent.FederatedCredential{there(jobA)}
	o.Record.Federated = []string{jobA.Name()}
	return o
}

func there(f agent.Federated) agent.FederatedCredential {
	c := f.Credential()
	c.ID = "id-" + f.Subject
	return c
}

func diffOf(t *testing.T, s agent.Spec, o agent.Observed, opt agent.Options) agent.Plan {
	t.Helper()
	p := agent.Diff(s, "bot", o, opt)
	sound(t, p)
	proven(t, p)
	keyless(t, s, p)
	return p
}

// keyless checks that a plan of an identity without a key neither makes nor uses one.
func keyless(t interface{ Errorf(string, ...any) }, s agent.Spec, p agent.Plan) {
	if !s.Agents["bot"].Keyless() {
		return
	}
	for _, step := range p.Steps {
		switch step.Action {
		case agent.MintKey, agent.RegisterCertificate, agent.Login:
			t.Errorf("an identity without a key has the step %s", step.ID)
		}
	}
}

// names writes the names of federated credentials as the subjects that they stand for.
func names(text string) string {
	return strings.NewReplacer(jobA.Name(), "A", jobB.Name(), "B").Replace(text)
}

func TestDiffOfAManagedIdentity(t *testing.T) {
	const fresh = "identity principal<identity> role:azure-bot-service-contributor-role@polyclaw-rg<principal> role:reader@polyclaw-rg<principal> role:key-vault-secrets-officer@kv<principal>"
	for name, c := range map[string]struct {
		federated []agent.Federated
		change    func(*agent.Spec, *agent.Observed, *agent.Options)
		steps     string
		findings  string
		blockers  string
	}{
		"everything is as it should be": {},
		"nothing is there": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { *o = untouched() },
			steps: fresh + " verify<identity,principal,role:azure-bot-service-contributor-role@polyclaw-rg,role:reader@polyclaw-rg,role:key-vault-secrets-officer@kv> environment<verify>"},
		"with federated credentials, one after the other": {federated: []agent.Federated{jobA, jobB},
			steps: "federated:A federated:B<federated:A> federated<federated:A,federated:B> verify<federated:A,federated:B,federated>"},
		"a namesake in the directory is of no account": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) {
			o.Namesakes = []agent.Namesake{{Application: agent.Application{ID: other, DisplayName: "bot"}}}
		}},
		"one that is there is not taken over": {change: func(_ *agent.Spec, o *agent.Observed, opt *agent.Options) {
			i := o.Identity
			*o = untouched()
			o.Identity, opt.CreateBeside = i, true
		}, blockers: "identity-exists"},
		"it was deleted":             {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.Identity, o.Principal = nil, nil }, blockers: "identity-gone"},
		"another has taken its name": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.Identity.PrincipalID = other }, blockers: "identity-replaced"},
		"the spec names another place": {change: func(s *agent.Spec, o *agent.Observed, _ *agent.Options) {
			s.ResourceGroup = "elsewhere"
		}, blockers: "identity-elsewhere"},
		"it was disabled": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.Principal.Enabled = false }, blockers: "principal-disabled"},
		"the spec has another kind": {change: func(s *agent.Spec, _ *agent.Observed, _ *agent.Options) {
			s.Agents["bot"].Kind = agent.ServicePrincipal
		}, blockers: "kind-changed"},
		"the record is another kind": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { *o = inOrder() }, blockers: "kind-changed"},
		"Azure may not be read":      {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.AzureUnread, o.Identity = true, nil }, blockers: "azure-unread", findings: "azure-unread:warn"},
		"the directory does not show it": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.Principal = nil },
			steps: "principal verify<principal>"},
		"a role was removed": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.Assignments = o.Assignments[1:] },
			steps: "role:azure-bot-service-contributor-role@polyclaw-rg verify<role:azure-bot-service-contributor-role@polyclaw-rg>"},
		"a stranger's federated credential is named": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) {
			o.Identity.Federated = []agent.FederatedCredential{there(jobA)}
		}, findings: "federated-credential:fail"},
		"and goes when asked for, on a proof": {federated: []agent.Federated{jobB}, change: func(_ *agent.Spec, o *agent.Observed, opt *agent.Options) {
			o.Identity.Federated, o.Record.Federated = []agent.FederatedCredential{there(jobA), there(jobB)}, []string{jobB.Name()}
			opt.RemoveForeign = []string{"id-a"}
		}, steps: "federated remove-federated:A<federated> verify<federated,remove-federated:A>"},
		"ours goes when the spec drops it": {federated: []agent.Federated{jobB}, change: func(_ *agent.Spec, o *agent.Observed, opt *agent.Options) {
			o.Identity.Federated, o.Record.Federated = []agent.FederatedCredential{there(jobA)}, []string{jobA.Name()}
		}, steps: "federated:B federated<federated:B> remove-federated:A<federated> verify<federated:B,federated,remove-federated:A>"},
		"a stranger's that is what the spec asks for satisfies it": {federated: []agent.Federated{jobA}, change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) {
			f := there(jobA)
			f.Name = "theirs"
			o.Identity.Federated = []agent.FederatedCredential{f}
		}},
		"a certificate of Azure's own is of no account": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) {
			o.Principal.Certificates = []agent.Certificate{certificate("x", sum3)}
		}},
		"a password is": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) {
			o.Principal.Passwords = []agent.Password{{KeyID: "p"}}
		}, findings: "password-credential:fail"},
		"the environment file has another value": {change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) { o.Env["ACA_MI_RESOURCE_ID"] = "x" },
			steps: "verify environment<verify>"},
		"there is no room for more": {federated: []agent.Federated{jobA}, change: func(_ *agent.Spec, o *agent.Observed, _ *agent.Options) {
			for range 20 {
				o.Identity.Federated = append(o.Identity.Federated, agent.FederatedCredential{ID: "x", Name: "x", Issuer: "https://x", Subject: "x"})
			}
		}, blockers: "federated-limit"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o, opt := wantedOf(agent.ManagedIdentity, c.federated...), identityInOrder(), options()
			if c.change != nil {
				c.change(&s, &o, &opt)
			}
			p := diffOf(t, s, o, opt)
			if got := names(line(p)); got != c.steps {
				t.Errorf("steps\n got %s\nwant %s", got, c.steps)
			}
			if findings(p) != c.findings || blockers(p) != c.blockers {
				t.Errorf("findings %q, blockers %q", findings(p), blockers(p))
			}
			for _, b := range p.Blockers {
				if b.Remedy == "" || b.Detail == "" {
					t.Errorf("a blocker that does not say what to do: %+v", b)
				}
			}
		})
	}
}

func TestAnIdentityThatIsThereIsShown(t *testing.T) {
	o := untouched()
	o.Identity = &agent.UserAssignedIdentity{ID: identityID, ClientID: appID, PrincipalID: principal, Tags: map[string]string{"team": "theirs"}, Federated: []agent.FederatedCredential{there(jobA)}}
	o.Assignments = []agent.Assignment{{RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: group, PrincipalID: principal}}
	p := diffOf(t, wantedOf(agent.ManagedIdentity), o, options())
	for _, part := range []string{"subject a", "team=theirs", "Reader on group polyclaw-rg", principal} {
		if !strings.Contains(p.Blockers[0].Detail, part) {
			t.Errorf("%q does not say %s", p.Blockers[0].Detail, part)
		}
	}
	if !strings.Contains(p.Blockers[0].Remedy, "adopt --resource-id "+identityID) {
		t.Error(p.Blockers[0].Remedy)
	}
}

func TestDiffOfAFederatedApplication(t *testing.T) {
	for name, c := range map[string]struct {
		federated []agent.Federated
		change    func(*agent.Observed, *agent.Options)
		steps     string
		findings  string
	}{
		"everything is as it should be": {federated: []agent.Federated{jobA}},
		"nothing is there": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, _ *agent.Options) { *o = untouched() },
			steps: "application principal<application> federated:A<application> federated<principal,federated:A> role:azure-bot-service-contributor-role@polyclaw-rg<principal> role:reader@polyclaw-rg<principal> role:key-vault-secrets-officer@kv<principal> " +
				"verify<application,principal,federated:A,federated,role:azure-bot-service-contributor-role@polyclaw-rg,role:reader@polyclaw-rg,role:key-vault-secrets-officer@kv> environment<verify>"},
		"its audience is another": {federated: []agent.Federated{{Issuer: jobA.Issuer, Subject: jobA.Subject, Audience: "api://other"}},
			steps: "federated:A federated<federated:A> verify<federated:A,federated>"},
		"somebody changed its subject": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, _ *agent.Options) { o.Application.Federated[0].Subject = "evil" },
			steps: "federated:A federated<federated:A> verify<federated:A,federated>"},
		"somebody removed it": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, _ *agent.Options) { o.Application.Federated = nil },
			steps: "federated:A federated<federated:A> verify<federated:A,federated>"},
		"a stranger's has its place": {federated: []agent.Federated{jobA, jobB}, change: func(o *agent.Observed, _ *agent.Options) {
			o.Record.Federated, o.Application.Federated[0].Audiences = nil, []string{"x"}
		}, steps: "federated:B federated<federated:B> verify<federated:B,federated>", findings: "federated-credential:fail"},
		"and is given up for it": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, opt *agent.Options) {
			o.Record.Federated, o.Application.Federated[0].Audiences = nil, []string{"x"}
			opt.RemoveForeign = []string{"id-a"}
		}, steps: "federated:A federated<federated:A> verify<federated:A,federated>"},
		"a certificate of before stays": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, _ *agent.Options) {
			*o = inOrder()
		}, steps: "federated:A federated<federated:A> verify<federated:A,federated>", findings: "certificate-left:warn"},
		"and goes when asked for, with its key": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, opt *agent.Options) {
			*o = inOrder()
			opt.RemoveForeign = []string{sum1}
		}, steps: "federated:A federated<federated:A> remove-certificate:" + keyID + "<federated> delete-key:" + gen1 + "<remove-certificate:" + keyID + ",federated> verify<federated:A,federated,remove-certificate:" + keyID + ",delete-key:" + gen1 + ">"},
		"a key that nothing shows goes": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, _ *agent.Options) {
			o.Record.Generations, o.Keys[gen1] = inOrder().Record.Generations, agent.KeyPresent
		}, steps: "delete-key:" + gen1 + " verify<delete-key:" + gen1 + ">"},
		"a stranger's certificate fails": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, _ *agent.Options) {
			o.Application.Certificates = []agent.Certificate{certificate("k3", sum3)}
		}, findings: "foreign-certificate:fail"},
		"a password fails, and goes on a proof": {federated: []agent.Federated{jobA}, change: func(o *agent.Observed, opt *agent.Options) {
			o.Application.Passwords = []agent.Password{{KeyID: "p1"}, {KeyID: "p2"}}
			opt.RemoveForeign = []string{"p1"}
		}, steps: "federated remove-password:p1<federated> verify<federated,remove-password:p1>", findings: "password-credential:fail"},
		"the spec drops it: a key first, and a login": {change: func(o *agent.Observed, _ *agent.Options) {},
			steps: "key certificate<key> login<certificate> remove-federated:id-a<login> verify<key,certificate,login,remove-federated:id-a>"},
	} {
		t.Run(name, func(t *testing.T) {
			s, o, opt := wantedOf(agent.ServicePrincipal, c.federated...), federatedInOrder(), options()
			if c.change != nil {
				c.change(&o, &opt)
			}
			p := diffOf(t, s, o, opt)
			if got := names(line(p)); got != c.steps {
				t.Errorf("steps\n got %s\nwant %s", got, c.steps)
			}
			if findings(p) != c.findings || len(p.Blockers) > 0 {
				t.Errorf("findings %q, blockers %q", findings(p), blockers(p))
			}
		})
	}
}

func TestAFederatedCredentialIsNamedAfterIssuerAndSubject(t *testing.T) {
	other := jobA
	other.Audience = "api://other"
	if jobA.Name() != other.Name() {
		t.Error("Entra takes issuer and subject once, so a new audience must keep the name")
	}
	shifted := agent.Federated{Issuer: jobA.Issuer + "\na", Subject: ""}
	if jobA.Name() == jobB.Name() || jobA.Name() == shifted.Name() {
		t.Error("two credentials have one name")
	}
	if n := len(jobA.Name()); n > 120 || strings.Trim(jobA.Name(), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		t.Errorf("%s is no name of a federated credential", jobA.Name())
	}
}

func TestWithdrawOfAManagedIdentity(t *testing.T) {
	const rolesAndFederated = "remove-role:azure-bot-service-contributor-role@polyclaw-rg remove-role:reader@polyclaw-rg remove-role:key-vault-secrets-officer@kv "
	for name, c := range map[string]struct {
		change   func(*agent.Observed)
		purge    bool
		steps    string
		findings string
	}{
		"ours goes, roles first": {steps: rolesAndFederated + "remove-federated:A delete environment forget"},
		"with a stranger's credential on it": {change: func(o *agent.Observed) {
			o.Identity.Federated = append(o.Identity.Federated, there(jobB))
		}, steps: rolesAndFederated + "remove-federated:A remove-federated:B delete environment forget", findings: "federated-credential:warn"},
		"an adopted one stays, without what is ours": {change: func(o *agent.Observed) {
			o.Record.Adopted = true
			o.Identity.Federated = append(o.Identity.Federated, there(jobB))
		}, steps: rolesAndFederated + "remove-federated:A environment forget", findings: "federated-left:warn identity-left:warn"},
		"and goes when purged": {change: func(o *agent.Observed) { o.Record.Adopted = true }, purge: true,
			steps: rolesAndFederated + "remove-federated:A delete environment forget"},
		"one that was made anew is left alone": {change: func(o *agent.Observed) { o.Identity.PrincipalID = other },
			steps: rolesAndFederated + "environment forget", findings: "identity-replaced:warn"},
		"what nobody sees any more is removed by name": {change: func(o *agent.Observed) { o.Identity, o.Principal = nil, nil },
			steps: rolesAndFederated + "remove-federated:A delete environment forget"},
		"nothing is recorded": {change: func(o *agent.Observed) { *o = untouched() }},
	} {
		t.Run(name, func(t *testing.T) {
			o := identityInOrder()
			o.Identity.Federated, o.Record.Federated = []agent.FederatedCredential{there(jobA)}, []string{jobA.Name()}
			if c.change != nil {
				c.change(&o)
			}
			p := agent.Withdraw(wantedOf(agent.ManagedIdentity, jobA), "bot", o, agent.RevokeOptions{Options: options(), Purge: c.purge})
			sound(t, p)
			if got := names(ids(p)); got != c.steps || findings(p) != c.findings {
				t.Errorf("steps\n got %s\nwant %s\nfindings %q", got, c.steps, findings(p))
			}
			if p.Purges() != c.purge {
				t.Errorf("it purges: %v", p.Purges())
			}
		})
	}
}

func TestNothingOfAnIdentityWithoutAKeyIsRotatedOrMigrated(t *testing.T) {
	for name, c := range map[string]struct {
		spec agent.Spec
		seen agent.Observed
	}{
		"a managed identity":      {wantedOf(agent.ManagedIdentity), identityInOrder()},
		"a federated application": {wantedOf(agent.ServicePrincipal, jobA), federatedInOrder()},
	} {
		p := agent.Renew(c.spec, "bot", c.seen, agent.RotateOptions{Options: options()})
		if len(p.Steps)+len(p.Blockers) > 0 || findings(p) != "nothing-to-rotate:skip" {
			t.Errorf("%s: %s, %s, %s", name, line(p), findings(p), blockers(p))
		}
		c.seen.Record = agent.Record{}
		if p := agent.Renew(c.spec, "bot", c.seen, agent.RotateOptions{Options: options()}); blockers(p) != "not-provisioned" {
			t.Errorf("%s that is not there: %s", name, blockers(p))
		}
		if p := agent.Prepare(c.spec, "bot", c.seen, agent.PrepareOptions{Options: options()}); blockers(p) != "keyless" {
			t.Errorf("%s: %s", name, blockers(p))
		}
	}
}

func TestTheVaultIsReadOrWrittenAsTheSpecSays(t *testing.T) {
	for access, want := range map[agent.VaultAccess]string{"": "Key Vault Secrets Officer", agent.VaultOfficer: "Key Vault Secrets Officer", agent.VaultUser: "Key Vault Secrets User"} {
		s := wanted()
		s.Agents["bot"].KeyVaultAccess = access
		grants := s.Grants(s.Agents["bot"], role.Builtin())
		if got := grants[len(grants)-1]; got.Role != want || s.Why(s.Agents["bot"], got) == "" {
			t.Errorf("access %q is %s", access, got.Role)
		}
	}
}
