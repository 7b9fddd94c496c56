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
	"github.com/leastkey/leastkey/internal/domain/role"
)

// revoke ends the agent's identity, of either kind. The body is ignored, as in the original. ok is true only where every step worked.
func (l *legacy) revoke(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(d Door, name string) error {
		nothing := legacyResult{OK: true, Steps: []legacyStep{{"revoke", stepSkip, "No runtime SP configured"}}}
		there, err := somethingToRevoke(r.Context(), d, name)
		if err != nil {
			return err
		}
		if !there {
			answer(w, http.StatusOK, nothing)
			return nil
		}
		job, err := l.run(r.Context(), assignment{agent: name, verb: string(agent.Revoke), do: func(ctx context.Context, d Door, _ func(), events func(api.Event)) (any, error) {
			rep, err := revoke(ctx, d, name, events)
			return rep, err
		}})
		if gone(r.Context(), err) {
			return nil
		}
		if err != nil {
			answer(w, legacyStatus(fault.CodeOf(err)), legacyResult{Error: err.Error(), Hint: fault.Hint(err), Steps: []legacyStep{}})
			return nil
		}
		var rep api.Report
		if len(job.Result) > 0 && json.Unmarshal(job.Result, &rep) != nil {
			answer(w, http.StatusInternalServerError, legacyResult{Error: "the result of job " + job.ID + " does not read", Steps: []legacyStep{}})
			return nil
		}
		out := legacyResult{OK: job.Problem == nil, Steps: revokeSteps(rep)}
		if p := job.Problem; p != nil {
			out.Error, out.Hint = p.Detail, p.Hint
			if p.Code == string(fault.Unauthenticated) {
				out.Error = "Not logged in to Azure: " + p.Detail
			}
			answer(w, legacyStatus(fault.Code(p.Code)), out)
			return nil
		}
		answer(w, http.StatusOK, out)
		return nil
	})
}

// somethingToRevoke tells whether an identity is recorded, or a revoke has stopped midway.
func somethingToRevoke(ctx context.Context, d Door, name string) (bool, error) {
	if name == "" {
		return false, nil
	}
	rec, err := recordOf(ctx, d, name)
	if err != nil || !rec.Blank() {
		return err == nil, err
	}
	all, err := d.Status(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && len(all) == 1 && all[0].Open != nil, err
}

// revoke plans and carries out exactly that; what had stopped midway goes on under the approval that it has.
func revoke(ctx context.Context, d Door, name string, events func(api.Event)) (api.Report, error) {
	req := api.PlanRequest{Agent: name, Verb: agent.Revoke}
	ans, err := d.Plan(ctx, req)
	if err != nil {
		return api.Report{}, err
	}
	digest := ans.Digest
	if ans.Open != nil && ans.Open.Verb == agent.Revoke {
		digest = ans.Open.Digest
	}
	return d.Revoke(ctx, api.ApplyRequest{PlanRequest: req, Digest: digest}, events)
}

// revokeSteps tells the steps under the original's names, where it has them.
func revokeSteps(r api.Report) []legacyStep {
	out := []legacyStep{}
	for _, s := range r.Steps {
		if !ended(s) {
			continue
		}
		switch id, _, _ := strings.Cut(s.Step, ":"); id {
		case "delete":
			out = append(out, stepAs("delete_app", r.ApplicationID, s))
		case "environment":
			out = append(out, stepAs("clear_env", "", s))
		default:
			out = append(out, stepAs(spelled(s.Step), s.Detail, s))
		}
	}
	return out
}

// legacyFixed is the answer of fix-roles.
type legacyFixed struct {
	Status  string       `json:"status"`
	Message string       `json:"message,omitempty"`
	Hint    string       `json:"hint,omitempty"`
	Steps   []legacyStep `json:"steps"`
}

// fixRoles assigns every role that is missing, not only those of content safety and sandbox.
func (l *legacy) fixRoles(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(d Door, name string) error {
		rec, err := recordOf(r.Context(), d, name)
		if err != nil {
			return err
		}
		if !rec.Provisioned() {
			answer(w, http.StatusBadRequest, legacyError{Status: "error", Message: "Cannot determine runtime principal", Hint: "provision the identity first"})
			return nil
		}
		before, err := d.Roles(r.Context(), name)
		if fault.Is(err, fault.Unauthenticated) {
			answer(w, http.StatusBadRequest, legacyError{Status: "error", Message: "Azure CLI not available", Detail: err.Error(), Hint: fault.Hint(err)})
			return nil
		}
		if err != nil {
			return err
		}
		rep, problem, err := l.fixed(r.Context(), name, before)
		if gone(r.Context(), err) {
			return nil
		}
		if err != nil {
			return err
		}
		out := legacyFixed{Status: "ok", Steps: fixSteps(before, rep, problem)}
		if problem != nil {
			out.Status, out.Message, out.Hint = "error", problem.Detail, problem.Hint
			answer(w, legacyStatus(fault.Code(problem.Code)), out)
			return nil
		}
		answer(w, http.StatusOK, out)
		return nil
	})
}

