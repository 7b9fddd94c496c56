package control_test

import (
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

const bot = "polyclaw-runtime"

var signing = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// world is a calm local cloud in this process with one agent wanted on it, and the door to it.
type world struct {
	*testing.T
	cloud    *localcloud.Cloud
	dir      string
	spec     agent.Spec
	keys     *memory.Store
	hooks    app.Hooks
	operator string
	view     *cloudview.Cloud
}

func newWorld(t *testing.T) *world { return newWorldOn(t, localcloud.Config{}) }

// newWorldOn is newWorld on a cloud of that configuration, with keys that are made already.
func newWorldOn(t *testing.T, cfg localcloud.Config) *world {
	t.Helper()
	cfg.SigningKey, cfg.OperatorKey = signing(), signing()
	cloud, err := localcloud.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{T: t, cloud: cloud, dir: t.TempDir(), keys: memory.New(), operator: "local:admin", spec: app.LocalSpec(cloud.Domain(), cloud.SubscriptionID())}
	w.hooks.Keys = func(provision.Keystore) provision.Keystore { return w.keys }
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			e := cloud.Endpoints()
			w.view = &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(),
				User: o.UPN, Password: o.Password.Reveal(), HTTP: &http.Client{Transport: cloud.Transport()}}
		}
	}
	return w
}

// door opens the door; it is closed at the end of the test.
func (w *world) door() *control.Door {
	w.Helper()
	a := &app.App{Getenv: func(string) string { return "" }, Hooks: w.hooks}
	d, err := a.InProcess(w.Context(), w.cloud, w.dir, w.spec, w.operator)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.Error(err)
		}
	})
	return d
}

func (w *world) apply(r api.ApplyRequest) (api.Report, error) {
	return w.door().Apply(w.Context(), r, nil)
}

func (w *world) revoke(r api.ApplyRequest) (api.Report, error) {
	return w.door().Revoke(w.Context(), r, nil)
}

func (w *world) plan() api.PlanAnswer {
	w.Helper()
	p, err := w.door().Plan(w.Context(), api.PlanRequest{})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// provision applies, and fails the test if that does not work.
func (w *world) provision() api.Report {
	w.Helper()
	r, err := w.apply(api.ApplyRequest{})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) record() agent.Record {
	w.Helper()
	all, err := w.door().State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, rec := range all {
		if rec.Agent == bot {
			return rec
		}
	}
	return agent.Record{}
}

// ledger is the newest entries.
func (w *world) ledger(n int) []api.LedgerEntry {
	w.Helper()
	all, err := w.door().Ledger(w.Context(), n)
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// call is a request of the administrator's, past the product.
func (w *world) call(method, path string, body, into any) {
	w.Helper()
	if _, err := w.view.Call(w.Context(), method, path, body, into); err != nil {
		w.Fatal(err)
	}
}

// inOrder checks the cloud with other eyes.
func (w *world) inOrder(others int) {
	w.Helper()
	want := cloudview.Want{Agent: bot, Grants: map[string]bool{}, Others: others}
	for _, g := range w.spec.Grants(w.spec.Agents[bot], role.Builtin()) {
		want.Grants[g.Key()] = true
	}
	bad, err := w.view.Provisioned(w.Context(), want)
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bad {
		w.Error(b)
	}
}

// writes counts the requests that may have changed something since the n-th.
func (w *world) writes(since int) int {
	n := 0
	for _, r := range w.cloud.Requests()[since:] {
		if r.Method != http.MethodGet && !strings.Contains(r.URL, "/token") {
			n++
		}
	}
	return n
}

// failing is a journal or state of which one operation fails.
type failing struct {
	control.Journal
	fail map[string]error
}

func (f failing) Start(ctx context.Context, r agent.Run) error {
	if err := f.fail["start"]; err != nil {
		return err
	}
	return f.Journal.Start(ctx, r)
}

func (f failing) Begin(ctx context.Context, run, step string, intent map[string]string) (agent.Entry, error) {
	if err := f.fail["begin "+step]; err != nil {
		return agent.Entry{}, err
	}
	return f.Journal.Begin(ctx, run, step, intent)
}

func (f failing) End(ctx context.Context, run, step string, r agent.Result) error {
	if err := f.fail["end "+step]; err != nil {
		return err
	}
	return f.Journal.End(ctx, run, step, r)
}

// stopAt makes every later door stop where the step ends.
func (w *world) stopAt(step string, err error) {
	w.hooks.Journal = func(j control.Journal) control.Journal { return failing{j, map[string]error{"end " + step: err}} }
}

func (w *world) goOn() { w.hooks.Journal = nil }
