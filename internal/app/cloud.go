package app

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/localcloud"
)

// localCloud is the local cloud alone, for the command line.
type localCloud struct{ a *App }

// info is what other programs may know of a running cloud.
func info(run localcloud.Run) api.CloudInfo {
	return api.CloudInfo{
		Instance: run.Instance, TenantID: run.TenantID, Domain: run.Domain, Subscription: run.SubscriptionID,
		Login: run.Endpoints.Login, Graph: run.Endpoints.Graph, ARM: run.Endpoints.ARM, Vaults: run.Endpoints.Vault,
		CA: run.CAFile, Dir: filepath.Dir(run.CAFile),
	}
}

// Serve implements [cli.Cloud].
func (l localCloud) Serve(ctx context.Context, r api.CloudServeRequest, ready func(api.CloudInfo)) error {
	cfg := localcloud.Config{Seed: r.Seed, Empty: r.Empty, Listen: r.Listen, SANs: r.SANs, IssuerCAs: r.IssuerCAs, Log: l.a.Streams.Err}
	if len(r.Knobs) > 0 {
		if err := json.Unmarshal(r.Knobs, &cfg.Knobs); err != nil {
			return &fault.Error{Code: fault.Invalid, Op: "read the knobs", Err: err, Hint: "docs/local-cloud.md names them"}
		}
	}
	dir, err := l.a.localDir(r.State)
	if err != nil {
		return err
	}
	var cloud *localcloud.Cloud
	if r.Memory {
		cloud, err = l.inMemory(ctx, dir, cfg)
	} else {
		cloud, err = l.a.startCloud(ctx, dir, cfg)
	}
	if err != nil {
		return err
	}
	ready(info(cloud.Run()))
	<-ctx.Done()
	return cloud.Close()
}

// inMemory serves a cloud of which only the run folder is on disk, so that other terminals find it.
func (l localCloud) inMemory(ctx context.Context, dir string, cfg localcloud.Config) (*localcloud.Cloud, error) {
	if err := private(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	cfg.RunDir = dir
	cloud, err := localcloud.New(cfg)
	if err != nil {
		return nil, localError(err)
	}
	if err := cloud.Listen(context.WithoutCancel(ctx)); err != nil {
		return nil, errors.Join(localError(err), cloud.Close())
	}
	return cloud, nil
}

// Reset implements [cli.Cloud].
func (l localCloud) Reset(ctx context.Context, state string) ([]string, error) {
	dir, err := l.a.localDir(state)
	if err != nil {
		return nil, err
	}
	return l.a.forget(ctx, dir)
}

// Env implements [cli.Cloud]. The cloud says it as lines for a shell: exports first, then commands, and remarks.
func (l localCloud) Env(ctx context.Context, client, resource string) (api.CloudEnv, error) {
	run, err := l.run(ctx)
	if err != nil {
		return api.CloudEnv{}, err
	}
	m, err := run.Manage()
	if err != nil {
		return api.CloudEnv{}, localError(err)
	}
	defer m.Close()
	vaults, err := m.Vaults(ctx)
	if err != nil {
		return api.CloudEnv{}, localError(err)
	}
	text, err := run.EnvFor(client, vaults...)
	if err != nil {
		return api.CloudEnv{}, &fault.Error{Code: fault.Invalid, Err: err, Hint: "one of " + strings.Join(localcloud.Clients(), ", ")}
	}
	env := shellLines(client, text)
	if resource == "" {
		return env, nil
	}
	err = asResource(ctx, m, resource, &env)
	return env, err
}

// asResource adds what code on an Azure resource finds in its environment.
func asResource(ctx context.Context, m *localcloud.Management, resource string, env *api.CloudEnv) error {
	i, err := m.Identity(ctx, resource)
	if err != nil {
		return identityError(resource, err)
	}
	env.Set = append(env.Set, api.EnvVar{Name: "IDENTITY_ENDPOINT", Value: i.Endpoint})
	env.Header = secret.New([]byte(i.Header.Reveal()))
	env.Notes = append(env.Notes,
		"IDENTITY_ENDPOINT and IDENTITY_HEADER are those of App Service and Container Apps. For a virtual machine unset both; then",
		"azure-identity of Python and JavaScript asks AZURE_POD_IDENTITY_AUTHORITY_HOST="+i.IMDS+" instead of 169.254.169.254")
	return nil
}

func identityError(resource string, err error) error {
	e := &fault.Error{Op: "give " + resource + " a managed-identity endpoint", Err: err}
	switch {
	case errors.Is(err, localcloud.ErrNotAResource):
		e.Code, e.Hint = fault.Invalid, "an id looks like /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.App/containerApps/NAME"
	case errors.Is(err, localcloud.ErrNoResource):
		e.Code, e.Hint = fault.NotFound, "make it first, or look for its id: az resource list --query '[].id'"
	case errors.Is(err, localcloud.ErrNoIdentity):
		e.Code, e.Hint = fault.Conflict, `give it one: az rest --method patch --url "`+resource+`?api-version=…" --body '{"identity":{"type":"SystemAssigned"}}'`
	default:
		return localError(err)
	}
	return e
}

func shellLines(client, text string) api.CloudEnv {
	env := api.CloudEnv{For: client}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		name, value, isVar := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		switch {
		case strings.HasPrefix(line, "export ") && isVar && len(env.Commands) == 0:
			env.Set = append(env.Set, api.EnvVar{Name: name, Value: strings.ReplaceAll(strings.Trim(value, "'"), `'\''`, "'")})
		case strings.HasPrefix(line, "# "):
			env.Notes = append(env.Notes, strings.TrimPrefix(line, "# "))
		case line != "":
			env.Commands = append(env.Commands, line)
		}
	}
	return env
}

// Log implements [cli.Cloud].
func (l localCloud) Log(ctx context.Context, follow bool, each func(api.CloudRequest) error) error {
	run, err := l.run(ctx)
	if err != nil {
		return err
	}
	m, err := run.Manage()
	if err != nil {
		return localError(err)
	}
	defer m.Close()
	return m.Requests(ctx, 0, follow, func(r localcloud.Request) error {
		return each(api.CloudRequest{N: r.N, At: r.Time, Plane: r.Plane, Vault: r.Vault, Method: r.Method, URL: r.URL, Status: r.Status, MS: r.Ms, AppID: r.AppID, Object: r.Object, Fault: r.Fault})
	})
}

func (l localCloud) run(ctx context.Context) (localcloud.Run, error) {
	dir, err := l.a.localDir("")
	if err != nil {
		return localcloud.Run{}, err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return localcloud.Run{}, localError(localcloud.ErrNoRun)
	}
	run, err := localcloud.ReadRun(ctx, dir)
	return run, localError(err)
}
