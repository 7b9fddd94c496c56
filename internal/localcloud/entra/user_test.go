package entra

import (
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const userScope = "https://graph.microsoft.com/.default openid profile offline_access"

func (w *world) signIn(scope string) reply {
	return w.post(tokenPath, form("grant_type", "password", "client_id", directory.AzureCLIAppID, "username", "Alice@contoso.onmicrosoft.com", "password", password, "scope", scope, "client_info", "1"))
}

func TestUserTokens(t *testing.T) {
	w := newWorld(t)
	got := w.signIn(userScope)
	want(t, "status", got.status, 200)
	want(t, "foci", got.text("foci"), "1")
	info, _ := base64.RawURLEncoding.DecodeString(got.text("client_info"))
	want(t, "client_info", string(info), `{"uid":"`+aliceID+`","utid":"`+tenantID+`"}`)
	if !strings.HasSuffix(got.text("scope"), " https://graph.microsoft.com/.default") || !strings.Contains(got.text("scope"), "https://graph.microsoft.com/Directory.AccessAsUser.All ") {
		t.Errorf("scope %q", got.text("scope"))
	}
	c := w.claims(got, "access_token")
	want(t, "scp", words(c["scp"]), "AppRoleAssignment.ReadWrite.All Application.ReadWrite.All AuditLog.Read.All DelegatedPermissionGrant.ReadWrite.All Directory.AccessAsUser.All Group.ReadWrite.All User.Read.All User.ReadWrite.All email openid profile")
	want(t, "wids", words(c["wids"]), directory.ApplicationAdministrator+" "+defaultUserRole)
	want(t, "appidacr", words(c["appidacr"]), "0")
	want(t, "oid", words(c["oid"]), aliceID)
	id := w.claims(got, "id_token")
	want(t, "id aud", words(id["aud"]), directory.AzureCLIAppID)
	want(t, "id preferred_username", words(id["preferred_username"]), alice)
	want(t, "id tid", words(id["tid"]), tenantID)

	arm := w.claims(w.signIn(armScope), "access_token")
	want(t, "ARM scp", words(arm["scp"]), userImpersonates)
	if plain := w.signIn(armScope); plain.body["id_token"] != nil || plain.body["refresh_token"] != nil {
		t.Errorf("tokens that were not asked for: %s", plain.raw)
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	first := w.signIn(userScope).text("refresh_token")
	ask := func(client, token, scope string) reply {
		return w.post(tokenPath, form("grant_type", "refresh_token", "client_id", client, "refresh_token", token, "scope", scope))
	}
	second := ask(directory.AzureCLIAppID, first, armScope+" openid profile offline_access")
	want(t, "another resource", words(w.claims(second, "access_token")["aud"]), "https://management.azure.com")
	if second.text("refresh_token") == first || second.text("refresh_token") == "" {
		t.Error("the refresh token did not change")
	}
	want(t, "the old one goes on working", ask(directory.AzureCLIAppID, first, armScope).status, 200)
	want(t, "the new one works for the family", ask(powerShellAppID, second.text("refresh_token"), armScope).status, 200)
	w.write(func(tx replica.Tx) {
		a, _ := w.dir.Applications.Get(tx.View, "obj-"+appA)
		a.PublicClient = true
		w.dir.Applications.Put(tx, a.ID, a)
	})
	stranger := ask(appA, first, armScope)
	want(t, "a stranger", stranger.code(), 70000)
	want(t, "suberror", stranger.text("suberror"), "client_mismatch")
	want(t, "without scope it is for what it was issued for", words(w.claims(ask(directory.AzureCLIAppID, first, ""), "access_token")["aud"]), "https://graph.microsoft.com")
	for range 2 * refreshLimit {
		w.signIn(userScope)
	}
	held := 0
	w.dir.Store.Primary(func(v replica.View) { held = len(w.refresh.All(v)) })
	if held > 2*refreshLimit {
		t.Errorf("%d refresh tokens are kept", held)
	}
	last := w.signIn(userScope).text("refresh_token")
	w.offset = refreshLife + time.Hour
	want(t, "after ninety days", ask(directory.AzureCLIAppID, last, armScope).code(), 700082)
}

func TestConsentedApplication(t *testing.T) {
	w := newWorld(t)
	who := "someone else"
	grant := directory.PermissionGrant{ID: "g", ClientID: spA, ConsentType: "Principal", PrincipalID: &who, ResourceID: w.graphSP, Scope: "User.Read Mail.Read"}
	put := func() { w.write(func(tx replica.Tx) { w.dir.PermissionGrants.Put(tx, grant.ID, grant) }) }
	ask := func(scope string) reply {
		return w.post(tokenPath, form("grant_type", "password", "client_id", appA, "client_secret", secret, "username", alice, "password", password, "scope", scope))
	}
	put()
	want(t, "a grant for somebody else", ask("User.Read").code(), 65001)
	grant.ConsentType, grant.PrincipalID = "AllPrincipals", nil
	put()
	got := ask("User.Read")
	want(t, "scp", words(w.claims(got, "access_token")["scp"]), "Mail.Read User.Read")
	want(t, "a bare permission is Graph's", words(w.claims(got, "access_token")["aud"]), directory.GraphAppID)
	want(t, "more than was granted", ask("User.Read Files.Read").code(), 65001)
}

func TestDeviceCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		start := func(path string) reply {
			return w.post(path, form("client_id", directory.AzureCLIAppID, "scope", "https://arm.test:3//.default openid profile offline_access", "resource", map[bool]string{true: "https://arm.test:3/"}[path == "/common/oauth2/devicecode"]))
		}
		poll := func(path string, d reply) reply {
			return w.post(path, form("grant_type", deviceGrant, "client_id", directory.AzureCLIAppID, "device_code", d.text("device_code"), "client_info", "1"))
		}
		for _, row := range []struct{ style, begin, token, uri string }{
			{"v2.0", "/organizations/oauth2/v2.0/devicecode", "/organizations/oauth2/v2.0/token", "verification_uri"},
			{"v1.0", "/common/oauth2/devicecode", "/common/oauth2/token", "verification_url"},
			{"AD FS", "/adfs/oauth2/devicecode", "/adfs/oauth2/token", "verification_uri"},
		} {
			d := start(row.begin)
			want(t, row.style+" page", d.text(row.uri), "https://login.test/devicelogin")
			want(t, row.style+" pending", poll(row.token, d).text("error"), "authorization_pending")
			want(t, row.style+" too fast", poll(row.token, d).text("error"), "slow_down")
			time.Sleep(deviceInterval)
			want(t, row.style+" still pending", poll(row.token, d).text("error"), "authorization_pending")
			if err := w.ApproveDevice(strings.ToLower(d.text("user_code")), alice); err != nil {
				t.Fatal(err)
			}
			got := poll(row.token, d)
			want(t, row.style+" aud", words(w.claims(got, "access_token")["aud"]), "https://arm.test:3/")
			id := w.claims(got, "id_token")
			name := id["preferred_username"]
			if row.style != "v2.0" {
				name = id["upn"]
			}
			want(t, row.style+" name", words(name), alice)
			want(t, row.style+" used code", poll(row.token, d).text("error"), "bad_verification_code")
		}
		d := start("/adfs/oauth2/devicecode")
		if err := w.DenyDevice(d.text("user_code")); err != nil {
			t.Fatal(err)
		}
		want(t, "denied", poll("/adfs/oauth2/token", d).text("error"), "authorization_declined")
		d = start("/adfs/oauth2/devicecode")
		if err := w.ApproveDevice(d.text("user_code"), "off@contoso.onmicrosoft.com"); !errors.Is(err, ErrNoUser) {
			t.Errorf("a disabled user approves: %v", err)
		}
		time.Sleep(deviceLife + time.Second)
		if err := w.ApproveDevice(d.text("user_code"), alice); !errors.Is(err, ErrNoCode) {
			t.Errorf("an expired code is approved: %v", err)
		}
		want(t, "expired", poll("/adfs/oauth2/token", d).text("error"), "expired_token")
	})
}

