package web

import (
	"context"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

type provisionerPage struct {
	Report  answer[api.ProvisionerReport]
	Running []api.Job
}

func (p provisionerPage) reload() bool { return len(p.Running) > 0 }

// Known tells whether there is a Provisioner to speak of.
func (p provisionerPage) Known() bool { return p.Report.V.ApplicationID != "" }

// None tells whether the answer is that there is none, which is not a failure.
func (p provisionerPage) None() bool {
	return p.Report.Problem == nil && !p.Known() || p.Report.Problem != nil && p.Report.Problem.Code == string(fault.NotFound)
}

func (v *visit) provisioner() {
	page := provisionerPage{Report: ask(v.door.ProvisionerStatus(v.ctx(), api.ProvisionerRequest{})), Running: v.running(provisioner.Name)}
	status := statusOf(page.Report.Problem)
	if page.None() {
		status = 200
	}
	v.show(status, "provisioner", "provisioner", "Provisioner", page)
}

// provisionerVerb is the verb of the address, one of those that need nothing but a plan.
func (v *visit) provisionerVerb() (agent.Verb, error) {
	verb := agent.Verb(v.r.PathValue("verb"))
	if !slices.Contains([]agent.Verb{provisioner.Bootstrap, provisioner.Migrate, agent.Rotate}, verb) {
		return verb, fault.New(fault.NotFound, "there is no plan to "+string(verb)+" the Provisioner here", "leastkey provisioner --help has the others")
	}
	return verb, nil
}

func (v *visit) provisionerPlan() {
	verb, err := v.provisionerVerb()
	if err != nil {
		v.fail(err)
		return
	}
	report, err := v.door.Provisioner(v.ctx(), api.ProvisionerRequest{Verb: verb, DryRun: true}, nil)
	page := planPage{Agent: provisioner.Name, Verb: verb, Action: "/provisioner/plan/" + string(verb), Back: "/provisioner"}
	a := api.PlanAnswer{Digest: report.Digest}
	if report.Plan != nil {
		a.Plan = *report.Plan
	} else if err == nil {
		err = fault.New(fault.Unknown, "no plan came back", "leastkey provisioner "+string(verb)+" --dry-run shows it")
	}
	a.Plan.Findings = report.Findings
	page.Answer, page.Consent = ask(a, err), a.Consent()
	if removesPassword(a.Plan) {
		page.Extra = []check{{"holders", "Every other holder of the secret stops working now. There is none, or they know."}}
	}
	v.show(statusOf(page.Answer.Problem), "plan", "provisioner", "Provisioner: "+string(verb), page)
}

func removesPassword(p agent.Plan) bool {
	return slices.ContainsFunc(p.Steps, func(s agent.Step) bool { return s.Action == agent.RemovePassword })
}

func (v *visit) carryOutProvisioner() {
	verb, err := v.provisionerVerb()
	digest, e := v.pinned()
	if err == nil {
		err = e
	}
	if err != nil {
		v.fail(err)
		return
	}
	holders := v.r.PostForm.Get("holders") == "yes"
	req := api.ProvisionerRequest{Verb: verb, Digest: digest, Approve: consents(v.r.PostForm.Get("confirm"), provisioner.Name, func(p api.PlanAnswer) error {
		if removesPassword(p.Plan) && !holders {
			return fault.New(fault.Refused, "nobody said what becomes of the secret's other holders: nothing was changed", "tick the box below the plan")
		}
		return nil
	})}
	v.start(provisioner.Name, "provisioner-"+string(verb), func(ctx context.Context, door Door, events func(api.Event)) (any, error) {
		return door.Provisioner(ctx, req, events)
	})
}
