package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/client"
)

const token = "a-token-8d1f0a"

// server answers as an admin server does; paths are below /api/v1.
func server(t *testing.T, answers map[string]http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("%s: Authorization is %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		h := answers[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api/v1")]
		switch {
		case h != nil:
			h(w, r)
		case r.URL.Path == "/api/v1/whoami":
			reply(w, 200, api.WhoAmI{Name: "ci", Level: api.Full, Target: api.Resolved{Cloud: agent.Public}})
		default:
			t.Errorf("nobody expected %s %s", r.Method, r.URL.Path)
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func reply(w http.ResponseWriter, status int, v any) {
	kind := "application/json"
	if status >= 400 {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func open(t *testing.T, url string) *client.Door {
	t.Helper()
	d, err := client.Open(t.Context(), client.Config{URL: url, Token: secret.New([]byte(token))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestWhereATokenIsNotSent(t *testing.T) {
	for _, url := range []string{
		"http://leastkey.example", "http://192.0.2.7:9090", "http://localhost.example", "ftp://127.0.0.1", "leastkey.example", "", "https://", "https://user:pass@leastkey.example",
		"https://leastkey.example?token=x", "https://leastkey.example#x", "http://127.0.0.1.example",
	} {
		_, err := client.Open(t.Context(), client.Config{URL: url, Token: secret.New([]byte(token)), HTTP: refusing{t}})
		if !fault.Is(err, fault.Usage) {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "pass") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
	if _, err := client.Open(t.Context(), client.Config{URL: "https://leastkey.example", HTTP: refusing{t}}); !fault.Is(err, fault.Usage) {
		t.Errorf("without a token: %v", err)
	}
}

// refusing fails the test for whatever is sent.
type refusing struct{ *testing.T }

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.Errorf("%s was sent", req.URL)
	return nil, http.ErrAbortHandler
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with Authorization %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := server(t, map[string]http.HandlerFunc{"GET /whoami": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) }})
		if _, err := client.Open(t.Context(), client.Config{URL: url, Token: secret.New([]byte(token))}); !fault.Is(err, fault.Refused) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestACertificateThatIsNotTrusted(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	defer s.Close()
	_, err := client.Open(t.Context(), client.Config{URL: s.URL, Token: secret.New([]byte(token))})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Hint(err), "SSL_CERT_FILE") {
		t.Errorf("%v; %s", err, fault.Hint(err))
	}
}

func TestProblemsAreFaults(t *testing.T) {
	for _, row := range []struct {
		sentence string
		answer   http.HandlerFunc
		code     fault.Code
		says     string
		exit     int
	}{
		{"ours", problem(409, fault.Conflict, "the world has changed"), fault.Conflict, "the world has changed", api.ExitFailed},
		{"stopped midway", problem(503, fault.Stopped, "stopped at step 3"), fault.Stopped, "stopped at step 3", api.ExitStopped},
		{"a wrong word", problem(404, fault.Usage, "no agent nope here"), fault.Usage, "no agent nope here", api.ExitUsage},
		{"an operator who is not logged in", problem(503, fault.Unauthenticated, "az is not logged in"), fault.Unauthenticated, "az is not logged in", api.ExitFailed},
		{"a code of a later version", problem(403, "of-tomorrow", "refused"), fault.Forbidden, "refused", api.ExitFailed},
		{"a code that says nothing", problem(500, fault.Unknown, "something"), fault.Unknown, "something", api.ExitFailed},
		{"a proxy's page", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = w.Write([]byte("<html>eyJhbGciOi a token of somebody's</html>"))
		}, fault.Unavailable, "answers 502 Bad Gateway", api.ExitFailed},
		{"a problem of another status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"type":"about:blank","title":"OK","status":200,"code":"conflict"}`))
		}, fault.Forbidden, "answers 403", api.ExitFailed},
		{"what is no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }, fault.Unknown, "does not read", api.ExitFailed},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			d := open(t, server(t, map[string]http.HandlerFunc{"GET /status": row.answer}))
			_, err := d.Status(t.Context(), "")
			if fault.CodeOf(err) != row.code || !strings.Contains(err.Error(), row.says) || api.ExitCode(err) != row.exit || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("code %s, exit code %d: %v", fault.CodeOf(err), api.ExitCode(err), err)
			}
		})
	}
}

