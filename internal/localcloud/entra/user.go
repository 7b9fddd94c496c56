package entra

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

type ctx = context.Context

// refreshToken is what is kept of one; its id in the table is the SHA-256 of the token, so the state file holds nothing usable.
type refreshToken struct {
	ID       string    `json:"id"`
	UserID   string    `json:"userId"`
	ClientID string    `json:"clientId"`
	Resource string    `json:"resource"` // what it was first issued for, the default of a request without scope
	Issued   time.Time `json:"issued"`
}

const (
	refreshLife  = 90 * 24 * time.Hour // Microsoft, "Refresh tokens in the Microsoft identity platform"
	refreshLimit = 64                  // of one user and client; the oldest goes first
)

func newRefreshTable(store *replica.Store) *replica.Table[refreshToken] {
	return replica.NewTable(store, "refreshTokens", map[string]func(refreshToken) []string{
		"holder": func(t refreshToken) []string { return []string{t.UserID + "/" + t.ClientID} },
	})
}

// userByName finds a user by principal name.
func (s *Service) userByName(v replica.View, upn string) (directory.User, bool) {
	for _, u := range s.env.Dir.Users.By(v, "upn", strings.ToLower(upn)) {
		return u, true
	}
	return directory.User{}, false
}

// checkUser says why a user may not sign in, nil if they may.
func (s *Service) checkUser(u directory.User, found bool) *failure {
	switch {
	case !found:
		return badGrant(50034, "The user account {EUII Hidden} does not exist in the %s directory. To sign into this application, the account must be added to the directory.", s.env.Dir.Tenant.ID)
	case !u.AccountEnabled:
		return badGrant(50057, "The user account is disabled.")
	}
	return nil
}

func checkPassword(u directory.User, password string) *failure {
	if u.Password == "" || subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) == 0 {
		return badGrant(50126, "Error validating credentials due to invalid username or password.")
	}
	return nil
}

// password answers the resource owner password grant (RFC 6749 §4.3): the test credential of a user.
func (s *Service) password(ctx ctx, q *request) (any, *failure) {
	for _, name := range []string{"client_id", "username", "password"} {
		if q.form.Get(name) == "" && (name != "client_id" || q.clientID == "") {
			return nil, missing(name)
		}
	}
	want, f := askedFor(q.ep, q.form.Get("scope"), q.form.Get("resource"), false)
	if f != nil {
		return nil, f
	}
	var u directory.User
	var found bool
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) { u, found = s.userByName(v, q.form.Get("username")) })
	return s.forUser(ctx, q, want, func() (string, *failure) {
		if f := s.checkUser(u, found); f != nil {
			return "", f
		}
		return u.ID, checkPassword(u, q.form.Get("password"))
	})
}

// refreshGrant answers a refresh token (RFC 6749 §6). Entra's are good for any resource, an old one goes on working after a new one
// was issued, and those of a family of Microsoft's clients work for each of them. They are read from the primary: Entra's carry
// their own content, so replication has no part in them.
func (s *Service) refreshGrant(ctx ctx, q *request) (any, *failure) {
	raw := q.form.Get("refresh_token")
	switch {
	case q.clientID == "":
		return nil, missing("client_id")
	case raw == "":
		return nil, missing("refresh_token")
	}
	var kept refreshToken
	var found bool
	s.env.Dir.Store.Primary(func(v replica.View) { kept, found = s.refresh.Get(v, hashed(raw)) })
	scope, named := q.form.Get("scope"), q.form.Get("resource")
	if found && strings.TrimSpace(scope) == "" && named == "" {
		first := cmp.Or(kept.Resource, "https://graph.microsoft.com")
		if q.ep.style == v1 {
			named = first
		} else {
			scope = first + "/.default openid profile offline_access"
		}
	}
	want, f := askedFor(q.ep, scope, named, false)
	if f != nil {
		return nil, f
	}
	return s.forUser(ctx, q, want, func() (string, *failure) {
		now, id := s.env.Now(), strings.ToLower(q.clientID)
		switch {
		case !found:
			return "", badGrant(9002313, "Invalid request. Request is malformed or invalid.")
		case kept.ClientID != id && !(firstParty(kept.ClientID) && firstParty(id)):
			f := badGrant(70000, "The provided value for the input parameter 'refresh_token' or 'assertion' is not valid.")
			f.sub = "client_mismatch"
			return "", f
		case now.After(kept.Issued.Add(refreshLife)):
			return "", badGrant(700082, "The refresh token has expired due to inactivity. The token was issued on %s and was inactive for 90.00:00:00.", instant(kept.Issued))
		}
		return kept.UserID, nil
	})
}

