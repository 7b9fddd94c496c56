package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
)

// exchange is the audience of tokens that stand for a workload elsewhere.
const exchange = "api://AzureADTokenExchange"

// TestGoSDKManagedIdentity is code that runs on a container app with an identity of its own and another one assigned. It is not
// parallel to anything, because the SDK reads the environment of the process.
func TestGoSDKManagedIdentity(t *testing.T) {
	g := startGo(t)
	app := g.hosted(t)
	t.Run("App Service", func(t *testing.T) { g.appService(t, app) })
	t.Run("IMDS", func(t *testing.T) { g.metadata(t, app) })
	t.Run("trusted by an application", func(t *testing.T) { g.trusted(t, app) })
	t.Run("taken away", func(t *testing.T) { g.takenAway(t, app) })
}

// hosted is what the identities of a container app are, and how its code sees them.
type hosted struct {
	id               string
	system           string          // principal
	user, stranger   armmsi.Identity // the stranger is not assigned
	endpoint, header string
	imds             string
}

func (g *goSDK) hosted(t *testing.T) hosted {
	t.Helper()
	ctx := t.Context()
	c, err := armmsi.NewUserAssignedIdentitiesClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	user, err := c.CreateOrUpdate(ctx, "polyclaw-rg", "mi-run", armmsi.Identity{Location: to.Ptr("eastus")}, nil)
	must(t, err)
	stranger, err := c.CreateOrUpdate(ctx, "polyclaw-rg", "mi-stranger", armmsi.Identity{Location: to.Ptr("eastus")}, nil)
	must(t, err)
	r, err := g.containerApp(ctx, "go-host", &armresources.Identity{
		Type:                   to.Ptr(armresources.ResourceIdentityTypeSystemAssignedUserAssigned),
		UserAssignedIdentities: map[string]*armresources.IdentityUserAssignedIdentitiesValue{*user.ID: {}},
	})
	must(t, err)
	var at struct {
		Endpoint string `json:"identity_endpoint"`
		Header   string `json:"identity_header"`
		IMDS     string `json:"imds"`
	}
	must(t, g.Management("POST", "/identities", map[string]string{"resource": *r.ID}, &at))
	return hosted{*r.ID, *r.Identity.PrincipalID, user.Identity, stranger.Identity, at.Endpoint, at.Header, at.IMDS}
}

// environment replaces all that azidentity reads of the environment, until the end of the test.
func environment(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		for _, prefix := range []string{"AZURE_", "IDENTITY_", "IMDS_", "MSI_"} {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "") // which puts it back at the end
				must(t, os.Unsetenv(name))
			}
		}
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

// managed makes the credential. http may be nil.
func (g *goSDK) managed(id azidentity.ManagedIDKind, transport policy.Transporter) (*azidentity.ManagedIdentityCredential, error) {
	o := g.once()
	if transport != nil {
		o.Transport = transport
	}
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: o, ID: id})
}

