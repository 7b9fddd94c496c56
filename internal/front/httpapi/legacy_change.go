package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// legacyStep is a step of the original: status is ok or failed, of a revoke also skip, of fix-roles also skipped.
type legacyStep struct {
	Step   string `json:"step"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// legacyProvisioned is the answer of provision where it worked. The original's has a password, which no identity of ours ever has.
type legacyProvisioned struct {
	OK            bool         `json:"ok"`
	AppID         string       `json:"app_id"`
	Tenant        string       `json:"tenant"`
	ResourceGroup string       `json:"resource_group"`
	Steps         []legacyStep `json:"steps"`
}

// legacyResult is the answer of a change that failed, and of revoke.
type legacyResult struct {
	OK    bool         `json:"ok"`
	Error string       `json:"error,omitempty"`
	Hint  string       `json:"hint,omitempty"`
	Steps []legacyStep `json:"steps"`
}

// provisioned is the result of the job: what apply was to do and did, and the rotation after it.
type provisioned struct {
	Plan   agent.Plan  `json:"plan"`
	Apply  api.Report  `json:"apply"`
	Rotate *api.Report `json:"rotate,omitempty"`
}

const provisionVerb = "provision"

func (l *legacy) provision(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(d Door, name string) error {
		var asked struct {
			ResourceGroup string `json:"resource_group"`
		}
		if err := object(r, &asked); err != nil {
			return err
		}
		if name == "" {
			return noAgent()
		}
		spec, err := d.Spec()
		if err != nil {
			return err
		}
		if asked.ResourceGroup != "" && !strings.EqualFold(asked.ResourceGroup, spec.ResourceGroup) {
			return fault.New(fault.Conflict, "resource group "+asked.ResourceGroup+" is not that of leastkey.yaml, "+spec.ResourceGroup, "change resource_group there: PATCH "+v1+"/spec, or the setup page")
		}
		job, err := l.run(r.Context(), assignment{agent: name, verb: provisionVerb, do: func(ctx context.Context, d Door, _ func(), events func(api.Event)) (any, error) {
			return provision(ctx, d, name, events)
		}})
		if gone(r.Context(), err) {
			return nil
		}
		if err != nil {
			answer(w, legacyStatus(fault.CodeOf(err)), legacyResult{Error: err.Error(), Hint: fault.Hint(err), Steps: []legacyStep{}})
			return nil
		}
		l.provisionedAs(w, job, d.Target().TenantID, spec)
		return nil
	})
}

// provision makes the identity as the spec says, and, where a certificate of ours was there already, replaces it: "creates (or rotates)". What
// is done is what was planned a moment before: each change is pinned.
func provision(ctx context.Context, d Door, name string, events func(api.Event)) (provisioned, error) {
	var out provisioned
	before, err := recordOf(ctx, d, name)
	if err != nil {
		return out, err
	}
	if err := out.apply(ctx, d, name, events); err != nil {
		return out, err
	}
	if before.Active() == nil || before.Kind == agent.ManagedIdentity || slices.ContainsFunc(out.Apply.Steps, newCertificate) {
		return out, nil
	}
	out.Rotate = &api.Report{Agent: name}
	ans, err := d.Plan(ctx, api.PlanRequest{Agent: name, Verb: agent.Rotate})
	if err != nil {
		return out, err
	}
	*out.Rotate, err = d.Rotate(ctx, api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: name, Verb: agent.Rotate}, Digest: ans.Digest}, events)
	return out, err
}

// patience is how often an apply is planned anew: what had stopped midway is continued first, and somebody may work beside us.
const patience = 3

func (p *provisioned) apply(ctx context.Context, d Door, name string, events func(api.Event)) error {
	var steps []api.StepReport
	for attempt := 1; ; attempt++ {
		ans, err := d.Plan(ctx, api.PlanRequest{Agent: name, Verb: agent.Apply})
		p.Plan = ans.Plan
		if err != nil {
			return err
		}
		digest, midway := ans.Digest, ans.Open != nil && ans.Open.Verb == agent.Apply
		if midway {
			p.Plan, digest = ans.Open.Plan, ans.Open.Digest
		}
		p.Apply, err = d.Apply(ctx, api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: name, Verb: agent.Apply}, Digest: digest}, events)
		steps = append(steps, p.Apply.Steps...)
		p.Apply.Steps = steps
		switch {
		case err == nil && !midway:
			return nil
		case err != nil && !fault.Is(err, fault.Conflict), attempt == patience:
			return err
		}
	}
}

func newCertificate(s api.StepReport) bool { return s.Step == "certificate" && s.Status == api.Done }

// provisionedAs renders the job as the original's answer.
func (l *legacy) provisionedAs(w http.ResponseWriter, job api.Job, tenant string, spec agent.Spec) {
	var got provisioned
	if len(job.Result) > 0 && json.Unmarshal(job.Result, &got) != nil {
		answer(w, http.StatusInternalServerError, legacyResult{Error: "the result of job " + job.ID + " does not read", Steps: []legacyStep{}})
		return
	}
	steps := provisionSteps(got, job.Problem)
	if p := job.Problem; p != nil {
		answer(w, legacyStatus(fault.Code(p.Code)), legacyResult{Error: provisionError(got, spec.ResourceGroup, *p), Hint: p.Hint, Steps: steps})
		return
	}
	last := got.Apply
	if got.Rotate != nil {
		last = *got.Rotate
	}
	if wrong := outOfOrder(last.Findings); wrong != "" {
		answer(w, http.StatusConflict, legacyResult{Error: "the identity is there, and not in order: " + wrong, Hint: "leastkey plan " + last.Agent, Steps: steps})
		return
	}
	answer(w, http.StatusOK, legacyProvisioned{OK: true, AppID: got.Apply.ApplicationID, Tenant: tenant, ResourceGroup: spec.ResourceGroup, Steps: steps})
}

// outOfOrder is what the findings say that is no success, "" if nothing.
func outOfOrder(all []finding.Finding) string {
	if api.FindingsExit(all) == api.ExitDone {
		return ""
	}
	var said []string
	for _, f := range all {
		if api.FindingsExit([]finding.Finding{f}) != api.ExitDone {
			said = append(said, f.Detail)
		}
	}
	return strings.Join(said, "; ")
}

// provisionError begins with the original's words for what failed, which its front end shows.
func provisionError(got provisioned, group string, p api.Problem) string {
	step := failedStep(got.Apply)
	switch {
	case p.Code == string(fault.Unauthenticated):
		return "Not logged in to Azure: " + p.Detail
	case blocked(got.Plan, "resource-group"):
		return "Resource group '" + group + "' does not exist"
	case got.Rotate != nil, step == "key", step == "certificate", step == "login":
		return "Credential rotation failed: " + p.Detail
	case step == "application":
		return "App registration failed: " + p.Detail
	case step == "principal":
		return "Service principal creation failed: " + p.Detail
	case strings.HasPrefix(step, "role"):
		return "Role assignment failed: " + p.Detail
	}
	return p.Detail
}

func blocked(p agent.Plan, by string) bool {
	return slices.ContainsFunc(p.Blockers, func(f finding.Finding) bool { return f.ID == by })
}

// failedStep is the id of the step that failed, "" if none did.
func failedStep(r api.Report) string {
	if i := slices.IndexFunc(r.Steps, func(s api.StepReport) bool { return s.Status == api.Failed }); i >= 0 {
		return r.Steps[i].Step
	}
	return ""
}
