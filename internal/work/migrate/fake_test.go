package migrate_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

const (
	tenant    = "11111111-0000-4000-8000-000000000001"
	other     = "22222222-0000-4000-8000-000000000002"
	appObject = "33333333-0000-4000-8000-000000000003"
	appID     = "44444444-0000-4000-8000-000000000004"
	principal = "55555555-0000-4000-8000-000000000005"
	graphID   = "66666666-0000-4000-8000-000000000006"
	stateFile = "/w/.entraclaw-state.json"
	envFile   = "/w/.env"
	canary    = "Qm8Q~CANARY-of-the-legacy-secret-0123456789"
	settle    = time.Minute
)

func notFound() error { return fault.Newf(fault.NotFound, "no such object") }

// world is everything outside, in memory. Hooks stand before an operation and may answer in its place; a killed world answers nothing.
type world struct {
	*testing.T
	mu      sync.Mutex
	app     *agent.Application
	sp      *agent.Principal
	owners  []agent.Owner
	same    []agent.Namesake
	roles   []provisioner.AppRole
	said    []string // declared
	granted []provisioner.Grant
	rights  func(agent.Application) provisioner.Rights

	keys   map[string]crypto.Signer // by entry
	beside map[string][]byte        // certificate beside a key
	file   provisioner.File
	text   map[string]string   // our keys of the state file
	holds  map[string][]string // file → values in it
	kinds  map[string]provisioner.Kind
	vault  map[string][]string // backup → values in it
	vouch  func(ours func(context.Context, secret.Value) (bool, error))
	secret func(n int, v string) (bool, string, error)
	rec    agent.Record

	entries []agent.Entry
	calls   []string
	count   map[string]int
	hook    map[string]func(n int) error
	effects int // mutating operations so far
	kill    int // the process dies at that effect: 1 is the first
	late    bool
	dead    bool
	spec    agent.Spec
	m       *migrate.Migrate
	facts   map[string]string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, keys: map[string]crypto.Signer{}, beside: map[string][]byte{}, text: map[string]string{}, holds: map[string][]string{}, kinds: map[string]provisioner.Kind{}, vault: map[string][]string{},
		hook: map[string]func(int) error{}, count: map[string]int{}, facts: map[string]string{agent.FactApplication: appObject, agent.FactAppID: appID, agent.FactPrincipal: principal}}
	w.app = &agent.Application{ID: appObject, AppID: appID, DisplayName: "EntraClaw Agent ID Provisioner", SignInAudience: "AzureADMyOrg"}
	w.sp = &agent.Principal{ID: principal, AppID: appID, Enabled: true}
	w.rec = agent.Record{Agent: provisioner.Name}
	w.file = provisioner.File{Path: stateFile, Exists: true, Tenant: tenant, Client: appID}
	w.secret = func(int, string) (bool, string, error) { return false, "AADSTS7000215", nil }
	w.rights = func(agent.Application) provisioner.Rights { return provisioner.Rights{Known: true, Enough: true} }
	w.spec.Defaults()
	w.m = migrate.New(migrate.Config{Graph: w, Keys: w, Files: w, Secret: w.ask, Memory: w, Tenant: tenant, Default: w.Ref(tenant), Settle: settle})
	return w
}

// Two keys serve every test: making one takes a second, and none of them depends on which it is.
var theKey, anotherKey, thirdKey = mustKey(), mustKey(), mustKey()

func mustKey() crypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

func certificateOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	c, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "entraclaw-provisioner", Days: 30, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return c.Raw
}

func sum(der []byte) string {
	s := sha256.Sum256(der)
	return hex.EncodeToString(s[:])
}

