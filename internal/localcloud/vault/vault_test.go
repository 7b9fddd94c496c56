package vault

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const (
	tenantID = "11111111-1111-1111-1111-111111111111"
	subID    = "22222222-2222-2222-2222-222222222222"
	group    = "/subscriptions/" + subID + "/resourceGroups/rg"
	vaultID  = group + "/providers/Microsoft.KeyVault/vaults/kv-one"

	officer = "aaaaaaaa-0000-0000-0000-000000000001" // Key Vault Secrets Officer of the vault
	user    = "aaaaaaaa-0000-0000-0000-000000000002" // Key Vault Secrets User of secrets/mine alone
	owner   = "aaaaaaaa-0000-0000-0000-000000000003" // Owner of the group: no data actions
	staff   = "aaaaaaaa-0000-0000-0000-000000000004" // a group, in access policies; user is in it
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

type fixture struct {
	*Service
	t     *testing.T
	store *replica.Store
}

func newFixture(t *testing.T, properties object) *fixture {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	auth, err := authority.New(time.Now, func(v string) string { return "https://login.test/" + tenantID + "/" + v }, key)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, store: replica.New(replica.Options{Seed: 3})}
	dir := directory.New(f.store, directory.Tenant{ID: tenantID})
	env := service.Env{
		Dir: dir, Auth: auth, Now: time.Now, TokenLifetime: func() time.Duration { return time.Hour },
		Endpoints: func() service.Endpoints { return service.Endpoints{Login: "https://login.test"} },
		NewID:     uuid.NewString, Random: func(n int) []byte { b := make([]byte, n); _, _ = rand.Read(b); return b },
	}
	a := arm.New(env)
	f.Service = New(env, a)
	err = f.store.Write(func(tx replica.Tx) error {
		dir.Groups.Put(tx, staff, directory.Group{ID: staff, Members: []string{user}})
		a.AddSubscription(tx, subID, "Dev")
		a.AddGroup(tx, subID, "rg", "eastus")
		if _, err := a.AddResource(tx, vaultID, object{"location": "eastus", "properties": properties}); err != nil {
			return err
		}
		for _, g := range [][3]string{{vaultID, "Key Vault Secrets Officer", officer}, {vaultID + "/secrets/mine", "Key Vault Secrets User", user}, {group, "Owner", owner}} {
			if _, err := a.Assign(tx, g[0], g[1], g[2], "User"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rbacVault(t *testing.T) *fixture { return newFixture(t, object{"enableRbacAuthorization": true}) }

func (f *fixture) token(oid string, change func(*authority.Claims)) string {
	f.t.Helper()
	now := time.Now()
	c := authority.Claims{Audience: Resource, NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix(), TenantID: tenantID, ObjectID: oid, AppID: "app-" + oid}
	if change != nil {
		change(&c)
	}
	raw, err := f.env.Auth.Mint(c)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

type answer struct {
	*httptest.ResponseRecorder
	body object
}

func (a answer) error(key string) string {
	e, _ := a.body["error"].(object)
	if key == "inner" {
		e, _ = e["innererror"].(object)
		key = "code"
	}
	text, _ := e[key].(string)
	return text
}

func (a answer) want(t *testing.T, status int, code, inner string) answer {
	t.Helper()
	if a.Code != status || a.error("code") != code || a.error("inner") != inner {
		t.Fatalf("got %d %q %q, want %d %q %q: %s", a.Code, a.error("code"), a.error("inner"), status, code, inner, a.Body)
	}
	return a
}

func (a answer) text(key string) string { s, _ := a.body[key].(string); return s }

func (a answer) items() []any { l, _ := a.body["value"].([]any); return l }

func (f *fixture) as(oid, method, path string, body any) answer {
	f.t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return f.send(method, path+sep+"api-version=2026-04-01", body, "Bearer "+f.token(oid, nil))
}

func (f *fixture) send(method, path string, body any, authorization string) answer {
	f.t.Helper()
	return f.at("kv-one", method, path, body, authorization)
}

func (f *fixture) at(vault, method, path string, body any, authorization string) answer {
	f.t.Helper()
	raw := []byte(nil)
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			f.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, "https://"+vault+".vault.test"+path, strings.NewReader(string(raw)))
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	a := answer{ResponseRecorder: httptest.NewRecorder()}
	f.Of(vault).ServeHTTP(a.ResponseRecorder, r)
	if a.Body.Len() > 0 && json.Unmarshal(a.Body.Bytes(), &a.body) != nil {
		f.t.Fatalf("%s %s: the answer is no JSON: %s", method, path, a.Body)
	}
	return a
}

func TestTheChallenge(t *testing.T) {
	f := rbacVault(t)
	bearer := func(change func(*authority.Claims)) string { return "Bearer " + f.token(officer, change) }
	for _, row := range []struct{ name, authorization, says string }{
		{"no token", "", "AKV10000"},
		{"a broken token", "Bearer a.b.c", "[BadToken]"},
		{"an expired token", bearer(func(c *authority.Claims) { c.Expires = 1 }), "[TokenExpired]"},
		{"a token for ARM", bearer(func(c *authority.Claims) { c.Audience = "https://management.azure.com" }), "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://management.azure.com"},
		{"a token of another tenant", bearer(func(c *authority.Claims) { c.TenantID = subID }), "AKV10032"},
		{"a token of another issuer", bearer(func(c *authority.Claims) { c.Issuer = "https://elsewhere.test" }), "AKV10032"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := f.send("PUT", "/secrets/x?api-version=7.4", nil, row.authorization).want(t, 401, "Unauthorized", "")
			if !strings.Contains(a.error("message"), row.says) {
				t.Errorf("got %s", a.error("message"))
			}
			if want := `Bearer authorization="https://login.test/` + tenantID + `", resource="https://vault.azure.net"`; a.Header().Get("WWW-Authenticate") != want {
				t.Errorf("got  %s\nwant %s", a.Header().Get("WWW-Authenticate"), want)
			}
		})
	}
	f.send("GET", "/secrets?api-version=7.4", nil, bearer(func(c *authority.Claims) { c.Audience = directory.VaultAppID })).want(t, 200, "", "")
	f.send("GET", "/secrets", nil, bearer(nil)).want(t, 400, "BadParameter", "")
}

func TestWhoMayDoWhatWithRoles(t *testing.T) {
	f := rbacVault(t)
	for _, n := range []string{"mine", "other"} {
		f.as(officer, "PUT", "/secrets/"+n, object{"value": "v"}).want(t, 200, "", "")
	}
	for _, row := range []struct {
		name, who, method, path string
		status                  int
		action                  string
	}{
		{"a user reads the one secret", user, "GET", "/secrets/mine", 200, ""},
		{"a user does not read another", user, "GET", "/secrets/other", 403, "getSecret/action"},
		{"a user does not list", user, "GET", "/secrets", 403, "readMetadata/action"},
		{"a user does not write", user, "PUT", "/secrets/mine", 403, "setSecret/action"},
		{"a user does not delete", user, "DELETE", "/secrets/mine", 403, "delete"},
		{"a user does not back up", user, "POST", "/secrets/mine/backup", 403, "backup/action"},
		{"a user does not purge", user, "DELETE", "/deletedsecrets/mine", 403, "purge/action"},
		{"a user does not recover", user, "POST", "/deletedsecrets/mine/recover", 403, "recover/action"},
		{"a user does not restore", user, "POST", "/secrets/restore", 403, "restore/action"},
		{"an owner of the group reads no secret", owner, "GET", "/secrets/mine", 403, "getSecret/action"},
		{"refusal does not tell whether a secret exists", owner, "GET", "/secrets/none", 403, "getSecret/action"},
		{"an officer lists", officer, "GET", "/secrets", 200, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := f.as(row.who, row.method, row.path, object{"value": "x"})
			if row.status == 200 {
				a.want(t, 200, "", "")
				return
			}
			a.want(t, 403, "Forbidden", "ForbiddenByRbac")
			for _, part := range []string{"Action: 'Microsoft.KeyVault/vaults/secrets/" + row.action + "'", "Caller: appid=app-" + row.who + ";oid=" + row.who + ";iss=https://sts.windows.net/" + tenantID + "/", "Vault: kv-one;location=eastus"} {
				if !strings.Contains(a.error("message"), part) {
					t.Errorf("%q is not in %s", part, a.error("message"))
				}
			}
		})
	}
}

func TestAccessPolicies(t *testing.T) {
	policy := func(who string, permissions ...string) object {
		return object{"tenantId": tenantID, "objectId": who, "permissions": object{"secrets": permissions}}
	}
	f := newFixture(t, object{"enableRbacAuthorization": false, "accessPolicies": []object{policy(owner, "All"), policy(staff, "Get")}})
	f.as(owner, "PUT", "/secrets/a", object{"value": "v"}).want(t, 200, "", "")
	f.as(user, "GET", "/secrets/a", nil).want(t, 200, "", "")
	a := f.as(user, "GET", "/secrets", nil).want(t, 403, "Forbidden", "ForbiddenByPolicy")
	if !strings.Contains(a.error("message"), "does not have secrets list permission on key vault 'kv-one;location=eastus'") {
		t.Errorf("got %s", a.error("message"))
	}
	f.as(officer, "GET", "/secrets/a", nil).want(t, 403, "Forbidden", "ForbiddenByPolicy") // a role counts for nothing here
}

// A policy with an application beside the principal is for a person who comes by way of that application (Microsoft, "Azure Key Vault
// security": application-plus-user access).
func TestAPolicyForAnApplicationAndAPerson(t *testing.T) {
	const app = "99999999-0000-0000-0000-000000000009"
	f := newFixture(t, object{"enableRbacAuthorization": false, "accessPolicies": []object{
		{"tenantId": tenantID, "objectId": owner, "applicationId": strings.ToUpper(app), "permissions": object{"secrets": []string{"all"}}},
		{"tenantId": tenantID, "objectId": user, "applicationId": "", "permissions": object{"secrets": []string{"list"}}},
		{"tenantId": tenantID, "objectId": staff, "applicationId": app, "permissions": object{"secrets": []string{"set"}}}}})
	for _, row := range []struct {
		name, who, method, client, scope string
		may                              bool
	}{
		{"the person by way of the application", owner, "GET", app, "user_impersonation", true},
		{"the person by way of another", owner, "GET", "99999999-0000-0000-0000-000000000008", "user_impersonation", false},
		{"a token without a person", owner, "GET", app, "", false},
		{"a member of the group by way of the application", user, "PUT", app, "user_impersonation", true},
		{"a member of the group by way of another", user, "PUT", "app", "user_impersonation", false},
		{"a policy whose application is empty is for all", user, "GET", "app", "user_impersonation", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			token := f.token(row.who, func(c *authority.Claims) { c.AppID, c.Scope = row.client, row.scope })
			path, body := "/secrets?api-version=7.4", any(nil)
			if row.method == "PUT" {
				path, body = "/secrets/a?api-version=7.4", object{"value": "v"}
			}
			if a := f.send(row.method, path, body, "Bearer "+token); (a.Code == 200) != row.may || !row.may && a.error("inner") != "ForbiddenByPolicy" {
				t.Errorf("got %d %s", a.Code, a.Body)
			}
		})
	}
}

func TestASecretFromSetToPurge(t *testing.T) {
	f := rbacVault(t)
	do := func(method, path string, body any) answer { return f.as(officer, method, path, body) }
	do("GET", "/secrets/s", nil).want(t, 404, "SecretNotFound", "")
	do("PUT", "/secrets/bad_name", object{"value": "v"}).want(t, 400, "BadParameter", "")
	do("PUT", "/secrets/s", object{}).want(t, 400, "BadParameter", "")
	do("PUT", "/secrets/s", nil).want(t, 400, "BadParameter", "")
	do("PUT", "/secrets/s", object{"value": strings.Repeat("x", maxValue+1)}).want(t, 400, "BadParameter", "")
	first := do("PUT", "/secrets/s", object{"value": "one", "contentType": "text/plain", "tags": object{"a": "b"}}).want(t, 200, "", "")
	second := do("PUT", "/secrets/S", object{"value": "two", "attributes": object{"exp": 5}}).want(t, 200, "", "")
	id := func(a answer) string { return strings.TrimPrefix(a.text("id"), "https://kv-one.vault.test/secrets/s/") }
	if len(id(first)) != 32 || len(id(second)) != 32 || first.text("value") != "one" {
		t.Fatalf("got %s and %s", first.Body, second.Body)
	}
	for path, want := range map[string]string{"/secrets/s": "two", "/secrets/s/": "two", "/secrets/s/" + id(first): "one", "/secrets/s/" + id(second): "two"} {
		if a := do("GET", path, nil).want(t, 200, "", ""); a.text("value") != want {
			t.Errorf("%s is %s", path, a.Body)
		}
	}
	do("GET", "/secrets/s/"+strings.Repeat("0", 32), nil).want(t, 404, "SecretNotFound", "")
	if a := do("GET", "/secrets/s/versions", nil).want(t, 200, "", ""); len(a.items()) != 2 || strings.Contains(a.Body.String(), `"value":"`) {
		t.Errorf("got %s", a.Body)
	}
	if a := do("PATCH", "/secrets/s/"+id(first), object{"attributes": object{"enabled": false}}).want(t, 200, "", ""); a.text("value") != "" || a.text("contentType") != "text/plain" {
		t.Errorf("got %s", a.Body)
	}
	do("GET", "/secrets/s/"+id(first), nil).want(t, 403, "Forbidden", "SecretDisabled")
	do("PATCH", "/secrets/none", object{}).want(t, 404, "SecretNotFound", "")

	gone := do("DELETE", "/secrets/s", nil).want(t, 200, "", "")
	if gone.text("recoveryId") != "https://kv-one.vault.test/deletedsecrets/s" || gone.body["deletedDate"] == nil || strings.Contains(gone.Body.String(), "two") {
		t.Errorf("got %s", gone.Body)
	}
	do("GET", "/secrets/s", nil).want(t, 404, "SecretNotFound", "")
	do("DELETE", "/secrets/s", nil).want(t, 404, "SecretNotFound", "")
	do("PUT", "/secrets/s", object{"value": "v"}).want(t, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	do("GET", "/deletedsecrets/s", nil).want(t, 200, "", "")
	if a := do("GET", "/deletedsecrets", nil); len(a.items()) != 1 {
		t.Errorf("got %s", a.Body)
	}
	do("POST", "/deletedsecrets/s/recover", nil).want(t, 200, "", "")
	do("POST", "/deletedsecrets/s/recover", nil).want(t, 404, "SecretNotFound", "")
	do("DELETE", "/deletedsecrets/s", nil).want(t, 404, "SecretNotFound", "")
	if a := do("GET", "/secrets/s", nil).want(t, 200, "", ""); a.text("value") != "two" {
		t.Errorf("got %s", a.Body)
	}
	do("DELETE", "/secrets/s", nil).want(t, 200, "", "")
	do("DELETE", "/deletedsecrets/s", nil).want(t, 204, "", "")
	do("GET", "/deletedsecrets/s", nil).want(t, 404, "SecretNotFound", "")
	do("GET", "/storage/x", nil).want(t, 404, "NotFound", "")
}

func TestPurgeProtectionAndClosedVaults(t *testing.T) {
	f := newFixture(t, object{"enableRbacAuthorization": true, "enablePurgeProtection": true})
	f.as(officer, "PUT", "/secrets/s", object{"value": "v"}).want(t, 200, "", "")
	f.as(officer, "DELETE", "/secrets/s", nil).want(t, 200, "", "")
	f.as(officer, "DELETE", "/deletedsecrets/s", nil).want(t, 403, "Forbidden", "PurgeProtectionEnabled")
	f = newFixture(t, object{"enableRbacAuthorization": true, "publicNetworkAccess": "Disabled"})
	f.as(officer, "GET", "/secrets/s", nil).want(t, 403, "Forbidden", "ForbiddenByConnection")
}

func TestADeletedSecretIsPurgedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, object{"enableRbacAuthorization": true, "softDeleteRetentionInDays": 7})
		f.as(officer, "PUT", "/secrets/s", object{"value": "v"}).want(t, 200, "", "")
		f.as(officer, "DELETE", "/secrets/s", nil).want(t, 200, "", "")
		time.Sleep(7*24*time.Hour - time.Second)
		f.as(officer, "GET", "/deletedsecrets/s", nil).want(t, 200, "", "")
		time.Sleep(time.Second)
		f.as(officer, "GET", "/deletedsecrets/s", nil).want(t, 404, "SecretNotFound", "")
		a := f.as(officer, "PUT", "/secrets/s", object{"value": "again"}).want(t, 200, "", "")
		if v := f.as(officer, "GET", "/secrets/s/versions", nil); len(v.items()) != 1 || a.text("value") != "again" {
			t.Errorf("the purged versions are back: %s", v.Body)
		}
	})
}

