package localcloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/msi"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	armResource  = "https://management.azure.com/"
	managedGroup = "/subscriptions/" + DefaultSubscriptionID + "/resourceGroups/" + DefaultGroup + "/providers/"
	botID        = managedGroup + "Microsoft.App/containerApps/bot"
	machineID    = managedGroup + "Microsoft.Compute/virtualMachines/vm"
	firstID      = managedGroup + "Microsoft.ManagedIdentity/userAssignedIdentities/first"
	secondID     = managedGroup + "Microsoft.ManagedIdentity/userAssignedIdentities/second"
)

// put makes or replaces a resource as sp-operator would, and shows it.
func put(t *testing.T, c *Cloud, id string, identity map[string]any) map[string]any {
	t.Helper()
	w := c.world.Load()
	var body map[string]any
	must(t, w.store.Write(func(tx replica.Tx) error {
		r, err := w.rbac.AddResource(tx, id, map[string]any{"location": "eastus", "properties": map[string]any{}, "identity": identity})
		body = r.Body
		return err
	}))
	return body
}

func users(ids ...string) map[string]any {
	named := map[string]any{}
	for _, id := range ids {
		named[id] = map[string]any{}
	}
	return map[string]any{"type": "UserAssigned", "userAssignedIdentities": named}
}

// assigned makes a cloud with two user-assigned identities, and gives their client ids and object ids.
func assigned(t *testing.T, cfg Config) (c *Cloud, clients, objects []string) {
	c = open(t, cfg)
	for _, id := range []string{firstID, secondID} {
		p := put(t, c, id, nil)["properties"].(map[string]any)
		clients, objects = append(clients, p["clientId"].(string)), append(objects, p["principalId"].(string))
	}
	return c, clients, objects
}

func endpoint(t *testing.T, c *Cloud, resource string) Identity {
	t.Helper()
	i, err := c.Identity(resource)
	must(t, err)
	return i
}

