// Package arm stands for Azure Resource Manager: the tree of scopes and resources, role definitions and assignments, and the check of
// both on every call.
//
// A request reads one replica of the ARM plane, so what was just written may be missing, and a role just assigned may not be in force.
// Checks that must not race (names, the triple of a role assignment) are made again on the primary, together with the write.
package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// Service is the management endpoint.
type Service struct {
	env     service.Env
	builtin map[string]*role // by GUID
	ordered []*role          // built-in roles as listed

	subscriptions *replica.Table[Subscription]
	management    *replica.Table[ManagementGroup]
	groups        *replica.Table[Group]
	resources     *replica.Table[Resource]
	definitions   *replica.Table[Definition]
	assignments   *replica.Table[Assignment]
	locks         *replica.Table[Lock]
	binned        *replica.Table[DeletedVault]
	operations    *replica.Table[operation]

	purged   func(tx replica.Tx, vault Resource)
	tokenKey func() []byte // of skip tokens, made when the first is
}

// New makes the service and its tables, which are part of env.Dir.Store.
func New(env service.Env) *Service {
	s := &Service{env: env, tokenKey: sync.OnceValue(func() []byte { return env.Random(32) })}
	s.ordered = builtinRoles()
	s.builtin = make(map[string]*role, len(s.ordered))
	for _, r := range s.ordered {
		s.builtin[r.Name] = r
	}
	s.tables()
	return s
}

// call is one request.
type call struct {
	method string
	id     ID       // what the path names
	rest   []string // what follows it: a collection or an action
	query  url.Values
	path   string
	who    authority.Claims
	body   []byte
}

// reply is one answer. Location and the like go into header. later, unless it is nil, makes the answer of what has been read, without
// holding the store.
type reply struct {
	status int
	body   any
	header map[string]string
	later  func() reply
}

// effect is the second half of a call that writes; it runs on the primary, alone.
type effect func(tx replica.Tx) reply

// object is a JSON object under construction.
type object = map[string]any

