package clients

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// agentChain is an agent of Entra Agent ID: its blueprint, which has the key, and the identity and user, which have none.
type agentChain struct {
	blueprint      *app
	identity, user string // object ids; the identity's is its application id as well
	upn            string
}

// TestGoSDKAgent drives Entra Agent ID: Microsoft Graph makes the objects, MSAL gets the tokens (Microsoft, "Authentication protocols in
// agents").
func TestGoSDKAgent(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	provisioner := g.app(t, "go-provisioner", time.Hour)
	must(t, g.permit(t.Context(), t, provisioner, "AgentIdentityBlueprint.Create", "AgentIdentityBlueprint.ReadWrite.All", "AgentIdentityBlueprintPrincipal.Create",
		"AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All", "AgentIdUser.ReadWrite.All"))
	a := g.agentObjects(t, provisioner)
	t.Run("tokens", func(t *testing.T) { g.agentTokens(t, a) })
	t.Run("refusals", func(t *testing.T) { g.refusedAgents(t, a, provisioner) })
	t.Run("end", func(t *testing.T) { g.agentEnd(t, a, provisioner) })
}

const (
	blueprints = "/v1.0/applications/microsoft.graph.agentIdentityBlueprint"
	principals = "/v1.0/servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal"
	identities = "/v1.0/servicePrincipals/microsoft.graph.agentIdentity"
	agentUsers = "/v1.0/users/microsoft.graph.agentUser"
)

// agentObjects makes the chain, each object with the permission that is for it.
func (g *goSDK) agentObjects(t *testing.T, provisioner *app) agentChain {
	t.Helper()
	ctx, c := t.Context(), g.graph(provisioner.cred)
	sponsor := []string{c.base + "/v1.0/users/" + g.Operator("admin").ObjectID}
	a := agentChain{blueprint: &app{name: "go-blueprint", cert: g.Certificate("go-blueprint", time.Hour)}, upn: "go-agent@" + g.Cloud().Domain}
	var made struct{ ID, AppID, ServicePrincipalType, AgentIdentityBlueprintID string }
	g.Operation(t, "Microsoft Graph: an agent identity blueprint", func() error {
		if err := c.call(ctx, "POST", blueprints, object{"displayName": a.blueprint.name, "sponsors@odata.bind": sponsor}, &made); err != nil {
			return err
		}
		a.blueprint.object, a.blueprint.id = made.ID, made.AppID
		return c.call(ctx, "PATCH", "/v1.0/applications/"+made.ID, object{"keyCredentials": []any{keyCredential(a.blueprint.cert)}}, nil)
	})
	g.Refused(t, "Microsoft Graph: an agent identity before its blueprint has a principal", "Agent Blueprint Principal", func() error {
		return c.call(ctx, "POST", identities, object{"displayName": "go agent", "agentIdentityBlueprintId": a.blueprint.id, "sponsors@odata.bind": sponsor}, nil)
	})
	g.Operation(t, "Microsoft Graph: the blueprint's principal", func() error {
		err := c.call(ctx, "POST", principals, object{"appId": a.blueprint.id}, &made)
		a.blueprint.principal = made.ID
		return err
	})
	// The blueprint itself makes its identities: AgentIdentity.CreateAsManager is in its tokens without being granted.
	var err error
	a.blueprint.cred, err = g.withCertificate(a.blueprint.id, a.blueprint.cert.Both, nil)
	must(t, err)
	g.Operation(t, "Microsoft Graph: an agent identity, made by its blueprint", func() error {
		err := g.graph(a.blueprint.cred).call(ctx, "POST", identities, object{"displayName": "go agent", "agentIdentityBlueprintId": a.blueprint.id, "sponsors@odata.bind": sponsor}, &made)
		if err != nil {
			return err
		}
		a.identity = made.ID
		return is(made.ID == made.AppID && made.ServicePrincipalType == "ServiceIdentity" && made.AgentIdentityBlueprintID == a.blueprint.id, "it is %+v", made)
	})
	g.Operation(t, "Microsoft Graph: an agent user", func() error {
		body := object{"accountEnabled": true, "displayName": "go agent", "mailNickname": "go-agent", "userPrincipalName": a.upn, "identityParentId": a.identity}
		err := c.call(ctx, "POST", agentUsers, body, &made)
		a.user = made.ID
		return err
	})
	g.Operation(t, "Microsoft Graph: the identities of a blueprint", func() error {
		var all value
		if err := c.call(ctx, "GET", identities+"?$filter=agentIdentityBlueprintId%20eq%20'"+a.blueprint.id+"'", nil, &all); err != nil {
			return err
		}
		return is(len(all.Value) == 1 && all.Value[0]["id"] == a.identity, "it lists %v", all.Value)
	})
	return a
}

