package provisioner_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

const (
	removed = "remove-password:p1 remove-password:p2 remove-password:p3"
	purged  = "secret-dead purge-1 purge-3 scan"
)

func TestWhatCouldNotBePurgedStopsThePlanBefore(t *testing.T) {
	for name, change := range map[string]func(*provisioner.Observed, *provisioner.Options){
		"stuck:/w/.env":                       func(o *provisioner.Observed, _ *provisioner.Options) { o.Places[1].Stuck = "it is a mount point" },
		"unknown-later:" + stateFile + ".bak": func(_ *provisioner.Observed, opt *provisioner.Options) { opt.NoBackUp = true },
		"": func(o *provisioner.Observed, opt *provisioner.Options) {
			opt.NoBackUp, o.Places[2].Foreign = true, true
		},
	} {
		o, opt := legacy(), options()
		change(&o, &opt)
		p := provisioner.MigratePlan(spec(), o, opt)
		switch {
		case name == "" && (len(p.Blockers) > 0 || len(p.Steps) == 0):
			t.Errorf("%+v", p.Blockers)
		case name != "" && (len(p.Blockers) != 1 || p.Blockers[0].ID != name || len(p.Steps) > 0):
			t.Errorf("%s: %+v, %d steps", name, p.Blockers, len(p.Steps))
		}
	}
}

func TestMigrationPlans(t *testing.T) {
	for _, c := range []struct {
		name   string
		seen   func() provisioner.Observed
		change func(*provisioner.Observed, *provisioner.Options)
		want   string
	}{
		{"an install of the original", legacy, nil, "back-up key certificate login promote state " + removed + " read-back " + purged},
		{"without a backup", legacy, func(o *provisioner.Observed, opt *provisioner.Options) { opt.NoBackUp, o.Places = true, o.Places[:2] }, "key certificate login promote state " + removed + " read-back secret-dead purge-1 purge-2 scan"},
		{"nothing is to be done where we have migrated", ours, nil, ""},
		{"nothing is to be done where the original has", imported, nil, ""},
		{"a second machine, whose secret is dead, registers its own certificate and purges", legacy, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Secret, o.Application.Passwords, o.Principal.Passwords = provisioner.SecretDead, nil, nil
		}, "back-up key certificate login promote state read-back " + purged},
		{"the original's half migration: its key is used, its passwords and secret go", imported, func(o *provisioner.Observed, _ *provisioner.Options) {
			l := legacy()
			o.File, o.Secret, o.Places, o.Application.Passwords, o.Principal.Passwords = l.File, l.Secret, l.Places, l.Application.Passwords, l.Principal.Passwords
		}, "back-up key login state " + removed + " read-back " + purged},
		{"a key in the slot that no certificate belongs to is kept beside", legacy, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Slot = provisioner.Slot{State: agent.KeyPresent}
		}, "back-up key certificate login state-both promote state " + removed + " read-back " + purged},
		{"a key in the slot whose certificate has expired is kept beside", legacy, func(o *provisioner.Observed, _ *provisioner.Options) {
			c := certificate("machine-b")
			c.End = now()
			o.Slot = provisioner.Slot{State: agent.KeyPresent, Certificate: &c}
		}, "back-up key certificate login state-both promote state " + removed + " read-back " + purged},
		{"a password that somebody made anew goes, by the key that is there", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Application.Passwords = []agent.Password{{KeyID: "p1"}}
		}, "login remove-password:p1 read-back"},
		{"a state file from a backup, with its secret, gets the certificate too", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.File.HasSecret, o.File.Certs, o.Secret, o.Places = true, nil, provisioner.SecretDead, legacy().Places[:1]
		}, "back-up login state read-back secret-dead purge-1 scan"},
		{"a state file that lost its certificate is mended", ours, func(o *provisioner.Observed, _ *provisioner.Options) { o.File.Certs = nil }, "login state read-back"},
		{"only a place that we may not change: it is reported, not touched", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Secret, o.Places = provisioner.SecretDead, legacy().Places[2:]
		}, "login read-back secret-dead scan"},
		{"a file that the operator named is changed", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Secret, o.Places = provisioner.SecretDead, []provisioner.Place{{Path: "/w/notes", Line: 7, Kind: provisioner.Edit, Diff: "line 7\n-x [secret]\n+x "}}
		}, "login read-back secret-dead purge-1 scan"},
		{"an expired certificate of ours is no successor", ours, func(o *provisioner.Observed, _ *provisioner.Options) {
			o.Application.Passwords, o.Record.Generations[0].NotAfter, o.Slot.Certificate.End = []agent.Password{{KeyID: "p1"}}, now(), now()
		}, "key certificate login state-both promote state remove-password:p1 read-back"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, opt := c.seen(), options()
			if c.change != nil {
				c.change(&o, &opt)
			}
			p := provisioner.MigratePlan(spec(), o, opt)
			check(t, p, c.want)
			ordered(t, p)
			for _, s := range p.Steps {
				switch s.Action {
				case agent.RemoveCertificate, agent.DeleteKey, provisioner.DeclarePermissions, provisioner.GrantPermission, agent.CreateApplication, agent.SingleTenant:
					t.Errorf("a migration has step %s", s.ID)
				}
			}
		})
	}
}