func (g *goSDK) appService(t *testing.T, app hosted) {
	ctx := t.Context()
	vars := map[string]string{}
	for _, v := range g.Env(t, "go", "--resource", app.id) {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "IDENTITY_") {
			vars[name] = value
		}
	}
	if vars["IDENTITY_ENDPOINT"] != app.endpoint || vars["IDENTITY_HEADER"] != app.header {
		t.Fatal("cloud env --for go --resource prints another endpoint than the management API")
	}
	environment(t, vars)
	p := app.user.Properties
	for _, row := range []struct {
		name string
		id   azidentity.ManagedIDKind
		oid  string
	}{
		{"assigned by the system", nil, app.system},
		{"assigned by the user, by its client id", azidentity.ClientID(*p.ClientID), *p.PrincipalID},
		{"assigned by the user, by its object id", azidentity.ObjectID(*p.PrincipalID), *p.PrincipalID},
		{"assigned by the user, by its resource id", azidentity.ResourceID(*app.user.ID), *p.PrincipalID},
	} {
		g.Operation(t, "azidentity.ManagedIdentityCredential of App Service, "+row.name, func() error {
			cred, err := g.managed(row.id, nil)
			if err != nil {
				return err
			}
			return signsIn(ctx, cred, g.armScope(), claims{"oid": row.oid, "tid": g.tenant()})
		})
	}
	g.Refused(t, "azidentity.ManagedIdentityCredential of App Service with an identity that is not assigned", "No User Assigned or Delegated Managed Identity found", func() error {
		cred, err := g.managed(azidentity.ClientID(*app.stranger.Properties.ClientID), nil)
		if err != nil {
			return err
		}
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.armScope()}})
		return err
	})
	g.Refused(t, "azidentity.ManagedIdentityCredential of App Service for a resource that does not exist", "AADSTS500011", func() error {
		cred, err := g.managed(nil, nil)
		if err != nil {
			return err
		}
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"api://nobody/.default"}})
		return err
	})
	g.Refused(t, "azidentity.ManagedIdentityCredential of App Service with a wrong identity header", "401", func() error {
		environment(t, map[string]string{"IDENTITY_ENDPOINT": app.endpoint, "IDENTITY_HEADER": "guess"})
		cred, err := g.managed(nil, nil)
		if err != nil {
			return err
		}
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vaultScope}}) // of ARM there is a token in memory
		return err
	})
}

// metadataHost is where the metadata service is on every machine in Azure.
const metadataHost = "169.254.169.254"

// local sends what is for the metadata service to where it is here; "" means that there is none. The SDK has no setting for it.
type local struct {
	imds string
	http *http.Client
}

// Do implements [policy.Transporter].
func (l local) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Host != metadataHost {
		return l.http.Do(r)
	}
	to, err := url.Parse(l.imds)
	if err != nil || l.imds == "" {
		return nil, errors.New("connect: no route to host")
	}
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = to.Host, to.Host
	return l.http.Do(r)
}

func (g *goSDK) metadata(t *testing.T, app hosted) {
	ctx := t.Context()
	environment(t, nil)
	// Microsoft Graph, because the SDK keeps tokens of one identity for one resource in memory wherever they came from.
	p, there := app.user.Properties, local{app.imds, g.http}
	for _, row := range []struct {
		name string
		id   azidentity.ManagedIDKind
		oid  string
	}{
		{"assigned by the system", nil, app.system},
		{"assigned by the user, by its client id", azidentity.ClientID(*p.ClientID), *p.PrincipalID},
		{"assigned by the user, by its object id", azidentity.ObjectID(*p.PrincipalID), *p.PrincipalID},
		{"assigned by the user, by its resource id", azidentity.ResourceID(*app.user.ID), *p.PrincipalID},
	} {
		g.Operation(t, "azidentity.ManagedIdentityCredential of IMDS, "+row.name, func() error {
			cred, err := g.managed(row.id, there)
			if err != nil {
				return err
			}
			return signsIn(ctx, cred, g.graphScope(), claims{"oid": row.oid, "tid": g.tenant()})
		})
	}
	g.Refused(t, "azidentity.ManagedIdentityCredential of IMDS without the header Metadata", "Required metadata header not specified", func() error {
		cred, err := g.managed(nil, bare{there})
		if err != nil {
			return err
		}
		// A resource that no other case asks for, as the SDK keeps tokens in memory.
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://cognitiveservices.azure.com/.default"}})
		return err
	})
	g.Refused(t, "azidentity.ManagedIdentityCredential of IMDS with an identity that is not assigned", "the requested identity isn't assigned to this resource", func() error {
		cred, err := g.managed(azidentity.ClientID(*app.stranger.Properties.ClientID), there)
		if err != nil {
			return err
		}
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.graphScope()}})
		return err
	})
}

// bare takes the header away that a request of another program, led here by a page or a proxy, does not have.
type bare struct{ local }

// Do implements [policy.Transporter].
func (b bare) Do(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Metadata")
	return b.local.Do(r)
}

