package entra

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"
	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/jwks"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Clients write the thumbprint and the audience in several ways; each is a login.
func TestAssertionsThatAreAccepted(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(*world, *jwt)
	}{
		{"x5t#S256 as RFC 7515 says", func(*world, *jwt) {}},
		{"x5t#S256 in padded standard base64 and PS256, as MSAL Go sends it", func(w *world, j *jwt) {
			j.header["x5t#S256"] = base64.StdEncoding.EncodeToString(thumb(w.cert, true))
			j.header["alg"], j.pss = "PS256", true
		}},
		{"x5t in padded base64url and times with fractions, as MSAL Python sends it", func(w *world, j *jwt) {
			j.header = map[string]any{"alg": "RS256", "x5t": base64.URLEncoding.EncodeToString(thumb(w.cert, false))}
			j.claims["iat"], j.claims["exp"] = float64(w.now().Unix())+0.25, float64(w.now().Unix())+600.75
			delete(j.claims, "nbf")
		}},
		{"the thumbprint as key id in hex", func(w *world, j *jwt) {
			j.header = map[string]any{"alg": "RS256", "kid": strings.ToUpper(hex.EncodeToString(thumb(w.cert, false)))}
		}},
		{"an audience in a list, the issuer of the tenant", func(w *world, j *jwt) { j.claims["aud"] = []string{"x", w.ends.Login + "/" + tenantID + "/v2.0"} }},
		{"the token endpoint under the tenant's domain", func(w *world, j *jwt) { j.claims["aud"] = w.ends.Login + "/contoso.onmicrosoft.com/oauth2/v2.0/token" }},
		{"an expiry far away", func(w *world, j *jwt) { j.claims["exp"] = w.now().AddDate(300, 0, 0).Unix() }},
		{"an expiry that was four minutes ago", func(w *world, j *jwt) { j.claims["exp"] = w.now().Unix() - 240 }},
		{"no jti", func(w *world, j *jwt) { delete(j.claims, "jti") }},
		{"a certificate of the service principal", func(w *world, j *jwt) {
			w.write(func(tx replica.Tx) {
				a, _ := w.dir.Applications.Get(tx.View, "obj-"+appA)
				sp, _ := w.dir.ServicePrincipals.Get(tx.View, spA)
				sp.KeyCredentials, a.KeyCredentials = a.KeyCredentials, nil
				w.dir.Applications.Put(tx, a.ID, a)
				w.dir.ServicePrincipals.Put(tx, sp.ID, sp)
			})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			j := w.jwt()
			row.make(w, j)
			if got := w.post(tokenPath, w.assertionForm(j.sign(), armScope)); got.status != 200 {
				t.Fatal(got.raw)
			}
		})
	}
}

func TestOneAssertionForTwoResources(t *testing.T) {
	w := newWorld(t)
	a := w.jwt().sign()
	want(t, "ARM", w.post(tokenPath, w.assertionForm(a, armScope)).status, 200)
	want(t, "Graph", w.post(tokenPath, w.assertionForm(a, "https://graph.microsoft.com/.default")).status, 200)
	want(t, "ARM again", w.post(tokenPath, w.assertionForm(a, armScope)).code(), 50013)
	w.AllowReplay = func() bool { return true }
	want(t, "ARM again, replay allowed", w.post(tokenPath, w.assertionForm(a, armScope)).status, 200)
}

