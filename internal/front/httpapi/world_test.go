package httpapi_test

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/httpapi"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

const bot = "polyclaw-runtime"

// The tokens of a world, one of each level.
const (
	viewing   = "view-token-0d6a2c"
	approving = "approve-token-b1c9e4"
	applying  = "apply-token-4477fa"
)

var signing = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// world is an admin server over a local cloud of this process: every request goes over a socket, into control, and through the real clients
// into the cloud.
type world struct {
	*testing.T
	cloud *localcloud.Cloud
	dir   string
	keys  *memory.Store
	view  *cloudview.Cloud
	jobs  *control.Jobs
	at    *httptest.Server
	front *httpapi.Server
	says  described

	mu       sync.Mutex
	spec     agent.Spec
	specErr  error
	operator string
	broken   func(*http.Request) *http.Response // answers instead of the cloud; nil lets the request through
}

func newWorld(t *testing.T, change func(*httpapi.Config)) *world {
	t.Helper()
	cloud, err := localcloud.New(localcloud.Config{SigningKey: signing(), OperatorKey: signing()})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, cloud: cloud, dir: t.TempDir(), keys: memory.New(), operator: "local:admin", spec: app.LocalSpec(cloud.Domain(), cloud.SubscriptionID()), jobs: control.NewJobs()}
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			e := cloud.Endpoints()
			w.view = &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(),
				User: o.UPN, Password: o.Password.Reveal(), HTTP: &http.Client{Transport: cloud.Transport()}}
		}
	}
	c := httpapi.Config{House: w, Tokens: tokens{viewing: api.View, approving: api.Approve, applying: api.Full}, Jobs: w.jobs, Person: "ada"}
	if change != nil {
		change(&c)
	}
	if w.front, err = httpapi.New(c); err != nil {
		t.Fatal(err)
	}
	w.at = httptest.NewServer(w.front.Handler())
	t.Cleanup(func() {
		w.front.Close()
		w.at.Close()
		ctx, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		w.jobs.Close(ctx)
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// tokens are texts and what they may do.
type tokens map[string]api.Level

func (t tokens) Check(_ context.Context, v secret.Value) (found api.AdminToken, err error) {
	err = fault.New(fault.Unauthenticated, "no such token", "")
	_ = v.Use(func(b []byte) error {
		if l, ok := t[string(b)]; ok {
			found, err = api.AdminToken{Name: string(l) + "er", Level: l}, nil
		}
		return nil
	})
	return found, err
}

func (t tokens) Current(_ context.Context, name string) (api.AdminToken, error) {
	return api.AdminToken{Name: name, Level: api.Full}, nil
}

// Recall implements [httpapi.House].
func (w *world) Recall(ctx context.Context, actor string) (httpapi.Door, error) {
	return w.Enter(ctx, actor)
}

// Enter implements [httpapi.House].
func (w *world) Enter(ctx context.Context, actor string) (httpapi.Door, error) {
	w.mu.Lock()
	spec, operator, specErr := w.spec, w.operator, w.specErr
	w.mu.Unlock()
	a := &app.App{Getenv: w.getenv, Hooks: app.Hooks{
		Keys:      func(provision.Keystore) provision.Keystore { return w.keys },
		Transport: func(next http.RoundTripper) http.RoundTripper { return breakable{w, next} },
	}}
	d, err := a.InProcess(ctx, w.cloud, w.dir, spec, operator)
	if err != nil {
		return nil, err
	}
	return door{d.As(actor), specErr}, nil
}

func (w *world) getenv(name string) string {
	if name == "LEASTKEY_STATE_FILE" { // it would be looked for from the working directory upward
		return filepath.Join(w.dir, "state.json")
	}
	return ""
}

// door is control, without a spec where there is none.
type door struct {
	*control.Door
	specErr error
}

func (d door) Spec() (agent.Spec, error) {
	if d.specErr != nil {
		return agent.Spec{}, d.specErr
	}
	return d.Door.Spec()
}

// breakable is the way to the cloud, which a test may break.
type breakable struct {
	w    *world
	next http.RoundTripper
}

func (b breakable) RoundTrip(r *http.Request) (*http.Response, error) {
	b.w.mu.Lock()
	broken := b.w.broken
	b.w.mu.Unlock()
	if broken != nil {
		if resp := broken(r); resp != nil {
			return resp, nil
		}
	}
	return b.next.RoundTrip(r)
}

// ReadSpec implements [httpapi.House].
func (w *world) ReadSpec(context.Context) (api.SpecAnswer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return api.SpecAnswer{File: "leastkey.yaml", Writable: true, Text: "cloud: local\n", Spec: w.spec, SHA256: "ab"}, nil
}

// WriteSpec implements [httpapi.House]: the file here is one that cannot be written.
func (w *world) WriteSpec(ctx context.Context, _ string, c api.SpecChange) (api.SpecAnswer, error) {
	a, _ := w.ReadSpec(ctx)
	if c.SHA256 != "" && c.SHA256 != a.SHA256 {
		return a, fault.New(fault.Conflict, "leastkey.yaml has changed meanwhile", "read it again")
	}
	if c.Location != nil {
		a.Text += "location: " + *c.Location + "\n"
		return a, fault.New(fault.Refused, "leastkey.yaml cannot be written here", "save the text yourself")
	}
	return a, nil
}

// Choices implements [httpapi.House].
func (w *world) Choices(context.Context, string, string) (api.Choices, error) {
	return api.Choices{Groups: []api.Choice{{ID: "/subscriptions/x", Name: "polyclaw-rg"}}}, nil
}

// Refused implements [httpapi.House].
func (w *world) Refused(context.Context, string, string, string, error) error { return nil }

// Version implements [httpapi.House].
func (w *world) Version() api.Version {
	return api.Version{Version: "1.2.3", Go: "go", Platform: "linux/amd64"}
}

// Ready implements [httpapi.House].
func (w *world) Ready(context.Context) error { return nil }

// set changes the world under the lock.
func (w *world) set(change func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// as lets another operator act.
func (w *world) as(operator string) { w.set(func(w *world) { w.operator = operator }) }

// refuse lets Graph or ARM answer a method and a path with 403, as it does to who lacks a right.
func (w *world) refuse(method, path string) {
	match := regexp.MustCompile(path)
	w.set(func(w *world) {
		w.broken = func(r *http.Request) *http.Response {
			if r.Method != method || !match.MatchString(r.URL.Path) {
				return nil
			}
			return w.answer(r, http.StatusForbidden, `{"error":{"code":"AuthorizationFailed","message":"refused by the test"}}`)
		}
	})
}

func (w *world) answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// managed makes the agent one of a managed identity.
func (w *world) managed() {
	w.set(func(w *world) { w.spec.Agents[bot].Kind = agent.ManagedIdentity })
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends one request with a token; "" sends none. An answer of /api/v1 is checked by what the OpenAPI document says of it.
func (w *world) ask(token, method, path, body string) reply {
	w.Helper()
	r := w.send(token, method, path, body)
	if strings.HasPrefix(path, "/api/v1/") {
		if bad := w.says.answer(w.front.Described(), method, path, r.status, r.header.Get("Content-Type"), r.body); bad != "" {
			w.Errorf("%s %s: %s\n%.2000s", method, path, bad, r.body)
		}
	}
	return r
}

func (w *world) send(token, method, path, body string) reply {
	w.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(w.Context(), method, w.at.URL+path, r)
	if err != nil {
		w.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	if bytes.Contains(b, []byte(`"password":`)) {
		w.Errorf("%s %s: an answer has a password:\n%s", method, path, b)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

// provision makes the agent's identity through the API, and fails the test if that does not work.
func (w *world) provision() {
	w.Helper()
	if r := w.ask(applying, "POST", "/api/setup/runtime-identity/provision", "{}"); r.status != http.StatusOK {
		w.Fatalf("provision: %d %s", r.status, r.body)
	}
}

// record is what memory keeps of the agent.
func (w *world) record() agent.Record {
	w.Helper()
	d, err := w.Enter(w.Context(), "test")
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	all, err := d.State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range all {
		if r.Agent == bot {
			return r
		}
	}
	return agent.Record{}
}

// call is a request of the administrator's, past the product.
func (w *world) call(method, path string, body, into any) {
	w.Helper()
	if _, err := w.view.Call(w.Context(), method, path, body, into); err != nil {
		w.Fatal(err)
	}
}

// removeRole takes a role away behind the product's back.
func (w *world) removeRole(name string) {
	w.Helper()
	for _, a := range w.record().Assignments {
		if a.Role == name {
			w.call(http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil, nil)
			return
		}
	}
	w.Fatalf("no assignment of %s is recorded", name)
}

// envFile writes the agent's environment file.
func (w *world) envFile(text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, ".env"), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// The patterns in which a shape is written: a string that begins with ~ is a regular expression for a string, and the others of these stand for
// any value of their kind. An object has exactly the keys of its shape, of which one that ends with ? may be missing; a list exactly its elements, but for one whose first is "*": that
// has any number of the second.
const (
	aString = "<string>" // may be ""
	aText   = "<text>"   // not ""
	aGUID   = "<guid>"
	aTime   = "<time>" // as Python writes it
	anInt   = "<int>"
	each    = "*"
)

var (
	guid   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$`)
)

// shaped compares a whole document with its shape and lists the differences.
func shaped(path string, got, want any) (bad []string) {
	complain := func(format string, a ...any) { bad = append(bad, path+": "+fmt.Sprintf(format, a...)) }
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		if !ok {
			complain("is %T, want an object", got)
			return bad
		}
		for _, k := range sorted(have) {
			_, may := want[k+"?"]
			if _, must := want[k]; !must && !may {
				complain("has the key %q, which does not belong there (%v)", k, have[k])
			}
		}
		for _, k := range sorted(want) {
			name, optional := strings.CutSuffix(k, "?")
			v, ok := have[name]
			if !ok {
				if !optional {
					complain("lacks the key %q", k)
				}
				continue
			}
			bad = append(bad, shaped(path+"."+k, v, want[k])...)
		}
	case []any:
		have, ok := got.([]any)
		if !ok {
			complain("is %T, want a list", got)
			return bad
		}
		if len(want) == 2 && want[0] == each {
			if len(have) == 0 {
				complain("is empty")
			}
			for i, v := range have {
				bad = append(bad, shaped(fmt.Sprintf("%s[%d]", path, i), v, want[1])...)
			}
			return bad
		}
		if len(have) != len(want) {
			complain("has %d elements, want %d: %v", len(have), len(want), have)
			return bad
		}
		for i := range have {
			bad = append(bad, shaped(fmt.Sprintf("%s[%d]", path, i), have[i], want[i])...)
		}
	case string:
		if !text(got, want) {
			complain("is %#v, want %s", got, want)
		}
	default:
		if got != want {
			complain("is %#v, want %#v", got, want)
		}
	}
	return bad
}

func text(got any, want string) bool {
	if n, ok := got.(float64); ok {
		return want == anInt && n == float64(int(n)) && n >= 0
	}
	s, ok := got.(string)
	if !ok {
		return false
	}
	switch want {
	case aString:
		return true
	case aText:
		return s != ""
	case aGUID:
		return guid.MatchString(s)
	case aTime:
		return moment.MatchString(s)
	case anInt:
		return false
	}
	if pattern, ok := strings.CutPrefix(want, "~"); ok {
		return regexp.MustCompile(`(?s)^(?:` + pattern + `)$`).MatchString(s)
	}
	return s == want
}

func sorted(m map[string]any) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}

// like fails the test unless the reply has that status and exactly that shape.
func (w *world) like(r reply, status int, shape string) {
	w.Helper()
	var want, got any
	if err := json.Unmarshal([]byte(shape), &want); err != nil {
		w.Fatalf("the shape does not read: %v\n%s", err, shape)
	}
	if err := json.Unmarshal(r.body, &got); err != nil {
		w.Fatalf("status %d, and the answer is no JSON: %v\n%s", r.status, err, r.body)
	}
	bad := shaped("answer", got, want)
	if r.status != status {
		bad = append(bad, fmt.Sprintf("status %d, want %d", r.status, status))
	}
	if len(bad) > 0 {
		w.Errorf("%s\n%s", strings.Join(bad, "\n"), r.body)
	}
}