func TestDevicePage(t *testing.T) {
	w := newWorld(t)
	page := w.get("/devicelogin?otc=%3Cscript%3E")
	if strings.Contains(page.raw, "<script") || !strings.Contains(page.raw, `name="code"`) {
		t.Errorf("page: %s", page.raw)
	}
	csp := page.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") {
		t.Errorf("policy %q", csp)
	}
	d := w.post("/adfs/oauth2/devicecode", form("client_id", directory.AzureCLIAppID, "scope", armScope+" openid"))
	submit := func(pass, action string) reply {
		return w.post("/devicelogin", form("code", d.text("user_code"), "username", alice, "password", pass, "action", action))
	}
	bad := submit("wrong", "approve")
	want(t, "wrong password", bad.status, 400)
	if strings.Contains(bad.raw, "wrong\"") || !strings.Contains(bad.raw, "User name or password is wrong.") {
		t.Errorf("page: %s", bad.raw)
	}
	want(t, "good password", submit(password, "approve").status, 200)
	want(t, "a second time", submit(password, "approve").status, 400)
	got := w.post("/adfs/oauth2/token", form("grant_type", deviceGrant, "client_id", directory.AzureCLIAppID, "device_code", d.text("device_code")))
	want(t, "signed in", got.status, 200)
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct{ name, path, issuer, token string }{
		{"v2.0 by id", "/" + tenantID + "/v2.0/.well-known/openid-configuration", "https://login.test/" + tenantID + "/v2.0", "https://login.test/" + tenantID + "/oauth2/v2.0/token"},
		{"v2.0 by domain", "/Contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration", "https://login.test/" + tenantID + "/v2.0", "https://login.test/" + tenantID + "/oauth2/v2.0/token"},
		{"v1.0", "/" + tenantID + "/.well-known/openid-configuration", "https://login.test/" + tenantID + "/", "https://login.test/" + tenantID + "/oauth2/token"},
		{"AD FS", "/adfs/.well-known/openid-configuration", "https://login.test/adfs", "https://login.test/adfs/oauth2/token"},
		{"AD FS with the tenant adfs", "/adfs/adfs/.well-known/openid-configuration", "https://login.test/adfs", "https://login.test/adfs/oauth2/token"},
		{"organizations", "/organizations/v2.0/.well-known/openid-configuration", "https://login.test/{tenantid}/v2.0", "https://login.test/organizations/oauth2/v2.0/token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			doc := w.get(row.path)
			want(t, "status", doc.status, 200)
			want(t, "issuer", doc.text("issuer"), row.issuer)
			want(t, "token_endpoint", doc.text("token_endpoint"), row.token)
			keys := w.get(strings.TrimPrefix(doc.text("jwks_uri"), "https://login.test"))
			if !strings.Contains(keys.raw, `"kty":"RSA"`) {
				t.Errorf("keys: %s", keys.raw)
			}
		})
	}
	unknown := w.get("/99999999-2222-3333-4444-555555555555/v2.0/.well-known/openid-configuration")
	want(t, "unknown tenant", unknown.code(), 90002)
	want(t, "unknown tenant error", unknown.text("error"), "invalid_tenant")
	want(t, "own instance", w.get("/common/discovery/instance?api-version=1.1&authorization_endpoint=https%3A%2F%2Flogin.test%2F"+tenantID+"%2Foauth2%2Fv2.0%2Fauthorize").text("tenant_discovery_endpoint"), "https://login.test/"+tenantID+"/v2.0/.well-known/openid-configuration")
	want(t, "foreign instance", w.get("/common/discovery/instance?authorization_endpoint=https%3A%2F%2Fevil.test%2Fx").text("error"), "invalid_instance")
	want(t, "realm", w.get("/common/UserRealm/"+alice+"?api-version=1.0").text("account_type"), "Managed")
	want(t, "foreign realm", w.get("/common/userrealm/x@fabrikam.com").text("account_type"), "Unknown")
}