// generation records one of that key, whose entry is the active slot or one of its own, and holds the key.
func (w *world) generation(id string, key crypto.Signer, active bool) agent.Generation {
	name := tenant
	if !active {
		name += "#" + id
	}
	der := certificateOf(w.T, key)
	g := agent.Generation{ID: id, Ref: w.Ref(name), DER: der, SHA256: sum(der), KeyID: "k-" + id, NotAfter: time.Now().AddDate(0, 0, 30), Active: active}
	w.keys[name] = key
	w.rec.Generations = append(w.rec.Generations, g)
	w.app.Certificates = append(w.app.Certificates, agent.Certificate{KeyID: g.KeyID, SHA256: g.SHA256, DER: der, End: g.NotAfter})
	w.facts[agent.FactGeneration] = id
	return g
}

// slot is whose key the slot holds.
func (w *world) slot() crypto.Signer { return w.keys[tenant] }

func killed() error { return fault.Newf(fault.Corrupt, "the process is dead") }

func (w *world) at(op string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return killed()
	}
	w.calls = append(w.calls, op)
	w.count[op]++
	if hook := w.hook[op]; hook != nil {
		return hook(w.count[op])
	}
	return nil
}

// effect is an operation that changes something: the process may die just before it or just after.
func (w *world) effect(op string, do func() error) error {
	if err := w.at(op); err != nil {
		return err
	}
	w.effects++
	if w.effects == w.kill && !w.late {
		w.dead = true
		return killed()
	}
	err := do()
	if w.effects == w.kill {
		w.dead = true
		return killed()
	}
	return err
}

func (w *world) ask(_ context.Context, id string, v secret.Value) (works bool, said string, err error) {
	if id != appID {
		w.Errorf("the secret is asked of application %s", id)
	}
	if err := w.at("secret"); err != nil {
		return false, "", err
	}
	_ = v.Use(func(b []byte) error { works, said, err = w.secret(w.count["secret"], string(b)); return nil })
	return works, said, err
}

func (w *world) Namesakes(context.Context, string) ([]agent.Namesake, error) {
	return slices.Clone(w.same), w.at("namesakes")
}

func (w *world) Application(_ context.Context, id string) (agent.Application, error) {
	if err := w.at("application"); err != nil {
		return agent.Application{}, err
	}
	if w.app == nil || id != w.app.ID {
		return agent.Application{}, notFound()
	}
	a := *w.app
	a.Certificates, a.Passwords, a.Owners = slices.Clone(a.Certificates), slices.Clone(a.Passwords), nil
	return a, nil
}

func (w *world) ApplicationByAppID(ctx context.Context, id string) (agent.Application, error) {
	if w.app == nil || id != w.app.AppID {
		return agent.Application{}, notFound()
	}
	return w.Application(ctx, w.app.ID)
}

func (w *world) Federated(context.Context, string) ([]agent.FederatedCredential, error) {
	return nil, w.at("federated")
}

func (w *world) Owners(context.Context, string) ([]agent.Owner, error) {
	return slices.Clone(w.owners), w.at("owners")
}

func (w *world) Principal(context.Context, string) (agent.Principal, error) {
	if err := w.at("principal"); err != nil {
		return agent.Principal{}, err
	}
	if w.sp == nil {
		return agent.Principal{}, notFound()
	}
	return *w.sp, nil
}

func (w *world) AppRoles(_ context.Context, id string) (string, []provisioner.AppRole, error) {
	if id != provisioner.Graph {
		w.Errorf("the roles of %s are asked", id)
	}
	return graphID, w.roles, w.at("roles")
}

func (w *world) Declared(context.Context, string, string) ([]string, error) {
	return w.said, w.at("declared")
}

func (w *world) Declare(_ context.Context, _, _ string, ids []string) error {
	return w.effect("declare", func() error { w.said = append(w.said, ids...); return nil })
}

func (w *world) Granted(_ context.Context, _, resource string) ([]provisioner.Grant, error) {
	if resource != graphID {
		w.Errorf("the grants on %s are asked", resource)
	}
	return w.granted, w.at("granted")
}

func (w *world) GrantRole(_ context.Context, _, _, role string) error {
	return w.effect("grant", func() error {
		w.granted = append(w.granted, provisioner.Grant{ID: "g-" + role, RoleID: role})
		return nil
	})
}

