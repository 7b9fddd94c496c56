package control_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/localcloud"
)

// half applies the Graph half and gives the rest.
func (w *world) half() agent.Plan {
	w.Helper()
	w.operator = "local:appadmin"
	r, err := w.apply(api.ApplyRequest{Only: agent.Graph})
	if err != nil || r.Rest == nil {
		w.Fatal(err)
	}
	w.operator = "local:admin"
	return *r.Rest
}

// A rest is read by an approver, so what it says must be what it does: a title for a stranger's Owner that reads "assign Reader" once
// removed that Owner.
func TestARestSaysWhatItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rest := w.half()
		for name, change := range map[string]func(*agent.Plan){
			"another title":            func(p *agent.Plan) { p.Steps[0].Title = "assign Reader on group polyclaw-rg" },
			"another reason":           func(p *agent.Plan) { p.Steps[0].Why = "it is harmless" },
			"a destroying step":        func(p *agent.Plan) { p.Steps[0].Destroys = true },
			"no date":                  func(p *agent.Plan) { p.Made = time.Time{} },
			"a date long ago":          func(p *agent.Plan) { p.Made = p.Made.AddDate(0, 0, -8) },
			"a date in the far future": func(p *agent.Plan) { p.Made = p.Made.AddDate(1, 0, 0) },
			"a principal beside its app": func(p *agent.Plan) {
				p.Facts = map[string]string{agent.FactPrincipal: p.Facts[agent.FactPrincipal], agent.FactAppID: localcloud.DefaultTenantID}
			},
		} {
			since := len(w.cloud.Requests())
			if _, err := w.apply(api.ApplyRequest{Plan: changed(rest, change)}); err == nil || w.writes(since) > 0 {
				t.Errorf("%s: %d writes: %v", name, w.writes(since), err)
			}
		}
		// It names a principal that the approver cannot have seen elsewhere, so it is always shown.
		var seen api.PlanAnswer
		if _, err := w.apply(api.ApplyRequest{Plan: changed(rest, func(*agent.Plan) {}), Approve: func(a api.PlanAnswer) (bool, error) { seen = a; return true, nil }}); err != nil {
			t.Fatal(err)
		}
		if !seen.Rest || seen.Consent() == api.NoConsent {
			t.Errorf("the approver was not asked about a rest: %+v", seen.Consent())
		}
	})
}

func TestAnOldRestGrantsNothingThatTheSpecHasDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rest := w.half()
		w.spec.Agents[bot].KeyVault, w.spec.Agents[bot].SessionPool = "", ""
		w.provision()
		if _, err := w.apply(api.ApplyRequest{Plan: changed(rest, func(*agent.Plan) {})}); !fault.Is(err, fault.Refused) {
			t.Errorf("got %v", err)
		}
		w.inOrder(0)
	})
}

// A pin is a promise to somebody: it holds for what an earlier process left open, too.
func TestAPinHoldsOnResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stopAt("key", errors.New("power cut"))
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		since := len(w.cloud.Requests())
		if _, err := w.apply(api.ApplyRequest{Digest: "000000000000"}); !fault.Is(err, fault.Conflict) || w.writes(since) > 0 {
			t.Errorf("%d writes: %v", w.writes(since), err)
		}
		if _, err := w.apply(api.ApplyRequest{Digest: w.plan().Open.Digest}); err != nil {
			t.Error(err)
		}
		w.inOrder(0)
	})
}

// What the world has lost since a run stopped is for a new plan: the old one would wait for it for ever.
func TestARunThatIsOutdatedGivesWayToANewPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stopAt("verify", errors.New("power cut"))
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		a := w.record().Assignments[0]
		w.call(http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil, nil)
		asked := 0
		if _, err := w.apply(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { asked++; return true, nil }}); err != nil || asked != 1 {
			t.Errorf("asked %d times: %v (%s)", asked, err, fault.Hint(err))
		}
		w.inOrder(0)
	})
}

// An open run belongs to the cloud on which it was begun: its ids mean nothing on another.
func TestAnOpenRunOfAnotherLocalCloudIsNotContinued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stopAt("key", errors.New("power cut"))
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		before, err := w.keys.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		other := newWorld(t)
		other.dir, other.keys, other.hooks = w.dir, w.keys, w.hooks
		if _, err := other.apply(api.ApplyRequest{}); !fault.Is(err, fault.Refused) || other.writes(0) > 0 {
			t.Errorf("%d writes: %v", other.writes(0), err)
		}
		if names, err := w.keys.List(t.Context()); err != nil || len(names) != len(before) {
			t.Errorf("it made keys: %v (%v)", names, err)
		}
	})
}

