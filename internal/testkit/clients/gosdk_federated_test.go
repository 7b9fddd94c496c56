package clients

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
)

// workload is the subject of a service account of Kubernetes.
const workload = "system:serviceaccount:agents:polyclaw"

// TestGoSDKWorkloadIdentity is code in a cluster of its own: its token is of the cluster's issuer, whose keys the cloud fetches.
func TestGoSDKWorkloadIdentity(t *testing.T) {
	t.Parallel()
	issuer := NewIssuer(t)
	g := startGo(t, "--issuer-ca", issuer.CAFile)
	a := g.app(t, "go-workload", time.Hour)
	g.federate(t, a, issuer.URL, workload, exchange)
	file := filepath.Join(t.TempDir(), "token")
	keep := func(token string, err error) {
		t.Helper()
		must(t, err)
		must(t, os.WriteFile(file, []byte(token), 0o600))
	}
	credential := func(clientID string) *azidentity.WorkloadIdentityCredential {
		t.Helper()
		cred, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: g.options(), DisableInstanceDiscovery: true, ClientID: clientID, TenantID: g.tenant(), TokenFilePath: file,
		})
		must(t, err)
		return cred
	}
	keep(issuer.Token(workload, exchange))
	g.Operation(t, "azidentity.WorkloadIdentityCredential.GetToken", func() error {
		return signsIn(t.Context(), credential(a.id), g.armScope(), claims{"appid": a.id, "oid": a.principal, "appidacr": "2"})
	})
	g.Operation(t, "azidentity.WorkloadIdentityCredential.GetToken again with the same token of the cluster", func() error {
		if err := signsIn(t.Context(), credential(a.id), g.graphScope(), claims{"appid": a.id}); err != nil {
			return err
		}
		return is(issuer.KeyFetches() == 1, "the issuer's keys were fetched %d times", issuer.KeyFetches())
	})
	g.Operation(t, "azidentity.WorkloadIdentityCredential.GetToken as a user-assigned managed identity", func() error {
		mi := g.federatedIdentity(t, issuer.URL)
		return signsIn(t.Context(), credential(*mi.Properties.ClientID), g.armScope(), claims{"oid": *mi.Properties.PrincipalID})
	})

	stranger := NewIssuer(t) // whose authority the cloud is not told
	g.federate(t, a, stranger.URL, workload, exchange)
	other, plain := g.app(t, "go-workload-other", time.Hour), g.app(t, "go-workload-none", time.Hour)
	g.federate(t, other, issuer.URL, "system:serviceaccount:agents:other", exchange)
	now := time.Now()
	old := map[string]any{"iss": issuer.URL, "sub": workload, "aud": exchange, "jti": "old", "nbf": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()}
	for _, row := range []struct {
		name, code string
		app        *app
		token      func() (string, error)
	}{
		{"for another subject", "AADSTS700213", a, func() (string, error) { return issuer.Token("system:serviceaccount:agents:intruder", exchange) }},
		{"for another application", "AADSTS700213", other, func() (string, error) { return issuer.Token(workload, exchange) }},
		{"for another audience", "AADSTS700212", a, func() (string, error) { return issuer.Token(workload, "https://kubernetes.default.svc") }},
		{"of an issuer that is not trusted", "AADSTS700211", other, func() (string, error) { return stranger.Token(workload, exchange) }},
		{"of an issuer that cannot be reached", "Request to External OIDC endpoint failed", a, func() (string, error) { return stranger.Token(workload, exchange) }},
		{"for an application without federated credentials", "AADSTS70025", plain, func() (string, error) { return issuer.Token(workload, exchange) }},
		{"that another key has signed", "AADSTS50013", a, func() (string, error) { return issuer.Forged(workload, exchange) }},
		{"that names a key which the issuer does not have", "AADSTS7000272", a, func() (string, error) { return issuer.token(issuer.key, "key-9", workload, exchange) }},
		{"that has expired", "AADSTS700024", a, func() (string, error) {
			return signJWT(issuer.key, map[string]any{"alg": "RS256", "typ": "JWT", "kid": issuer.kid}, old)
		}},
	} {
		keep(row.token())
		g.refusedToken(t, "azidentity.WorkloadIdentityCredential with a token "+row.name, row.code, credential(row.app.id), g.armScope())
	}
	cred, err := g.withAssertion(a.id, func(context.Context) (string, error) { return issuer.Token(workload, exchange) })
	must(t, err)
	g.Operation(t, "azidentity.ClientAssertionCredential with a token of the cluster", func() error {
		return signsIn(t.Context(), cred, g.armScope(), claims{"appid": a.id})
	})
}

// federatedIdentity is a managed identity that the workload may be.
func (g *goSDK) federatedIdentity(t *testing.T, issuer string) armmsi.Identity {
	t.Helper()
	ctx, subscription := t.Context(), g.env["AZURE_SUBSCRIPTION_ID"]
	c, err := armmsi.NewUserAssignedIdentitiesClient(subscription, g.operator, g.arm())
	must(t, err)
	mi, err := c.CreateOrUpdate(ctx, "polyclaw-rg", "mi-workload", armmsi.Identity{Location: to.Ptr("eastus")}, nil)
	must(t, err)
	fed, err := armmsi.NewFederatedIdentityCredentialsClient(subscription, g.operator, g.arm())
	must(t, err)
	_, err = fed.CreateOrUpdate(ctx, "polyclaw-rg", "mi-workload", "cluster", armmsi.FederatedIdentityCredential{
		Properties: &armmsi.FederatedIdentityCredentialProperties{Issuer: &issuer, Subject: to.Ptr(workload), Audiences: []*string{to.Ptr(exchange)}},
	}, nil)
	must(t, err)
	return mi.Identity
}
