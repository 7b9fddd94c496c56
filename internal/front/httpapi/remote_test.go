package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/front/client"
	"github.com/leastkey/leastkey/internal/work/provision"
)

// run runs one command line, on this machine or through the server, and gives what a person and a program see of it.
func (w *world) run(remote bool, token, typed string, args ...string) (code int, stdout, stderr string) {
	w.Helper()
	var out, err bytes.Buffer
	s := cli.Streams{In: strings.NewReader(typed), Out: &out, Err: &err, Terminal: typed != ""}
	if remote {
		args = append(slices.Clone(args), "--server", w.at.URL)
	}
	code = cli.Run(w.Context(), args, s, cli.World{
		Open: func(ctx context.Context, t api.Target) (cli.Door, error) {
			w.mu.Lock()
			spec, operator := w.spec, w.operator
			w.mu.Unlock()
			a := &app.App{Getenv: w.getenv, Hooks: app.Hooks{
				Keys:      func(provision.Keystore) provision.Keystore { return w.keys },
				Transport: func(next http.RoundTripper) http.RoundTripper { return breakable{w, next} },
			}}
			return a.InProcess(ctx, w.cloud, w.dir, spec, operator)
		},
		Remote: func(ctx context.Context, r cli.Remote) (cli.Door, error) {
			v := secret.New([]byte(token))
			if !r.Token.Empty() {
				v = r.Token
			}
			return client.Open(ctx, client.Config{URL: r.URL, Token: v, HTTP: &observed{w: w, next: http.DefaultTransport}})
		},
	})
	return code, out.String(), err.String()
}

// observed checks each request of the client and each answer by the OpenAPI document.
type observed struct {
	w    *world
	next http.RoundTripper
}

func (o *observed) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.RawQuery != "" && strings.Contains(r.URL.RawQuery, "token") {
		o.w.Errorf("a token in the address: %s", r.URL.Path)
	}
	op := operationOf(o.w.front.Described(), r.Method, r.URL.Path)
	if op == nil {
		o.w.Errorf("the client calls %s %s, which the document does not have", r.Method, r.URL.Path)
	}
	if r.Body != nil && op != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		if op.RequestBody == nil {
			o.w.Errorf("%s takes no body, and the client sends one", op.OperationID)
		} else if bad := valid(o.w.front.Described(), op.RequestBody.Content["application/json"].Schema, b); bad != "" {
			o.w.Errorf("%s: the client's body does not fit: %s\n%s", op.OperationID, bad, b)
		}
	}
	resp, err := o.next.RoundTrip(r)
	if err != nil || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp, err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(b))
	if bad := o.w.says.answer(o.w.front.Described(), r.Method, r.URL.Path, resp.StatusCode, resp.Header.Get("Content-Type"), b); bad != "" {
		o.w.Errorf("%s %s: %s", r.Method, r.URL.Path, bad)
	}
	return resp, nil
}

// story is a command, and what happens before it.
type story struct {
	sentence string
	before   func(*world)
	typed    string // on the terminal
	args     string
	code     int
	says     string // on stdout
	complain string // on stderr
}