// ask sends a request to an endpoint and gives the status and the members of the answer.
func ask(t *testing.T, c *Cloud, at string, query url.Values, header ...string) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"?"+query.Encode(), nil)
	must(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Transport().RoundTrip(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	body := map[string]any{}
	must(t, json.Unmarshal(b, &body))
	return resp.StatusCode, body
}

func imds(t *testing.T, c *Cloud, i Identity, pairs ...string) (int, map[string]any) {
	t.Helper()
	return ask(t, c, i.IMDS+msi.IMDSPath, query("2018-02-01", pairs), "Metadata", "true")
}

func appService(t *testing.T, c *Cloud, i Identity, pairs ...string) (int, map[string]any) {
	t.Helper()
	return ask(t, c, i.Endpoint, query("2019-08-01", pairs), "X-IDENTITY-HEADER", i.Header.Reveal())
}

func query(version string, pairs []string) url.Values {
	q := url.Values{"api-version": {version}, "resource": {armResource}}
	for n := 0; n < len(pairs); n += 2 {
		if pairs[n+1] == "" {
			q.Del(pairs[n])
			continue
		}
		q.Add(pairs[n], pairs[n+1])
	}
	return q
}

func claimsOf(t *testing.T, c *Cloud, body map[string]any, audience string) (claims map[string]any) {
	t.Helper()
	token, _ := body["access_token"].(string)
	_, err := c.world.Load().env.Auth.Verify("Bearer "+token, audience)
	must(t, err)
	appID, oid := caller("Bearer " + token)
	got, err := c.world.Load().env.Auth.Verify("Bearer "+token, audience)
	must(t, err)
	if got.AppID != appID || got.ObjectID != oid {
		t.Errorf("appid and oid: %+v", got)
	}
	b, err := json.Marshal(got)
	must(t, err)
	must(t, json.Unmarshal(b, &claims))
	return claims
}

func TestATokenSaysWhichIdentityItIs(t *testing.T) {
	c, clients, objects := assigned(t, Config{})
	own := put(t, c, machineID, map[string]any{"type": "SystemAssigned"})["identity"].(map[string]any)["principalId"].(string)
	machine := endpoint(t, c, machineID)
	status, body := imds(t, c, machine)
	if status != 200 {
		t.Fatal(body)
	}
	claims := claimsOf(t, c, body, armResource)
	for name, want := range map[string]any{"oid": own, "sub": own, "xms_mirid": machineID, "appidacr": "2", "idtyp": "app", "aud": armResource, "ver": "1.0", "tid": c.TenantID()} {
		if claims[name] != want {
			t.Errorf("%s of a system-assigned identity is %v; want %v", name, claims[name], want)
		}
	}
	for _, name := range []string{"access_token", "client_id", "expires_in", "expires_on", "ext_expires_in", "not_before", "refresh_token", "resource", "token_type"} {
		if _, text := body[name].(string); !text {
			t.Errorf("%s is %v, which is no text", name, body[name])
		}
	}
	if body["expires_in"] != "3599" || body["client_id"] != claims["appid"] {
		t.Errorf("answer %v", body)
	}

	put(t, c, botID, users(firstID))
	status, body = appService(t, c, endpoint(t, c, botID), "client_id", clients[0], "resource", "", "resource", "https://vault.azure.net")
	if status != 200 {
		t.Fatal(body)
	}
	claims = claimsOf(t, c, body, "https://vault.azure.net")
	if claims["oid"] != objects[0] || claims["xms_mirid"] != firstID || claims["appid"] != clients[0] || body["client_id"] != clients[0] {
		t.Errorf("a user-assigned identity: %v", claims)
	}
	if _, text := body["expires_on"].(string); !text || body["token_type"] != "Bearer" {
		t.Errorf("answer %v", body)
	}
}

func TestWhoIsMeant(t *testing.T) {
	c, clients, objects := assigned(t, Config{})
	both := users(firstID, secondID)
	both["type"] = "SystemAssigned, UserAssigned"
	for _, row := range []struct {
		name     string
		identity map[string]any
		selector []string
		imds     string // oid: "own", "first", "second", or what the error contains
		app      string
	}{
		{"no identity at all", map[string]any{"type": "None"}, nil, "Identity not found", "Unable to load the proper Managed Identity."},
		{"the system's, without a selector", map[string]any{"type": "SystemAssigned"}, nil, "own", "own"},
		{"the system's, though there are others", both, nil, "own", "own"},
		{"the only one of the user's, without a selector", users(firstID), nil, "first", "Unable to load the proper Managed Identity."},
		{"one of several, without a selector", users(firstID, secondID), nil, "Multiple user assigned identities exist", "Unable to load the proper Managed Identity."},
		{"by client id", both, []string{"client_id", strings.ToUpper(clients[1])}, "second", "second"},
		{"by object id", both, []string{"object_id", objects[1]}, "second", "second"},
		{"by principal id", both, []string{"principal_id", objects[0]}, "first", "first"},
		{"by the resource id of IMDS", both, []string{"msi_res_id", strings.ToLower(secondID)}, "second", "second"},
		{"by the resource id of App Service", both, []string{"mi_res_id", firstID}, "first", "first"},
		{"one that is not assigned", users(firstID), []string{"client_id", clients[1]}, "Identity not found", "No User Assigned or Delegated Managed Identity found"},
		{"one that does not exist", users(firstID), []string{"object_id", c.TenantID()}, "Identity not found", "No User Assigned or Delegated Managed Identity found"},
		{"two selectors at once", both, []string{"client_id", clients[0], "object_id", objects[1]}, "invalid_request", "more than one identity"},
		{"a selector twice", both, []string{"client_id", clients[0], "client_id", clients[1]}, "invalid_request", "more than once"},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := machineID + "-" + strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r
				}
				return -1
			}, row.name)
			shown := put(t, c, id, row.identity)
			who := map[string]any{"first": objects[0], "second": objects[1]}
			if block, _ := shown["identity"].(map[string]any); block["principalId"] != nil {
				who["own"] = block["principalId"]
			}
			i := endpoint(t, c, id)
			for want, got := range map[string]func() (int, map[string]any){
				"imds " + row.imds: func() (int, map[string]any) { return imds(t, c, i, row.selector...) },
				"app " + row.app:   func() (int, map[string]any) { return appService(t, c, i, row.selector...) },
			} {
				status, body := got()
				_, want, _ := strings.Cut(want, " ")
				if oid := who[want]; oid != nil {
					if status != 200 || claimsOf(t, c, body, armResource)["oid"] != oid {
						t.Errorf("%d %v; want %s", status, body, want)
					}
				} else if text := fmt.Sprint(body); status != 400 || !strings.Contains(text, want) {
					t.Errorf("%d %s; want %q", status, text, want)
				}
			}
		})
	}
}

