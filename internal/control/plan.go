package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// Plan looks and decides, and changes nothing. Where the plan must not go on, the answer holds its blockers and comes with an error.
func (d *Door) Plan(ctx context.Context, r api.PlanRequest) (api.PlanAnswer, error) {
	a, err := d.named(r.Agent)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	if err := d.enter(ctx, "plan", a.Name, string(r.Verb), nil); err != nil {
		return api.PlanAnswer{}, err
	}
	who, err := d.Caller(ctx)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	open, err := d.c.Journal.Open(ctx, a.Name)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	plan, _, err := d.decide(ctx, a, r, "")
	if err == nil {
		err = blocked(plan.Blockers) // an answer without steps would pass for "nothing to do"
	}
	return api.PlanAnswer{Plan: plan, Digest: plan.Digest(), Open: open, As: who}, err
}

// decide observes the world and makes the plan; it also gives what it saw. only is the half that is to be done, "" for both.
func (d *Door) decide(ctx context.Context, a *agent.Agent, r api.PlanRequest, only agent.Plane) (agent.Plan, agent.Observed, error) {
	rec, err := d.record(ctx, a.Name)
	if err != nil {
		return agent.Plan{}, agent.Observed{}, err
	}
	opt := agent.Options{Roles: d.c.Roles, Tenant: d.c.Where.TenantID, Instance: d.c.Where.Instance, CreateBeside: r.CreateBeside, RemoveForeign: r.RemoveForeign}
	if r.Verb == agent.Revoke {
		seen, err := d.c.Observer.Identity(ctx, d.c.Spec, a, rec)
		if err != nil {
			return agent.Plan{}, agent.Observed{}, err
		}
		return agent.Withdraw(d.c.Spec, a.Name, seen, agent.RevokeOptions{Options: opt, Purge: r.Purge, All: r.AllAssigned}), seen, nil
	}
	look := d.c.Observer.Agent
	if only == agent.Graph {
		look = d.c.Observer.GraphHalf
	}
	seen, err := look(ctx, d.c.Spec, a, rec)
	if err != nil {
		return agent.Plan{}, agent.Observed{}, err
	}
	return agent.Diff(d.c.Spec, a.Name, seen, opt), seen, nil
}

// blocked is the error of a plan that must not go on.
func blocked(blockers []finding.Finding) error {
	if len(blockers) == 0 {
		return nil
	}
	var all []error
	for _, b := range blockers {
		all = append(all, errors.New(b.Detail))
	}
	return &fault.Error{Code: fault.Refused, Op: "nothing was changed", Err: errors.Join(all...), Hint: blockers[0].Remedy}
}

// sameSpec tells whether a run was approved for the spec as it is now.
func (d *Door) sameSpec(run agent.Run, a *agent.Agent) bool {
	now := d.c.Spec
	now.Agents = map[string]*agent.Agent{a.Name: a}
	x, err1 := json.Marshal(run.Plan.Spec)
	y, err2 := json.Marshal(now)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Status tells of one agent, or of all for "": what is recorded, and whether the world still agrees.
func (d *Door) Status(ctx context.Context, name string) ([]api.AgentStatus, error) {
	if err := d.enter(ctx, "status", name, "", nil); err != nil {
		return nil, err
	}
	all, err := d.c.State.Agents(ctx)
	if err != nil {
		return nil, err
	}
	var out []api.AgentStatus
	for _, rec := range all {
		if (name != "" && rec.Agent != name) || rec.Agent == provisioner.Name {
			continue
		}
		if open, err := d.c.Journal.Open(ctx, rec.Agent); rec.Blank() && open == nil && err == nil {
			continue // it was revoked
		}
		st, err := d.status(ctx, rec)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	if name != "" && len(out) == 0 {
		if _, err := d.named(name); err != nil {
			return nil, fault.New(fault.Usage, "no agent "+name+" here", "leastkey status lists them")
		}
		return nil, fault.New(fault.NotFound, "agent "+name+" is not provisioned yet", "leastkey plan "+name)
	}
	return out, nil
}

func (d *Door) status(ctx context.Context, rec agent.Record) (api.AgentStatus, error) {
	st := api.AgentStatus{Record: rec}
	open, err := d.c.Journal.Open(ctx, rec.Agent)
	if err != nil {
		return st, err
	}
	st.Open = open
	if g := rec.Active(); g != nil {
		st.Expires = g.NotAfter
	}
	if !rec.Provisioned() {
		return st, nil
	}
	a, err := d.named(rec.Agent)
	if err != nil {
		st.Findings = append(st.Findings, unknown("drift", "is the identity as the spec says?", err))
		return st, nil
	}
	if _, err := d.Caller(ctx); err != nil {
		st.Findings = append(st.Findings, unknown("drift", "is the identity as the spec says?", err))
		return st, nil
	}
	seen, err := d.c.Observer.Agent(ctx, d.c.Spec, a, rec)
	if err != nil {
		st.Findings = append(st.Findings, unknown("drift", "is the identity as the spec says?", err))
		return st, nil
	}
	if g := rec.Active(); g != nil {
		st.Key = seen.Keys[g.ID]
	}
	st.Findings = append(st.Findings, works(st, seen.Now)...)
	plan := agent.Diff(d.c.Spec, a.Name, seen, agent.Options{Roles: d.c.Roles, Tenant: d.c.Where.TenantID, Instance: d.c.Where.Instance})
	st.Findings = append(st.Findings, plan.Findings...)
	st.Findings = append(st.Findings, plan.Blockers...)
	if !plan.Empty() {
		st.Findings = append(st.Findings, finding.Finding{ID: "drift", Question: "is the identity as the spec says?", Outcome: finding.Warn,
			Detail: fmt.Sprintf("%d steps are pending", len(plan.Steps)), Remedy: "leastkey plan " + a.Name})
	}
	return st, nil
}

// works is a failure where the agent cannot log in any more: that is more than drift.
func works(st api.AgentStatus, now time.Time) []finding.Finding {
	f := finding.Finding{ID: "key", Question: "can the agent log in?", Outcome: finding.Fail, Remedy: "leastkey apply " + st.Record.Agent}
	switch g := st.Record.Active(); {
	case g == nil:
		return nil // a plan says so
	case st.Key == agent.KeyAbsent:
		f.Detail = "its key " + g.Ref.String() + " is no longer in the keystore"
	case st.Key == agent.KeyMismatched:
		f.Detail = "key " + g.Ref.String() + " is not its certificate's"
	case !now.Before(g.NotAfter):
		f.Detail = "its certificate expired on " + g.NotAfter.Format(time.DateOnly)
	default:
		return nil
	}
	return []finding.Finding{f}
}

func unknown(id, question string, err error) finding.Finding {
	return finding.Finding{ID: id, Question: question, Outcome: finding.Unknown, Detail: err.Error(), Remedy: fault.Hint(err)}
}
