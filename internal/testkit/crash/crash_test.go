//go:build unix

// Package crash kills the product: real child processes, SIGKILL, before and after every outside request, every journal and state write,
// and every change of keystore, environment file, state file and backup. The next run must end where an undisturbed one would have.
package crash

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

var (
	only       = flag.String("point", "", "run this point alone, such as 'apply journal begin login before #1'")
	violations atomic.Int64
	points     atomic.Int64
	signing    = sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(cryptorand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
)

// parallel is how many points are tried at once unless -parallel says otherwise.
const parallel = "6"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		os.Exit(child(os.Args[1:]))
	}
	// They wait more than they work: for replicas, and for a key credential to be quiet.
	if f := flag.Lookup("test.parallel"); f != nil {
		if err := f.Value.Set(parallel); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	code := m.Run()
	fmt.Printf("crash: %d points, %d violations\n", points.Load(), violations.Load())
	os.Exit(code)
}

// verb is a command that is killed.
type verb struct {
	name    string
	spec    string   // leastkey.yaml; "" is the local cloud's own
	args    []string // @home is the world's folder
	setup   []string // what runs undisturbed before
	before  func(*world)
	stopped func(*world) // what has to be true wherever it stops; nil is nothing
	check   func(*world)
	code    int    // with which it ends where nothing disturbs it
	goesOn  string // what the ledger says once an open run was continued; "" is not looked at
	sample  bool   // of repeated reads only the first and the last
}

func verbs() []verb {
	apply := []string{"apply", "--yes"}
	rotate := []string{"provisioner", "rotate", "--yes"}
	return []verb{
		{name: "apply", args: apply, check: (*world).provisioned},
		{name: "repair", args: apply, setup: apply, before: (*world).damage, check: (*world).provisioned},
		{name: "revoke", args: []string{"revoke", "--yes", bot}, setup: apply, check: func(w *world) { w.revoked(false) }},
		{name: "purge", args: []string{"revoke", "--yes", "--purge", bot}, setup: apply, check: func(w *world) { w.revoked(true) }},
		{name: "identity", spec: managedSpec, args: apply, check: (*world).withoutKey, sample: true},
		{name: "revoke-identity", spec: managedSpec, args: []string{"revoke", "--yes", bot}, setup: apply, check: (*world).withoutIdentity, sample: true},
		{name: "federated", spec: federatedSpec, args: apply, check: (*world).withoutKey, sample: true},
		{name: "rotate", args: []string{"rotate", "--yes", bot}, setup: apply, before: (*world).remember, stopped: (*world).agentLogsIn, check: (*world).renewed, sample: true},
		{name: "fix-roles", args: []string{"roles", "fix", "--yes", bot}, setup: apply, before: (*world).unassign, check: (*world).provisioned, goesOn: "fix-roles (continued)", sample: true},
		{name: "prepare", args: []string{"migrate", bot, "--prepare", "--yes"}, before: (*world).runtime, stopped: (*world).runtimeWorks, check: (*world).prepared,
			code: api.ExitFindings, goesOn: "migrate (continued)", sample: true}, // the password that is left is a finding
		{name: "migrate", args: migration(), before: (*world).legacy, stopped: (*world).logsIn, check: (*world).migrated},
		{name: "rotate-provisioner", args: rotate, before: (*world).rotatable, stopped: (*world).logsIn, check: (*world).migrated, sample: true},
		{name: "rotate-expired", args: rotate, before: (*world).expired, stopped: (*world).slotLogsIn, check: (*world).migrated, sample: true},
	}
}

// migration is the command that moves the legacy install to a certificate, with all that somebody has to have looked at.
func migration() []string {
	return []string{"provisioner", "migrate", "--yes", "--sole-holder", "--edit", "@home/" + install + "/.entraclaw-state.json.bak.1735689600"}
}

const bot = "polyclaw-runtime"

func TestCrash(t *testing.T) {
	for _, v := range verbs() {
		t.Run(v.name, func(t *testing.T) {
			for _, p := range record(t, v) {
				if full := v.name + " " + p; *only != "" && *only != full {
					continue
				}
				t.Run(p, func(t *testing.T) {
					t.Parallel()
					points.Add(1)
					defer func() { // also when the story ends early
						if t.Failed() {
							violations.Add(1)
							t.Logf("reproduce: go test ./internal/testkit/crash -v -args -point=%q", v.name+" "+p)
						}
					}()
					killed(t, v, p)
				})
			}
		})
	}
}