// ordered is the order that a migration must keep, in whatever order the runner takes the steps.
func ordered(t *testing.T, p agent.Plan) {
	t.Helper()
	must := func(first, then string) {
		t.Helper()
		if _, has := p.Step(first); has && !before(p, first, then) {
			t.Errorf("%s may begin before %s is done: %s", then, first, line(p))
		}
	}
	last := ""
	for _, s := range p.Steps {
		switch s.Action {
		case agent.RemovePassword:
			for _, first := range []string{"back-up", "key", "certificate", "login", "promote", "state"} {
				must(first, s.ID)
			}
			if !slices.Contains(s.Proof, "login") {
				t.Errorf("%s goes without the proof that its successor works", s.ID)
			}
			must(s.ID, "read-back")
			if _, purges := p.Step("secret-dead"); purges {
				must(s.ID, "secret-dead")
			}
		case provisioner.PurgeSecret:
			for _, first := range []string{"back-up", "login", "state", "read-back", "secret-dead"} {
				must(first, s.ID)
			}
			if !slices.Contains(s.Proof, "secret-dead") || !slices.Contains(s.Proof, "login") {
				t.Errorf("%s goes without the proof that the secret is dead", s.ID)
			}
			must(s.ID, "scan")
			last = s.With["file"]
			for _, name := range []string{"state", "env", "also", "edit"} {
				if _, said := s.With[name]; !said {
					t.Errorf("%s does not say what is searched (%s)", s.ID, name)
				}
			}
		}
	}
	if slices.ContainsFunc(p.Steps, func(s agent.Step) bool {
		return s.Action == provisioner.PurgeSecret && s.With["file"] == stateFile
	}) && last != stateFile {
		t.Errorf("the state file, which tells a run that was cut off what to look for, is not purged last but before %s", last)
	}
}

func TestMigrationIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*provisioner.Observed)
		want   []string
	}{
		{"where nobody says which application it is", func(o *provisioner.Observed) { *o = untouched() }, []string{"unknown-application"}},
		{"where only a display name says so", func(o *provisioner.Observed) {
			*o = untouched()
			o.Namesakes = []agent.Namesake{{Application: agent.Application{ID: other, AppID: other}}}
		}, []string{"unknown-application"}},
		{"with another tenant's state file", func(o *provisioner.Observed) { o.File.Tenant = other }, []string{"state-tenant"}},
		{"where file and record disagree", func(o *provisioner.Observed) { o.Record.AppID = other }, []string{"state-disagrees"}},
		{"where the application is gone", func(o *provisioner.Observed) { o.Application, o.Principal = nil, nil }, []string{"application-gone"}},
		{"where it has no service principal", func(o *provisioner.Observed) { o.Principal = nil }, []string{"no-principal"}},
		{"where somebody has disabled it", func(o *provisioner.Observed) { o.Principal.Enabled = false }, []string{"principal-disabled"}},
		{"for an operator without the right", func(o *provisioner.Observed) {
			o.Rights = provisioner.Rights{Known: true, Detail: "the operator has no directory role"}
		}, []string{"rights"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := legacy()
			c.change(&o)
			blocked(t, provisioner.MigratePlan(spec(), o, options()), c.want...)
		})
	}
}

func TestAMigrationSaysWhomItAffects(t *testing.T) {
	o := legacy()
	o.Rights, o.Secret = provisioner.Rights{Detail: "a custom role may allow it"}, provisioner.SecretUnknown
	p := provisioner.MigratePlan(spec(), o, options())
	for id, says := range map[string]string{"rights": "a custom role may allow it", "secret-unclear": "no clear answer", "other-holders": "3 password(s)", "secret-elsewhere": stateFile + ".bak, line 4"} {
		if f := finds(p.Findings, id); f.Outcome != finding.Warn || !strings.Contains(f.Detail, says) {
			t.Errorf("%s: %+v", id, f)
		}
	}
	if s, _ := p.Step("remove-password:p1"); !strings.Contains(s.Title, `"first", begins abc…, 2025-08-01 to 2027-08-01`) {
		t.Errorf("the password is called %q", s.Title)
	}
	if s, _ := p.Step("remove-password:p3"); s.With["collection"] != "servicePrincipals" {
		t.Errorf("%+v", s)
	}
	o.Places = []provisioner.Place{{Path: "/w/notes", Kind: provisioner.Edit, Diff: "line 1\n-[secret]\n+"}}
	if f := finds(provisioner.MigratePlan(spec(), o, options()).Findings, "edit"); !strings.Contains(f.Detail, "[secret]") {
		t.Errorf("what is changed in a named file is not shown: %+v", f)
	}
	if strings.Contains(names(provisioner.MigratePlan(spec(), ours(), options()).Findings), "other-holders") {
		t.Error("without passwords nobody loses one")
	}
}