func TestWhatTheEndpointsRefuse(t *testing.T) {
	c, clients, _ := assigned(t, Config{})
	put(t, c, machineID, users(firstID))
	i := endpoint(t, c, machineID)
	secret := i.Header.Reveal()
	good := query("2018-02-01", nil)
	for _, row := range []struct {
		name   string
		at     string
		query  url.Values
		header []string
		status int
		want   string
	}{
		{"IMDS without the header", i.IMDS + msi.IMDSPath, good, nil, 400, "bad_request_102"},
		{"IMDS with the header in another case", i.IMDS + msi.IMDSPath, good, []string{"Metadata", "True"}, 400, "Required metadata header not specified"},
		{"IMDS behind a proxy", i.IMDS + msi.IMDSPath, good, []string{"Metadata", "true", "X-Forwarded-For", "10.0.0.1"}, 400, "invalid_request"},
		{"IMDS without a version", i.IMDS + msi.IMDSPath, query("", nil), []string{"Metadata", "true"}, 400, "newest-versions"},
		{"IMDS with a version that is none", i.IMDS + msi.IMDSPath, query("2018-02-02", nil), []string{"Metadata", "true"}, 400, "api-version is invalid"},
		{"IMDS without a resource", i.IMDS + msi.IMDSPath, query("2018-02-01", []string{"resource", ""}), []string{"Metadata", "true"}, 400, "'resource' is missing"},
		{"IMDS for a resource that nobody is", i.IMDS + msi.IMDSPath, query("2018-02-01", []string{"resource", "", "resource", "https://nowhere.example"}), []string{"Metadata", "true"}, 400, "invalid_resource error_description:AADSTS500011"},
		{"IMDS for a scope instead of a resource", i.IMDS + msi.IMDSPath, query("2018-02-01", []string{"resource", "", "resource", "https://vault.azure.net/.default"}), []string{"Metadata", "true"}, 400, "AADSTS500011"},
		{"other metadata", i.IMDS + "/metadata/instance", good, []string{"Metadata", "true"}, 404, "not_found"},
		{"App Service without the header", i.Endpoint, query("2019-08-01", nil), nil, 401, "statusCode:401"},
		{"App Service with a wrong header", i.Endpoint, query("2019-08-01", nil), []string{"X-IDENTITY-HEADER", secret[1:]}, 401, "statusCode:401"},
		{"App Service with an empty header", i.Endpoint, query("2019-08-01", nil), []string{"X-IDENTITY-HEADER", ""}, 401, "statusCode:401"},
		{"App Service with the old version", i.Endpoint, query("2017-09-01", nil), []string{"X-IDENTITY-HEADER", secret}, 400, "api-version"},
		{"App Service without a resource", i.Endpoint, query("2019-08-01", []string{"resource", ""}), []string{"X-IDENTITY-HEADER", secret}, 400, "resource parameter is missing"},
		{"App Service for a resource that nobody is", i.Endpoint, query("2019-08-01", []string{"client_id", clients[0], "resource", "", "resource", "api://nobody"}), []string{"X-IDENTITY-HEADER", secret}, 400, "AADSTS500011"},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, body := ask(t, c, row.at, row.query, row.header...)
			if text := fmt.Sprint(body); status != row.status || !strings.Contains(text, row.want) {
				t.Errorf("%d %s; want %d %s", status, text, row.status, row.want)
			}
		})
	}
	for _, r := range c.Requests() {
		if r.Plane == planeIdentity && strings.Contains(r.URL, secret) {
			t.Errorf("the log shows the header: %s", r.URL)
		}
	}
	if n := c.Counts()[planeIdentity].Requests; n != 15 {
		t.Errorf("%d requests in the log", n)
	}
}

