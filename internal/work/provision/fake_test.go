package provision_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

const (
	tenant    = "11111111-0000-0000-0000-000000000001"
	sub       = "22222222-0000-0000-0000-000000000002"
	group     = "/subscriptions/" + sub + "/resourceGroups/rg"
	appObject = "33333333-0000-0000-0000-000000000003"
	appID     = "44444444-0000-0000-0000-000000000004"
	principal = "55555555-0000-0000-0000-000000000005"
	other     = "66666666-0000-0000-0000-000000000006"
	settle    = time.Minute
	quiet     = 10 * time.Second
)

func notFound() error { return fault.Newf(fault.NotFound, "no such object") }

// world is everything outside, in memory. Hooks stand before an operation and may answer in its place.
type world struct {
	*testing.T
	mu      sync.Mutex
	app     *agent.Application
	sp      *agent.Principal
	bin     map[string]bool
	assigns []agent.Assignment
	mi      *agent.UserAssignedIdentity

	kind      agent.Kind
	federated []agent.Federated
	keys      map[string]crypto.Signer // by ref
	rec       agent.Record
	entries   []agent.Entry
	calls     []string
	hook      map[string]func(n int) error // by operation; n counts from 1
	count     map[string]int
	stale     func(n int) *agent.Application // what the n-th reading of the application shows instead
	logins    func(n int) (api.Caller, error)
	prov      *provision.Provision
	facts     map[string]string

	alsoKnows agent.Action // of another package, which does nothing
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, bin: map[string]bool{}, keys: map[string]crypto.Signer{}, hook: map[string]func(int) error{}, count: map[string]int{},
		facts: map[string]string{agent.FactApplication: appObject, agent.FactAppID: appID, agent.FactPrincipal: principal}}
	w.app = &agent.Application{ID: appObject, AppID: appID, DisplayName: "bot", SignInAudience: "AzureADMyOrg"}
	w.sp = &agent.Principal{ID: principal, AppID: appID, Enabled: true}
	w.rec = agent.Record{Agent: "bot", ApplicationID: appObject, AppID: appID, PrincipalID: principal}
	w.logins = func(int) (api.Caller, error) { return api.Caller{ObjectID: principal, TenantID: tenant}, nil }
	w.prov = provision.New(provision.Config{
		Graph: w, ARM: w, Keys: w, Login: w.login, Env: nil, Memory: w, Roles: role.Builtin(), Settle: settle, Quiet: quiet, Operator: "operator",
		Generate: func(bits int) (crypto.Signer, error) { return theKey, w.at("generate") },
		Certify: func(key crypto.Signer, s provision.Subject, days int) ([]byte, error) {
			c, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: s.CommonName, Organization: s.Organization, Days: days, Now: time.Now()})
			if err != nil {
				return nil, err
			}
			return c.Raw, nil
		},
	})
	return w
}

// One key serves every test: making one takes a second, and none of them depends on which it is.
var theKey, anotherKey = mustKey(), mustKey()

func mustKey() crypto.Signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

// generation records one whose certificate is of theKey and whose key is in the store.
func (w *world) generation(id string, active bool) agent.Generation {
	c, err := keystore.Certificate(theKey, keystore.CertificateOptions{CommonName: "bot", Days: 30, Now: time.Now()})
	if err != nil {
		w.Fatal(err)
	}
	g := agent.Generation{ID: id, Ref: secret.Ref{Backend: "memory", Name: id}, DER: c.Raw, SHA256: fmt.Sprintf("%064s", id), Active: active}
	w.keys[g.Ref.String()] = theKey
	w.rec.Generations = append(w.rec.Generations, g)
	w.facts[agent.FactGeneration] = id
	return g
}

func cert(id string) agent.Certificate {
	return agent.Certificate{KeyID: id, SHA256: "sum of " + id, DER: []byte("der of " + id), DisplayName: "theirs"}
}

// at counts an operation, and lets its hook answer.
func (w *world) at(op string) error {
	w.mu.Lock()
	w.calls = append(w.calls, op)
	w.count[op]++
	n, hook := w.count[op], w.hook[op]
	w.mu.Unlock()
	if hook != nil {
		return hook(n)
	}
	return nil
}

func first(k int, err error) func(int) error {
	return func(n int) error {
		if n <= k {
			return err
		}
		return nil
	}
}

func always(err error) func(int) error { return func(int) error { return err } }

func (w *world) login(_ context.Context, id string, _ crypto.Signer, _ []byte) (api.Caller, error) {
	if err := w.at("login"); err != nil {
		return api.Caller{}, err
	}
	return w.logins(w.count["login"])
}

func (w *world) Namesakes(context.Context, string) ([]agent.Namesake, error) { return nil, nil }