// blueprintClient is MSAL's client of the blueprint.
func (g *goSDK) blueprintClient(a agentChain) (confidential.Client, error) {
	cert, err := msalCertificate(a.blueprint.cert)
	if err != nil {
		return confidential.Client{}, err
	}
	return g.confidential(a.blueprint.id, cert)
}

// t1 is the token with which an identity authenticates, asked by its blueprint.
func t1(ctx context.Context, blueprint confidential.Client, identity string) (string, error) {
	r, err := blueprint.AcquireTokenByCredential(ctx, []string{exchange + "/.default"}, confidential.WithFMIPath(identity))
	return r.AccessToken, err
}

// agentClient is MSAL's client of an identity whose assertions are what assert gives.
func (g *goSDK) agentClient(identity string, assert func(context.Context) (string, error)) (confidential.Client, error) {
	return g.confidential(identity, confidential.NewCredFromAssertionCallback(func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		return assert(ctx)
	}))
}

func (g *goSDK) agentTokens(t *testing.T, a agentChain) {
	ctx := t.Context()
	blueprint, err := g.blueprintClient(a)
	must(t, err)
	g.Operation(t, "MSAL: confidential.WithFMIPath: a token of the blueprint for its identity", func() error {
		token, err := t1(ctx, blueprint, a.identity)
		if err != nil {
			return err
		}
		return says(token, claims{"aud": "fb60f99c-7a34-4190-8149-302f77469936", "azp": a.blueprint.id, "oid": a.blueprint.principal, "ver": "2.0"})
	})
	g.Operation(t, "MSAL: the token of an fmi_path is in the cache under its path", func() error {
		before := g.asked(t)
		if _, err := t1(ctx, blueprint, a.identity); err != nil {
			return err
		}
		return is(g.asked(t) == before, "the cloud was asked")
	})
	agent, err := g.agentClient(a.identity, func(ctx context.Context) (string, error) { return t1(ctx, blueprint, a.identity) })
	must(t, err)
	var t2 string
	for _, row := range []struct{ name, scope string }{{"Microsoft Graph", g.graphScope()}, {"Azure Resource Manager", g.armScope()}} {
		g.Operation(t, "MSAL: a token of the identity for "+row.name, func() error {
			r, err := agent.AcquireTokenByCredential(ctx, []string{row.scope})
			if err != nil {
				return err
			}
			return says(r.AccessToken, claims{"appid": a.identity, "oid": a.identity, "appidacr": "2"})
		})
	}
	g.Operation(t, "MSAL: a token of the identity for the exchange", func() error {
		r, err := agent.AcquireTokenByCredential(ctx, []string{exchange + "/.default"})
		t2 = r.AccessToken
		return err
	})
	must(t, g.consent(ctx, g.user(t, "admin"), a.identity, a.user))
	for _, row := range []struct {
		name   string
		option confidential.AcquireByUserFICOption
	}{{"by its object id", confidential.WithUserObjectID(a.user)}, {"by its name", confidential.WithUserFICUsername(a.upn)}} {
		g.Operation(t, "MSAL: confidential.Client.AcquireTokenByUserFederatedIdentityCredential for the agent user "+row.name, func() error {
			fresh, err := g.agentClient(a.identity, func(ctx context.Context) (string, error) { return t1(ctx, blueprint, a.identity) })
			if err != nil {
				return err
			}
			r, err := fresh.AcquireTokenByUserFederatedIdentityCredential(ctx, []string{g.graphScope()}, t2, row.option)
			if err != nil {
				return err
			}
			return says(r.AccessToken, claims{"oid": a.user, "appid": a.identity, "idtyp": "user"})
		})
	}
	g.Operation(t, "armresources.ResourceGroupsClient.Get by an agent identity with a role", func() error {
		if err := g.assign(ctx, g.group(), readerRole, a.identity); err != nil {
			return err
		}
		_, err := g.groupsOf(t, msalCredential{agent}).Get(ctx, "polyclaw-rg", nil)
		return err
	})
}

// msalCredential lets the Azure SDK use tokens of MSAL.
type msalCredential struct{ client confidential.Client }

// GetToken implements [azcore.TokenCredential].
func (m msalCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r, err := m.client.AcquireTokenByCredential(ctx, o.Scopes)
	return azcore.AccessToken{Token: r.AccessToken, ExpiresOn: r.ExpiresOn}, err
}

