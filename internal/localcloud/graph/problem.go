package graph

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// problem is an error answer (Microsoft Graph, "Microsoft Graph error responses and resource types").
type problem struct {
	status  int
	code    string
	message string
	details []detail
}

type detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.status, p.code, p.message) }

func badRequest(format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, code: "Request_BadRequest", message: fmt.Sprintf(format, args...)}
}

func notFound(id string) *problem {
	return &problem{status: http.StatusNotFound, code: "Request_ResourceNotFound", message: "Resource '" + id + "' does not exist or one of its queried reference-property objects are not present."}
}

func denied() *problem {
	return &problem{status: http.StatusForbidden, code: "Authorization_RequestDenied", message: "Insufficient privileges to complete the operation."}
}

func wrongMethod() *problem {
	return &problem{status: http.StatusMethodNotAllowed, code: "Request_BadRequest", message: "Specified HTTP method is not allowed for the request target."}
}

func clash(status int, format string, args ...any) *problem {
	return &problem{status: status, code: "Request_MultipleObjectsWithSameKeyValue", message: fmt.Sprintf(format, args...)}
}

func quota() *problem {
	return &problem{status: http.StatusBadRequest, code: "Directory_QuotaExceeded", message: "The directory object quota limit for the Principal has been exceeded. Please ask your administrator to increase the quota limit or delete objects to reduce the used quota."}
}

func invalid(property, resource string) *problem {
	return badRequest("Invalid value specified for property '%s' of resource '%s'.", property, resource)
}

func missing(property, resource string) *problem {
	return badRequest("A value is required for property '%s' of resource '%s'.", property, resource)
}

// noCredential says that a credential to be removed is not there; clients match the first words.
func noCredential(kind, keyID string) *problem {
	return badRequest("No %s credential found with keyId '%s'.", kind, keyID)
}

func unauthorized(err error) *problem {
	p := &problem{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken"}
	switch {
	case errors.Is(err, authority.ErrMissing):
		p.message = "Access token is empty."
	case errors.Is(err, authority.ErrExpired):
		p.message = "Lifetime validation failed, the token is expired."
	case errors.Is(err, authority.ErrNotYet):
		p.message = "Lifetime validation failed, the token is not yet valid."
	case errors.Is(err, authority.ErrAudience):
		p.message = "Access token validation failure. Invalid audience."
	case errors.Is(err, authority.ErrIssuer):
		p.message = "Access token validation failure. Invalid issuer."
	default:
		p.message = "CompactToken parsing failed with error code: 80049217"
	}
	return p
}

// refuse writes an error answer. An error that is no problem is a fault of the local cloud itself.
func (s *Service) refuse(w http.ResponseWriter, c *call, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = &problem{status: http.StatusInternalServerError, code: "InternalServerError", message: "local cloud: " + err.Error()}
	}
	if p.status == http.StatusUnauthorized && p.code == "InvalidAuthenticationToken" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="`+s.env.Endpoints().Login+`/common/oauth2/authorize", client_id="`+directory.GraphAppID+`"`)
	}
	body := map[string]any{
		"code": p.code, "message": p.message,
		"innerError": map[string]any{"date": s.env.Now().UTC().Format("2006-01-02T15:04:05"), "request-id": c.id, "client-request-id": c.clientRequestID()},
	}
	if len(p.details) > 0 {
		body["details"] = p.details
	}
	w.Header().Set("Content-Type", "application/json")
	service.JSON(w, p.status, map[string]any{"error": body})
}
