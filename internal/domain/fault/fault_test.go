package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestErrorTellsTheStoryOnce(t *testing.T) {
	for want, err := range map[string]error{
		"read x": fault.New(fault.NotFound, "read x", "a hint is not part of it"),
		"read x: 403 Authorization_RequestDenied": &fault.Error{Code: fault.Forbidden, Op: "read x", Status: 403, Service: "Authorization_RequestDenied"},
		"read x: AADSTS700027: unexpected EOF":    &fault.Error{Op: "read x", Service: "AADSTS700027", Err: io.ErrUnexpectedEOF},
		"read x: 500":                             &fault.Error{Op: "read x", Status: 500},
		"unexpected EOF":                          &fault.Error{Code: fault.Unavailable, Err: io.ErrUnexpectedEOF},
		"unavailable":                             &fault.Error{Code: fault.Unavailable},
		"outer: inner: 404":                       fmt.Errorf("outer: %w", &fault.Error{Op: "inner", Status: 404}),
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCodeOf(t *testing.T) {
	inner := fault.Newf(fault.NotFound, "thing %d", 1)
	for name, c := range map[string]struct {
		err  error
		want fault.Code
	}{
		"nil has none":                      {nil, ""},
		"an error of others is unknown":     {io.EOF, fault.Unknown},
		"a wrapped fault":                   {fmt.Errorf("x: %w", inner), fault.NotFound},
		"the outermost wins":                {&fault.Error{Code: fault.Stopped, Err: inner}, fault.Stopped},
		"the first of joined ones":          {errors.Join(io.EOF, inner, fault.Newf(fault.Forbidden, "y")), fault.NotFound},
		"the zero fault is of no class yet": {&fault.Error{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fault.CodeOf(c.err); got != c.want {
				t.Errorf("CodeOf = %q, want %q", got, c.want)
			}
		})
	}
	if fault.Is(nil, "") || fault.Is(nil, fault.Unknown) || !fault.Is(inner, fault.Conflict, fault.NotFound) || fault.Is(inner, fault.Conflict) || fault.Is(inner) {
		t.Error("Is does not ask for one of the codes")
	}
}

func TestOnlyWhatMayPassIsRetryable(t *testing.T) {
	for _, c := range []fault.Code{fault.Unknown, fault.Invalid, fault.Usage, fault.NotFound, fault.Conflict, fault.Forbidden, fault.Unauthenticated, fault.Corrupt, fault.Busy, fault.Refused, fault.Stopped, fault.Unsupported} {
		if fault.Newf(c, "x").Retryable() {
			t.Errorf("%s is retryable", c)
		}
	}
	for _, c := range []fault.Code{fault.Throttled, fault.Unavailable, fault.NotYet} {
		if !fault.Newf(c, "x").Retryable() {
			t.Errorf("%s is not retryable", c)
		}
	}
}

func TestHintServiceAndRetryAfterAreFoundAnywhere(t *testing.T) {
	silent := fault.Newf(fault.Forbidden, "silent")
	saying := &fault.Error{Code: fault.Throttled, Service: "TooManyRequests", Hint: "wait", RetryAfter: 5 * time.Second}
	longer := &fault.Error{Code: fault.Throttled, Service: "Other", Hint: "wait longer", RetryAfter: 7 * time.Second}
	for name, err := range map[string]error{
		"itself":                 saying,
		"wrapped":                fmt.Errorf("x: %w", saying),
		"below a silent one":     &fault.Error{Code: fault.Stopped, Op: "stopped", Err: fmt.Errorf("x: %w", saying)},
		"beside a silent one":    errors.Join(silent, saying),
		"joined below a fault":   &fault.Error{Code: fault.Stopped, Err: errors.Join(io.EOF, silent, fmt.Errorf("y: %w", saying))},
		"several wrapped at one": fmt.Errorf("%w and %w", silent, saying),
	} {
		t.Run(name, func(t *testing.T) {
			if fault.Hint(err) != "wait" || fault.Service(err) != "TooManyRequests" || fault.RetryAfter(err) != 5*time.Second {
				t.Errorf("hint %q, service %q, wait %v", fault.Hint(err), fault.Service(err), fault.RetryAfter(err))
			}
		})
	}
	if both := errors.Join(saying, longer); fault.Hint(both) != "wait" || fault.RetryAfter(both) != 7*time.Second {
		t.Errorf("of two, the first hint and the longest wait: %q %v", fault.Hint(both), fault.RetryAfter(both))
	}
	if fault.Hint(nil) != "" || fault.Service(io.EOF) != "" || fault.RetryAfter(nil) != 0 {
		t.Error("something is found in nothing")
	}
}

func TestWithHintLeavesTheFirst(t *testing.T) {
	f := fault.New(fault.Invalid, "x", "one")
	if g := f.WithHint("two %d", 2); f.Hint != "one" || g.Hint != "two 2" || g.Code != fault.Invalid {
		t.Errorf("%q, %q", f.Hint, g.Hint)
	}
}
