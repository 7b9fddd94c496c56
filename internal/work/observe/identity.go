package observe

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Identity reads a managed identity with its federated credentials. fault.NotFound: ARM answered that there is none.
func Identity(ctx context.Context, arm ARM, id string) (agent.UserAssignedIdentity, error) {
	i, err := arm.Identity(ctx, id)
	if err != nil {
		return agent.UserAssignedIdentity{}, err
	}
	if i == nil {
		return agent.UserAssignedIdentity{}, fault.Newf(fault.NotFound, "there is no managed identity %s", id)
	}
	found := *i
	if found.Federated, err = arm.IdentityFederated(ctx, id); err != nil {
		return found, job.Spreading(err) // one replica knows the identity and another does not
	}
	return found, nil
}

// managed reads a managed identity: the recorded one, whose absence must last, or the one that the spec would make, which must not be taken
// for ours if it is there. With it go its service principal and what that holds; where somebody made it anew, what both principals hold.
func (o *Observer) managed(ctx context.Context, g *Group, s agent.Spec, a *agent.Agent, rec agent.Record, seen *agent.Observed) {
	if seen.AzureUnread {
		return // it lives there
	}
	id, settle := rec.ResourceID, o.Settle
	if id == "" {
		id, settle = s.IdentityID(a), 0
	}
	var held [2]Held
	var inner Group
	if rec.Managed() { // beside the identity itself
		inner.Do(func() (err error) {
			seen.Principal, err = Present(ctx, o.Settle, "service principal of "+id, func(ctx context.Context) (agent.Principal, error) {
				return o.Graph.Principal(ctx, rec.AppID)
			})
			return err
		})
		inner.Do(func() (err error) {
			held[0], err = HeldBy(ctx, o.ARM, o.Roles, s, a, rec, rec.PrincipalID)
			return err
		})
	}
	inner.Do(func() error {
		found, err := Present(ctx, settle, "managed identity "+id, func(ctx context.Context) (agent.UserAssignedIdentity, error) {
			return Identity(ctx, o.ARM, id)
		})
		seen.Identity = found
		if err == nil && found != nil && !strings.EqualFold(found.PrincipalID, rec.PrincipalID) {
			held[1], err = HeldBy(ctx, o.ARM, o.Roles, s, a, rec, found.PrincipalID)
		}
		return err
	})
	g.Do(func() error {
		err := inner.Wait()
		both := held[0].and(held[1])
		seen.Assignments, seen.Readable, seen.Unread = both.Assignments, both.Readable, both.Unread
		return err
	})
}
