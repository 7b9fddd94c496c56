package localcloud

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

// api calls Graph or ARM in process with one token.
type api struct {
	t     *testing.T
	c     *Cloud
	token string
}

func (a api) do(method, target string, body any) (int, map[string]any) {
	a.t.Helper()
	b, err := json.Marshal(body)
	must(a.t, err)
	r, err := http.NewRequestWithContext(a.t.Context(), method, strings.ReplaceAll(target, " ", "%20"), bytes.NewReader(b))
	must(a.t, err)
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.c.Transport().RoundTrip(r)
	must(a.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(a.t, err)
	got := map[string]any{}
	_ = json.Unmarshal(text, &got)
	return resp.StatusCode, got
}

// graph calls Graph and wants the status.
func (a api) graph(status int, method, path string, body any) map[string]any {
	a.t.Helper()
	got, answer := a.do(method, a.c.Endpoints().Graph+"/v1.0/"+path, body)
	if got != status {
		a.t.Fatalf("%s %s: %d, want %d: %v", method, path, got, status, answer)
	}
	return answer
}

// chain is an agent made from nothing by a provisioner, and the key of its blueprint.
type chain struct {
	t *testing.T
	c *Cloud

	admin, provisioner                       api
	blueprint, blueprintApp, agent, userName string
	graphSP                                  string
	key                                      *rsa.PrivateKey
	cert                                     *x509.Certificate
}

func newChain(t *testing.T) *chain {
	k := &chain{t: t, c: open(t, Config{})}
	var err error
	k.key, err = rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	now := k.c.cfg.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agents"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.key.PublicKey, k.key)
	must(t, err)
	k.cert, err = x509.ParseCertificate(der)
	must(t, err)
	credentials := map[string]any{"keyCredentials": []any{map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(der)}}}

	k.admin = k.operator("admin", k.c.Endpoints().Graph)
	sponsor := k.c.Endpoints().Graph + "/v1.0/users/" + operator(t, k.c, "nobody").ObjectID
	app := k.admin.graph(201, "POST", "applications", map[string]any{"displayName": "provisioner", "signInAudience": "AzureADMyOrg"})
	sp := k.admin.graph(201, "POST", "servicePrincipals", map[string]any{"appId": app["appId"]})
	k.admin.graph(204, "PATCH", "applications/"+text(app["id"]), credentials)
	k.graphSP = text(k.admin.graph(200, "GET", "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')", nil)["id"])
	for _, role := range []string{"AgentIdentityBlueprint.ReadWrite.All", "AgentIdentityBlueprintPrincipal.ReadWrite.All", "AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All", "AgentIdUser.ReadWrite.All", "Application.Read.All"} {
		k.grant(text(sp["id"]), role)
	}
	k.provisioner = api{t, k.c, k.must(k.application(text(app["appId"])).AcquireTokenByCredential(t.Context(), []string{k.c.Endpoints().Graph + "/.default"}))}

	bp := k.provisioner.graph(201, "POST", "applications/microsoft.graph.agentIdentityBlueprint", map[string]any{"displayName": "bot", "sponsors@odata.bind": []string{sponsor}})
	k.blueprint, k.blueprintApp = text(bp["id"]), text(bp["appId"])
	k.provisioner.graph(204, "PATCH", "applications/"+k.blueprint+"/microsoft.graph.agentIdentityBlueprint", credentials)
	k.provisioner.graph(201, "POST", "servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal", map[string]any{"appId": k.blueprintApp})
	k.agent = text(k.provisioner.graph(201, "POST", "servicePrincipals/microsoft.graph.agentIdentity", map[string]any{"displayName": "bot 1", "agentIdentityBlueprintId": k.blueprintApp, "sponsors@odata.bind": []string{sponsor}})["id"])
	k.userName = "bot-1@" + k.c.cfg.Domain
	user := k.provisioner.graph(201, "POST", "users/microsoft.graph.agentUser", map[string]any{"accountEnabled": true, "displayName": "bot 1", "mailNickname": "bot-1", "userPrincipalName": k.userName, "identityParentId": k.agent})
	k.grant(k.agent, "Application.Read.All")
	k.admin.graph(201, "POST", "oauth2PermissionGrants", map[string]any{"clientId": k.agent, "consentType": "Principal", "principalId": user["id"], "resourceId": k.graphSP, "scope": "User.Read"})
	return k
}