func TestAnAPIOfTheTenantLetsAzureCLIIn(t *testing.T) {
	w := newWorld(t)
	cliSP := uuid.NewString()
	change := func(preauthorized ...any) {
		w.write(func(tx replica.Tx) {
			w.app(tx, "cccccccc-0000-0000-0000-000000000001", "cccccccc-0000-0000-0000-000000000002", func(a *directory.Application, _ *directory.ServicePrincipal) {
				a.IdentifierURIs = []string{"api://mine"}
				a.PermissionScopes = []directory.PermissionScope{{ID: "s1", Value: "read", IsEnabled: true}, {ID: "s2", Value: "write", IsEnabled: true}}
				a.Rest = map[string]any{"api": map[string]any{"preAuthorizedApplications": preauthorized}}
			})
		})
	}
	change()
	want(t, "before", w.signIn("api://mine/.default").code(), 65001)
	change(map[string]any{"appId": directory.AzureCLIAppID, "delegatedPermissionIds": []any{"s1"}})
	want(t, "preauthorized", words(w.claims(w.signIn("api://mine/read"), "access_token")["scp"]), "read")
	want(t, "more than is preauthorized", w.signIn("api://mine/write").code(), 65001)
	change()
	w.write(func(tx replica.Tx) {
		w.dir.ServicePrincipals.Put(tx, cliSP, directory.ServicePrincipal{ID: cliSP, AppID: directory.AzureCLIAppID, DisplayName: "Microsoft Azure CLI", AccountEnabled: true})
		w.dir.PermissionGrants.Put(tx, "g", directory.PermissionGrant{ID: "g", ClientID: cliSP, ConsentType: "AllPrincipals", ResourceID: "cccccccc-0000-0000-0000-000000000002", Scope: "write"})
	})
	want(t, "granted", words(w.claims(w.signIn("api://mine/.default"), "access_token")["scp"]), "write")
}

