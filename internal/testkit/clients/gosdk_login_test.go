package clients

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// TestGoSDKLogins logs in with each credential of azidentity that needs neither a managed identity nor another issuer.
func TestGoSDKLogins(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("certificate", g.certificateLogins)
	t.Run("secret and assertion", g.otherLogins)
	t.Run("user", g.deviceCode)
	t.Run("cache, tenants, claims", g.tokenRequests)
}

func (g *goSDK) certificateLogins(t *testing.T) {
	a := g.app(t, "go-certificate", time.Hour)
	// The assertion is MSAL's own: PS256, with the SHA-256 thumbprint in padded standard base64.
	for _, plane := range []struct{ name, scope string }{{"Azure Resource Manager", g.armScope()}, {"Microsoft Graph", g.graphScope()}, {"Key Vault", vaultScope}} {
		g.Operation(t, "azidentity.ClientCertificateCredential.GetToken for "+plane.name, func() error {
			return signsIn(t.Context(), a.cred, plane.scope, claims{"appid": a.id, "oid": a.principal, "tid": g.tenant(), "appidacr": "2"})
		})
	}
	g.Operation(t, "azidentity.ClientCertificateCredential with SendCertificateChain", func() error {
		cred, err := g.withCertificate(a.id, a.cert.Both, &azidentity.ClientCertificateCredentialOptions{SendCertificateChain: true})
		if err != nil {
			return err
		}
		return signsIn(t.Context(), cred, g.armScope(), claims{"appid": a.id, "appidacr": "2"})
	})
	g.Operation(t, "azidentity.ClientCertificateCredential of two certificates at once", func() error {
		second := g.Certificate("go-certificate-2", time.Hour)
		both := map[string]any{"keyCredentials": []any{keyCredential(a.cert), keyCredential(second)}}
		if err := g.graph(g.operator).call(t.Context(), "PATCH", "/v1.0/applications/"+a.object, both, nil); err != nil {
			return err
		}
		for _, c := range []Certificate{a.cert, second} {
			cred, err := g.withCertificate(a.id, c.Both, nil)
			if err != nil {
				return err
			}
			if err := signsIn(t.Context(), cred, g.armScope(), claims{"appid": a.id}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *goSDK) otherLogins(t *testing.T) {
	a := g.app(t, "go-secret", time.Hour)
	secret := g.addPassword(t, a, time.Now().Add(time.Hour))
	g.Operation(t, "azidentity.ClientSecretCredential.GetToken", func() error {
		cred, err := g.withSecret(a.id, secret)
		if err != nil {
			return err
		}
		return signsIn(t.Context(), cred, g.graphScope(), claims{"appid": a.id, "oid": a.principal, "appidacr": "1"})
	})
	for _, alg := range []string{"RS256", "PS256"} {
		g.Operation(t, "azidentity.ClientAssertionCredential.GetToken, signed by the caller with "+alg, func() error {
			cred, err := g.withAssertion(a.id, func(context.Context) (string, error) { return g.assertion(a, a.cert, alg, nil) })
			if err != nil {
				return err
			}
			return signsIn(t.Context(), cred, g.armScope(), claims{"appid": a.id, "appidacr": "2"})
		})
	}
}

func (g *goSDK) deviceCode(t *testing.T) {
	admin := g.Operator("admin")
	options := &azidentity.DeviceCodeCredentialOptions{
		ClientOptions: g.options(), DisableInstanceDiscovery: true, TenantID: g.tenant(),
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			if !strings.Contains(m.Message, m.UserCode) || !strings.HasPrefix(m.VerificationURL, g.env["AZURE_AUTHORITY_HOST"]) {
				return fmt.Errorf("the prompt is %+v", m)
			}
			return g.Management("POST", "/devicecode/approve", map[string]string{"user_code": m.UserCode, "upn": admin.UPN}, nil)
		},
	}
	cred, err := azidentity.NewDeviceCodeCredential(options)
	must(t, err)
	g.Operation(t, "azidentity.DeviceCodeCredential.GetToken, approved by the user", func() error {
		return signsIn(t.Context(), cred, g.armScope(), claims{"oid": admin.ObjectID, "upn": admin.UPN, "appidacr": "0"})
	})
	g.Operation(t, "azidentity.DeviceCodeCredential.GetToken for another service, with the refresh token", func() error {
		return signsIn(t.Context(), cred, g.graphScope(), claims{"oid": admin.ObjectID})
	})
}

// tokenRequests are the options of a token request.
func (g *goSDK) tokenRequests(t *testing.T) {
	ctx := t.Context()
	a := g.app(t, "go-requests", time.Hour)
	g.Operation(t, "azidentity: a second GetToken is answered from memory", func() error {
		if err := signsIn(ctx, a.cred, g.armScope(), claims{"appid": a.id}); err != nil {
			return err
		}
		before := g.asked(t)
		if err := signsIn(ctx, a.cred, g.armScope(), claims{"appid": a.id}); err != nil {
			return err
		}
		return is(g.asked(t) == before, "the second one has asked the cloud")
	})
	g.Operation(t, "azidentity: EnableCAE tells the client's capability", func() error {
		token, err := a.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.armScope()}, EnableCAE: true})
		if err != nil {
			return err
		}
		return says(token.Token, claims{"xms_cc": "[CP1]"})
	})
	g.Operation(t, "azidentity: a claims challenge is answered past the cache", func() error {
		before := g.asked(t)
		o := policy.TokenRequestOptions{Scopes: []string{g.armScope()}, Claims: `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`, EnableCAE: true}
		token, err := a.cred.GetToken(ctx, o)
		if err != nil {
			return err
		}
		if err := is(g.asked(t) > before, "the challenge was answered from the cache"); err != nil {
			return err
		}
		return says(token.Token, claims{"appid": a.id})
	})
	secret := g.addPassword(t, a, time.Now().Add(time.Hour))
	g.Operation(t, "azidentity: the tenant by its domain", func() error {
		o := &azidentity.ClientSecretCredentialOptions{ClientOptions: g.options(), DisableInstanceDiscovery: true}
		cred, err := azidentity.NewClientSecretCredential(localcloud.DefaultDomain, a.id, secret, o)
		if err != nil {
			return err
		}
		return signsIn(ctx, cred, g.armScope(), claims{"tid": g.tenant()})
	})
	other := "99999999-9999-4999-8999-999999999999"
	g.Refused(t, "azidentity: a tenant that the credential does not allow", "isn't configured to acquire tokens for tenant", func() error {
		_, err := a.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.armScope()}, TenantID: other})
		return err
	})
	g.Refused(t, "azidentity: an allowed tenant that does not exist", "AADSTS90002", func() error {
		cred, err := g.withCertificate(a.id, a.cert.Both, &azidentity.ClientCertificateCredentialOptions{AdditionallyAllowedTenants: []string{"*"}})
		if err != nil {
			return err
		}
		_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{g.armScope()}, TenantID: other})
		return err
	})
}

