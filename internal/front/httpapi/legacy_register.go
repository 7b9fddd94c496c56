package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// registerLegacy registers the endpoints of polyclaw v5.0.0, so that its front end keeps working. Shapes, names and codes are that version's
// where it tells the truth; where it does not, docs/api-differences.md says what is answered instead, and why.
func registerLegacy(s *Server, mux *http.ServeMux) {
	l := &legacy{Server: s, desk: newDesk(s.c.House, s.c.Jobs)}
	mux.HandleFunc("GET /health", l.health)
	mux.HandleFunc("POST /api/auth/check", l.authCheck)
	mux.HandleFunc("GET /api/setup/runtime-identity", s.need(api.View, l.runtimeIdentity))
	mux.HandleFunc("POST /api/setup/runtime-identity/provision", s.need(api.Full, l.provision))
	mux.HandleFunc("POST /api/setup/runtime-identity/revoke", s.need(api.Full, l.revoke))
	mux.HandleFunc("GET /api/identity/info", s.need(api.View, l.info))
	mux.HandleFunc("GET /api/identity/roles", s.need(api.View, l.roles))
	mux.HandleFunc("POST /api/identity/fix-roles", s.need(api.Full, l.fixRoles))
	mux.HandleFunc("GET /api/guardrails/preflight", s.need(api.View, l.lastPreflight))
	mux.HandleFunc("POST /api/guardrails/preflight/run", s.need(api.Approve, l.runPreflight))
}

// legacy is the seed's API. It speaks of one agent.
type legacy struct {
	*Server
	desk *desk
}

// legacyHealth is the answer of /health. Mode is admin: the runtime is a process of its own.
type legacyHealth struct {
	Status  string `json:"status"`
	Version string `json:"version"`
	Mode    string `json:"mode"`
}

func (l *legacy) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, legacyHealth{"ok", l.c.House.Version().Version, "admin"})
}

type legacyAuth struct {
	Authenticated bool `json:"authenticated"`
}

// authCheck tells whether the caller's token is good. Anybody may ask, as often as the throttle lets a wrong one through.
func (l *legacy) authCheck(w http.ResponseWriter, r *http.Request) {
	_, err := l.identified(r)
	if err != nil && !fault.Is(err, fault.Unauthenticated) {
		l.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, legacyAuth{err == nil})
}

// legacyError is the error of the setup namespace; the hint is ours.
type legacyError struct {
	Status  string `json:"status"` // error
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

func answer(w http.ResponseWriter, status int, v any) { writeJSON(w, status, "application/json", v) }

// refuse answers with the setup namespace's error.
func (l *legacy) refuse(w http.ResponseWriter, err error) {
	p := problemOf(err)
	retryAfter(w.Header(), fault.RetryAfter(err))
	answer(w, legacyStatus(fault.CodeOf(err)), legacyError{Status: "error", Message: p.Detail, Hint: p.Hint})
}

// legacyStatus is the status of a failure. The original has 500 for whatever failed outside; what a caller has to change is said more exactly.
// An operator who is not logged in is a failure on this side: 401 would tell a browser that its own token is wrong.
func legacyStatus(c fault.Code) int {
	switch c {
	case fault.Invalid, fault.Usage:
		return http.StatusBadRequest
	case fault.Conflict, fault.Busy, fault.Corrupt:
		return http.StatusConflict
	case fault.Throttled:
		return http.StatusTooManyRequests
	case fault.Unsupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

func noAgent() error {
	return fault.New(fault.Conflict, "no agent is described yet", "describe one in leastkey.yaml: leastkey init writes it, and so does the setup page")
}

// agent is the agent of the seed's endpoints: the one that --legacy-agent names, or the only one; "" where none is described yet, which is when
// the seed's wizard asks first.
func (l *legacy) agent(d Door) (string, error) {
	spec, err := d.Spec()
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	names := slices.Sorted(maps.Keys(spec.Agents))
	switch want := l.c.LegacyAgent; {
	case len(names) == 0:
		return "", nil
	case want != "" && !slices.Contains(names, want):
		return "", fault.New(fault.Conflict, "agent "+want+", of whom these endpoints speak, is not in leastkey.yaml", "start the server with another --legacy-agent")
	case want != "":
		return want, nil
	case len(names) > 1:
		return "", fault.New(fault.Conflict, "these endpoints speak of one agent, and there are "+strings.Join(names, ", "), "start the server with --legacy-agent NAME, or use "+v1)
	}
	return names[0], nil
}

// with opens the door as the caller, finds the agent and does the work; an error is answered.
func (l *legacy) with(w http.ResponseWriter, r *http.Request, do func(d Door, name string) error) {
	l.through(l.enter, w, r, do)
}

// through is with, by a door of the caller's choice.
func (l *legacy) through(open func(context.Context) (Door, error), w http.ResponseWriter, r *http.Request, do func(d Door, name string) error) {
	err := func() error {
		d, err := open(r.Context())
		if err != nil {
			return err
		}
		defer leave(d)
		name, err := l.agent(d)
		if err != nil {
			return err
		}
		return do(d, name)
	}()
	if err != nil {
		l.refuse(w, err)
	}
}

// object reads a body that has to be a JSON object, as the original means it to be.
func object(r *http.Request, into any) error {
	wrong := fault.New(fault.Invalid, "the body has to be a JSON object", `send {} if there is nothing to say`)
	dec := json.NewDecoder(r.Body)
	var raw json.RawMessage
	if dec.Decode(&raw) != nil || len(raw) == 0 || raw[0] != '{' {
		return wrong
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return wrong
	}
	if json.Unmarshal(raw, into) != nil {
		return fault.New(fault.Invalid, "a field of the body has the wrong type", "")
	}
	return nil
}

// run does the work as a job and waits for its end. A client that goes away does not end it, and whoever asks for the same joins it.
func (l *legacy) run(ctx context.Context, w assignment) (api.Job, error) {
	who, _ := WhoOf(ctx)
	job, _, err := l.desk.start(w, who, newStart())
	if err != nil {
		return job, err
	}
	return l.c.Jobs.Wait(ctx, job.ID)
}

// gone tells whether the client does not wait any more; nobody reads an answer then.
func gone(ctx context.Context, err error) bool { return err != nil && ctx.Err() != nil }
