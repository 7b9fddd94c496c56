package fault_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestWait(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		header, value string
		want          time.Duration
	}{
		"seconds":                       {"Retry-After", "10", 10 * time.Second},
		"a date ahead":                  {"Retry-After", "Sat, 01 Aug 2026 12:00:30 GMT", 30 * time.Second},
		"a date in the past is no wait": {"Retry-After", "Sat, 01 Aug 2026 11:00:30 GMT", 0},
		"milliseconds":                  {"Retry-After-Ms", "250", 250 * time.Millisecond},
		"milliseconds of ARM":           {"x-ms-retry-after-ms", "250", 250 * time.Millisecond},
		"a year is cut to an hour":      {"Retry-After", "31536000", time.Hour},
		"overflow is cut to an hour":    {"Retry-After", "9223372036854775807", time.Hour},
		"nonsense is no wait":           {"Retry-After", "soon", 0},
		"negative is no wait":           {"Retry-After", "-5", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			h.Set(c.header, c.value)
			if got := fault.Wait(h, now); got != c.want {
				t.Errorf("Wait = %v, want %v", got, c.want)
			}
		})
	}
}

func TestSentence(t *testing.T) {
	jwt := "eyJhbGciOiJQUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
	for name, c := range map[string]struct{ in, want string }{
		"keeps the first sentence only":      {"Access is denied. Trace ID: 123 Correlation ID: 456", "Access is denied"},
		"keeps the first line only":          {"json decode error\nraw message was: {\"access_token\":\"abc\"}", "json decode error"},
		"hides a token":                      {"token " + jwt + " is bad", "token [removed] is bad"},
		"hides a quoted token":               {"token '" + jwt + "'.", "token [removed]"},
		"hides a client secret":              {"secret abc8Q~aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "secret [removed]"},
		"hides a long run":                   {"code " + strings.Repeat("A", 65), "code [removed]"},
		"keeps an ARM id":                    {"scope '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv' x", "scope '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv' x"},
		"strips what would drive a terminal": {"a\x1b[31mred", "a[31mred"},
		"is empty for nothing":               {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fault.Sentence(c.in); got != c.want {
				t.Errorf("Sentence = %q, want %q", got, c.want)
			}
		})
	}
	if got := fault.Sentence(strings.Repeat("word ", 1000)); len(got) > 420 {
		t.Errorf("a long message stays long: %d bytes", len(got))
	}
}

func TestLost(t *testing.T) {
	cut := fault.Lost("read x", &url.Error{Op: "Get", URL: "https://graph.test/v1.0/x?y=z", Err: io.ErrUnexpectedEOF})
	if cut.Code != fault.Unavailable || cut.Error() != "read x: no answer from graph.test: unexpected EOF" || !errors.Is(cut, io.ErrUnexpectedEOF) {
		t.Errorf("cut connection: %s %q", cut.Code, cut)
	}
	tlsErr := fault.Lost("read x", &url.Error{Op: "Get", URL: "https://graph.test/", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}})
	if tlsErr.Code != fault.Invalid || tlsErr.Hint == "" {
		t.Errorf("untrusted certificate: %s, hint %q", tlsErr.Code, tlsErr.Hint)
	}
}

func TestOfStatus(t *testing.T) {
	for status, want := range map[int]fault.Code{
		302: fault.Unknown, 400: fault.Invalid, 401: fault.Unauthenticated, 403: fault.Forbidden, 404: fault.NotFound, 405: fault.Invalid,
		408: fault.Unavailable, 409: fault.Conflict, 429: fault.Throttled, 500: fault.Unavailable, 503: fault.Unavailable,
	} {
		if got := fault.OfStatus(status); got != want {
			t.Errorf("OfStatus(%d) = %s, want %s", status, got, want)
		}
	}
}
