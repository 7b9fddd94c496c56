package control

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// adoptIdentity records an existing managed identity as the agent's, once a person has seen who may log in as it and what it may do. It has
// to be the one that the spec would make: the resource id in the request is their word that they mean it, and no second place to say which.
func (c *change) adoptIdentity(ctx context.Context, r api.AdoptRequest) error {
	name, wanted := c.agent.Name, c.c.Spec.IdentityID(c.agent)
	refuse := func(err error) error { return c.enter(ctx, "adopt", name, r.ResourceID, err) }
	switch {
	case c.agent.Kind != agent.ManagedIdentity:
		return fault.New(fault.Usage, "agent "+name+" is of kind "+string(c.agent.Kind)+", not managed-identity", "leastkey adopt --app-id ID "+name)
	case !strings.EqualFold(strings.TrimRight(r.ResourceID, "/"), wanted):
		return refuse(fault.New(fault.Refused, "the spec's identity of "+name+" is "+wanted+", not "+r.ResourceID, "the identity is the agent's name with -mi behind it, in resource_group: correct one of the three"))
	}
	rec, err := c.record(ctx, name)
	if err != nil {
		return err
	}
	if open, err := c.c.Journal.Open(ctx, name); err != nil || open != nil {
		if err == nil {
			err = fault.New(fault.Stopped, "a run of "+name+" stopped midway", "finish it first: "+open.Command())
		}
		return err
	}
	who, err := c.Caller(ctx)
	if err != nil {
		return refuse(err)
	}
	found, err := job.Retry(ctx, "managed identity "+wanted, func(ctx context.Context) (agent.UserAssignedIdentity, error) {
		return observe.Identity(ctx, c.c.Provision.ARM, wanted)
	})
	if fault.Is(err, fault.NotFound) {
		err = fault.New(fault.NotFound, "there is no managed identity "+wanted, "leastkey apply "+name+" makes one")
	}
	switch {
	case err != nil || !rec.Provisioned():
	case rec.Managed() && strings.EqualFold(rec.PrincipalID, found.PrincipalID):
		err = fault.New(fault.Conflict, "managed identity "+found.ID+" is recorded as "+name+"'s already", "leastkey status "+name)
	case !rec.Managed() || !strings.EqualFold(rec.ResourceID, found.ID): // else somebody made it anew
		err = fault.New(fault.Conflict, "agent "+name+" has client id "+rec.AppID+" already", "revoke it first: leastkey revoke "+name)
	}
	if err == nil {
		err = c.taken(ctx, found.ClientID)
	}
	if err != nil {
		return refuse(err)
	}
	held, _, err := observe.Assignments(ctx, c.c.Provision.ARM, c.c.Roles, c.c.Spec, c.agent, found.PrincipalID)
	if err != nil {
		return refuse(err)
	}
	yes := false
	if r.ApproveIdentity != nil {
		if yes, err = r.ApproveIdentity(found, held); err != nil {
			return refuse(err)
		}
	}
	if !yes {
		return refuse(fault.New(fault.Refused, "not approved: nothing was changed", ""))
	}
	if err := refuse(nil); err != nil {
		return err
	}
	c.report.Changed, c.adopted = true, heldBy(found.PrincipalID, held)
	return c.c.State.Update(ctx, name, func(rec *agent.Record) error {
		rec.Kind, rec.Instance, rec.Subscription = c.agent.Kind, c.c.Where.Instance, c.c.Spec.Subscription
		rec.AdoptIdentity(found, held, who.ObjectID)
		return nil
	})
}
