package entra

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// request is a token request, read.
type request struct {
	ep            endpoint
	form          url.Values
	clientID      string
	secret        string
	assertion     string
	assertionType string
	cae           bool // the client says that it understands claims challenges (capability CP1)
}

// maxForm bounds a request body.
const maxForm = 1 << 20

// readForm reads a form from the body only: what stands in the query is not looked at, as a secret has no place there.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *failure) {
	if r.Method != http.MethodPost {
		return nil, badRequest(900561, "The endpoint only accepts POST requests. Received a %s request.", r.Method)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, missing("grant_type") // any other body is read as an empty form
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, badRequest(9002313, "Invalid request. Request is malformed or invalid.")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badRequest(9002313, "Invalid request. Request is malformed or invalid.")
	}
	return form, nil
}

func readRequest(r *http.Request, ep endpoint, form url.Values) (*request, *failure) {
	q := &request{
		ep: ep, form: form, clientID: form.Get("client_id"), secret: form.Get("client_secret"),
		assertion: form.Get("client_assertion"), assertionType: form.Get("client_assertion_type"),
	}
	if id, secret, ok := r.BasicAuth(); ok {
		// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
		id, err1 := url.QueryUnescape(id)
		secret, err2 := url.QueryUnescape(secret)
		if err1 != nil || err2 != nil || q.clientID != "" && !strings.EqualFold(q.clientID, id) {
			return nil, badRequest(9002313, "Invalid request. Request is malformed or invalid.")
		}
		q.clientID, q.secret = id, secret
	}
	if c := form.Get("claims"); c != "" {
		var wanted struct {
			AccessToken struct {
				CC struct {
					Values []string `json:"values"`
				} `json:"xms_cc"`
			} `json:"access_token"`
		}
		if json.Unmarshal([]byte(c), &wanted) != nil {
			return nil, badRequest(90023, "The claims parameter is not valid JSON.")
		}
		q.cae = slices.ContainsFunc(wanted.AccessToken.CC.Values, func(v string) bool { return strings.EqualFold(v, "cp1") })
	}
	return q, nil
}

func (s *Service) token(w http.ResponseWriter, r *http.Request, ep endpoint) {
	form, f := readForm(w, r)
	if f != nil {
		s.refuse(w, r, f)
		return
	}
	answer, f := s.grant(r, ep, form)
	if f != nil {
		s.refuse(w, r, f)
		return
	}
	s.headers(w, r)
	service.JSON(w, http.StatusOK, answer)
}

