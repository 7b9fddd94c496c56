package api

import (
	"net/http"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Exit codes of the command line.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitFindings    = 3
	ExitStopped     = 4
	ExitPending     = 5
	ExitInterrupted = 130
)

// HTTPStatus is the status of an error code over HTTP.
func HTTPStatus(c fault.Code) int {
	switch c {
	case fault.Invalid, fault.Usage:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden, fault.Refused:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict, fault.Busy, fault.Corrupt:
		return http.StatusConflict
	case fault.Throttled:
		return http.StatusTooManyRequests
	case fault.Unavailable, fault.NotYet, fault.Stopped:
		return http.StatusServiceUnavailable
	case fault.Unsupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// ExitCode is the exit code of an error; nil is done.
func ExitCode(err error) int {
	if err == nil {
		return ExitDone
	}
	switch fault.CodeOf(err) {
	case fault.Stopped:
		return ExitStopped
	case fault.Usage:
		return ExitUsage
	}
	return ExitFailed
}

// ProblemOf is an error as it is told over HTTP.
func ProblemOf(err error) Problem {
	code := fault.CodeOf(err)
	status := HTTPStatus(code)
	return Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: err.Error(), Hint: fault.Hint(err), Code: string(code)}
}
