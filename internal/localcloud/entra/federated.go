package entra

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// exchangeAudience is the audience that a federated credential names; in a token of Entra's own it is the GUID of the exchange.
const exchangeAudience = "api://AzureADTokenExchange"

const federationHelp = "Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"

// byFederation verifies an assertion that another issuer signed, against the federated credentials of the client. Issuer, subject and
// audience are compared exactly, case included (Microsoft, "Workload identity federation: important considerations").
func (s *Service) byFederation(ctx context.Context, a *assertion, c client) *failure {
	if len(c.federated) == 0 {
		return badClient(70025, "The client '%s'(%s) has no configured federated identity credentials.", c.id, c.name())
	}
	left := slices.DeleteFunc(slices.Clone(c.federated), func(f directory.FederatedCredential) bool { return f.Issuer != a.claims.Issuer })
	if len(left) == 0 {
		return badClient(700211, "No matching federated identity record found for presented assertion issuer '%s'. %s", a.claims.Issuer, federationHelp)
	}
	left = slices.DeleteFunc(left, func(f directory.FederatedCredential) bool { return !meets(f.Audiences, a.claims.Audience) })
	if len(left) == 0 {
		return badClient(700212, "No matching federated identity record found for presented assertion audience '%s'. %s", strings.Join(a.claims.Audience, " "), federationHelp)
	}
	if !slices.ContainsFunc(left, func(f directory.FederatedCredential) bool { return f.Subject == a.claims.Subject }) {
		return badClient(700213, "No matching federated identity record found for presented assertion subject '%s'. %s", a.claims.Subject, federationHelp)
	}
	if a.claims.Issuer == s.env.Auth.Issuer("2.0") || a.claims.Issuer == s.env.Auth.Issuer("1.0") {
		return s.ownToken(a)
	}
	if s.FetchJWKS == nil {
		return unreachableIssuer()
	}
	keys, err := s.FetchJWKS(ctx, a.claims.Issuer)
	if err != nil {
		return unreachableIssuer()
	}
	key, ok := keys[a.header.KeyID].(*rsa.PublicKey)
	if !ok {
		return invalidAssertion("The key was not found.")
	}
	if !a.signedBy(key) {
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
	case err == nil && !s.managedIdentity(claims.ObjectID):
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
		is = found && sp.Live() && sp.ServicePrincipalType == "ManagedIdentity"
	})
	return is
}

// meets tells whether an assertion's audience is one of a credential's.
func meets(credential []string, claim audience) bool {
	return slices.ContainsFunc(claim, func(aud string) bool {
		if aud == directory.ExchangeAppID {
			aud = exchangeAudience
		}
		return slices.Contains(credential, aud)
	})
}

// unreachableIssuer is what people report when the issuer's discovery document cannot be fetched.
func unreachableIssuer() *failure {
	return fail(http.StatusBadRequest, "invalid_request", 50166, "Request to External OIDC endpoint failed.")
}

// invalidAssertion is the documented AADSTS50013; its status and error for a client assertion were not seen live.
func invalidAssertion(reason string) *failure {
	return badClient(50013, "Assertion failed signature validation. [Reason - %s]", reason)
}
