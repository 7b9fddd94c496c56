package client

import (
	"context"
	"net/http"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Plan has the server look and decide. Whoever looks leaves nothing there that could be carried out.
func (d *Door) Plan(ctx context.Context, r api.PlanRequest) (api.PlanAnswer, error) {
	kept, err := d.order(ctx, r)
	if ans, ok := planOf(err); ok {
		return ans, err
	}
	if err == nil {
		d.drop(ctx, kept)
	}
	return kept.PlanAnswer, err
}

// dropWithin bounds how long it may take to drop a plan, also for somebody who has interrupted us.
const dropWithin = 5 * time.Second

// drop has the server forget a plan that is not to be carried out. One that somebody has released is theirs. Where it does not work, the plan stays
// unreleased, and is forgotten within the hour.
func (d *Door) drop(ctx context.Context, kept api.KeptPlan) {
	if kept.Release != "" {
		return
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
	defer done()
	_ = d.call(ctx, http.MethodDelete, "/plans/"+kept.Digest, nil, nil)
}

func (d *Door) order(ctx context.Context, r api.PlanRequest) (kept api.KeptPlan, err error) {
	if r.EnvFile != "" {
		return kept, unoffered("reading a file that is named here")
	}
	o := api.PlanOrder{Agent: r.Agent, Verb: r.Verb, CreateBeside: r.CreateBeside, RemoveForeign: r.RemoveForeign, Purge: r.Purge, AllAssigned: r.AllAssigned}
	if o.Verb == "" {
		o.Verb = agent.Apply
	}
	if r.Overlap != nil {
		o.Overlap = r.Overlap.String()
	}
	err = d.call(ctx, http.MethodPost, "/plans", o, &kept)
	return kept, err
}

// Apply makes the identity as the server's spec says.
func (d *Door) Apply(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	return d.change(ctx, agent.Apply, r, events)
}

// Rotate replaces the agent's key.
func (d *Door) Rotate(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	return d.change(ctx, agent.Rotate, r, events)
}

// Revoke takes the identity away.
func (d *Door) Revoke(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	return d.change(ctx, agent.Revoke, r, events)
}

// Migrate prepares the migration of an agent that logs in with a client secret.
func (d *Door) Migrate(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	return d.change(ctx, agent.Migrate, r, events)
}

// FixRoles assigns every role that is missing, and removes those of ours that the spec does not ask for any more.
func (d *Door) FixRoles(ctx context.Context, r api.FixRequest, events func(api.Event)) (api.Report, error) {
	return d.change(ctx, agent.FixRoles, api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: r.Agent}, Digest: r.Digest, Approve: r.Approve}, events)
}

// rounds is how often a change is planned anew: what had stopped midway goes on first, and what is left is planned then.
const rounds = 3

// change plans at the server, shows the plan and has it carried out by the digest of what was shown.
func (d *Door) change(ctx context.Context, verb agent.Verb, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	switch {
	case r.Plan != nil:
		return api.Report{}, unoffered("applying a plan file")
	case r.Only != "":
		return api.Report{}, unoffered("doing half a plan")
	case len(r.Issued) > 0:
		return api.Report{}, unoffered("handing in an authority's certificate")
	}
	r.Verb = verb
	var before *api.Report
	for round := 1; ; round++ {
		kept, err := d.order(ctx, r.PlanRequest)
		if err != nil {
			return d.refused(err), err
		}
		if r.DryRun {
			d.drop(ctx, kept)
			return d.preview(kept), nil
		}
		rep, midway, err := d.carryOut(ctx, kept, r, events)
		rep = together(before, rep)
		again := err == nil && midway && verb == agent.Apply && r.Digest == ""
		again = again || (midway && fault.Is(err, fault.Conflict) && r.Digest == "")
		if !again || round == rounds {
			return rep, err
		}
		before = &rep
	}
}

// carryOut goes on with a run of the same verb that had stopped midway, under the approval that it has, or asks for approval of the plan.
func (d *Door) carryOut(ctx context.Context, kept api.KeptPlan, r api.ApplyRequest, events func(api.Event)) (rep api.Report, midway bool, err error) {
	digest := kept.Digest
	if open := kept.Open; open != nil && open.Verb == r.Verb {
		digest, midway = open.Digest, true
	}
	asked := false
	defer func() {
		if !asked {
			d.drop(ctx, kept)
		}
	}()
	switch {
	case api.Pins(r.Digest, digest):
	case midway:
		return rep, false, fault.New(fault.Conflict, "a run of another plan stopped midway: "+api.ShortDigest(digest), "finish it first: "+kept.Open.Command()+" --digest "+api.ShortDigest(digest))
	default:
		return rep, false, fault.New(fault.Conflict, "the world no longer matches the approved plan: now it would be "+api.ShortDigest(digest), "look at it again: leastkey plan "+kept.Plan.Agent)
	}
	if !midway && !kept.Plan.Empty() {
		ans := kept.PlanAnswer
		ans.Open = nil
		if err := approved(r.Approve, ans); err != nil {
			return rep, false, err
		}
	}
	approval := api.Approval{}
	if r.Verb == agent.Revoke {
		approval.Confirm = kept.Plan.Agent // the person has just approved that plan
	}
	asked = true
	rep, err = run[api.Report](ctx, d, "/plans/"+digest+"/approve", approval, events)
	return rep, midway, err
}

