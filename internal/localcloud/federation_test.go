package localcloud

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// rewriting sends what is for the link-local address of IMDS to an endpoint.
type rewriting struct {
	to   string
	next http.RoundTripper
}

func (r rewriting) Do(req *http.Request) (*http.Response, error) {
	if req.URL.Host == "169.254.169.254" {
		req = req.Clone(req.Context())
		req.URL.Host = strings.TrimPrefix(r.to, "http://")
	}
	return r.next.RoundTrip(req)
}

func TestTheGoSDKGetsTokensOfManagedIdentities(t *testing.T) {
	c, clients, objects := assigned(t, Config{})
	put(t, c, botID, users(firstID, secondID))
	put(t, c, machineID, map[string]any{"type": "SystemAssigned"})
	bot, machine := endpoint(t, c, botID), endpoint(t, c, machineID)
	get := func(at Identity, id azidentity.ManagedIDKind, audience string) (string, error) {
		t.Helper()
		o := azidentity.ManagedIdentityCredentialOptions{ID: id, ClientOptions: policy.ClientOptions{Transport: rewriting{at.IMDS, c.Transport()}, Retry: policy.RetryOptions{MaxRetries: -1}}}
		cred, err := azidentity.NewManagedIdentityCredential(&o)
		must(t, err)
		token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{audience + "/.default"}})
		if err != nil {
			return "", err
		}
		claims, err := c.world.Load().env.Auth.Verify("Bearer "+token.Token, audience)
		must(t, err)
		return claims.ObjectID, nil
	}
	// MSAL keeps tokens by audience and identity in one place of the process, so each row has an audience of its own.
	if oid, err := get(machine, nil, "https://management.azure.com"); err != nil || oid == "" {
		t.Errorf("system-assigned by IMDS: %v", err)
	}
	if oid, err := get(bot, azidentity.ClientID(clients[0]), "https://vault.azure.net"); err != nil || oid != objects[0] {
		t.Errorf("by client id: %v", err)
	}
	if oid, err := get(bot, azidentity.ObjectID(objects[1]), "https://graph.microsoft.com"); err != nil || oid != objects[1] {
		t.Errorf("by object id: %v", err)
	}
	if oid, err := get(bot, azidentity.ResourceID(secondID), "https://management.core.windows.net"); err != nil || oid != objects[1] {
		t.Errorf("by resource id: %v", err)
	}
	if _, err := get(machine, azidentity.ClientID(clients[0]), "https://cognitiveservices.azure.com"); err == nil || !strings.Contains(err.Error(), "isn't assigned to this resource") {
		t.Errorf("one that is not assigned: %v", err)
	}
	t.Setenv("IDENTITY_ENDPOINT", bot.Endpoint)
	t.Setenv("IDENTITY_HEADER", bot.Header.Reveal())
	if oid, err := get(bot, azidentity.ResourceID(firstID), "https://dynamicsessions.io"); err != nil || oid != objects[0] {
		t.Errorf("by App Service: %v", err)
	}
	t.Setenv("IDENTITY_HEADER", "guessed")
	if _, err := get(bot, azidentity.ResourceID(secondID), "https://dynamicsessions.io"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong header: %v", err)
	}
}

