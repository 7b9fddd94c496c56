package provision_test

import (
	"crypto"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestCreateApplicationUsesTheJournalledName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rec, w.facts = agent.Record{Agent: "bot"}, nil
		w.hook["upsert leastkey-"] = func(n int) error {
			if n == 1 && (len(w.entries) != 1 || len(w.entries[0].Intent["unique_name"]) != len("leastkey-")+32) {
				t.Errorf("before the request the journal has %+v", w.entries)
			}
			return first(2, fault.Newf(fault.Unavailable, "cut"))(n)
		}
		r, err := w.do(agent.Step{Action: agent.CreateApplication, With: map[string]string{"display_name": "bot"}})
		if err != nil {
			t.Fatal(err)
		}
		unique := w.entries[0].Intent["unique_name"]
		if w.app.UniqueName != unique || w.rec.UniqueName != unique || w.rec.ApplicationID != appObject || w.rec.AppID != appID || w.rec.CreatedBy != "operator" || w.rec.Kind != agent.ServicePrincipal || r.Facts[agent.FactAppID] != appID {
			t.Errorf("recorded %+v, facts %v", w.rec, r.Facts)
		}
	})
}

func TestNoncesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		w := newWorld(t)
		if _, err := w.do(agent.Step{Action: agent.CreateApplication}); err != nil {
			t.Fatal(err)
		}
		seen[w.rec.UniqueName] = true
	}
	if len(seen) != 20 {
		t.Errorf("of 20 names %d differ", len(seen))
	}
}

func TestCreatePrincipal(t *testing.T) {
	for name, meddle := range map[string]func(*world){
		"it is made":                         func(*world) {},
		"its application has not spread yet": func(w *world) { w.hook["create principal"] = first(3, notFound()) },
		"an earlier try made it":             func(w *world) { w.hook["create principal"] = always(fault.Newf(fault.Conflict, "exists")) },
		"an earlier try made it, and it spreads": func(w *world) {
			w.hook["create principal"] = always(fault.Newf(fault.Conflict, "exists"))
			w.hook["read principal"] = first(2, notFound())
		},
		"throttled, and cut off after the effect": func(w *world) { w.hook["create principal"] = first(1, fault.Newf(fault.Throttled, "x")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.rec.PrincipalID = ""
				meddle(w)
				if r, err := w.do(agent.Step{Action: agent.CreatePrincipal, With: map[string]string{"app_id": "$app_id"}}); err != nil || w.rec.PrincipalID != principal || r.Facts[agent.FactPrincipal] != principal {
					t.Errorf("recorded %q: %v", w.rec.PrincipalID, err)
				}
			})
		})
	}
}

func TestAssignRole(t *testing.T) {
	g := role.Grant{Role: "Reader", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: group}
	ours := role.AssignmentName(g, principal)
	exists := always(fault.Newf(fault.Conflict, "RoleAssignmentExists"))
	there := func(w *world, name string) {
		w.assigns = []agent.Assignment{{ID: name, Name: name, RoleID: g.RoleID, Role: g.Role, Scope: g.Scope, PrincipalID: principal}}
	}
	for name, c := range map[string]struct {
		meddle func(*world)
		name   string
		ours   bool
	}{
		"it is made":                          {func(*world) {}, ours, true},
		"the principal has not spread yet":    {func(w *world) { w.hook["assign"] = first(3, notFound()) }, ours, true},
		"somebody made it under another name": {func(w *world) { there(w, "theirs"); w.hook["assign"] = exists }, "theirs", false},
		"an earlier try of ours made it":      {func(w *world) { there(w, strings.ToUpper(ours)); w.hook["assign"] = exists }, strings.ToUpper(ours), true},
		"somebody made it, and it is not listed": {func(w *world) {
			w.hook["assign"] = exists
			w.hook["find assignment"] = func(n int) error {
				if n == 3 {
					there(w, "theirs")
				}
				return nil
			}
		}, "theirs", false},
		"the list is unavailable for a while": {func(w *world) {
			there(w, "theirs")
			w.hook["assign"] = exists
			w.hook["find assignment"] = first(2, fault.Newf(fault.Unavailable, "x"))
		}, "theirs", false},
		"it was recorded already, and not by name": {func(w *world) { w.rec.Assignments = []agent.Assigned{{Grant: g, Name: ours}} }, ours, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c.meddle(w)
				_, err := w.do(agent.Step{Action: agent.AssignRole, With: map[string]string{"role": g.Role, "role_id": g.RoleID, "scope": g.Scope, "principal": "$principal"}})
				if err != nil {
					t.Fatal(err)
				}
				if len(w.rec.Assignments) != 1 || w.rec.Assignments[0] != (agent.Assigned{Grant: g, Name: c.name, Ours: c.ours}) {
					t.Errorf("recorded %+v", w.rec.Assignments)
				}
			})
		})
	}
	t.Run("a missing right is told at once", func(t *testing.T) {
		w := newWorld(t)
		w.hook["assign"] = always(fault.New(fault.Forbidden, "x", "h"))
		if _, err := w.do(agent.Step{Action: agent.AssignRole, With: map[string]string{"scope": group}}); !fault.Is(err, fault.Forbidden) || w.count["assign"] != 1 || len(w.rec.Assignments) > 0 {
			t.Errorf("after %d tries: %v", w.count["assign"], err)
		}
	})
}