// addPassword gives an application a secret that ends at a time.
func (g *goSDK) addPassword(t *testing.T, a *app, end time.Time) string {
	t.Helper()
	var made struct{ SecretText string }
	body := map[string]any{"passwordCredential": map[string]any{"endDateTime": end.UTC().Format(time.RFC3339Nano)}}
	must(t, g.graph(g.operator).call(t.Context(), "POST", "/v1.0/applications/"+a.object+"/addPassword", body, &made))
	return made.SecretText
}

// assertion is a client assertion (RFC 7523) that the caller signs, as Microsoft's page "Certificate credentials" has it. change may be
// nil.
func (g *goSDK) assertion(a *app, c Certificate, alg string, change func(header, claims map[string]any)) (string, error) {
	sum := sha256.Sum256(c.DER)
	now := time.Now()
	header := map[string]any{"alg": alg, "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	claims := map[string]any{
		"iss": a.id, "sub": a.id, "aud": g.tokenEndpoint(), "jti": fmt.Sprintf("%s-%d", a.name, now.UnixNano()), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	if change != nil {
		change(header, claims)
	}
	return signJWT(c.Signer, header, claims)
}

func (g *goSDK) tokenEndpoint() string {
	return g.env["AZURE_AUTHORITY_HOST"] + "/" + g.tenant() + "/oauth2/v2.0/token"
}

// signJWT signs with RSA: PS256 if the header says so, else RS256.
func signJWT(key crypto.Signer, header, claims map[string]any) (string, error) {
	var parts [2]string
	for i, part := range []map[string]any{header, claims} {
		raw, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(raw)
	}
	text := parts[0] + "." + parts[1]
	sum := sha256.Sum256([]byte(text))
	var options crypto.SignerOpts = crypto.SHA256
	if header["alg"] == "PS256" {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	signature, err := key.Sign(rand.Reader, sum[:], options)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// TestGoSDKProgram runs an ordinary program in the environment that is printed, EnvironmentCredential's variables besides.
func TestGoSDKProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("SSL_CERT_FILE has an effect on Linux alone")
		return
	}
	g := startGo(t)
	program := filepath.Join(t.TempDir(), "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/gosdk")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sp := g.Operator("sp-operator")
	g.Operation(t, "a program of its own, with SSL_CERT_FILE and the variables of EnvironmentCredential", func() error {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(g.Env(t, "go"), "AZURE_CLIENT_ID="+sp.AppID, "AZURE_CLIENT_CERTIFICATE_PATH="+sp.CertificateFile)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return err
		}
		groups := slices.Sorted(slices.Values(strings.Fields(string(out))))
		return is(slices.Equal(groups, []string{localcloud.LegacyGroup, localcloud.DefaultGroup}), "it lists %v", groups)
	})
}
