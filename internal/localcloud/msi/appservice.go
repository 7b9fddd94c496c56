package msi

import (
	"errors"
	"net/http"

	"github.com/leastkey/leastkey/internal/localcloud/entra"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const appServiceVersion = "2019-08-01"

// appServiceAnswer is the documented answer.
type appServiceAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresOn   int64  `json:"expires_on,string"`
	Resource    string `json:"resource"`
	TokenType   string `json:"token_type"`
	ClientID    string `json:"client_id"`
}

// refuseAppService answers in the form that people report of App Service, Functions and Container Apps.
func refuseAppService(w http.ResponseWriter, status int, text string) {
	service.JSON(w, status, map[string]any{"statusCode": status, "message": text})
}

// appService answers as App Service and Container Apps do. The header keeps those out who can make the code on the resource send a
// request, and not read its environment.
func (s *Service) appService(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuseAppService(w, http.StatusMethodNotAllowed, "The requested HTTP method is not supported by this endpoint.")
		return
	case !s.headerMatches(r):
		// 401 is what azure-sdk-for-js issue 11595 shows of this version; the text was not seen live.
		refuseAppService(w, http.StatusUnauthorized, "The X-IDENTITY-HEADER header is missing or wrong.")
		return
	}
	a, err := read(r.URL.Query(), appServiceVersion)
	var token entra.IdentityToken
	if err == nil {
		// Without a selector the system-assigned identity is meant, and no other stands in for it (Microsoft, "How to use managed
		// identities for App Service": REST endpoint reference).
		token, err = s.token(a, false)
	}
	if err != nil {
		appServiceFailure(w, a, err)
		return
	}
	service.JSON(w, http.StatusOK, appServiceAnswer{AccessToken: token.Token, ExpiresOn: token.Expires, Resource: a.resource, TokenType: "Bearer", ClientID: token.ClientID})
}

// appServiceFailure puts an error into words: the two about identities as people report them (2025), the others not seen live.
func appServiceFailure(w http.ResponseWriter, a asked, err error) {
	status, text := http.StatusBadRequest, "The request is not valid: "+err.Error()+"."
	refused, isRefused := errors.AsType[*entra.Refusal](err)
	switch {
	case isRefused:
		text = refused.Text
	case errors.Is(err, errGone):
		status, text = http.StatusNotFound, "The resource that this endpoint stands for does not exist."
	case errors.Is(err, errNoneFound) && a.by == "":
		text = "Unable to load the proper Managed Identity."
	case errors.Is(err, errNoneFound):
		text = "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
	}
	refuseAppService(w, status, text)
}