func TestRemoveRole(t *testing.T) {
	w := newWorld(t)
	w.rec.Assignments = []agent.Assigned{{Name: "a"}, {Name: "b"}}
	w.hook["unassign"] = always(notFound())
	if _, err := w.do(agent.Step{Action: agent.RemoveRole, With: map[string]string{"scope": group, "name": "a"}}); err != nil || len(w.rec.Assignments) != 1 || w.rec.Assignments[0].Name != "b" {
		t.Errorf("recorded %+v: %v", w.rec.Assignments, err)
	}
}

func mint() agent.Step {
	return agent.Step{Action: agent.MintKey, With: map[string]string{"days": "30", "bits": "2048"}}
}

func TestMintKey(t *testing.T) {
	w := newWorld(t)
	w.hook["create key"] = func(int) error {
		if len(w.entries) != 1 || len(w.entries[0].Intent["generation"]) != 32 || w.entries[0].Intent["key"] != "memory:"+tenant+"/bot#"+w.entries[0].Intent["generation"] {
			t.Errorf("before the key exists the journal has %+v", w.entries)
		}
		return nil
	}
	r, err := w.do(mint())
	if err != nil {
		t.Fatal(err)
	}
	g := w.rec.Generations[0]
	if g.ID != w.entries[0].Intent["generation"] || g.Active || len(g.SHA256) != 64 || g.NotAfter.Sub(g.NotBefore) > 31*24*time.Hour || w.count["open key"] != 1 {
		t.Errorf("recorded %+v after %d openings", g, w.count["open key"])
	}
	if len(w.keys) != 1 || len(r.Evidence) == 0 {
		t.Errorf("%d keys, evidence %v", len(w.keys), r.Evidence)
	}
	for name, value := range r.Facts {
		if strings.Contains(value, "PRIVATE") {
			t.Errorf("fact %s holds a key", name)
		}
	}
}

func TestAMintedKeyIsNotMintedTwice(t *testing.T) {
	intent := map[string]string{"generation": "gen1", "key": "memory:gen1"}
	for name, c := range map[string]struct {
		meddle func(*world)
		made   int
	}{
		"the key exists":      {func(w *world) { w.keys["memory:gen1"] = theKey }, 0},
		"the key does not":    {func(w *world) { w.keys = map[string]crypto.Signer{} }, 1},
		"it was recorded too": {func(w *world) { w.generation("gen1", false) }, 0},
		"the store is locked": {func(w *world) {
			w.keys["memory:gen1"] = theKey
			w.hook["open key"] = first(2, fault.Newf(fault.Unavailable, "x"))
		}, 0},
		"another was made then": {func(w *world) { w.keys["memory:gen1"] = anotherKey }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c.meddle(w)
				w.entries = []agent.Entry{{StepID: "step", Intent: intent}}
				if _, err := w.do(mint()); err != nil {
					t.Fatal(err)
				}
				if len(w.rec.Generations) != 1 || w.rec.Generations[0].ID != "gen1" || w.count["generate"] != c.made {
					t.Errorf("%d keys made, recorded %+v", w.count["generate"], w.rec.Generations)
				}
			})
		})
	}
}

