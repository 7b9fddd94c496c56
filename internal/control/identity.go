package control

import (
	"cmp"
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Identity tells what is recorded of an agent's identity, and what the directory shows of it. That nobody could look is in the answer's
// Unread and no error: what is recorded can be told all the same.
func (d *Door) Identity(ctx context.Context, name string) (api.IdentityAnswer, error) {
	name, err := d.recordedName(ctx, name)
	if err != nil {
		return api.IdentityAnswer{}, err
	}
	rec, err := d.record(ctx, name)
	if err := d.enter(ctx, "identity", name, "", err); err != nil {
		return api.IdentityAnswer{}, err
	}
	a, unspecified := d.named(name)
	if unspecified != nil && rec.Blank() {
		return api.IdentityAnswer{}, unspecified
	}
	ans := api.IdentityAnswer{
		Agent: name, Kind: rec.Kind, TenantID: d.c.Where.TenantID, Configured: rec.Provisioned(),
		AppID: rec.AppID, ApplicationID: rec.ApplicationID, ResourceID: rec.ResourceID, PrincipalID: rec.PrincipalID,
	}
	if rec.PrincipalID != "" {
		ans.PrincipalType = "ServicePrincipal" // of every kind: a managed identity is a service principal too
	}
	if ans.Open, err = d.c.Journal.Open(ctx, name); err != nil {
		return ans, err
	}
	if g := rec.Active(); g != nil {
		ans.Key, ans.Expires = g.Ref.String(), g.NotAfter
	}
	if unspecified == nil {
		d.specified(&ans, a, rec)
	}
	if rec.Provisioned() {
		d.lookUp(ctx, &ans, rec)
	}
	return ans, nil
}

// specified adds what the spec knows.
func (d *Door) specified(ans *api.IdentityAnswer, a *agent.Agent, rec agent.Record) {
	ans.Kind, ans.Federated = cmp.Or(ans.Kind, a.Kind), a.Federated
	if g := rec.Active(); g != nil {
		ans.Renewal = a.Certificate.RenewalDue(*g)
	}
	if a.EnvFile != "" {
		_, v, err := d.c.LegacyEnv("", a.EnvFile)
		ans.LegacySecret = err == nil && !v.Empty() // a file that does not read is the preflight's to tell
	}
}

// lookUp asks the directory, or ARM of a managed identity.
func (d *Door) lookUp(ctx context.Context, ans *api.IdentityAnswer, rec agent.Record) {
	if _, err := d.Caller(ctx); err != nil {
		ans.Unread = err.Error()
		return
	}
	there, err := d.object(ctx, ans, rec)
	switch {
	case err != nil:
		ans.Unread = err.Error()
		return
	case !there:
		return
	}
	p, err := job.Retry(ctx, "the service principal", func(ctx context.Context) (agent.Principal, error) {
		return d.c.Observer.Graph.Principal(ctx, rec.AppID)
	})
	switch {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		ans.Unread = err.Error()
	default:
		ans.Found, ans.Enabled = strings.EqualFold(p.ID, rec.PrincipalID), p.Enabled
	}
}

// object reads what the service principal is of: an application, or a managed identity.
func (d *Door) object(ctx context.Context, ans *api.IdentityAnswer, rec agent.Record) (there bool, err error) {
	if rec.ResourceID != "" {
		i, err := job.Retry(ctx, "the managed identity", func(ctx context.Context) (*agent.UserAssignedIdentity, error) {
			return d.c.Observer.ARM.Identity(ctx, rec.ResourceID)
		})
		if err == nil && i != nil {
			ans.DisplayName = i.Name
		}
		return i != nil, err
	}
	app, err := job.Retry(ctx, "the application", func(ctx context.Context) (agent.Application, error) {
		return d.c.Observer.Graph.Application(ctx, rec.ApplicationID)
	})
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	ans.DisplayName = app.DisplayName
	return err == nil, err
}
