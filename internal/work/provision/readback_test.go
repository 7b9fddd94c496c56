package provision_test

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/provision"
)

const readerID = "acdd72a7-3385-48ef-bd42-f606fba81ae7"

// planned is a world in which everything is as the plan wants it.
func planned(t *testing.T) *world {
	w := newWorld(t)
	g := w.generation("gen1", true)
	w.app.Certificates = []agent.Certificate{{KeyID: "k", SHA256: g.SHA256}}
	w.assigns = []agent.Assignment{{ID: "x", Name: "x", RoleID: readerID, Role: "Reader", Scope: group, PrincipalID: principal}}
	return w
}

func owner(who string) agent.Assignment {
	return agent.Assignment{ID: "evil", Name: "evil", RoleID: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", Role: "Owner", Scope: group, PrincipalID: who}
}

// "Exactly the planned roles" is said of a set: a role that somebody adds between plan and read-back must not pass.
func TestTheReadBackNamesEveryRoleThatNobodyPlanned(t *testing.T) {
	for name, c := range map[string]struct {
		meddle    func(*world)
		unplanned string
		least     time.Duration
	}{
		"exactly as planned": {func(*world) {}, "", 0},
		"a role was added":   {func(w *world) { w.assigns = append(w.assigns, owner(principal)) }, "Owner on " + group, settle},
		"one that was removed a moment ago, on a replica": {func(w *world) {
			w.assigns = append(w.assigns, owner(principal))
			w.hook["list assignments"] = func(n int) error {
				if n == 4 {
					w.assigns = w.assigns[:1]
				}
				return nil
			}
		}, "", 0},
		"one reaches it through a group":    {func(w *world) { w.assigns = append(w.assigns, owner(other)) }, "Owner on " + group + ", through group " + other, 0},
		"a planned one has got a condition": {func(w *world) { w.assigns[0].Condition = "c" }, "Reader on " + group + ", under a condition", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := planned(t)
				c.meddle(w)
				began := time.Now()
				r, err := w.do(agent.Step{Action: agent.Verify})
				if got := r.Facts[provision.FactUnplanned]; err != nil || got != c.unplanned || time.Since(began) < c.least {
					t.Errorf("unplanned %q after %v: %v", got, time.Since(began), err)
				}
			})
		})
	}
}