func TestAKeyThatDoesNotReopenIsNotUsed(t *testing.T) {
	w := newWorld(t)
	w.hook["open key"] = always(fault.Newf(fault.Corrupt, "it reads back differently"))
	if _, err := w.do(mint()); !fault.Is(err, fault.Stopped) && !fault.Is(err, fault.Corrupt) || len(w.rec.Generations) > 0 {
		t.Errorf("recorded %+v: %v", w.rec.Generations, err)
	}
}

func TestDeleteKey(t *testing.T) {
	for name, c := range map[string]struct {
		ref   string
		works bool
		left  int
	}{
		"it goes":                  {"memory:gen1", true, 0},
		"it is gone already":       {"memory:gone", true, 0},
		"a reference that is none": {"gen1", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if w.generation("gen1", true); c.ref == "memory:gone" { // by the record, which is where it lies now
				w.rec.Generations[0].Ref = secret.Ref{Backend: "memory", Name: "gone"}
				clear(w.keys)
			}
			_, err := w.do(agent.Step{Action: agent.DeleteKey, With: map[string]string{"generation": "gen1", "key": c.ref}})
			if (err == nil) != c.works || len(w.keys) != c.left || (len(w.rec.Generations) == 0) != c.works {
				t.Errorf("%d keys, recorded %v: %v", len(w.keys), w.rec.Generations, err)
			}
		})
	}
}

// What is not found may lie in the bin, may not have spread, or is gone; only what lasts is believed.
func TestWhatIsNotFoundWhenItIsTakenAway(t *testing.T) {
	for action, op := range map[agent.Action]string{agent.DisablePrincipal: "set enabled", agent.ClearCertificates: "read application", agent.DeleteApplication: "delete application"} {
		for name, c := range map[string]struct {
			meddle  func(*world)
			works   bool
			already bool
			least   time.Duration
		}{
			"it is there":                   {func(*world) {}, true, false, 0},
			"a replica has not heard of it": {func(w *world) { w.hook[op] = first(4, notFound()) }, true, false, time.Millisecond},
			"it lies in the recycle bin":    {func(w *world) { w.hook[op] = always(notFound()); w.bin[appObject], w.bin[principal] = true, true }, true, true, 0},
			"it is gone":                    {func(w *world) { w.hook[op] = always(notFound()) }, true, true, settle},
			"nobody can look in the bin": {func(w *world) {
				w.hook[op] = always(notFound())
				w.hook["look in bin"] = always(fault.Newf(fault.Forbidden, "x"))
			}, false, false, 0},
			"the right is missing":           {func(w *world) { w.hook[op] = always(fault.Newf(fault.Forbidden, "x")) }, false, false, 0},
			"it is throttled and then cut":   {func(w *world) { w.hook[op] = first(2, fault.Newf(fault.Throttled, "x")) }, true, false, 0},
			"an answer that nobody expected": {func(w *world) { w.hook[op] = always(fault.Newf(fault.Unknown, "x")) }, false, false, 0},
			"the bin cannot be reached a bit": {func(w *world) {
				w.hook[op] = first(3, notFound())
				w.hook["look in bin"] = first(1, fault.Newf(fault.Unavailable, "x"))
			}, true, false, 0},
		} {
			t.Run(string(action)+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					c.meddle(w)
					began := time.Now()
					r, err := w.do(agent.Step{Action: action, With: map[string]string{"application": appObject, "principal": principal}})
					if (err == nil) != c.works || r.Already != c.already || time.Since(began) < c.least {
						t.Errorf("after %v: already %v, %v", time.Since(began), r.Already, err)
					}
				})
			})
		}
	}
}

func TestClearCredentials(t *testing.T) {
	w := newWorld(t)
	w.app.Certificates, w.app.Passwords = []agent.Certificate{cert("a"), cert("foreign")}, []agent.Password{{KeyID: "p1"}, {KeyID: "p2"}}
	w.app.Federated = []agent.FederatedCredential{{ID: "f1"}, {ID: "f2"}}
	if _, err := w.do(agent.Step{Action: agent.ClearCertificates, With: map[string]string{"application": appObject}}); err != nil || len(w.app.Certificates)+len(w.app.Passwords)+len(w.app.Federated) > 0 {
		t.Errorf("left: %v %v %v (%v)", w.app.Certificates, w.app.Passwords, w.app.Federated, err)
	}
}

