package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		err = unmatched(plan)
	}
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
	if r.Verb == agent.Rotate {
		return d.rotation(ctx, a, rec, r, opt)
	}
	if r.Verb == agent.FixRoles {
		return d.repair(ctx, a, rec, opt)
	}
	look := d.c.Observer.Agent
	if only == agent.Graph {
		look = d.c.Observer.GraphHalf
	}
	seen, err := look(ctx, d.c.Spec, a, rec)
	if err == nil {
		err = d.envOwner(ctx, &seen)
	}
	if err != nil {
		return agent.Plan{}, agent.Observed{}, err
	}
	return agent.Diff(d.c.Spec, a.Name, seen, opt), seen, nil
}

// envOwner adds to an observation whose the environment file is.
func (d *Door) envOwner(ctx context.Context, seen *agent.Observed) error {
	if seen.EnvPath == "" {
		return nil
	}
	all, err := d.c.State.Agents(ctx)
	seen.EnvOwner = agent.EnvOwner(seen.Record.Agent, seen.EnvPath, seen.Env, all)
	return err
}

// rotation decides about a rotation, whose overlap is the spec's unless the request says otherwise. Without an operator it rests on the
// record and the keystore alone.
func (d *Door) rotation(ctx context.Context, a *agent.Agent, rec agent.Record, r api.PlanRequest, opt agent.Options) (agent.Plan, agent.Observed, error) {
	rotate := agent.RotateOptions{Options: opt, Overlap: a.Certificate.Overlap, Alone: d.alone()}
	if r.Overlap != nil {
		rotate.Overlap = *r.Overlap
	}
	var seen agent.Observed
	var err error
	if rotate.Alone || a.Keyless() {
		seen, err = d.c.Observer.OwnKeys(ctx, rec)
	} else {
		seen, err = d.c.Observer.Credentials(ctx, d.c.Spec, a, rec)
	}
	if err != nil {
		return agent.Plan{}, seen, err
	}
	return agent.Renew(d.c.Spec, a.Name, seen, rotate), seen, nil
}

// alone tells whether there is no operator: then only an identity's own key may act.
func (d *Door) alone() bool { return d.c.Where.Operator == api.NoOperator }

// unmatched refuses a plan that would not remove all that somebody wants removed: a mistyped id would look like one that has gone.
func unmatched(p agent.Plan) error {
	if len(p.Unmatched) == 0 || len(p.Blockers) > 0 {
		return nil
	}
	return fault.New(fault.Refused, "nothing was changed: --remove-foreign names no foreign credential of "+p.Agent+": "+strings.Join(p.Unmatched, ", "),
		"leastkey plan "+p.Agent+" lists those that there are, with their ids")
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
	now := time.Now()
	spec, specErr := d.named(rec.Agent)
	keyed := specErr != nil || !spec.Keyless() // what is left of a key of before has a finding of its own
	if g := rec.Active(); g != nil && keyed {
		st.Expires = g.NotAfter
		if f, soon := agent.Expiry(g.NotBefore, g.NotAfter, now, "leastkey rotate "+rec.Agent); soon {
			st.Findings = append(st.Findings, f)
		}
	}
	if !rec.Provisioned() {
		return st, nil
	}
	for _, g := range rec.Generations {
		if g.Overlapping(now) {
			st.Findings = append(st.Findings, finding.Finding{ID: "overlap", Question: "is only one certificate of ours registered?", Outcome: finding.Warn,
				Detail: "certificate " + g.SHA256 + " was rotated out and stays until " + g.RetireAt.UTC().Format(time.DateTime) + " UTC", Remedy: "the first leastkey apply after that removes it"})
		}
	}
	a, err := d.named(rec.Agent)
	if g := rec.Active(); err == nil && g != nil && keyed {
		st.Renewal = a.Certificate.RenewalDue(*g)
	}
	if err != nil {
		st.Findings = append(st.Findings, unknown("drift", "is the identity as the spec says?", err))
		return st, nil
	}
	if _, err := d.Caller(ctx); err != nil {
		st.Findings = append(st.Findings, unknown("drift", "is the identity as the spec says?", err))
		return st, nil
	}
	seen, err := d.c.Observer.Agent(ctx, d.c.Spec, a, rec)
	if err == nil {
		err = d.envOwner(ctx, &seen)
	}
	if err != nil {
		st.Findings = append(st.Findings, unknown("drift", "is the identity as the spec says?", err))
		return st, nil
	}
	if g := rec.Active(); g != nil {
		st.Key = seen.Keys[g.ID]
	}
	if keyed {
		st.Findings = append(st.Findings, works(st)...)
	}
	plan := agent.Diff(d.c.Spec, a.Name, seen, agent.Options{Roles: d.c.Roles, Tenant: d.c.Where.TenantID, Instance: d.c.Where.Instance})
	for _, f := range append(plan.Findings, plan.Blockers...) {
		if f.ID == agent.FindExpiry && has(st.Findings, f.ID) {
			continue // it says no more
		}
		st.Findings = append(st.Findings, f)
	}
	if !plan.Empty() {
		st.Findings = append(st.Findings, finding.Finding{ID: "drift", Question: "is the identity as the spec says?", Outcome: finding.Warn,
			Detail: fmt.Sprintf("%d steps are pending", len(plan.Steps)), Remedy: "leastkey plan " + a.Name})
	}
	return st, nil
}

func has(all []finding.Finding, id string) bool {
	return slices.ContainsFunc(all, func(f finding.Finding) bool { return f.ID == id })
}

// works is a failure where the agent cannot log in any more: that is more than drift. Of an expired certificate [agent.Expiry] tells.
func works(st api.AgentStatus) []finding.Finding {
	f := finding.Finding{ID: "key", Question: "can the agent log in?", Outcome: finding.Fail, Remedy: "leastkey apply " + st.Record.Agent}
	switch g := st.Record.Active(); {
	case g == nil:
		return nil // a plan says so
	case st.Key == agent.KeyAbsent:
		f.Detail = "its key " + g.Ref.String() + " is no longer in the keystore"
	case st.Key == agent.KeyMismatched:
		f.Detail = "key " + g.Ref.String() + " is not its certificate's"
	default:
		return nil
	}
	return []finding.Finding{f}
}

func unknown(id, question string, err error) finding.Finding {
	return finding.Finding{ID: id, Question: question, Outcome: finding.Unknown, Detail: err.Error(), Remedy: fault.Hint(err)}
}