func TestAUserMustBeAssignedWhereThatIsRequired(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(*world, replica.Tx)
		code int
		role string
	}{
		{"nobody is assigned by themselves", func(*world, replica.Tx) {}, 50105, ""},
		{"a user who is assigned may sign in", func(w *world, tx replica.Tx) { w.assign(tx, aliceID) }, 0, "Application.Read.All"},
		{"so may a direct member of a group that is", func(w *world, tx replica.Tx) {
			w.dir.Groups.Put(tx, "g", directory.Group{ID: "g", Members: []string{aliceID}})
			w.assign(tx, "g")
		}, 0, "Application.Read.All"},
		{"but not a member of its members", func(w *world, tx replica.Tx) {
			w.dir.Groups.Put(tx, "inner", directory.Group{ID: "inner", Members: []string{aliceID}})
			w.dir.Groups.Put(tx, "g", directory.Group{ID: "g", Members: []string{"inner"}})
			w.assign(tx, "g")
		}, 50105, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, guard := range []string{"the resource", "the client"} {
				w := newWorld(t)
				w.write(func(tx replica.Tx) {
					w.dir.PermissionGrants.Put(tx, "pg", directory.PermissionGrant{ID: "pg", ClientID: spA, ConsentType: "AllPrincipals", ResourceID: w.graphSP, Scope: "User.Read"})
					row.make(w, tx)
					for _, id := range []string{w.graphSP, spA} {
						sp, _ := w.dir.ServicePrincipals.Get(tx.View, id)
						sp.AppRoleAssignmentReq = (id == spA) == (guard == "the client")
						w.dir.ServicePrincipals.Put(tx, id, sp)
					}
				})
				got := w.post(tokenPath, form("grant_type", "password", "client_id", appA, "client_secret", secret, "username", alice, "password", password, "scope", "User.Read"))
				want(t, guard, got.code(), row.code)
				if row.code != 0 {
					want(t, guard+" error", got.text("error"), "invalid_grant")
				} else if roles := w.claims(got, "access_token")["roles"]; words(roles) != row.role {
					t.Errorf("%s: roles %v", guard, roles)
				}
			}
		})
	}
}

// assign gives a principal a role of Microsoft Graph, and access to the application appA.
func (w *world) assign(tx replica.Tx, principal string) {
	for _, a := range []directory.AppRoleAssignment{
		{ID: "on graph", PrincipalID: principal, ResourceID: w.graphSP, AppRoleID: "role-1"},
		{ID: "on client", PrincipalID: principal, ResourceID: spA, AppRoleID: zeroGUID},
	} {
		w.dir.AppRoleAssignments.Put(tx, a.ID, a)
	}
}

// Whoever sees a device code, but is not the client, must not be able to use it up.
func TestAClientThatIsNotProvenLeavesTheDeviceCode(t *testing.T) {
	w := newWorld(t)
	w.write(func(tx replica.Tx) {
		w.dir.PermissionGrants.Put(tx, "pg", directory.PermissionGrant{ID: "pg", ClientID: spA, ConsentType: "AllPrincipals", ResourceID: w.graphSP, Scope: "User.Read"})
	})
	poll := func(d reply, secret string) reply {
		return w.post(tokenPath, form("grant_type", deviceGrant, "client_id", appA, "client_secret", secret, "device_code", d.text("device_code")))
	}
	d := w.post("/"+tenantID+"/oauth2/v2.0/devicecode", form("client_id", appA, "scope", "User.Read"))
	if err := w.ApproveDevice(d.text("user_code"), alice); err != nil {
		t.Fatal(err)
	}
	want(t, "a stranger", poll(d, "guess").code(), 7000215)
	want(t, "a stranger without secret", poll(d, "").code(), 7000218)
	want(t, "the client", poll(d, secret).status, 200)
	want(t, "the client again", poll(d, secret).text("error"), "bad_verification_code")

	d = w.post("/"+tenantID+"/oauth2/v2.0/devicecode", form("client_id", appA, "scope", "User.Read"))
	if err := w.DenyDevice(d.text("user_code")); err != nil {
		t.Fatal(err)
	}
	want(t, "a stranger, denied", poll(d, "guess").text("error"), "authorization_declined")
	want(t, "the client, denied", poll(d, secret).text("error"), "authorization_declined")
}

func TestInstanceDiscoveryBelievesNoHostHeader(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("GET", "https://evil.test/common/discovery/instance?authorization_endpoint=https%3A%2F%2Fevil.test%2Fcommon%2Foauth2%2Fv2.0%2Fauthorize", nil)
	want(t, "a host that only the request names", w.send(r).code(), 50049)
	r = httptest.NewRequest("GET", "https://evil.test/common/discovery/instance?authorization_endpoint=https%3A%2F%2FLOGIN.test%2Fcommon%2Foauth2%2Fv2.0%2Fauthorize", nil)
	if got := w.send(r); got.status != 200 || strings.Contains(got.raw, "evil") {
		t.Errorf("our own host: %d %s", got.status, got.raw)
	}
}
