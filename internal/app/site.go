package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/world/tape"
	"github.com/leastkey/leastkey/internal/world/token"
)

// endpoints are where a cloud answers, and how its tokens are asked for.
type endpoints struct {
	Login string // authority
	Graph string
	ARM   string
	// ARMScope is not ARM + "/.default": the audience of Azure Resource Manager has a name of its own in every cloud.
	ARMScope   string
	GraphScope string
	Vault      string // audience of Key Vault, without /.default
}

// realClouds are the sovereign clouds (Microsoft, "National clouds" and "Azure Resource Manager endpoints", 2026).
func realClouds() map[agent.Cloud]endpoints {
	return map[agent.Cloud]endpoints{
		agent.Public: {"https://login.microsoftonline.com", "https://graph.microsoft.com", "https://management.azure.com", "https://management.azure.com/.default", "https://graph.microsoft.com/.default", "https://vault.azure.net"},
		agent.USGov:  {"https://login.microsoftonline.us", "https://graph.microsoft.us", "https://management.usgovcloudapi.net", "https://management.usgovcloudapi.net/.default", "https://graph.microsoft.us/.default", "https://vault.usgovcloudapi.net"},
		agent.China:  {"https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn", "https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default", "https://microsoftgraph.chinacloudapi.cn/.default", "https://vault.azure.cn"},
	}
}

// site is one cloud and one tenant, reached.
type site struct {
	cloud     agent.Cloud
	instance  string // local
	ends      endpoints
	transport http.RoundTripper
	requests  *atomic.Int64
	dir       string // of record and locks
	tenant    string // GUID
	settle    time.Duration
	quiet     time.Duration
	lifetime  time.Duration
	operators func() (map[string]testOperator, error) // of the local cloud; nil elsewhere
	close     func()
}

// testOperator is a user of the local cloud with a test password.
type testOperator struct {
	upn      string
	password secret.Value
}

// realSite is a cloud of Microsoft's.
func (a *App) realSite(ctx context.Context, cloud agent.Cloud, tenant string) (*site, error) {
	ends, ok := realClouds()[cloud]
	if !ok {
		return nil, fault.Newf(fault.Invalid, "no cloud %q", cloud)
	}
	t := http.DefaultTransport.(*http.Transport).Clone() // proxy and certificate authorities from the usual variables
	t.ResponseHeaderTimeout = time.Minute
	// Replicas of Entra and ARM have been seen to lag for minutes; a token lives 60 to 90 minutes (Microsoft, "Configurable token
	// lifetimes"). For Continuous Access Evaluation it may be 28 hours, but then the resource itself asks whether it is revoked.
	s := &site{cloud: cloud, ends: ends, settle: 3 * time.Minute, quiet: 10 * time.Second, lifetime: 90 * time.Minute, close: t.CloseIdleConnections}
	a.count(s, t)
	home, err := a.home()
	if err != nil {
		return nil, err
	}
	if s.tenant, err = a.resolveTenant(ctx, s, filepath.Join(home, string(cloud)), tenant); err != nil {
		return nil, err
	}
	s.dir = filepath.Join(home, string(cloud), s.tenant)
	return s, nil
}

// count puts the counter, the tape, and a test's hook, between us and the world.
func (a *App) count(s *site, t http.RoundTripper) {
	s.requests = new(atomic.Int64)
	s.transport = tape.Transport(counter{s.requests, t})
	if a.Hooks.Transport != nil {
		s.transport = a.Hooks.Transport(s.transport)
	}
}