func TestBackup(t *testing.T) {
	f := rbacVault(t)
	f.as(officer, "PUT", "/secrets/s", object{"value": "hush-hush"}).want(t, 200, "", "")
	blob := f.as(officer, "POST", "/secrets/s/backup", nil).want(t, 200, "", "").text("value")
	f.as(officer, "POST", "/secrets/restore", object{"value": blob}).want(t, 409, "Conflict", "")
	f.as(officer, "DELETE", "/secrets/s", nil).want(t, 200, "", "")
	f.as(officer, "POST", "/secrets/restore", object{"value": blob}).want(t, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	f.as(officer, "DELETE", "/deletedsecrets/s", nil).want(t, 204, "", "")
	for _, bad := range []string{"", "x", blob[:len(blob)-2], "AAAA" + blob[4:]} {
		f.as(officer, "POST", "/secrets/restore", object{"value": bad}).want(t, 400, "BadParameter", "")
	}
	f.as(officer, "POST", "/secrets/restore", object{"value": blob}).want(t, 200, "", "")
	if a := f.as(officer, "GET", "/secrets/s", nil); a.text("value") != "hush-hush" {
		t.Errorf("got %s", a.Body)
	}
}

// A backup comes back in its own subscription and geography only (Microsoft, "Azure Key Vault backup and restore").
func TestABackupStaysInItsSubscriptionAndGeography(t *testing.T) {
	const other = "33333333-3333-3333-3333-333333333333"
	f := rbacVault(t)
	f.as(officer, "PUT", "/secrets/s", object{"value": "hush-hush"}).want(t, 200, "", "")
	blob := f.as(officer, "POST", "/secrets/s/backup", nil).want(t, 200, "", "").text("value")
	if err := f.store.Write(func(tx replica.Tx) error {
		f.arm.AddSubscription(tx, other, "Other")
		f.arm.AddGroup(tx, other, "rg", "eastus")
		for id, location := range map[string]string{
			group + "/providers/Microsoft.KeyVault/vaults/kv-near":                                         "westus2",
			group + "/providers/Microsoft.KeyVault/vaults/kv-spoken":                                       "West US 3",
			group + "/providers/Microsoft.KeyVault/vaults/kv-far":                                          "westeurope",
			group + "/providers/Microsoft.KeyVault/vaults/kv-nowhere":                                      "atlantis",
			"/subscriptions/" + other + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv-theirs": "eastus",
		} {
			if _, err := f.arm.AddResource(tx, id, object{"location": location, "properties": object{"enableRbacAuthorization": true}}); err != nil {
				return err
			}
			if _, err := f.arm.Assign(tx, id, "Key Vault Secrets Officer", officer, "User"); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for vault, status := range map[string]int{"kv-near": 200, "kv-spoken": 200, "kv-far": 400, "kv-nowhere": 400, "kv-theirs": 400} {
		code := ""
		if status != 200 {
			code = "BadParameter"
		}
		t.Run(vault, func(t *testing.T) {
			f.at(vault, "POST", "/secrets/restore?api-version=7.4", object{"value": blob}, "Bearer "+f.token(officer, nil)).want(t, status, code, "")
		})
	}
}

func TestALongListComesInPages(t *testing.T) {
	f := rbacVault(t)
	for i := range 30 {
		f.as(officer, "PUT", fmt.Sprintf("/secrets/s%02d", i), object{"value": "v"}).want(t, 200, "", "")
	}
	seen, pages := map[any]bool{}, 0
	path := "/secrets?maxresults=12&api-version=7.4"
	for ; path != ""; pages++ {
		a := f.send("GET", path, nil, "Bearer "+f.token(officer, nil)).want(t, 200, "", "")
		for _, i := range a.items() {
			seen[i.(object)["id"]] = true
		}
		path = strings.TrimPrefix(a.text("nextLink"), "https://kv-one.vault.test")
	}
	if pages != 3 || len(seen) != 30 || !seen["https://kv-one.vault.test/secrets/s00"] {
		t.Errorf("got %d secrets in %d pages", len(seen), pages)
	}
	f.as(officer, "GET", "/secrets?maxresults=26", nil).want(t, 400, "BadParameter", "")
	f.as(officer, "GET", "/secrets?$skiptoken=%25", nil).want(t, 400, "BadParameter", "")
	next := f.as(officer, "GET", "/secrets?maxresults=12", nil).text("nextLink")
	_, token, _ := strings.Cut(next, "skiptoken=")
	token, _, _ = strings.Cut(token, "&")
	for name, path := range map[string]string{
		"one that nobody gave":     "/secrets?$skiptoken=" + b64u([]byte("s20")),
		"one that is cut short":    "/secrets?$skiptoken=" + token[:len(token)-4],
		"one of another list":      "/deletedsecrets?$skiptoken=" + token,
		"one of a secret's list":   "/secrets/s00/versions?$skiptoken=" + token,
		"one that is text":         "/secrets?$skiptoken=zzz",
		"one that is a great deal": "/secrets?$skiptoken=" + strings.Repeat("A", 4096),
	} {
		if a := f.as(officer, "GET", path, nil); a.Code != 400 || a.error("code") != "BadParameter" {
			t.Errorf("%s: got %d %s", name, a.Code, a.Body)
		}
	}
}

func TestARoleComesIntoForceLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := rbacVault(t)
		f.store.SetLag(replica.Vault, 5*time.Minute)
		const late = "aaaaaaaa-0000-0000-0000-00000000000f"
		if err := f.store.Write(func(tx replica.Tx) error {
			f.Plant(tx, "kv-one", "mine", "v")
			_, err := f.arm.Assign(tx, vaultID, "Key Vault Secrets User", late, "ServicePrincipal")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for range 30 {
			if f.as(late, "GET", "/secrets/mine", nil).Code == 403 {
				refused++
			}
		}
		if refused == 0 {
			t.Error("the role was in force everywhere at once")
		}
		time.Sleep(5*time.Minute + time.Second)
		for range 30 {
			f.as(late, "GET", "/secrets/mine", nil).want(t, 200, "", "")
		}
	})
}

func TestVersionsOfTheDataPlane(t *testing.T) {
	f := rbacVault(t)
	for version, status := range map[string]int{"7.4": 200, "7.6": 200, "2025-07-01": 200, "2026-04-01": 200, "7.0": 200, "9.0": 400, "7": 400, "2024-11-01": 400, "": 400} {
		code := ""
		if status == 400 {
			code = "BadParameter"
		}
		f.send("GET", "/secrets?api-version="+version, nil, "Bearer "+f.token(officer, nil)).want(t, status, code, "")
	}
}
