package localcloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/leastkey/leastkey/internal/localcloud/vault"
)

// asker speaks plain HTTP as one principal.
type asker struct {
	t    *testing.T
	rt   http.RoundTripper
	cred azcore.TokenCredential
}

// do sends a request and reads the answer; a status of 400 or more fails the test.
func (c asker) do(scope, method, address string, body any) map[string]any {
	c.t.Helper()
	status, answer := c.try(scope, method, address, body)
	if status >= 400 {
		c.t.Fatalf("%s %s: %d %v", method, address, status, answer)
	}
	return answer
}

func (c asker) try(scope, method, address string, body any) (int, map[string]any) {
	c.t.Helper()
	token, err := c.cred.GetToken(c.t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
	must(c.t, err)
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		must(c.t, err)
		payload = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, address, payload)
	must(c.t, err)
	r.Header.Set("Authorization", "Bearer "+token.Token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.rt.RoundTrip(r)
	must(c.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(c.t, err)
	var answer map[string]any
	if len(raw) > 0 {
		must(c.t, json.Unmarshal(raw, &answer))
	}
	return resp.StatusCode, answer
}

// rewrite connects to localhost whatever .localhost name is asked for, as some resolvers do.
type rewrite struct{ rt http.RoundTripper }

func (w rewrite) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Host = r.URL.Host, "localhost:"+r.URL.Port()
	return w.rt.RoundTrip(r)
}

const vaultScope = vault.Resource + "/.default"

// newVault makes a vault in which sp-operator may do everything, and returns its URL.
func newVault(c asker, cloud *Cloud, name string) string {
	c.t.Helper()
	all := []string{"all"}
	body := c.do(cloud.Endpoints().ARM+"/.default", "PUT", vaultID(cloud, name), map[string]any{"location": "eastus", "properties": map[string]any{
		"tenantId": cloud.TenantID(), "sku": map[string]any{"family": "A", "name": "standard"},
		"accessPolicies": []any{map[string]any{"tenantId": cloud.TenantID(), "objectId": operator(c.t, cloud, operatorApp).ObjectID, "permissions": map[string]any{"keys": all, "secrets": all, "certificates": all}}},
	}})
	address, _ := body["properties"].(map[string]any)["vaultUri"].(string)
	return strings.TrimSuffix(address, "/")
}

func vaultID(c *Cloud, name string) string {
	return c.Endpoints().ARM + "/subscriptions/" + c.SubscriptionID() + "/resourceGroups/" + DefaultGroup + "/providers/Microsoft.KeyVault/vaults/" + name + "?api-version=2024-11-01"
}

func purge(c *Cloud, name string) string {
	return c.Endpoints().ARM + "/subscriptions/" + c.SubscriptionID() + "/providers/Microsoft.KeyVault/locations/eastus/deletedVaults/" + name + "/purge?api-version=2024-11-01"
}

func TestAVaultThatIsMadeHasADataPlaneUntilItIsPurged(t *testing.T) {
	c := listen(t, Config{RunDir: t.TempDir()})
	hc := client(t, c.Run(), false)
	sp := asker{t, hc.Transport, asCertificate(t, c, sdk(c, hc.Transport))}
	armScope := c.Endpoints().ARM + "/.default"

	at := newVault(sp, c, "KV-New")
	if !strings.HasPrefix(at, "https://localhost:") || at == c.Endpoints().Vault[DefaultVault] || at != c.Run().Endpoints.Vault["kv-new"] {
		t.Fatalf("it is at %q", at)
	}
	run, err := ReadRun(t.Context(), c.cfg.RunDir)
	must(t, err)
	if run.Endpoints.Vault["kv-new"] != at {
		t.Errorf("other processes find it at %q", run.Endpoints.Vault["kv-new"])
	}
	sp.do(vaultScope, "PUT", at+"/secrets/s?api-version=7.4", map[string]string{"value": "v"})
	inProcess := asker{t, c.Transport(), sp.cred}
	for _, address := range []string{at, "https://kv-new" + vaultSuffix} {
		if got := inProcess.do(vaultScope, "GET", address+"/secrets/s?api-version=7.4", nil); got["value"] != "v" {
			t.Errorf("got %v", got)
		}
	}
	// az makes the address of a vault of its name and one suffix.
	suffix := vaultDNS(c.Endpoints())
	overHost := asker{t, http.RoundTripper(rewrite{hc.Transport}), sp.cred}
	if got := overHost.do(vaultScope, "GET", "https://kv-new"+suffix+"/secrets/s?api-version=7.4", nil); got["value"] != "v" || !strings.HasPrefix(got["id"].(string), "https://kv-new"+suffix+"/secrets/s/") {
		t.Errorf("got %v", got)
	}
	if again := newVault(sp, c, "kv-new"); again != at {
		t.Errorf("changed, it moves to %q", again)
	}
	if status, body := sp.try(armScope, "PUT", vaultID(c, "kv-bad"), map[string]any{}); status < 400 || c.Endpoints().Vault["kv-bad"] != "" {
		t.Errorf("a vault that was refused (%d %v) is at %s", status, body, c.Endpoints().Vault["kv-bad"])
	}

	sp.do(armScope, "DELETE", vaultID(c, "kv-new"), nil)
	if status, body := sp.try(vaultScope, "GET", at+"/secrets/s?api-version=7.4", nil); status != 404 || body["error"].(map[string]any)["code"] != "VaultNotFound" {
		t.Errorf("a deleted vault answers %d %v", status, body)
	}
	sp.do(armScope, "POST", purge(c, "kv-new"), nil)
	if _, err := get(t.Context(), c.Transport(), "https://kv-new"+vaultSuffix+"/secrets"); err == nil {
		t.Error("a purged vault has a host")
	}
	if c.Endpoints().Vault["kv-new"] != "" || c.Run().Endpoints.Vault["kv-new"] != "" {
		t.Error("a purged vault has an endpoint")
	}
	u, err := url.Parse(at)
	must(t, err)
	for { // the listener closes in the background
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+u.Port())
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		must(t, err)
		conn.Close()
	}
}