func stories() []story {
	return []story{
		{sentence: "a plan", args: "plan", says: "create application polyclaw-runtime"},
		{sentence: "a plan for programs", args: "plan --json --exit-code", code: 5, says: `"digest"`},
		{sentence: "status of nobody", args: "status", says: "No agent is recorded here"},
		{sentence: "apply", args: "apply", says: "has an identity of its own"},
		{sentence: "apply again", args: "apply", says: "Nothing to do"},
		{sentence: "apply pinned to another plan", args: "apply --digest 0123456789ab", code: 1, complain: "no longer matches"},
		{sentence: "status", args: "status", says: "polyclaw-runtime: provisioned"},
		{sentence: "status for programs", args: "status --json", says: `"app_id"`},
		{sentence: "status of an agent that is not there", args: "status nope", code: 2, complain: "no agent nope here"},
		{sentence: "records", args: "state show --json", says: `"generations"`},
		{sentence: "roles", args: "roles list", says: "Reader"},
		{sentence: "a role is gone", before: func(w *world) { w.removeRole("Reader") }, args: "roles list", code: 3, says: "missing|Missing|MISSING"},
		{sentence: "roles are fixed", args: "roles fix --yes", says: "assign Reader"},
		{sentence: "roles again", args: "roles list", says: "Reader"},
		{sentence: "a rotation that nobody may approve", args: "rotate polyclaw-runtime", code: 2, complain: "no terminal to ask on"},
		{sentence: "a rotation that somebody declines", typed: "n\n", args: "rotate polyclaw-runtime", code: 1, complain: "not approved"},
		{sentence: "a rotation that somebody approves", typed: "y\n", args: "rotate polyclaw-runtime", says: "new key|rotated|has a new"},
		{sentence: "a rotation with an overlap", args: "rotate polyclaw-runtime --yes --overlap 24h --json", says: `"old_certificate_until"`},
		{sentence: "preflight", args: "preflight", code: -1, says: "identity_configured|Runtime Identity Configured"},
		{sentence: "its history", args: "preflight history", says: `\d`},
		{sentence: "the ledger for programs", args: "ledger verify --json", says: `"intact": ?true`},
		{sentence: "a refused assignment", before: func(w *world) { w.removeRole("Reader"); noAssignments(w) }, args: "apply", code: 4, complain: "AuthorizationFailed"},
		{sentence: "it goes on", before: func(w *world) { w.set(func(w *world) { w.broken = nil }) }, args: "apply", says: "Reader"},
		{sentence: "nobody is logged in", before: func(w *world) { w.as("none") }, args: "apply", code: 1, complain: "without an operator|no operator"},
		{sentence: "a plan that must not go on", before: func(w *world) {
			w.as("local:admin")
			w.set(func(w *world) { w.spec.ResourceGroup, w.spec.Agents[bot] = "not-there-rg", bare() })
		}, args: "plan --json", code: 1, says: `"blockers"`, complain: "not-there-rg does not exist"},
		{sentence: "the Provisioner", args: "provisioner bootstrap --yes", says: "(?i)provisioner"},
		{sentence: "the Provisioner's status, with a key that ends with the process", args: "provisioner status", code: 1, complain: "not a reference into this keystore"},
		{sentence: "a revocation whose name is mistyped", typed: "wrong\n", args: "revoke polyclaw-runtime", code: 1, complain: "not approved"},
		{sentence: "a revocation", typed: "polyclaw-runtime\n", args: "revoke polyclaw-runtime --purge", says: "(?i)revoked"},
		{sentence: "a revocation of nobody", args: "revoke polyclaw-runtime --yes", code: 1, complain: "nothing to revoke|not recorded"},
	}
}

// what differs from one run to another: ids, digests, times, figures and, on stderr, the server before where it leads.
func settled(s, server string) string {
	for _, r := range []struct{ find, put string }{
		{`server http://127\.0\.0\.1:\d+: `, ``}, {` --server http://127\.0\.0\.1:\d+`, ``},
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, `GUID`}, {`leastkey-[0-9a-f]{32}`, `NONCE`}, {`\b[0-9a-fA-F]{12,64}\b`, `HEX`}, {`\b[0-9a-f]{8}\b`, `HEX`},
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:\d\d)?`, `TIME`}, {`"certificate": "[^"]*"`, `"certificate": "DER"`},
		{`"(ms|wall_ms|critical_path_ms|requests|rounds|took_ns)": \d+`, `"$1": N`}, {`\d+(\.\d+)? ?(ms|s)\b`, `N s`}, {`\d+ requests?`, `N requests`},
		{`(?m)^ +roles +`, `               `}, {`(?m)^ {15}`, `               `}, // the first of a list has the label
		{`\d+ in a row`, `N in a row`}, {`"entries": \d+`, `"entries": N`},
		{`/tmp/[^\s",]+`, `FOLDER`},
	} {
		s = regexp.MustCompile(r.find).ReplaceAllString(s, r.put)
	}
	lines := strings.Split(strings.ReplaceAll(s, server, "SERVER"), "\n")
	for i, l := range lines { // the last of a JSON list has no comma
		lines[i] = strings.TrimSuffix(l, ",")
	}
	slices.Sort(lines) // what is done side by side ends in any order
	return strings.Join(lines, "\n")
}

// TestTheSameCommandsHereAndThroughAServer runs the same commands on two worlds that are alike, in one on this machine, in the other through
// a server: exit code and stdout are the same, but for what is new in every run; and each request and answer is one of the OpenAPI document.
func TestTheSameCommandsHereAndThroughAServer(t *testing.T) {
	t.Parallel()
	here, there := newWorld(t, nil), newWorld(t, nil)
	for _, s := range stories() {
		for _, w := range []*world{here, there} {
			if s.before != nil {
				s.before(w)
			}
		}
		c1, out1, err1 := here.run(false, "", s.typed, strings.Fields(s.args)...)
		c2, out2, err2 := there.run(true, applying, s.typed, strings.Fields(s.args)...)
		if c1 != c2 || (s.code >= 0 && c1 != s.code) {
			t.Errorf("%s: exit code %d here, %d through a server, want %d\nhere: %s%s\nthere: %s%s", s.sentence, c1, c2, s.code, out1, err1, out2, err2)
			continue
		}
		for _, out := range []string{out1, out2} {
			if !regexp.MustCompile(s.says).MatchString(out) {
				t.Errorf("%s: stdout lacks %q:\n%s", s.sentence, s.says, out)
			}
		}
		for _, story := range []string{err1, err2} {
			if !regexp.MustCompile(s.complain).MatchString(story) {
				t.Errorf("%s: stderr lacks %q:\n%s", s.sentence, s.complain, story)
			}
		}
		if a, b := settled(out1, here.at.URL), settled(out2, there.at.URL); a != b {
			t.Errorf("%s: stdout differs\nhere:\n%s\nthrough a server:\n%s", s.sentence, a, b)
		}
	}
}

func TestWhatIsNotDoneThroughAServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.provision()
	for args, code := range map[string]int{
		"token": 2, "adopt --app-id 11111111-2222-3333-4444-555555555555": 2, "up": 2, "doctor": 2, "cloud serve": 2, "serve": 2, "init": 2,
		"plan -f other.yaml": 2, "apply --cloud public": 2, "status --operator az": 2, "apply --only graph": 1, "provisioner token": 1,
		"migrate --prepare --env-file /data/.env": 1,
	} {
		got, out, story := w.run(true, applying, "", strings.Fields(args)...)
		if got != code || out != "" || !strings.Contains(story, "server") {
			t.Errorf("%s: exit code %d, want %d\n%s%s", args, got, code, out, story)
		}
	}
	if code, _, story := w.run(true, "wrong", "", "status"); code != 1 || !strings.Contains(story, "no valid token") {
		t.Errorf("a wrong token: %d %s", code, story)
	}
	if code, _, story := w.run(true, viewing, "", "rotate", bot, "--yes"); code != 1 || !strings.Contains(story, "needs a token of role") {
		t.Errorf("a viewer rotates: %d %s", code, story)
	}
}

// TestWhoOnlyLooksLeavesNothingToApprove: a plan that was shown, or declined, is none that an approve token carries out.
func TestWhoOnlyLooksLeavesNothingToApprove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d, err := client.Open(t.Context(), client.Config{URL: w.at.URL, Token: secret.New([]byte(applying))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	left := func(after string) {
		t.Helper()
		if all := decode[[]api.KeptPlan](w, w.ask(viewing, "GET", v1+"/plans", ""), 200); len(all) != 0 {
			t.Errorf("%s leaves %d plans", after, len(all))
		}
	}
	seen, err := d.Plan(t.Context(), api.PlanRequest{})
	if err != nil {
		t.Fatal(err)
	}
	left("a plan")
	if _, err := d.Apply(t.Context(), api.ApplyRequest{DryRun: true}, nil); err != nil {
		t.Error(err)
	}
	left("a dry run")
	no := func(api.PlanAnswer) (bool, error) { return false, nil }
	if _, err := d.Apply(t.Context(), api.ApplyRequest{Approve: no}, nil); !fault.Is(err, fault.Refused) {
		t.Error(err)
	}
	left("a no")
	if _, err := d.Apply(t.Context(), api.ApplyRequest{Digest: "0123456789ab"}, nil); !fault.Is(err, fault.Conflict) {
		t.Error(err)
	}
	left("another digest")
	w.like(w.ask(approving, "POST", v1+"/plans/"+seen.Digest+"/approve", ""), 404, problem(404, fault.NotFound))
	w.plan(applying, `{"verb":"apply","release":true}`)
	if _, err := d.Plan(t.Context(), api.PlanRequest{}); err != nil {
		t.Error(err)
	}
	w.good(w.ask(approving, "POST", v1+"/plans/"+seen.Digest+"/approve", "")) // what somebody released stays
}

func TestATokenFromStdin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for typed, code := range map[string]int{viewing + "\n": 0, viewing: 0, "wrong\n": 1, "\n": 2} {
		if got, _, story := w.run(true, "not used", typed, "status", "--server-token", "-"); got != code {
			t.Errorf("%q: exit code %d, want %d\n%s", typed, got, code, story)
		}
	}
}

// What the server's faces ask of control, and the client offers to others, is the same.
var _ cli.Door = (*client.Door)(nil)

func TestRemoteKeepsItsPromise(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d, err := client.Open(t.Context(), client.Config{URL: w.at.URL, Token: secret.New([]byte(applying))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if got := d.Target(); got.Cloud != agent.Local || got.TenantID != w.cloud.TenantID() {
		t.Errorf("%+v", got)
	}
	// Approve is asked once, before the first change, about what is then done.
	asked := 0
	rep, err := d.Apply(t.Context(), api.ApplyRequest{Approve: func(a api.PlanAnswer) (bool, error) {
		asked++
		if w.record().Provisioned() || a.Plan.Digest() != a.Digest {
			t.Error("it was not asked before the first change, or about another plan")
		}
		return true, nil
	}}, nil)
	if err != nil || asked != 1 || rep.ApplicationID == "" {
		t.Errorf("asked %d times: %v", asked, err)
	}
}
