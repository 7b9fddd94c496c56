package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/specfile"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/world/arm"
	"github.com/leastkey/leastkey/internal/world/token"
)

// initialise writes a leastkey.yaml from the operator's session. What the session says of itself is a proposal; the tenant that is written
// is the one of a token that was really issued.
func (a *App) initialise(ctx context.Context, r api.InitRequest) (api.InitAnswer, error) {
	path := cmp.Or(r.File, specName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return api.InitAnswer{}, fault.New(fault.Conflict, path+" exists", "look at it, or name another with -f")
	}
	p, err := a.propose(ctx, r)
	if err != nil {
		return api.InitAnswer{}, err
	}
	defer p.close()
	ans, err := a.checked(ctx, p)
	if err != nil {
		return ans, err
	}
	name := cmp.Or(r.Agent, "polyclaw-runtime")
	p.spec.Operator = p.operator
	p.spec.ResourceGroup, p.spec.Location = cmp.Or(r.ResourceGroup, localcloud.DefaultGroup), cmp.Or(r.Location, localcloud.DefaultLocation)
	p.spec.Agents = map[string]*agent.Agent{name: {}}
	if p.cloud == agent.Local {
		p.spec.Operator = ""
		p.spec.Agents[name] = LocalSpec("", "").Agents["polyclaw-runtime"]
	}
	p.spec.Defaults()
	if err := specfile.Write(path, p.spec); err != nil {
		return ans, err
	}
	ans.File, ans.Cloud, ans.Agents = path, string(p.cloud), []string{name}
	return ans, nil
}

// propose finds cloud, tenant and subscription: from the flags, from the running local cloud, or from the session of az.
func (a *App) propose(ctx context.Context, r api.InitRequest) (*place, error) {
	p := newPlace(r.Target)
	cloud := r.Cloud
	dir, err := a.localDir("")
	if err != nil {
		return nil, err
	}
	if cloud == "" || cloud == agent.Local {
		s, run, err := a.localSite(ctx, dir)
		switch {
		case err == nil:
			p.site, p.operator = s, cmp.Or(r.Operator, "local:admin")
			p.spec = agent.Spec{Cloud: agent.Local, Tenant: cmp.Or(r.Tenant, run.Domain), Subscription: cmp.Or(r.Subscription, run.SubscriptionID)}
			p.resolve(r.Target)
			return p, nil
		case cloud == agent.Local || !fault.Is(err, fault.NotFound):
			return nil, err
		}
		cloud = agent.Public
	}
	p.operator = cmp.Or(r.Operator, token.AZ)
	p.spec = agent.Spec{Cloud: cloud, Tenant: r.Tenant, Subscription: r.Subscription}
	if p.operator == token.AZ && (p.spec.Tenant == "" || p.spec.Subscription == "") {
		tenant, subscription, err := azSession(ctx)
		if err != nil {
			return nil, err
		}
		p.spec.Tenant, p.spec.Subscription = cmp.Or(p.spec.Tenant, tenant), cmp.Or(p.spec.Subscription, subscription)
	}
	if p.spec.Tenant == "" || p.spec.Subscription == "" {
		return nil, fault.New(fault.Invalid, "operator "+p.operator+" does not say which tenant and subscription", "name them: --tenant and --subscription")
	}
	if p.site, err = a.realSite(ctx, cloud, p.spec.Tenant); err != nil {
		return nil, err
	}
	p.resolve(r.Target)
	return p, nil
}

// azSession is what az shows as its account.
func azSession(ctx context.Context) (tenant, subscription string, err error) {
	out, err := exec.CommandContext(ctx, "az", "account", "show", "--output", "json").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", "", fault.New(fault.Unauthenticated, "the Azure CLI is not installed", "install it, or name --operator, --tenant and --subscription")
	}
	if err != nil {
		return "", "", fault.New(fault.Unauthenticated, "az is not logged in", "az login; or name --operator, --tenant and --subscription")
	}
	var shown struct {
		ID       string `json:"id"`
		TenantID string `json:"tenantId"`
	}
	if json.Unmarshal(out, &shown) != nil || !agent.IsGUID(shown.ID) || !agent.IsGUID(shown.TenantID) {
		return "", "", fault.New(fault.Invalid, "az account show names no tenant and subscription", "name them: --tenant and --subscription")
	}
	return shown.TenantID, shown.ID, nil
}

// checked asks the cloud whether the proposal holds.
func (a *App) checked(ctx context.Context, p *place) (api.InitAnswer, error) {
	var ans api.InitAnswer
	tokens, err := token.New(token.Config{Authority: p.ends.Login, HTTP: p.transport, Local: p.cloud == agent.Local})
	if err != nil {
		return ans, err
	}
	cred, err := a.credential(p, tokens)
	if err != nil {
		return ans, err
	}
	if ans.As, err = callers(ctx, cred, p); err != nil {
		return ans, err
	}
	if ans.As.TenantID != p.tenant {
		return ans, fault.New(fault.Refused, "the operator's token is of tenant "+ans.As.TenantID+", not "+p.tenant, "log in to the tenant that you mean")
	}
	c, err := arm.New(arm.Config{Endpoint: p.ends.ARM, Audience: strings.TrimSuffix(p.ends.ARMScope, "/.default"), Credential: cred, HTTP: p.transport})
	if err != nil {
		return ans, err
	}
	name, err := job.Retry(ctx, "the subscription", func(ctx context.Context) (string, error) {
		tenant, name, err := c.Subscription(ctx, p.spec.Subscription)
		if err == nil && tenant != "" && tenant != p.tenant {
			err = fault.New(fault.Refused, "subscription "+p.spec.Subscription+" belongs to tenant "+tenant, "name one of tenant "+p.tenant)
		}
		return name, err
	})
	if err != nil {
		return ans, err
	}
	ans.Notes = append(ans.Notes, "subscription "+name)
	return ans, nil
}

// login signs the operator in with a device code and keeps the sign-in in the keystore.
func (a *App) login(ctx context.Context, r api.LoginRequest) (api.Caller, error) {
	r.Operator = token.DeviceCode
	if r.Cloud == "" && r.Tenant != "" && r.File == "" {
		if _, err := os.Stat(specName); errors.Is(err, fs.ErrNotExist) {
			r.Cloud = agent.Public
		}
	}
	p, err := a.where(ctx, r.Target)
	if err != nil {
		return api.Caller{}, err
	}
	defer p.close()
	if err := private(filepath.Clean(p.dir)); err != nil {
		return api.Caller{}, err
	}
	who, err := token.Login(ctx, token.OperatorConfig{
		Authority: p.ends.Login, Tenant: p.tenant, HTTP: p.transport, Local: p.cloud == agent.Local, Prompt: a.Streams.Err, Cache: a.loginCache(p),
	}, p.ends.ARMScope)
	who.Subscription = p.spec.Subscription
	return who, err
}
