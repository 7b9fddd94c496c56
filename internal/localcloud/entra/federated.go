package entra

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/jwks"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// exchangeAudience is the audience that a federated credential names; in a token of Entra's own it is the GUID of the exchange.
const exchangeAudience = "api://AzureADTokenExchange"

const federationHelp = "Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"

// byFederation verifies an assertion that another issuer signed, against the federated credentials of the client. Issuer, subject and
// audience are compared exactly, case included (Microsoft, "Workload identity federation: important considerations"). Nobody is asked for
// keys before all three match, so that only issuers which a federated credential names are ever asked. Up to 2024 one code, AADSTS70021,
// stood for the three; clients that look for it in the text find it at the beginning of each.
func (s *Service) byFederation(ctx context.Context, a *assertion, c client) *failure {
	if len(c.federated) == 0 {
		return badClient(70025, "The client '%s'(%s) has no configured federated identity credentials.", c.id, c.name())
	}
	issuer := s.oneName(a.claims.Issuer)
	left := slices.DeleteFunc(slices.Clone(c.federated), func(f directory.FederatedCredential) bool { return s.oneName(f.Issuer) != issuer })
	if len(left) == 0 {
		return badClient(700211, "No matching federated identity record found for presented assertion issuer '%s'. %s", a.claims.Issuer, federationHelp)
	}
	own := issuer == s.env.Auth.Issuer("2.0") || issuer == s.env.Auth.Issuer("1.0")
	left = slices.DeleteFunc(left, func(f directory.FederatedCredential) bool { return !meets(f.Audiences, a.claims.Audience, own) })
	if len(left) == 0 {
		return badClient(700212, "No matching federated identity record found for presented assertion audience '%s'. %s", strings.Join(a.claims.Audience, " "), federationHelp)
	}
	if !slices.ContainsFunc(left, func(f directory.FederatedCredential) bool { return f.Subject == a.claims.Subject }) {
		return badClient(700213, "No matching federated identity record found for presented assertion subject '%s'. %s", a.claims.Subject, federationHelp)
	}
	if own {
		return s.ownToken(a)
	}
	return s.outsideToken(ctx, a)
}

// oneName gives the one name of an issuer that has several: this cloud's login service is also meant where a federated credential names
// Entra's own issuer for the tenant, as one that was written for the real cloud does.
func (s *Service) oneName(issuer string) string {
	switch tenant := s.env.Dir.Tenant.ID; issuer {
	case "https://login.microsoftonline.com/" + tenant + "/v2.0":
		return s.env.Auth.Issuer("2.0")
	case "https://sts.windows.net/" + tenant + "/":
		return s.env.Auth.Issuer("1.0")
	}
	return issuer
}

// outsideToken verifies an assertion with the key of its issuer.
func (s *Service) outsideToken(ctx context.Context, a *assertion) *failure {
	if a.header.KeyID == "" {
		return badClient(5002723, "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 thumbprint, nor keyId specified in token header.")
	}
	if s.IssuerKey == nil {
		return unreachableIssuer()
	}
	key, err := s.IssuerKey(ctx, a.claims.Issuer, a.header.KeyID)
	switch {
	case errors.Is(err, jwks.ErrNoKey):
		// As reported in azure-workload-identity issue 1232 (2024).
		return badClient(7000272, "The certificate with identifier %s used to sign the federated credential could not be found in the metadata of identity provider %s. Please validate that your Identity Provider's metadata exposes the key used to sign the incoming token.", a.header.KeyID, a.claims.Issuer)
	case err != nil:
		return unreachableIssuer()
	case !a.signedBy(key):
		return invalidAssertion("The provided signature value did not match the expected signature value.")
	}
	return a.timely(s.env.Now())
}

// ownToken verifies an assertion that this cloud itself issued: a managed identity's token for the exchange, and no other's.
//
// Microsoft documents managed identities as the one kind of issuer of Entra's own that a federated credential can trust ("Configure an
// application to trust a managed identity"). AADSTS700222 and AADSTS700229 are what people report for other tokens of Entra's; which of
// the two an application's own token meets today was not seen live.
func (s *Service) ownToken(a *assertion) *failure {
	claims, err := s.env.Auth.Verify("Bearer "+a.raw, a.claims.Audience...)
	switch {
	case err == nil && !claims.App():
		return badClient(700229, "Forbidden token type. Only app-only tokens may be used as Federated Identity Credentials for AAD issuer.")
	case errors.Is(err, authority.ErrKind), err == nil && !s.managedIdentity(claims.ObjectID):
		return badClient(700222, "AAD-issued tokens may not be used for federated identity flows.")
	case err == nil:
		return nil
	case errors.Is(err, authority.ErrExpired), errors.Is(err, authority.ErrNotYet):
		if f := a.timely(s.env.Now()); f != nil {
			return f
		}
		return invalidAssertion("The token is outside its lifetime.")
	}
	return invalidAssertion("The provided signature value did not match the expected signature value.")
}

// managedIdentity tells whether the service principal is one. The primary is asked: Entra reads it off the token, so replication has no
// part in it.
func (s *Service) managedIdentity(id string) (is bool) {
	s.env.Dir.Store.Primary(func(v replica.View) {
		sp, found := s.env.Dir.ServicePrincipals.Get(v, id)
		is = found && sp.Live() && sp.ServicePrincipalType == managedIdentityType
	})
	return is
}

// meets tells whether an assertion's audience is one of a credential's. The GUID of the exchange stands for its URI in Entra's own tokens
// alone: any other issuer writes what its credential says.
func meets(credential []string, claim audience, own bool) bool {
	return slices.ContainsFunc(claim, func(aud string) bool {
		if own && aud == directory.ExchangeAppID {
			aud = exchangeAudience
		}
		return slices.Contains(credential, aud)
	})
}

// unreachableIssuer is what people report when the issuer's discovery document cannot be fetched or is none. The same text comes with
// three codes, 90061 (2022), 50166 (2022 to 2024) and 501661 (2023 on); which of them means what is not documented.
func unreachableIssuer() *failure {
	return fail(http.StatusBadRequest, "invalid_request", 50166, "Request to External OIDC endpoint failed.")
}

// invalidAssertion is the documented AADSTS50013; its status and error for a client assertion were not seen live.
func invalidAssertion(reason string) *failure {
	return badClient(50013, "Assertion failed signature validation. [Reason - %s]", reason)
}
