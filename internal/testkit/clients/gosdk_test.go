package clients

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// vaultScope is what a token for any vault is asked with; the challenge of a vault says the same.
const vaultScope = "https://vault.azure.net/.default"

// goSDK is a program made with Microsoft's Go SDKs: it knows what `leastkey cloud env --for go` prints, and nothing else of the cloud.
// Its operator is sp-operator, who prepares what the cases need.
type goSDK struct {
	*Suite
	env      map[string]string
	http     *http.Client // trusts the file that SSL_CERT_FILE names, as on systems where that variable has no effect
	operator azcore.TokenCredential
}

// startGo serves a cloud and reads what is printed of it.
func startGo(t *testing.T, flags ...string) *goSDK {
	t.Helper()
	g := &goSDK{Suite: Start(t, "go", flags...), env: map[string]string{}}
	for _, v := range g.Env(t, "go") {
		name, value, _ := strings.Cut(v, "=")
		g.env[name] = value
	}
	for _, name := range []string{"SSL_CERT_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID", "LEASTKEY_ARM", "LEASTKEY_GRAPH", "LEASTKEY_VAULT_KV_POLYCLAW"} {
		if g.env[name] == "" {
			t.Fatalf("cloud env --for go does not print %s", name)
		}
	}
	ca, err := os.ReadFile(g.env["SSL_CERT_FILE"])
	must(t, err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("SSL_CERT_FILE names a file without a certificate")
	}
	// Without ForceAttemptHTTP2 a transport with a TLS configuration of its own speaks HTTP/1.1, over which armauthorization's filters
	// with spaces never arrive.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	g.http = &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	sp := g.Operator("sp-operator")
	g.operator, err = g.withCertificate(sp.AppID, sp.CertificateFile, nil)
	must(t, err)
	return g
}

// cloud is the configuration that the remark of `cloud env --for go` shows.
func (g *goSDK) cloud() cloud.Configuration {
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: g.env["AZURE_AUTHORITY_HOST"],
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: g.env["LEASTKEY_ARM"], Audience: g.env["LEASTKEY_ARM"]},
		},
	}
}

func (g *goSDK) tenant() string       { return g.env["AZURE_TENANT_ID"] }
func (g *goSDK) subscription() string { return "/subscriptions/" + g.env["AZURE_SUBSCRIPTION_ID"] }
func (g *goSDK) group() string {
	return g.subscription() + "/resourceGroups/" + localcloud.DefaultGroup
}
func (g *goSDK) armScope() string   { return g.env["LEASTKEY_ARM"] + "/.default" }
func (g *goSDK) graphScope() string { return g.env["LEASTKEY_GRAPH"] + "/.default" }

// options are those of every client and credential.
func (g *goSDK) options() azcore.ClientOptions {
	return azcore.ClientOptions{Cloud: g.cloud(), Transport: g.http}
}

// once are options that try a request once, for what must fail at once.
func (g *goSDK) once() azcore.ClientOptions {
	o := g.options()
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	return o
}

func (g *goSDK) arm() *arm.ClientOptions { return &arm.ClientOptions{ClientOptions: g.options()} }

func (g *goSDK) armOnce() *arm.ClientOptions { return &arm.ClientOptions{ClientOptions: g.once()} }

// withCertificate is azidentity's credential for a PEM file with key and certificate. Of the options, which may be nil, where the cloud is
// is filled in.
func (g *goSDK) withCertificate(appID, file string, o *azidentity.ClientCertificateCredentialOptions) (*azidentity.ClientCertificateCredential, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	certs, key, err := azidentity.ParseCertificates(pem, nil)
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = &azidentity.ClientCertificateCredentialOptions{}
	}
	o.Cloud, o.Transport, o.DisableInstanceDiscovery = g.cloud(), g.http, true
	return azidentity.NewClientCertificateCredential(g.tenant(), appID, certs, key, o)
}

func (g *goSDK) withSecret(appID, secret string) (*azidentity.ClientSecretCredential, error) {
	return azidentity.NewClientSecretCredential(g.tenant(), appID, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: g.options(), DisableInstanceDiscovery: true})
}

// withAssertion is the credential of an application that signs its assertions itself, or has them signed.
func (g *goSDK) withAssertion(appID string, sign func(context.Context) (string, error)) (*azidentity.ClientAssertionCredential, error) {
	return azidentity.NewClientAssertionCredential(g.tenant(), appID, sign, &azidentity.ClientAssertionCredentialOptions{ClientOptions: g.options(), DisableInstanceDiscovery: true})
}