func TestPurge(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*world)
		object string
		works  bool
	}{
		"it is in the bin":                  {func(w *world) { w.bin[appObject] = true }, appObject, true},
		"it arrives in the bin after a bit": {func(w *world) { w.hook["purge"] = func(n int) error { w.bin[appObject] = n >= 4; return nil } }, appObject, true},
		"an earlier try purged it":          {func(*world) {}, appObject, true},
		"there never was one":               {func(*world) {}, "", true},
		"the right is missing":              {func(w *world) { w.hook["purge"] = always(fault.Newf(fault.Forbidden, "x")) }, appObject, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c.meddle(w)
				_, err := w.do(agent.Step{Action: agent.PurgeApplication, With: map[string]string{"application": c.object}})
				if (err == nil) != c.works || w.bin[appObject] && c.works {
					t.Errorf("left in the bin: %v; %v", w.bin, err)
				}
			})
		})
	}
}

func TestRemovePassword(t *testing.T) {
	for collection, want := range map[string]string{"applications": "remove password applications", "servicePrincipals": "remove password servicePrincipals"} {
		w := newWorld(t)
		w.hook[want] = always(notFound()) // somebody was faster
		if _, err := w.do(agent.Step{Action: agent.RemovePassword, With: map[string]string{"collection": collection, "key_id": "p", "application": "$application", "principal": "$principal"}}); err != nil || !slices.Contains(w.calls, want) {
			t.Errorf("%v: %v", w.calls, err)
		}
	}
}

func TestVerify(t *testing.T) {
	reader := agent.Assignment{ID: "x", Name: "x", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Role: "Reader", Scope: strings.ToUpper(group), PrincipalID: principal}
	for name, c := range map[string]struct {
		meddle func(*world)
		works  bool
		detail string
	}{
		"as planned":                             {func(*world) {}, true, "0 passwords, 0 foreign credentials, 1 role assignments"},
		"our certificate is late":                {func(w *world) { w.stale = func(n int) *agent.Application { return lagging(n < 4) } }, true, "0 passwords, 0 foreign credentials, 1 role assignments"},
		"our certificate never comes":            {func(w *world) { w.app.Certificates = nil }, false, ""},
		"a planned role is missing":              {func(w *world) { w.assigns = nil }, false, ""},
		"a planned role is somebody else's":      {func(w *world) { w.assigns[0].PrincipalID = other }, false, ""},
		"an assignment cannot be read":           {func(w *world) { w.hook["list assignments"] = always(fault.Newf(fault.Unknown, "x")) }, false, ""},
		"the application cannot be read":         {func(w *world) { w.hook["read application"] = always(fault.Newf(fault.Forbidden, "x")) }, false, ""},
		"the service principal is not there yet": {func(w *world) { w.hook["read principal"] = first(3, notFound()) }, true, "0 passwords, 0 foreign credentials, 1 role assignments"},
		"what should not be there is counted": {func(w *world) {
			w.app.Passwords, w.sp.Passwords = []agent.Password{{}}, []agent.Password{{}, {}}
			w.app.Certificates, w.sp.Certificates = append(w.app.Certificates, cert("f")), []agent.Certificate{cert("g")}
			w.app.Federated = []agent.FederatedCredential{{ID: "f"}}
		}, true, "3 passwords, 3 foreign credentials, 1 role assignments"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				g := w.generation("gen1", true)
				w.app.Certificates = []agent.Certificate{{KeyID: "k", SHA256: g.SHA256}}
				w.assigns = []agent.Assignment{reader}
				c.meddle(w)
				r, err := w.do(agent.Step{Action: agent.Verify})
				if (err == nil) != c.works || r.Detail != c.detail {
					t.Errorf("%q: %v", r.Detail, err)
				}
				if c.works && (len(r.Evidence) != 3 || r.Facts["assignments_read_at"] != "/subscriptions/"+sub) {
					t.Errorf("evidence %v, facts %v", r.Evidence, r.Facts)
				}
			})
		})
	}
}

