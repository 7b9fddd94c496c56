package graph

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

func TestAccessToken(t *testing.T) {
	c := newCloud(t)
	caller := c.app("Application.Read.All")
	claims := func(change func(*authority.Claims)) string {
		now := time.Now().Unix()
		k := authority.Claims{Audience: "https://graph.microsoft.com", ObjectID: caller.id, AppID: caller.appID, IDType: "app", Roles: []string{"Application.Read.All"}, NotBefore: now, Expires: now + 60}
		change(&k)
		token, err := c.env.Auth.Mint(k)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	rows := []struct {
		sentence, token string
		status          int
		problem         string
	}{
		{"a token for graph.microsoft.com is taken", claims(func(*authority.Claims) {}), 200, ""},
		{"a token for Graph's app id is taken", claims(func(k *authority.Claims) { k.Audience = directory.GraphAppID }), 200, ""},
		{"a token for this host is taken, with a slash behind it", claims(func(k *authority.Claims) { k.Audience = host + "/" }), 200, ""},
		{"no token is refused", "", 401, "InvalidAuthenticationToken: Access token is empty."},
		{"a token for ARM is refused", claims(func(k *authority.Claims) { k.Audience = "https://management.azure.com" }), 401, "InvalidAuthenticationToken: Access token validation failure. Invalid audience."},
		{"an expired token is refused", claims(func(k *authority.Claims) { k.Expires = time.Now().Unix() - 1 }), 401, "InvalidAuthenticationToken: Lifetime validation failed, the token is expired."},
		{"text that is no token is refused", "x.y.z", 401, "InvalidAuthenticationToken: CompactToken parsing failed"},
		{"a token of another issuer is refused", claims(func(k *authority.Claims) { k.Issuer = "https://evil" }), 401, "InvalidAuthenticationToken: Access token validation failure. Invalid issuer."},
		{"a token of a principal that is gone is refused", claims(func(k *authority.Claims) { k.ObjectID = "gone" }), 403, "Authorization_IdentityNotFound: The identity of the calling application could not be established."},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			a := client{c: c, token: r.token}.get("applications").is(r.status, r.problem)
			if challenge := a.header.Get("WWW-Authenticate"); (r.status == 401) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
}

func TestEnvelope(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	rows := []struct {
		sentence, method, path, body string
		status                       int
		problem                      string
	}{
		{"another version is refused", "GET", "/v2.0/applications", "", 400, "BadRequest: Invalid version: v2.0"},
		{"beta is served", "GET", "/beta/applications", "", 200, ""},
		{"paths ignore case", "GET", "/V1.0/Applications", "", 200, ""},
		{"a slash may end the path", "GET", "/v1.0/applications/", "", 200, ""},
		{"a cast to the collection's own type means nothing", "GET", "/v1.0/applications/Microsoft.Graph.Application", "", 200, ""},
		{"a cast to a type of Agent ID is served", "GET", "/v1.0/applications/graph.agentIdentityBlueprint", "", 200, ""},
		{"a cast to a type of another collection is refused", "GET", "/v1.0/applications/graph.agentUser/x", "", 400, "BadRequest: Resource not found for the segment"},
		{"an unknown segment is refused", "GET", "/v1.0/widgets", "", 400, "BadRequest: Resource not found for the segment 'widgets'."},
		{"a method that the path does not have is refused", "PUT", "/v1.0/applications", "{}", 405, "Request_BadRequest: Specified HTTP method is not allowed for the request target."},
		{"a body that is not JSON is refused", "POST", "/v1.0/applications", "{", 400, "BadRequest: Unable to read JSON request payload."},
		{"an unclosed key is refused", "GET", "/v1.0/applications('x", "", 400, "BadRequest: The request URI is not valid."},
		{"an unknown alternate key is refused", "GET", "/v1.0/applications(displayName='x')", "", 400, "Request_BadRequest: The key 'displayname'"},
		{"a bad filter is refused", "GET", "/v1.0/applications?$filter=displayName", "", 400, "BadRequest: Invalid filter clause"},
		{"an unsupported query is refused", "GET", "/v1.0/applications?$filter=displayName%20ne%20'x'", "", 400, "Request_UnsupportedQuery: Unsupported Query."},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			r2 := httptest.NewRequest(r.method, host+"/x", strings.NewReader(r.body))
			r2.URL.Path, r2.URL.RawQuery, _ = strings.Cut(r.path, "?")
			r2.Header.Set("Authorization", "Bearer "+u.token)
			r2.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			c.s.ServeHTTP(w, r2)
			if w.Code != r.status || !strings.Contains(w.Body.String(), strings.TrimSpace(r.problem[strings.Index(r.problem, ":")+1:])) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	t.Run("a body without Content-Type is refused", func(t *testing.T) {
		u.do("POST", "applications", `{"displayName":"x"}`, "Content-Type: ").is(400, "BadRequest: Write requests (excluding DELETE) must contain the Content-Type header declaration.")
	})
	t.Run("headers say what Graph's say", func(t *testing.T) {
		a := u.get("applications", "client-request-id: abc").is(200)
		if a.header.Get("request-id") == "" || a.header.Get("client-request-id") != "abc" || a.header.Get("OData-Version") != "4.0" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json;odata.metadata=minimal") {
			t.Error(a.header)
		}
		e := u.get("applications/none", "client-request-id: abc").is(404, "Request_ResourceNotFound: Resource 'none' does not exist or one of its queried reference-property objects are not present.")
		inner := e.body["error"].(map[string]any)["innerError"].(map[string]any)
		if inner["client-request-id"] != "abc" || inner["request-id"] != e.header.Get("request-id") {
			t.Error(inner)
		}
	})
	t.Run("me is for users", func(t *testing.T) {
		u.get("me").is(400, "BadRequest: /me request is only valid with delegated authentication flow.")
		if a := c.user(c.nobody, "User.Read").get("me").is(200); a.str("id") != c.nobody || strings.Contains(a.text, "canary") {
			t.Error(a.text)
		}
	})
}

func TestEveryRouteHasARight(t *testing.T) {
	for _, r := range routes() {
		if _, ok := rights[r.op]; !ok {
			t.Errorf("%s %s has the unknown operation %q", r.method, strings.Join(r.segments, "/"), r.op)
		}
		if (r.look == nil) == (r.do == nil) && r.method == "GET" {
			t.Errorf("%s %s must only look", r.method, strings.Join(r.segments, "/"))
		}
	}
	used := map[operation]bool{"assignment.ofGraph": true, "group.roles": true, "me.read": true, "application.create": true}
	// A PATCH of a part has the right of the part.
	for _, part := range []operation{"blueprint.branding", "blueprint.auth", "blueprintPrincipal.enable", "agentIdentity.enable"} {
		used[part] = true
	}
	for _, r := range routes() {
		for _, op := range new(call).agentOperations(r) {
			used[op] = true
		}
	}
	for op := range rights {
		if !used[op] {
			t.Errorf("the right %q is of no route", op)
		}
	}
}

// FuzzRequest sends anything as an administrator, and as who makes agents: the answer is Graph's, never a fault of ours.
func FuzzRequest(f *testing.F) {
	c := newCloud(f)
	u := c.user(c.admin)
	id, appID, sp := u.makeApp("bot")
	p := c.provisioner()
	a := p.makeAgent("bot")
	for _, seed := range [][3]string{
		{"POST", castIdentity, `{"displayName":"x","agentIdentityBlueprintId":"` + a.blueprintApp + `","sponsors@odata.bind":["x/` + c.nobody + `"]}`},
		{"PATCH", "servicePrincipals/" + a.identity + "/graph.agentIdentity", `{"accountEnabled":false}`}, {"POST", castUser, `{"identityParentId":"` + a.identity + `","accountEnabled":true}`},
		{"POST", castBlueprint + "/" + a.blueprint + "/inheritablePermissions", `{"resourceAppId":"` + appID + `","inheritableScopes":{"kind":"none"}}`},
		{"GET", "applications(appId='" + appID + "')?$select=id", ""}, {"PATCH", "applications(uniqueName='x')", `{"displayName":"x","keyCredentials":[{}]}`},
		{"POST", "servicePrincipals/" + sp + "/addKey", `{"keyCredential":{"usage":"Verify"},"proof":"a.b.c"}`}, {"POST", "$batch", `{"requests":[{"id":"1","method":"GET","url":"me"}]}`},
		{"PATCH", "policies/defaultAppManagementPolicy", `{"applicationRestrictions":{"keyCredentials":[{"maxLifetime":"P1D"}]}}`},
		{"POST", "applications/" + id + "/federatedIdentityCredentials", `{"name":"a","issuer":"https://x","subject":"s","audiences":["a"]}`},
		{"PATCH", "applications/" + id, `{"api":null,"appRoles":null,"web":3,"owners@odata.bind":[]}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		target, err := url.Parse(host + "/v1.0/" + path)
		if err != nil {
			return
		}
		for _, token := range []string{u.token, p.token} {
			r := httptest.NewRequest("GET", host+"/", strings.NewReader(body))
			r.Method, r.URL = method, target
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Prefer", "create-if-missing")
			w := httptest.NewRecorder()
			c.s.ServeHTTP(w, r)
			if w.Code >= 500 || w.Code == 401 && !strings.Contains(w.Body.String(), "Authentication_") {
				t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	})
}