func TestAppTokens(t *testing.T) {
	w := newWorld(t)
	w.write(func(tx replica.Tx) {
		w.app(tx, "cccccccc-0000-0000-0000-000000000001", uuid.NewString(), func(a *directory.Application, sp *directory.ServicePrincipal) {
			a.TokenVersion = 2
			a.IdentifierURIs = []string{"api://mine"}
		})
	})
	for _, row := range []struct{ name, scope, aud, ver, roles, idtyp string }{
		{"Graph carries the granted roles", "https://graph.microsoft.com/.default openid offline_access profile", "https://graph.microsoft.com", "1.0", "Application.Read.All", "app"},
		{"the audience keeps the slash that it was asked with", "https://management.core.windows.net//.default", "https://management.core.windows.net/", "1.0", "", "app"},
		{"this cloud's own base URL names its service", "https://arm.test:3//.default", "https://arm.test:3/", "1.0", "", "app"},
		{"the vaults' common host names Key Vault", "https://vault.test:4/.default", "https://vault.test:4", "1.0", "", ""},
		{"a GUID names a resource", directory.VaultAppID + "/.default", directory.VaultAppID, "1.0", "", ""},
		{"the token exchange has its GUID as audience", "api://AzureADTokenExchange/.default", directory.ExchangeAppID, "2.0", "", ""},
		{"an application that wants v2.0 tokens gets its id as audience", "api://mine/.default", "cccccccc-0000-0000-0000-000000000001", "2.0", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := form("grant_type", "client_credentials", "client_id", appA, "client_secret", secret, "scope", row.scope)
			f.Set("claims", `{"access_token": {"xms_cc": {"values": ["CP1"]}}}`)
			got := w.post(tokenPath, f)
			want(t, "status", got.status, 200)
			if !strings.HasPrefix(got.raw, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"`) || len(got.body) != 4 {
				t.Errorf("body %s", got.raw)
			}
			c := w.claims(got, "access_token")
			client, acr := "appid", "appidacr"
			if row.ver == "2.0" {
				client, acr = "azp", "azpacr"
			}
			for name, value := range map[string]string{"aud": row.aud, "ver": row.ver, "tid": tenantID, "oid": spA, "sub": spA, client: appA, acr: "1", "xms_cc": "CP1", "idtyp": row.idtyp, "roles": row.roles} {
				have := ""
				if c[name] != nil {
					have = words(c[name])
				}
				want(t, name, have, value)
			}
			if c["scp"] != nil || c["upn"] != nil {
				t.Errorf("an application's token speaks of a user: %v", c)
			}
		})
	}
}

func TestOtherStyles(t *testing.T) {
	w := newWorld(t)
	f := form("grant_type", "client_credentials", "client_id", appA, "client_secret", secret, "resource", "https://management.azure.com/")
	got := w.post("/"+tenantID+"/oauth2/token", f)
	want(t, "v1 expires_in is text", got.text("expires_in"), "3599")
	want(t, "v1 resource", got.text("resource"), "https://management.azure.com/")
	want(t, "v1 aud", words(w.claims(got, "access_token")["aud"]), "https://management.azure.com/")

	f = form("grant_type", "client_credentials", "client_id", appA, "client_secret", secret, "scope", "https://arm.test:3//.default")
	got = w.post("/adfs/oauth2/token", f)
	want(t, "AD FS", got.status, 200)
	want(t, "AD FS aud", words(w.claims(got, "access_token")["aud"]), "https://arm.test:3/")

	j := w.jwt()
	j.claims["aud"] = "https://login.test/adfs/oauth2/token"
	want(t, "AD FS's audience at its own endpoint", w.post("/adfs/oauth2/token", w.assertionForm(j.sign(), armScope)).status, 200)

	r := httptest.NewRequest("POST", "https://login.test"+tokenPath, strings.NewReader(form("grant_type", "client_credentials", "scope", armScope).Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(appA), url.QueryEscape(secret))
	want(t, "Basic", w.send(r).status, 200)
}

func TestANewKeyIsRefusedUntilItsReplicaHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dir.Store.SetLag(replica.Login, time.Minute)
		fresh := certify(t, otherKey(), w.now().Add(-time.Hour), w.now().Add(time.Hour))
		w.write(func(tx replica.Tx) {
			a, _ := w.dir.Applications.Get(tx.View, "obj-"+appA)
			a.KeyCredentials = []directory.KeyCredential{w.key(w.cert), w.key(fresh)}
			w.dir.Applications.Put(tx, a.ID, a)
		})
		login := func() reply {
			j := w.jwt()
			j.key = otherKey()
			j.header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(thumb(fresh, true))
			return w.post(tokenPath, w.assertionForm(j.sign(), armScope))
		}
		got := login()
		want(t, "at once", got.code(), 700027)
		passed, refused := 0, 0
		for range 60 {
			time.Sleep(time.Second - time.Millisecond)
			if login().status == 200 {
				passed++
			} else {
				refused++
			}
		}
		if passed == 0 || refused == 0 {
			t.Errorf("while it spread: %d passed, %d refused; want both", passed, refused)
		}
		time.Sleep(time.Second)
		for range 20 {
			want(t, "after the lag", login().status, 200)
		}
	})
}

