package entra

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// IdentityToken is a token of a managed identity, with what its endpoint tells beside it. Times are Unix seconds.
type IdentityToken struct {
	Token     string
	ClientID  string
	NotBefore int64
	Expires   int64
	ExpiresIn int64
}

// Refusal is why a managed identity gets no token.
type Refusal struct {
	Kind string // the OAuth error
	Text string // begins with the AADSTS code
}

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

func refusal(f *failure) error { return &Refusal{Kind: f.kind, Text: f.Error()} }

// ForIdentity prepares a token of the managed identity with the object id, for a resource by one of its names. It reads the view; the
// function that it returns signs, and is to be called without the store's lock. The errors of both are [*Refusal].
//
// Azure proves a managed identity to Entra with a certificate of its own, so appidacr is "2". xms_mirid is the resource id of a
// user-assigned identity, or of the resource whose own identity it is (Microsoft, "Access token claims reference").
func (s *Service) ForIdentity(v replica.View, objectID, resourceID, named string) (sign func() (IdentityToken, error), err error) {
	sp, found := s.env.Dir.ServicePrincipals.Get(v, objectID)
	c := client{id: strings.ToLower(sp.AppID), sp: &sp}
	if !found || !sp.Live() || sp.ServicePrincipalType != managedIdentityType {
		return nil, refusal(fail(400, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", objectID, s.env.Dir.Tenant.DisplayName))
	}
	if f := s.known(c); f != nil {
		return nil, refusal(f)
	}
	if named == "" {
		return nil, refusal(missing("resource")) // "" would mean Microsoft Graph
	}
	res, f := s.findResource(v, named)
	if f != nil {
		return nil, refusal(f)
	}
	roles, member := s.grantedRoles(v, res, sp.ID)
	if res.sp.AppRoleAssignmentReq && !member {
		return nil, refusal(unassigned(c, res))
	}
	claims := s.common(&request{}, c, res, "2")
	claims.ObjectID, claims.Subject, claims.Roles, claims.IDType, claims.XmsMiRID = sp.ID, sp.ID, roles, "app", resourceID
	if isGraph(res) {
		claims.WIDs = append(s.env.Dir.RolesOf(v, sp.ID), defaultAppRole)
	}
	if claims.Version == "1.0" {
		claims.IDP = s.env.Auth.Issuer("1.0")
	}
	return func() (IdentityToken, error) { return s.signIdentity(claims) }, nil
}

func (s *Service) signIdentity(claims authority.Claims) (IdentityToken, error) {
	token, f := s.mint(claims)
	if f != nil {
		return IdentityToken{}, refusal(f)
	}
	return IdentityToken{Token: token, ClientID: claims.Client(), NotBefore: claims.NotBefore, Expires: claims.Expires, ExpiresIn: s.life()}, nil
}

const managedIdentityType = "ManagedIdentity"

// resourceIDOf is the resource id behind the service principal of a managed identity, "" for any other: Entra keeps it among the
// alternative names (Microsoft Graph, servicePrincipal alternativeNames).
func resourceIDOf(sp *directory.ServicePrincipal) string {
	if sp == nil || sp.ServicePrincipalType != managedIdentityType {
		return ""
	}
	i := slices.IndexFunc(sp.AlternativeNames, func(n string) bool { return strings.HasPrefix(n, "/subscriptions/") })
	if i < 0 {
		return ""
	}
	return sp.AlternativeNames[i]
}
