package app

import (
	"cmp"
	"context"
	"crypto"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/journal"
	"github.com/leastkey/leastkey/internal/record/ledger"
	"github.com/leastkey/leastkey/internal/record/lock"
	reports "github.com/leastkey/leastkey/internal/record/preflight"
	"github.com/leastkey/leastkey/internal/record/specfile"
	"github.com/leastkey/leastkey/internal/record/sqlite"
	"github.com/leastkey/leastkey/internal/record/state"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/observe"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/arm"
	"github.com/leastkey/leastkey/internal/world/entra"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/token"
)

const (
	specName = "leastkey.yaml"
	dbName   = sqlite.Record
)

// Open opens the door for a target: the yaml and its cloud, or, where no yaml is found or it says so, the running local cloud.
func (a *App) Open(ctx context.Context, t api.Target) (*control.Door, error) {
	w, err := a.where(ctx, t)
	if err != nil {
		return nil, err
	}
	return a.door(ctx, w, t)
}

// place is a site with what is wanted there.
type place struct {
	*site
	where    api.Resolved
	spec     agent.Spec
	specErr  error
	base     string // folder of the yaml, against which relative paths are read
	roles    role.Catalogue
	operator string

	ageIdentity string
}

func newPlace(t api.Target) *place { return &place{roles: role.Builtin(), ageIdentity: t.AgeIdentity} }

// where weighs flags, yaml and the running local cloud.
func (a *App) where(ctx context.Context, t api.Target) (*place, error) {
	p := newPlace(t)
	found, err := p.load(t.File)
	if err != nil {
		return nil, err
	}
	if t.Cloud != "" {
		p.spec.Cloud = t.Cloud
	}
	if t.Tenant != "" {
		p.spec.Tenant = t.Tenant
	}
	if t.Subscription != "" {
		p.spec.Subscription = t.Subscription
	}
	if p.spec.Cloud == "" {
		p.spec.Cloud = agent.Local
	}
	if p.spec.Cloud == agent.Local {
		return p, a.local(ctx, p, t, found)
	}
	if p.spec.Tenant == "" {
		return nil, fault.New(fault.Invalid, "no leastkey.yaml here, and no --tenant", "leastkey init --cloud "+string(p.spec.Cloud)+" writes one from your session")
	}
	if p.site, err = a.realSite(ctx, p.spec.Cloud, p.spec.Tenant); err != nil {
		return nil, err
	}
	p.operator = cmp.Or(t.Operator, p.spec.Operator, token.AZ)
	p.resolve(t)
	return p, nil
}

