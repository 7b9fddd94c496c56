package entra

import (
	"errors"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const onBehalfGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// userFIC answers an agent identity that speaks for its agent user (Microsoft, "Agent's user account impersonation protocol"): T1 proves
// the identity and T2, its own token for the exchange, stands for the user's credential. The user is named by object id or principal name.
func (s *Service) userFIC(ctx ctx, q *request) (any, *failure) {
	switch {
	case q.clientID == "":
		return nil, missing("client_id")
	case q.form.Get("user_federated_identity_credential") == "":
		return nil, missing("user_federated_identity_credential")
	case q.form.Get("user_id") == "" && q.form.Get("username") == "":
		return nil, missing("username")
	case q.form.Get("user_id") != "" && !isGUID(q.form.Get("user_id")):
		// What a principal name in user_id meets (Agents-for-js issue 932, 2026-02).
		return nil, fail(400, "server_error", 50000, "There was an error issuing a token or an issue with our sign-in service.")
	}
	want, f := askedFor(q.ep, q.form.Get("scope"), q.form.Get("resource"), false)
	if f != nil {
		return nil, f
	}
	return s.forUser(ctx, q, want, func() (string, *failure) {
		claims, f := s.presented(q.form.Get("user_federated_identity_credential"), directory.ExchangeAppID)
		if f != nil {
			return "", f
		}
		agent := strings.ToLower(q.clientID)
		// Whose T2 it is: "the same client ID must be used for both phases". A T1 in its place has the blueprint's.
		if claims.AZP != agent || claims.ObjectID != agent {
			return "", badGrant(700213, "No matching federated identity record found for presented assertion subject '%s'. %s", claims.Subject, federationHelp)
		}
		u, found := s.agentUser(q)
		if f := s.checkUser(u, found); f != nil {
			return "", f
		}
		// The text is one for federated credentials in general: a user has its identity for its only one. Not seen live.
		if u.IdentityParentID != agent {
			return "", badGrant(700213, "No matching federated identity record found for presented assertion subject '%s'. %s", claims.Subject, federationHelp)
		}
		return u.ID, nil
	})
}

// agentUser finds the user that the request names, as a replica shows it.
func (s *Service) agentUser(q *request) (u directory.User, found bool) {
	s.env.Dir.Store.Read(replica.Login, func(v replica.View) {
		if id := q.form.Get("user_id"); id != "" {
			u, found = s.env.Dir.Users.Get(v, strings.ToLower(id))
		} else {
			u, found = s.userByName(v, q.form.Get("username"))
		}
	})
	return u, found
}

// onBehalf answers a client that has a person's token for itself and wants one for another resource (Microsoft, "OAuth 2.0 On-Behalf-Of
// flow"). An agent identity takes tokens for its blueprint ("Agent OAuth flows: On behalf of flow").
func (s *Service) onBehalf(ctx ctx, q *request) (any, *failure) {
	for _, name := range []string{"assertion", "requested_token_use"} {
		if q.form.Get(name) == "" {
			return nil, missing(name)
		}
	}
	switch {
	case q.clientID == "":
		return nil, missing("client_id")
	case q.form.Get("requested_token_use") != "on_behalf_of":
		return nil, badRequest(90100, "requested_token_use parameter is empty or not valid.")
	}
	want, f := askedFor(q.ep, q.form.Get("scope"), q.form.Get("resource"), false)
	if f != nil {
		return nil, f
	}
	return s.forUser(ctx, q, want, func() (string, *failure) {
		var api *directory.Application
		s.env.Dir.Store.Read(replica.Login, func(v replica.View) {
			c := s.readClient(v, q.clientID)
			if api = c.app; agentOf(c) == directory.AgentIdentity {
				api = c.parent
			}
		})
		if api == nil {
			return "", badGrant(50013, "Assertion failed signature validation. [Reason - The audience of the assertion is not the client.]")
		}
		claims, f := s.presented(q.form.Get("assertion"), append([]string{api.AppID}, api.IdentifierURIs...)...)
		if f != nil {
			return "", f
		}
		if claims.App() {
			return "", badGrant(50013, "Assertion failed signature validation. [Reason - The assertion is an app-only token, for which nobody is signed in.]")
		}
		return claims.ObjectID, nil
	})
}

// presented verifies a token of this cloud's that a request carries as a grant. People report AADSTS50013 for one with another audience,
// and AADSTS500133 for one that is out of date.
func (s *Service) presented(token string, audiences ...string) (authority.Claims, *failure) {
	claims, err := s.env.Auth.Verify("Bearer "+token, audiences...)
	switch {
	case err == nil:
		return claims, nil
	case errors.Is(err, authority.ErrExpired), errors.Is(err, authority.ErrNotYet):
		return claims, badGrant(500133, "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token.")
	case errors.Is(err, authority.ErrKind): // as reported in azure-spring-boot issue 943 (2021)
		return claims, badRequest(240002, "Input id_token cannot be used as 'urn:ietf:params:oauth:grant-type:jwt-bearer' grant.")
	case errors.Is(err, authority.ErrAudience):
		return claims, badGrant(50013, "Assertion failed signature validation. [Reason - The audience of the assertion is not the client.]")
	}
	return claims, badGrant(50013, "Assertion failed signature validation. [Reason - The provided signature value did not match the expected signature value.]")
}

// inheritance is what an agent identity gets of its blueprint's permissions on the resource, nil for nothing.
func inheritance(c client, res resource) *directory.Inheritable {
	if c.parent == nil || c.parentSP == nil {
		return nil
	}
	i := slices.IndexFunc(c.parent.Inheritable, func(i directory.Inheritable) bool { return i.ResourceAppID == res.sp.AppID })
	if i < 0 {
		return nil
	}
	return &c.parent.Inheritable[i]
}

// inheritedScopes are the delegated permissions that the blueprint's principal was granted, as far as the blueprint lets its identities
// inherit them; a grant for one user counts for that user (Microsoft, "Inheritable permissions and required resource access").
func (s *Service) inheritedScopes(v replica.View, c client, user string, res resource) []string {
	from := inheritance(c, res)
	if from == nil || from.ScopeKind != "allAllowed" && from.ScopeKind != "enumerated" {
		return nil
	}
	granted := s.grantedScopes(v, c.parentSP.ID, user, res)
	if from.ScopeKind == "allAllowed" {
		return granted
	}
	return slices.DeleteFunc(granted, func(scope string) bool {
		return !slices.ContainsFunc(from.Scopes, func(listed string) bool { return strings.EqualFold(listed, scope) })
	})
}

// inheritedRoles are the application permissions, likewise.
func (s *Service) inheritedRoles(v replica.View, c client, res resource) []string {
	if from := inheritance(c, res); from == nil || from.RoleKind != "allAllowed" {
		return nil
	}
	roles, _ := s.grantedRoles(v, res, c.parentSP.ID)
	return roles
}

// grantedScopes are the delegated permissions that a client's service principal was granted on the resource, for the user or for all.
func (s *Service) grantedScopes(v replica.View, principal, user string, res resource) []string {
	var scopes []string
	for _, g := range s.env.Dir.PermissionGrants.By(v, "client", principal) {
		if g.ResourceID == res.sp.ID && (g.ConsentType == "AllPrincipals" || g.PrincipalID != nil && *g.PrincipalID == user) {
			scopes = append(scopes, strings.Fields(g.Scope)...)
		}
	}
	return scopes
}
