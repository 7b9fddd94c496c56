package migrate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// Ask says what a plan rests on.
type Ask struct {
	StateFile   string
	Where       Where
	Permissions bool // what Graph offers, what is declared and what is consented
	Alone       bool // without an operator: only what this machine and the record know
	Secret      bool // the legacy secret: where it lies and whether it works
	Rights      bool // whether the operator may delete credentials
}

// Observe reads everything that a plan for the Provisioner rests on, side by side where it can. An error means that some of it is
// unknown, and nothing may be decided: a lookup that failed is never "there is none".
func (m *Migrate) Observe(ctx context.Context, spec agent.Spec, rec agent.Record, ask Ask) (provisioner.Observed, error) {
	o := provisioner.Observed{Record: rec, Keys: map[string]agent.KeyState{}, Now: time.Now()}
	var err error
	if o.File, err = m.Files.State(ctx, ask.StateFile); err != nil {
		return o, err
	}
	if !ask.Alone {
		if err := m.identity(ctx, spec, rec, &o); err != nil {
			return o, err
		}
	}
	if o.Slot, err = m.belonging(ctx, rec, o.File, o.Application); err != nil {
		return o, err
	}
	if err := m.keys(ctx, rec, &o); err != nil {
		return o, err
	}
	var all observe.Group
	if ask.Permissions && !ask.Alone {
		all.Do(func() error { return m.permissions(ctx, &o) })
	}
	if ask.Rights && o.Application != nil {
		all.Do(func() (err error) {
			o.Rights, err = m.rights(ctx, *o.Application)
			return err
		})
	}
	if ask.Secret {
		all.Do(func() error { return m.legacy(ctx, ask.Where, &o) })
	}
	return o, all.Wait()
}

// client is the application's client id: the state file is the authority, the record fills in where there is no file.
func client(o *provisioner.Observed) string {
	if o.File.Client != "" {
		return o.File.Client
	}
	return o.Record.AppID
}

func (m *Migrate) identity(ctx context.Context, spec agent.Spec, rec agent.Record, o *provisioner.Observed) error {
	appID := client(o)
	var all observe.Group
	all.Do(func() error {
		found, err := retry(ctx, "applications named "+spec.Provisioner.DisplayName, func(ctx context.Context) ([]agent.Namesake, error) {
			return m.Graph.Namesakes(ctx, spec.Provisioner.DisplayName)
		})
		for _, n := range found {
			if !strings.EqualFold(n.AppID, appID) {
				o.Namesakes = append(o.Namesakes, n)
			}
		}
		return err
	})
	if appID == "" {
		return all.Wait()
	}
	all.Do(func() error {
		app, err := observe.Present(ctx, m.Settle, "application "+appID, func(ctx context.Context) (agent.Application, error) {
			app, err := m.Graph.ApplicationByAppID(ctx, appID)
			if err != nil {
				return app, err
			}
			return observe.Application(ctx, m.Graph, app.ID)
		})
		o.Application = app
		return err
	})
	all.Do(func() error {
		sp, err := observe.Present(ctx, m.Settle, "service principal of "+appID, func(ctx context.Context) (agent.Principal, error) { return m.Graph.Principal(ctx, appID) })
		o.Principal = sp
		return err
	})
	if err := all.Wait(); err != nil {
		return err
	}
	if rec.ApplicationID != "" && o.Application != nil && !strings.EqualFold(o.Application.ID, rec.ApplicationID) {
		return fault.New(fault.Refused, "application "+appID+" is object "+o.Application.ID+", recorded is "+rec.ApplicationID, "find out which is right before going on")
	}
	return nil
}

// rights asks what the operator may do. An owner may remove credentials without any directory role.
func (m *Migrate) rights(ctx context.Context, app agent.Application) (r provisioner.Rights, err error) {
	app.Owners, err = retry(ctx, "the owners of application "+app.AppID, func(ctx context.Context) ([]agent.Owner, error) {
		owners, err := m.Graph.Owners(ctx, app.ID)
		return owners, job.Spreading(err)
	})
	if err != nil {
		return r, err
	}
	return retry(ctx, "the operator's rights", func(ctx context.Context) (provisioner.Rights, error) { return m.Graph.Rights(ctx, app) })
}

func (m *Migrate) permissions(ctx context.Context, o *provisioner.Observed) error {
	type offer struct {
		id    string
		roles []provisioner.AppRole
	}
	got, err := retry(ctx, "what Microsoft Graph offers", func(ctx context.Context) (offer, error) {
		id, roles, err := m.Graph.AppRoles(ctx, provisioner.Graph)
		return offer{id, roles}, err
	})
	if err != nil {
		return err
	}
	o.GraphID, o.Offered = got.id, got.roles
	if o.Application != nil {
		if o.Declared, err = retry(ctx, "the declared permissions", func(ctx context.Context) ([]string, error) {
			return m.Graph.Declared(ctx, o.Application.ID, provisioner.Graph)
		}); err != nil {
			return err
		}
	}
	if o.Principal != nil {
		o.Granted, err = retry(ctx, "the consented permissions", func(ctx context.Context) ([]provisioner.Grant, error) {
			return m.Graph.Granted(ctx, o.Principal.ID, o.GraphID)
		})
	}
	return err
}

// keys opens every recorded key. Only the store's own "there is none" is absent: that the store itself is not there says nothing about a
// key that was made.
func (m *Migrate) keys(ctx context.Context, rec agent.Record, o *provisioner.Observed) error {
	for _, g := range rec.Generations {
		key, err := m.Keys.Open(ctx, g.Ref)
		switch {
		case fault.Is(err, fault.NotFound):
			o.Keys[g.ID] = agent.KeyAbsent
		case err != nil:
			return fmt.Errorf("open key %s: %w", g.Ref, err)
		case observe.Belongs(key, g.DER):
			o.Keys[g.ID] = agent.KeyPresent
		default:
			o.Keys[g.ID] = agent.KeyMismatched
		}
	}
	return nil
}

// legacy looks where the secret lies, and asks whether it works. That nobody could tell is said, and not taken for dead.
func (m *Migrate) legacy(ctx context.Context, w Where, o *provisioner.Observed) error {
	appID := client(o)
	another := o.File.Tenant != "" && !strings.EqualFold(o.File.Tenant, m.Tenant) // another tenant's secret is not for this login service
	if appID != "" && !another {
		w.Ours = func(ctx context.Context, v secret.Value) (bool, error) {
			works, _, err := m.Secret(ctx, appID, v)
			return works && err == nil, ctx.Err() // no clear answer vouches for nothing
		}
	}
	found, err := m.search(ctx, w, o.Record)
	if err != nil {
		return err
	}
	o.Places = found.Places
	if len(found.Values) == 0 || appID == "" {
		return nil
	}
	if another {
		o.Secret = provisioner.SecretUnknown
		return nil
	}
	o.Secret = provisioner.SecretDead
	for _, v := range found.Values {
		switch works, _, err := m.Secret(ctx, appID, v); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && o.Secret != provisioner.SecretLive:
			o.Secret = provisioner.SecretUnknown
		case works:
			o.Secret = provisioner.SecretLive
		}
	}
	return nil
}

// retry is [job.Retry] with the name of what was read in its error.
func retry[T any](ctx context.Context, what string, read func(context.Context) (T, error)) (T, error) {
	v, err := job.Retry(ctx, what, read)
	if err != nil {
		err = fmt.Errorf("read %s: %w", what, err)
	}
	return v, err
}
