package provision_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/provision"
)

func createStep() agent.Step {
	return agent.Step{Action: agent.CreateIdentity, With: map[string]string{"resource": resource, "location": "eastus"}}
}

// lost is a request whose answer does not come, once.
func lost() func(int) error { return first(1, fault.Newf(fault.Unavailable, "connection reset")) }

func TestCreateIdentityNeverTakesOver(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		code   fault.Code
		puts   int
		again  bool // the step was begun, and can be begun anew
	}{
		"there is none":                       {func(*world) {}, "", 1, false},
		"the answer is lost after the effect": {func(w *world) { w.hook["identity is put"] = lost() }, "", 1, false},
		"the request is lost before it":       {func(w *world) { w.hook["put identity"] = lost() }, "", 2, false},
		"reading is refused":                  {func(w *world) { w.hook["read identity"] = always(fault.Newf(fault.Forbidden, "x")) }, fault.Forbidden, 0, false},
		"somebody else's is there":            {func(w *world) { w.identity(map[string]string{"team": "theirs"}) }, fault.Conflict, 0, true},
		"one with somebody else's nonce is there": {func(w *world) {
			w.identity(map[string]string{provision.NonceTag: "0123"})
		}, fault.Conflict, 0, true},
		"one appears between look and PUT": {func(w *world) {
			w.hook["put identity"] = func(int) error { w.identity(nil); return nil }
		}, fault.Conflict, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.rec = agent.Record{Agent: "bot"}
				c.change(w)
				r, err := w.do(createStep())
				if fault.CodeOf(err) != c.code || w.count["put identity"] != c.puts {
					t.Fatalf("%v after %d PUTs", err, w.count["put identity"])
				}
				if c.again != (err != nil && len(w.entries) == 0) && c.code == fault.Conflict {
					t.Errorf("journal %+v", w.entries)
				}
				if c.code != "" {
					if w.rec.Provisioned() {
						t.Errorf("recorded %+v", w.rec)
					}
					return
				}
				if rec := w.rec; rec.ResourceID != resource || rec.AppID != appID || rec.PrincipalID != principal || rec.Kind != agent.ManagedIdentity || rec.CreatedBy != "operator" || len(r.Evidence) == 0 {
					t.Errorf("recorded %+v, result %+v", rec, r)
				}
			})
		})
	}
}

// A process dies; the next one finds what it made, by the nonce of the journal and by nothing else.
func TestCreateIdentityInTheNextProcess(t *testing.T) {
	begun := agent.Entry{RunID: "run", StepID: "step", Intent: map[string]string{"nonce": "n1"}}
	for name, c := range map[string]struct {
		tags map[string]string // nil: it was not made
		code fault.Code
		quit bool // what a revoke finds
	}{
		"it was made":             {map[string]string{provision.NonceTag: "n1"}, "", true},
		"it was not made":         {nil, "", false},
		"somebody else made one":  {map[string]string{provision.NonceTag: "n2"}, fault.Conflict, false},
		"it was made, and tagged": {map[string]string{provision.NonceTag: "n1", "team": "ours"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.rec, w.entries = agent.Record{Agent: "bot"}, []agent.Entry{begun}
				if c.tags != nil {
					w.identity(c.tags)
				}
				if err := w.quit(createStep()); err != nil || w.rec.Provisioned() != c.quit || w.count["put identity"] > 0 {
					t.Errorf("a revoke: %v, recorded %+v", err, w.rec)
				}
				w.rec, w.entries = agent.Record{Agent: "bot"}, []agent.Entry{begun}
				if _, err := w.do(createStep()); fault.CodeOf(err) != c.code || w.rec.Provisioned() != (c.code == "") {
					t.Errorf("an apply: %v, recorded %+v", err, w.rec)
				}
			})
		})
	}
}

// That a replica has not heard of the identity yet is no reason to leave it behind.
func TestQuitLooksForAnIdentityForAsLongAsReplicasLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rec, w.entries = agent.Record{Agent: "bot"}, []agent.Entry{{RunID: "run", StepID: "step", Intent: map[string]string{"nonce": "n1"}}}
		w.hook["read identity"] = func(n int) error {
			if n == 3 {
				w.identity(map[string]string{provision.NonceTag: "n1"})
			}
			return nil
		}
		if err := w.quit(createStep()); err != nil || w.rec.ResourceID != resource {
			t.Errorf("%v, recorded %+v", err, w.rec)
		}
	})
}

func TestDeleteIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		code   fault.Code
		stays  bool
	}{
		"it is there":                       {func(*world) {}, "", false},
		"a replica has not heard of it":     {func(w *world) { i := *w.mi; w.mi = nil; w.hook["read identity"] = later(w, i) }, "", false},
		"it is gone":                        {func(w *world) { w.mi = nil }, "", false},
		"somebody made another of its name": {func(w *world) { w.mi.PrincipalID = other }, "", true},
		"the answer is lost":                {func(w *world) { w.hook["delete identity"] = lost() }, "", false},
		"the right is missing":              {func(w *world) { w.hook["delete identity"] = always(fault.Newf(fault.Forbidden, "x")) }, fault.Stopped, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.identity(nil)
				c.change(w)
				r, err := w.do(agent.Step{Action: agent.DeleteIdentity, Destroys: true, With: map[string]string{"resource": resource, "principal": principal}})
				if code := fault.CodeOf(err); (err != nil) != (c.code != "") || (w.mi != nil) != c.stays || (err == nil && len(r.Evidence) == 0) {
					t.Errorf("%s %v, it is there: %v", code, err, w.mi != nil)
				}
			})
		})
	}
}

// later shows the identity from the third reading on.
func later(w *world, i agent.UserAssignedIdentity) func(int) error {
	return func(n int) error {
		if n == 3 {
			w.mi = &i
		}
		return nil
	}
}

func TestAwaitPrincipal(t *testing.T) {
	step := agent.Step{Action: agent.AwaitPrincipal, With: map[string]string{"app_id": "$app_id", "principal": "$principal"}}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hook["read principal"] = first(4, notFound())
		if r, err := w.do(step); err != nil || w.count["read principal"] != 5 || len(r.Evidence) == 0 {
			t.Errorf("%+v: %v", r, err)
		}
		w = newWorld(t)
		w.sp.ID = other
		if _, err := w.do(step); err == nil {
			t.Error("another principal passes for it")
		}
	})
}

func wantedFederated() []agent.Federated {
	return []agent.Federated{{Issuer: "https://issuer", Subject: "a", Audience: agent.TokenExchange}, {Issuer: "https://issuer", Subject: "b", Audience: agent.TokenExchange}}
}

func TestWriteFederated(t *testing.T) {
	f := wantedFederated()[0]
	for object, with := range map[string]map[string]string{"application": {"application": "$application"}, "identity": {"resource": resource}} {
		step := agent.Step{Action: agent.WriteFederated, With: map[string]string{"name": f.Name(), "issuer": f.Issuer, "subject": f.Subject, "audience": f.Audience}}
		for k, v := range with {
			step.With[k] = v
		}
		all := func(w *world) []agent.FederatedCredential {
			if object == "identity" {
				return w.mi.Federated
			}
			return w.app.Federated
		}
		for name, c := range map[string]struct {
			change func(*world)
			ok     bool
			writes int
		}{
			"there is none":             {func(*world) {}, true, 1},
			"another write is underway": {func(w *world) { w.hook["put federated"] = first(3, fault.Newf(fault.Throttled, "concurrent")) }, true, 4},
			"a replica lags":            {func(w *world) { w.hook["put federated"] = first(2, notFound()) }, true, 3},
			"the answer is lost":        {func(w *world) { w.hook["put federated"] = lost() }, true, 2},
			"the right is missing":      {func(w *world) { w.hook["put federated"] = always(fault.Newf(fault.Forbidden, "x")) }, false, 1},
		} {
			t.Run(object+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.identity(nil)
					c.change(w)
					_, err := w.do(step)
					if (err == nil) != c.ok || w.count["put federated"] != c.writes {
						t.Fatalf("%v after %d writes", err, w.count["put federated"])
					}
					if c.ok != slices.Contains(w.rec.Federated, f.Name()) || c.ok != slices.ContainsFunc(all(w), func(have agent.FederatedCredential) bool { return have.Stands(f.Credential()) }) {
						t.Errorf("recorded %v, there is %+v", w.rec.Federated, all(w))
					}
				})
			})
		}
	}
	// Graph enforces names without lag: what an earlier try made is found; what a replica does not show yet is waited for.
	taken := fault.Newf(fault.Conflict, "already exists")
	step := agent.Step{Action: agent.WriteFederated, With: map[string]string{"application": "$application", "name": f.Name(), "issuer": f.Issuer, "subject": f.Subject, "audience": f.Audience}}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.app.Federated = []agent.FederatedCredential{f.Credential()}
		w.hook["put federated"] = always(taken)
		if _, err := w.do(step); err != nil || w.count["put federated"] != 1 {
			t.Errorf("what an earlier try made: %v after %d", err, w.count["put federated"])
		}
		w = newWorld(t)
		old := f.Credential()
		old.Audiences = []string{"api://old"}
		w.app.Federated = []agent.FederatedCredential{old}
		w.hook["put federated"] = first(3, taken)
		if _, err := w.do(step); err != nil || w.count["put federated"] != 4 {
			t.Errorf("what a replica does not show yet: %v after %d", err, w.count["put federated"])
		}
		// A revoke needs no look: the name is known.
		w = newWorld(t)
		w.entries = []agent.Entry{{RunID: "run", StepID: "step"}}
		if err := w.quit(step); err != nil || len(w.rec.Federated) != 1 || w.count["put federated"] > 0 {
			t.Errorf("%v, recorded %v", err, w.rec.Federated)
		}
	})
}

func TestRemovedFederatedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := wantedFederated()[0].Credential()
		w.identity(nil).Federated = []agent.FederatedCredential{f}
		w.rec.Federated = []string{"another", f.Name}
		if _, err := w.do(agent.Step{Action: agent.RemoveFederated, Destroys: true, With: map[string]string{"resource": resource, "key_id": f.Name, "name": f.Name}}); err != nil || len(w.mi.Federated) > 0 || !slices.Equal(w.rec.Federated, []string{"another"}) {
			t.Errorf("%v: left %+v, recorded %v", err, w.mi.Federated, w.rec.Federated)
		}
	})
}

func TestSeeFederatedWantsThreeReadingsInARow(t *testing.T) {
	a, b := wantedFederated()[0], wantedFederated()[1]
	for name, c := range map[string]struct {
		names  string
		change func(*world)
		ok     bool
		reads  int
	}{
		"both are there":            {a.Name() + " " + b.Name(), func(*world) {}, true, 3},
		"a replica lags, once more": {a.Name() + " " + b.Name(), func(w *world) { w.hook["list federated"] = func(n int) error { w.flicker(n == 2); return nil } }, true, 5},
		"one is not there":          {a.Name() + " " + b.Name(), func(w *world) { w.mi.Federated = w.mi.Federated[:1] }, false, 0},
		"nobody expects it":         {a.Name(), func(w *world) { w.mi.Federated = w.mi.Federated[:1] }, true, 3},
		"its audience is another":   {b.Name(), func(w *world) { w.mi.Federated[1].Audiences = []string{"x"} }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.federated = wantedFederated()
				w.identity(nil).Federated = []agent.FederatedCredential{a.Credential(), b.Credential()}
				c.change(w)
				r, err := w.do(agent.Step{Action: agent.SeeFederated, With: map[string]string{"resource": resource, "names": c.names}})
				if (err == nil) != c.ok || (c.reads > 0 && w.count["list federated"] != c.reads) || (c.ok && len(r.Evidence) == 0) {
					t.Errorf("%v after %d readings", err, w.count["list federated"])
				}
			})
		})
	}
}

// flicker hides the identity's federated credentials from one reading.
func (w *world) flicker(hide bool) {
	if hide {
		w.mi.Federated = nil
		return
	}
	w.mi.Federated = []agent.FederatedCredential{wantedFederated()[0].Credential(), wantedFederated()[1].Credential()}
}

func TestReadBackOfAnIdentityWithoutAKey(t *testing.T) {
	f := wantedFederated()[0]
	verify := func(w *world) (agent.Result, error) {
		return w.do(agent.Step{Action: agent.Verify, With: map[string]string{"federated": f.Name()}})
	}
	for name, c := range map[string]struct {
		change  func(*world)
		ok      bool
		foreign string
	}{
		"as planned": {func(*world) {}, true, "0"},
		"a credential of a stranger": {func(w *world) {
			w.mi.Federated = append(w.mi.Federated, agent.FederatedCredential{Name: "evil", Issuer: "https://evil", Subject: "x"})
		}, true, "1"},
		"ours admits somebody else": {func(w *world) { w.mi.Federated[0].Subject = "evil" }, false, ""},
		"ours is not there":         {func(w *world) { w.mi.Federated = nil }, false, ""},
		"it was made anew":          {func(w *world) { w.mi.PrincipalID = other }, false, ""},
		"it was deleted":            {func(w *world) { w.mi = nil }, false, ""},
		"a role is missing":         {func(w *world) { w.assigns = nil }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.kind, w.federated = agent.ManagedIdentity, wantedFederated()[:1]
				w.identity(nil).Federated = []agent.FederatedCredential{f.Credential()}
				w.rec = agent.Record{Agent: "bot", ResourceID: resource, AppID: appID, PrincipalID: principal}
				w.assigns = []agent.Assignment{{ID: "1", Name: "1", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Role: "Reader", Scope: group, PrincipalID: principal}}
				c.change(w)
				r, err := verify(w)
				if (err == nil) != c.ok || r.Facts[provision.FactForeign] != c.foreign {
					t.Errorf("%+v: %v", r.Facts, err)
				}
			})
		})
	}
}
