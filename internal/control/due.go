package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// What serve does on its own.
const (
	DueRenewal    = "renewal"    // rotation by renew_at, which leastkey.yaml approves
	DueRetirement = "retirement" // removal of a certificate whose overlap has ended, which the rotation's approval included
	DueOpenRun    = "open-run"   // continuation of a run under the approval that its journal records
)

// Due lists the work that is due now, one thing for each agent at the most, and when the next will be: the zero time if nothing is in sight. It
// asks memory alone. Somebody else's run, the Provisioner's among them, is a person's to continue.
func (d *Door) Due(ctx context.Context, now time.Time) (due []api.DueWork, next time.Time, err error) {
	all, err := d.c.State.Agents(ctx)
	if err != nil {
		return nil, next, err
	}
	soon := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, rec := range all {
		if rec.Agent == provisioner.Name || (rec.Provisioned() && rec.Instance != d.c.Where.Instance) {
			continue
		}
		open, err := d.c.Journal.Open(ctx, rec.Agent)
		if err != nil {
			return nil, next, err
		}
		if open != nil {
			if d.continues(*open) {
				due = append(due, api.DueWork{Agent: rec.Agent, What: DueOpenRun, Since: open.Started})
			}
			continue
		}
		a := d.c.Spec.Agents[rec.Agent]
		if d.c.SpecError != nil || a == nil {
			continue // no policy says what to do with it
		}
		what, at := nextOf(rec, a.Certificate)
		switch {
		case what == "":
		case at.After(now):
			soon(at)
		default:
			due = append(due, api.DueWork{Agent: rec.Agent, What: what, Since: at})
		}
	}
	return due, next, nil
}

// nextOf is what the agent needs next, and when. A retirement comes before a renewal of the same time: it is the smaller step.
func nextOf(rec agent.Record, p agent.CertificatePolicy) (what string, at time.Time) {
	for _, g := range rec.Generations {
		if !g.Active && !g.RetireAt.IsZero() && (what == "" || g.RetireAt.Before(at)) {
			what, at = DueRetirement, g.RetireAt
		}
	}
	if g := rec.Active(); g != nil && p.RenewAt > 0 {
		if t := p.RenewalDue(*g); what == "" || t.Before(at) {
			what, at = DueRenewal, t
		}
	}
	return what, at
}

// continues tells whether an open run may be continued without a person: it is of this cloud, and the spec still says what was approved. A
// revoke takes away, whatever the spec says now.
func (d *Door) continues(run agent.Run) bool {
	if run.Plan.Instance != d.c.Where.Instance || !strings.EqualFold(run.Plan.Tenant, d.c.Where.TenantID) || run.Plan.Spec == nil {
		return false
	}
	if run.Verb == agent.Revoke {
		return true
	}
	a := d.c.Spec.Agents[run.Agent]
	return d.c.SpecError == nil && a != nil && d.sameSpec(run, a)
}

// RunDue does one thing that is due. It approves nothing that was not approved before: where the world calls for more, that is fault.Refused, and
// a person has to look. fault.Busy: somebody works on the agent at this moment.
func (d *Door) RunDue(ctx context.Context, w api.DueWork, events func(api.Event)) (api.Report, error) {
	if err := d.free(ctx, w.Agent); err != nil {
		return api.Report{}, err
	}
	// Looked at again: since it was found due, somebody may have done it.
	due, _, err := d.Due(ctx, time.Now())
	if err != nil {
		return api.Report{}, err
	}
	i := slices.IndexFunc(due, func(x api.DueWork) bool { return x.Agent == w.Agent && x.What == w.What })
	if i < 0 {
		return api.Report{}, noLonger(w)
	}
	w = due[i]
	r := api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: w.Agent}}
	switch w.What {
	case DueRenewal:
		r.Approve = d.whileDue(ctx, w, d.onlyThis(func(p agent.Plan) bool { return p.Verb == agent.Rotate }))
		return d.Rotate(ctx, r, events)
	case DueRetirement:
		if d.alone() { // only a rotation goes without an operator
			return api.Report{}, fault.New(fault.Refused, "a certificate of "+w.Agent+" is to be removed, and there is no operator", "leastkey apply "+w.Agent)
		}
		r.Approve = d.whileDue(ctx, w, d.onlyThis(d.retires(ctx, w.Agent)))
		return d.Apply(ctx, r, events)
	case DueOpenRun:
		return d.goOn(ctx, w.Agent, r, events)
	}
	return api.Report{}, fault.Newf(fault.Invalid, "nobody knows how to do %q", w.What)
}

func noLonger(w api.DueWork) error {
	return fault.New(fault.Conflict, w.What+" of "+w.Agent+" is not due any more", "")
}

// whileDue approves what is still due now, under the lock: another server may have done it between our look and our turn. What has been due
// since the same moment is of the same certificate.
func (d *Door) whileDue(ctx context.Context, w api.DueWork, approve func(api.PlanAnswer) (bool, error)) func(api.PlanAnswer) (bool, error) {
	return func(a api.PlanAnswer) (bool, error) {
		due, _, err := d.Due(ctx, time.Now())
		if err != nil {
			return false, err
		}
		if !slices.ContainsFunc(due, func(x api.DueWork) bool { return x.Agent == w.Agent && x.What == w.What && x.Since.Equal(w.Since) }) {
			return false, noLonger(w)
		}
		return approve(a)
	}
}

// free tells whether nobody works on the agent; it does not wait.
func (d *Door) free(ctx context.Context, name string) error {
	unlock, err := d.c.Lock(ctx, name, nil)
	if err != nil {
		return err
	}
	return unlock()
}

// onlyThis approves a plan of that kind, and refuses every other.
func (d *Door) onlyThis(kind func(agent.Plan) bool) func(api.PlanAnswer) (bool, error) {
	return func(a api.PlanAnswer) (bool, error) {
		if kind(a.Plan) {
			return true, nil
		}
		return false, fault.New(fault.Refused, "the plan does more than was approved, so a person has to look at it: "+api.ShortDigest(a.Digest), "leastkey plan "+a.Plan.Agent)
	}
}

// retires tells whether a plan does nothing but remove certificates of ours whose overlap has ended, with their keys.
func (d *Door) retires(ctx context.Context, name string) func(agent.Plan) bool {
	return func(p agent.Plan) bool {
		rec, err := d.record(ctx, name)
		if err != nil {
			return false
		}
		ended := func(s agent.Step) bool {
			return slices.ContainsFunc(rec.Generations, func(g agent.Generation) bool {
				return !g.Active && !g.RetireAt.IsZero() && !g.Overlapping(time.Now()) && (strings.EqualFold(s.With["sha256"], g.SHA256) || s.With["generation"] == g.ID)
			})
		}
		return !slices.ContainsFunc(p.Steps, func(s agent.Step) bool {
			switch s.Action {
			case agent.RemoveCertificate, agent.DeleteKey, agent.ProveDead:
				return !ended(s)
			case agent.Login, agent.Verify:
				return false
			}
			return true
		})
	}
}

// goOn continues the open run as it was approved. Where it cannot be continued, whatever would take its place needs an approval that nobody
// here can give.
func (d *Door) goOn(ctx context.Context, name string, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	open, err := d.c.Journal.Open(ctx, name)
	if err != nil || open == nil {
		return api.Report{}, err
	}
	plan := open.Plan
	r.Verb, r.Plan = open.Verb, &plan
	r.Approve = d.onlyThis(func(agent.Plan) bool { return false })
	return d.change(ctx, r, events)
}
