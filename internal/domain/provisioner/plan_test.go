package provisioner_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

const grants = "grant:Application.ReadWrite.All grant:AppRoleAssignment.ReadWrite.All grant:DelegatedPermissionGrant.ReadWrite.All grant:LicenseAssignment.ReadWrite.All" +
	" grant:Organization.Read.All grant:User.ReadWrite.All grant:AgentIdUser.ReadWrite.All grant:AgentIdentity.Create.All"

func TestBootstrapPlans(t *testing.T) {
	for _, c := range []struct {
		name   string
		seen   func() provisioner.Observed
		change func(*provisioner.Observed, *agent.Spec, *provisioner.Options)
		want   string
	}{
		{"everything is made where nothing is", untouched, nil, "application principal permissions " + grants + " pin key certificate login promote state read-back"},
		{"nothing is changed where everything is as wanted", ours, nil, ""},
		{"another of the display name is made beside only when asked", untouched, func(o *provisioner.Observed, _ *agent.Spec, opt *provisioner.Options) {
			o.Namesakes, opt.CreateBeside = []agent.Namesake{{Application: agent.Application{ID: other, AppID: other}}}, true
		}, "application principal permissions " + grants + " pin key certificate login promote state read-back"},
		{"an adopted application is taken over, though another of its name exists", made, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Record.AppID = appID
			o.Namesakes = []agent.Namesake{{Application: agent.Application{ID: other, AppID: other}}}
		}, "pin key certificate login promote state read-back"},
		{"agent-id-only leaves out what could take over the tenant", untouched, func(_ *provisioner.Observed, s *agent.Spec, _ *provisioner.Options) {
			s.Provisioner.Permissions = "agent-id-only"
		}, "application principal permissions grant:LicenseAssignment.ReadWrite.All grant:Organization.Read.All grant:AgentIdUser.ReadWrite.All grant:AgentIdentity.Create.All pin key certificate login promote state read-back"},
		{"a consent that somebody took away is given again", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Granted = o.Granted[1:]
		}, "grant:Application.ReadWrite.All login read-back"},
		{"a permission that was declared and never consented is consented", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Granted = nil
		}, grants + " login read-back"},
		{"a declaration that somebody took away is made again", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Declared = o.Declared[2:]
		}, "permissions login read-back"},
		{"a permission that Graph offers since is added", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Offered = append(o.Offered, provisioner.AppRole{ID: "new", Value: "AgentIdentityBlueprint.Create", Enabled: true})
		}, "permissions grant:AgentIdentityBlueprint.Create pin login read-back"},
		{"a permission that Graph has switched off is not one", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Offered = append(o.Offered, provisioner.AppRole{ID: "new", Value: "AgentIdentityBlueprint.Create"})
		}, ""},
		{"an application for many tenants is made single tenant", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Application.SignInAudience = "AzureADMultipleOrgs"
		}, "single-tenant login read-back"},
		{"the original's own key is recorded, and nothing is minted", imported, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) { o.Record.AppID = appID }, "pin key login state read-back"},
		{"a state file without the certificate gets it", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) { o.File.Certs = nil }, "login state read-back"},
		{"a state file with two certificates gets the one", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.File.Certs = append(o.File.Certs, []byte("old"))
		}, "login state read-back"},
		{"a lost state file is written again", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.File = provisioner.File{Path: stateFile}
		}, "login state read-back"},
		{"an overlap that has ended is removed", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			older(o, gen2, now().Add(-time.Hour))
		}, "login remove-certificate:k-" + gen2 + " dead:" + gen2 + " delete-key:" + gen2 + " read-back"},
		{"an overlap that goes on stays", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			older(o, gen2, now().Add(time.Hour))
		}, ""},
		{"an expired certificate is replaced, and what it leaves is removed", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Record.Generations[0].NotAfter, o.Slot.Certificate.End = now(), now()
		}, "key certificate login state-both promote state remove-certificate:k-" + gen1 + " dead:" + gen1 + " delete-key:" + gen1 + " read-back"},
		{"an earlier one of ours that came back into the slot is used, and not removed", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			older(o, gen2, time.Time{})
			c := certificate(gen2)
			o.Keys[gen1], o.Slot.Certificate = agent.KeyMismatched, &c
		}, "key login state remove-certificate:k-" + gen1 + " delete-key:" + gen1 + " read-back"},
		{"a certificate that somebody removed is replaced", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Application.Certificates = nil
		}, "key certificate login state-both promote state delete-key:" + gen1 + " read-back"},
		{"a lost key is replaced", ours, func(o *provisioner.Observed, _ *agent.Spec, _ *provisioner.Options) {
			o.Keys[gen1], o.Slot = agent.KeyAbsent, provisioner.Slot{State: agent.KeyAbsent}
		}, "key certificate login state-both promote state remove-certificate:k-" + gen1 + " delete-key:" + gen1 + " read-back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, s, opt := c.seen(), spec(), options()
			if c.change != nil {
				c.change(&o, &s, &opt)
			}
			p := provisioner.BootstrapPlan(s, o, opt)
			check(t, p, c.want)
			for _, step := range p.Steps {
				if step.Action == agent.RemovePassword {
					t.Error("a bootstrap removes a password")
				}
			}
		})
	}
}

func TestBootstrapIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		seen   func() provisioner.Observed
		change func(*provisioner.Observed, *provisioner.Options)
		want   string
		says   string
	}{
		{"where another application has the name", untouched, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Namesakes = []agent.Namesake{{Application: agent.Application{ID: other, AppID: other, Owners: []agent.Owner{{ID: "o1", DisplayName: "Mallory"}}, Certificates: []agent.Certificate{certificate("evil")}}}}
		}, "namesake", "app id " + other + " (Mallory o1; 1 certificates, 0 passwords)"},
		{"where Graph does not offer a permission, by its name", untouched, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Offered = slices.DeleteFunc(o.Offered, func(r provisioner.AppRole) bool { return r.Value == "LicenseAssignment.ReadWrite.All" })
		}, "permission-missing", "LicenseAssignment.ReadWrite.All"},
		{"where Graph does not offer a pinned permission any more", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Record.Permissions = append(o.Record.Permissions, "AgentIdentity.Gone")
		}, "permission-missing", "AgentIdentity.Gone"},
		{"while there are passwords", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Principal.Passwords = []agent.Password{{KeyID: "p"}}
		}, "passwords", "it has 1"},
		{"while a secret is on disk", ours, func(o *provisioner.Observed, _ *provisioner.Options) { o.File.HasSecret = true }, "secret-on-disk", provisioner.KeySecret},
		{"with another tenant's state file", ours, func(o *provisioner.Observed, _ *provisioner.Options) { o.File.Tenant = other }, "state-tenant", other},
		{"where file and record disagree", ours, func(o *provisioner.Observed, _ *provisioner.Options) { o.Record.AppID = other }, "state-disagrees", other},
		{"where the recorded application is gone", ours, func(o *provisioner.Observed, _ *provisioner.Options) { o.Application = nil }, "application-gone", appID},
		{"where somebody has disabled it", ours, func(o *provisioner.Observed, _ *provisioner.Options) { o.Principal.Enabled = false }, "principal-disabled", principal},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, opt := c.seen(), options()
			c.change(&o, &opt)
			p := provisioner.BootstrapPlan(spec(), o, opt)
			blocked(t, p, c.want)
			if f := finds(p.Blockers, c.want); !strings.Contains(f.Detail, c.says) {
				t.Errorf("%q does not say %q", f.Detail, c.says)
			}
			if c.want == "passwords" || c.want == "secret-on-disk" {
				if f := finds(p.Blockers, c.want); !strings.Contains(f.Remedy, "leastkey provisioner migrate") {
					t.Errorf("the remedy is %q", f.Remedy)
				}
			}
		})
	}
}

func TestAnAdditionIsMarkedAndChangesTheDigest(t *testing.T) {
	o := ours()
	earlier := provisioner.BootstrapPlan(spec(), o, options())
	o.Offered = append(o.Offered, provisioner.AppRole{ID: "new", Value: "AgentIdentityBlueprint.Create", Enabled: true})
	p := provisioner.BootstrapPlan(spec(), o, options())
	s, _ := p.Step("grant:AgentIdentityBlueprint.Create")
	if s.With["addition"] != "true" || s.With["role_id"] != "new" || s.Why == "" || p.Digest() == earlier.Digest() {
		t.Errorf("%+v", s)
	}
	o = ours()
	o.Granted = nil
	p = provisioner.BootstrapPlan(spec(), o, options())
	for _, s := range p.Steps {
		if s.With["addition"] != "" {
			t.Errorf("%s is drift inside the pinned set, not an addition", s.ID)
		}
	}
	if login, _ := p.Step("login"); login.With["roles"] != strings.Join(all(), " ") || !before(p, "grant:User.ReadWrite.All", "login") {
		t.Errorf("the login does not wait for the permissions: %+v", login)
	}
}

