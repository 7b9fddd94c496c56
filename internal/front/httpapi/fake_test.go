package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// frameHouse is a house in which one agent lives: enough for what the frame itself asks. Whatever else is asked of its doors is a nil
// pointer, and so a failure of the test.
type frameHouse struct {
	notReady error
	state    error
	mu       sync.Mutex
	entered  []string
	enter    func(ctx context.Context, actor string) (Door, error)
}

func (h *frameHouse) Recall(ctx context.Context, actor string) (Door, error) {
	return h.Enter(ctx, actor)
}

func (h *frameHouse) Enter(ctx context.Context, actor string) (Door, error) {
	h.mu.Lock()
	h.entered = append(h.entered, actor)
	h.mu.Unlock()
	if h.enter != nil {
		return h.enter(ctx, actor)
	}
	return frameDoor{state: h.state}, nil
}
func (h *frameHouse) ReadSpec(context.Context) (api.SpecAnswer, error) { return api.SpecAnswer{}, nil }
func (h *frameHouse) WriteSpec(context.Context, string, api.SpecChange) (api.SpecAnswer, error) {
	return api.SpecAnswer{}, nil
}
func (h *frameHouse) Choices(context.Context, string, string) (api.Choices, error) {
	return api.Choices{}, nil
}
func (h *frameHouse) Refused(context.Context, string, string, string, error) error { return nil }
func (h *frameHouse) Version() api.Version                                         { return api.Version{Version: "1.2.3"} }
func (h *frameHouse) Ready(context.Context) error                                  { return h.notReady }

type frameDoor struct {
	Door
	state error
}

func (d frameDoor) State(context.Context) ([]agent.Record, error) {
	return []agent.Record{{Agent: "bot", Generations: []agent.Generation{{ID: "g", Active: true, NotAfter: time.Now().Add(1000 * time.Second)}}}}, d.state
}
func (frameDoor) PreflightRuns(context.Context, string, int) ([]api.PreflightReport, error) {
	return []api.PreflightReport{{Counts: api.Counts{Passed: 7, Failed: 1}}}, nil
}
func (frameDoor) Close() error { return nil }

// frameTokens holds tokens by their text.
type frameTokens struct {
	mu     sync.Mutex
	by     map[string]api.AdminToken
	broken error
	asked  int
}

func (t *frameTokens) Check(_ context.Context, v secret.Value) (found api.AdminToken, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if t.broken != nil {
		return found, t.broken
	}
	err = fault.New(fault.Unauthenticated, "unknown token", "")
	_ = v.Use(func(b []byte) error {
		if x, ok := t.by[string(b)]; ok && x.Revoked.IsZero() {
			found, err = x, nil
		}
		return nil
	})
	return found, err
}

func (t *frameTokens) Current(_ context.Context, name string) (api.AdminToken, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.by {
		if x.Name == name && x.Revoked.IsZero() {
			return x, nil
		}
	}
	return api.AdminToken{}, fault.New(fault.Unauthenticated, "unknown token", "")
}

func (t *frameTokens) revoke(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.by[text]
	x.Revoked = time.Now()
	t.by[text] = x
}

type frameJobs struct{ Jobs }

func (frameJobs) List() []api.Job {
	return []api.Job{{Verb: "apply", Status: api.JobDone}, {Verb: "apply", Status: api.JobDone}}
}

// frame is a server on its own, and what it logs.
type frame struct {
	*Server
	house  *frameHouse
	tokens *frameTokens
	log    *lockedBuffer
	http.Handler
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The tokens of a frame, of each level, and its ADMIN_SECRET.
const (
	viewToken    = "view-token-5f0c1e"
	approveToken = "approve-token-77aa02"
	fullToken    = "full-token-93be41"
	theSecret    = "chosen-by-a-person"
)

func newFrame(t *testing.T, change func(*Config)) *frame {
	t.Helper()
	f := &frame{house: &frameHouse{}, log: &lockedBuffer{}, tokens: &frameTokens{by: map[string]api.AdminToken{
		viewToken: {Name: "viewer", Level: api.View}, approveToken: {Name: "approver", Level: api.Approve}, fullToken: {Name: "applier", Level: api.Full},
	}}}
	c := Config{House: f.house, Tokens: f.tokens, Jobs: frameJobs{}, Person: "ada", Log: slog.New(slog.NewJSONHandler(f.log, nil))}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.Server, f.Handler = s, s.Handler()
	return f
}

// reply is what came back, read whole.
type reply struct {
	*http.Response
	text string
}

// ask sends one request to the handler; each header is "Name: value".
func (f *frame) ask(t *testing.T, method, target, body string, headers ...string) reply {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, target, r)
	req.Host = "127.0.0.1:9090"
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, req)
	return reply{w.Result(), w.Body.String()}
}

func as(token string) string { return "Authorization: Bearer " + token }

// problem reads the answer as one.
func (a reply) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	if got := a.Header.Get("Content-Type"); got != problemType {
		t.Fatalf("%d: content type %q: %s", a.StatusCode, got, a.text)
	}
	if err := json.Unmarshal([]byte(a.text), &p); err != nil || p.Status != a.StatusCode || p.Title == "" {
		t.Fatalf("not a problem of %d: %s (%v)", a.StatusCode, a.text, err)
	}
	return p
}