// approved asks the person; nobody to ask approves.
func approved(ask func(api.PlanAnswer) (bool, error), ans api.PlanAnswer) error {
	if ask == nil {
		return nil
	}
	yes, err := ask(ans)
	if err == nil && !yes {
		return fault.New(fault.Refused, "not approved: nothing was changed", "")
	}
	return err
}

// refused is the report of a plan that must not go on.
func (d *Door) refused(err error) api.Report {
	ans, ok := planOf(err)
	if !ok {
		return api.Report{}
	}
	p := ans.Plan
	rep := api.Report{Agent: p.Agent, Cloud: p.Cloud, TenantID: p.Tenant, Roles: []api.Granted{}, Steps: []api.StepReport{}, Findings: append(append([]finding.Finding{}, p.Findings...), p.Blockers...)}
	if p.Spec != nil && p.Spec.Agents[p.Agent] != nil {
		rep.Kind = p.Spec.Agents[p.Agent].Kind
	}
	return rep
}

// preview is the report of a dry run.
func (d *Door) preview(kept api.KeptPlan) api.Report {
	p := kept.Plan
	rep := api.Report{Agent: p.Agent, Cloud: p.Cloud, TenantID: p.Tenant, Roles: []api.Granted{}, Steps: []api.StepReport{}, Findings: p.Findings, Plan: &p, Digest: kept.Digest, Adopts: kept.Adopts}
	if p.Spec != nil && p.Spec.Agents[p.Agent] != nil {
		rep.Kind = p.Spec.Agents[p.Agent].Kind
	}
	return rep
}

// together is the report of two jobs that were one request.
func together(before *api.Report, now api.Report) api.Report {
	if before == nil {
		return now
	}
	if now.Agent == "" { // the second did not begin
		return *before
	}
	now.Steps = append(append([]api.StepReport{}, before.Steps...), now.Steps...)
	now.Changed = now.Changed || before.Changed
	now.Requests += before.Requests
	now.WallMS += before.WallMS
	now.CriticalPath += before.CriticalPath
	return now
}

// ProvisionerStatus is how the Provisioner stands at the server.
func (d *Door) ProvisionerStatus(ctx context.Context, r api.ProvisionerRequest) (rep api.ProvisionerReport, err error) {
	if r.StateFile != "" {
		return rep, unoffered("reading a state file that is named here")
	}
	err = d.get(ctx, "/provisioner", &rep)
	return rep, err
}

// Provisioner plans a change of the Provisioner, shows it, and has it carried out by its digest.
func (d *Door) Provisioner(ctx context.Context, r api.ProvisionerRequest, events func(api.Event)) (rep api.ProvisionerReport, err error) {
	if r.StateFile != "" || r.EnvFile != "" || len(r.Also)+len(r.Edit) > 0 {
		return rep, unoffered("reading or changing files that are named here")
	}
	if len(r.Issued) > 0 {
		return rep, unoffered("handing in an authority's certificate")
	}
	o := api.ProvisionerOrder{Verb: r.Verb, CreateBeside: r.CreateBeside, SoleHolder: r.SoleHolder, OthersAccept: r.OthersAccept, NoBackUp: r.NoBackUp, SHA256: r.SHA256}
	if r.Overlap > 0 {
		o.Overlap = r.Overlap.String()
	}
	if err := d.call(ctx, http.MethodPost, "/provisioner/plans", o, &rep); err != nil || r.DryRun {
		return rep, err
	}
	if !api.Pins(r.Digest, rep.Digest) {
		return rep, fault.New(fault.Conflict, "the world no longer matches the approved plan: now it would be "+api.ShortDigest(rep.Digest), "look at it again: leastkey provisioner "+string(r.Verb)+" --dry-run")
	}
	if rep.Plan != nil && !rep.Plan.Empty() {
		who, err := d.Caller(ctx)
		if err != nil {
			return rep, err
		}
		if err := approved(r.Approve, api.PlanAnswer{Plan: *rep.Plan, Digest: rep.Digest, As: who}); err != nil {
			return rep, err
		}
	}
	o.Digest = rep.Digest
	return run[api.ProvisionerReport](ctx, d, "/provisioner/actions", o, events)
}