func TestPermissionsAreTakenAsTheTenantOffersThem(t *testing.T) {
	if wanted, added, missing := provisioner.Required(offered(), nil, "seed"); !slices.Equal(wanted, all()) || len(added)+len(missing) > 0 {
		t.Error(wanted, added, missing)
	}
	_, added, _ := provisioner.Required(offered(), provisioner.BaseRoles(), "seed")
	if !slices.Equal(added, []string{"AgentIdUser.ReadWrite.All", "AgentIdentity.Create.All"}) {
		t.Error(added)
	}
	_, _, missing := provisioner.Required(nil, nil, "agent-id-only")
	if !slices.Equal(missing, []string{"LicenseAssignment.ReadWrite.All", "Organization.Read.All"}) {
		t.Error(missing)
	}
	o := ours()
	o.Granted = append(o.Granted, provisioner.Grant{ID: "x", RoleID: "r6"}, provisioner.Grant{ID: "y", RoleID: "unknown"})
	p := provisioner.BootstrapPlan(spec(), o, options())
	if f := finds(p.Findings, "permission-surplus"); f.Outcome != finding.Warn || !strings.Contains(f.Detail, "Mail.Read") || !strings.Contains(f.Remedy, "appRoleAssignments/x") || strings.Count(names(p.Findings), "permission-surplus") != 2 {
		t.Errorf("%+v", p.Findings)
	}
	if f := finds(p.Findings, "tier-zero"); !strings.Contains(f.Detail, "AppRoleAssignment.ReadWrite.All") || strings.Contains(f.Detail, "Organization.Read.All") {
		t.Errorf("%+v", f)
	}
}

func TestRotatePlans(t *testing.T) {
	replace := "key certificate login state-both promote state remove-certificate:k-" + gen1 + " dead:" + gen1 + " delete-key:" + gen1 + " read-back"
	for _, c := range []struct {
		name   string
		change func(*provisioner.Observed, *provisioner.Options)
		want   string
		via    string
	}{
		{"a valid certificate rolls by its own right", nil, replace, agent.ViaKey},
		{"an expired one is replaced by the operator", func(o *provisioner.Observed, _ *provisioner.Options) { o.Record.Generations[0].NotAfter = now() }, replace, agent.ViaOperator},
		{"one that is not registered is replaced by the operator", func(o *provisioner.Observed, _ *provisioner.Options) { o.Application.Certificates = nil },
			"key certificate login state-both promote state delete-key:" + gen1 + " read-back", agent.ViaOperator},
		{"a slot that holds another's key is not taken for ours", func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Keys[gen1], o.Slot = agent.KeyMismatched, provisioner.Slot{State: agent.KeyPresent}
		}, "key certificate login state-both promote state remove-certificate:k-" + gen1 + " delete-key:" + gen1 + " read-back", agent.ViaOperator},
		{"alone, nothing is read back", func(o *provisioner.Observed, opt *provisioner.Options) {
			opt.Alone, o.Application, o.Principal = true, nil, nil
		}, strings.TrimSuffix(replace, " read-back"), agent.ViaKey},
		{"an overlap keeps the old one", func(_ *provisioner.Observed, opt *provisioner.Options) { opt.Overlap = time.Hour }, "key certificate login state-both promote state retire-later read-back", agent.ViaKey},
		{"an earlier overlap that goes on is kept", func(o *provisioner.Observed, _ *provisioner.Options) { older(o, gen2, now().Add(time.Hour)) }, replace, agent.ViaKey},
		{"an earlier overlap that has ended goes too", func(o *provisioner.Observed, _ *provisioner.Options) { older(o, gen2, now()) },
			"key certificate login state-both promote state remove-certificate:k-" + gen1 + " dead:" + gen1 + " delete-key:" + gen1 + " remove-certificate:k-" + gen2 + " dead:" + gen2 + " delete-key:" + gen2 + " read-back", agent.ViaKey},
		{"another machine's certificate is kept", func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Application.Certificates = append(o.Application.Certificates, certificate("machine-b"))
		}, replace, agent.ViaKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, opt := ours(), options()
			if c.change != nil {
				c.change(&o, &opt)
			}
			p := provisioner.RotatePlan(spec(), o, opt)
			check(t, p, c.want)
			for _, s := range p.Steps {
				switch s.Action {
				case agent.RegisterCertificate, agent.RemoveCertificate:
					if s.With["via"] != c.via || (s.Plane == agent.Identity) != (c.via == agent.ViaKey) {
						t.Errorf("%s goes by the right of %s (%s), want %s", s.ID, s.With["via"], s.Plane, c.via)
					}
				case agent.DeleteKey:
					if g := o.Record.Generation(s.With["generation"]); s.With["key"] != beside(g.ID).String() {
						t.Errorf("%s deletes %s", s.ID, s.With["key"])
					}
				}
				if strings.Contains(s.With["key_id"], "machine-b") {
					t.Errorf("%s touches another machine's certificate", s.ID)
				}
			}
			if !before(p, "login", "state-both") || !before(p, "state-both", "promote") || !before(p, "promote", "state") {
				t.Errorf("the slot does not change between the two writings of the state file: %s", line(p))
			}
			if _, overlapped := p.Step("retire-later"); overlapped && !before(p, "state", "retire-later") {
				t.Error("the overlap begins before the state file is written")
			}
			if p.Facts["old_generation"] == "" && c.via == agent.ViaKey {
				t.Error("the plan does not name what it replaces")
			}
			if opt.Alone && finds(p.Findings, "no-reader").Outcome != finding.Unknown {
				t.Error("that nobody reads it back is not said")
			}
		})
	}
}

func TestRotationIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*provisioner.Observed, *provisioner.Options)
		want   []string
	}{
		{"alone with an expired certificate", func(o *provisioner.Observed, opt *provisioner.Options) {
			opt.Alone, o.Application, o.Principal, o.Record.Generations[0].NotAfter = true, nil, nil, now()
		}, []string{"needs-operator"}},
		{"alone where file and record disagree", func(o *provisioner.Observed, opt *provisioner.Options) {
			opt.Alone, o.Application, o.Principal, o.File.Client = true, nil, nil, other
		}, []string{"state-disagrees"}},
		{"alone with another tenant's state file", func(o *provisioner.Observed, opt *provisioner.Options) {
			opt.Alone, o.Application, o.Principal, o.File.Tenant = true, nil, nil, other
		}, []string{"state-tenant"}},
		{"while there are passwords", func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Application.Passwords = []agent.Password{{KeyID: "p"}}
		}, []string{"passwords"}},
		{"without an application", func(o *provisioner.Observed, _ *provisioner.Options) { *o = untouched() }, []string{"unknown-application"}},
		{"where the application is gone", func(o *provisioner.Observed, _ *provisioner.Options) { o.Application = nil }, []string{"application-gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, opt := ours(), options()
			c.change(&o, &opt)
			blocked(t, provisioner.RotatePlan(spec(), o, opt), c.want...)
		})
	}
}

func TestARotationSaysWhatBecomesOfAKeyThatIsNotOurs(t *testing.T) {
	p := provisioner.RotatePlan(spec(), imported(), options())
	check(t, p, "key certificate login state-both promote state read-back")
	if f := finds(p.Findings, "not-recorded"); f.Outcome != finding.Warn || !strings.Contains(f.Remedy, "retire "+sum("original")) {
		t.Errorf("%+v", p.Findings)
	}
	o := made()
	o.Slot = provisioner.Slot{State: agent.KeyPresent}
	p = provisioner.RotatePlan(spec(), o, options())
	if f := finds(p.Findings, "slot-taken"); f.Outcome != finding.Warn {
		t.Errorf("%+v", p.Findings)
	}
}

