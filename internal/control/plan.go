package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Plan looks and decides, and changes nothing.
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
	plan, err := d.decide(ctx, a, r)
	return api.PlanAnswer{Plan: plan, Digest: plan.Digest(), Open: open, As: who}, err
}

// decide observes the world and makes the plan.
func (d *Door) decide(ctx context.Context, a *agent.Agent, r api.PlanRequest) (agent.Plan, error) {
	rec, err := d.record(ctx, a.Name)
	if err != nil {
		return agent.Plan{}, err
	}
	opt := agent.Options{Roles: d.c.Roles, Tenant: d.c.Where.TenantID, Instance: d.c.Where.Instance, CreateBeside: r.CreateBeside, RemoveForeign: r.RemoveForeign}
	if r.Verb == agent.Revoke {
		seen, err := d.c.Observer.Identity(ctx, d.c.Spec, a, rec)
		if err != nil {
			return agent.Plan{}, err
		}
		return agent.Withdraw(d.c.Spec, a.Name, seen, agent.RevokeOptions{Options: opt, Purge: r.Purge, All: r.AllAssigned}), nil
	}
	seen, err := d.c.Observer.Agent(ctx, d.c.Spec, a, rec)
	if err != nil {
		return agent.Plan{}, err
	}
	return agent.Diff(d.c.Spec, a.Name, seen, opt), nil
}

// blocked is the error of a plan that must not go on.
func blocked(p agent.Plan) error {
	if len(p.Blockers) == 0 {
		return nil
	}
	var all []error
	for _, b := range p.Blockers {
		all = append(all, errors.New(b.Detail))
	}
	return &fault.Error{Code: fault.Refused, Op: "nothing was changed", Err: errors.Join(all...), Hint: p.Blockers[0].Remedy}
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
	all, err := d.c.State.Agents(ctx)
	if err != nil {
		return nil, err
	}
	var out []api.AgentStatus
	for _, rec := range all {
		if name != "" && rec.Agent != name {
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
		return nil, fault.New(fault.NotFound, "agent "+name+" is not recorded here", "leastkey plan "+name)
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
	plan := agent.Diff(d.c.Spec, a.Name, seen, agent.Options{Roles: d.c.Roles, Tenant: d.c.Where.TenantID, Instance: d.c.Where.Instance})
	st.Findings = append(st.Findings, plan.Findings...)
	st.Findings = append(st.Findings, plan.Blockers...)
	if !plan.Empty() {
		st.Findings = append(st.Findings, finding.Finding{ID: "drift", Question: "is the identity as the spec says?", Outcome: finding.Warn,
			Detail: fmt.Sprintf("%d steps are pending", len(plan.Steps)), Remedy: "leastkey plan " + a.Name})
	}
	return st, nil
}

func unknown(id, question string, err error) finding.Finding {
	return finding.Finding{ID: id, Question: question, Outcome: finding.Unknown, Detail: err.Error(), Remedy: fault.Hint(err)}
}
