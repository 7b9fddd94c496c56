// Package fault is the one shape of an error that a person or a program has to act on.
//
// Each layer wraps with what only it knows (fmt.Errorf with %w) and the layer that knows the class of the failure makes it a
// [*Error]. Branch with [Is] or [CodeOf], never on text. The face prints [Error.Error] and, on a second line, [Error.Hint].
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code is the class of a failure: what the caller may do about it. The HTTP status of each is in domain/api.
type Code string

// The codes. Unknown is the zero class: a lookup that failed for a reason nobody understood; it is never "absent" and never "pass".
const (
	Unknown         Code = "unknown"         // nobody could tell; treat as neither present nor absent
	Invalid         Code = "invalid"         // the input is wrong; nothing was done
	Usage           Code = "usage"           // the command names something that is not there to be named; nothing was done
	NotFound        Code = "not_found"       // the service answered that the thing does not exist
	Conflict        Code = "conflict"        // the thing exists already, or is not in the state that was assumed
	Forbidden       Code = "forbidden"       // the caller is known and lacks a right
	Unauthenticated Code = "unauthenticated" // the caller could not be identified
	Throttled       Code = "throttled"       // 429; try again after RetryAfter
	Unavailable     Code = "unavailable"     // 5xx, a cut connection, a timeout: the effect is unknown
	NotYet          Code = "not_yet"         // replication: an object of this plan is not visible everywhere
	Corrupt         Code = "corrupt"         // a file or record of ours does not read; it is never overwritten
	Busy            Code = "busy"            // another process holds the lock
	Refused         Code = "refused"         // we will not do it, though we could: a promise forbids it
	Stopped         Code = "stopped"         // stopped midway, resumable
	Unsupported     Code = "unsupported"     // a later version brings it
)

// Error is a failure with its class. Its message is Op, Service (if any) and Err, joined by colons.
type Error struct {
	Code       Code
	Op         string        // what was tried: "register certificate on application 8f3c…"; "" adds nothing
	Service    string        // the service's own code: "AADSTS700027", "Authorization_RequestDenied", "PrincipalNotFound"; "" if none
	Status     int           // HTTP status; 0 if none
	Hint       string        // what a person can do, one line, no trailing period; "" if there is nothing to say
	RetryAfter time.Duration // how long the service asked to wait; 0 if it did not say
	Err        error         // the cause; nil is allowed
}

// New is a fault without a cause.
func New(code Code, op, hint string) *Error { return &Error{Code: code, Op: op, Hint: hint} }

// Newf is New with a formatted op and no hint.
func Newf(code Code, format string, a ...any) *Error {
	return &Error{Code: code, Op: fmt.Sprintf(format, a...)}
}

// WithHint returns a copy of e with the hint set.
func (e *Error) WithHint(format string, a ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, a...)
	return &c
}

// Error tells the story once.
func (e *Error) Error() string {
	var parts []string
	if e.Op != "" {
		parts = append(parts, e.Op)
	}
	switch {
	case e.Status != 0 && e.Service != "":
		parts = append(parts, fmt.Sprintf("%d %s", e.Status, e.Service))
	case e.Service != "":
		parts = append(parts, e.Service)
	case e.Status != 0:
		parts = append(parts, fmt.Sprint(e.Status))
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	if len(parts) == 0 {
		return string(e.Code)
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retryable tells whether the same request may be sent again after a wait. A request whose effect is unknown is retryable only
// where it is idempotent; the caller decides that.
func (e *Error) Retryable() bool {
	switch e.Code {
	case Throttled, Unavailable, NotYet:
		return true
	}
	return false
}

// CodeOf is the code of the outermost fault in err's chain, Unknown if there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f.Code
	}
	return Unknown
}

// Is tells whether the outermost fault in err's chain has one of the codes.
func Is(err error, codes ...Code) bool {
	if err == nil {
		return false
	}
	c := CodeOf(err)
	for _, want := range codes {
		if c == want {
			return true
		}
	}
	return false
}

// Service is the service's own code in err's tree, the outermost and first; "" if there is none.
func Service(err error) string {
	return first(err, func(f *Error) string { return f.Service })
}

// Hint is the outermost and first hint in err's tree, "" if there is none.
func Hint(err error) string {
	return first(err, func(f *Error) string { return f.Hint })
}

// RetryAfter is the longest wait that a fault in err's tree asks for.
func RetryAfter(err error) time.Duration {
	var longest time.Duration
	walk(err, func(f *Error) bool {
		longest = max(longest, f.RetryAfter)
		return true
	})
	return longest
}

func first(err error, field func(*Error) string) (found string) {
	walk(err, func(f *Error) bool {
		found = field(f)
		return found == ""
	})
	return found
}

// walk visits every fault of the tree, a fault before its cause and joined errors in their order, until visit answers false.
func walk(err error, visit func(*Error) bool) bool {
	if f, ok := err.(*Error); ok && !visit(f) {
		return false
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			if !walk(each, visit) {
				return false
			}
		}
	}
	return true
}
