package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

const problemType = "application/problem+json"

// statusError is an error as huma writes it.
type statusError struct {
	api.Problem
	retry time.Duration
}

// failed is an error of ours as huma takes it.
func failed(err error) error {
	if _, ok := errors.AsType[huma.StatusError](err); ok {
		return err
	}
	return &statusError{problemOf(err), fault.RetryAfter(err)}
}

// Error implements error.
func (e *statusError) Error() string { return e.Detail }

// GetStatus implements [huma.StatusError].
func (e *statusError) GetStatus() int { return e.Status }

// GetHeaders implements [huma.HeadersError].
func (e *statusError) GetHeaders() http.Header {
	h := http.Header{}
	retryAfter(h, e.retry)
	return h
}

// ContentType implements [huma.ContentTypeFilter].
func (*statusError) ContentType(string) string { return problemType }

// MarshalJSON writes the problem alone.
func (e *statusError) MarshalJSON() ([]byte, error) { return json.Marshal(e.Problem) }

// problemOf is an error over HTTP. A request that was given up has no code of its own in the table.
func problemOf(err error) api.Problem {
	if fault.CodeOf(err) == fault.Unknown && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		err = &fault.Error{Code: fault.Unavailable, Err: err, Hint: "ask again"}
	}
	return api.ProblemOf(err)
}

func retryAfter(h http.Header, d time.Duration) {
	if d > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// fail writes an error as a problem, or, to an endpoint of the seed, in the seed's shape where that has one.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	retryAfter(w.Header(), fault.RetryAfter(err))
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="leastkey"`) // RFC 6750, section 3
	}
	if p.Status == http.StatusUnauthorized && legacyPath(r.URL.Path) {
		writeJSON(w, p.Status, "application/json", map[string]string{"status": "unauthorized", "message": "Invalid or missing admin secret", "hint": p.Hint})
		return
	}
	s.reply(w, r, p)
}

// reply writes a problem, or, to an endpoint of the seed, what its front end reads: every error there has status and message.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, p api.Problem) {
	if legacyPath(r.URL.Path) {
		writeJSON(w, p.Status, "application/json", legacyError{Status: "error", Message: p.Detail, Hint: p.Hint})
		return
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p api.Problem) { writeJSON(w, p.Status, problemType, p) }

// plain is a problem that is no error of ours: a status, and what to say about it.
func plain(status int, code fault.Code, detail, hint string) api.Problem {
	return api.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Hint: hint, Code: string(code)}
}

func writeJSON(w http.ResponseWriter, status int, kind string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, kind, b = http.StatusInternalServerError, problemType, problem(err)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that has gone hears nothing, and that is no event
}

func unauthenticated() error {
	return fault.New(fault.Unauthenticated, "no valid token or session", "send Authorization: Bearer TOKEN; leastkey serve token add NAME --role ROLE makes one")
}

// legacyPath tells whether the path is one of the seed's.
func legacyPath(p string) bool {
	for _, space := range []string{"/api/setup/", "/api/identity/", "/api/guardrails/", "/api/auth/"} {
		if strings.HasPrefix(p, space) {
			return true
		}
	}
	return p == "/health"
}

// plainProblem turns huma's own errors into problems as ours are. Its model echoes the value that was wrong, which may be a secret in the wrong
// place: only where it was and why it is wrong is told.
func plainProblem(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	var said []string
	for _, d := range e.Errors {
		if d != nil && len(said) < 10 {
			said = append(said, strings.TrimPrefix(d.Location+": "+why(d.Message), ": "))
		}
	}
	detail := e.Detail
	if len(said) > 0 {
		detail += ": " + strings.Join(said, "; ")
	}
	return plain(e.Status, codeOf(e.Status), detail, ""), nil
}

// why is a message of the validation without what it quotes of the input.
func why(message string) string {
	switch {
	case strings.HasPrefix(message, "invalid character"), strings.HasPrefix(message, "json:"), strings.HasPrefix(message, "unexpected end of JSON"):
		return "not the JSON that is wanted"
	}
	return fault.Sentence(message)
}

// codeOf is the class of a status that no error of ours has.
func codeOf(status int) fault.Code {
	switch status {
	case http.StatusNotImplemented, http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		return fault.Unsupported
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return fault.Invalid
	}
	return fault.OfStatus(status)
}

func problemSchema(a huma.API) *huma.Schema {
	return a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "Problem")
}

// schemaName names a type in the description: those of domain/api by their own name, others with their package's before it, so that agent.Plan
// and another Plan do not meet.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch pkg := path.Base(t.PkgPath()); pkg {
	case ".", "api", "httpapi":
		return name
	default:
		return strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
}