// record runs the verb undisturbed and lists the points it passed.
func record(t *testing.T, v verb) []string {
	w := newWorld(t)
	defer w.close()
	w.prepare(v)
	list := filepath.Join(w.home, "points")
	if out, code := w.child(v.args, recordTo+"="+list); code != v.code {
		t.Fatalf("%s undisturbed: exit %d\n%s", v.name, code, out)
	}
	v.check(w)
	b, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(all)
	all = slices.Compact(all)
	if v.sample {
		all = sampled(all)
	}
	return all
}

// sampled leaves out, of the reads of one kind, all but the first and the last: how often one is repeated is a matter of time, and between
// two of them nothing changes.
func sampled(all []string) []string {
	last := map[string]int{}
	split := func(point string) (string, int) {
		name, n, _ := strings.Cut(point, " #")
		i, err := strconv.Atoi(n)
		if err != nil {
			panic(err) // it is our own
		}
		return name, i
	}
	for _, p := range all {
		name, n := split(p)
		last[name] = max(last[name], n)
	}
	return slices.DeleteFunc(all, func(p string) bool {
		name, n := split(p)
		return strings.HasPrefix(name, "http GET") && n > 1 && n < last[name]
	})
}

// killed runs the verb to the point, where it dies, and then again.
func killed(t *testing.T, v verb, point string) {
	w := newWorld(t)
	defer w.close()
	w.prepare(v)
	out, code := w.child(v.args, dieAt+"="+point)
	// How often a read is repeated while something settles is a matter of time; such a point may not come in every run.
	if repeated := strings.HasPrefix(point, "http GET"); code != -int(syscall.SIGKILL) && !(repeated && code == v.code) {
		t.Fatalf("the point was not reached: exit %d\n%s", code, out)
	}
	if v.stopped != nil {
		v.stopped(w)
	}
	out, code = w.child(v.args)
	if code != v.code && !strings.Contains(out, "nothing to revoke") {
		t.Fatalf("the next run: exit %d\n%s", code, out)
	}
	// Between the begin and the end of a step a run is open, and the next run has to go on with it.
	if ledger, _ := w.child([]string{"ledger", "show"}); v.goesOn != "" && (strings.HasPrefix(point, "journal begin") || strings.HasPrefix(point, "journal end")) && !strings.Contains(ledger, v.goesOn) {
		t.Errorf("the next run has not continued the one that stopped\n%s", ledger)
	}
	v.check(w)
	if t.Failed() {
		t.Logf("the next run said:\n%s", out)
	}
}

