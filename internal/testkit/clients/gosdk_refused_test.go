package clients

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
)

// TestGoSDKRefusals are the mistakes that a person makes with a credential, each with the code that they search the documentation for.
func TestGoSDKRefusals(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("certificates", g.refusedCertificates)
	t.Run("assertions", g.refusedAssertions)
	t.Run("secrets", g.refusedSecrets)
	t.Run("applications", g.refusedApplications)
	t.Run("faults", g.faults)
}

func (g *goSDK) refusedCertificates(t *testing.T) {
	a := g.app(t, "go-refused", time.Hour)
	stranger := g.Certificate("go-stranger", time.Hour)
	cred, err := g.withCertificate(a.id, stranger.Both, nil)
	must(t, err)
	g.refusedToken(t, "azidentity.ClientCertificateCredential with a key that is not registered", "AADSTS700027", cred, g.armScope())

	short := g.app(t, "go-expired", 2*time.Second)
	<-time.After(time.Until(short.cert.NotAfter.Add(time.Second))) // Graph takes no certificate that has expired already
	g.refusedToken(t, "azidentity.ClientCertificateCredential with a certificate that has expired", "The key used is expired", short.cred, g.armScope())

	g.Refused(t, "azidentity.ClientCertificateCredential with the certificate of a deleted key credential", "AADSTS700027", func() error {
		if err := signsIn(t.Context(), a.cred, g.armScope(), claims{"appid": a.id}); err != nil {
			return err
		}
		if err := g.graph(g.operator).call(t.Context(), "PATCH", "/v1.0/applications/"+a.object, map[string]any{"keyCredentials": []any{}}, nil); err != nil {
			return err
		}
		cred, err := g.withCertificate(a.id, a.cert.Both, nil) // the first has a token still
		if err != nil {
			return err
		}
		_, err = cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{g.armScope()}})
		return err
	})
}

// refusedAssertions are assertions that a program made itself and made wrongly.
func (g *goSDK) refusedAssertions(t *testing.T) {
	a, b := g.app(t, "go-assertion", time.Hour), g.app(t, "go-assertion-other", time.Hour)
	now := time.Now()
	for _, row := range []struct {
		name, code string
		signer     Certificate
		change     func(header, claims map[string]any)
	}{
		{"for another audience", "AADSTS700023", a.cert, func(_, c map[string]any) { c["aud"] = "https://login.example/token" }},
		{"for another tenant's endpoint", "AADSTS700023", a.cert, func(_, c map[string]any) { c["aud"] = strings.Replace(g.tokenEndpoint(), g.tenant(), b.id, 1) }},
		{"that has expired", "AADSTS700024", a.cert, func(_, c map[string]any) {
			c["nbf"], c["exp"] = now.Add(-time.Hour).Unix(), now.Add(-30*time.Minute).Unix()
		}},
		{"that is not valid yet", "AADSTS700024", a.cert, func(_, c map[string]any) { c["nbf"], c["exp"] = now.Add(time.Hour).Unix(), now.Add(2*time.Hour).Unix() }},
		{"of another application", "AADSTS700021", a.cert, func(_, c map[string]any) { c["iss"], c["sub"] = b.id, b.id }},
		{"that names a registered certificate and is signed with another key", "AADSTS700027", Certificate{DER: a.cert.DER, Signer: b.cert.Signer}, nil},
		{"without a thumbprint", "AADSTS5002723", a.cert, func(h, _ map[string]any) { delete(h, "x5t#S256") }},
		{"with a symmetric algorithm", "AADSTS5002738", a.cert, func(h, _ map[string]any) { h["alg"] = "HS256" }},
		{"without an expiry", "AADSTS90014", a.cert, func(_, c map[string]any) { delete(c, "exp") }},
	} {
		cred, err := g.withAssertion(a.id, func(context.Context) (string, error) { return g.assertion(a, row.signer, "RS256", row.change) })
		must(t, err)
		g.refusedToken(t, "azidentity.ClientAssertionCredential with an assertion "+row.name, row.code, cred, g.armScope())
	}
	cred, err := g.withAssertion(a.id, func(context.Context) (string, error) { return "not.a.token", nil })
	must(t, err)
	g.refusedToken(t, "azidentity.ClientAssertionCredential with what is no assertion", "AADSTS50027", cred, g.armScope())

	same, err := g.assertion(a, a.cert, "PS256", nil)
	must(t, err)
	replays := func(context.Context) (string, error) { return same, nil }
	first, err := g.withAssertion(a.id, replays)
	must(t, err)
	second, err := g.withAssertion(a.id, replays)
	must(t, err)
	g.Operation(t, "azidentity.ClientAssertionCredential with an assertion for the first time", func() error {
		return signsIn(t.Context(), first, g.armScope(), claims{"appid": a.id})
	})
	g.refusedToken(t, "azidentity.ClientAssertionCredential with an assertion for the second time", "AADSTS50013", second, g.armScope())
}