// load reads the yaml; false means that there is none.
func (p *place) load(file string) (bool, error) {
	path := file
	if path == "" {
		path = specName
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && file == "" {
		p.specErr = fault.New(fault.NotFound, "no leastkey.yaml here", "leastkey init writes one; -f names another")
		return false, nil
	}
	spec, err := specfile.Load(path, p.roles)
	if err != nil {
		return true, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return true, err
	}
	p.spec, p.base, p.where.File = spec, filepath.Dir(abs), abs
	return true, nil
}

// local is the running local cloud: under the yaml's spec, or under its own where there is no yaml.
func (a *App) local(ctx context.Context, p *place, t api.Target, found bool) error {
	dir, err := a.localDir("")
	if err != nil {
		return err
	}
	s, run, err := a.localSite(ctx, dir)
	if err != nil {
		return err
	}
	p.site = s
	if !found {
		p.spec, p.specErr, p.base = LocalSpec(run.Domain, run.SubscriptionID), nil, dir
	}
	if !agent.IsGUID(p.spec.Tenant) {
		if s.tenant, err = a.resolveTenant(ctx, s, dir, p.spec.Tenant); err != nil {
			return err
		}
	} else if p.spec.Tenant != run.TenantID {
		return fault.New(fault.Refused, "the local cloud is tenant "+run.TenantID+" ("+run.Domain+"), the spec's is "+p.spec.Tenant, "correct tenant in "+cmp.Or(p.where.File, specName))
	}
	p.operator = cmp.Or(t.Operator, p.spec.Operator, "local:admin")
	p.resolve(t)
	return nil
}

func (p *place) resolve(t api.Target) {
	p.where = api.Resolved{
		Cloud: p.cloud, Instance: p.instance, Tenant: p.spec.Tenant, TenantID: p.tenant, Subscription: p.spec.Subscription,
		File: p.where.File, Home: p.dir, Operator: p.operator, Keystore: cmp.Or(t.Keystore, "auto"),
	}
}

// LocalSpec is what the local cloud is asked for where no yaml says otherwise: the seed's agent, with everything that its role set knows.
func LocalSpec(tenant, subscription string) agent.Spec {
	s := agent.Spec{
		Cloud: agent.Local, Tenant: tenant, Subscription: subscription, ResourceGroup: localcloud.DefaultGroup, Location: localcloud.DefaultLocation,
		Agents: map[string]*agent.Agent{"polyclaw-runtime": {KeyVault: localcloud.DefaultVault, SessionPool: "polyclaw-pool", ContentSafety: "polyclaw-safety"}},
	}
	s.Defaults()
	return s
}

// door plugs everything together.
func (a *App) door(ctx context.Context, p *place, t api.Target) (_ *control.Door, err error) {
	if err := private(p.dir); err != nil {
		return nil, err
	}
	keys, err := a.keys(p, t)
	if err != nil {
		return nil, err
	}
	if a.Hooks.Keys != nil {
		keys = a.Hooks.Keys(keys)
	}
	db, err := sqlite.Open(ctx, filepath.Join(p.dir, dbName))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	mem, err := a.memory(ctx, db)
	if err != nil {
		return nil, err
	}
	world, err := a.world(p, keys)
	if err != nil {
		return nil, err
	}
	env := provision.EnvFile(envFile{base: p.base})
	if a.Hooks.Env != nil {
		env = a.Hooks.Env(env)
	}
	observer := &observe.Observer{Graph: world.graph, ARM: world.arm, Keys: keys, Env: readEnv(p.base), Roles: p.roles, Settle: p.settle}
	base := provision.Config{
		Graph: world.graph, ARM: world.arm, Keys: keys, Login: world.login, Env: env, Memory: mem.state, Roles: p.roles,
		Generate: func(bits int) (crypto.Signer, error) { return keystore.Generate(bits) },
		Certify:  certify, Own: world.own, Settle: p.settle, Quiet: p.quiet,
	}
	return control.New(control.Config{
		Where: p.where, Spec: p.spec, SpecError: p.specErr, Roles: p.roles, Actor: actor() + " (" + p.operator + ")",
		State: mem.state, Journal: mem.journal, Ledger: mem.ledger, Observer: observer, Provision: provision.New(base), Adopt: world.graph,
		Provisioner: a.provisionerParts(p, t, world, base),
		LegacyEnv:   readLegacy(p.base), LegacySecret: world.legacy,
		Caller: world.caller, Token: world.token, Lock: a.lock(p.dir), Requests: func() int { return int(p.requests.Load()) }, Lifetime: p.lifetime,
		Preflight: a.preflight(p, world, keys, mem), Runs: mem.runs, Version: version,
		Close: func() error { p.close(); return db.Close() },
	}), nil
}

// recorded are the records in a folder; none where there is no record.
func recorded(ctx context.Context, dir string) (all []agent.Record, err error) {
	path := filepath.Join(dir, dbName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	db, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	st, err := state.New(ctx, db)
	if err != nil {
		return nil, err
	}
	return st.Agents(ctx)
}

// recordedKeys are the keys of the record in a folder.
func recordedKeys(ctx context.Context, dir string) (refs []secret.Ref, err error) {
	all, err := recorded(ctx, dir)
	for _, rec := range all {
		for _, g := range rec.Generations {
			refs = append(refs, g.Ref)
		}
	}
	return refs, err
}

// recall is what survives a crash.
type recall struct {
	state   control.State
	journal control.Journal
	ledger  control.Ledger
	runs    control.Runs
	search  func(context.Context, func([]byte) string) (string, error) // everything in it
}

func (a *App) memory(ctx context.Context, db *sql.DB) (recall, error) {
	st, err := state.New(ctx, db)
	if err != nil {
		return recall{}, err
	}
	jn, err := journal.New(ctx, db)
	if err != nil {
		return recall{}, err
	}
	ld, err := ledger.New(ctx, db)
	if err != nil {
		return recall{}, err
	}
	pf, err := reports.New(ctx, db)
	if err != nil {
		return recall{}, err
	}
	search := func(ctx context.Context, found func([]byte) string) (string, error) {
		return sqlite.Search(ctx, db, found)
	}
	m := recall{st, jn, ld, pf, search}
	if a.Hooks.Journal != nil {
		m.journal = a.Hooks.Journal(m.journal)
	}
	if a.Hooks.State != nil {
		m.state = a.Hooks.State(m.state)
	}
	if a.Hooks.Ledger != nil {
		m.ledger = a.Hooks.Ledger(m.ledger)
	}
	return m, nil
}

func certify(key crypto.Signer, s provision.Subject, days int) ([]byte, error) {
	// A minute in the past, for services whose clock is behind ours.
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: s.CommonName, Organization: s.Organization, Days: days, Now: time.Now().Add(-time.Minute)})
	if err != nil {
		return nil, err
	}
	return cert.Raw, nil
}

