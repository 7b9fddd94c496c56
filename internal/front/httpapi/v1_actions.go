package httpapi

import (
	"context"
	"net/http"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

type actionInput struct {
	AgentPath
	Body api.ActionOrder
}

// actions are changes without a plan that is kept. They need a digest, which a plan or a list of roles has shown; the local cloud, on which
// nothing is lost, takes a word instead.
func (v *version1) actions() {
	const how = "Pinned by `digest`, or, on the local cloud alone, approved unseen by `approve`. "
	for _, a := range []struct {
		verb             agent.Verb
		id, summary, how string
	}{
		{agent.Rotate, "rotate", "Replace an agent's key and certificate", "The new one is proved before the old one goes. A managed identity has nothing to rotate."},
		{agent.Revoke, "revoke", "End an agent's identity", "Needs the agent's name in `confirm`."},
		{agent.FixRoles, "fix-roles", "Assign an agent's missing roles", "The digest is the plan_digest of /agents/{agent}/roles, too. Assigns what is missing and removes assignments of ours that the spec does not ask for any more; nothing else is touched."},
		{agent.Migrate, "migrate", "Give an agent that runs on a client secret its certificate beside it", "The secret is read from the agent's env_file; nothing is removed."},
	} {
		route(v.api, api.Full, accepted(operation(http.MethodPost, "/agents/{agent}/"+a.id, a.id+"-agent", "actions", a.summary, how+a.how)),
			func(ctx context.Context, in *actionInput) (*jobAnswer, error) {
				return answerJob(v.act(ctx, a.verb, in.Agent, in.Body))
			})
	}
}

func (v *version1) act(ctx context.Context, verb agent.Verb, name string, o api.ActionOrder) (api.Job, error) {
	if err := confirmed(verb, name, o.Confirm); err != nil {
		return api.Job{}, err
	}
	d, err := overlap(o.Overlap)
	if err != nil {
		return api.Job{}, err
	}
	if err := v.allowed(ctx, name, o.Digest, o.Approve); err != nil {
		return api.Job{}, err
	}
	req := api.ApplyRequest{Digest: o.Digest, PlanRequest: api.PlanRequest{Agent: name, Verb: verb, Overlap: d, Purge: o.Purge, AllAssigned: o.AllAssigned, RemoveForeign: o.RemoveForeign}}
	return v.desk.begin(ctx, assignment{agent: name, verb: string(verb), pin: o.Digest,
		do: func(ctx context.Context, d Door, approved func(), events func(api.Event)) (any, error) {
			req.Approve = consent(approved)
			rep, err := carryOut(ctx, d, req, events)
			return rep, err
		}})
}

// preflightVerb is the verb of a job that is no plan's.
const preflightVerb = "preflight"

// allowed refuses a change of an agent that is not there, and one that nobody has seen.
func (v *version1) allowed(ctx context.Context, name, digest string, approve bool) error {
	_, err := ask(ctx, v.Server, func(d Door) (struct{}, error) {
		if _, err := summary(ctx, d, name); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, pinned(d.Target(), digest, approve)
	})
	return err
}