// What the resource is given and what is taken from it counts at each request, and after the lag.
func TestAssignmentIsJudgedAtEachRequest(t *testing.T) {
	key := testKey()
	synctest.Test(t, func(t *testing.T) {
		c, clients, objects := assigned(t, Config{SigningKey: key, OperatorKey: key})
		put(t, c, botID, users(firstID))
		i := endpoint(t, c, botID)
		if status, body := appService(t, c, i, "client_id", clients[0]); status != 200 {
			t.Fatal(body)
		}
		must(t, c.SetKnobs(Knobs{Lag: Lag{Login: time.Minute}}))
		put(t, c, botID, users(secondID))
		time.Sleep(2 * time.Minute)
		if status, body := appService(t, c, i, "client_id", clients[0]); status != 400 {
			t.Errorf("after it was taken away: %d %v", status, body)
		}
		if status, _ := appService(t, c, i, "client_id", clients[1]); status != 200 {
			t.Errorf("the new one: %d", status)
		}
		w := c.world.Load()
		must(t, w.store.Write(func(tx replica.Tx) error {
			sp, _ := w.dir.ServicePrincipals.Get(tx.View, objects[1])
			sp.AccountEnabled = false
			w.dir.ServicePrincipals.Put(tx, sp.ID, sp)
			return nil
		}))
		time.Sleep(2 * time.Minute)
		if status, body := appService(t, c, i, "client_id", clients[1]); status != 400 || !strings.Contains(fmt.Sprint(body), "AADSTS7000112") {
			t.Errorf("a disabled one: %d %v", status, body)
		}
		must(t, w.store.Write(func(tx replica.Tx) error {
			w.dir.ServicePrincipals.Delete(tx, objects[1])
			return nil
		}))
		time.Sleep(2 * time.Minute)
		if status, body := appService(t, c, i, "client_id", clients[1]); status != 400 || !strings.Contains(fmt.Sprint(body), "AADSTS700016") {
			t.Errorf("a deleted one: %d %v", status, body)
		}
	})
}

func TestADeletedResourceHasNoEndpoint(t *testing.T) {
	c, _, _ := assigned(t, Config{})
	put(t, c, machineID, map[string]any{"type": "SystemAssigned"})
	i := endpoint(t, c, machineID)
	remove(t, c, machineID+"?api-version=2024-07-01")
	if status, body := imds(t, c, i); status != 404 {
		t.Errorf("IMDS: %d %v", status, body)
	}
	if status, body := appService(t, c, i); status != 404 {
		t.Errorf("App Service: %d %v", status, body)
	}
	if _, err := c.Identity(machineID); !errors.Is(err, ErrNoResource) {
		t.Errorf("a new endpoint: %v", err)
	}
}

// remove deletes a resource as its owner, admin.
func remove(t *testing.T, c *Cloud, path string) {
	t.Helper()
	var password string
	for _, o := range c.Operators() {
		if o.Name == "admin" {
			password = o.Password.Reveal()
		}
	}
	form := url.Values{"grant_type": {"password"}, "client_id": {directory.AzureCLIAppID}, "username": {"admin@" + c.Domain()}, "password": {password}, "scope": {armResource + "/.default"}}
	hc := &http.Client{Transport: c.Transport()}
	resp, err := hc.PostForm(c.Endpoints().Login+"/"+c.TenantID()+"/oauth2/v2.0/token", form)
	must(t, err)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	must(t, json.NewDecoder(resp.Body).Decode(&token))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, c.Endpoints().ARM+path, nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token.AccessToken)
	if resp, err = hc.Do(r); err != nil || resp.StatusCode >= 300 {
		t.Fatal(resp, err)
	}
}

