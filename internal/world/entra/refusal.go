package entra

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// right is what a caller must hold for an operation: a directory role for a person, a permission for an application.
type right struct{ role, permission string }

// The rights, as Microsoft's reference pages of the operations name the least privileged ones.
func reading() right { return right{"Directory Readers", "Application.Read.All"} }
func writing() right { return right{"Application Administrator", "Application.ReadWrite.All"} }

// possession is the right to roll one's own key, which needs a proof and no permission; consenting is the right to grant application
// permissions.
func possession() right { return right{} }
func consenting() right {
	return right{"Privileged Role Administrator", "AppRoleAssignment.ReadWrite.All"}
}

func (r right) hint() string {
	if r == (right{}) {
		return "the proof of possession was not accepted: the certificate that signed it may be expired, removed, or not yet everywhere"
	}
	return "a person needs the directory role " + r.role + " (a PIM role may need activating), an application the permission " + r.permission
}

var graphCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,127}$`)

// refusal is the fault behind an error answer of Graph (Microsoft, "Microsoft Graph error responses and resource types").
func refusal(k call, status int, header http.Header, body []byte, now time.Time) *fault.Error {
	var answer struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Details []struct {
				Code string `json:"code"`
			} `json:"details"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &answer) // what does not read stays empty, and the status speaks
	e := answer.Error
	f := &fault.Error{Code: fault.OfStatus(status), Op: k.op, Status: status, RetryAfter: fault.Wait(header, now)}
	if s := fault.Sentence(e.Message); s != "" {
		f.Err = errors.New(s)
	}
	if !graphCode.MatchString(e.Code) {
		if f.Code != fault.Throttled && f.Code != fault.Unavailable {
			// A proxy's or portal's answer. Its 404 says nothing about any object.
			f.Code, f.Hint = fault.Unknown, "the answer is not Graph's: check --cloud and the proxy"
		}
		return f
	}
	f.Service = e.Code
	backing := strings.Contains(e.Message, "does not reference a valid application object")
	for _, d := range e.Details {
		backing = backing || d.Code == "NoBackingApplicationObject"
	}
	switch {
	// A replica that does not know the application yet answers the creation of its service principal in two more ways. The second has
	// only its text to tell it from a missing right; az waits for the same words (seen 2026-08).
	case status == http.StatusBadRequest && (backing || e.Code == "Request_ResourceNotFound"),
		status == http.StatusForbidden && strings.Contains(e.Message, "must in the local tenant"):
		f.Code = fault.NotFound
	// removeKey of one that is not there; whoever rolls their own key may not read, so the text is all there is to go by (seen 2026-08).
	case status == http.StatusBadRequest && strings.HasPrefix(e.Message, "No key credential found"):
		f.Code = fault.NotFound
	// An app role that is assigned already: 409 in some reports, and 400 with nothing but its text in others (seen 2026-08).
	case status == http.StatusBadRequest && strings.HasPrefix(e.Message, "Permission being assigned already exists"):
		f.Code = fault.Conflict
	case e.Code == "Request_MultipleObjectsWithSameKeyValue": // 409, and 400 for a clash of uniqueName
		f.Code = fault.Conflict
	case status == http.StatusForbidden:
		f.Hint = k.need.hint()
	case status == http.StatusUnauthorized && e.Code == "Authentication_Unauthorized" && k.need == possession():
		f.Hint = k.need.hint()
	case status == http.StatusUnauthorized:
		f.Hint = "Graph does not accept the token: sign in again, and check tenant and cloud"
	case strings.HasSuffix(e.Code, "AsPerAppPolicy"):
		f.Hint = "an app management policy of the tenant forbids it: try a smaller certificate.days, or ask who manages the policy"
	case e.Code == "KeyCredentialsInvalidEndDate":
		f.Hint = "the certificate's dates are not acceptable: check this machine's clock"
	case e.Code == "Directory_QuotaExceeded":
		f.Hint = "the caller may own no more directory objects; deleted ones count until they are purged"
	}
	return f
}