func TestFederatedCredentials(t *testing.T) {
	w := newWorld(t)
	const issuer, subject, identityB = "https://issuer.example", "repo:a/b", "dddddddd-0000-0000-0000-000000000001"
	w.write(func(tx replica.Tx) {
		w.dir.FederatedCredentials.Put(tx, "f", directory.FederatedCredential{ID: "f", ParentID: "obj-" + appA, Issuer: issuer, Subject: subject, Audiences: []string{exchangeAudience}})
		w.dir.FederatedCredentials.Put(tx, "g", directory.FederatedCredential{ID: "g", ParentID: "obj-" + appA, Issuer: w.env.Auth.Issuer("2.0"), Subject: "sp-b", Audiences: []string{exchangeAudience}})
		w.dir.FederatedCredentials.Put(tx, "h", directory.FederatedCredential{ID: "h", ParentID: "sp-b", Issuer: issuer, Subject: "job", Audiences: []string{exchangeAudience}})
		w.dir.ServicePrincipals.Put(tx, "sp-b", directory.ServicePrincipal{ID: "sp-b", AppID: identityB, DisplayName: "identity", ServicePrincipalType: "ManagedIdentity", AccountEnabled: true})
	})
	outside := func(change map[string]any) reply {
		j := w.jwt()
		j.key, j.header = otherKey(), map[string]any{"alg": "RS256", "kid": "k1"}
		j.claims["iss"], j.claims["sub"], j.claims["aud"] = issuer, subject, exchangeAudience
		for k, v := range change {
			j.claims[k] = v
		}
		return w.post(tokenPath, w.assertionForm(j.sign(), armScope))
	}
	want(t, "an issuer that cannot be reached", outside(nil).code(), 50166)
	w.IssuerKey = func(_ context.Context, iss, kid string) (*rsa.PublicKey, error) {
		want(t, "fetched issuer", iss, issuer)
		want(t, "key id", kid, "k1")
		return &otherKey().PublicKey, nil
	}
	got := outside(nil)
	want(t, "a good assertion", got.status, 200)
	want(t, "appidacr", words(w.claims(got, "access_token")["appidacr"]), "2")
	j := w.jwt()
	j.key, j.header = otherKey(), map[string]any{"alg": "RS256", "kid": "k1"}
	j.claims["iss"], j.claims["sub"], j.claims["aud"] = issuer, "job", exchangeAudience
	f := w.assertionForm(j.sign(), exchangeAudience+"/.default")
	f.Set("client_id", identityB)
	identity := w.post(tokenPath, f)
	want(t, "a managed identity", identity.status, 200)
	want(t, "another issuer", outside(map[string]any{"iss": issuer + "/"}).code(), 700211)
	want(t, "another audience", outside(map[string]any{"aud": "api://other"}).code(), 700212)
	want(t, "the GUID that stands for the exchange in Entra's own tokens", outside(map[string]any{"aud": directory.ExchangeAppID}).code(), 700212)
	want(t, "another subject", outside(map[string]any{"sub": "repo:a/B"}).code(), 700213)
	want(t, "an expired one", outside(map[string]any{"exp": w.now().Unix() - 400}).code(), 700024)
	w.IssuerKey = func(context.Context, string, string) (*rsa.PublicKey, error) { return &clientKey().PublicKey, nil }
	want(t, "a forged one", outside(nil).code(), 50013)
	w.IssuerKey = func(context.Context, string, string) (*rsa.PublicKey, error) { return nil, jwks.ErrNoKey }
	want(t, "one by a key that the issuer does not show", outside(nil).code(), 7000272)
	w.IssuerKey = func(context.Context, string, string) (*rsa.PublicKey, error) { return nil, errors.New("timeout") }
	want(t, "one of an issuer that does not answer", outside(nil).code(), 50166)

	// A managed identity's token for the exchange stands for it, and may be sent again.
	for range 2 {
		got := w.post(tokenPath, w.assertionForm(identity.text("access_token"), armScope))
		want(t, "a managed identity's token", got.status, 200)
	}
	w.write(func(tx replica.Tx) { // a federated credential that was written for the real cloud
		for _, f := range w.dir.FederatedCredentials.By(tx.View, "parent", "obj-"+appA) {
			if f.Issuer == w.env.Auth.Issuer("2.0") {
				f.Issuer = "https://login.microsoftonline.com/" + tenantID + "/v2.0"
				w.dir.FederatedCredentials.Put(tx, f.ID, f)
			}
		}
	})
	want(t, "a federated credential that names Entra", w.post(tokenPath, w.assertionForm(identity.text("access_token"), armScope)).status, 200)
	forged := identity.text("access_token")
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 256))
	want(t, "a forged token of this cloud", w.post(tokenPath, w.assertionForm(forged, armScope)).code(), 50013)
}

