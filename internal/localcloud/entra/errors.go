package entra

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// failure is an error answer: an OAuth error (RFC 6749 §5.2) with the AADSTS code that people search for.
type failure struct {
	status int
	kind   string // the OAuth error
	code   int    // the number after AADSTS
	text   string
	sub    string // suberror, "" for none
}

// Error is the description without trace.
func (f *failure) Error() string { return fmt.Sprintf("AADSTS%d: %s", f.code, f.text) }

func fail(status int, kind string, code int, format string, a ...any) *failure {
	return &failure{status: status, kind: kind, code: code, text: fmt.Sprintf(format, a...)}
}

// badClient is a failure to prove who the client is, which Entra answers with 401.
func badClient(code int, format string, a ...any) *failure {
	return fail(http.StatusUnauthorized, "invalid_client", code, format, a...)
}

func badRequest(code int, format string, a ...any) *failure {
	return fail(http.StatusBadRequest, "invalid_request", code, format, a...)
}

func badGrant(code int, format string, a ...any) *failure {
	return fail(http.StatusBadRequest, "invalid_grant", code, format, a...)
}

func badScope(code int, format string, a ...any) *failure {
	return fail(http.StatusBadRequest, "invalid_scope", code, format, a...)
}

func missing(parameter string) *failure {
	return badRequest(900144, "The request body must contain the following parameter: '%s'.", parameter)
}

// hasPage tells whether the answer carries an error_uri: recorded answers of August 2026 lack it for these two.
func hasPage(code int) bool { return code != 700038 && code != 70003 }

// errorBody is the answer, members in the order in which they were recorded.
type errorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
	Suberror      string `json:"suberror,omitempty"`
}

// refuse answers with the failure.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, f *failure) {
	trace, correlation := s.headers(w, r)
	stamp := s.env.Now().UTC().Format("2006-01-02 15:04:05Z")
	body := errorBody{
		Error:         f.kind,
		Description:   fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", f.Error(), trace, correlation, stamp),
		Codes:         []int{f.code},
		Timestamp:     stamp,
		TraceID:       trace,
		CorrelationID: correlation,
		Suberror:      f.sub,
	}
	if hasPage(f.code) {
		body.URI = fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", f.code)
	}
	service.JSON(w, f.status, body)
}

// headers sets what every token answer carries, and returns the trace id and the correlation id.
// Entra also sends Strict-Transport-Security; on localhost that would forbid plain HTTP to every other server of the machine.
func (s *Service) headers(w http.ResponseWriter, r *http.Request) (trace, correlation string) {
	trace = s.env.NewID()
	correlation = strings.ToLower(r.Header.Get("client-request-id"))
	if !isGUID(correlation) {
		correlation = s.env.NewID()
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("P3P", `CP="DSP CUR OTPi IND OTRi ONL FIN"`)
	h.Set("x-ms-request-id", trace)
	h.Set("x-ms-ests-server", "2.1.0 - local cloud")
	if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") {
		h.Set("client-request-id", correlation)
	}
	return trace, correlation
}

// instant is how Entra prints a time inside a description.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}
