package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// factHeld is what an adopted service principal holds, as JSON: ids and scopes.
const factHeld = "held"

// adopt records an existing application as the agent's, once it is still the one that the plan showed. It changes nothing in the cloud.
func (p *Provision) adopt() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			app, err := p.Graph.Application(ctx, c.With("application"))
			if err != nil {
				return agent.Result{}, job.Spreading(err)
			}
			principal, held, err := p.held(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			if !strings.EqualFold(app.AppID, c.With("app_id")) || !strings.EqualFold(principal, c.With("principal")) {
				return agent.Result{}, fault.New(fault.Conflict, fmt.Sprintf("application %s is now app id %s with service principal %q, and was approved as %s with %q", app.ID, app.AppID, principal, c.With("app_id"), c.With("principal")),
					"look at it again")
			}
			list, err := json.Marshal(held)
			if err != nil {
				return agent.Result{}, err
			}
			return agent.Result{Detail: fmt.Sprintf("object %s; nothing was changed in the cloud", app.ID), Facts: map[string]string{agent.FactUniqueName: app.UniqueName, factHeld: string(list)},
				Evidence: evidence("GET applications/"+app.ID, "app id "+app.AppID)}, nil
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			var held []agent.Assignment
			if json.Unmarshal([]byte(r.Facts[factHeld]), &held) != nil {
				held = nil // our own, made a moment ago
			}
			plan := c.Run.Plan
			rec.Kind, rec.Instance, rec.Subscription = plan.Spec.Agents[plan.Agent].Kind, plan.Instance, plan.Subscription
			rec.Adopt(agent.Application{ID: c.With("application"), AppID: c.With("app_id"), UniqueName: r.Facts[agent.FactUniqueName]}, c.With("principal"), held, p.Operator)
		},
	}
}

// held is the service principal, "" if there is none, and the roles that it was seen to hold: none where the operator may not look, since
// that is for whoever applies the roles.
func (p *Provision) held(ctx context.Context, c *job.Call) (string, []agent.Assignment, error) {
	sp, err := p.Graph.Principal(ctx, c.With("app_id"))
	switch {
	case fault.Is(err, fault.NotFound) && c.With("principal") == "":
		return "", nil, nil // the plan makes one
	case err != nil:
		return "", nil, job.Spreading(err)
	}
	plan := c.Run.Plan
	held, _, err := observe.Assignments(ctx, p.ARM, p.Roles, *plan.Spec, plan.Spec.Agents[plan.Agent], sp.ID)
	if fault.Is(err, fault.Forbidden, fault.NotFound) {
		return sp.ID, nil, nil
	}
	return sp.ID, held, err
}