// A pod on AKS stands for a user-assigned identity by a token of its cluster, and a managed identity for an application by one of ours.
func TestTheGoSDKExchangesFederatedTokens(t *testing.T) {
	const issuer = "https://oidc.example/cluster/"
	fetched := 0
	c, clients, objects := assigned(t, Config{FetchJWKS: func(_ context.Context, of string) (map[string]crypto.PublicKey, error) {
		if fetched++; of != issuer {
			t.Errorf("asked for %s", of)
		}
		return map[string]crypto.PublicKey{"k1": &testKey().PublicKey}, nil
	}})
	w := c.world.Load()
	must(t, w.store.Write(func(tx replica.Tx) error {
		for i, f := range []directory.FederatedCredential{
			{ParentID: objects[0], Issuer: issuer, Subject: "system:serviceaccount:bots:bot", Audiences: []string{"api://AzureADTokenExchange"}},
			{ParentID: objects[1], Issuer: w.env.Auth.Issuer("2.0"), Subject: objects[0], Audiences: []string{"api://AzureADTokenExchange"}},
		} {
			f.ID = fmt.Sprint("f", i)
			w.dir.FederatedCredentials.Put(tx, f.ID, f)
		}
		return nil
	}))
	options := policy.ClientOptions{Transport: rewriting{next: c.Transport()}, Retry: policy.RetryOptions{MaxRetries: -1}, Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: c.Endpoints().Login}}
	login := func(client string, assertion func(context.Context) (string, error)) (string, error) {
		cred, err := azidentity.NewClientAssertionCredential(c.TenantID(), client, assertion, &azidentity.ClientAssertionCredentialOptions{
			DisableInstanceDiscovery: true, ClientOptions: options,
		})
		must(t, err)
		token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		return token.Token, err
	}
	projected := filepath.Join(t.TempDir(), "token") // as the kubelet writes it
	text, err := signAs(issuer, "system:serviceaccount:bots:bot", time.Now())
	must(t, err)
	must(t, os.WriteFile(projected, []byte(text), 0o600))
	pod := func(client string) (string, error) {
		cred, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientID: client, TenantID: c.TenantID(), TokenFilePath: projected, DisableInstanceDiscovery: true, ClientOptions: options,
		})
		must(t, err)
		token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		return token.Token, err
	}
	token, err := pod(clients[0])
	must(t, err)
	claims, err := w.env.Auth.Verify("Bearer "+token, "https://vault.azure.net")
	must(t, err)
	if claims.ObjectID != objects[0] || claims.XmsMiRID != firstID || claims.AppIDAcr != "2" || fetched != 1 {
		t.Errorf("a pod: %+v after %d fetches", claims, fetched)
	}
	if _, err := pod(clients[1]); err == nil || !strings.Contains(err.Error(), "AADSTS700211") {
		t.Errorf("a pod for an identity that does not trust its cluster: %v", err)
	}

	put(t, c, botID, users(firstID))
	bot := endpoint(t, c, botID)
	token, err = login(clients[1], func(context.Context) (string, error) {
		status, body := imds(t, c, bot, "resource", "", "resource", "api://AzureADTokenExchange")
		if status != 200 {
			t.Error(body)
		}
		text, _ := body["access_token"].(string)
		return text, nil
	})
	must(t, err)
	if claims, err = w.env.Auth.Verify("Bearer "+token, "https://vault.azure.net"); err != nil || claims.ObjectID != objects[1] || fetched != 1 {
		t.Errorf("a managed identity: %+v, %v, %d fetches", claims, err, fetched)
	}
}

// signAs is a token of an outside issuer, which calls the key of the tests k1.
func signAs(issuer, subject string, now time.Time) (string, error) {
	claims := jwt.MapClaims{"iss": issuer, "sub": subject, "aud": "api://AzureADTokenExchange", "nbf": now.Unix(), "exp": now.Unix() + 600}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = "k1"
	return token.SignedString(testKey())
}

// outside is an issuer over TLS, as a cluster has one.
func outside(t *testing.T) (issuer *httptest.Server, ca []byte) {
	issuer = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := testKey()
		doc := map[string]any{"issuer": "https://" + r.Host, "jwks_uri": "https://" + r.Host + "/keys"}
		if r.URL.Path == "/keys" {
			doc = map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "k1", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(new(big.Int).Set(key.N).Bytes())}}}
		}
		_ = json.NewEncoder(w).Encode(doc)
	}))
	t.Cleanup(issuer.Close)
	return issuer, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})
}

func TestAListeningCloudFetchesTheKeysOfAnIssuer(t *testing.T) {
	issuer, ca := outside(t)
	for _, row := range []struct {
		name   string
		cfg    Config
		listen bool
		want   string
	}{
		{"whose authority it was given", Config{IssuerCAs: [][]byte{ca}}, true, ""},
		{"whose authority nobody knows", Config{}, true, "AADSTS50166"},
		{"but not in process, where it has no business outside", Config{IssuerCAs: [][]byte{ca}}, false, "AADSTS50166"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, clients, objects := assigned(t, row.cfg)
			if row.listen {
				must(t, c.Listen(t.Context()))
			}
			w := c.world.Load()
			must(t, w.store.Write(func(tx replica.Tx) error {
				w.dir.FederatedCredentials.Put(tx, "f", directory.FederatedCredential{ID: "f", ParentID: objects[0], Issuer: issuer.URL, Subject: "job", Audiences: []string{"api://AzureADTokenExchange"}})
				return nil
			}))
			assertion, err := signAs(issuer.URL, "job", time.Now())
			must(t, err)
			form := url.Values{
				"grant_type": {"client_credentials"}, "client_id": {clients[0]}, "scope": {"https://vault.azure.net/.default"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
			}
			resp, err := (&http.Client{Transport: c.Transport()}).PostForm(c.Endpoints().Login+"/"+c.TenantID()+"/oauth2/v2.0/token", form)
			must(t, err)
			var body map[string]any
			must(t, json.NewDecoder(resp.Body).Decode(&body))
			if text := fmt.Sprint(body["error_description"]); row.want == "" && resp.StatusCode != 200 || !strings.Contains(text, row.want) {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
		})
	}
	if _, err := New(Config{IssuerCAs: [][]byte{[]byte("no certificate")}, SigningKey: testKey(), OperatorKey: testKey()}); err == nil {
		t.Error("a file without certificates is taken")
	}
}