func text(v any) string { return fmt.Sprint(v) }

// operator is a user with a token for the resource.
func (k *chain) operator(name, resource string) api {
	token, err := password{k.c, k.c.Transport(), operator(k.t, k.c, name)}.GetToken(k.t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	must(k.t, err)
	return api{k.t, k.c, token.Token}
}

// grant gives a principal an application permission on Microsoft Graph, by its name.
func (k *chain) grant(principal, permission string) {
	for _, r := range k.admin.graph(200, "GET", "servicePrincipals/"+k.graphSP, nil)["appRoles"].([]any) {
		if role := r.(map[string]any); role["value"] == permission {
			k.admin.graph(201, "POST", "servicePrincipals/"+principal+"/appRoleAssignments", map[string]any{"principalId": principal, "resourceId": k.graphSP, "appRoleId": role["id"]})
			return
		}
	}
	k.t.Fatalf("Graph has no %s", permission)
}

func (k *chain) must(r confidential.AuthResult, err error) string {
	k.t.Helper()
	must(k.t, err)
	return r.AccessToken
}

func (k *chain) client(id string, cred confidential.Credential) confidential.Client {
	k.t.Helper()
	client, err := confidential.New(k.c.Endpoints().Login+"/"+k.c.TenantID(), id, cred,
		confidential.WithInstanceDiscovery(false), confidential.WithHTTPClient(&http.Client{Transport: k.c.Transport()}))
	must(k.t, err)
	return client
}

// application is a client with the certificate, and identity one of an agent identity whose assertion is T1 for path.
func (k *chain) application(id string) confidential.Client {
	cred, err := confidential.NewCredFromCert([]*x509.Certificate{k.cert}, k.key)
	must(k.t, err)
	return k.client(id, cred)
}

var exchangeScope = []string{"api://AzureADTokenExchange/.default"}

func (k *chain) identity(id, path string) confidential.Client {
	blueprint := k.application(k.blueprintApp)
	return k.client(id, confidential.NewCredFromAssertionCallback(func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		r, err := blueprint.AcquireTokenByCredential(ctx, exchangeScope, confidential.WithFMIPath(path))
		return r.AccessToken, err
	}))
}

