package entra

import (
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Each row is one reason for which Entra refuses; text is a part of the sentence that a person meets.
func TestRefusals(t *testing.T) {
	withSecret := func(pairs ...string) func(*world) url.Values {
		return func(*world) url.Values {
			f := form("grant_type", "client_credentials", "client_id", appA, "client_secret", secret, "scope", armScope)
			for i := 0; i < len(pairs); i += 2 {
				f.Set(pairs[i], pairs[i+1])
			}
			return f
		}
	}
	withJWT := func(spoil func(*world, *jwt)) func(*world) url.Values {
		return func(w *world) url.Values {
			j := w.jwt()
			spoil(w, j)
			return w.assertionForm(j.sign(), armScope)
		}
	}
	changed := func(change func(*world, *directory.Application, *directory.ServicePrincipal), ask func(*world) url.Values) func(*world) url.Values {
		return func(w *world) url.Values {
			w.write(func(tx replica.Tx) {
				a, _ := w.dir.Applications.Get(tx.View, "obj-"+appA)
				sp, _ := w.dir.ServicePrincipals.Get(tx.View, spA)
				change(w, &a, &sp)
				w.dir.Applications.Put(tx, a.ID, a)
				w.dir.ServicePrincipals.Put(tx, sp.ID, sp)
			})
			return ask(w)
		}
	}
	user := func(pairs ...string) func(*world) url.Values {
		return func(*world) url.Values {
			f := form("grant_type", "password", "client_id", directory.AzureCLIAppID, "username", alice, "password", password, "scope", armScope+" openid profile offline_access")
			for i := 0; i < len(pairs); i += 2 {
				f.Set(pairs[i], pairs[i+1])
			}
			return f
		}
	}
	gone := time.Now()
	for _, row := range []struct {
		name   string
		path   string // "" is the v2.0 token endpoint
		ask    func(*world) url.Values
		code   int
		status int
		kind   string
		text   string
	}{
		{"an unknown tenant id is told", "/99999999-2222-3333-4444-555555555555/oauth2/v2.0/token", withSecret(), 90002, 400, "invalid_request", "Tenant '99999999"},
		{"an unknown domain is told", "/fabrikam.com/oauth2/v2.0/token", withSecret(), 90002, 400, "invalid_request", "Tenant 'fabrikam.com' not found"},
		{"a name that cannot be a tenant is told", "/nonsense/oauth2/v2.0/token", withSecret(), 900023, 400, "invalid_request", "neither a valid DNS name"},
		{"an application cannot leave the tenant open", "/common/oauth2/v2.0/token", withSecret(), 50059, 400, "invalid_request", "No tenant-identifying information"},
		{"a request without a grant type names the parameter", "", withSecret("grant_type", ""), 900144, 400, "invalid_request", "'grant_type'"},
		{"a grant that does not exist is unsupported", "", withSecret("grant_type", "magic"), 70003, 400, "unsupported_grant_type", "'magic'"},
		{"token exchange is not for agents", "", withSecret("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"), 82001, 400, "unsupported_grant_type", "token exchange"},
		{"a request without client id names the parameter", "", withSecret("client_id", ""), 900144, 400, "invalid_request", "'client_id'"},
		{"a request without scope names the parameter", "", withSecret("scope", ""), 900144, 400, "invalid_request", "'scope'"},
		{"v2.0 knows no resource parameter", "", withSecret("resource", "https://vault.azure.net"), 901002, 400, "invalid_request", "'resource'"},
		{"v1.0 needs the resource parameter", "/" + tenantID + "/oauth2/token", withSecret(), 900144, 400, "invalid_request", "'resource'"},
		{"an application must ask for .default", "", withSecret("scope", "https://graph.microsoft.com/User.Read"), 1002012, 400, "invalid_scope", "/.default suffixed"},
		{"an application must name a resource", "", withSecret("scope", "openid profile"), 1002012, 400, "invalid_scope", "openid profile"},
		{"a scope that is no scope is told", "", withSecret("scope", "https://host"), 70011, 400, "invalid_scope", "The scope https://host is not valid"},
		{"two resources in one request are too many", "", withSecret("scope", armScope+" https://vault.azure.net/.default"), 28000, 400, "invalid_scope", "more than one resource"},
		{"a resource that the tenant lacks is told", "", withSecret("scope", "https://nowhere.example/.default"), 500011, 400, "invalid_resource", "named https://nowhere.example"},
		{"claims must be JSON", "", withSecret("claims", "{"), 90023, 400, "invalid_request", "claims"},

		{"an all-zero client id is no application", "", withSecret("client_id", zeroGUID), 700038, 400, "unauthorized_client", "not a valid application identifier"},
		{"an application of elsewhere is not found", "", withSecret("client_id", uuid.NewString()), 700016, 400, "unauthorized_client", "was not found in the directory 'Contoso'"},
		{"a deleted application is not found", "", changed(func(_ *world, a *directory.Application, sp *directory.ServicePrincipal) {
			a.DeletedDateTime, sp.DeletedDateTime = &gone, &gone
		}, withSecret()), 700016, 400, "unauthorized_client", "was not found"},
		{"an application without service principal cannot sign in", "", changed(func(_ *world, _ *directory.Application, sp *directory.ServicePrincipal) {
			sp.DeletedDateTime = &gone
		}, withSecret()), 7000229, 401, "invalid_client", "missing service principal in the tenant " + tenantID},
		{"a disabled service principal cannot sign in", "", changed(func(_ *world, _ *directory.Application, sp *directory.ServicePrincipal) {
			sp.AccountEnabled = false
		}, withSecret()), 7000112, 400, "unauthorized_client", "is disabled"},
		{"a disabled application cannot sign in", "", changed(func(_ *world, a *directory.Application, _ *directory.ServicePrincipal) {
			a.IsDisabled = true
		}, withSecret()), 7000112, 400, "unauthorized_client", "(agent) is disabled"},

		{"a wrong secret is refused", "", withSecret("client_secret", "guess"), 7000215, 401, "invalid_client", "not the client secret ID"},
		{"an expired secret is told apart", "", changed(func(w *world, a *directory.Application, _ *directory.ServicePrincipal) {
			a.PasswordCredentials = []directory.PasswordCredential{{Secret: secret, EndDateTime: w.now().Add(-time.Second)}}
		}, withSecret()), 7000222, 401, "invalid_client", "are expired"},
		{"no credential at all is refused", "", withSecret("client_secret", ""), 7000216, 401, "invalid_client", "is required for the 'client_credentials'"},
		{"a confidential client must prove itself for a user too", "", user("client_id", appA), 7000218, 401, "invalid_client", "'client_assertion' or 'client_secret'"},
		{"a public client must not show a secret", "", user("client_secret", "x"), 700025, 401, "invalid_client", "Client is public"},
		{"an assertion needs its type", "", func(w *world) url.Values {
			f := w.assertionForm(w.jwt().sign(), armScope)
			f.Del("client_assertion_type")
			return f
		}, 900144, 400, "invalid_request", "'client_assertion_type'"},

		{"an assertion that is no JWT is malformed", "", func(w *world) url.Values { return w.assertionForm("a.b", armScope) }, 50027, 401, "invalid_client", "malformed"},
		{"a symmetric algorithm is refused and the good ones are listed", "", withJWT(func(_ *world, j *jwt) { j.header["alg"] = "HS256" }), 5002738, 401, "invalid_client", "'HS256' is not a supported signature algorithm. Supported signing algorithms are: 'RS256,RS384,RS512,PS256'"},
		{"an unsigned assertion is refused", "", withJWT(func(_ *world, j *jwt) { j.header["alg"] = "none" }), 5002738, 401, "invalid_client", "'none'"},
		{"an extension that must be understood is not", "", withJWT(func(_ *world, j *jwt) { j.header["crit"], j.header["b64"] = []string{"b64"}, false }), 50027, 401, "invalid_client", "malformed"},
		{"an empty list of extensions is no better", "", withJWT(func(_ *world, j *jwt) { j.header["crit"] = []string{} }), 50027, 401, "invalid_client", "malformed"},
		{"a key credential of another type is no certificate", "", changed(func(w *world, a *directory.Application, _ *directory.ServicePrincipal) {
			k := w.key(w.cert)
			k.Type = "Symmetric"
			a.KeyCredentials = []directory.KeyCredential{k}
		}, withJWT(func(*world, *jwt) {})), 700027, 401, "invalid_client", "The key was not found."},
		{"AD FS's audience is not the v2.0 endpoint's", "", withJWT(func(w *world, j *jwt) { j.claims["aud"] = w.ends.Login + "/adfs/oauth2/token" }), 700023, 401, "invalid_client", "audience claim does not match"},
		{"an assertion without key id is refused", "", withJWT(func(_ *world, j *jwt) { delete(j.header, "x5t#S256") }), 5002723, 401, "invalid_client", "nor keyId"},
		{"a missing issuer is named", "", withJWT(func(_ *world, j *jwt) { delete(j.claims, "iss") }), 90014, 400, "invalid_request", "'iss'"},
		{"a missing subject is named", "", withJWT(func(_ *world, j *jwt) { delete(j.claims, "sub") }), 90014, 400, "invalid_request", "'sub'"},
		{"a missing audience is named", "", withJWT(func(_ *world, j *jwt) { delete(j.claims, "aud") }), 90014, 400, "invalid_request", "'aud'"},
		{"a missing expiry is named", "", withJWT(func(_ *world, j *jwt) { delete(j.claims, "exp") }), 90014, 400, "invalid_request", "'exp'"},
		{"a certificate that is not registered is not found", "", withJWT(func(w *world, j *jwt) {
			j.header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumb(certify(w.t, clientKey(), w.now(), w.now().Add(time.Hour)), true))
		}), 700027, 401, "invalid_client", "Reason - The key was not found."},
		{"an expired certificate is told", "", func(w *world) url.Values {
			f := w.assertionForm(w.jwt().sign(), armScope)
			w.offset = 25 * time.Hour
			return f
		}, 700027, 401, "invalid_client", "Reason - The key used is expired."},
		{"a key credential that ends before its certificate is expired", "", changed(func(w *world, a *directory.Application, _ *directory.ServicePrincipal) {
			k := w.key(w.cert)
			k.EndDateTime = w.now().Add(-time.Minute)
			a.KeyCredentials = []directory.KeyCredential{k}
		}, withJWT(func(*world, *jwt) {})), 700027, 401, "invalid_client", "The key used is expired."},
		{"a signature of another key is refused", "", withJWT(func(_ *world, j *jwt) { j.key = otherKey() }), 700027, 401, "invalid_client", "did not match the expected signature value"},
		{"PKCS #1 is not taken for PSS", "", withJWT(func(_ *world, j *jwt) { j.header["alg"] = "PS256" }), 700027, 401, "invalid_client", "did not match"},
		{"an assertion for another audience is refused", "", withJWT(func(_ *world, j *jwt) { j.claims["aud"] = "https://login.microsoftonline.com/x/oauth2/v2.0/token" }), 700023, 401, "invalid_client", "audience claim does not match"},
		{"an assertion of another client is refused", "", withJWT(func(_ *world, j *jwt) { j.claims["iss"] = uuid.NewString() }), 700021, 401, "invalid_client", "doesn't match 'client_id'"},
		{"an assertion about another client is refused", "", withJWT(func(_ *world, j *jwt) { j.claims["sub"] = uuid.NewString() }), 700021, 401, "invalid_client", "doesn't match 'client_id'"},
		{"an expired assertion is refused beyond five minutes", "", withJWT(func(w *world, j *jwt) { j.claims["exp"] = w.now().Unix() - 301 }), 700024, 401, "invalid_client", "not within its valid time range"},
		{"an assertion of the future is refused beyond five minutes", "", withJWT(func(w *world, j *jwt) { j.claims["nbf"] = w.now().Unix() + 310 }), 700024, 401, "invalid_client", "not within its valid time range"},
		{"an assertion cannot be used twice for one resource", "", func(w *world) url.Values {
			f := w.assertionForm(w.jwt().sign(), armScope)
			want(w.t, "first use", w.post(tokenPath, f).status, 200)
			return f
		}, 50013, 401, "invalid_client", "presented before"},
		{"the same jti in another assertion is refused too", "", func(w *world) url.Values {
			j := w.jwt()
			want(w.t, "first use", w.post(tokenPath, w.assertionForm(j.sign(), armScope)).status, 200)
			j.claims["exp"] = w.now().Unix() + 500
			return w.assertionForm(j.sign(), "https://MANAGEMENT.azure.com//.default")
		}, 50013, 401, "invalid_client", "presented before"},

		{"a client without federated credentials is told", "", withJWT(func(_ *world, j *jwt) { j.claims["iss"] = "https://issuer.example" }), 70025, 401, "invalid_client", "no configured federated identity credentials"},

		{"an unknown user is refused", "", user("username", "nobody@contoso.onmicrosoft.com"), 50034, 400, "invalid_grant", "does not exist"},
		{"a disabled user is refused", "", user("username", "off@contoso.onmicrosoft.com"), 50057, 400, "invalid_grant", "disabled"},
		{"a wrong password is refused", "", user("password", "wrong"), 50126, 400, "invalid_grant", "invalid username or password"},
		{"a permission that Azure CLI does not have is refused", "", user("scope", "https://graph.microsoft.com/Mail.Read"), 65002, 401, "invalid_client", "preauthorization"},
		{"a permission that nobody consented to is refused", "", user("client_id", appA, "client_secret", secret), 65001, 400, "invalid_grant", "has not consented"},
		{"Azure CLI has nothing on an API of the tenant", "", changed(func(w *world, a *directory.Application, _ *directory.ServicePrincipal) {
			a.IdentifierURIs = []string{"api://mine"}
			a.PermissionScopes = []directory.PermissionScope{{ID: "s", Value: userImpersonates, IsEnabled: true}}
		}, user("scope", "api://mine/.default")), 65001, 400, "invalid_grant", "'" + directory.AzureCLIAppID + "' named 'Microsoft Azure CLI'"},
		{"Azure CLI has nothing on a service of Microsoft's that defines nothing", "", user("scope", exchangeAudience+"/.default"), 65002, 401, "invalid_client", "preauthorization"},
		{"a refresh token that never was is refused", "", func(*world) url.Values {
			return form("grant_type", "refresh_token", "client_id", directory.AzureCLIAppID, "refresh_token", "x", "scope", armScope)
		}, 9002313, 400, "invalid_grant", "malformed"},
		{"a device code that never was is refused", "", func(*world) url.Values {
			return form("grant_type", deviceGrant, "client_id", directory.AzureCLIAppID, "device_code", "x")
		}, 70018, 400, "bad_verification_code", "Invalid verification code"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			path := row.path
			if path == "" {
				path = tokenPath
			}
			got := w.post(path, row.ask(w))
			if got.code() != row.code || got.status != row.status || got.text("error") != row.kind {
				t.Fatalf("got %d %s, want %d %s AADSTS%d", got.status, got.raw, row.status, row.kind, row.code)
			}
			if !strings.Contains(got.text("error_description"), row.text) {
				t.Errorf("description %q lacks %q", got.text("error_description"), row.text)
			}
		})
	}
}