// trusted is an application that a managed identity stands for, so that it needs no key (Microsoft, "Configure an application to trust a
// managed identity").
func (g *goSDK) trusted(t *testing.T, app hosted) {
	environment(t, map[string]string{"IDENTITY_ENDPOINT": app.endpoint, "IDENTITY_HEADER": app.header})
	a := g.app(t, "go-trusting", time.Hour)
	g.federate(t, a, g.env["AZURE_AUTHORITY_HOST"]+"/"+g.tenant()+"/v2.0", *app.user.Properties.PrincipalID, exchange)
	mi, err := g.managed(azidentity.ClientID(*app.user.Properties.ClientID), nil)
	must(t, err)
	by := func(cred azcore.TokenCredential) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{exchange + "/.default"}})
			return token.Token, err
		}
	}
	cred, err := g.withAssertion(a.id, by(mi))
	must(t, err)
	g.Operation(t, "azidentity.ClientAssertionCredential with the token of a managed identity", func() error {
		return signsIn(t.Context(), cred, g.armScope(), claims{"appid": a.id, "oid": a.principal})
	})
	system, err := g.managed(nil, nil)
	must(t, err)
	cred, err = g.withAssertion(a.id, by(system))
	must(t, err)
	g.refusedToken(t, "azidentity.ClientAssertionCredential with the token of another managed identity", "AADSTS700213", cred, g.armScope())

	g.federate(t, a, g.env["AZURE_AUTHORITY_HOST"]+"/"+g.tenant()+"/v2.0", a.principal, exchange)
	cred, err = g.withAssertion(a.id, by(a.cred))
	must(t, err)
	g.refusedToken(t, "azidentity.ClientAssertionCredential with the token of an application", "AADSTS700222", cred, g.armScope())
}

func (g *goSDK) takenAway(t *testing.T, app hosted) {
	environment(t, map[string]string{"IDENTITY_ENDPOINT": app.endpoint, "IDENTITY_HEADER": app.header})
	_, err := g.containerApp(t.Context(), "go-host", &armresources.Identity{Type: to.Ptr(armresources.ResourceIdentityTypeNone)})
	must(t, err)
	cred, err := g.managed(nil, nil)
	must(t, err)
	g.refusedToken(t, "azidentity.ManagedIdentityCredential of App Service after the identity is taken away", "Unable to load the proper Managed Identity", cred, vaultScope)
	environment(t, nil)
	cred, err = g.managed(nil, local{app.imds, g.http})
	must(t, err)
	g.refusedToken(t, "azidentity.ManagedIdentityCredential of IMDS after the identity is taken away", "Identity not found", cred, vaultScope)
}

// federate lets the tokens of an issuer for a subject stand for an application. It is not recorded.
func (g *goSDK) federate(t *testing.T, a *app, issuer, subject, audience string) {
	t.Helper()
	must(t, g.graph(g.operator).call(t.Context(), "POST", "/v1.0/applications/"+a.object+"/federatedIdentityCredentials", map[string]any{
		"name": fmt.Sprintf("fic-%d", time.Now().UnixNano()), "issuer": issuer, "subject": subject, "audiences": []string{audience},
	}, nil))
}