// What this plan did not touch is waited for as long as a replica may lag, and no longer: else an apply would hang where it should say
// that somebody has taken something away.
func TestTheReadBackOfWhatThePlanDidNotTouchEndsSoon(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*world)
		by     agent.Step
	}{
		"the certificate":       {func(w *world) { w.app.Certificates = nil }, agent.Step{Action: agent.RegisterCertificate}},
		"the service principal": {func(w *world) { w.sp = nil }, agent.Step{Action: agent.CreatePrincipal}},
		"the application":       {func(w *world) { w.hook["read application"] = always(notFound()) }, agent.Step{Action: agent.CreateApplication}},
		"a role":                {func(w *world) { w.assigns = nil }, agent.Step{Action: agent.AssignRole, With: map[string]string{"role_id": readerID, "scope": group}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := planned(t)
				c.meddle(w)
				began := time.Now()
				_, err := w.do(agent.Step{Action: agent.Verify})
				if took := time.Since(began); !fault.Is(err, fault.Stopped, fault.Conflict) || took < settle || took > settle+time.Minute {
					t.Errorf("untouched: after %v: %v", took, err)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				w := planned(t)
				c.meddle(w)
				w.entries = []agent.Entry{{StepID: "made", Ended: new(time.Now())}}
				c.by.ID = "made"
				began := time.Now()
				if _, err := w.steps(agent.Step{Action: agent.Verify}, c.by); err == nil || time.Since(began) < job.DefaultDeadline-time.Minute {
					t.Errorf("made by this plan: after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

func TestTheProofOfWhatThePlanDidNotTouchEndsSoon(t *testing.T) {
	unknown := always(&fault.Error{Code: fault.NotYet, Service: "AADSTS700016"})
	step := agent.Step{Action: agent.Login, With: map[string]string{"app_id": "$app_id", "generation": "$generation", "times": "3"}}
	for name, c := range map[string]struct {
		prove func(*world) error
		long  bool
	}{
		"a login of an apply":         {func(w *world) error { _, err := w.do(step); return err }, false},
		"of one that made the object": {func(w *world) error { _, err := w.doFresh(step); return err }, true},
		"a proof without a plan":      {func(w *world) error { _, err := w.prov.ProveActive(w.Context(), w.rec, 3); return err }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := planned(t)
				w.rec.Generations[0].NotBefore = time.Now().AddDate(0, -1, 0)
				w.hook["login"] = unknown
				began := time.Now()
				if err := c.prove(w); err == nil || fault.Service(err) != "AADSTS700016" || (time.Since(began) > 5*time.Minute) != c.long {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		})
	}
}

// A grant that this very plan made must be read back, even where the record knows it meanwhile.
func TestARoleThatWasJustAssignedIsNotPassedUnread(t *testing.T) {
	forbidden := always(fault.Newf(fault.Forbidden, "x"))
	g := role.Grant{Role: "Reader", RoleID: readerID, Scope: group}
	for name, c := range map[string]struct {
		before []agent.Step
		works  bool
	}{
		"assigned by this plan":                                   {[]agent.Step{{ID: "made", Action: agent.AssignRole, With: map[string]string{"role_id": readerID, "scope": group}}}, false},
		"assigned long ago: the plan has said that it is unknown": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := planned(t)
				w.rec.Assignments = []agent.Assigned{{Grant: g, Name: "x", Ours: true}}
				w.hook["list assignments"] = forbidden
				w.entries = []agent.Entry{{StepID: "made", Ended: new(time.Now())}}
				if _, err := w.steps(agent.Step{Action: agent.Verify}, c.before...); (err == nil) != c.works {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// The name of an application that was deleted before we could record it stays reserved: no try under it can succeed, so none is waited for.
func TestCreateApplicationThatWasDeletedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hook["upsert leastkey-"] = always(notFound())
		w.bin["by name"] = true
		if _, err := w.do(agent.Step{Action: agent.CreateApplication}); !fault.Is(err, fault.Conflict) || w.count["upsert leastkey-"] != 1 {
			t.Errorf("%d tries: %v", w.count["upsert leastkey-"], err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // it is only on its way
		w := newWorld(t)
		w.hook["upsert leastkey-"] = first(3, notFound())
		if _, err := w.do(agent.Step{Action: agent.CreateApplication}); err != nil || w.count["look for name in bin"] != 3 {
			t.Errorf("looked %d times: %v", w.count["look for name in bin"], err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nobody knows
		w := newWorld(t)
		w.hook["upsert leastkey-"], w.hook["look for name in bin"] = always(notFound()), always(fault.Newf(fault.Unknown, "x"))
		if _, err := w.do(agent.Step{Action: agent.CreateApplication}); err == nil {
			t.Error("no error")
		}
	})
}

func TestRemoveFederated(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*world)
		left   int
		works  bool
	}{
		"it is there":           {func(*world) {}, 0, true},
		"a replica lags":        {func(w *world) { w.hook["remove federated"] = first(3, notFound()) }, 0, true},
		"somebody was faster":   {func(w *world) { w.app.Federated = nil }, 0, true},
		"the right is missing":  {func(w *world) { w.hook["remove federated"] = always(fault.Newf(fault.Forbidden, "x")) }, 1, false},
		"the service goes away": {func(w *world) { w.hook["remove federated"] = first(2, fault.Newf(fault.Unavailable, "x")) }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.app.Federated = []agent.FederatedCredential{{ID: "fic"}}
				c.meddle(w)
				if _, err := w.do(agent.Step{Action: agent.RemoveFederated, With: map[string]string{"key_id": "fic", "application": "$application"}}); (err == nil) != c.works || len(w.app.Federated) != c.left {
					t.Errorf("left %v: %v", w.app.Federated, err)
				}
			})
		})
	}
}

// files are environment files by their path.
type files map[string]map[string]string

func (f files) Path(path string) string { return "/w/" + path }

func (f files) Write(_ context.Context, path string, set map[string]string) (string, error) {
	f[f.Path(path)] = maps.Clone(set)
	return "", nil
}

func (f files) Clear(_ context.Context, path string, _ map[string]string) (string, error) {
	delete(f, path)
	return "", nil
}

// At every instant the record names the file that still has to be cleared, so that no crash leaves one behind.
func TestTheOldEnvironmentFileIsRememberedUntilItIsCleared(t *testing.T) {
	w := newWorld(t)
	env := files{"/old/.env": {}}
	w.prov.Env, w.rec.EnvFile = env, "/old/.env"
	write := agent.Step{ID: "write", Action: agent.WriteEnv, With: map[string]string{"file": ".env"}}
	remove := agent.Step{Action: agent.ClearEnv, With: map[string]string{"file": "/old/.env"}}
	w.hook["begin step"] = func(int) error {
		if w.rec.EnvFile != "/old/.env" || env["/w/.env"] == nil {
			t.Errorf("before the old file is cleared, %q is recorded of %v", w.rec.EnvFile, env)
		}
		return nil
	}
	remove.After = []string{"write"}
	if _, err := w.steps(remove, write); err != nil || w.rec.EnvFile != "/w/.env" || len(env) != 1 {
		t.Errorf("recorded %q, files %v: %v", w.rec.EnvFile, env, err)
	}
	w = newWorld(t)
	w.prov.Env, w.rec.EnvFile = files{"/w/.env": {}}, "/w/.env"
	if _, err := w.do(agent.Step{Action: agent.ClearEnv, With: map[string]string{"file": "/w/.env"}}); err != nil || w.rec.EnvFile != "" {
		t.Errorf("a revoke leaves %q recorded: %v", w.rec.EnvFile, err)
	}
}

// unmade says that the keystore is not there.
type unmade struct{ error }

func (unmade) Unmade() bool { return true }

// A keystore that is not there is as it should be before the first key, and hides a key that was made.
func TestAKeystoreThatIsNotThere(t *testing.T) {
	gone := &fault.Error{Code: fault.Unavailable, Err: unmade{fault.Newf(fault.Unavailable, "no folder")}}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hook["open key"] = always(gone)
		if err := w.prov.CheckKeystore(t.Context(), tenant, "bot"); err != nil {
			t.Errorf("no key can be made: %v", err)
		}
		w.generation("gen1", true)
		if r, err := w.do(agent.Step{Action: agent.ProveDead, With: map[string]string{"generation": "gen1"}}); err != nil || len(r.Evidence) > 0 {
			t.Errorf("a revoke must not need it: %+v, %v", r, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hook["open key"] = always(fault.Newf(fault.Unavailable, "locked"))
		if err := w.prov.CheckKeystore(t.Context(), tenant, "bot"); err == nil {
			t.Error("a keystore that is locked passes")
		}
	})
	synctest.Test(t, func(t *testing.T) { // killed before the first key was made
		w := newWorld(t)
		w.entries = []agent.Entry{{StepID: "step", Intent: map[string]string{"generation": "0123", "key": "memory:0123"}}}
		w.hook["open key"] = first(1, gone)
		if _, err := w.do(agent.Step{Action: agent.MintKey, With: map[string]string{"days": "30", "bits": "2048"}}); err != nil || w.count["create key"] != 1 {
			t.Errorf("%d keys made: %v", w.count["create key"], err)
		}
	})
}