// world is a cloud in this process and a home for the children.
type world struct {
	*testing.T
	home  string
	cloud *localcloud.Cloud
	view  *cloudview.Cloud
	want  cloudview.Want

	in       legacy.Installed // of the Provisioner's verbs
	planted  []byte           // the Blueprint's entry of the keystore
	replaced string           // SHA-256 of the certificate that a rotation replaces
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, home: t.TempDir()}
	dir := filepath.Join(w.home, "local")
	cloud, err := localcloud.New(localcloud.Config{RunDir: dir, SigningKey: signing(), OperatorKey: signing()})
	if err != nil {
		t.Fatal(err)
	}
	if err := cloud.Listen(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.cloud = cloud
	spec := app.LocalSpec(cloud.Domain(), cloud.SubscriptionID())
	w.want = cloudview.Want{Agent: bot, Grants: map[string]bool{}}
	for _, g := range spec.Grants(spec.Agents[w.want.Agent], role.Builtin()) {
		w.want.Grants[g.Key()] = true
	}
	e := cloud.Endpoints()
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
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

// prepare does what the verb needs to have been done.
func (w *world) prepare(v verb) {
	if v.spec != "" {
		if err := os.WriteFile(filepath.Join(w.home, "leastkey.yaml"), []byte(v.spec), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	if v.setup != nil {
		if out, code := w.child(v.setup); code != 0 {
			w.Fatalf("prepare: exit %d\n%s", code, out)
		}
	}
	if v.before != nil {
		v.before(w)
	}
}

// damage takes away what a repair has to make again.
func (w *world) damage() {
	rec := w.state()
	ctx := w.Context()
	if _, err := w.view.Call(ctx, http.MethodPatch, "/v1.0/applications/"+rec.ApplicationID, map[string]any{"keyCredentials": []any{}}, nil); err != nil {
		w.Fatal(err)
	}
	a := slices.MaxFunc(rec.Assignments, func(a, b assignment) int { return strings.Compare(a.Scope, b.Scope) }) // the same one every time
	if _, err := w.view.Call(ctx, http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil, nil); err != nil {
		w.Fatal(err)
	}
	lost, err := filepath.Glob(filepath.Join(w.home, "local", "keys", "*.age")) // the keys alone: a store that is gone hides them
	if err != nil || len(lost) == 0 {
		w.Fatal(lost, err)
	}
	for _, path := range lost {
		if err := os.Remove(path); err != nil {
			w.Fatal(err)
		}
	}
}

type state struct {
	ApplicationID string       `json:"application_object_id"`
	AppID         string       `json:"app_id"`
	PrincipalID   string       `json:"principal_id"`
	ResourceID    string       `json:"resource_id"`
	Federated     []string     `json:"federated"`
	Assignments   []assignment `json:"assignments"`
	Generations   []any        `json:"generations"`
}

type assignment struct {
	Scope string `json:"scope"`
	Name  string `json:"name"`
}

func (w *world) state() state {
	out, code := w.child([]string{"state", "show", "--json"})
	var all []state
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil {
		w.Fatalf("state show: exit %d, %v\n%s", code, err, out)
	}
	if len(all) == 0 {
		return state{}
	}
	return all[0]
}

func (w *world) provisioned() {
	bad, err := w.view.Provisioned(w.Context(), w.want)
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bad {
		w.Error(b)
	}
	if keys := w.keyFiles(); len(keys) != 1 {
		w.Errorf("the keystore holds %d keys, want 1: %v", len(keys), keys)
	}
	if out, code := w.child([]string{"token"}); code != 0 || strings.Count(out, ".") != 2 {
		w.Errorf("token: exit %d", code)
	}
	if out, code := w.child([]string{"plan", "--exit-code"}); code != 0 {
		w.Errorf("plan: exit %d, want nothing to do\n%s", code, out)
	}
	env, err := os.ReadFile(filepath.Join(w.home, "local", ".env"))
	if err != nil || !strings.Contains(string(env), w.state().AppID) {
		w.Errorf("the environment file does not name the application: %v", err)
	}
}

func (w *world) revoked(purged bool) {
	bad, err := w.view.Revoked(w.Context(), w.want.Agent, w.principal(), purged)
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bad {
		w.Error(b)
	}
	if keys := w.keyFiles(); len(keys) > 0 {
		w.Errorf("keys are left: %v", keys)
	}
	if st := w.state(); st.ApplicationID != "" || len(st.Generations) > 0 {
		w.Errorf("the record still has application %q and %d generations", st.ApplicationID, len(st.Generations))
	}
	env, err := os.ReadFile(filepath.Join(w.home, "local", ".env"))
	if err == nil && strings.Contains(string(env), "AZURE_CLIENT_ID") {
		w.Error("the environment file still names the application")
	}
}

// principal is any principal id that the request log has seen as ours: the record is gone.
func (w *world) principal() string {
	for _, r := range w.cloud.Requests() {
		if r.Plane == "arm" && r.Method == http.MethodGet && strings.Contains(r.URL, "assignedTo") {
			if _, rest, ok := strings.Cut(r.URL, "assignedTo%28%27"); ok {
				return rest[:36]
			}
			if _, rest, ok := strings.Cut(r.URL, "assignedTo('"); ok {
				return rest[:36]
			}
		}
	}
	w.Fatal("the request log does not show the principal")
	return ""
}

// keyFiles are the entries of the keystore, without its identity.
func (w *world) keyFiles() []string {
	found, err := filepath.Glob(filepath.Join(w.home, "local", "keys", "*.age"))
	if err != nil {
		w.Fatal(err)
	}
	return found
}

// child runs this test binary as leastkey. A negative code is the signal that ended it.
func (w *world) child(args []string, env ...string) (string, int) {
	ctx, cancel := context.WithTimeout(w.Context(), 4*time.Minute)
	defer cancel()
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "@home", w.home)
	}
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Dir = w.home
	c.Env = append([]string{childMode + "=1", "LEASTKEY_HOME=" + w.home, "LEASTKEY_STATE_FILE=" + filepath.Join(w.home, install, ".entraclaw-state.json"), "HOME=" + w.home, "PATH=" + os.Getenv("PATH")}, env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if args[0] == "state" || args[0] == "token" || slices.Contains(args, "--json") {
		c.Stderr = nil
	}
	err := c.Run()
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return out.String(), -int(ws.Signal())
	}
	if err != nil && c.ProcessState == nil {
		w.Fatal(err)
	}
	return out.String(), c.ProcessState.ExitCode()
}
