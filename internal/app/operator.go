package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/token"
)

// credential is the operator: exactly the one that was named, never a chain. "local" and "local:NAME" are test users of the local cloud,
// and exist nowhere else. "none" is nobody: an identity may roll its own key without one.
func (a *App) credential(p *place, tokens *token.Client) (*token.Credential, error) {
	kind, name, _ := strings.Cut(p.operator, ":")
	if p.operator == api.NoOperator {
		return token.Nobody(), nil
	}
	if kind != "local" {
		cfg := token.OperatorConfig{Authority: p.ends.Login, Tenant: p.tenant, HTTP: p.transport, Local: p.cloud == agent.Local}
		if kind == token.DeviceCode {
			cfg.Cache = a.loginCache(p)
		}
		return token.Operator(p.operator, cfg)
	}
	if p.operators == nil {
		return nil, fault.New(fault.Refused, "operator "+p.operator+" is a test user of the local cloud, and this is cloud "+string(p.cloud), "use --operator az")
	}
	if name == "" {
		name = "admin"
	}
	all, err := p.operators()
	if err != nil {
		return nil, err
	}
	o, ok := all[name]
	if !ok {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("the local cloud has no user %q", name), "it has "+strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	return tokens.LocalTestCredential(p.tenant, token.AzureCLI, o.upn, o.password), nil
}

// callers identifies the operator by the very tokens that Graph and ARM will see. Both must be of the same person and tenant.
func callers(ctx context.Context, cred *token.Credential, p *place) (api.Caller, error) {
	var (
		who  [2]api.Caller
		errs [2]error
		wg   sync.WaitGroup
	)
	for i, scope := range []string{p.ends.GraphScope, p.ends.ARMScope} {
		wg.Go(func() {
			t, err := job.Retry(ctx, "the operator's token", func(ctx context.Context) (api.Token, error) { return cred.Token(ctx, scope) })
			if err == nil {
				who[i], err = token.Who(t.Value)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return api.Caller{}, fmt.Errorf("identify operator %s: %w", p.operator, err)
	}
	if who[0].TenantID != who[1].TenantID || who[0].ObjectID != who[1].ObjectID {
		return api.Caller{}, fault.Newf(fault.Refused, "the operator's tokens disagree: Graph's is of %s in tenant %s, ARM's of %s in tenant %s", who[0].ObjectID, who[0].TenantID, who[1].ObjectID, who[1].TenantID)
	}
	c := who[0]
	c.Operator, c.Subscription = p.operator, p.spec.Subscription
	return c, nil
}

// loginCache keeps the device-code sign-in in the keystore. The keystore is opened at the first use, so that other operators need none.
func (a *App) loginCache(p *place) token.Cache {
	return loginCache{name: "login/" + p.tenant, open: sync.OnceValues(func() (keystore.Secrets, error) {
		st, err := a.openStore(p, p.where.Keystore, p.ageIdentity)
		if err != nil {
			return nil, err
		}
		s, ok := st.(keystore.Secrets)
		if !ok {
			return nil, fault.Newf(fault.Unsupported, "keystore %s cannot keep a sign-in", p.where.Keystore)
		}
		return s, nil
	})}
}

type loginCache struct {
	name string
	open func() (keystore.Secrets, error)
}

// Load implements [token.Cache].
func (c loginCache) Load(ctx context.Context) (secret.Value, error) {
	s, err := c.open()
	if err != nil {
		return secret.Value{}, err
	}
	return s.Secret(ctx, c.name)
}

// Save implements [token.Cache].
func (c loginCache) Save(ctx context.Context, v secret.Value) error {
	s, err := c.open()
	if err != nil {
		return err
	}
	return s.PutSecret(ctx, c.name, v)
}