// app is an application with its service principal and what it logs in with.
type app struct {
	name, object, id, principal string
	cert                        Certificate
	cred                        azcore.TokenCredential // by the certificate; nil without one
}

// app makes an application with a service principal, and with a certificate when lifetime is not 0. What it asks is not recorded.
func (g *goSDK) app(t *testing.T, name string, lifetime time.Duration) *app {
	t.Helper()
	a := &app{name: name}
	body := map[string]any{"displayName": name, "signInAudience": "AzureADMyOrg"}
	if lifetime != 0 {
		a.cert = g.Certificate(name, lifetime)
		body["keyCredentials"] = []any{keyCredential(a.cert)}
	}
	var made, sp struct{ ID, AppID string }
	must(t, g.graph(g.operator).call(t.Context(), "POST", "/v1.0/applications", body, &made))
	must(t, g.graph(g.operator).call(t.Context(), "POST", "/v1.0/servicePrincipals", map[string]string{"appId": made.AppID}, &sp))
	a.object, a.id, a.principal = made.ID, made.AppID, sp.ID
	if lifetime != 0 {
		var err error
		a.cred, err = g.withCertificate(a.id, a.cert.Both, nil)
		must(t, err)
	}
	return a
}

// keyCredential is a certificate as Graph takes it.
func keyCredential(c Certificate) map[string]any {
	return map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(c.DER)}
}

// graph calls Microsoft Graph as an owner of a credential would without its SDK: azcore's own pipeline with a bearer token.
type graph struct {
	base string
	pipe runtime.Pipeline
}

func (g *goSDK) graph(cred azcore.TokenCredential) graph { return g.graphWith(cred, g.graphScope()) }

// graphWith sends tokens of another scope.
func (g *goSDK) graphWith(cred azcore.TokenCredential, scope string) graph {
	o := g.once()
	token := runtime.NewBearerTokenPolicy(cred, []string{scope}, nil)
	return graph{g.env["LEASTKEY_GRAPH"], runtime.NewPipeline("leastkey-clients", "v1.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{token}}, &o)}
}

// call sends a request with a body and reads the answer into a value; both may be nil. headers are names and values in turn. Its error is
// azcore's own.
func (c graph) call(ctx context.Context, method, path string, body, into any, headers ...string) error {
	req, err := runtime.NewRequest(ctx, method, c.base+path)
	if err != nil {
		return err
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Raw().Header.Set(pair[0], pair[1])
	}
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return err
		}
	}
	resp, err := c.pipe.Do(req)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return runtime.NewResponseError(resp)
	case into == nil:
		return resp.Body.Close()
	}
	return runtime.UnmarshalAsJSON(resp, into)
}

// result runs an operation whose result the next ones need.
func result[T any](t *testing.T, g *goSDK, name string, f func() (T, error)) T {
	t.Helper()
	var v T
	g.Operation(t, name, func() (err error) {
		v, err = f()
		return err
	})
	return v
}

// pages reads a pager to its end.
func pages[T any](ctx context.Context, p *runtime.Pager[T]) ([]T, error) {
	var all []T
	for p.More() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page)
	}
	return all, nil
}

// is says what is wrong unless the condition holds.
func is(ok bool, format string, a ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, a...)
}

// claims are those of a token that a test expects.
type claims map[string]string

// signsIn gets a token and compares its claims.
func signsIn(ctx context.Context, cred azcore.TokenCredential, scope string, want claims) error {
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	if err != nil {
		return err
	}
	if left := time.Until(token.ExpiresOn); left < time.Minute {
		return fmt.Errorf("the token is valid for %v", left)
	}
	return says(token.Token, want)
}

// says compares the claims of a token with those that are wanted.
func says(token string, want claims) error {
	have, err := payload(token)
	if err != nil {
		return err
	}
	var wrong []error
	for name, value := range want {
		if got := fmt.Sprint(have[name]); got != value {
			wrong = append(wrong, fmt.Errorf("the token says %s %q, not %q", name, got, value))
		}
	}
	return errors.Join(wrong...)
}

// payload reads a token as its holder may: without a word about its signature.
func payload(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("the token has not three parts")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var all map[string]any
	return all, json.Unmarshal(raw, &all)
}

// refusedToken is a negative case at the token endpoint.
func (g *goSDK) refusedToken(t *testing.T, name, code string, cred azcore.TokenCredential, scope string) {
	t.Helper()
	g.Refused(t, name, code, func() error {
		_, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
		return err
	})
}

// asked counts what has been asked of the cloud so far.
func (g *goSDK) asked(t *testing.T) uint64 {
	t.Helper()
	n, err := g.last(t.Context())
	must(t, err)
	return n
}