func TestAVaultComesBackWithItsState(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{StateFile: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), SigningKey: testKey(), OperatorKey: testKey()}
	c, err := New(cfg)
	must(t, err)
	must(t, c.Listen(t.Context()))
	rt := c.Transport()
	sp := asker{t, rt, asCertificate(t, c, sdk(c, rt))}
	at := newVault(sp, c, "kv-new")
	made := sp.do(vaultScope, "POST", at+"/keys/k/create?api-version=7.4", map[string]string{"kty": "EC"})
	must(t, c.Close())

	c = listen(t, cfg)
	rt = c.Transport()
	sp = asker{t, rt, asCertificate(t, c, sdk(c, rt))}
	if c.Endpoints().Vault["kv-new"] != at {
		t.Errorf("it was at %s, it is at %s", at, c.Endpoints().Vault["kv-new"])
	}
	got := sp.do(vaultScope, "GET", at+"/keys/k?api-version=7.4", nil)
	if got["key"].(map[string]any)["kid"] != made["key"].(map[string]any)["kid"] {
		t.Errorf("got %v", got)
	}
	must(t, c.Reset())
	if c.Endpoints().Vault["kv-new"] != "" || c.Endpoints().Vault[DefaultVault] == "" {
		t.Errorf("after a reset there are %v", c.Endpoints().Vault)
	}
}

// The key of an agent can stay in a vault: an assertion that the vault signs logs in.
func TestAnAssertionThatAVaultSignsLogsIn(t *testing.T) {
	key := testKey()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{SigningKey: key, OperatorKey: key})
		rt := c.Transport()
		opts := sdk(c, rt)
		sp := asker{t, rt, asCertificate(t, c, opts)}
		at := newVault(sp, c, "kv-agent")
		sp.do(vaultScope, "POST", at+"/certificates/agent/create?api-version=7.4", map[string]any{"policy": map[string]any{
			"issuer": map[string]string{"name": "Self"}, "x509_props": map[string]string{"subject": "CN=agent"}, "key_props": map[string]any{"kty": "RSA", "exportable": false},
		}})
		for sp.do(vaultScope, "GET", at+"/certificates/agent/pending?api-version=7.4", nil)["status"] != "completed" {
			time.Sleep(time.Second)
		}
		cert := sp.do(vaultScope, "GET", at+"/certificates/agent?api-version=7.4", nil)

		admin := asker{t, rt, password{c, rt, operator(t, c, "admin")}}
		graph := c.Endpoints().Graph + "/v1.0"
		graphScope := "https://graph.microsoft.com/.default"
		app := admin.do(graphScope, "POST", graph+"/applications", map[string]any{"displayName": "agent", "keyCredentials": []any{
			map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": cert["cer"]},
		}})
		appID := app["appId"].(string)
		admin.do(graphScope, "POST", graph+"/servicePrincipals", map[string]string{"appId": appID})

		keys, err := azkeys.NewClient(at, sp.cred, &azkeys.ClientOptions{ClientOptions: opts, DisableChallengeResourceVerification: true})
		must(t, err)
		version := azkeys.ID(cert["kid"].(string))
		assert := func(version string) func(context.Context) (string, error) {
			return func(ctx context.Context) (string, error) {
				der, err := base64.StdEncoding.DecodeString(cert["cer"].(string))
				if err != nil {
					return "", err
				}
				leaf, err := x509.ParseCertificate(der)
				if err != nil {
					return "", err
				}
				sum := sha256.Sum256(leaf.Raw)
				b64 := base64.RawURLEncoding.EncodeToString
				part := func(v map[string]any) string { raw, _ := json.Marshal(v); return b64(raw) }
				text := part(map[string]any{"alg": "PS256", "typ": "JWT", "x5t#S256": b64(sum[:])}) + "." + part(map[string]any{
					"aud": c.Endpoints().Login + "/" + c.TenantID() + "/oauth2/v2.0/token", "iss": appID, "sub": appID, "jti": time.Now().String(),
					"nbf": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
				})
				digest := sha256.Sum256([]byte(text))
				signed, err := keys.Sign(ctx, "agent", version, azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmPS256), Value: digest[:]}, nil)
				if err != nil {
					return "", err
				}
				return text + "." + b64(signed.Result), nil
			}
		}
		login := func(version string) error {
			cred, err := azidentity.NewClientAssertionCredential(c.TenantID(), appID, assert(version), &azidentity.ClientAssertionCredentialOptions{ClientOptions: opts, DisableInstanceDiscovery: true})
			must(t, err)
			_, err = cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.Endpoints().ARM + "/.default"}})
			return err
		}
		must(t, login(version.Version()))

		sp.do(vaultScope, "POST", at+"/certificates/agent/create?api-version=7.4", map[string]any{}) // another key, which nobody has registered
		time.Sleep(2 * time.Second)
		if err := login(""); err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
			t.Errorf("with a key that is not registered: %v", err)
		}
	})
}