// A federated credential that names this cloud as issuer trusts a managed identity; an application could otherwise stand for every
// other one that trusts its object id, by a secret of its own.
func TestOnlyAManagedIdentityIsTrustedAsAnIssuersSubject(t *testing.T) {
	w := newWorld(t)
	const appB, spB = "dddddddd-0000-0000-0000-000000000001", "dddddddd-0000-0000-0000-000000000002"
	w.write(func(tx replica.Tx) {
		w.app(tx, appB, spB, func(a *directory.Application, sp *directory.ServicePrincipal) {
			a.PasswordCredentials = []directory.PasswordCredential{{Secret: secret, EndDateTime: w.now().Add(time.Hour)}}
			sp.ServicePrincipalType = "Application"
		})
		for i, subject := range []string{spB, "gone", pairwise(aliceID, directory.ExchangeAppID)} {
			id := "f" + string(rune('0'+i))
			w.dir.FederatedCredentials.Put(tx, id, directory.FederatedCredential{ID: id, ParentID: "obj-" + appA, Issuer: w.env.Auth.Issuer("2.0"), Subject: subject, Audiences: []string{exchangeAudience}})
		}
		w.dir.PermissionGrants.Put(tx, "g", directory.PermissionGrant{ID: "g", ClientID: spB, ConsentType: "AllPrincipals", Scope: "exchange", ResourceID: w.dir.ServicePrincipals.By(tx.View, "appId", directory.ExchangeAppID)[0].ID})
	})
	own := form("grant_type", "client_credentials", "client_id", appB, "client_secret", secret, "scope", exchangeAudience+"/.default")
	got := w.post(tokenPath, own)
	want(t, "the application's own token", got.status, 200)
	want(t, "the application's token as an assertion", w.post(tokenPath, w.assertionForm(got.text("access_token"), armScope)).code(), 700222)

	own.Set("grant_type", "password")
	own.Set("username", alice)
	own.Set("password", password)
	got = w.post(tokenPath, own)
	want(t, "a user's token", got.status, 200)
	want(t, "a user's token as an assertion", w.post(tokenPath, w.assertionForm(got.text("access_token"), armScope)).code(), 700229)

	gone, err := w.env.Auth.Mint(authority.Claims{Version: "2.0", Audience: directory.ExchangeAppID, ObjectID: "gone", Subject: "gone", Expires: w.now().Unix() + 600})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "the token of an identity that is deleted", w.post(tokenPath, w.assertionForm(gone, armScope)).code(), 700222)
}

// The claim set was recorded of the v2.0 endpoint in August 2026.
func TestAV2TokenHasTheRecordedClaimsAndNoMore(t *testing.T) {
	w := newWorld(t)
	w.write(func(tx replica.Tx) {
		w.app(tx, "cccccccc-0000-0000-0000-000000000001", uuid.NewString(), func(a *directory.Application, _ *directory.ServicePrincipal) {
			a.TokenVersion, a.IdentifierURIs = 2, []string{"api://mine"}
		})
	})
	c := w.claims(w.post(tokenPath, form("grant_type", "client_credentials", "client_id", appA, "client_secret", secret, "scope", "api://mine/.default")), "access_token")
	want(t, "claims", strings.Join(slices.Sorted(maps.Keys(c)), " "), "aio aud azp azpacr exp iat iss nbf oid rh sub tid uti ver xms_ftd")
}

// The Azure SDK for Go, unchanged, over TLS.
func TestAzureIdentity(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewTLSServer(w)
	defer srv.Close()
	w.ends.Login = srv.URL
	options := azcore.ClientOptions{
		Transport: srv.Client(),
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: srv.URL + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
	cert, err := x509.ParseCertificate(w.cert)
	if err != nil {
		t.Fatal(err)
	}
	byCert, err := azidentity.NewClientCertificateCredential(tenantID, appA, []*x509.Certificate{cert}, clientKey(), &azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	bySecret, err := azidentity.NewClientSecretCredential("contoso.onmicrosoft.com", appA, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	byDevice, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions: options, TenantID: tenantID, DisableInstanceDiscovery: true,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			return w.ApproveDevice(m.UserCode, alice)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, cred := range map[string]azcore.TokenCredential{"certificate": byCert, "secret": bySecret, "device code": byDevice} {
		t.Run(name, func(t *testing.T) {
			for _, scope := range []string{armScope, "https://graph.microsoft.com/.default"} {
				token, err := cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}, EnableCAE: true})
				if err != nil {
					t.Fatal(err)
				}
				c, err := w.env.Auth.Verify("Bearer "+token.Token, strings.TrimSuffix(scope, "/.default"))
				if err != nil {
					t.Fatal(err)
				}
				want(t, "xms_cc", words(c.XmsCC), "CP1")
			}
		})
	}
}