// counter counts requests.
type counter struct {
	n    *atomic.Int64
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

// localSite is the local cloud that runs in the folder.
func (a *App) localSite(ctx context.Context, dir string) (*site, localcloud.Run, error) {
	s, run, err := a.localNetwork(ctx, dir)
	if err != nil {
		return nil, run, err
	}
	settle, lifetime, err := localTimes(ctx, run)
	if err != nil {
		s.close()
		return nil, run, err
	}
	s.settle, s.quiet, s.lifetime = settle, settle, lifetime
	return s, run, nil
}

// localNetwork is the local cloud as far as its run file tells: enough to ask it for a token, and no request.
func (a *App) localNetwork(ctx context.Context, dir string) (*site, localcloud.Run, error) {
	run, err := localcloud.ReadRun(ctx, dir)
	if err != nil {
		return nil, run, localError(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(run.CAPEM)) {
		return nil, run, fault.Newf(fault.Corrupt, "the run file of the local cloud holds no certificate authority")
	}
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, ResponseHeaderTimeout: time.Minute,
	}
	s := &site{
		cloud: agent.Local, instance: run.Instance, tenant: run.TenantID, dir: dir, close: t.CloseIdleConnections,
		operators: func() (map[string]testOperator, error) { return testOperators(localcloud.ReadOperators(run)) },
	}
	s.ends = localEndpoints(run.Endpoints.Login, run.Endpoints.Graph, run.Endpoints.ARM)
	a.count(s, t)
	return s, run, nil
}

// localTimes asks the running cloud for its lag, so that waiting fits it.
func localTimes(ctx context.Context, run localcloud.Run) (settle, lifetime time.Duration, err error) {
	m, err := run.Manage()
	if err != nil {
		return 0, 0, err
	}
	defer m.Close()
	k, err := m.Knobs(ctx)
	if err != nil {
		return 0, 0, &fault.Error{Code: fault.Unavailable, Op: "ask the local cloud for its knobs", Err: err}
	}
	settle, lifetime = knobTimes(k)
	return settle, lifetime, nil
}

func knobTimes(k localcloud.Knobs) (settle, lifetime time.Duration) {
	settle = max(k.Lag.Login, k.Lag.Graph, k.Lag.ARM) + 500*time.Millisecond
	if lifetime = k.TokenLifetime; lifetime == 0 {
		lifetime = time.Hour
	}
	return settle, lifetime
}

func localEndpoints(login, graph, arm string) endpoints {
	return endpoints{Login: login, Graph: graph, ARM: arm, ARMScope: arm + "/.default", GraphScope: graph + "/.default", Vault: "https://vault.azure.net"}
}

func testOperators(all []localcloud.Operator, err error) (map[string]testOperator, error) {
	if err != nil {
		return nil, localError(err)
	}
	out := map[string]testOperator{}
	for _, o := range all {
		if o.UPN != "" {
			out[o.Name] = testOperator{upn: o.UPN, password: secret.New([]byte(o.Password.Reveal()))}
		}
	}
	return out, nil
}

// localError gives the local cloud's errors their class.
func localError(err error) error {
	if stale, ok := errors.AsType[*localcloud.StaleError](err); ok {
		if stale.Err != nil {
			return &fault.Error{Code: fault.Unavailable, Op: "the local cloud does not answer", Err: stale.Err, Hint: "look at the terminal that serves it; once it has ended, leastkey up starts it again"}
		}
		return &fault.Error{Code: fault.NotFound, Op: "no local cloud is running", Err: stale, Hint: "start it: leastkey up"}
	}
	if errors.Is(err, localcloud.ErrNoRun) {
		return &fault.Error{Code: fault.NotFound, Err: err, Hint: "start one: leastkey up; or write a leastkey.yaml for a real cloud: leastkey init --cloud public"}
	}
	if errors.Is(err, localcloud.ErrInUse) {
		return &fault.Error{Code: fault.Busy, Err: err, Hint: "a local cloud runs there already: use it, or name another folder with --state"}
	}
	return err
}

// discovery is how long a login service that drops connections, or is away, is asked who a tenant is. It is short: without a network nothing
// comes after.
const discovery = 10 * time.Second

// resolveTenant gives the GUID of a tenant. The pair of domain and GUID is kept, and an answer that has changed since stops everything:
// a domain that moved to another tenant must not take our plans with it.
func (a *App) resolveTenant(ctx context.Context, s *site, dir, tenant string) (string, error) {
	if agent.IsGUID(tenant) {
		return strings.ToLower(tenant), nil
	}
	c, err := token.New(token.Config{Authority: s.ends.Login, HTTP: s.transport, Local: s.cloud == agent.Local})
	if err != nil {
		return "", err
	}
	var id string
	if err := job.Wait(ctx, job.Probe{What: "the login service", Deadline: discovery, Try: func(ctx context.Context) (err error) {
		id, err = c.TenantID(ctx, tenant)
		return err
	}}); err != nil {
		return "", err
	}
	if s.cloud == agent.Local {
		return id, nil
	}
	path := filepath.Join(dir, "tenants.json")
	known := map[string]string{}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", &fault.Error{Code: fault.Unavailable, Op: "read " + path, Err: err}
	case json.Unmarshal(b, &known) != nil:
		return "", fault.New(fault.Corrupt, path+" does not read", "move it away once you know why")
	}
	domain := strings.ToLower(tenant)
	if was := known[domain]; was != "" {
		if was != id {
			return "", fault.New(fault.Refused, fmt.Sprintf("domain %s was tenant %s and now is %s", domain, was, id), "find out why; then name the tenant by its GUID")
		}
		return id, nil
	}
	known[domain] = id
	return id, keepTenants(dir, path, known)
}

func keepTenants(dir, path string, known map[string]string) error {
	if err := private(dir); err != nil {
		return err
	}
	b, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "tenants-*")
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write " + path, Err: err}
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write " + path, Err: err}
	}
	return nil
}