func problem(status int, code fault.Code, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		reply(w, status, api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: string(code)})
	}
}

// TestEventsGoOnAfterADroppedConnection cuts the stream in the middle of an event, refuses the next connection, tells an event twice, and goes on.
func TestEventsGoOnAfterADroppedConnection(t *testing.T) {
	var mu sync.Mutex
	connections, resumed := 0, []string{}
	event := func(n int) string {
		return fmt.Sprintf("id: %d\nevent: progress\ndata: {\"n\":%d,\"event\":{\"at\":\"2026-01-01T00:00:00Z\",\"step\":\"s%d\",\"status\":\"done\"}}\n\n", n, n, n)
	}
	done := `{"n":5,"done":{"id":"j1","agent":"bot","verb":"preflight","actor":"ci","started":"2026-01-01T00:00:00Z","status":"done","result":{"id":"r1","green":true}}}`
	events := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		connections++
		resumed = append(resumed, r.Header.Get("Last-Event-ID"))
		if connections == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		text := ": following\n\n" + event(1) + event(2) + "id: 3\nevent: progress\ndata: {\"n\":3,\"eve"
		switch connections {
		case 3:
			text = event(2) + event(3)
		case 4:
			text = event(4) + "id: 5\nevent: done\ndata: " + done + "\n\n"
		}
		_, _ = w.Write([]byte(text))
	}
	d := open(t, server(t, map[string]http.HandlerFunc{
		"POST /agents/bot/preflight-runs": func(w http.ResponseWriter, _ *http.Request) { reply(w, 202, api.Job{ID: "j1", Agent: "bot"}) },
		"GET /jobs/j1/events":             events,
	}))
	var heard []string
	r, err := d.Preflight(t.Context(), api.PreflightRequest{Agent: "bot"}, func(e api.Event) { heard = append(heard, e.Step) })
	if err != nil || r.ID != "r1" || !r.Green {
		t.Errorf("%+v %v", r.ID, err)
	}
	if got := strings.Join(heard, " "); got != "s1 s2 s3 s4" {
		t.Errorf("heard %s", got)
	}
	if got := strings.Join(resumed, ","); got != ",2,2,3" {
		t.Errorf("asked for what comes after %s", got)
	}
}

func TestAServerThatForgotTheJob(t *testing.T) {
	d := open(t, server(t, map[string]http.HandlerFunc{
		"POST /agents/bot/preflight-runs": func(w http.ResponseWriter, _ *http.Request) { reply(w, 202, api.Job{ID: "j1"}) },
		"GET /jobs/j1/events":             problem(404, fault.NotFound, "no job j1 here"),
	}))
	if _, err := d.Preflight(t.Context(), api.PreflightRequest{Agent: "bot"}, nil); !fault.Is(err, fault.Stopped) {
		t.Errorf("%v", err)
	}
}

// TestALostAnswerIsNotAskedForAgain: whether the job began is not known, so nothing is sent twice.
func TestALostAnswerIsNotAskedForAgain(t *testing.T) {
	asked := 0
	d := open(t, server(t, map[string]http.HandlerFunc{"POST /agents/bot/preflight-runs": func(http.ResponseWriter, *http.Request) {
		asked++
		panic(http.ErrAbortHandler)
	}}))
	_, err := d.Preflight(t.Context(), api.PreflightRequest{Agent: "bot"}, nil)
	if asked != 1 || !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Hint(err), "joins") {
		t.Errorf("asked %d times: %v; %s", asked, err, fault.Hint(err))
	}
}