// TestGoSDKDefaultOrder proves the order of DefaultAzureCredential by which credential answers as its variables are taken away.
func TestGoSDKDefaultOrder(t *testing.T) {
	issuer := NewIssuer(t)
	g := startGo(t, "--issuer-ca", issuer.CAFile)
	app := g.hosted(t)
	a := g.app(t, "go-default", time.Hour)
	secret := g.addPassword(t, a, time.Now().Add(time.Hour))
	g.federate(t, a, issuer.URL, "system:serviceaccount:agents:go", exchange)
	token, err := issuer.Token("system:serviceaccount:agents:go", exchange)
	must(t, err)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(token), 0o600))
	admin := g.Operator("admin")
	path := g.fakeAz(t, admin.UPN)

	vars := map[string]string{
		"AZURE_TENANT_ID": g.tenant(), "AZURE_CLIENT_ID": a.id, "AZURE_CLIENT_SECRET": secret, "AZURE_FEDERATED_TOKEN_FILE": file,
		"IDENTITY_ENDPOINT": app.endpoint, "IDENTITY_HEADER": app.header, "PATH": path,
	}
	ask := func(want claims) error {
		environment(t, vars)
		cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions:            azcore.ClientOptions{Cloud: g.cloud(), Transport: local{"", g.http}, Retry: g.once().Retry},
			DisableInstanceDiscovery: true,
		})
		if err != nil {
			return err
		}
		return signsIn(t.Context(), cred, g.armScope(), want)
	}
	for _, row := range []struct {
		name string
		drop []string
		want claims
	}{
		{"all variables: the environment's secret", nil, claims{"appid": a.id, "appidacr": "1"}},
		{"without the secret: the workload identity", []string{"AZURE_CLIENT_SECRET"}, claims{"appid": a.id, "appidacr": "2"}},
		{"without the token file: the managed identity", []string{"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID"}, claims{"oid": app.system}},
		{"without the identity endpoint: az", []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER"}, claims{"upn": admin.UPN}},
	} {
		for _, name := range row.drop {
			delete(vars, name)
		}
		g.Operation(t, "azidentity.DefaultAzureCredential with "+row.name, func() error { return ask(row.want) })
	}
	vars["PATH"] = t.TempDir()
	g.Refused(t, "azidentity.DefaultAzureCredential without anything", "DefaultAzureCredential: failed to acquire a token", func() error { return ask(nil) })

	for _, row := range []struct {
		name string
		vars map[string]string
		want claims
	}{
		{"a certificate", map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": a.cert.Both}, claims{"appid": a.id, "appidacr": "2"}},
		{"a certificate and its chain", map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": a.cert.Both, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "true"}, claims{"appid": a.id, "appidacr": "2"}},
		{"a secret", map[string]string{"AZURE_CLIENT_SECRET": secret}, claims{"appid": a.id, "appidacr": "1"}},
	} {
		row.vars["AZURE_TENANT_ID"], row.vars["AZURE_CLIENT_ID"] = g.tenant(), a.id
		environment(t, row.vars)
		g.Operation(t, "azidentity.EnvironmentCredential with "+row.name, func() error {
			cred, err := azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: g.options(), DisableInstanceDiscovery: true})
			if err != nil {
				return err
			}
			return signsIn(t.Context(), cred, g.armScope(), row.want)
		})
	}
	g.Operation(t, "azidentity.EnvironmentCredential whose authority is AZURE_AUTHORITY_HOST", func() error {
		t.Setenv("AZURE_AUTHORITY_HOST", g.env["AZURE_AUTHORITY_HOST"])
		cred, err := azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: g.http}, DisableInstanceDiscovery: true})
		if err != nil {
			return err
		}
		return signsIn(t.Context(), cred, g.armScope(), claims{"appid": a.id})
	})
}

// fakeAz is a folder with an az that is signed in as a user: what it prints is what az prints.
func (g *goSDK) fakeAz(t *testing.T, upn string) string {
	t.Helper()
	o := &azidentity.DeviceCodeCredentialOptions{
		ClientOptions: g.options(), DisableInstanceDiscovery: true, TenantID: g.tenant(),
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			return g.Management("POST", "/devicecode/approve", map[string]string{"user_code": m.UserCode, "upn": upn}, nil)
		},
	}
	cred, err := azidentity.NewDeviceCodeCredential(o)
	must(t, err)
	token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{g.armScope()}})
	must(t, err)
	answer, err := json.Marshal(map[string]any{
		"accessToken": token.Token, "expiresOn": token.ExpiresOn.Local().Format("2006-01-02 15:04:05.000000"), "expires_on": token.ExpiresOn.Unix(),
		"subscription": g.env["AZURE_SUBSCRIPTION_ID"], "tenant": g.tenant(), "tokenType": "Bearer",
	})
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\nprintf '%s\\n' '"+string(answer)+"'\n"), 0o700))
	return dir
}