func (w *world) Rights(_ context.Context, app agent.Application) (provisioner.Rights, error) {
	return w.rights(app), w.at("rights")
}

func (w *world) Ref(name string) secret.Ref {
	return secret.Ref{Backend: "keychain", Store: provisioner.Service, Name: name}
}

func (w *world) Open(_ context.Context, ref secret.Ref) (crypto.Signer, error) {
	if err := w.at("open " + ref.Name); err != nil {
		return nil, err
	}
	if k, ok := w.keys[ref.Name]; ok {
		return k, nil
	}
	return nil, notFound()
}

func (w *world) Create(_ context.Context, name string, key crypto.Signer) (secret.Ref, error) {
	if _, taken := w.keys[name]; taken {
		return secret.Ref{}, fault.Newf(fault.Conflict, "there is one")
	}
	return w.Ref(name), w.effect("create "+name, func() error { w.keys[name] = key; return nil })
}

func (w *world) Replace(_ context.Context, name string, key crypto.Signer) error {
	if name != tenant {
		w.Errorf("%s is replaced, which is not the slot", name)
	}
	return w.effect("replace", func() error { w.keys[name] = key; return nil })
}

func (w *world) Delete(_ context.Context, ref secret.Ref) error {
	return w.effect("delete "+ref.Name, func() error { delete(w.keys, ref.Name); return nil })
}

func (w *world) Certificate(_ context.Context, ref secret.Ref) ([]byte, error) {
	if err := w.at("beside"); err != nil {
		return nil, err
	}
	if der := w.beside[ref.Name]; der != nil {
		return der, nil
	}
	return nil, notFound()
}

func (w *world) State(_ context.Context, path string) (provisioner.File, error) {
	if path != stateFile {
		w.Errorf("state file %q is read", path)
	}
	return w.file, w.at("state")
}

func (w *world) UpdateState(_ context.Context, _ string, set map[string]string, remove []string) (string, error) {
	return "changed", w.effect("update state", func() error {
		maps.Copy(w.text, set)
		for _, k := range remove {
			delete(w.text, k)
		}
		w.file.Certs = nil
		for rest := []byte(w.text[provisioner.KeyCert]); len(rest) > 0; {
			der, left := cutPEM(rest)
			w.file.Certs, rest = append(w.file.Certs, der), left
		}
		w.file.Tenant, w.file.Client = w.text[provisioner.KeyTenant], w.text[provisioner.KeyClient]
		w.file.Thumbprint, w.file.Keystore = w.text[provisioner.KeyThumbprint], w.text[provisioner.KeyKeystore]
		return nil
	})
}

func (w *world) Legacy(_ context.Context, where migrate.Where) (migrate.Legacy, error) {
	var l migrate.Legacy
	if err := w.at("legacy"); err != nil {
		return l, err
	}
	if where.State != stateFile || where.Env != envFile {
		w.Errorf("searched is %+v", where)
	}
	if w.vouch != nil && where.Ours != nil {
		w.vouch(where.Ours)
	}
	var values []string
	for _, path := range slices.Sorted(maps.Keys(w.holds)) {
		values = append(values, w.holds[path]...)
		if len(w.holds[path]) > 0 {
			l.Places = append(l.Places, provisioner.Place{Path: path, Kind: w.kinds[path]})
		}
	}
	for _, b := range where.BackUps {
		values = append(values, w.vault[b]...)
	}
	for _, v := range where.Known {
		_ = v.Use(func(b []byte) error { values = append(values, string(b)); return nil })
	}
	slices.Sort(values)
	for _, v := range slices.Compact(values) {
		l.Values = append(l.Values, secret.New([]byte(v)))
	}
	return l, nil
}

func (w *world) Purge(_ context.Context, path string, values []secret.Value, kind provisioner.Kind, approved string) (string, error) {
	if kind != w.kinds[path] {
		w.Errorf("%s is purged as %s", path, kind)
	}
	return "removed", w.effect("purge "+path, func() error {
		w.holds[path] = slices.DeleteFunc(slices.Clone(w.holds[path]), func(v string) bool {
			return slices.ContainsFunc(values, secret.New([]byte(v)).Equal)
		})
		return nil
	})
}

