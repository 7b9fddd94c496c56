package localcloud

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

// sdk configures the Azure SDK for the cloud over the given way.
func sdk(c *Cloud, rt http.RoundTripper) azcore.ClientOptions {
	arm := c.Endpoints().ARM
	return azcore.ClientOptions{
		Transport: &http.Client{Transport: rt},
		Retry:     policy.RetryOptions{MaxRetries: 12},
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: c.Endpoints().Login,
			Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: arm, Audience: arm}},
		},
	}
}

func operator(t *testing.T, c *Cloud, name string) Operator {
	t.Helper()
	for _, o := range c.Operators() {
		if o.Name == name {
			return o
		}
	}
	t.Fatalf("no operator %s", name)
	return Operator{}
}

// asCertificate logs sp-operator in as the Azure SDK does.
func asCertificate(t *testing.T, c *Cloud, o azcore.ClientOptions) azcore.TokenCredential {
	t.Helper()
	sp := operator(t, c, operatorApp)
	certs, key, err := azidentity.ParseCertificates([]byte(sp.Certificate.Reveal()), nil)
	must(t, err)
	cred, err := azidentity.NewClientCertificateCredential(c.TenantID(), sp.AppID, certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: o, DisableInstanceDiscovery: true,
	})
	must(t, err)
	return cred
}

// password is a user's token from the token endpoint.
type password struct {
	c  *Cloud
	rt http.RoundTripper
	o  Operator
}