// fixed carries the repair out as it was just looked at; nothing, where nothing is to be done.
func (l *legacy) fixed(ctx context.Context, name string, before api.RolesAnswer) (rep api.Report, problem *api.Problem, err error) {
	if err := unknownRoles(before); err != nil {
		p := problemOf(err)
		return rep, &p, nil
	}
	if len(before.Pending) == 0 {
		return rep, nil, nil
	}
	job, err := l.run(ctx, assignment{agent: name, verb: string(agent.FixRoles), pin: before.Digest, do: func(ctx context.Context, d Door, _ func(), events func(api.Event)) (any, error) {
		rep, err := d.FixRoles(ctx, api.FixRequest{Agent: name, Digest: before.Digest}, events)
		return rep, err
	}})
	if err != nil {
		return rep, nil, err
	}
	if len(job.Result) > 0 && json.Unmarshal(job.Result, &rep) != nil {
		return rep, nil, fault.Newf(fault.Unknown, "the result of job %s does not read", job.ID)
	}
	return rep, job.Problem, nil
}

// fixSteps is a row for each role, and for each of the original's two features that is not configured.
func fixSteps(before api.RolesAnswer, rep api.Report, problem *api.Problem) []legacyStep {
	out := []legacyStep{}
	for feature, step := range map[string]string{features()[0]: "content_safety_rbac", sandbox: "session_pool_rbac"} {
		if !slices.ContainsFunc(before.Required, func(r api.RequiredRole) bool { return r.Feature == feature }) {
			out = append(out, legacyStep{step, stepSkips, feature + " is not configured"})
		}
	}
	slices.SortFunc(out, func(a, b legacyStep) int { return strings.Compare(a.Step, b.Step) })
	for _, r := range inTheirOrder(before.Required) {
		out = append(out, fixStep(r, before.PrincipalID, rep, problem))
	}
	for _, s := range rep.Steps {
		if ended(s) && !strings.HasPrefix(s.Step, "role:") {
			out = append(out, stepAs(spelled(s.Step), s.Detail, s))
		}
	}
	return out
}

func fixStep(r api.RequiredRole, principal string, rep api.Report, problem *api.Problem) legacyStep {
	s := legacyStep{Step: "assign_" + spelled(r.Role)}
	switch r.Presence {
	case api.Assigned:
		s.Status, s.Detail = stepOK, "Already assigned"
		return s
	case api.PresenceUnknown:
		s.Status, s.Detail = stepFailed, "Assignment failed: nobody knows whether it is there: "+r.Detail
		return s
	}
	// The step says it, and not the record: what somebody else removed is still recorded as assigned.
	s.Status, s.Detail = stepFailed, "Assignment failed"
	if i := slices.IndexFunc(rep.Steps, func(t api.StepReport) bool { return t.Title == "assign "+r.Role+" on "+role.Short(r.Scope) }); i >= 0 {
		switch t := rep.Steps[i]; {
		case t.Status == api.Done, t.Status == api.Already:
			s.Status, s.Detail = stepOK, r.Role+" assigned to "+principal
			return s
		case t.Detail != "":
			s.Detail += ": " + t.Detail
			return s
		}
	}
	if problem != nil {
		s.Detail += ": " + problem.Detail
	}
	return s
}