func TestErrorBodyAndHeaders(t *testing.T) {
	w := newWorld(t)
	f := form("grant_type", "client_credentials", "client_id", appA, "client_secret", "wrong", "scope", armScope)
	r := httptest.NewRequest("POST", "https://login.test"+tokenPath, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	correlation := uuid.NewString()
	r.Header.Set("client-request-id", correlation)
	r.Header.Set("return-client-request-id", "true")
	got := w.send(r)
	want(t, "correlation_id", got.text("correlation_id"), correlation)
	want(t, "client-request-id", got.header.Get("client-request-id"), correlation)
	want(t, "x-ms-request-id", got.header.Get("x-ms-request-id"), got.text("trace_id"))
	want(t, "Content-Type", got.header.Get("Content-Type"), "application/json; charset=utf-8")
	want(t, "Cache-Control", got.header.Get("Cache-Control"), "no-store, no-cache")
	want(t, "error_uri", got.text("error_uri"), "https://login.microsoftonline.com/error?code=7000215")
	tail := " Trace ID: " + got.text("trace_id") + " Correlation ID: " + correlation + " Timestamp: " + got.text("timestamp")
	if !strings.HasPrefix(got.text("error_description"), "AADSTS7000215: ") || !strings.HasSuffix(got.text("error_description"), tail) {
		t.Errorf("description %q", got.text("error_description"))
	}
	f.Set("client_id", zeroGUID)
	if zero := w.post(tokenPath, f); strings.Contains(zero.raw, "error_uri") {
		t.Errorf("AADSTS700038 carries an error_uri: %s", zero.raw)
	}
	if got := w.get(tokenPath); got.code() != 900561 {
		t.Errorf("GET on the token endpoint: %s", got.raw)
	}
}