func fail(status int, code, format string, args ...any) reply {
	return reply{status: status, body: object{"error": object{"code": code, "message": fmt.Sprintf(format, args...)}}}
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

func list[T any](items []T) reply {
	if items == nil {
		items = []T{}
	}
	return ok(object{"value": items})
}

// bodyLimit is ARM's own limit for a request (Microsoft, "Azure Resource Manager limits": 4 MB).
const bodyLimit = 4 << 20

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[A-Za-z0-9.-]+)?$`)

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.headers(w.Header(), r)
	rep := s.answer(r)
	for k, v := range rep.header {
		w.Header().Set(k, v)
	}
	if rep.body == nil || r.Method == http.MethodHead {
		w.WriteHeader(rep.status)
		return
	}
	service.JSON(w, rep.status, rep.body)
}

func (s *Service) answer(r *http.Request) reply {
	c := &call{method: r.Method, path: r.URL.Path, query: r.URL.Query()}
	switch v := c.param("api-version"); {
	case v == "":
		return fail(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !apiVersion.MatchString(v):
		return fail(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid. A version has the form YYYY-MM-DD or YYYY-MM-DD-preview.", v)
	}
	var denied *reply
	if c.who, denied = s.authenticate(r.Header.Get("Authorization")); denied != nil {
		return *denied
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	switch {
	case err != nil:
		return fail(http.StatusBadRequest, "InvalidRequestContent", "The request content could not be read.")
	case len(b) > bodyLimit:
		return fail(http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request content size exceeds the maximum size of 4 MB.")
	}
	c.body = b
	c.id, c.rest = parsePath(r.URL.Path)
	if bad := c.checkVersion(); bad != nil {
		return *bad
	}
	return s.run(c)
}

// run reads a replica, and then lets the effect, if the reading half came to one, write on the primary.
func (s *Service) run(c *call) (rep reply) {
	var do effect
	s.env.Dir.Store.Read(replica.ARM, func(v replica.View) { rep, do = s.route(v, c) })
	switch {
	case rep.later != nil:
		return rep.later()
	case do == nil:
		return rep
	}
	_ = s.env.Dir.Store.Write(func(tx replica.Tx) error { // the effect tells its outcome in the reply
		rep = do(tx)
		return nil
	})
	return rep
}

// param is a query parameter, whatever the case of its name.
func (c *call) param(name string) string {
	if v := c.query.Get(name); v != "" {
		return v
	}
	for k, v := range c.query {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// decode reads the request body into v, which may be partly filled.
func (c *call) decode(v any) *reply {
	if len(strings.TrimSpace(string(c.body))) == 0 {
		r := fail(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: a JSON body is required.")
		return &r
	}
	if json.Unmarshal(c.body, v) != nil {
		r := fail(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
		return &r
	}
	return nil
}

// filter reads $filter; no filter is no clause.
func (c *call) filter() ([]clause, *reply) {
	text := strings.TrimSpace(c.param("$filter"))
	if text == "" {
		return nil, nil
	}
	clauses, err := parseFilter(text)
	if err != nil {
		r := badFilter(text)
		return nil, &r
	}
	return clauses, nil
}

func badFilter(text string) reply {
	return fail(http.StatusBadRequest, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string.", text)
}

// authenticate checks the token as ARM does: it takes both names of its audience, and the endpoint's own as az asks for with a cloud
// of its own (az sends {resourceManager}//.default, seen with az 2.45).
func (s *Service) authenticate(header string) (authority.Claims, *reply) {
	audiences := []string{"https://management.azure.com", "https://management.core.windows.net", s.env.Endpoints().ARM, directory.ARMAppID}
	who, err := s.env.Auth.Verify(header, audiences...)
	if err == nil && !strings.EqualFold(who.TenantID, s.env.Dir.Tenant.ID) {
		err = authority.ErrIssuer
	}
	if err == nil {
		return who, nil
	}
	code, text := "InvalidAuthenticationToken", "The access token is invalid."
	switch {
	case errors.Is(err, authority.ErrMissing):
		code, text = "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
	case errors.Is(err, authority.ErrExpired):
		code, text = "ExpiredAuthenticationToken", fmt.Sprintf("The access token expiry UTC time '%s' is earlier than current UTC time '%s'.", clock(time.Unix(who.Expires, 0)), clock(s.env.Now()))
	case errors.Is(err, authority.ErrNotYet):
		text = "The access token is not valid yet."
	case errors.Is(err, authority.ErrAudience):
		code, text = "InvalidAuthenticationTokenAudience", fmt.Sprintf("The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences '%s'.", who.Audience, strings.Join(audiences, "','"))
	case errors.Is(err, authority.ErrIssuer):
		code, text = "InvalidAuthenticationTokenTenant", fmt.Sprintf("The access token is from the wrong issuer '%s'. It must match the tenant 'https://sts.windows.net/%[2]s/' associated with this subscription. Please use the authority (URL) '%[3]s/%[2]s' to get the token. "+
			"Note, if the subscription is transferred to another tenant there is no impact to the services, but information about new tenant could take time to propagate (up to an hour). If you just transferred your subscription and see this error message, please try back later.", who.Issuer, s.env.Dir.Tenant.ID, s.env.Endpoints().Login)
	}
	r := fail(http.StatusUnauthorized, code, "%s", text)
	r.header = map[string]string{"WWW-Authenticate": fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`, s.env.Endpoints().Login, s.env.Dir.Tenant.ID, text)}
	return who, &r
}

func clock(t time.Time) string { return t.UTC().Format("1/2/2006 3:04:05 PM") }

// stamp is how ARM writes a time of a role assignment: seven digits after the second.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// headers sets what ARM adds to every answer (Microsoft, "Understand how Azure Resource Manager throttles requests"). The limits are
// only told: being throttled is a knob of the local cloud. Strict-Transport-Security is left out, as it would outlive the local cloud in
// a browser's memory of localhost.
func (s *Service) headers(h http.Header, r *http.Request) {
	id := s.env.NewID()
	correlation := r.Header.Get("x-ms-correlation-request-id")
	if correlation == "" {
		correlation = id
	}
	h.Set("x-ms-request-id", id)
	h.Set("x-ms-correlation-request-id", correlation)
	h.Set("x-ms-routing-request-id", "LOCALCLOUD:"+s.env.Now().UTC().Format("20060102T150405Z")+":"+id)
	if c := r.Header.Get("x-ms-client-request-id"); c != "" {
		h.Set("x-ms-client-request-id", c)
	}
	kind, left := "reads", "11999"
	switch r.Method {
	case http.MethodPut, http.MethodPost, http.MethodPatch:
		kind, left = "writes", "1199"
	case http.MethodDelete:
		kind, left = "deletes", "14999"
	}
	level := "tenant"
	if strings.HasPrefix(strings.ToLower(strings.TrimLeft(r.URL.Path, "/")), "subscriptions/") {
		level = "subscription"
	}
	h.Set("x-ms-ratelimit-remaining-"+level+"-"+kind, left)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
}
