package app

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/front/httpapi"
	"github.com/leastkey/leastkey/internal/localcloud"
)

const bot = "polyclaw-runtime"

// signingKey saves each test the making of one.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// site under test: a house over a local cloud in this process.
type served struct {
	*house
	cloud *localcloud.Cloud
	spec  agent.Spec
	jobs  *control.Jobs
	dir   string
	marks string // what the stamp says
}

func newServed(t testing.TB) *served {
	t.Helper()
	cloud, err := localcloud.New(localcloud.Config{SigningKey: signingKey(), OperatorKey: signingKey()})
	if err != nil {
		t.Fatal(err)
	}
	s := &served{cloud: cloud, dir: t.TempDir(), jobs: control.NewJobs(), spec: LocalSpec(cloud.Domain(), cloud.SubscriptionID())}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := &App{Getenv: func(string) string { return "" }}
	rec, err := a.serverRecord(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.house = &house{
		home: s.dir, tokens: rec, file: filepath.Join(s.dir, specName),
		open: func(ctx context.Context) (*control.Door, error) {
			return a.InProcess(ctx, cloud, s.dir, s.spec, "local:admin")
		},
		place: func(context.Context) (*place, error) { return nil, fault.New(fault.NotFound, "no place here", "") },
		stamp: func() string { return s.marks },
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.jobs.Close(ctx)
		for _, err := range []error{s.house.Close(), rec.db.Close(), cloud.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// server is the HTTP face over it, with a token of each level.
func (s *served) server(t testing.TB) (http.Handler, map[api.Level]string) {
	t.Helper()
	srv, err := httpapi.New(httpapi.Config{House: s, Tokens: s.tokens, Jobs: s.jobs, Person: "ada", Due: s.due, Pages: pages(s.house, s.jobs)})
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[api.Level]string{}
	for _, level := range []api.Level{api.View, api.Approve, api.Full} {
		made, err := s.tokens.Add(t.Context(), string(level), level, "ada")
		if err != nil {
			t.Fatal(err)
		}
		_ = made.Value.Use(func(b []byte) error { tokens[level] = string(b); return nil })
	}
	return srv.Handler(), tokens
}

func ask(h http.Handler, token, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1"
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestADoorIsSharedUntilItLeadsElsewhere(t *testing.T) {
	s := newServed(t)
	enter := func(actor string) lease {
		t.Helper()
		l, err := s.enter(t.Context(), actor)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	one, two := enter("one"), enter("two")
	first := s.now
	s.marks = "changed"
	three := enter("three")
	if s.now == first || first.users != 2 || !first.old {
		t.Errorf("the first door %+v", first)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if err := one.Close(); err != nil || first.users != 1 {
		t.Errorf("closed twice: %d users, %v", first.users, err)
	}
	if _, err := two.State(t.Context()); err != nil {
		t.Errorf("a door that is in use was closed: %v", err)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
	if _, err := two.State(t.Context()); err == nil {
		t.Error("the last user has gone, and the old door is open")
	}
	if _, err := three.Plan(t.Context(), api.PlanRequest{}); err != nil {
		t.Error(err)
	}
	all, err := three.Ledger(t.Context(), 1)
	if err != nil || len(all) != 1 || all[0].Actor != "three (local:admin)" {
		t.Errorf("ledger %+v %v", all, err)
	}
	if err := three.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheWizardWritesTheSpec(t *testing.T) {
	s := newServed(t)
	none, err := s.ReadSpec(t.Context())
	if err != nil || none.File != "" || !none.Writable || none.Spec.Agents[bot] == nil {
		t.Fatalf("%+v %v", none, err)
	}
	vault := "kv-other"
	made, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, KeyVault: &vault})
	if err != nil || made.File != s.file || made.Spec.Agents[bot].KeyVault != vault || made.Spec.Tenant != s.spec.Tenant || made.SHA256 == "" {
		t.Fatalf("%+v %v", made, err)
	}
	if _, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, KeyVault: &vault}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a file that was not read is changed: %v", err)
	}
	bad := "not a vault!"
	if _, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, KeyVault: &bad, SHA256: made.SHA256}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a spec that does not hold: %v", err)
	}
	l, err := s.enter(t.Context(), "reader")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all, err := l.Ledger(t.Context(), 0)
	if err != nil || len(all) != 1 || all[0].Action != "spec" || all[0].Actor != "ada (local:admin)" || !strings.Contains(all[0].Detail, "key_vault") {
		t.Errorf("ledger %+v %v", all, err)
	}
}

func TestWhatIsDueIsDoneInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(t)
		s.spec.Agents[bot].Certificate = agent.CertificatePolicy{Days: 90, RenewAt: 0.5, Overlap: 24 * time.Hour}
		record := func() agent.Record {
			l, err := s.enter(t.Context(), "test")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			all, err := l.State(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			return all[0]
		}
		l, err := s.enter(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Apply(t.Context(), api.ApplyRequest{}, nil); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		before := record().Active().SHA256
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		var work sync.WaitGroup
		work.Go(func() { s.work(ctx, s.jobs, slog.New(slog.NewJSONHandler(&log, nil))) })

		time.Sleep(44 * 24 * time.Hour)
		if now := record().Active().SHA256; now != before {
			t.Error("it was renewed before its time")
		}
		time.Sleep(36 * time.Hour)
		rec := record()
		if rec.Active().SHA256 == before || len(rec.Generations) != 2 {
			t.Errorf("not renewed: %+v\n%s", rec.Generations, log.String())
		}
		time.Sleep(24 * time.Hour)
		if rec := record(); len(rec.Generations) != 1 {
			t.Errorf("not retired: %+v\n%s", rec.Generations, log.String())
		}
		cancel()
		work.Wait()
		if n := strings.Count(log.String(), "due work done"); n != 2 {
			t.Errorf("%d things were done:\n%s", n, log.String())
		}
	})
}

func TestWhatFailsIsTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(t)
		s.spec.Agents[bot].Certificate = agent.CertificatePolicy{Days: 90, RenewAt: 0.5, Overlap: time.Hour}
		l, err := s.enter(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := l.Apply(t.Context(), api.ApplyRequest{}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Rotate(t.Context(), api.ApplyRequest{}, nil); err != nil {
			t.Fatal(err)
		}
		s.spec.Agents[bot].KeyVault = "" // the retirement would now do more than was approved
		s.marks = "changed"
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		var work sync.WaitGroup
		work.Go(func() { s.work(ctx, s.jobs, slog.New(slog.NewJSONHandler(&log, nil))) })
		time.Sleep(25 * time.Hour)
		cancel()
		work.Wait()
		if n := strings.Count(log.String(), "due work failed"); n < 5 || n > 14 {
			t.Errorf("%d tries in a day:\n%s", n, log.String())
		}
	})
}

// Whoever provisions and whoever revokes at the same time: one goes first, and the other is told so or comes after it.
func TestProvisionAndRevokeAtOnce(t *testing.T) {
	s := newServed(t)
	h, tokens := s.server(t)
	for round := range 3 {
		var both sync.WaitGroup
		answers := make([]*httptest.ResponseRecorder, 2)
		both.Go(func() { answers[0] = ask(h, tokens[api.Full], "POST", "/api/setup/runtime-identity/provision", "{}") })
		both.Go(func() { answers[1] = ask(h, tokens[api.Full], "POST", "/api/setup/runtime-identity/revoke", "") })
		both.Wait()
		for i, a := range answers {
			if a.Code != 200 && a.Code != 409 && a.Code != 404 {
				t.Errorf("round %d, request %d: %d %s", round, i, a.Code, a.Body)
			}
		}
	}
	if a := ask(h, tokens[api.Full], "POST", "/api/setup/runtime-identity/provision", "{}"); a.Code != 200 {
		t.Fatalf("afterwards: %d %s", a.Code, a.Body)
	}
	if a := ask(h, tokens[api.View], "GET", "/api/setup/runtime-identity", ""); a.Code != 200 || !strings.Contains(a.Body.String(), `"configured":true`) {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	l, err := s.enter(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if v, err := l.VerifyLedger(t.Context()); err != nil || !v.Intact {
		t.Errorf("%+v %v", v, err)
	}
}

// A whole server on a socket of its own, as serve runs it.
func TestServe(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"LEASTKEY_HOME": home, "ADMIN_SECRET": "from-the-environment-of-somebody"}
	var log bytes.Buffer
	a := with(env)
	a.Streams = cli.Streams{Err: &log}
	secretFile := filepath.Join(t.TempDir(), "admin-secret")
	if err := os.WriteFile(secretFile, []byte("a-secret-that-somebody-chose\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	infos, ended := make(chan api.ServeInfo, 1), make(chan error, 1)
	go func() {
		ended <- a.serve(ctx, api.ServeRequest{Listen: "127.0.0.1:0", SecretFile: secretFile, Trace: filepath.Join(home, "trace.json")}, func(i api.ServeInfo) { infos <- i })
	}()
	var i api.ServeInfo
	select {
	case i = <-infos:
	case err := <-ended:
		t.Fatal(err)
	}
	get := func(path, token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", i.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	made, err := adminTokens{a}.Add(t.Context(), "ci", api.View)
	if err != nil {
		t.Fatal(err)
	}
	token := revealed(made.Value)
	for _, row := range []struct {
		token string
		want  int
	}{{token, 200}, {"a-secret-that-somebody-chose", 200}, {"from-the-environment-of-somebody", 401}, {"", 401}} {
		if got := get("/api/v1/session", row.token); got != row.want {
			t.Errorf("%q: %d", row.token, got)
		}
	}
	if err := (adminTokens{a}).Revoke(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	if got := get("/api/v1/session", token); got != 401 {
		t.Errorf("revoked by another process: %d", got)
	}
	if got := get("/readyz", ""); got != 200 {
		t.Errorf("ready: %d", got)
	}
	link := revealed(i.Login)
	if !strings.HasPrefix(link, i.URL+"/login#") || len(i.Notes) != 1 {
		t.Errorf("%q %v", i.URL, i.Notes)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("told to end: %v", err)
	}
	traces, err := os.ReadFile(filepath.Join(home, "trace.json"))
	if err != nil || !bytes.Contains(traces, []byte("/api/v1/session")) {
		t.Errorf("traces: %v", err)
	}
	_, code, _ := strings.Cut(link, "#")
	for _, s := range []string{token, "a-secret-that-somebody-chose", code} {
		for name, where := range map[string][]byte{"log": log.Bytes(), "traces": traces} {
			if bytes.Contains(where, []byte(s)) {
				t.Errorf("the %s holds a secret", name)
			}
		}
	}
}

func revealed(v secret.Value) (text string) {
	_ = v.Use(func(b []byte) error { text = string(b); return nil })
	return text
}

func TestWhereServeListens(t *testing.T) {
	for name, r := range map[string]api.ServeRequest{
		"everywhere in clear":         {Listen: "0.0.0.0:0"},
		"everywhere, metrics for all": {Listen: "0.0.0.0:0", BehindProxy: "admin.example.org", MetricsOpen: true},
		"no port":                     {Listen: "127.0.0.1"},
		"another machine's name":      {Listen: "example.org:0"},
	} {
		if l, err := listen(r); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
			if l != nil {
				_ = l.Close()
			}
		}
	}
	for _, at := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := listen(api.ServeRequest{Listen: at})
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
	if _, err := keysOf(api.ServeRequest{TLSCert: "a.pem"}); !fault.Is(err, fault.Usage) {
		t.Errorf("half a pair: %v", err)
	}
}

func TestTheAdminSecretIsKeptFromOthers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, row := range map[string]struct {
		file string
		ok   bool
	}{
		"good":       {write("good", "0123456789abcdef\n", 0o600), true},
		"for others": {write("others", "0123456789abcdef", 0o644), false},
		"short":      {write("short", "0123456789abcde\n\n", 0o600), false},
		"empty":      {write("empty", "", 0o600), false},
		"missing":    {filepath.Join(dir, "missing"), false},
		"a folder":   {dir, false},
	} {
		v, err := with(nil).adminSecret(row.file)
		if (err == nil) != row.ok || v.Empty() == row.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the error shows it", name)
		}
	}
	write("admin-secret", "of-the-credentials-folder", 0o400)
	if v, err := with(map[string]string{"CREDENTIALS_DIRECTORY": dir}).adminSecret(""); err != nil || v.Empty() {
		t.Errorf("the systemd credential: %v", err)
	}
	if v, err := with(nil).adminSecret(""); err != nil || !v.Empty() {
		t.Errorf("none: %v", err)
	}
}

// FuzzAPI sends whatever it likes, with a token that may do everything, to a server over a local cloud: the server may refuse, but not fail.
func FuzzAPI(f *testing.F) {
	s := newServed(f)
	h, tokens := s.server(f)
	var described struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(ask(h, tokens[api.Full], "GET", "/api/v1/openapi.json", "").Body.Bytes(), &described); err != nil {
		f.Fatal(err)
	}
	for path, methods := range described.Paths {
		path = "/api/v1" + strings.NewReplacer("{agent}", bot, "{id}", "latest", "{digest}", "0123456789abcdef").Replace(path)
		for method := range methods {
			for _, body := range []string{"", "{}", `{"agent":"` + bot + `","approve":true}`, `[]`, `{"agent":""}`} {
				f.Add(strings.ToUpper(method), path, body, "Accept", "*/*")
			}
		}
	}
	for _, path := range []string{"/api/setup/runtime-identity/provision", "/api/setup/runtime-identity/revoke", "/api/identity/fix-roles", "/api/guardrails/preflight/run", "/api/auth/check", "/agents/" + bot, "/setup"} {
		f.Add("POST", path, "{}", "X-Forwarded-For", "::1")
	}
	for _, path := range []string{"/", "/agents", "/metrics", "/health", "/api/identity/info", "/api/identity/roles", "/assets/x", "/preflight?format=html"} {
		f.Add("GET", path, "", "Last-Event-ID", "-1")
	}
	f.Fuzz(func(t *testing.T, method, path, body, name, value string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \x00\r\n\t") || strings.Contains(path, "/events") {
			return // not a request line; and streams end when their job does
		}
		r, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		if name != "" && !strings.EqualFold(name, "Authorization") && !strings.EqualFold(name, "Host") {
			r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		}
		r.RemoteAddr, r.RequestURI = "127.0.0.1:5", r.URL.RequestURI()
		r.Header.Set("Authorization", "Bearer "+tokens[api.Full])
		if body != "" && r.Header.Get("Content-Type") == "" {
			r.Header.Set("Content-Type", "application/json")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(ctx))
		if w.Code >= 500 && w.Code != http.StatusNotImplemented && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
		}
		if said := fmt.Sprint(w.Header(), w.Body); strings.Contains(said, tokens[api.Full]) {
			t.Errorf("%s %s: the answer holds the token", method, path)
		}
	})
}
