package control_test

import (
	"context"
	"errors"
	"testing"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/provision"
)

const (
	tenant = "11111111-0000-0000-0000-000000000001"
	appID  = "44444444-0000-0000-0000-000000000004"
)

// nothing is a world in which every reach outside, and every write of the record, is a nil pointer or a failed test: what is refused at
// the door must be refused before.
type nothing struct {
	control.Journal
	*testing.T
	rec    agent.Record
	ledger []api.LedgerEntry
	broken error // of the ledger
}

func (n *nothing) Agent(context.Context, string) (agent.Record, error)  { return n.rec, nil }
func (n *nothing) Agents(context.Context) ([]agent.Record, error)       { return []agent.Record{n.rec}, nil }
func (n *nothing) Open(context.Context, string) (*agent.Run, error)     { return nil, nil }
func (n *nothing) Head(context.Context) (string, error)                 { return "head", nil }
func (n *nothing) List(context.Context, int) ([]api.LedgerEntry, error) { return n.ledger, nil }
func (n *nothing) Verify(context.Context) (api.LedgerVerdict, error)    { return api.LedgerVerdict{}, nil }
func (n *nothing) Unguarded(context.Context) ([]string, error)          { return nil, nil }
func (n *nothing) Update(context.Context, string, func(*agent.Record) error) error {
	n.Error("the record was changed")
	return nil
}

func (n *nothing) Append(_ context.Context, e api.LedgerEntry) (api.LedgerEntry, error) {
	if n.broken == nil {
		n.ledger = append(n.ledger, e)
	}
	return e, n.broken
}

func (n *nothing) door(who api.Caller, err error) *control.Door {
	s := agent.Spec{Tenant: tenant, Subscription: "22222222-0000-0000-0000-000000000002", Agents: map[string]*agent.Agent{bot: {}}}
	s.Defaults()
	return control.New(control.Config{
		Where: api.Resolved{Cloud: agent.Public, TenantID: tenant}, Spec: s, Roles: role.Builtin(), Actor: "me", State: n, Journal: n, Ledger: n, Provision: provision.New(provision.Config{}),
		Caller: func(context.Context) (api.Caller, error) { return who, err },
		Lock: func(context.Context, string, func(string)) (func() error, error) {
			return func() error { return nil }, nil
		},
		Requests: func() int { return 0 },
	})
}

// verbs is everything that the door lets somebody do.
func verbs(ctx context.Context, d *control.Door) map[string]func() error {
	return map[string]func() error{
		"plan":   func() error { _, err := d.Plan(ctx, api.PlanRequest{}); return err },
		"apply":  func() error { _, err := d.Apply(ctx, api.ApplyRequest{}, nil); return err },
		"revoke": func() error { _, err := d.Revoke(ctx, api.ApplyRequest{}, nil); return err },
		"adopt":  func() error { _, err := d.Adopt(ctx, api.AdoptRequest{AppID: appID}, nil); return err },
	}
}

func TestAnOperatorOfAnotherTenantIsRefusedAtTheDoor(t *testing.T) {
	for _, verb := range []string{"plan", "apply", "revoke", "adopt"} {
		t.Run(verb, func(t *testing.T) {
			n := &nothing{T: t}
			d := n.door(api.Caller{TenantID: "99999999-0000-0000-0000-000000000009", Name: "mallory"}, nil)
			err := verbs(t.Context(), d)[verb]()
			if !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
				t.Errorf("got %v", err)
			}
			if last := len(n.ledger) - 1; last < 0 || n.ledger[last].Action != verb || n.ledger[last].Subject != bot || n.ledger[last].Actor != "me" || (verb != "plan" && n.ledger[last].Allowed) {
				t.Errorf("the ledger has %+v", n.ledger)
			}
		})
	}
}