func (p password) GetToken(ctx context.Context, want policy.TokenRequestOptions) (azcore.AccessToken, error) {
	form := url.Values{
		"grant_type": {"password"}, "client_id": {directory.AzureCLIAppID}, "username": {p.o.UPN}, "password": {p.o.Password.Reveal()},
		"scope": {strings.Join(want.Scopes, " ")},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.c.Endpoints().Login+"/"+p.c.TenantID()+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return azcore.AccessToken{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.rt.RoundTrip(req)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
		Life  int    `json:"expires_in"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return azcore.AccessToken{}, err
	}
	if got.Token == "" {
		return azcore.AccessToken{}, errors.New(got.Error)
	}
	return azcore.AccessToken{Token: got.Token, ExpiresOn: p.c.cfg.Now().Add(time.Duration(got.Life) * time.Second)}, nil
}

func subscriptions(ctx context.Context, cred azcore.TokenCredential, o azcore.ClientOptions) ([]string, error) {
	client, err := armsubscriptions.NewClient(cred, &arm.ClientOptions{ClientOptions: o, DisableRPRegistration: true})
	if err != nil {
		return nil, err
	}
	var ids []string
	for pages := client.NewListPager(nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Value {
			ids = append(ids, *s.SubscriptionID)
		}
	}
	return ids, nil
}

func TestTheAzureSDKWorksOverBothWays(t *testing.T) {
	c := listen(t, Config{})
	hc := client(t, c.Run(), false)
	for name, rt := range map[string]http.RoundTripper{"in process": c.Transport(), "over TLS": hc.Transport} {
		t.Run(name, func(t *testing.T) {
			o := sdk(c, rt)
			ids, err := subscriptions(t.Context(), asCertificate(t, c, o), o)
			if err != nil || len(ids) != 1 || ids[0] != c.SubscriptionID() {
				t.Errorf("sp-operator sees %v: %v", ids, err)
			}
		})
	}
}

func TestOperatorsHaveWhatTheirRightsSay(t *testing.T) {
	c := open(t, Config{})
	o := sdk(c, c.Transport())
	for name, want := range map[string]struct {
		sees   int // resources in the group
		writes bool
	}{
		"admin": {6, true}, "rbacadmin": {6, false}, "reader": {6, false}, "appadmin": {0, false}, "nobody": {0, false}, operatorApp: {6, true},
	} {
		t.Run(name, func(t *testing.T) {
			cred := azcore.TokenCredential(password{c, c.Transport(), operator(t, c, name)})
			if name == operatorApp {
				cred = asCertificate(t, c, o)
			}
			client, err := armresources.NewClient(c.SubscriptionID(), cred, &arm.ClientOptions{ClientOptions: o, DisableRPRegistration: true})
			must(t, err)
			sees := 0
			for pages := client.NewListByResourceGroupPager(DefaultGroup, nil); pages.More(); {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					break // may not
				}
				sees += len(page.Value)
			}
			if sees != want.sees {
				t.Errorf("sees %d resources; want %d", sees, want.sees)
			}
			groups, err := armresources.NewResourceGroupsClient(c.SubscriptionID(), cred, &arm.ClientOptions{ClientOptions: o, DisableRPRegistration: true})
			must(t, err)
			where := DefaultLocation
			_, err = groups.CreateOrUpdate(t.Context(), "new-rg", armresources.ResourceGroup{Location: &where}, nil)
			if wrote := err == nil; wrote != want.writes {
				t.Errorf("makes a group: %v (%v)", wrote, err)
			}
		})
	}
}

func TestTheSDKGetsThroughAHostileCloud(t *testing.T) {
	key := testKey()
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, Config{SigningKey: key, OperatorKey: key, Seed: seed + 1, Knobs: Hostile(seed)})
			o := sdk(c, c.Transport())
			ids, err := subscriptions(t.Context(), asCertificate(t, c, o), o)
			if err != nil || len(ids) != 1 {
				t.Errorf("seed %d: %v %v after %d requests", seed, ids, err, len(c.Requests()))
			}
		})
	}
}

func TestOldTokensAreRefusedAfterAReset(t *testing.T) {
	c, err := New(Config{})
	must(t, err)
	defer c.Close()
	cred := password{c, c.Transport(), operator(t, c, "admin")}
	o := sdk(c, c.Transport())
	tok, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.Endpoints().ARM + "/.default"}})
	must(t, err)
	must(t, c.Reset())
	if _, err := subscriptions(t.Context(), fixed(tok), o); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a token of the old instance: %v", err)
	}
	if _, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.Endpoints().ARM + "/.default"}}); err == nil {
		t.Error("a password of the old instance is good")
	}
}

func TestAUserReadsAndWritesGraphAsTheirRolesAllow(t *testing.T) {
	c := open(t, Config{})
	for name, status := range map[string]int{"admin": http.StatusCreated, "appadmin": http.StatusCreated, "nobody": http.StatusForbidden} {
		tok, err := password{c, c.Transport(), operator(t, c, name)}.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{c.Endpoints().Graph + "/.default"}})
		must(t, err)
		ask := func(method, path, body string) int {
			r, err := http.NewRequestWithContext(t.Context(), method, c.Endpoints().Graph+path, strings.NewReader(body))
			must(t, err)
			r.Header.Set("Authorization", "Bearer "+tok.Token)
			r.Header.Set("Content-Type", "application/json")
			resp, err := c.Transport().RoundTrip(r)
			must(t, err)
			resp.Body.Close()
			return resp.StatusCode
		}
		if got := ask(http.MethodGet, "/v1.0/me", ""); got != http.StatusOK {
			t.Errorf("%s: /me answers %d", name, got)
		}
		if got := ask(http.MethodPost, "/v1.0/applications", `{"displayName":"of `+name+`"}`); got != status {
			t.Errorf("%s: a new application answers %d; want %d", name, got, status)
		}
	}
	log := c.Requests()
	if last := log[len(log)-1]; last.AppID != directory.AzureCLIAppID || last.Object == "" || last.Request == "" {
		t.Errorf("the log does not say who asked: %+v", last)
	}
}

func TestAVaultSaysWhereItIsServed(t *testing.T) {
	c := open(t, Config{})
	inProcess := vaultURI(t, c)
	must(t, c.Listen(t.Context()))
	if listening := vaultURI(t, c); inProcess != "https://"+DefaultVault+vaultSuffix+"/" || listening != c.Endpoints().Vault[DefaultVault]+"/" {
		t.Errorf("%s, then %s", inProcess, listening)
	}
}

func vaultURI(t *testing.T, c *Cloud) string {
	t.Helper()
	o := sdk(c, c.Transport())
	client, err := armresources.NewClient(c.SubscriptionID(), password{c, c.Transport(), operator(t, c, "reader")}, &arm.ClientOptions{ClientOptions: o, DisableRPRegistration: true})
	must(t, err)
	got, err := client.GetByID(t.Context(), "/subscriptions/"+c.SubscriptionID()+"/resourceGroups/"+DefaultGroup+"/providers/Microsoft.KeyVault/vaults/"+DefaultVault, "2024-11-01", nil)
	must(t, err)
	uri, _ := got.Properties.(map[string]any)["vaultUri"].(string)
	return uri
}

type fixed azcore.AccessToken

func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken(f), nil
}

func TestTheMetadataNamesTheServices(t *testing.T) {
	c := open(t, Config{})
	resp, err := get(t.Context(), c.Transport(), c.Endpoints().ARM+"/metadata/endpoints?api-version=2022-09-01")
	must(t, err)
	var doc struct {
		ResourceManager, MicrosoftGraphResourceID string
		Authentication                            struct{ LoginEndpoint string }
	}
	must(t, json.NewDecoder(resp.Body).Decode(&doc))
	if doc.ResourceManager != c.Endpoints().ARM+"/" || doc.MicrosoftGraphResourceID != c.Endpoints().Graph+"/" || doc.Authentication.LoginEndpoint != c.Endpoints().Login+"/adfs" {
		t.Errorf("%+v", doc)
	}
}