func TestTheNewTokenMustBringWhatTheOldOneDid(t *testing.T) {
	o := legacy()
	o.Granted = append(o.Granted, provisioner.Grant{ID: "m", RoleID: "R6"})
	p := provisioner.MigratePlan(spec(), o, options())
	if s, _ := p.Step("login"); s.With["roles"] != "AgentIdUser.ReadWrite.All AgentIdentity.Create.All AppRoleAssignment.ReadWrite.All Application.ReadWrite.All DelegatedPermissionGrant.ReadWrite.All LicenseAssignment.ReadWrite.All Mail.Read Organization.Read.All User.ReadWrite.All" {
		t.Errorf("the login checks %q", s.With["roles"])
	}
	o.Offered, o.Granted = nil, nil // nobody has looked
	if s, _ := provisioner.MigratePlan(spec(), o, options()).Step("login"); s.With["roles"] != "" {
		t.Errorf("the login checks %q", s.With["roles"])
	}
}

// A plan has no field for a secret, and is the same for the same world.
func TestPlansHoldNoSecretAndNoTime(t *testing.T) {
	for name, make := range map[string]func(provisioner.Observed) agent.Plan{
		"migrate": func(o provisioner.Observed) agent.Plan { return provisioner.MigratePlan(spec(), o, options()) },
		"bootstrap": func(o provisioner.Observed) agent.Plan {
			o.File.HasSecret, o.Application.Passwords, o.Principal.Passwords = false, nil, nil
			return provisioner.BootstrapPlan(spec(), o, options())
		},
		"rotate": func(o provisioner.Observed) agent.Plan {
			o.Application.Passwords, o.Principal.Passwords = nil, nil
			return provisioner.RotatePlan(spec(), o, options())
		},
	} {
		o := legacy()
		o.Record.AppID = appID
		p := make(o)
		later := legacy()
		later.Record.AppID = appID
		later.Now = later.Now.Add(time.Hour)
		slices.Reverse(later.Offered)
		slices.Reverse(later.Granted)
		slices.Reverse(later.Application.Passwords)
		if again := make(later); p.Digest() != again.Digest() {
			t.Errorf("%s: an hour later, and in another order, it is another plan:\n%s\n%s", name, line(p), line(again))
		}
		text, err := json.Marshal(p)
		if err != nil || len(p.Steps) == 0 {
			t.Fatal(name, err)
		}
		if strings.Contains(strings.ToLower(string(text)), "client_secret\"") || strings.Contains(string(text), `"secret_text"`) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// entries are those of the first n steps of a migration as the journal has them; the last one has no end.
func entries(p agent.Plan, n int) (all []agent.Entry) {
	for i, s := range p.Steps[:n] {
		e := agent.Entry{StepID: s.ID, Begun: now()}
		switch s.ID {
		case "key":
			e.Intent = map[string]string{"generation": gen2, "key": beside(gen2).String()}
		case "state-both", "state":
			e.Intent = map[string]string{"before": `{"of":"` + s.ID + `"}`}
		case "promote":
			e.Intent = map[string]string{"generation": "", "displaced": tenant + "#displaced-0123"}
		}
		if i < n-1 {
			ended := now()
			e.Ended = &ended
			if s.ID == "certificate" {
				e.Result.Facts = map[string]string{agent.FactKeyID: "k-" + gen2}
			}
		}
		all = append(all, e)
	}
	return all
}

// stopped is the world after the first n steps of the migration of an install whose slot holds a foreign key.
func stopped(n int) (provisioner.Observed, agent.Run, []agent.Entry) {
	o := legacy()
	o.Slot = provisioner.Slot{State: agent.KeyPresent}
	run := agent.Run{ID: "run", Verb: provisioner.Migrate, Plan: provisioner.MigratePlan(spec(), o, options())}
	done := func(id string) bool {
		return slices.ContainsFunc(run.Plan.Steps[:n], func(s agent.Step) bool { return s.ID == id })
	}
	if done("key") {
		o.Record.Generations = []agent.Generation{generation(gen2, false)}
	}
	if done("certificate") {
		o.Application.Certificates = append(o.Application.Certificates, certificate(gen2))
	}
	return o, run, entries(run.Plan, n)
}

func TestRollbackPlansAtEachPointOfAMigration(t *testing.T) {
	want := map[string]string{
		"back-up": "", "key": "delete-key:" + gen2, "certificate": "remove-certificate:k-" + gen2 + " delete-key:" + gen2, "login": "remove-certificate:k-" + gen2 + " delete-key:" + gen2,
		"state-both": "restore-state remove-certificate:k-" + gen2 + " delete-key:" + gen2, "promote": "restore-state restore-slot remove-certificate:k-" + gen2 + " delete-key:" + gen2,
		"state": "restore-state restore-slot remove-certificate:k-" + gen2 + " delete-key:" + gen2,
	}
	_, whole, _ := stopped(0)
	for n := range len(whole.Plan.Steps) + 1 {
		o, run, journal := stopped(n)
		p := provisioner.RollbackPlan(spec(), o, options(), run, journal)
		lawful(t, p)
		name := "nothing"
		if n > 0 {
			name = run.Plan.Steps[n-1].ID
		}
		if steps, back := want[name]; back || n == 0 {
			check(t, p, steps)
			if provisioner.Deleted(run, journal) {
				t.Errorf("after %s: nothing was deleted", name)
			}
			for i := 1; i < len(p.Steps); i++ {
				if !slices.Equal(p.Steps[i].After, []string{p.Steps[i-1].ID}) {
					t.Errorf("after %s: not one step after the other: %s", name, line(p))
				}
			}
			if s, ok := p.Step("restore-state"); ok && s.With["before"] != `{"of":"state-both"}` {
				t.Errorf("after %s: what is written back is not what was there first: %s", name, s.With["before"])
			}
			if s, ok := p.Step("restore-slot"); ok && (s.With["displaced"] != tenant+"#displaced-0123" || s.With["promoted"] != gen2) {
				t.Errorf("after %s: %+v", name, s.With)
			}
			continue
		}
		if !provisioner.Deleted(run, journal) || finds(p.Findings, "passwords-gone").Outcome != finding.Warn || len(p.Steps) > 0 || names(p.Blockers) != "passwords" {
			t.Errorf("after %s: %s, findings %s, blockers %s", name, line(p), names(p.Findings), names(p.Blockers))
		}
		o.Application.Passwords, o.Principal.Passwords = nil, nil
		if p = provisioner.RollbackPlan(spec(), o, options(), run, journal); len(p.Steps)+len(p.Blockers) > 0 || finds(p.Findings, "no-earlier").Outcome != finding.Skip {
			t.Errorf("after %s: %s, findings %s, blockers %s", name, line(p), names(p.Findings), names(p.Blockers))
		}
	}
}

func TestARollbackKnowsWhatTheJournalSaw(t *testing.T) {
	o, run, journal := stopped(4) // back-up, key, certificate, login
	o.Application.Certificates = o.Application.Certificates[:1]
	p := provisioner.RollbackPlan(spec(), o, options(), run, journal)
	check(t, p, "remove-certificate:k-"+gen2+" delete-key:"+gen2)
	journal[2].Result = agent.Result{Detail: "settled without effect: refused"}
	check(t, provisioner.RollbackPlan(spec(), o, options(), run, journal), "delete-key:"+gen2)

	half := imported()
	half.Application.Passwords = []agent.Password{{KeyID: "p1"}}
	run = agent.Run{Plan: provisioner.MigratePlan(spec(), half, options())}
	ended := now()
	journal = []agent.Entry{{StepID: "key", Ended: &ended}, {StepID: "login", Ended: &ended}, {StepID: "state", Intent: map[string]string{"before": "{}"}}}
	check(t, provisioner.RollbackPlan(spec(), half, options(), run, journal), "restore-state") // the key that was there before stays
}

func TestAfterADeletionARollbackGoesToAnEarlierCertificate(t *testing.T) {
	o, run := ours(), agent.Run{Plan: agent.Plan{Steps: []agent.Step{{ID: "remove-password:p1", Action: agent.RemovePassword, Title: "remove"}}}}
	journal := []agent.Entry{{StepID: "remove-password:p1"}}
	older(&o, gen2, time.Time{})
	check(t, provisioner.RollbackPlan(spec(), o, options(), run, journal), "login state-both promote state read-back")
	o.Application.Certificates = o.Application.Certificates[:1]
	check(t, provisioner.RollbackPlan(spec(), o, options(), run, journal), "certificate login state-both promote state read-back")
	o.Keys[gen2] = agent.KeyAbsent
	check(t, provisioner.RollbackPlan(spec(), o, options(), run, journal), "")
	o.Principal.Passwords = []agent.Password{{KeyID: "p3"}}
	blocked(t, provisioner.RollbackPlan(spec(), o, options(), run, journal), "passwords")
	o.Application = nil
	blocked(t, provisioner.RollbackPlan(spec(), o, options(), run, journal), "application-gone")
}
