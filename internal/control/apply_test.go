package control_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestApplyThenNothingToDoProvesALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.provision()
		if !r.Changed || r.Proof.Logins < 3 || r.Proof.PasswordCredentials+r.Proof.ForeignCredentials > 0 || len(r.Roles) != 5 || r.Key.Zero() || r.ApplicationID == "" || r.LedgerHead == "" {
			t.Errorf("report %+v", r)
		}
		w.inOrder(0)
		since := len(w.cloud.Requests())
		again := w.provision()
		if again.Changed || len(again.Steps) > 0 || again.Proof.Logins < 1 || w.writes(since) > 0 {
			t.Errorf("%d writes, report %+v", w.writes(since), again)
		}
		// A key that no longer works is not "nothing to do".
		w.call(http.MethodPatch, "/v1.0/applications/"+w.record().ApplicationID, map[string]any{"keyCredentials": []any{}}, nil)
		if p := w.plan(); p.Plan.Empty() {
			t.Error("the certificate is gone, and the plan is empty")
		}
	})
}

func TestNothingToDoWithAKeyThatDoesNotLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		// The login service's clock is a day ahead of ours: everything reads well, and no assertion is accepted.
		k := w.cloud.Knobs()
		k.ClockOffset = 24 * time.Hour
		if err := w.cloud.SetKnobs(k); err != nil {
			t.Fatal(err)
		}
		if r, err := w.apply(api.ApplyRequest{}); err == nil {
			t.Errorf("it is well without a login: %+v", r.Proof)
		}
	})
}

func TestLedgerFailureStopsEverything(t *testing.T) {
	broken := errors.New("disk full")
	for name, do := range map[string]func(*world) error{
		"apply":  func(w *world) error { _, err := w.apply(api.ApplyRequest{}); return err },
		"revoke": func(w *world) error { _, err := w.revoke(api.ApplyRequest{}); return err },
		"plan":   func(w *world) error { _, err := w.door().Plan(w.Context(), api.PlanRequest{}); return err },
		"token":  func(w *world) error { _, err := w.door().Token(w.Context(), api.TokenRequest{}); return err },
		"adopt": func(w *world) error {
			_, err := w.door().Adopt(w.Context(), api.AdoptRequest{AppID: w.record().AppID, Approve: func(agent.Application) (bool, error) { return true, nil }}, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provision()
				before := w.record()
				w.spec.Agents[bot].Certificate.Days = 30 // so that there is something to do
				w.call(http.MethodPatch, "/v1.0/applications/"+before.ApplicationID, map[string]any{"keyCredentials": []any{}}, nil)
				w.hooks.Ledger = func(l control.Ledger) control.Ledger { return brokenLedger{l, broken} }
				since := len(w.cloud.Requests())
				if err := do(w); !errors.Is(err, broken) {
					t.Errorf("got %v", err)
				}
				if n := w.writes(since); n > 0 {
					t.Errorf("%d requests that change something", n)
				}
			})
		})
	}
}

type brokenLedger struct {
	control.Ledger
	err error
}

func (b brokenLedger) Append(context.Context, api.LedgerEntry) (api.LedgerEntry, error) {
	return api.LedgerEntry{}, b.err
}

func TestWhatIsNotApprovedIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		since := len(w.cloud.Requests())
		asked := 0
		_, err := w.apply(api.ApplyRequest{Approve: func(p api.PlanAnswer) (bool, error) {
			asked++
			if p.Digest != p.Plan.Digest() || p.As.Name == "" || len(p.Plan.Steps) == 0 {
				t.Errorf("shown %+v", p)
			}
			return false, nil
		}})
		if !fault.Is(err, fault.Refused) || asked != 1 || w.writes(since) > 0 || w.record().Provisioned() {
			t.Errorf("asked %d times, %d writes: %v", asked, w.writes(since), err)
		}
		if last := w.ledger(1)[0]; last.Allowed || last.Action != "apply" {
			t.Errorf("the ledger has %+v", last)
		}
	})
}

func TestPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.plan()
		for name, r := range map[string]api.ApplyRequest{
			"another digest":                     {Digest: strings.Repeat("0", 64)},
			"too few digits":                     {Digest: p.Digest[:11]},
			"a plan file with another step":      {Plan: changed(p.Plan, func(p *agent.Plan) { p.Steps[0].Title = "something else" })},
			"a plan file with one step less":     {Plan: changed(p.Plan, func(p *agent.Plan) { p.Steps = p.Steps[1:] })},
			"a plan file that removes a role":    {Plan: changed(p.Plan, func(p *agent.Plan) { p.Steps[0].Action = agent.RemoveRole })},
			"a plan file with a fact of its own": {Plan: changed(p.Plan, func(p *agent.Plan) { p.Facts = map[string]string{"principal": appID} })},
			"a plan file of another spec":        {Plan: changed(p.Plan, func(p *agent.Plan) { p.Spec.Agents[bot].Certificate.Days = 7 })},
		} {
			since := len(w.cloud.Requests())
			if _, err := w.apply(r); !fault.Is(err, fault.Conflict) || w.writes(since) > 0 {
				t.Errorf("%s: %d writes: %v", name, w.writes(since), err)
			}
		}
		if _, err := w.apply(api.ApplyRequest{Plan: changed(p.Plan, func(*agent.Plan) {}), Digest: p.Digest[:12]}); err != nil {
			t.Fatal(err)
		}
		w.inOrder(0)
		if _, err := w.apply(api.ApplyRequest{Plan: changed(p.Plan, func(*agent.Plan) {})}); !fault.Is(err, fault.Conflict) {
			t.Errorf("the plan was done long ago: %v", err)
		}
	})
}

// changed is a copy of the plan as a file would give it.
func changed(p agent.Plan, change func(*agent.Plan)) *agent.Plan {
	spec := *p.Spec
	a := *spec.Agents[bot]
	spec.Agents = map[string]*agent.Agent{bot: &a}
	p.Spec = &spec
	p.Steps = append([]agent.Step(nil), p.Steps...)
	for i := range p.Steps {
		with := map[string]string{}
		for k, v := range p.Steps[i].With {
			with[k] = v
		}
		if len(with) > 0 {
			p.Steps[i].With = with
		}
	}
	change(&p)
	return &p
}

func TestTwoHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.operator = "local:appadmin"
		r, err := w.apply(api.ApplyRequest{Only: agent.Graph})
		if err != nil || r.Rest == nil || len(r.Rest.Steps) != 5 || r.Rest.Facts[agent.FactPrincipal] != w.record().PrincipalID {
			t.Fatalf("rest %+v: %v", r.Rest, err)
		}
		rest := *r.Rest
		w.operator = "local:admin"
		tampered := map[string]func(*agent.Plan){
			"Owner at the subscription": func(p *agent.Plan) {
				p.Steps[0].With["role_id"], p.Steps[0].With["scope"] = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "/subscriptions/"+p.Subscription
			},
			"a planned role at the subscription": func(p *agent.Plan) { p.Steps[0].With["scope"] = "/subscriptions/" + p.Subscription },
			"Owner under the name of Reader": func(p *agent.Plan) {
				p.Steps[1].With["role"], p.Steps[1].With["role_id"] = "Reader", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
			},
			"a principal of somebody's own": func(p *agent.Plan) { p.Facts = map[string]string{agent.FactPrincipal: appID, agent.FactAppID: appID} },
			"a principal beside the fact":   func(p *agent.Plan) { p.Steps[0].With["principal"] = appID },
			"the removal of another's assignment": func(p *agent.Plan) {
				p.Steps[0].Action, p.Steps[0].With = agent.RemoveRole, map[string]string{"scope": w.spec.Group(), "name": appID}
			},
			"an action of Graph, called one of ARM": func(p *agent.Plan) { p.Steps[0].Action = agent.DeleteApplication },
			"steps that wait for each other": func(p *agent.Plan) {
				p.Steps[0].After, p.Steps[1].After = []string{p.Steps[1].ID}, []string{p.Steps[0].ID}
			},
			"a spec that asks for an elevated role": func(p *agent.Plan) {
				p.Spec.Agents[bot].Roles = agent.Roles{List: []agent.RoleAt{{Role: "Owner", Scope: p.Spec.Group()}}}
			},
			"a step beside those of its half (login)": func(p *agent.Plan) {
				p.Steps = append(p.Steps, agent.Step{ID: "x", Action: agent.Login, Plane: agent.Identity})
			},
		}
		for name, change := range tampered {
			since := len(w.cloud.Requests())
			if _, err := w.apply(api.ApplyRequest{Plan: changed(rest, change)}); err == nil || w.writes(since) > 0 {
				t.Errorf("%s: %d writes: %v", name, w.writes(since), err)
			}
		}
		if _, err := w.apply(api.ApplyRequest{Plan: changed(rest, func(*agent.Plan) {})}); err != nil {
			t.Fatal(err)
		}
		w.provision()
		w.inOrder(0)
	})
}

func TestOnlyTheOtherHalfFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if _, err := w.apply(api.ApplyRequest{Only: agent.ARM}); !fault.Is(err, fault.Refused) {
			t.Errorf("got %v", err)
		}
		if names, err := w.keys.List(t.Context()); err != nil || len(names) > 0 {
			t.Errorf("a key was made where roles are assigned: %v %v", names, err)
		}
	})
}

func TestAnOpenRevokeBlocksApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		w.stopAt("delete", errors.New("power cut"))
		if _, err := w.revoke(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		since := len(w.cloud.Requests())
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) || !strings.Contains(fault.Hint(err), "leastkey revoke") || w.writes(since) > 0 {
			t.Errorf("%d writes: %v (%s)", w.writes(since), err, fault.Hint(err))
		}
		if r, err := w.revoke(api.ApplyRequest{}); err != nil || !r.Revoked || r.TokensUntil.Before(time.Now()) {
			t.Errorf("report %+v: %v", r, err)
		}
		if _, err := w.revoke(api.ApplyRequest{}); !fault.Is(err, fault.NotFound) {
			t.Errorf("there is nothing left to revoke: %v", err)
		}
		w.provision()
	})
}

func TestAnInterruptedApplyIsContinuedUnderItsApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stopAt("certificate", errors.New("power cut"))
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		open := w.plan().Open
		if open == nil || open.Status != agent.RunOpen {
			t.Fatalf("the plan does not tell of the open run: %+v", open)
		}
		asked := 0
		r, err := w.apply(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { asked++; return true, nil }})
		if err != nil || asked > 0 || r.Digest == "" {
			t.Errorf("asked %d times: %v", asked, err)
		}
		w.inOrder(0)
	})
}

// Another spec does not go on with the approval of the first: what was begun is brought to rest, and the new plan is asked for.
func TestAnInterruptedApplyOfAnotherSpecIsSettled(t *testing.T) {
	for _, stop := range []string{"application", "principal", "key", "certificate", "login", "verify"} {
		t.Run(stop, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.stopAt(stop, errors.New("power cut"))
				if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
					t.Fatalf("got %v", err)
				}
				w.goOn()
				w.spec.Agents[bot].ContentSafety = ""
				asked := 0
				if _, err := w.apply(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { asked++; return true, nil }}); err != nil || asked != 1 {
					t.Fatalf("asked %d times: %v (%s)", asked, err, fault.Hint(err))
				}
				w.inOrder(0)
				if names, err := w.keys.List(t.Context()); err != nil || len(names) != 1 {
					t.Errorf("keys %v %v", names, err)
				}
				w.provision()
			})
		})
	}
}

// A run that stopped at a login which can never work again must not block a revoke for ever.
func TestARevokeIsNotBlockedByALoginThatCannotWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stopAt("login", errors.New("power cut"))
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
			t.Fatalf("got %v", err)
		}
		w.goOn()
		w.call(http.MethodDelete, "/v1.0/applications/"+w.record().ApplicationID, nil, nil)
		if r, err := w.revoke(api.ApplyRequest{PlanRequest: api.PlanRequest{Purge: true}}); err != nil || !r.Revoked {
			t.Errorf("report %+v: %v", r, err)
		}
		if names, err := w.keys.List(t.Context()); err != nil || len(names) > 0 {
			t.Errorf("keys %v %v", names, err)
		}
	})
}

func TestRevokeTakesPasswordsOfTheServicePrincipalAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		sp := w.record().PrincipalID
		w.call(http.MethodPost, "/v1.0/servicePrincipals/"+sp+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "back door"}}, nil)
		if r, err := w.revoke(api.ApplyRequest{}); err != nil || !r.Revoked {
			t.Fatal(err)
		}
		var bin struct {
			Value []struct {
				ID        string `json:"id"`
				Passwords []any  `json:"passwordCredentials"`
			} `json:"value"`
		}
		w.call(http.MethodGet, "/v1.0/directory/deletedItems/microsoft.graph.servicePrincipal", nil, &bin)
		if len(bin.Value) != 1 || bin.Value[0].ID != sp || len(bin.Value[0].Passwords) > 0 {
			t.Errorf("in the recycle bin lies %+v", bin.Value)
		}
	})
}
