package httpapi

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// about is who the caller is, and what this is.
func (v *version1) about() {
	route(v.api, api.View, operation(http.MethodGet, "/whoami", "whoami", "about", "Who the caller is, and where the server works", "The target is known before anything is asked of the cloud."),
		func(ctx context.Context, _ *struct{}) (*body[api.WhoAmI], error) {
			who, _ := WhoOf(ctx)
			return ask(ctx, v.Server, func(d Door) (api.WhoAmI, error) {
				return api.WhoAmI{Name: who.Name, Level: who.Level, Session: who.Session, Target: d.Target()}, nil
			})
		})
	route(v.api, api.View, operation(http.MethodGet, "/operator", "get-operator", "about", "The operator whose session acts", "Asks for the tokens that changes would use. 503 with code unauthenticated means that nobody is logged in on the server."),
		func(ctx context.Context, _ *struct{}) (*body[api.Caller], error) {
			return ask(ctx, v.Server, func(d Door) (api.Caller, error) { return d.Caller(ctx) })
		})
	route(v.api, api.View, operation(http.MethodGet, "/version", "version", "about", "Which leastkey this is", ""),
		func(context.Context, *struct{}) (*body[api.Version], error) {
			return &body[api.Version]{v.c.House.Version()}, nil
		})
}

// agents is looking at agents.
func (v *version1) agents() {
	route(v.api, api.View, operation(http.MethodGet, "/agents", "list-agents", "agents", "List the agents", "Those of leastkey.yaml and of the record; nothing is asked of the cloud."),
		func(ctx context.Context, _ *struct{}) (*body[[]api.AgentSummary], error) {
			return ask(ctx, v.Server, func(d Door) ([]api.AgentSummary, error) { return summaries(ctx, d) })
		})
	route(v.api, api.View, operation(http.MethodGet, "/status", "list-status", "agents", "How the recorded agents stand", "Looks at the cloud for each."),
		func(ctx context.Context, _ *struct{}) (*body[[]api.AgentStatus], error) {
			return ask(ctx, v.Server, func(d Door) ([]api.AgentStatus, error) { all, err := d.Status(ctx, ""); return list(all), err })
		})
	route(v.api, api.View, operation(http.MethodGet, "/records", "list-records", "agents", "What memory keeps of the agents", "Ids, references of keys, and public certificates; nothing is asked of the cloud."),
		func(ctx context.Context, _ *struct{}) (*body[[]agent.Record], error) {
			return kept(ctx, v.Server, func(d Door) ([]agent.Record, error) { all, err := d.State(ctx); return list(all), err })
		})
	route(v.api, api.View, operation(http.MethodGet, "/agents/{agent}", "get-agent", "agents", "Show an agent", "As leastkey.yaml and the record have it."),
		func(ctx context.Context, in *AgentPath) (*body[api.AgentSummary], error) {
			return ask(ctx, v.Server, func(d Door) (api.AgentSummary, error) { return summary(ctx, d, in.Agent) })
		})
	route(v.api, api.View, operation(http.MethodGet, "/agents/{agent}/status", "get-status", "agents", "How an agent stands", "Looks at the cloud: is the identity as the spec says?"),
		func(ctx context.Context, in *AgentPath) (*body[api.AgentStatus], error) {
			return ask(ctx, v.Server, func(d Door) (api.AgentStatus, error) {
				all, err := d.Status(ctx, in.Agent)
				if err != nil {
					return api.AgentStatus{}, unlisted(err)
				}
				if len(all) != 1 {
					return api.AgentStatus{}, fault.New(fault.NotFound, "agent "+in.Agent+" is not provisioned yet", "")
				}
				return all[0], nil
			})
		})
	route(v.api, api.View, operation(http.MethodGet, "/agents/{agent}/identity", "get-identity", "agents", "Look an agent's identity up", "As recorded and as the directory shows it. A lookup that failed is in `unread`, and then `found` says nothing."),
		func(ctx context.Context, in *AgentPath) (*body[api.IdentityAnswer], error) {
			return ask(ctx, v.Server, func(d Door) (api.IdentityAnswer, error) { a, err := d.Identity(ctx, in.Agent); return a, unlisted(err) })
		})
	route(v.api, api.View, operation(http.MethodGet, "/agents/{agent}/roles", "get-roles", "agents", "What an identity holds beside what it needs",
		"`pending` is what fix-roles would do, and `plan_digest` pins it. A scope that could not be read is in `unread`: a role there is unknown, never missing."),
		func(ctx context.Context, in *AgentPath) (*body[api.RolesAnswer], error) {
			return ask(ctx, v.Server, func(d Door) (api.RolesAnswer, error) { a, err := d.Roles(ctx, in.Agent); return a, unlisted(err) })
		})
}

// unlisted is the error of a path that names an agent who is not there: what is a wrong word on a command line is a missing resource here. The
// code stays.
func unlisted(err error) error {
	if !fault.Is(err, fault.Usage) {
		return err
	}
	p := problemOf(err)
	p.Status, p.Title = http.StatusNotFound, http.StatusText(http.StatusNotFound)
	return &fullerError{p, p, err}
}

// summaries lists agents of the spec and of the record. A spec that does not read hides no agent that is recorded.
func summaries(ctx context.Context, d Door) ([]api.AgentSummary, error) {
	all := map[string]api.AgentSummary{}
	spec, err := d.Spec()
	if err != nil && !fault.Is(err, fault.NotFound, fault.Invalid) {
		return nil, err
	}
	for name, a := range spec.Agents {
		all[name] = api.AgentSummary{Agent: name, Kind: a.Kind, Specified: true}
	}
	records, err := d.State(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		s := all[r.Agent]
		s.Agent, s.Configured, s.AppID, s.PrincipalID, s.ResourceID = r.Agent, r.Provisioned(), r.AppID, r.PrincipalID, r.ResourceID
		if r.Kind != "" {
			s.Kind = r.Kind
		}
		if g := r.Active(); g != nil {
			s.Expires = g.NotAfter
		}
		all[r.Agent] = s
	}
	out := []api.AgentSummary{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out, nil
}

func summary(ctx context.Context, d Door, name string) (api.AgentSummary, error) {
	all, err := summaries(ctx, d)
	if err != nil {
		return api.AgentSummary{}, err
	}
	for _, s := range all {
		if s.Agent == name {
			return s, nil
		}
	}
	return api.AgentSummary{}, unlisted(fault.New(fault.Usage, "no agent "+name+" here", v1+"/agents lists them"))
}