func (g *goSDK) refusedSecrets(t *testing.T) {
	a := g.app(t, "go-secrets", 0)
	cred, err := g.withSecret(a.id, "not~the~secret")
	must(t, err)
	g.refusedToken(t, "azidentity.ClientSecretCredential with a wrong secret", "AADSTS7000215", cred, g.armScope())

	end := time.Now().Add(2 * time.Second)
	cred, err = g.withSecret(a.id, g.addPassword(t, a, end))
	must(t, err)
	<-time.After(time.Until(end.Add(time.Second)))
	g.refusedToken(t, "azidentity.ClientSecretCredential with a secret that has expired", "AADSTS7000222", cred, g.armScope())
}

func (g *goSDK) refusedApplications(t *testing.T) {
	ctx := t.Context()
	a := g.app(t, "go-application", time.Hour)
	cred, err := g.withCertificate("99999999-9999-4999-8999-999999999999", a.cert.Both, nil)
	must(t, err)
	g.refusedToken(t, "azidentity.ClientCertificateCredential of an unknown application", "AADSTS700016", cred, g.armScope())
	g.refusedToken(t, "azidentity.ClientCertificateCredential for a resource that does not exist", "AADSTS500011", a.cred, "api://nobody/.default")
	g.refusedToken(t, "azidentity.ClientCertificateCredential for a permission instead of .default", "AADSTS1002012", a.cred, g.graphScope()[:len(g.graphScope())-len(".default")]+"Application.Read.All")

	g.Refused(t, "azidentity.ClientCertificateCredential of a tenant that does not exist", "AADSTS90002", func() error {
		cred, err := azidentity.NewClientSecretCredential("99999999-9999-4999-8999-999999999999", a.id, "x", &azidentity.ClientSecretCredentialOptions{ClientOptions: g.once(), DisableInstanceDiscovery: true})
		if err != nil {
			return err
		}
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.armScope()}})
		return err
	})

	must(t, g.graph(g.operator).call(ctx, "PATCH", "/v1.0/servicePrincipals/"+a.principal, map[string]any{"accountEnabled": false}, nil))
	g.refusedToken(t, "azidentity.ClientCertificateCredential of a disabled service principal", "AADSTS7000112", a.cred, g.armScope())
	must(t, g.graph(g.operator).call(ctx, "DELETE", "/v1.0/servicePrincipals/"+a.principal, nil, nil))
	g.refusedToken(t, "azidentity.ClientCertificateCredential of an application without a service principal", "AADSTS7000229", a.cred, g.armScope())
}

// faults are a throttled and a broken service, first with the SDK's retries turned down and then as they are.
func (g *goSDK) faults(t *testing.T) {
	ctx := t.Context()
	subscription := g.env["AZURE_SUBSCRIPTION_ID"]
	list := func(o policy.ClientOptions) error {
		opts := g.arm()
		opts.ClientOptions = o
		c, err := armresources.NewResourceGroupsClient(subscription, g.operator, opts)
		if err != nil {
			return err
		}
		_, err = c.NewListPager(nil).NextPage(ctx)
		return err
	}
	must(t, list(g.options())) // now there is a token, and ARM alone is asked below
	g.Refused(t, "armresources.ResourceGroupsClient.NewListPager, throttled, without retries", "SubscriptionRequestsThrottled", func() error {
		return g.Throttled(func() error { return list(g.once()) })
	})
	g.Refused(t, "azidentity.ClientCertificateCredential, throttled, without retries", "AADSTS90055", func() error {
		sp := g.Operator("sp-operator")
		o := &azidentity.ClientCertificateCredentialOptions{ClientOptions: azcore.ClientOptions{Retry: g.once().Retry}}
		cred, err := g.withCertificate(sp.AppID, sp.CertificateFile, o)
		if err != nil {
			return err
		}
		return g.Throttled(func() error {
			_, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.armScope()}})
			return err
		})
	})
	g.Operation(t, "armresources.ResourceGroupsClient.NewListPager, throttled at first, with the retries that it has", func() error {
		freed := make(chan error, 1)
		o := g.options()
		o.Retry = policy.RetryOptions{RetryDelay: 200 * time.Millisecond}
		o.PerRetryPolicies = []policy.Policy{&secondTry{then: func() {
			freed <- g.Management("PATCH", "/knobs", map[string]any{"throttle_rate": 0}, nil)
		}}}
		if err := g.Management("PATCH", "/knobs", map[string]any{"throttle_rate": 1, "retry_after_share": 1, "retry_after": "1s"}, nil); err != nil {
			return err
		}
		if err := list(o); err != nil {
			return err
		}
		return <-freed
	})
	g.Refused(t, "armresources.ResourceGroupsClient.NewListPager over a connection that is cut, without retries", "stream error", func() error {
		if err := g.Management("PATCH", "/knobs", map[string]any{"drop_before_rate": 1}, nil); err != nil {
			return err
		}
		said := list(g.once())
		if err := g.Management("PATCH", "/knobs", map[string]any{"drop_before_rate": 0}, nil); err != nil {
			return err
		}
		return said
	})
}

// secondTry does something before the second try of a request.
type secondTry struct {
	tries int
	then  func()
}

// Do implements [policy.Policy].
func (s *secondTry) Do(r *policy.Request) (resp *http.Response, err error) {
	if s.tries++; s.tries == 2 {
		s.then()
	}
	return r.Next()
}