func (w *world) BackUp(_ context.Context, path, name string) (agent.BackUp, error) {
	b := agent.BackUp{Path: "/b/" + name + ".age", Made: time.Now(), Expires: time.Now().Add(time.Hour), Key: w.Ref("backup/" + tenant)}
	return b, w.effect("back up "+path, func() error { w.vault[b.Path] = w.holds[path]; return nil })
}

func (w *world) Agent(context.Context, string) (agent.Record, error) {
	rec := w.rec
	rec.Generations = slices.Clone(rec.Generations)
	return rec, w.at("record")
}

func (w *world) Update(_ context.Context, _ string, f func(*agent.Record) error) error {
	return w.effect("remember", func() error { return f(&w.rec) })
}

func (w *world) Entries(context.Context, string) ([]agent.Entry, error) {
	return slices.Clone(w.entries), nil
}

func (w *world) Begin(_ context.Context, run, id string, intent map[string]string) (agent.Entry, error) {
	for _, e := range w.entries {
		if e.StepID == id {
			return e, w.at("begin")
		}
	}
	e := agent.Entry{RunID: run, StepID: id, Intent: maps.Clone(intent), Begun: time.Now()}
	return e, w.effect("begin", func() error { w.entries = append(w.entries, e); return nil })
}

func (w *world) End(_ context.Context, _, id string, r agent.Result) error {
	return w.effect("end", func() error {
		now := time.Now()
		for i := range w.entries {
			if w.entries[i].StepID == id {
				w.entries[i].Ended, w.entries[i].Result = &now, r
			}
		}
		return nil
	})
}

func (w *world) Withdraw(context.Context, string, string) error { return w.at("withdraw") }

// do carries out one step as a run does.
func (w *world) do(s agent.Step) (agent.Result, error) {
	if s.ID == "" {
		s.ID = "step"
	}
	s.Title = "the step"
	run := agent.Run{ID: "run", Agent: provisioner.Name, Verb: provisioner.Migrate, Plan: agent.Plan{Tenant: tenant, Agent: provisioner.Name, Facts: w.facts, Steps: []agent.Step{s}}}
	r := job.Runner{Journal: w, Memory: w, Handlers: w.m.Handlers()}
	out, err := r.Run(w.Context(), run)
	if text := fmt.Sprintf("%v %+v %+v", err, out, w.entries); strings.Contains(text, canary) {
		w.Errorf("the secret is in what a run says or writes down")
	}
	return out.Results[s.ID], err
}

// atEachCrash carries out the step in a new world for each instant at which the process can die, just before and just after each effect,
// then again as the next process does, and compares what is left with an undisturbed run. between looks at each world of a dead process.
func atEachCrash(t *testing.T, make func(t *testing.T) (*world, agent.Step), between, after func(t *testing.T, w *world)) {
	t.Helper()
	w, s := make(t)
	if _, err := w.do(s); err != nil {
		t.Fatal(err)
	}
	after(t, w)
	all := w.effects
	for n := 1; n <= all; n++ {
		for _, late := range []bool{false, true} {
			w, s := make(t)
			w.kill, w.late = n, late
			if _, err := w.do(s); err == nil {
				t.Fatalf("effect %d: the dead process went on", n)
			}
			if between != nil {
				between(t, w)
			}
			w.dead, w.kill = false, 0
			if _, err := w.do(s); err != nil {
				t.Fatalf("killed at effect %d of %d (late %v), the next run: %v\ncalls %v", n, all, late, err, w.calls)
			}
			after(t, w)
			if t.Failed() {
				t.Fatalf("killed at effect %d of %d (late %v); calls %v", n, all, late, w.calls)
			}
		}
	}
	if all < 3 { // begin, the effect, end
		t.Errorf("only %d effects were seen", all)
	}
}

func sprint(all ...any) string { return fmt.Sprintf("%v %+v %#v", all, all, all) }