// TestMSALGoFromBlueprintToAgent goes the whole way with Microsoft's library.
func TestMSALGoFromBlueprintToAgent(t *testing.T) {
	k := newChain(t)
	graph, arm := []string{k.c.Endpoints().Graph + "/.default"}, []string{k.c.Endpoints().ARM + "/.default"}
	agent := k.identity(k.agent, k.agent)

	t.Run("the agent identity reads Graph with what it was granted, and no more", func(t *testing.T) {
		as := api{t, k.c, k.must(agent.AcquireTokenByCredential(t.Context(), graph))}
		as.graph(200, "GET", "servicePrincipals/"+k.agent, nil)
		as.graph(403, "GET", "users", nil)
		as.graph(403, "POST", "applications", map[string]any{"displayName": "x"})
	})
	t.Run("and Azure, once it has a role there", func(t *testing.T) {
		as := api{t, k.c, k.must(agent.AcquireTokenByCredential(t.Context(), arm))}
		group := k.c.Endpoints().ARM + "/subscriptions/" + k.c.SubscriptionID() + "/resourceGroups/" + DefaultGroup
		if status, body := as.do("GET", group+"?api-version=2021-04-01", nil); status != 403 {
			t.Fatal(status, body)
		}
		const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7" // the built-in role Reader
		role := "/subscriptions/" + k.c.SubscriptionID() + "/providers/Microsoft.Authorization/roleDefinitions/" + reader
		owner := k.operator("admin", k.c.Endpoints().ARM)
		status, body := owner.do("PUT", group+"/providers/Microsoft.Authorization/roleAssignments/11111111-1111-4111-8111-111111111111?api-version=2022-04-01",
			map[string]any{"properties": map[string]any{"roleDefinitionId": role, "principalId": k.agent, "principalType": "ServicePrincipal"}})
		if status != 201 {
			t.Fatal(status, body)
		}
		if status, body := as.do("GET", group+"?api-version=2021-04-01", nil); status != 200 {
			t.Fatal(status, body)
		}
	})
	t.Run("the agent user reads itself", func(t *testing.T) {
		t2 := k.must(agent.AcquireTokenByCredential(t.Context(), exchangeScope))
		token := k.must(agent.AcquireTokenByUserFederatedIdentityCredential(t.Context(), graph, t2, confidential.WithUserFICUsername(k.userName)))
		if me := (api{t, k.c, token}).graph(200, "GET", "me", nil); me["userPrincipalName"] != k.userName {
			t.Error(me)
		}
	})
	t.Run("the blueprint makes an identity of its own by its own right", func(t *testing.T) {
		as := api{t, k.c, k.must(k.application(k.blueprintApp).AcquireTokenByCredential(t.Context(), graph))}
		sponsor := k.c.Endpoints().Graph + "/v1.0/users/" + operator(t, k.c, "reader").ObjectID
		made := as.graph(201, "POST", "servicePrincipals/microsoft.graph.agentIdentity", map[string]any{"displayName": "bot 2", "agentIdentityBlueprintId": k.blueprintApp, "sponsors@odata.bind": []string{sponsor}})
		k.must(k.identity(text(made["id"]), text(made["id"])).AcquireTokenByCredential(t.Context(), arm))
	})
	refused := func(name, code string, f func() error) {
		t.Run(name, func(t *testing.T) {
			if err := f(); err == nil || !strings.Contains(err.Error(), code) {
				t.Errorf("%v, want %s", err, code)
			}
		})
	}
	refused("a token for another identity is none for this one", "AADSTS700213", func() error {
		_, err := k.identity(k.agent, "00000000-0000-4000-8000-000000000001").AcquireTokenByCredential(t.Context(), graph)
		return err
	})
	refused("the blueprint has no access to Azure itself", "AADSTS82001", func() error {
		_, err := k.application(k.blueprintApp).AcquireTokenByCredential(t.Context(), arm)
		return err
	})
	refused("the blueprint's certificate is not the identity's", "AADSTS700027", func() error {
		_, err := k.application(k.agent).AcquireTokenByCredential(t.Context(), graph)
		return err
	})
	refused("a secret is not the identity's either", "AADSTS7000215", func() error {
		cred, err := confidential.NewCredFromSecret("x")
		must(t, err)
		_, err = k.client(k.agent, cred).AcquireTokenByCredential(t.Context(), graph)
		return err
	})
	refused("a person is not the identity's user", "AADSTS700213", func() error {
		t2 := k.must(agent.AcquireTokenByCredential(t.Context(), exchangeScope))
		_, err := agent.AcquireTokenByUserFederatedIdentityCredential(t.Context(), graph, t2, confidential.WithUserObjectID(operator(t, k.c, "admin").ObjectID))
		return err
	})
	refused("after the blueprint is deleted the identity is gone", "AADSTS700016", func() error {
		t1 := k.must(k.application(k.blueprintApp).AcquireTokenByCredential(t.Context(), exchangeScope, confidential.WithFMIPath(k.agent)))
		k.provisioner.graph(204, "DELETE", "applications/"+k.blueprint, nil)
		kept := confidential.NewCredFromAssertionCallback(func(context.Context, confidential.AssertionRequestOptions) (string, error) { return t1, nil })
		_, err := k.client(k.agent, kept).AcquireTokenByCredential(t.Context(), graph)
		return err
	})
}
