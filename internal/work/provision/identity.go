package provision

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// NonceTag is the tag of a managed identity that holds the nonce under which it was made. ARM knows no create-if-missing: a PUT to an id
// that is there succeeds. So the nonce, written down before the PUT, tells an identity that an earlier try made from one that somebody else
// did. It says so only while the step has no end; afterwards only the recorded principal counts, since anybody may write a tag.
const NonceTag = "leastkey-nonce"

// createIdentity makes a user-assigned managed identity, and never takes over one that is there.
func (p *Provision) createIdentity() job.Handler {
	return job.Handler{
		Intent: func(context.Context, *job.Call) (map[string]string, error) {
			return map[string]string{"nonce": nonce()}, nil
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			id, ours := c.With("resource"), c.Intent["nonce"]
			found, err := p.ARM.Identity(ctx, id)
			switch {
			case err != nil:
				return agent.Result{}, err
			case found != nil && found.Tags[NonceTag] == ours:
				return madeIdentity(*found, "an earlier try made it"), nil
			case found != nil:
				return agent.Result{}, job.WithoutEffect(strangeIdentity(c, id))
			}
			made, created, err := p.ARM.PutIdentity(ctx, id, c.With("location"), map[string]string{NonceTag: ours})
			if err != nil {
				return agent.Result{}, err
			}
			if !created && !c.Resumed {
				// A replica has said that there was none. Nothing but its tags was changed by the PUT; without this step's nonce on record it
				// is nobody's of ours.
				return agent.Result{}, job.WithoutEffect(strangeIdentity(c, id))
			}
			return madeIdentity(*made, "created"), nil
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			rec.Kind, rec.Instance, rec.Subscription = agent.ManagedIdentity, c.Run.Plan.Instance, c.Run.Plan.Subscription
			rec.ResourceID, rec.AppID, rec.PrincipalID = r.Facts[agent.FactResource], r.Facts[agent.FactAppID], r.Facts[agent.FactPrincipal]
			rec.CreatedBy = p.Operator
		},
		Quit: func(ctx context.Context, c *job.Call) (r agent.Result, made bool, err error) {
			found, err := observe.Present(ctx, p.Settle, "managed identity "+c.With("resource"), func(ctx context.Context) (agent.UserAssignedIdentity, error) {
				return observe.Identity(ctx, p.ARM, c.With("resource"))
			})
			if err != nil || found == nil || found.Tags[NonceTag] != c.Intent["nonce"] {
				return agent.Result{}, false, err
			}
			return madeIdentity(*found, "an earlier try made it"), true, nil
		},
	}
}

func strangeIdentity(c *job.Call, id string) error {
	return fault.New(fault.Conflict, "managed identity "+id+" exists, and this plan has not made it", "look at it: leastkey plan "+c.Run.Agent)
}

func madeIdentity(i agent.UserAssignedIdentity, how string) agent.Result {
	return agent.Result{
		Detail:   "client id " + i.ClientID,
		Facts:    map[string]string{agent.FactResource: i.ID, agent.FactAppID: i.ClientID, agent.FactPrincipal: i.PrincipalID},
		Evidence: evidence("PUT "+i.ID, how+", principal "+i.PrincipalID),
	}
}

// awaitPrincipal waits until the directory has the service principal of a managed identity, which Azure makes by itself.
func (p *Provision) awaitPrincipal() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		sp, err := p.Graph.Principal(ctx, c.With("app_id"))
		if err != nil {
			return agent.Result{}, job.Spreading(err)
		}
		if !strings.EqualFold(sp.ID, c.With("principal")) {
			return agent.Result{}, fault.Newf(fault.Conflict, "the directory shows principal %s for client id %s, ARM says %s", sp.ID, sp.AppID, c.With("principal"))
		}
		return agent.Result{Detail: "principal id " + sp.ID, Evidence: evidence("GET servicePrincipals(appId='"+sp.AppID+"')", "id "+sp.ID)}, nil
	}}
}

// deleteIdentity deletes the managed identity if it is still the one that the plan is about. "Not found" is believed once it has lasted.
func (p *Provision) deleteIdentity() job.Handler {
	return job.Handler{Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		id, since := c.With("resource"), time.Now()
		r := agent.Result{Evidence: evidence("DELETE "+id, "done")}
		err := c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
			found, err := p.ARM.Identity(ctx, id)
			switch {
			case err != nil:
				return err
			case found == nil && time.Since(since) >= p.Settle:
				r = agent.Result{Detail: "it is gone already", Already: true, Evidence: evidence("GET "+id, fmt.Sprintf("not found for %s", p.Settle))}
				return nil
			case found == nil:
				return fault.Newf(fault.NotYet, "no replica that was asked knows it")
			case !strings.EqualFold(found.PrincipalID, c.With("principal")):
				r = agent.Result{Detail: "another of its name has taken its place, and stays", Already: true, Evidence: evidence("GET "+id, "principal "+found.PrincipalID)}
				return nil
			}
			return p.ARM.DeleteIdentity(ctx, id)
		}})
		return r, err
	}}
}