func TestAnOperatorWhoCannotBeIdentifiedIsRefused(t *testing.T) {
	unknown := fault.Newf(fault.Unauthenticated, "az is not logged in")
	for _, verb := range []string{"plan", "apply", "revoke", "adopt"} {
		n := &nothing{T: t}
		if err := verbs(t.Context(), n.door(api.Caller{TenantID: tenant}, unknown))[verb](); !errors.Is(err, unknown) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// No ledger, no operation: not even a refusal is told as such.
func TestWhatCannotBeWrittenInTheLedgerIsNotDone(t *testing.T) {
	broken := fault.Newf(fault.Corrupt, "disk full")
	for name, who := range map[string]api.Caller{"somebody who may": {TenantID: tenant}, "somebody who may not": {TenantID: "another"}} {
		for _, verb := range []string{"plan", "apply", "revoke", "adopt"} {
			if who.TenantID == tenant && (verb == "apply" || verb == "revoke" || verb == "adopt") {
				continue // these look first; see TestLedgerFailureStopsEverything
			}
			t.Run(name+" "+verb, func(t *testing.T) {
				n := &nothing{T: t, broken: broken}
				if err := verbs(t.Context(), n.door(who, nil))[verb](); !errors.Is(err, broken) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	n := &nothing{T: t, broken: broken, rec: agent.Record{Agent: bot, ApplicationID: "a", AppID: appID, Generations: []agent.Generation{{Active: true, Ref: secret.Ref{Backend: "memory", Name: "x"}}}}}
	if _, err := n.door(api.Caller{}, nil).Token(t.Context(), api.TokenRequest{Agent: bot}); !errors.Is(err, broken) {
		t.Errorf("a token: %v", err)
	}
}

func TestARecordOfAnotherLocalCloudIsRefused(t *testing.T) {
	for _, verb := range []string{"plan", "apply", "revoke", "adopt"} {
		n := &nothing{T: t, rec: agent.Record{Agent: bot, ApplicationID: "a", AppID: appID, Instance: "an earlier cloud"}}
		if err := verbs(t.Context(), n.door(api.Caller{TenantID: tenant}, nil))[verb](); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func TestWhichAgent(t *testing.T) {
	n := &nothing{T: t}
	d := n.door(api.Caller{TenantID: "another"}, nil)
	_, err := d.Plan(t.Context(), api.PlanRequest{Agent: "polyclaw-runtme"})
	if !fault.Is(err, fault.Usage) || fault.Hint(err) != "did you mean "+bot+"?" {
		t.Errorf("got %v (%s)", err, fault.Hint(err))
	}
	if len(n.ledger) > 0 {
		t.Errorf("the ledger has %+v", n.ledger)
	}
}

func TestPlansThatAreNotForHere(t *testing.T) {
	good := func() *agent.Plan {
		s := agent.Spec{Tenant: tenant, Subscription: "22222222-0000-0000-0000-000000000002", Agents: map[string]*agent.Agent{bot: {}}}
		s.Defaults()
		return &agent.Plan{Version: 1, Verb: agent.Apply, Cloud: agent.Public, Tenant: tenant, Agent: bot, Spec: &s}
	}
	for name, c := range map[string]struct {
		change func(*agent.Plan)
		code   fault.Code
	}{
		"another version":                      {func(p *agent.Plan) { p.Version = 2 }, fault.Invalid},
		"no spec":                              {func(p *agent.Plan) { p.Spec = nil }, fault.Invalid},
		"an agent that its spec lacks":         {func(p *agent.Plan) { p.Agent = "x" }, fault.Invalid},
		"another cloud":                        {func(p *agent.Plan) { p.Cloud = agent.USGov }, fault.Refused},
		"another local cloud":                  {func(p *agent.Plan) { p.Instance = "x" }, fault.Refused},
		"another tenant":                       {func(p *agent.Plan) { p.Tenant = "x" }, fault.Refused},
		"a spec with an agent that is nothing": {func(p *agent.Plan) { p.Spec.Agents["x"] = nil }, fault.Refused},
		"a spec that asks for an elevated role": {func(p *agent.Plan) {
			p.Spec.Agents[bot].Roles = agent.Roles{List: []agent.RoleAt{{Role: "Owner", Scope: p.Spec.Group()}}}
		}, fault.Refused},
		"a spec that asks for a subscription": {func(p *agent.Plan) {
			p.Spec.Agents[bot].Roles = agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: "/subscriptions/" + p.Spec.Subscription}}}
		}, fault.Refused},
		"an agent whose name leaves its folders": {func(p *agent.Plan) { p.Spec.Agents["../../x"], p.Agent = p.Spec.Agents[bot], "../../x" }, fault.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			n, p := &nothing{T: t}, good()
			c.change(p)
			if _, err := n.door(api.Caller{TenantID: tenant}, nil).Apply(t.Context(), api.ApplyRequest{Plan: p}, nil); !fault.Is(err, c.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}
