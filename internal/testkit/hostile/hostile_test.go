// Package hostile runs the main job on a local cloud on its worst day, in virtual time: replication lag of up to two minutes, three
// requests of ten throttled, failed or cut off before or after their effect. Whatever the seed, the end must be as if nothing had
// happened.
package hostile

import (
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

var (
	seeds = flag.Int("seeds", 24, "how many seeds to run")
	seed  = flag.Uint64("seed", 0, "run this seed alone")
	first = flag.Uint64("first", 1, "the first seed")
)

var (
	violations, ran atomic.Int64
	signing         = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(cryptorand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	fmt.Printf("hostile: %d seeds, %d violations\n", ran.Load(), violations.Load())
	os.Exit(code)
}

func TestHostile(t *testing.T) {
	if *seed != 0 {
		one(t, *seed)
		return
	}
	for i := range uint64(*seeds) {
		t.Run(fmt.Sprint("seed=", *first+i), func(t *testing.T) {
			t.Parallel()
			one(t, *first+i)
		})
	}
}

func one(t *testing.T, seed uint64) {
	dir := t.TempDir()
	signing()
	synctest.Test(t, func(t *testing.T) {
		ran.Add(1)
		w := newWorld(t, seed, dir)
		defer func() { // also when the story ends early
			w.close()
			if t.Failed() {
				violations.Add(1)
				t.Logf("reproduce: go test ./internal/testkit/hostile -v -args -seed=%d", seed)
			}
		}()
		w.story()
	})
}

// world is one hostile cloud with one agent on it.
type world struct {
	*testing.T
	seed  uint64
	rand  *rand.Rand
	dir   string
	cloud *localcloud.Cloud
	spec  agent.Spec
	keys  *memory.Store
	view  *cloudview.Cloud
	want  cloudview.Want
}

func newWorld(t *testing.T, seed uint64, dir string) *world {
	w := &world{T: t, seed: seed, dir: dir, keys: memory.New(), rand: rand.New(rand.NewPCG(seed, 99))}
	cloud, err := localcloud.New(localcloud.Config{Seed: seed, SigningKey: signing(), OperatorKey: signing()})
	if err != nil {
		t.Fatal(err)
	}
	w.cloud = cloud
	w.spec = app.LocalSpec(cloud.Domain(), cloud.SubscriptionID())
	w.want = cloudview.Want{Agent: "polyclaw-runtime", Grants: map[string]bool{}}
	for _, g := range w.spec.Grants(w.spec.Agents[w.want.Agent], role.Builtin()) {
		w.want.Grants[g.Key()] = true
	}
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			e := cloud.Endpoints()
			w.view = &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(),
				User: o.UPN, Password: o.Password.Reveal(), HTTP: &http.Client{Transport: cloud.Transport()}}
		}
	}
	return w
}

func (w *world) close() {
	if err := w.cloud.Close(); err != nil {
		w.Error(err)
	}
}