// dying dies after the application was made and before anything of it is written down.
type dying struct{ control.State }

func (dying) Update(context.Context, string, func(*agent.Record) error) error {
	return errors.New("power cut")
}

// That somebody may not look says nothing about what an earlier process has done: once a revoke by such a person ended the run, exit 0,
// and orphaned the application.
func TestARevokeByWhoMayNotLookLeavesTheRunOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hooks.State = func(s control.State) control.State { return dying{s} }
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.hooks = app.Hooks{Keys: w.hooks.Keys}
		w.operator = "local:rbacadmin"
		if _, err := w.revoke(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) || !strings.Contains(fault.Hint(err), "Application") {
			t.Errorf("got %v (%s)", err, fault.Hint(err))
		}
		w.operator = "local:admin"
		if _, err := w.revoke(api.ApplyRequest{}); err != nil && !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
		n, err := w.view.Named(t.Context(), bot)
		if err != nil || len(n.Apps) > 0 {
			t.Errorf("%d applications are left (%v)", len(n.Apps), err)
		}
	})
}

func TestEveryRefusalIsInTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if _, err := w.apply(api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: "nobody-knows"}}); err == nil {
			t.Fatal("an agent that is not in the spec was applied")
		}
		last := w.ledger(1)
		if len(last) != 1 || last[0].Allowed || last[0].Subject != "nobody-knows" {
			t.Errorf("the ledger ends with %+v", last)
		}
	})
}

func TestAHalfSaysThatNothingWasReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r, err := w.apply(api.ApplyRequest{Only: agent.Graph})
		if err != nil || r.Proof.ReadBack {
			t.Errorf("proof %+v: %v", r.Proof, err)
		}
		if r := w.provision(); !r.Proof.ReadBack {
			t.Errorf("proof %+v", r.Proof)
		}
	})
}

// What another's rest assigns is not ours: once a revoke of an agent of the same name took it away.
func TestARestOfAnotherMachineIsNotRecordedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rest := w.half()
		there := w.dir
		w.dir = t.TempDir()
		if _, err := w.apply(api.ApplyRequest{Plan: changed(rest, func(*agent.Plan) {})}); err != nil {
			t.Fatal(err)
		}
		if rec := w.record(); len(rec.Assignments) > 0 {
			t.Errorf("recorded here: %+v", rec.Assignments)
		}
		w.dir = there
		w.provision()
		w.inOrder(0)
	})
}

func TestTheDateOfARestIsPartOfWhatIsApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rest := w.half()
		younger := changed(rest, func(p *agent.Plan) { p.Made = p.Made.Add(time.Minute) })
		if _, err := w.apply(api.ApplyRequest{Plan: younger, Digest: rest.Digest()}); !fault.Is(err, fault.Conflict) {
			t.Errorf("got %v", err)
		}
	})
}

// Whoever stops an identity must not first have to complete it: a repair that waits for rights in Azure held up a revoke by somebody who
// has those in Graph alone, and the agent went on logging in.
func TestARevokeDisablesFirstWhateverIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		rec := w.record()
		a := rec.Assignments[0]
		w.call(http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil, nil)
		w.hooks.State = func(s control.State) control.State { return dying{s} }
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.hooks = app.Hooks{Keys: w.hooks.Keys}
		w.operator = "local:appadmin"
		if _, err := w.revoke(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("somebody without rights in Azure cannot finish: %v", err)
		}
		n, err := w.view.Named(t.Context(), bot)
		if err != nil || len(n.Principals) != 1 || n.Principals[0].Enabled {
			t.Errorf("the service principal is still enabled: %+v (%v)", n.Principals, err)
		}
		w.operator = "local:admin"
		if _, err := w.revoke(api.ApplyRequest{}); err != nil {
			t.Fatal(err)
		}
		bad, err := w.view.Revoked(t.Context(), bot, rec.PrincipalID, false)
		if err != nil || len(bad) > 0 {
			t.Error(bad, err)
		}
	})
}

func TestAPinOfARevokeIsNotThatOfAnOpenApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		w.spec.Agents[bot].ContentSafety = ""
		w.stopAt("verify", errors.New("power cut"))
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		p, err := w.door().Plan(t.Context(), api.PlanRequest{Verb: agent.Revoke})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := w.revoke(api.ApplyRequest{Digest: p.Digest}); err != nil || !r.Revoked {
			t.Errorf("got %v (%s)", err, fault.Hint(err))
		}
	})
}