func (w *world) Application(_ context.Context, id string) (agent.Application, error) {
	if err := w.at("read application"); err != nil {
		return agent.Application{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	app := w.app
	if w.stale != nil {
		if old := w.stale(w.count["read application"]); old != nil {
			app = old
		}
	}
	if app == nil || id != app.ID {
		return agent.Application{}, notFound()
	}
	a := *app
	a.Certificates, a.Passwords, a.Federated = slices.Clone(a.Certificates), slices.Clone(a.Passwords), nil
	return a, nil
}

func (w *world) Federated(_ context.Context, id string) ([]agent.FederatedCredential, error) {
	w.mu.Lock()
	app := w.app
	w.mu.Unlock()
	if app == nil {
		return nil, notFound()
	}
	return slices.Clone(app.Federated), w.at("list federated")
}

func (w *world) Owners(context.Context, string) ([]agent.Owner, error) { return nil, nil }

func (w *world) RemoveFederated(_ context.Context, _, id string) error {
	if err := w.at("remove federated"); err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(w.app.Federated), func(f agent.FederatedCredential) bool { return f.ID == id })
	if len(left) == len(w.app.Federated) {
		return notFound()
	}
	w.app.Federated = left
	return nil
}

func (w *world) DeletedByUniqueName(context.Context, string) (string, bool, error) {
	return other, w.bin["by name"], w.at("look for name in bin")
}

func (w *world) Principal(context.Context, string) (agent.Principal, error) {
	if err := w.at("read principal"); err != nil {
		return agent.Principal{}, err
	}
	if w.sp == nil {
		return agent.Principal{}, notFound()
	}
	return *w.sp, nil
}

func (w *world) UpsertApplication(_ context.Context, unique, name string) (agent.Application, bool, error) {
	if err := w.at("upsert " + unique[:9]); err != nil {
		return agent.Application{}, false, err
	}
	w.app.UniqueName, w.app.DisplayName = unique, name
	return *w.app, true, nil
}

func (w *world) SetSingleTenant(context.Context, string) error { return w.at("single tenant") }

func (w *world) SetCertificates(_ context.Context, id string, keep, add []agent.Certificate) error {
	if err := w.at("set certificates"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.app == nil {
		return notFound()
	}
	for _, c := range add {
		if len(c.DER) == 0 {
			w.Errorf("certificate %s is added without its bytes", c.KeyID)
		}
	}
	w.app.Certificates = append(slices.Clone(keep), add...)
	return nil
}

func (w *world) CreatePrincipal(context.Context, string) (agent.Principal, error) {
	if err := w.at("create principal"); err != nil {
		return agent.Principal{}, err
	}
	w.sp = &agent.Principal{ID: principal, AppID: appID, Enabled: true}
	return *w.sp, nil
}

func (w *world) SetEnabled(_ context.Context, _ string, on bool) error {
	if err := w.at("set enabled"); err != nil {
		return err
	}
	if w.sp == nil {
		return notFound()
	}
	w.sp.Enabled = on
	return nil
}

func (w *world) RemovePassword(_ context.Context, collection, _, id string) error {
	if err := w.at("remove password " + collection); err != nil {
		return err
	}
	w.app.Passwords = slices.DeleteFunc(w.app.Passwords, func(p agent.Password) bool { return p.KeyID == id })
	return nil
}

func (w *world) DeleteApplication(context.Context, string) error {
	if err := w.at("delete application"); err != nil {
		return err
	}
	if w.app == nil {
		return notFound()
	}
	w.app, w.bin[appObject] = nil, true
	return nil
}

func (w *world) Deleted(_ context.Context, id string) (bool, error) {
	return w.bin[id], w.at("look in bin")
}

func (w *world) Purge(_ context.Context, id string) error {
	if err := w.at("purge"); err != nil {
		return err
	}
	if !w.bin[id] {
		return notFound()
	}
	delete(w.bin, id)
	return nil
}

func (w *world) GroupExists(context.Context, string, string) (bool, error) { return true, nil }
func (w *world) Vault(context.Context, string) (*agent.Vault, error)       { return nil, nil }
func (w *world) Exists(context.Context, string) (bool, error)              { return false, nil }
func (w *world) Unassign(context.Context, string, string) error            { return w.at("unassign") }
func (w *world) Ref(name string) secret.Ref                                { return secret.Ref{Backend: "memory", Name: name} }
func (w *world) Agent(context.Context, string) (agent.Record, error)       { return w.rec, w.at("record") }
func (w *world) Entries(context.Context, string) ([]agent.Entry, error) {
	return slices.Clone(w.entries), nil
}
func (w *world) End(_ context.Context, _, id string, _ agent.Result) error { return w.at("end " + id) }
func (w *world) Update(_ context.Context, _ string, f func(*agent.Record) error) error {
	return f(&w.rec)
}

func (w *world) Assignments(_ context.Context, _, _ string) ([]agent.Assignment, error) {
	return slices.Clone(w.assigns), w.at("list assignments")
}

func (w *world) Assign(_ context.Context, name string, g role.Grant, who string) error {
	if err := w.at("assign"); err != nil {
		return err
	}
	w.assigns = append(w.assigns, agent.Assignment{ID: name, Name: name, RoleID: g.RoleID, Role: g.Role, Scope: g.Scope, PrincipalID: who})
	return nil
}

func (w *world) AssignmentFor(_ context.Context, g role.Grant, _ string) (*agent.Assignment, error) {
	if err := w.at("find assignment"); err != nil {
		return nil, err
	}
	for _, a := range w.assigns {
		if a.Grant().Key() == g.Key() {
			return &a, nil
		}
	}
	return nil, nil
}

func (w *world) Open(_ context.Context, ref secret.Ref) (crypto.Signer, error) {
	if err := w.at("open key"); err != nil {
		return nil, err
	}
	if k, ok := w.keys[ref.String()]; ok {
		return k, nil
	}
	return nil, notFound()
}

func (w *world) Create(_ context.Context, name string, key crypto.Signer) (secret.Ref, error) {
	ref := w.Ref(name)
	if err := w.at("create key"); err != nil {
		return ref, err
	}
	if _, there := w.keys[ref.String()]; there {
		return ref, fault.Newf(fault.Conflict, "there is one")
	}
	w.keys[ref.String()] = key
	return ref, nil
}

func (w *world) Delete(_ context.Context, ref secret.Ref) error {
	if err := w.at("delete key"); err != nil {
		return err
	}
	if _, there := w.keys[ref.String()]; !there {
		return notFound()
	}
	delete(w.keys, ref.String())
	return nil
}

func (w *world) Withdraw(_ context.Context, _, id string) error {
	w.entries = slices.DeleteFunc(w.entries, func(e agent.Entry) bool { return e.StepID == id })
	return w.at("withdraw " + id)
}

func (w *world) Begin(_ context.Context, run, id string, intent map[string]string) (agent.Entry, error) {
	if err := w.at("begin " + id); err != nil {
		return agent.Entry{}, err
	}
	for _, e := range w.entries {
		if e.StepID == id {
			return e, nil
		}
	}
	e := agent.Entry{RunID: run, StepID: id, Intent: maps.Clone(intent), Begun: time.Now()}
	w.entries = append(w.entries, e)
	return e, nil
}

// do carries out one step as a run does.
func (w *world) do(s agent.Step) (agent.Result, error) { return w.steps(s) }

// doFresh is do in a plan that has made the application itself.
func (w *world) doFresh(s agent.Step) (agent.Result, error) {
	ended := time.Now()
	w.entries = append(w.entries, agent.Entry{StepID: "application", Ended: &ended})
	return w.steps(s, agent.Step{ID: "application", Action: agent.CreateApplication})
}

func (w *world) steps(s agent.Step, before ...agent.Step) (agent.Result, error) {
	r, run := w.runOf(s, before...)
	out, err := r.Run(w.Context(), run)
	return out.Results["step"], err
}

// quit brings the step to rest as a revoke does.
func (w *world) quit(s agent.Step) error {
	r, run := w.runOf(s)
	return r.Settle(w.Context(), run, true)
}

func (w *world) runOf(s agent.Step, before ...agent.Step) (job.Runner, agent.Run) {
	s.ID, s.Title = "step", "the step"
	bot := &agent.Agent{Name: "bot", Kind: w.kind, Federated: w.federated, Roles: agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: group}}}}
	spec := agent.Spec{Subscription: sub, ResourceGroup: "rg", Agents: map[string]*agent.Agent{"bot": bot}}
	run := agent.Run{ID: "run", Agent: "bot", Verb: agent.Apply, Plan: agent.Plan{Tenant: tenant, Subscription: sub, Agent: "bot", Spec: &spec, Facts: w.facts, Steps: append(before, s)}}
	handlers := w.prov.Handlers()
	if w.alsoKnows != "" {
		handlers[w.alsoKnows] = job.Handler{Do: func(context.Context, *job.Call) (agent.Result, error) { return agent.Result{}, nil }}
	}
	return job.Runner{Journal: w, Memory: w, Handlers: handlers}, run
}

func (w *world) certificates() string {
	var ids []string
	for _, c := range w.app.Certificates {
		id := c.KeyID
		if len(id) == 36 {
			id = "ours"
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
