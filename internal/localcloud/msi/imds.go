package msi

import (
	"errors"
	"net/http"

	"github.com/leastkey/leastkey/internal/localcloud/entra"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// imdsVersions are the versions of the token endpoint that clients send: all the SDKs the first.
var imdsVersions = []string{"2018-02-01", "2019-08-01"}

// imdsAnswer is the documented answer, whose numbers are text, with the two members that virtual machines add (observed 2026-08).
type imdsAnswer struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    int64  `json:"expires_in,string"`
	ExpiresOn    int64  `json:"expires_on,string"`
	ExtExpiresIn int64  `json:"ext_expires_in,string"`
	NotBefore    int64  `json:"not_before,string"`
	RefreshToken string `json:"refresh_token"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

// imdsError is the documented error.
type imdsError struct {
	Error       string   `json:"error"`
	Description string   `json:"error_description,omitempty"`
	Newest      []string `json:"newest-versions,omitempty"`
}

func refuseIMDS(w http.ResponseWriter, status int, code, text string) {
	service.JSON(w, status, imdsError{Error: code, Description: text})
}

// imds answers as the Instance Metadata Service does. DefaultAzureCredential asks it without the header first, to learn whether it is
// there, and is content with any answer.
func (s *Service) imds(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuseIMDS(w, http.StatusMethodNotAllowed, "invalid_request", "The requested HTTP method is not supported by this endpoint.")
		return
	case r.Header.Get("X-Forwarded-For") != "":
		// A request that came through a proxy is not of this machine (Microsoft, "Azure Instance Metadata Service: proxies").
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "A request with the header X-Forwarded-For is refused.")
		return
	case r.Header.Get("Metadata") != "true": // documented: in lower case
		refuseIMDS(w, http.StatusBadRequest, "bad_request_102", "Required metadata header not specified")
		return
	}
	a, err := read(r.URL.Query(), imdsVersions...)
	var token entra.IdentityToken
	if err == nil {
		token, err = s.token(a, true)
	}
	if err != nil {
		imdsFailure(w, err)
		return
	}
	service.JSON(w, http.StatusOK, imdsAnswer{
		AccessToken: token.Token, ClientID: token.ClientID, ExpiresIn: token.ExpiresIn, ExpiresOn: token.Expires, ExtExpiresIn: token.ExpiresIn,
		NotBefore: token.NotBefore, Resource: a.resource, TokenType: "Bearer",
	})
}

// imdsFailure puts an error into IMDS's words: documented, or as people report them.
func imdsFailure(w http.ResponseWriter, err error) {
	refused, isRefused := errors.AsType[*entra.Refusal](err)
	switch {
	case isRefused:
		refuseIMDS(w, http.StatusBadRequest, refused.Kind, refused.Text)
	case errors.Is(err, errGone):
		// A machine that is gone cannot ask. Documented of 404 is that clients try again for a while.
		refuseIMDS(w, http.StatusNotFound, "not_found", "The resource that this endpoint stands for does not exist.")
	case errors.Is(err, errVersion):
		service.JSON(w, http.StatusBadRequest, imdsError{Error: "Bad request. api-version is invalid or was not specified in the request.", Newest: imdsVersions})
	case errors.Is(err, errNoTarget):
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "Required query variable 'resource' is missing")
	case errors.Is(err, errNoneFound):
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "Identity not found")
	case errors.Is(err, errMany):
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
	default:
		refuseIMDS(w, http.StatusBadRequest, "invalid_request", "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.")
	}
}
