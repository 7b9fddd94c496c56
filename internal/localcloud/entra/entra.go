// Package entra is the login service of the local cloud: OpenID Connect discovery, the v2.0, v1.0 and AD FS styles of the token
// endpoint, and the device code flow with its page.
//
// It verifies what Microsoft Entra ID verifies and answers with the same codes, statuses and bodies (Microsoft, "Microsoft Entra
// authentication and authorization error codes"; recorded answers of August 2026 where a comment says so). There is no browser
// sign-in: a person signs in by device code, or a test with a user's password.
package entra

import (
	"context"
	"crypto/rsa"
	"html/template"
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// Service is the http.Handler of the login host. It may be used by many goroutines; set its fields before the first request.
type Service struct {
	// IssuerKey finds the key with which an outside issuer signs under a key id, for assertions of federated credentials. An error that
	// is jwks.ErrNoKey says that the issuer was asked and has none. nil means that no outside issuer can be reached, which the service
	// answers as Entra does (AADSTS50166). Assertions that this cloud issued itself ask nobody.
	IssuerKey func(ctx context.Context, issuer, kid string) (*rsa.PublicKey, error)

	// AllowReplay turns off the refusal of a client assertion that was used before for the same resource; nil means refuse.
	AllowReplay func() bool

	env     service.Env
	refresh *replica.Table[refreshToken]
	certs   certCache
	seen    seenIDs
	devices deviceCodes
	page    *template.Template
}

// New makes the service. It adds its table of refresh tokens to the store, so call it before Store.Persist.
func New(env service.Env) *Service {
	return &Service{
		env:     env,
		refresh: newRefreshTable(env.Dir.Store),
		page:    template.Must(template.New("devicelogin").Parse(devicePage)),
	}
}

// style is the manner in which an endpoint is spoken to.
type style int

const (
	v2   style = iota // scope=, answers with numbers
	v1                // resource=, answers with numbers as text
	adfs              // AD FS: either parameter, answers with numbers
)

// endpoint is where a request came in: the tenant as its path names it ("" for AD FS) and the style.
type endpoint struct {
	tenant string
	style  style
}

// ServeHTTP routes by path segments, whose case Entra does not look at.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.ToLower(strings.Trim(r.URL.Path, "/"))
	if path == "devicelogin" || strings.HasPrefix(path, "devicelogin/") {
		s.deviceLogin(w, r, path)
		return
	}
	tenant, rest, _ := strings.Cut(path, "/")
	ep := endpoint{tenant: tenant}
	if tenant == "adfs" {
		ep = endpoint{style: adfs}
		// An authority .../adfs with the tenant "adfs" appended is asked for its discovery document too (seen from az 2.45).
		rest = strings.TrimPrefix(rest, "adfs/")
	}
	switch {
	case rest == "discovery/instance":
		s.instance(w, r)
	case strings.HasPrefix(rest, "userrealm"):
		s.userRealm(w, r, strings.TrimPrefix(strings.TrimPrefix(rest, "userrealm"), "/"))
	case rest == ".well-known/openid-configuration" && ep.style == adfs:
		s.openID(w, r, ep)
	case rest == ".well-known/openid-configuration":
		s.openID(w, r, endpoint{tenant, v1})
	case rest == "v2.0/.well-known/openid-configuration" && ep.style != adfs:
		s.openID(w, r, ep)
	case rest == "discovery/keys", rest == "discovery/v2.0/keys" && ep.style != adfs:
		service.JSON(w, http.StatusOK, s.env.Auth.JWKS())
	case rest == "oauth2/v2.0/token" && ep.style != adfs, rest == "oauth2/token" && ep.style == adfs:
		s.token(w, r, ep)
	case rest == "oauth2/token":
		s.token(w, r, endpoint{tenant, v1})
	case rest == "oauth2/v2.0/devicecode" && ep.style != adfs, rest == "oauth2/devicecode" && ep.style == adfs:
		s.deviceCode(w, r, ep)
	case rest == "oauth2/devicecode":
		s.deviceCode(w, r, endpoint{tenant, v1})
	case rest == "oauth2/v2.0/authorize", rest == "oauth2/authorize":
		http.Error(w, "The local cloud has no sign-in in the browser. Sign in with a device code: az login --use-device-code", http.StatusNotImplemented)
	default:
		http.NotFound(w, r)
	}
}

// login is the base URL of the login host.
func (s *Service) login() string { return s.env.Endpoints().Login }