func TestRetirePlans(t *testing.T) {
	two := func() provisioner.Observed {
		o := ours()
		older(&o, gen2, now().Add(time.Hour))
		o.Application.Certificates = append(o.Application.Certificates, certificate("machine-b"), agent.Certificate{KeyID: "hidden"})
		return o
	}
	for _, c := range []struct {
		name, sha string
		change    func(*provisioner.Observed)
		want      string
		blocked   string
	}{
		{"an earlier one of ours goes with its key, overlap or not", sum(gen2), nil, "login remove-certificate:k-" + gen2 + " dead:" + gen2 + " delete-key:" + gen2 + " read-back", ""},
		{"another machine's goes when it is named", strings.ToUpper(sum("machine-b")), nil, "login remove-certificate:k-machine-b read-back", ""},
		{"the one in use is refused", sum(gen1), nil, "", "active"},
		{"one that is not there is refused", sum("nobody"), nil, "", "not-there"},
		{"no name is no certificate, though Graph hides one", "", nil, "", "not-there"},
		{"beside a password nothing is done", sum("machine-b"), func(o *provisioner.Observed) { o.Application.Passwords = []agent.Password{{KeyID: "p"}} }, "", "passwords"},
		{"without a key of its own the machine would lock itself out", sum("machine-b"), func(o *provisioner.Observed) { o.Keys[gen1] = agent.KeyAbsent }, "", "no-successor"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, opt := two(), options()
			if c.change != nil {
				c.change(&o)
			}
			opt.SHA256 = c.sha
			p := provisioner.RetirePlan(spec(), o, opt)
			if c.blocked != "" {
				blocked(t, p, c.blocked)
				return
			}
			check(t, p, c.want)
			if warned := finds(p.Findings, "other-machine").Outcome == finding.Warn; warned != strings.Contains(c.want, "machine-b") {
				t.Errorf("findings %+v", p.Findings)
			}
		})
	}
}

func TestTheCertificatesOfOtherMachinesAreListed(t *testing.T) {
	adopted := imported()
	adopted.Record.AppID = appID
	for name, p := range map[string]agent.Plan{
		"a first migration": provisioner.MigratePlan(spec(), legacy(), options()), "a bootstrap over the original's key": provisioner.BootstrapPlan(spec(), adopted, options()),
	} {
		if n := strings.Count(names(p.Findings), "other-certificate"); n != 1 {
			t.Errorf("%s lists %d: %+v", name, n, p.Findings)
		}
		if f := finds(p.Findings, "other-certificate"); !strings.Contains(f.Detail, sum("machine-b")) || !strings.Contains(f.Remedy, "retire "+sum("machine-b")) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// A certificate that the plan replaces is why it is replaced. As a finding that fails it would make the rotation itself one.
func TestWhatIsReplacedIsNoFinding(t *testing.T) {
	o := ours()
	o.Record.Generations[0].NotAfter = now().AddDate(0, 0, 3)
	if p := provisioner.BootstrapPlan(spec(), o, options()); finds(p.Findings, agent.FindExpiry).Outcome != finding.Fail {
		t.Errorf("bootstrap keeps it and says: %s", names(p.Findings))
	}
	if p := provisioner.RotatePlan(spec(), o, options()); finds(p.Findings, agent.FindExpiry).ID != "" {
		t.Errorf("rotate replaces it in time and says: %s", names(p.Findings))
	}
	o.Record.Generations[0].NotAfter = now().AddDate(0, 0, -1)
	for name, p := range map[string]agent.Plan{"bootstrap": provisioner.BootstrapPlan(spec(), o, options()), "migrate": provisioner.MigratePlan(spec(), o, options()), "rotate": provisioner.RotatePlan(spec(), o, options())} {
		if finds(p.Findings, agent.FindExpiry).ID != "" || len(p.Blockers) > 0 {
			t.Errorf("%s replaces one that has ended and says: %s", name, names(append(p.Findings, p.Blockers...)))
		}
	}
}

func TestAStateFileThatNoRecordKnowsIsNotTakenAtItsWord(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(o *provisioner.Observed)
		plan   func(agent.Spec, provisioner.Observed, provisioner.Options) agent.Plan
		want   string
	}{
		{"a bootstrap wants an adoption first", func(*provisioner.Observed) {}, provisioner.BootstrapPlan, "not-adopted"},
		{"an application of another name is not migrated", func(o *provisioner.Observed) { o.Application.DisplayName = "Totally Other App" }, provisioner.MigratePlan, "other-name"},
		{"a file that others may write says nothing", func(o *provisioner.Observed) { o.File.Mode = 0o666 }, provisioner.MigratePlan, "state-mode"},
		{"a file of another user says nothing", func(o *provisioner.Observed) { o.File.Foreign = true }, provisioner.MigratePlan, "state-owner"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := legacy()
			if c.want == "not-adopted" {
				o = made()
			}
			c.change(&o)
			p := c.plan(spec(), o, options())
			if names(p.Blockers) != c.want || len(p.Steps) > 0 {
				t.Errorf("blockers %s, steps %s, want %s", names(p.Blockers), line(p), c.want)
			}
			if f := finds(p.Findings, "first-use"); !strings.Contains(f.Detail, appID) || !strings.Contains(f.Detail, o.Application.DisplayName) {
				t.Errorf("it does not say which application: %+v", p.Findings)
			}
		})
	}
}