// consent lets an agent identity act for its user at Microsoft Graph.
func (g *goSDK) consent(ctx context.Context, by azcore.TokenCredential, identity, user string) error {
	c := g.graph(by)
	var sp struct{ ID string }
	if err := c.call(ctx, "GET", "/v1.0/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')?$select=id", nil, &sp); err != nil {
		return err
	}
	return c.call(ctx, "POST", "/v1.0/oauth2PermissionGrants", object{"clientId": identity, "consentType": "Principal", "principalId": user, "resourceId": sp.ID, "scope": "User.Read"}, nil)
}

func (g *goSDK) refusedAgents(t *testing.T, a agentChain, provisioner *app) {
	ctx := t.Context()
	blueprint, err := g.blueprintClient(a)
	must(t, err)
	var sibling struct{ ID string }
	sponsor := []string{g.env["LEASTKEY_GRAPH"] + "/v1.0/users/" + g.Operator("admin").ObjectID}
	must(t, g.graph(provisioner.cred).call(ctx, "POST", identities, object{"displayName": "go sibling", "agentIdentityBlueprintId": a.blueprint.id, "sponsors@odata.bind": sponsor}, &sibling))
	for _, row := range []struct {
		name, code string
		assert     func(context.Context) (string, error)
	}{
		{"with its blueprint's token for another identity", "AADSTS700213", func(ctx context.Context) (string, error) { return t1(ctx, blueprint, sibling.ID) }},
		{"with its blueprint's token without a path", "AADSTS700211", func(ctx context.Context) (string, error) {
			r, err := blueprint.AcquireTokenByCredential(ctx, []string{exchange + "/.default"})
			return r.AccessToken, err
		}},
		{"with its blueprint's token for Microsoft Graph", "AADSTS700211", func(ctx context.Context) (string, error) {
			r, err := blueprint.AcquireTokenByCredential(ctx, []string{g.graphScope()})
			return r.AccessToken, err
		}},
	} {
		g.Refused(t, "MSAL: a token of an agent identity "+row.name, row.code, func() error {
			c, err := g.agentClient(a.identity, row.assert)
			if err != nil {
				return err
			}
			_, err = c.AcquireTokenByCredential(ctx, []string{g.graphScope()})
			return err
		})
	}
	g.Refused(t, "MSAL: confidential.WithFMIPath by an application that is no blueprint", "AADSTS90100", func() error {
		plain := g.app(t, "go-plain", time.Hour)
		cert, err := msalCertificate(plain.cert)
		if err != nil {
			return err
		}
		c, err := g.confidential(plain.id, cert)
		if err != nil {
			return err
		}
		_, err = t1(ctx, c, a.identity)
		return err
	})
	g.Refused(t, "MSAL: a token of a blueprint for Azure Resource Manager", "AADSTS82001", func() error {
		_, err := blueprint.AcquireTokenByCredential(ctx, []string{g.armScope()})
		return err
	})
	g.Refused(t, "Microsoft Graph: a password for an agent identity", "PropertyNotCompatibleWithAgentIdentity", func() error {
		return g.graph(provisioner.cred).call(ctx, "POST", "/v1.0/servicePrincipals/"+a.identity+"/addPassword", object{"passwordCredential": object{"displayName": "x"}}, nil)
	})
	g.Refused(t, "Microsoft Graph: a blueprint made with a user's token of Azure CLI", "Authorization_RequestDenied", func() error {
		return g.graph(g.user(t, "admin")).call(ctx, "POST", blueprints, object{"displayName": "never", "sponsors@odata.bind": sponsor}, nil)
	})
}

func (g *goSDK) agentEnd(t *testing.T, a agentChain, provisioner *app) {
	ctx, c := t.Context(), g.graph(provisioner.cred)
	blueprint, err := g.blueprintClient(a)
	must(t, err)
	agent, err := g.agentClient(a.identity, func(ctx context.Context) (string, error) { return t1(ctx, blueprint, a.identity) })
	must(t, err)
	g.Refused(t, "MSAL: a token of a disabled agent identity", "AADSTS7000112", func() error {
		if err := c.call(ctx, "PATCH", "/v1.0/servicePrincipals/"+a.identity, object{"accountEnabled": false}, nil); err != nil {
			return err
		}
		_, err := agent.AcquireTokenByCredential(ctx, []string{g.graphScope()})
		return err
	})
	g.Operation(t, "Microsoft Graph: an agent's user, identity and blueprint deleted", func() error {
		for _, path := range []string{"/v1.0/users/" + a.user, "/v1.0/servicePrincipals/" + a.identity, "/v1.0/applications/" + a.blueprint.object} {
			if err := c.call(ctx, "DELETE", path, nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	g.Refused(t, "MSAL: a token of a deleted blueprint", "AADSTS700016", func() error {
		fresh, err := g.blueprintClient(a)
		if err != nil {
			return err
		}
		_, err = t1(ctx, fresh, a.identity)
		return err
	})
}
