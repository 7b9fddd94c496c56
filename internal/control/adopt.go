package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// Adopt records an existing application as the agent's. It changes nothing in the cloud: the next plan shows what would.
func (d *Door) Adopt(ctx context.Context, r api.AdoptRequest, events func(api.Event)) (api.Report, error) {
	c := &change{Door: d, events: events, began: time.Now(), requests: d.c.Requests()}
	a, err := d.named(r.Agent)
	if err != nil {
		return api.Report{}, err
	}
	c.agent = a
	c.report = api.Report{Agent: a.Name, Kind: a.Kind, Cloud: d.c.Where.Cloud, TenantID: d.c.Where.TenantID}
	unlock, err := d.c.Lock(ctx, a.Name, nil)
	if err != nil {
		return c.report, err
	}
	if r.ResourceID != "" {
		err = c.adoptIdentity(ctx, r)
	} else {
		err = c.adopt(ctx, r)
	}
	if e := unlock(); err == nil {
		err = e
	}
	return c.finish(ctx, err)
}

func (c *change) adopt(ctx context.Context, r api.AdoptRequest) error {
	name := c.agent.Name
	if c.agent.Kind == agent.ManagedIdentity {
		return fault.New(fault.Usage, "agent "+name+" is a managed identity, which has no application", "leastkey adopt --resource-id "+c.c.Spec.IdentityID(c.agent)+" "+name)
	}
	if !agent.IsGUID(r.AppID) {
		return fault.New(fault.Invalid, "an app id is a GUID", "az ad app list --display-name "+name+" --query [].appId shows some")
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
	if rec.Provisioned() && !strings.EqualFold(rec.AppID, r.AppID) {
		return c.enter(ctx, "adopt", name, r.AppID, fault.New(fault.Conflict, fmt.Sprintf("agent %s has application %s already", name, rec.AppID), "revoke it first: leastkey revoke "+name))
	}
	if err := c.taken(ctx, r.AppID); err != nil {
		return c.enter(ctx, "adopt", name, r.AppID, err)
	}
	who, err := c.Caller(ctx)
	if err != nil {
		return c.enter(ctx, "adopt", name, r.AppID, err)
	}
	app, principal, err := c.adoptable(ctx, r.AppID)
	if err != nil {
		return c.enter(ctx, "adopt", name, r.AppID, err)
	}
	yes := false
	if r.Approve != nil {
		if yes, err = r.Approve(app); err != nil {
			return c.enter(ctx, "adopt", name, r.AppID, err)
		}
	}
	if !yes {
		return c.enter(ctx, "adopt", name, r.AppID, fault.New(fault.Refused, "not approved: nothing was changed", ""))
	}
	if err := c.enter(ctx, "adopt", name, r.AppID, nil); err != nil {
		return err
	}
	var held []agent.Assignment
	if principal.ID != "" {
		if held, _, err = observe.Assignments(ctx, c.c.Provision.ARM, c.c.Roles, c.c.Spec, c.agent, principal.ID); err != nil {
			return err
		}
	}
	c.report.Changed, c.adopted = true, heldBy(principal.ID, held)
	return c.c.State.Update(ctx, name, func(rec *agent.Record) error {
		rec.Kind, rec.Instance, rec.Subscription = c.agent.Kind, c.c.Where.Instance, c.c.Spec.Subscription
		rec.Adopt(app, principal.ID, held, who.ObjectID)
		return nil
	})
}

// heldBy tells whether the principal itself was seen to hold the assignment of a name. The record keeps also what we assigned to one that is
// gone, which the adopted one does not hold.
func heldBy(principal string, held []agent.Assignment) func(name string) bool {
	return func(name string) bool {
		return slices.ContainsFunc(held, func(h agent.Assignment) bool {
			return strings.EqualFold(h.Name, name) && strings.EqualFold(h.PrincipalID, principal)
		})
	}
}

// taken refuses an application that is another agent's: two agents on one identity would revoke each other.
func (c *change) taken(ctx context.Context, appID string) error {
	all, err := c.c.State.Agents(ctx)
	if err != nil {
		return err
	}
	for _, rec := range all {
		if rec.Agent != c.agent.Name && strings.EqualFold(rec.AppID, appID) {
			return fault.New(fault.Conflict, "application "+appID+" is agent "+rec.Agent+"'s", "each agent has an application of its own")
		}
	}
	return nil
}

func (c *change) adoptable(ctx context.Context, appID string) (agent.Application, agent.Principal, error) {
	app, err := job.Retry(ctx, "application "+appID, func(ctx context.Context) (agent.Application, error) {
		app, err := c.c.Adopt.ApplicationByAppID(ctx, appID)
		if err == nil {
			app.Owners, err = c.c.Adopt.Owners(ctx, app.ID)
		}
		return app, err
	})
	if fault.Is(err, fault.NotFound) {
		return app, agent.Principal{}, fault.New(fault.NotFound, "no application "+appID+" in tenant "+c.c.Where.TenantID, "az ad app show --id "+appID)
	}
	if err != nil {
		return app, agent.Principal{}, err
	}
	p, err := job.Retry(ctx, "service principal of "+appID, func(ctx context.Context) (agent.Principal, error) { return c.c.Adopt.Principal(ctx, appID) })
	if fault.Is(err, fault.NotFound) {
		return app, agent.Principal{}, nil // the plan makes one
	}
	return app, p, err
}