// What this plan has removed must be gone before it says that all is well.
func TestVerifyWaitsForWhatThePlanRemoved(t *testing.T) {
	for _, c := range []struct {
		step   agent.Step
		linger func(*world)
	}{
		{agent.Step{Action: agent.RemoveCertificate, With: map[string]string{"key_id": "old"}}, func(w *world) { w.app.Certificates = append(w.app.Certificates, cert("old")) }},
		{agent.Step{Action: agent.RemovePassword, With: map[string]string{"key_id": "old"}}, func(w *world) { w.sp.Passwords = []agent.Password{{KeyID: "old"}} }},
		{agent.Step{Action: agent.RemoveFederated, With: map[string]string{"key_id": "old"}}, func(w *world) { w.app.Federated = []agent.FederatedCredential{{ID: "old"}} }},
		{agent.Step{Action: agent.RemoveRole, With: map[string]string{"name": "OLD", "scope": group}}, func(w *world) { w.assigns = append(w.assigns, agent.Assignment{ID: "old", Name: "old"}) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			g := w.generation("gen1", true)
			w.app.Certificates = []agent.Certificate{{KeyID: "k", SHA256: g.SHA256}}
			w.assigns = []agent.Assignment{{ID: "x", Name: "x", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: group, PrincipalID: principal}}
			c.linger(w)
			ended := time.Now()
			c.step.ID = "removal"
			w.entries = []agent.Entry{{StepID: "removal", Ended: &ended}}
			if _, err := w.steps(agent.Step{Action: agent.Verify}, c.step); !strings.Contains(errorText(err), "still") {
				t.Errorf("%s: %v", c.step.Action, err)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestProveActive(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*world)
		logins int
		works  bool
	}{
		"it works":               {func(*world) {}, 3, true},
		"there is no active key": {func(w *world) { w.rec.Generations[0].Active = false }, 0, false},
		"the key is gone":        {func(w *world) { clear(w.keys) }, 0, false},
		"the key is another":     {func(w *world) { w.keys["memory:gen1"] = anotherKey }, 0, false},
		"the token is of somebody else": {func(w *world) {
			w.logins = func(int) (api.Caller, error) { return api.Caller{ObjectID: other, TenantID: tenant}, nil }
		}, 0, false},
		"the second is refused": {func(w *world) {
			w.hook["login"] = func(n int) error { return map[bool]error{true: fault.Newf(fault.Unauthenticated, "x")}[n == 2] }
		}, 1, false},
		"the service is away for a time": {func(w *world) { w.hook["login"] = first(2, fault.Newf(fault.Unavailable, "x")) }, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.generation("gen1", true)
				c.meddle(w)
				if n, err := w.prov.ProveActive(t.Context(), w.rec, 3); n != c.logins || (err == nil) != c.works {
					t.Errorf("%d logins: %v", n, err)
				}
			})
		})
	}
}

func TestForget(t *testing.T) {
	w := newWorld(t)
	if _, err := w.do(agent.Step{Action: agent.Forget}); err != nil || !w.rec.Blank() || w.rec.Agent != "bot" {
		t.Errorf("left: %+v (%v)", w.rec, err)
	}
	// A key that no store has said to be gone stays known, and logs in no more.
	w.generation("gen1", true)
	if _, err := w.do(agent.Step{Action: agent.Forget}); err != nil || w.rec.Provisioned() || len(w.rec.Generations) != 1 || w.rec.Active() != nil {
		t.Errorf("left: %+v (%v)", w.rec, err)
	}
}

// Every action that a plan can have has a handler.
func TestEveryActionHasAHandler(t *testing.T) {
	handlers := newWorld(t).prov.Handlers()
	for _, a := range []agent.Action{agent.CreateApplication, agent.AdoptApplication, agent.SingleTenant, agent.CreatePrincipal, agent.MintKey, agent.RegisterCertificate, agent.RemoveCertificate, agent.RemovePassword, agent.RemoveFederated, agent.AssignRole, agent.RemoveRole, agent.Login, agent.Verify,
		agent.WriteEnv, agent.DisablePrincipal, agent.ClearCertificates, agent.DeleteApplication, agent.PurgePrincipal, agent.PurgeApplication, agent.ProveDead, agent.DeleteKey, agent.ClearEnv, agent.Forget, agent.RetireLater,
		agent.CreateIdentity, agent.AwaitPrincipal, agent.DeleteIdentity, agent.WriteFederated, agent.SeeFederated} {
		h, ok := handlers[a]
		if !ok || h.Do == nil {
			t.Errorf("%s has no handler", a)
		}
		if looks := a == agent.Login || a == agent.Verify || a == agent.ProveDead || a == agent.AwaitPrincipal || a == agent.SeeFederated; h.Looks != looks {
			t.Errorf("%s only looks: %v", a, h.Looks)
		}
		delete(handlers, a)
	}
	if len(handlers) > 0 {
		t.Errorf("handlers of unknown actions: %v", handlers)
	}
}
