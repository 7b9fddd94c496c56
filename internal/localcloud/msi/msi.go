// Package msi is what the code on one Azure resource sees of its managed identities: the Instance Metadata Service of virtual machines
// and the endpoint of App Service and Container Apps (Microsoft, "How to use managed identities for Azure resources on an Azure VM to
// acquire an access token" and "How to use managed identities for App Service and Azure Functions").
//
// Which identities there are is read off the resource at each request, so that taking one away takes effect at once, or after the
// replicas' lag. Unlike Azure's, tokens are not kept: a client that asks again sees a changed role with the next token.
package msi

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/entra"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// The paths of the endpoints.
const (
	IMDSPath       = "/metadata/identity/oauth2/token"
	AppServicePath = "/msi/token"
)

// Config says whose endpoint to make. Every field is required.
type Config struct {
	Env      service.Env
	ARM      *arm.Service
	Login    *entra.Service
	Resource arm.ID
	Header   func() string // what X-IDENTITY-HEADER must say; "" lets nobody in
}

// Service is the http.Handler of one resource's endpoints.
type Service struct{ cfg Config }

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg} }

// ServeHTTP implements [http.Handler].
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("x-ms-request-id", s.cfg.Env.NewID())
	switch path := strings.TrimRight(r.URL.Path, "/"); {
	case strings.EqualFold(path, IMDSPath):
		s.imds(w, r)
	case strings.EqualFold(path, AppServicePath):
		s.appService(w, r)
	case strings.HasPrefix(strings.ToLower(path), "/metadata/"):
		refuseIMDS(w, http.StatusNotFound, "not_found", "The local cloud has no instance metadata beside tokens.")
	default:
		http.NotFound(w, r)
	}
}

// asked is a request for a token, read.
type asked struct {
	resource string
	by       string // the parameter that selects an identity; "" means the one that needs no selection
	id       string
}

// selectors are the parameters that select a user-assigned identity, and what each compares. The documentation of IMDS names client_id,
// object_id and msi_res_id, that of App Service client_id, principal_id, object_id and mi_res_id; clients mix them (MSAL Go sends
// object_id to App Service), and Azure takes either name at either place.
var selectors = map[string]func(arm.BoundIdentity) string{
	"client_id":    func(b arm.BoundIdentity) string { return b.ClientID },
	"object_id":    func(b arm.BoundIdentity) string { return b.PrincipalID },
	"principal_id": func(b arm.BoundIdentity) string { return b.PrincipalID },
	"msi_res_id":   func(b arm.BoundIdentity) string { return b.ID },
	"mi_res_id":    func(b arm.BoundIdentity) string { return b.ID },
}

// The ways in which a query can be wrong.
var (
	errRepeated  = errors.New("a parameter is given more than once")
	errSelectors = errors.New("more than one identity is selected")
	errNoTarget  = errors.New("the resource parameter is missing")
	errVersion   = errors.New("the api-version is missing or not supported")
)

// read takes the query apart.
func read(q url.Values, versions ...string) (asked, error) {
	var a asked
	for name, values := range q {
		if len(values) > 1 {
			return a, errRepeated
		}
		if _, selects := selectors[name]; !selects || values[0] == "" {
			continue
		}
		if a.by != "" {
			return a, errSelectors
		}
		a.by, a.id = name, values[0]
	}
	supported := false
	for _, v := range versions {
		supported = supported || q.Get("api-version") == v
	}
	if !supported {
		return a, errVersion
	}
	if a.resource = q.Get("resource"); a.resource == "" {
		return a, errNoTarget
	}
	return a, nil
}

// Why there is no identity to give a token of.
var (
	errGone      = errors.New("the resource does not exist")
	errNoneFound = errors.New("no such identity is assigned to the resource")
	errMany      = errors.New("several user-assigned identities are assigned, and none is selected")
)

// choose finds the identity that the request means among those of the resource. anyOne lets a lone user-assigned identity stand in
// where none is selected.
func choose(bound []arm.BoundIdentity, a asked, anyOne bool) (arm.BoundIdentity, error) {
	var users []arm.BoundIdentity
	for _, b := range bound {
		switch {
		case a.by != "" && strings.EqualFold(selectors[a.by](b), a.id), a.by == "" && b.System:
			return b, nil
		case !b.System:
			users = append(users, b)
		}
	}
	switch {
	case a.by != "" || !anyOne || len(users) == 0:
		return arm.BoundIdentity{}, errNoneFound
	case len(users) > 1:
		return arm.BoundIdentity{}, errMany
	}
	return users[0], nil
}

// token answers for the resource: one look at one replica of the login plane, and the signature without the store's lock.
func (s *Service) token(a asked, anyOne bool) (token entra.IdentityToken, err error) {
	var sign func() (entra.IdentityToken, error)
	s.cfg.Env.Dir.Store.Read(replica.Login, func(v replica.View) {
		bound, found := s.cfg.ARM.BoundIdentities(v, s.cfg.Resource)
		if !found {
			err = errGone
			return
		}
		var who arm.BoundIdentity
		if who, err = choose(bound, a, anyOne); err == nil {
			sign, err = s.cfg.Login.ForIdentity(v, who.PrincipalID, who.ID, a.resource)
		}
	})
	if err != nil {
		return token, err
	}
	return sign()
}

// headerMatches compares in constant time, so that the header cannot be guessed by the time that a refusal takes.
func (s *Service) headerMatches(r *http.Request) bool {
	want := s.cfg.Header()
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(r.Header.Get("X-Identity-Header"))) == 1
}