// grant answers a token request by its grant type.
func (s *Service) grant(r *http.Request, ep endpoint, form url.Values) (any, *failure) {
	kind := form.Get("grant_type")
	if f := s.knownTenant(ep, kind != "client_credentials"); f != nil {
		return nil, f
	}
	if kind == "" {
		return nil, missing("grant_type")
	}
	q, f := readRequest(r, ep, form)
	if f != nil {
		return nil, f
	}
	ctx := r.Context()
	switch kind {
	case "client_credentials":
		return s.clientCredentials(ctx, q)
	case "password":
		return s.password(ctx, q)
	case "refresh_token":
		return s.refreshGrant(ctx, q)
	case deviceGrant, "device_code":
		return s.deviceGrant(ctx, q)
	case "user_fic":
		return s.userFIC(ctx, q)
	case onBehalfGrant:
		return s.onBehalf(ctx, q)
	case "urn:ietf:params:oauth:grant-type:token-exchange":
		return nil, fail(400, "unsupported_grant_type", 82001, "The token exchange grant is not supported for this application.")
	}
	return nil, fail(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", kind)
}

// appAnswer is the answer to an application, exactly the members recorded from the v2.0 endpoint.
type appAnswer struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// v1Answer is the v1.0 endpoint's, whose numbers are text. The last members are for users only.
type v1Answer struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    int64  `json:"expires_in,string"`
	ExtExpiresIn int64  `json:"ext_expires_in,string"`
	ExpiresOn    int64  `json:"expires_on,string"`
	NotBefore    int64  `json:"not_before,string"`
	Resource     string `json:"resource"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Foci         string `json:"foci,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

// clientCredentials answers an application that asks for itself (RFC 6749 §4.4). It takes one view of one replica and verifies
// afterwards, without the store's lock.
func (s *Service) clientCredentials(ctx ctx, q *request) (any, *failure) {
	if q.clientID == "" {
		return nil, missing("client_id")
	}
	want, f := askedFor(q.ep, q.form.Get("scope"), q.form.Get("resource"), true)
	if f != nil {
		return nil, f
	}
	var (
		c      client
		res    resource
		noRes  *failure
		roles  []string
		wids   []string
		member bool
	)
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) {
		c = s.readClient(v, q.clientID)
		if res, noRes = s.findResource(v, want.resource); noRes != nil || c.sp == nil {
			return
		}
		roles, member = s.grantedRoles(v, res, c.sp.ID)
		roles = append(roles, append(agentRoles(c, res), s.inheritedRoles(v, c, res)...)...)
		if isGraph(res) {
			wids = append(s.env.Dir.RolesOf(v, c.sp.ID), defaultAppRole)
		}
	})
	if f := s.known(c); f != nil {
		return nil, f
	}
	acr, f := s.authenticate(ctx, q, c, want.resource, true)
	if f != nil {
		return nil, f
	}
	if f := s.present(c); f != nil {
		return nil, f
	}
	if c.sp == nil || noRes != nil {
		return nil, noRes
	}
	if res.sp.AppRoleAssignmentReq && !member {
		return nil, unassigned(c, res)
	}
	if f := agentic(q, c, res); f != nil {
		return nil, f
	}
	slices.Sort(roles)
	claims := s.common(q, c, res, acr)
	claims.ObjectID, claims.Subject, claims.Roles, claims.WIDs = c.sp.ID, c.sp.ID, slices.Compact(roles), wids
	claims.XmsMiRID = resourceIDOf(c.sp) // a user-assigned identity that came with a federated assertion, as workloads on AKS do
	if claims.Version == "1.0" {
		claims.IDP = s.env.Auth.Issuer("1.0")
		if isGraph(res) || isARM(res) {
			claims.IDType = "app"
		}
	}
	s.markApp(&claims, q, c)
	token, f := s.mint(claims)
	if f != nil {
		return nil, f
	}
	life := s.life()
	if q.ep.style == v1 {
		return v1Answer{TokenType: "Bearer", ExpiresIn: life, ExtExpiresIn: life, ExpiresOn: claims.Expires, NotBefore: claims.NotBefore, Resource: want.resource, AccessToken: token}, nil
	}
	return appAnswer{TokenType: "Bearer", ExpiresIn: life, ExtExpiresIn: life, AccessToken: token}, nil
}

// unassigned refuses an application without any role on a resource that requires one.
func unassigned(c client, res resource) *failure {
	return badGrant(501051, "Application '%s'(%s) is not assigned to a role for the application '%s'(%s).", c.id, c.name(), res.named, res.sp.DisplayName)
}

// grantedRoles are the application permissions of a principal on a resource; member tells whether it has any assignment there, the
// default one included.
func (s *Service) grantedRoles(v replica.View, res resource, principals ...string) (roles []string, member bool) {
	for _, principal := range principals {
		for _, a := range s.env.Dir.AppRoleAssignments.By(v, "principal", principal) {
			if a.ResourceID != res.sp.ID {
				continue
			}
			member = true
			for _, role := range res.appRoles {
				if role.ID == a.AppRoleID && role.IsEnabled && role.Value != "" && !slices.Contains(roles, role.Value) {
					roles = append(roles, role.Value)
				}
			}
		}
	}
	return roles, member
}

// common fills what every access token says, whoever it is for.
func (s *Service) common(q *request, c client, res resource, acr string) authority.Claims {
	now := s.env.Now().Unix()
	claims := authority.Claims{
		Audience: res.audience, Version: res.version, TenantID: s.env.Dir.Tenant.ID,
		// Seen live: iat and nbf lie five minutes back, so that a slow clock somewhere accepts the token at once.
		IssuedAt: now - 300, NotBefore: now - 300, Expires: now + s.life() + 1,
		UTI: s.opaque(16), RH: "1." + s.opaque(24) + ".", AIO: s.opaque(24),
	}
	if res.version == "2.0" {
		claims.AZP, claims.AZPAcr, claims.XmsFTD = c.id, acr, s.opaque(48)
	} else {
		claims.AppID, claims.AppIDAcr, claims.AppName = c.id, acr, c.name()
	}
	if q.cae {
		claims.XmsCC = []string{"CP1"}
	}
	return claims
}

// life is expires_in: one second less than the lifetime, as Entra says 3599 for an hour.
func (s *Service) life() int64 { return max(int64(s.env.TokenLifetime().Seconds())-1, 0) }

func (s *Service) mint(c authority.Claims) (string, *failure) {
	token, err := s.env.Auth.Mint(c)
	if err != nil {
		return "", fail(http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Please try again.")
	}
	return token, nil
}