// lock is the agent's lock, a file that death frees.
func (a *App) lock(dir string) func(context.Context, string, func(string)) (func() error, error) {
	return func(ctx context.Context, name string, waiting func(string)) (func() error, error) {
		l, err := lock.Acquire(ctx, filepath.Join(dir, "locks", name+".lock"), "working on "+name, waiting != nil, waiting)
		if err != nil {
			return nil, err
		}
		return l.Release, nil
	}
}

// outside is the world as the verbs see it.
type outside struct {
	graph  graph
	arm    *arm.Client
	login  provision.Login
	token  func(context.Context, string, crypto.Signer, []byte, string) (api.Token, error)
	caller func(context.Context) (api.Caller, error)

	own        func(appID string, key crypto.Signer, der []byte) provision.Own
	graphLogin provision.Login // as login, for Graph: what the Provisioner's permissions are seen in
	legacy     migrate.Secret
}

func (a *App) world(p *place, _ provision.Keystore) (outside, error) {
	var w outside
	tokens, err := token.New(token.Config{Authority: p.ends.Login, HTTP: p.transport, Local: p.cloud == agent.Local})
	if err != nil {
		return w, err
	}
	cred, err := a.credential(p, tokens)
	if err != nil {
		return w, err
	}
	g, err := entra.New(entra.Config{Endpoint: p.ends.Graph, Scope: p.ends.GraphScope, Credential: cred, HTTP: p.transport})
	if err != nil {
		return w, err
	}
	w.graph = graph{g}
	if w.arm, err = arm.New(arm.Config{Endpoint: p.ends.ARM, Audience: strings.TrimSuffix(p.ends.ARMScope, "/.default"), Credential: cred, HTTP: p.transport}); err != nil {
		return w, err
	}
	w.token = func(ctx context.Context, appID string, key crypto.Signer, der []byte, scope string) (api.Token, error) {
		return tokens.Certificate(ctx, p.tenant, appID, key, der, cmp.Or(scope, p.ends.ARMScope))
	}
	w.login = func(ctx context.Context, appID string, key crypto.Signer, der []byte) (api.Caller, error) {
		t, err := w.token(ctx, appID, key, der, "")
		if err != nil {
			return api.Caller{}, err
		}
		return token.Who(t.Value)
	}
	w.graphLogin = func(ctx context.Context, appID string, key crypto.Signer, der []byte) (api.Caller, error) {
		t, err := w.token(ctx, appID, key, der, p.ends.GraphScope)
		if err != nil {
			return api.Caller{}, err
		}
		return token.Who(t.Value)
	}
	w.legacy = func(ctx context.Context, appID string, v secret.Value) (bool, string, error) {
		return tokens.LegacySecret(ctx, p.tenant, appID, v, p.ends.GraphScope)
	}
	w.own = ownGraph(p, tokens)
	w.caller = func(ctx context.Context) (api.Caller, error) { return callers(ctx, cred, p) }
	return w, nil
}

// graph fits the Graph client to what the verbs ask for.
type graph struct{ *entra.Client }

// Deleted tells whether the object lies in the recycle bin.
func (g graph) Deleted(ctx context.Context, objectID string) (bool, error) {
	_, err := g.DeletedItem(ctx, objectID)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}