func TestWhatHasNoEndpoint(t *testing.T) {
	c, _, _ := assigned(t, Config{})
	put(t, c, machineID, nil)
	for _, row := range []struct {
		id   string
		want error
	}{
		{"", ErrNotAResource},
		{"machine", ErrNotAResource},
		{"/subscriptions/" + DefaultSubscriptionID, ErrNotAResource},
		{"/subscriptions/" + DefaultSubscriptionID + "/resourceGroups/" + DefaultGroup, ErrNotAResource},
		{machineID + "x", ErrNoResource},
		{machineID, ErrNoIdentity},
		{firstID, ErrNoIdentity},
	} {
		if _, err := c.Identity(row.id); !errors.Is(err, row.want) {
			t.Errorf("%q: %v; want %v", row.id, err, row.want)
		}
	}
}

func TestEndpointsAreOnLoopbackAndEndWithTheCloud(t *testing.T) {
	dir := t.TempDir()
	c := listen(t, Config{RunDir: dir, StateFile: filepath.Join(dir, "cloud.jsonl")})
	put(t, c, machineID, map[string]any{"type": "SystemAssigned"})
	put(t, c, botID, map[string]any{"type": "SystemAssigned"})
	run, err := ReadRun(t.Context(), dir)
	must(t, err)
	m, err := run.Manage()
	must(t, err)
	defer m.Close()
	i, err := m.Identity(t.Context(), machineID)
	must(t, err)
	again, err := m.Identity(t.Context(), strings.ToLower(machineID))
	must(t, err)
	other, err := m.Identity(t.Context(), botID)
	must(t, err)
	if again.IMDS != i.IMDS || again.Header.Reveal() != i.Header.Reveal() || other.IMDS == i.IMDS || other.Header.Reveal() == i.Header.Reveal() {
		t.Error("each resource has one endpoint")
	}
	if !strings.HasPrefix(i.IMDS, "http://127.0.0.1:") || i.Endpoint != i.IMDS+"/msi/token" || strings.Contains(fmt.Sprintf("%v %+v", i, i), i.Header.Reveal()) {
		t.Errorf("got %+v", i)
	}
	for id, want := range map[string]error{"x": ErrNotAResource, machineID + "x": ErrNoResource, managedGroup + "Microsoft.KeyVault/vaults/" + DefaultVault: ErrNoIdentity} {
		if _, err := m.Identity(t.Context(), id); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	get := func() (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.IMDS+msi.IMDSPath+"?"+query("2018-02-01", nil).Encode(), nil)
		must(t, err)
		r.Header.Set("Metadata", "true")
		resp, err := tr.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	if status, err := get(); status != 200 {
		t.Fatal(status, err)
	}
	if _, err := c.Transport().RoundTrip(httpsOf(t, i.IMDS)); err == nil {
		t.Error("it answers over https")
	}
	_, err = m.Reset(t.Context())
	must(t, err)
	if status, err := get(); err == nil {
		t.Errorf("after a reset it answers %d", status)
	}
	put(t, c, machineID, map[string]any{"type": "SystemAssigned"})
	if i, err = m.Identity(t.Context(), machineID); err != nil || i.IMDS == again.IMDS && i.Header.Reveal() == again.Header.Reveal() {
		t.Errorf("after a reset: %v, %v", i, err)
	}
	must(t, c.Close())
	if status, err := get(); err == nil {
		t.Errorf("after the end it answers %d", status)
	}
}

func httpsOf(t *testing.T, base string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(base, "http:", "https:", 1)+msi.IMDSPath, nil)
	must(t, err)
	return r
}

func TestEndpointsMeetFaultsToo(t *testing.T) {
	c, _, _ := assigned(t, Config{})
	put(t, c, machineID, map[string]any{"type": "SystemAssigned"})
	i := endpoint(t, c, machineID)
	must(t, c.SetKnobs(Knobs{Throttle: 1}))
	if status, body := imds(t, c, i); status != 429 || body["error"] != "too_many_requests" {
		t.Errorf("%d %v", status, body)
	}
	last := c.Requests()[len(c.Requests())-1]
	if last.Plane != planeIdentity || last.Status != 429 || last.Fault != "throttled" {
		t.Errorf("logged %+v", last)
	}
}
