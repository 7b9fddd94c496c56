package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/observe"
	"github.com/leastkey/leastkey/internal/work/preflight"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/entra"
	"github.com/leastkey/leastkey/internal/world/token"
)

// operatorHere identifies the operator, who must be of the tenant that the record is of: another one's directory would answer "not there"
// for everything.
func (w outside) operatorHere(p *place) func(context.Context) (api.Caller, error) {
	return func(ctx context.Context) (api.Caller, error) {
		c, err := w.caller(ctx)
		if err == nil && !strings.EqualFold(c.TenantID, p.tenant) {
			err = fault.New(fault.Refused, "operator "+p.operator+" is signed in to tenant "+c.TenantID+", and this is tenant "+p.tenant, "sign in to that tenant: az login --tenant "+p.tenant)
		}
		return c, err
	}
}

// longestAbsence bounds how long an object that Graph does not show is looked for: one that was just made may not be on every replica.
const longestAbsence = 5 * time.Second

// preflightGraph is Graph as the checks ask it: an object is not there once no replica has shown it for a while.
type preflightGraph struct {
	*entra.Client
	settle time.Duration
}

// Application implements [preflight.Graph].
func (g preflightGraph) Application(ctx context.Context, objectID string) (agent.Application, error) {
	return lasting(ctx, g.settle, "application "+objectID, func(ctx context.Context) (agent.Application, error) { return g.Client.Application(ctx, objectID) })
}

// PrincipalByID implements [preflight.Graph].
func (g preflightGraph) PrincipalByID(ctx context.Context, id string) (agent.Principal, error) {
	return lasting(ctx, g.settle, "service principal "+id, func(ctx context.Context) (agent.Principal, error) { return g.Client.PrincipalByID(ctx, id) })
}

// Namesakes implements [preflight.Graph].
func (g preflightGraph) Namesakes(ctx context.Context, name, but string) ([]agent.Namesake, error) {
	return g.Client.OtherNamesakes(ctx, name, but)
}

// lasting is a read whose "not there" has to last.
func lasting[T any](ctx context.Context, settle time.Duration, what string, read func(context.Context) (T, error)) (T, error) {
	var last error
	v, err := observe.Present(ctx, settle, what, func(ctx context.Context) (got T, err error) {
		got, err = read(ctx)
		last = err
		return got, err
	})
	switch {
	case err != nil:
		last = err
	case v != nil:
		return *v, nil
	}
	var none T
	return none, last
}

// Login implements [preflight.Self].
func (s preflightSelf) Login(ctx context.Context, scope string) (api.Caller, error) {
	c, err := s.credential(ctx)
	if err != nil {
		return api.Caller{}, err
	}
	t, err := c.Token(ctx, cmp.Or(scope, s.p.ends.ARMScope))
	if err != nil {
		return api.Caller{}, err
	}
	return token.Who(t.Value)
}

// preflightOwn is what this machine has of the identity.
type preflightOwn struct {
	p    *place
	w    outside
	keys provision.Keystore
}

// Key implements [preflight.Own].
func (o preflightOwn) Key(ctx context.Context, g agent.Generation) (preflight.KeyFacts, error) {
	f := preflight.KeyFacts{Backend: g.Ref.Backend}
	if f.Backend == "age" {
		// A store that made its own identity keeps it beside the keys: whoever reads the folder has both.
		_, err := os.Stat(filepath.Join(g.Ref.Store, "identity.txt"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, &fault.Error{Code: fault.Unknown, Op: "look at keystore " + g.Ref.Store, Err: err}
		}
		f.Development = err == nil
	}
	key, err := o.keys.Open(ctx, g.Ref)
	switch {
	case fault.Is(err, fault.NotFound):
		f.State = agent.KeyAbsent
	case err != nil:
		return f, fmt.Errorf("open key %s: %w", g.Ref, err)
	case observe.Belongs(key, g.DER):
		f.State = agent.KeyPresent
	default:
		f.State = agent.KeyMismatched
	}
	return f, nil
}

// Env implements [preflight.Own].
func (o preflightOwn) Env(_ context.Context, path string) (string, map[string]string, error) {
	return readEnv(o.p.base)(path)
}

// Clocks implements [preflight.Own]. Both documents are read without a token (OpenID Connect Discovery 1.0; Azure Resource Manager's
// metadata endpoint).
func (o preflightOwn) Clocks(ctx context.Context) ([]preflight.ClockReading, error) {
	services := []struct{ name, at string }{
		{"the login service", o.p.ends.Login + "/" + o.p.tenant + "/v2.0/.well-known/openid-configuration"},
		{"Azure Resource Manager", o.p.ends.ARM + "/metadata/endpoints?api-version=2022-09-01"},
	}
	all, errs := make([]preflight.ClockReading, len(services)), make([]error, len(services))
	var both sync.WaitGroup
	for i, s := range services {
		both.Go(func() { all[i], errs[i] = o.clock(ctx, s.name, s.at) })
	}
	both.Wait()
	return all, errors.Join(errs...)
}

// largestDocument is far above what such a document has.
const largestDocument = 1 << 20

func (o preflightOwn) clock(ctx context.Context, name, at string) (preflight.ClockReading, error) {
	op := "ask " + name + " for the time"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return preflight.ClockReading{}, &fault.Error{Code: fault.Invalid, Op: op, Err: err}
	}
	began := time.Now()
	resp, err := o.p.transport.RoundTrip(r) // follows no redirect
	half := time.Since(began) / 2
	if err != nil {
		return preflight.ClockReading{}, fault.Lost(op, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, largestDocument))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return preflight.ClockReading{}, fault.Lost(op, err)
	}
	if resp.StatusCode != http.StatusOK {
		return preflight.ClockReading{}, &fault.Error{Code: fault.OfStatus(resp.StatusCode), Op: op, Status: resp.StatusCode}
	}
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return preflight.ClockReading{}, fault.New(fault.Unknown, op+": the answer has no date", "check --cloud and the proxy")
	}
	return preflight.ClockReading{Service: name, Theirs: theirs, Ours: began.Add(half).UTC(), Within: half}, nil
}
