package entra

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	zeroGUID         = "00000000-0000-0000-0000-000000000000"
	jwtBearer        = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	powerShellAppID  = "1950a258-227b-4e31-a9cf-717495945fc2" // Azure PowerShell, a public client of the Azure CLI's family
	deviceGrant      = "urn:ietf:params:oauth:grant-type:device_code"
	defaultUserRole  = "b79fbf4d-3ef9-4689-8143-76b194e85509" // wids of every user
	defaultAppRole   = "0997a1d0-0d1d-4acb-b408-d5ca73121e90" // wids of every application in Graph tokens (seen live)
	userImpersonates = "user_impersonation"
)

// client is what a replica shows of the application that calls.
type client struct {
	id        string                      // application id, lower case
	app       *directory.Application      // nil for managed identities and applications of other tenants
	sp        *directory.ServicePrincipal // nil while there is none
	federated []directory.FederatedCredential

	parent   *directory.Application      // of an agent identity: its blueprint,
	parentSP *directory.ServicePrincipal // and that one's principal
}

// firstParty tells whether the client is one of Microsoft's public clients, which every tenant knows without a registration.
func firstParty(id string) bool { return id == directory.AzureCLIAppID || id == powerShellAppID }

func (s *Service) readClient(v replica.View, id string) client {
	d := s.env.Dir
	c := client{id: strings.ToLower(id)}
	for _, app := range d.Applications.By(v, "appId", c.id) {
		if app.Live() {
			c.app = &app
			c.federated = append(c.federated, d.FederatedCredentials.By(v, "parent", app.ID)...)
		}
	}
	for _, sp := range d.ServicePrincipals.By(v, "appId", c.id) {
		if sp.Live() {
			c.sp = &sp
			c.federated = append(c.federated, d.FederatedCredentials.By(v, "parent", sp.ID)...)
		}
	}
	s.readParent(v, &c)
	return c
}

// known checks that the client exists and is not switched off.
func (s *Service) known(c client) *failure {
	switch {
	case c.id == "":
		return missing("client_id")
	case c.id == zeroGUID:
		return fail(400, "unauthorized_client", 700038, "%s is not a valid application identifier.", c.id)
	case firstParty(c.id):
		return nil
	case c.app == nil && c.sp == nil:
		return fail(400, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", c.id, s.env.Dir.Tenant.DisplayName)
	case c.app != nil && c.app.IsDisabled, c.sp != nil && !c.sp.AccountEnabled:
		return fail(400, "unauthorized_client", 7000112, "Application '%s'(%s) is disabled.", c.id, c.name())
	}
	return s.parented(c)
}

// present checks that the client has a service principal in the tenant.
func (s *Service) present(c client) *failure {
	if c.sp == nil && !firstParty(c.id) {
		return badClient(7000229, "The client application %s is missing service principal in the tenant %s. See instructions here: https://go.microsoft.com/fwlink/?linkid=2225119", c.id, s.env.Dir.Tenant.ID)
	}
	return nil
}

func (c client) name() string {
	switch {
	case c.app != nil:
		return c.app.DisplayName
	case c.sp != nil:
		return c.sp.DisplayName
	case c.id == directory.AzureCLIAppID:
		return "Microsoft Azure CLI"
	case c.id == powerShellAppID:
		return "Microsoft Azure PowerShell"
	}
	return ""
}

func (c client) public() bool { return firstParty(c.id) || c.app != nil && c.app.PublicClient }

func (c client) keys() []directory.KeyCredential {
	var keys []directory.KeyCredential
	if c.app != nil {
		keys = c.app.KeyCredentials
	}
	if c.sp != nil && len(c.sp.KeyCredentials) > 0 {
		keys = append(slices.Clip(keys), c.sp.KeyCredentials...)
	}
	return keys
}

func (c client) passwords() []directory.PasswordCredential {
	var all []directory.PasswordCredential
	if c.app != nil {
		all = c.app.PasswordCredentials
	}
	if c.sp != nil && len(c.sp.PasswordCredentials) > 0 {
		all = append(slices.Clip(all), c.sp.PasswordCredentials...)
	}
	return all
}

// authenticate proves the client and returns the way it did so, as the appidacr claim says it: "0" not at all (a public client), "1"
// by secret, "2" by certificate or federated assertion. resource is what the token is wanted for.
func (s *Service) authenticate(ctx context.Context, q *request, c client, resource string, app bool) (string, *failure) {
	switch {
	case q.assertion != "" && q.assertionType == "":
		return "", missing("client_assertion_type")
	case q.assertion != "" && q.assertionType != jwtBearer, q.assertion == "" && q.secret == "":
		if app {
			return "", badClient(7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.")
		}
		if c.public() {
			return "0", nil
		}
		return "", badClient(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case firstParty(c.id):
		return "", badClient(700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case q.assertion != "":
		return "2", s.byAssertion(ctx, q, c, resource)
	}
	return "1", s.bySecret(q.secret, c)
}

// byAssertion tells a federated assertion from the client's own by its issuer, which is a URL only in the former.
func (s *Service) byAssertion(ctx context.Context, q *request, c client, resource string) *failure {
	a, f := parseAssertion(q.assertion)
	if f != nil {
		return f
	}
	if f := a.complete(); f != nil {
		return f
	}
	if strings.Contains(a.claims.Issuer, "://") && agentOf(c) == directory.AgentIdentity {
		return s.byBlueprint(a, c)
	}
	if strings.Contains(a.claims.Issuer, "://") {
		f = s.byFederation(ctx, a, c)
	} else {
		f = s.byCertificate(a, c, q.ep)
		if f == nil {
			// A federated token is cached and sent again by design; only assertions that the client signs itself are for one use.
			f = s.once(a, c.id, resource)
		}
	}
	return f
}

// bySecret compares with every secret of application and service principal, each in constant time.
func (s *Service) bySecret(secret string, c client) *failure {
	now, expired := s.env.Now(), false
	for _, p := range c.passwords() {
		if p.Secret == "" || subtle.ConstantTimeCompare([]byte(p.Secret), []byte(secret)) == 0 {
			continue
		}
		switch {
		case !now.Before(p.EndDateTime):
			expired = true
		case !now.Add(skew).Before(p.StartDateTime):
			return nil
		}
	}
	if expired {
		return badClient(7000222, "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.", c.id)
	}
	return badClient(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", c.id)
}