// userAnswer is the v2.0 answer to a user's client.
type userAnswer struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Foci         string `json:"foci,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

// forUser proves the client, lets prove say who the user is, and issues their tokens.
func (s *Service) forUser(ctx ctx, q *request, want scopes, prove func() (string, *failure)) (any, *failure) {
	var c client
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) { c = s.readClient(v, q.clientID) })
	if f := s.known(c); f != nil {
		return nil, f
	}
	acr, f := s.authenticate(ctx, q, c, want.resource, false)
	if f != nil {
		return nil, f
	}
	userID, f := prove()
	if f != nil {
		return nil, f
	}
	var (
		u     directory.User
		res   resource
		scp   []string
		roles []string
		wids  []string
	)
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) {
		var found bool
		u, found = s.env.Dir.Users.Get(v, userID)
		if f = s.checkUser(u, found); f != nil {
			return
		}
		if res, f = s.findResource(v, want.resource); f != nil {
			return
		}
		holders := append([]string{u.ID}, s.env.Dir.DirectGroupsOf(v, u.ID)...)
		if f = s.checkAssigned(v, holders, c, res); f != nil {
			return
		}
		if scp, f = s.delegated(v, c, u.ID, res, want); f != nil {
			return
		}
		roles, _ = s.grantedRoles(v, res, holders...)
		wids = append(s.env.Dir.RolesOf(v, u.ID), defaultUserRole)
	})
	if f == nil {
		f = s.present(c)
	}
	if f != nil {
		return nil, f
	}
	claims := s.common(q, c, res, acr)
	claims.ObjectID, claims.Subject, claims.UPN, claims.Name = u.ID, pairwise(u.ID, res.sp.AppID), u.UserPrincipalName, u.DisplayName
	claims.Scope, claims.Roles, claims.WIDs = strings.Join(scp, " "), roles, wids
	if isGraph(res) || isARM(res) {
		claims.IDType = "user"
	}
	s.markUser(&claims, c, u)
	return s.answerUser(q, c, want, u, claims, scp)
}

// answerUser mints what a user's client asked for and puts it into the style of the endpoint.
func (s *Service) answerUser(q *request, c client, want scopes, u directory.User, claims authority.Claims, scp []string) (any, *failure) {
	token, f := s.mint(claims)
	if f != nil {
		return nil, f
	}
	a := userAnswer{TokenType: "Bearer", Scope: scopeText(want, scp), ExpiresIn: s.life(), AccessToken: token}
	a.ExtExpiresIn = a.ExpiresIn
	if want.has("openid") {
		if a.IDToken, f = s.idToken(q, c, u, claims); f != nil {
			return nil, f
		}
	}
	if want.has("offline_access") || q.ep.style == adfs {
		a.RefreshToken = s.issueRefresh(u.ID, c.id, want.resource)
	}
	if q.ep.style != adfs { // AD FS knows neither; MSAL then takes the id token's sub for the account
		if firstParty(c.id) {
			a.Foci = "1"
		}
		if q.form.Get("client_info") == "1" || q.ep.style == v1 {
			info, _ := json.Marshal(map[string]string{"uid": u.ID, "utid": s.env.Dir.Tenant.ID})
			a.ClientInfo = base64.RawURLEncoding.EncodeToString(info)
		}
	}
	if q.ep.style == v1 {
		return v1Answer{
			TokenType: a.TokenType, Scope: strings.Join(scp, " "), ExpiresIn: a.ExpiresIn, ExtExpiresIn: a.ExtExpiresIn, ExpiresOn: claims.Expires,
			NotBefore: claims.NotBefore, Resource: want.resource, AccessToken: token, RefreshToken: a.RefreshToken, Foci: a.Foci, IDToken: a.IDToken, ClientInfo: a.ClientInfo,
		}, nil
	}
	return a, nil
}

// checkAssigned refuses a user who is assigned to no role of a client or a resource that requires it, neither themselves nor as a direct
// member of a group: holders are the user and those groups. The code and its text are seen at sign-ins; that the token endpoint asks for
// the resource as well as for the client follows Graph's description of appRoleAssignmentRequired and was not seen live.
func (s *Service) checkAssigned(v replica.View, holders []string, c client, res resource) *failure {
	guards := []directory.ServicePrincipal{res.sp}
	if c.sp != nil {
		guards = append(guards, *c.sp)
	}
	for _, sp := range guards {
		if !sp.AppRoleAssignmentReq {
			continue
		}
		if _, member := s.grantedRoles(v, resource{sp: sp}, holders...); !member {
			return badGrant(50105, "Your administrator has configured the application %s ('%s') to block users unless they are specifically granted ('assigned') access to the application. The signed in user '{EmailHidden}' is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator. Please contact your administrator to assign access to this application.", sp.DisplayName, sp.AppID)
		}
	}
	return nil
}

// preauthorized are the permissions that Microsoft's own clients have on Microsoft's own services without anybody's consent. Whose
// service it is the owner's tenant tells, which nobody but Microsoft can be: an application of this tenant is not preauthorized because
// it defines user_impersonation too.
func preauthorized(c client, res resource) []string {
	switch {
	case !firstParty(c.id) || !microsofts(res):
		return nil
	case isGraph(res):
		return strings.Fields(directory.AzureCLIScopes)
	case slices.ContainsFunc(res.sp.PermissionScopes, func(p directory.PermissionScope) bool { return p.IsEnabled && p.Value == userImpersonates }):
		return []string{userImpersonates}
	}
	return nil
}

// delegated are the permissions that the client may use for the user on the resource: by preauthorization, Microsoft's or that of the
// resource itself, or by a grant, of the user or for everybody.
func (s *Service) delegated(v replica.View, c client, user string, res resource, want scopes) ([]string, *failure) {
	has := preauthorized(c, res)
	if res.app != nil {
		has = append(has, res.app.PreAuthorized(c.id)...)
	}
	if c.sp != nil {
		has = append(has, s.grantedScopes(v, c.sp.ID, user, res)...)
		has = append(has, s.inheritedScopes(v, c, user, res)...)
	}
	granted := len(has) > 0
	for _, p := range want.permissions {
		granted = granted && (p == ".default" || slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, p) }))
	}
	switch {
	case granted:
		slices.Sort(has)
		return slices.Compact(has), nil
	case firstParty(c.id) && microsofts(res):
		return nil, badClient(65002, "Consent between first party application '%s' and first party resource '%s' must be configured via preauthorization - applications owned and operated by Microsoft must get approval from the API owner before requesting tokens for that API.", c.id, res.sp.AppID)
	}
	// Azure CLI meets this too at an API of the tenant (azure-cli issue 15056).
	return nil, badGrant(65001, "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource.", c.id, c.name())
}

// scopeText is the scope member of an answer: what was granted, with the resource in front as in the request, then the scopes as they
// were asked for, without which MSAL takes them for declined.
func scopeText(want scopes, scp []string) string {
	var out []string
	for _, p := range scp {
		switch {
		case want.resource == "" || p == "openid" || p == "profile" || p == "email":
			out = append(out, p)
		default:
			out = append(out, want.resource+"/"+p)
		}
	}
	for _, asked := range want.asked {
		if !slices.Contains(out, asked) {
			out = append(out, asked)
		}
	}
	return strings.Join(out, " ")
}

// identity is an id token (Microsoft, "ID token claims reference"; upn and unique_name are the v1.0 and AD FS forms of
// preferred_username).
type identity struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	AuthTime  int64  `json:"auth_time,omitempty"`
	Name      string `json:"name"`
	ObjectID  string `json:"oid"`
	Preferred string `json:"preferred_username,omitempty"`
	UPN       string `json:"upn,omitempty"`
	Unique    string `json:"unique_name,omitempty"`
	RH        string `json:"rh,omitempty"`
	Subject   string `json:"sub"`
	TenantID  string `json:"tid"` // az reads it from AD FS's too
	UTI       string `json:"uti,omitempty"`
	Version   string `json:"ver,omitempty"`
}

func (s *Service) idToken(q *request, c client, u directory.User, access authority.Claims) (string, *failure) {
	id := identity{
		Audience: c.id, IssuedAt: access.IssuedAt, NotBefore: access.NotBefore, Expires: access.Expires,
		Name: u.DisplayName, ObjectID: u.ID, RH: access.RH, Subject: pairwise(u.ID, c.id), TenantID: s.env.Dir.Tenant.ID, UTI: access.UTI,
	}
	switch q.ep.style {
	case v2:
		id.Issuer, id.Version, id.Preferred = s.env.Auth.Issuer("2.0"), "2.0", u.UserPrincipalName
	case v1:
		id.Issuer, id.Version, id.UPN, id.Unique = s.env.Auth.Issuer("1.0"), "1.0", u.UserPrincipalName, u.UserPrincipalName
	case adfs:
		id.Issuer, id.AuthTime, id.UPN, id.Unique = s.base(q.ep), access.IssuedAt, u.UserPrincipalName, u.UserPrincipalName
	}
	token, err := s.env.Auth.MintID(id, q.ep.style != v2)
	if err != nil {
		return "", fail(http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Please try again.")
	}
	return token, nil
}

// issueRefresh makes a refresh token and forgets what its holder no longer needs.
func (s *Service) issueRefresh(user, client, resource string) string {
	raw := "1." + base64.RawURLEncoding.EncodeToString(s.env.Random(48))
	_ = s.env.Dir.Store.Write(func(tx replica.Tx) error {
		held := s.refresh.By(tx.View, "holder", user+"/"+client)
		for i, t := range held {
			if i+refreshLimit <= len(held) || tx.Now().After(t.Issued.Add(refreshLife)) {
				s.refresh.Delete(tx, t.ID)
			}
		}
		id := hashed(raw)
		s.refresh.Put(tx, id, refreshToken{ID: id, UserID: user, ClientID: client, Resource: resource, Issued: tx.Now()})
		return nil // nothing here can fail
	})
	return raw
}

func hashed(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return hex.EncodeToString(sum[:])
}

// pairwise is the sub of a user towards one application: stable, and different for each.
func pairwise(user, app string) string {
	sum := sha256.Sum256([]byte(user + "|" + app))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// opaque is fresh random text of n bytes.
func (s *Service) opaque(n int) string { return base64.RawURLEncoding.EncodeToString(s.env.Random(n)) }

func isGraph(r resource) bool { return r.sp.AppID == directory.GraphAppID }
func isARM(r resource) bool   { return r.sp.AppID == directory.ARMAppID }

// microsofts tells whether the resource is one of Microsoft's own services.
func microsofts(r resource) bool { return r.sp.AppOwnerOrganizationID == directory.MicrosoftTenantID }
