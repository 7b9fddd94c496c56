package arm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// failed is the fault behind an error of the SDK. scope is what the request was about.
func (c *Client) failed(ctx context.Context, op, scope string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if answered, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return c.refusal(op, scope, answered)
	}
	// A fault in the chain is the credential's, or ours. What the login service did not find must not read as "ARM has no such
	// resource".
	if f, ok := errors.AsType[*fault.Error](err); ok {
		code := f.Code
		switch code {
		case fault.NotFound, fault.Conflict, fault.Invalid:
			code = fault.Unauthenticated
		}
		return &fault.Error{Code: code, Op: op, Err: f}
	}
	if lost, ok := errors.AsType[*noAnswer](err); ok {
		return fault.Lost(op, lost.err)
	}
	// What is left did not read; its text could quote the answer.
	return fault.New(fault.Unknown, op+": the answer is not ARM's", "check --cloud and the proxy")
}

var (
	armCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,127}$`)
	// denied finds what an AuthorizationFailed names between quotes.
	deniedAction = regexp.MustCompile(`perform action '([A-Za-z0-9./*_-]{1,200})'`)
	deniedScope  = regexp.MustCompile(`over scope '(/[^'\s]{0,1000})'`)
)

// refusal is the fault behind an error answer of ARM (Microsoft, "Troubleshoot common Azure deployment errors" and "Troubleshoot Azure
// RBAC").
func (c *Client) refusal(op, scope string, e *azcore.ResponseError) *fault.Error {
	header := http.Header{}
	var answer struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if e.RawResponse != nil {
		header = e.RawResponse.Header
		if body, err := io.ReadAll(e.RawResponse.Body); err == nil { // in memory: the SDK has read it
			_ = json.Unmarshal(body, &answer) // what does not read stays empty, and the status speaks
		}
		_ = e.RawResponse.Body.Close()
	}
	message := answer.Error.Message
	f := &fault.Error{Code: fault.OfStatus(e.StatusCode), Op: op, Status: e.StatusCode, RetryAfter: fault.Wait(header, c.now())}
	if s := fault.Sentence(message); s != "" {
		f.Err = errors.New(s)
	}
	if !armCode.MatchString(answer.Error.Code) {
		if f.Code != fault.Throttled && f.Code != fault.Unavailable {
			// A proxy's or portal's answer. Its 404 says nothing about any resource.
			f.Code, f.Hint = fault.Unknown, "the answer is not ARM's: check --cloud and the proxy"
		}
		return f
	}
	f.Service = answer.Error.Code
	switch {
	case f.Service == "PrincipalNotFound": // 400; a new principal is not everywhere yet
		f.Code = fault.NotFound
	case f.Service == "InvalidAuthenticationTokenTenant":
		f.Hint = "the token is of another tenant than the subscription: check tenant and subscription"
	case e.StatusCode == http.StatusUnauthorized:
		f.Hint = "ARM does not accept the token: sign in again, and check tenant and cloud"
	case e.StatusCode == http.StatusForbidden:
		f.Hint = deniedHint(message, scope)
	case f.Service == "RoleAssignmentLimitExceeded":
		f.Hint = "the subscription is full of role assignments: remove those of deleted principals"
	case f.Service == "SubscriptionNotFound":
		f.Hint = "check subscription and tenant; the caller may also lack any role on it"
	}
	return f
}

// deniedHint names the missing right and where, as far as ARM says it.
func deniedHint(message, scope string) string {
	action := "a right"
	if m := deniedAction.FindStringSubmatch(message); m != nil {
		action = m[1]
	}
	if m := deniedScope.FindStringSubmatch(message); m != nil {
		scope = m[1]
	}
	// ARM names the assignment; what a person can be given is a role on what it is about.
	if of, _, ok := strings.Cut(scope, "/providers/Microsoft.Authorization/"); ok && of != "" {
		scope = of
	}
	hint := "the caller lacks " + action + " on " + role.Short(scope)
	switch action {
	case "Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete":
		hint += ", which Role Based Access Control Administrator has"
	}
	return hint + "; a PIM role may need activating"
}

// absent turns ARM's own answer that a thing does not exist into false. A subscription that is not found is something else: then nobody
// looked for the thing.
func absent(err error) (bool, error) {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != fault.NotFound || f.Status != http.StatusNotFound {
		return false, err
	}
	switch f.Service {
	case "SubscriptionNotFound", "InvalidSubscriptionId", "InvalidResourceType", "InvalidResourceNamespace", "NoRegisteredProviderFound", "MissingSubscription":
		return false, err
	}
	return false, nil
}