// hostile and calm turn the knobs; calm lets every replica catch up.
func (w *world) hostile() {
	if err := w.cloud.SetKnobs(localcloud.Hostile(w.seed)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) calm() {
	if err := w.cloud.SetKnobs(localcloud.Knobs{}); err != nil {
		w.Fatal(err)
	}
	time.Sleep(3 * time.Minute)
}

// story provisions, lets somebody meddle, repairs, and revokes; after each it looks with other eyes.
func (w *world) story() {
	w.hostile()
	w.run("apply", func(ctx context.Context, d *control.Door) (api.Report, error) {
		return d.Apply(ctx, api.ApplyRequest{}, nil)
	})
	w.calm()
	w.provisioned("after apply")
	w.meddle()
	w.hostile()
	w.run("repair", func(ctx context.Context, d *control.Door) (api.Report, error) {
		return d.Apply(ctx, api.ApplyRequest{}, nil)
	})
	w.calm()
	w.provisioned("after repair")
	principal := w.record().PrincipalID
	purge := w.rand.IntN(2) == 0
	w.hostile()
	w.run("revoke", func(ctx context.Context, d *control.Door) (api.Report, error) {
		return d.Revoke(ctx, api.ApplyRequest{PlanRequest: api.PlanRequest{Purge: purge}}, nil)
	})
	w.calm()
	w.revoked(principal, purge)
}

// run opens the door and does it, again and again as a person would who is told to run the same command again.
func (w *world) run(what string, do func(context.Context, *control.Door) (api.Report, error)) {
	ctx := w.Context()
	var err error
	for range 12 {
		var d *control.Door
		if d, err = w.open(ctx); err == nil {
			_, err = do(ctx, d)
			if e := d.Close(); e != nil {
				w.Fatal(e)
			}
		}
		if err == nil {
			return
		}
		if what == "revoke" && fault.Is(err, fault.NotFound) {
			return
		}
		if !fault.Is(err, fault.Stopped, fault.Unavailable, fault.Throttled, fault.NotYet) {
			break
		}
		time.Sleep(time.Minute)
	}
	w.Fatalf("%s: %v (hint: %s)", what, err, fault.Hint(err))
}

func (w *world) open(ctx context.Context) (*control.Door, error) {
	a := &app.App{Getenv: func(string) string { return "" }, Hooks: app.Hooks{Keys: func(provision.Keystore) provision.Keystore { return w.keys }}}
	return a.InProcess(ctx, w.cloud, w.dir, w.spec, "local:admin")
}

func (w *world) record() agent.Record {
	d, err := w.open(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	defer d.Close()
	all, err := d.State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, rec := range all {
		if rec.Agent == w.want.Agent {
			return rec
		}
	}
	return agent.Record{}
}

func (w *world) provisioned(when string) {
	bad, err := w.view.Provisioned(w.Context(), w.want)
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bad {
		w.Errorf("%s: %s", when, b)
	}
	names, err := w.keys.List(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if len(names) != 1 {
		w.Errorf("%s: the keystore holds %d keys, want 1: %v", when, len(names), names)
	}
	d, err := w.open(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Token(w.Context(), api.TokenRequest{}); err != nil {
		w.Errorf("%s: no token: %v", when, err)
	}
	plan, err := d.Plan(w.Context(), api.PlanRequest{})
	if err != nil || !plan.Plan.Empty() || len(plan.Plan.Blockers) > 0 || plan.Open != nil {
		w.Errorf("%s: the plan is not empty: %v %v %v", when, plan.Plan.Steps, plan.Plan.Blockers, err)
	}
	env, err := os.ReadFile(filepath.Join(w.dir, ".env"))
	if err != nil || !strings.Contains(string(env), w.record().AppID) {
		w.Errorf("%s: the environment file does not name the application: %v", when, err)
	}
}

func (w *world) revoked(principal string, purge bool) {
	bad, err := w.view.Revoked(w.Context(), w.want.Agent, principal, purge)
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bad {
		w.Errorf("after revoke (purge %v): %s", purge, b)
	}
	if names, err := w.keys.List(w.Context()); err != nil || len(names) > 0 {
		w.Errorf("after revoke: keys %v are left (%v)", names, err)
	}
	if rec := w.record(); rec.Provisioned() || len(rec.Generations) > 0 {
		w.Errorf("after revoke: the record still has application %q and %d generations", rec.ApplicationID, len(rec.Generations))
	}
	env, err := os.ReadFile(filepath.Join(w.dir, ".env"))
	if err == nil && strings.Contains(string(env), "AZURE_CLIENT_ID") {
		w.Error("after revoke: the environment file still has the application's id")
	}
}

// meddle does one thing that somebody may do behind our back.
func (w *world) meddle() {
	ctx, rec := w.Context(), w.record()
	call := func(method, path string, body any) {
		if _, err := w.view.Call(ctx, method, path, body, nil); err != nil {
			w.Fatal("meddle: ", err)
		}
	}
	switch what := w.rand.IntN(5); what {
	case 0: // remove a role assignment
		a := rec.Assignments[w.rand.IntN(len(rec.Assignments))]
		call(http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil)
	case 1: // add one
		call(http.MethodPut, w.spec.Group()+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-00000000abcd?api-version=2022-04-01",
			map[string]any{"properties": map[string]any{"roleDefinitionId": "/subscriptions/" + w.spec.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/4a9ae827-6dc8-4573-8ac7-8239d42aa03f", "principalId": rec.PrincipalID, "principalType": "ServicePrincipal"}})
	case 2: // remove the certificate
		call(http.MethodPatch, "/v1.0/applications/"+rec.ApplicationID, map[string]any{"keyCredentials": []any{}})
	case 3: // lose the key
		if err := w.keys.Delete(ctx, rec.Active().Ref); err != nil {
			w.Fatal(err)
		}
	case 4: // nothing at all
	}
}
