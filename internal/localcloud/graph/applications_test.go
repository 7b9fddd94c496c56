package graph

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestCreateApplication(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.OwnedBy")
	a := u.post("applications", map[string]any{"displayName": "bot", "signInAudience": "AzureADMyOrg", "web": map[string]any{"homePageUrl": "https://x"}, "owners@odata.bind": []string{host + "/v1.0/users/" + c.nobody}}).is(201)
	if a.str("id") == a.str("appId") || a.str("createdByAppId") != u.appID || a.body["uniqueName"] != nil || a.str("publisherDomain") != "contoso.onmicrosoft.com" {
		t.Error(a.text)
	}
	if want := host + "/v1.0/applications/" + a.str("id"); a.header.Get("Location") != want {
		t.Error(a.header.Get("Location"))
	}
	if a.str("@odata.context") != host+"/v1.0/$metadata#applications/$entity" {
		t.Error(a.str("@odata.context"))
	}
	web := a.body["web"].(map[string]any)
	if web["homePageUrl"] != "https://x" || web["implicitGrantSettings"] == nil {
		t.Error("a given member of a complex property does not hide the defaults of the others:", web)
	}
	owners := u.get("applications/" + a.str("id") + "/owners").is(200).value()
	// In the order of ids: Graph documents none, and a page has to go on somewhere when an owner is removed.
	if len(owners) != 2 || owners[0]["id"] != c.nobody || owners[1]["id"] != u.id || owners[1]["@odata.type"] != "#microsoft.graph.servicePrincipal" {
		t.Error(owners)
	}

	rows := []struct {
		sentence, body string
		status         int
		problem        string
	}{
		{"a name is needed", `{}`, 400, "Request_BadRequest: A value is required for property 'displayName' of resource 'Application'."},
		{"a name of another type is refused", `{"displayName":3}`, 400, "Request_BadRequest: Invalid value specified for property 'displayName' of resource 'Application'."},
		{"an empty name is refused", `{"displayName":""}`, 400, "Request_BadRequest: Invalid value"},
		{"an unknown audience is refused", `{"displayName":"x","signInAudience":"Everyone"}`, 400, "Request_BadRequest: Invalid value specified for property 'signInAudience'"},
		{"an unknown property is refused", `{"displayName":"x","displayNme":"y"}`, 400, "Request_BadRequest: Invalid property 'displayNme' of resource 'Application'."},
		{"names of properties ignore case", `{"DisplayName":"x"}`, 201, ""},
		{"annotations are ignored", `{"@odata.type":"#microsoft.graph.application","displayName":"x"}`, 201, ""},
		{"an extension property is kept", `{"displayName":"x","extension_abc_y":"z"}`, 201, ""},
		{"appId is read-only", `{"displayName":"x","appId":"y"}`, 400, "Request_BadRequest: Property 'appId' is read-only and cannot be set."},
		{"uniqueName is for upserts", `{"displayName":"x","uniqueName":"y"}`, 400, "Request_BadRequest: Property 'uniqueName' is read-only and cannot be set."},
		{"a password cannot be set", `{"displayName":"x","passwordCredentials":[{"displayName":"p"}]}`, 400, "Request_BadRequest: New password credentials must be generated using service actions."},
		{"an empty list of passwords may be sent", `{"displayName":"x","passwordCredentials":[]}`, 201, ""},
		{"an owner must exist", `{"displayName":"x","owners@odata.bind":["https://h/v1.0/users/none"]}`, 404, "Request_ResourceNotFound: Resource 'none'"},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) { u.post("applications", r.body).is(r.status, r.problem) })
	}
}

func TestUpdateApplication(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, appID, sp := u.makeApp("bot")
	u.makeApp("other")
	u.patch("applications/"+id, map[string]any{"identifierUris": []string{"api://" + appID}, "requiredResourceAccess": []any{map[string]any{"resourceAppId": directory.GraphAppID}}, "api": map[string]any{"requestedAccessTokenVersion": 2}}).is(204)
	u.patch("applications(appId='"+appID+"')", map[string]any{"displayName": "robot", "appRoles": []any{role("r1", "Do", true)}, "api": map[string]any{"oauth2PermissionScopes": []any{map[string]any{"id": "s1", "value": "act", "type": "User", "isEnabled": true, "adminConsentDescription": "d"}}}}).is(204)
	a := u.get("applications/" + id).is(200)
	api := a.body["api"].(map[string]any)
	scope := api["oauth2PermissionScopes"].([]any)[0].(map[string]any)
	if a.str("displayName") != "robot" || api["requestedAccessTokenVersion"] != 2.0 || scope["adminConsentDescription"] != "d" || len(a.list("requiredResourceAccess")) != 1 {
		t.Error(a.text)
	}
	c.dir.Store.Primary(func(v replica.View) {
		stored, _ := c.dir.Applications.Get(v, id)
		if stored.TokenVersion != 2 || len(stored.AppRoles) != 1 || len(stored.PermissionScopes) != 1 {
			t.Errorf("what other services look at: %+v", stored)
		}
	})
	p := u.get("servicePrincipals/" + sp).is(200)
	if names := p.text; p.str("displayName") != "robot" || !strings.Contains(names, "api://"+appID) || len(p.list("appRoles")) != 1 || len(p.list("oauth2PermissionScopes")) != 1 {
		t.Error("the service principal follows:", p.text)
	}
	rows := []struct {
		sentence, path string
		body           any
		status         int
		problem        string
	}{
		{"an identifier of another application is refused", "applications", map[string]any{"displayName": "x", "identifierUris": []string{"api://" + appID}}, 400, "HostNameNotOnVerifiedDomain: Values of identifierUris"},
		{"an enabled role cannot be removed", "applications/" + id, map[string]any{"appRoles": []any{}}, 400, "CannotDeleteOrUpdateEnabledEntitlement: Permission (scope or role) cannot be deleted or updated unless disabled first."},
		{"an enabled scope cannot be removed", "applications/" + id, map[string]any{"api": map[string]any{"oauth2PermissionScopes": []any{}}}, 400, "CannotDeleteOrUpdateEnabledEntitlement"},
		{"a role can be disabled", "applications/" + id, map[string]any{"appRoles": []any{role("r1", "Do", false)}}, 204, ""},
		{"a disabled role can be removed", "applications/" + id, map[string]any{"appRoles": []any{}}, 204, ""},
		{"id cannot change", "applications/" + id, map[string]any{"id": "x"}, 400, "Request_BadRequest: Property 'id' is read-only and cannot be set."},
		{"an application that is not there is not found", "applications/none", map[string]any{}, 404, "Request_ResourceNotFound: Resource 'none'"},
		{"without Prefer an upsert of a new name is not found", "applications(uniqueName='none')", map[string]any{"displayName": "x"}, 404, "Request_ResourceNotFound: Resource 'none'"},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			method := "PATCH"
			if r.path == "applications" {
				method = "POST"
			}
			u.do(method, r.path, r.body).is(r.status, r.problem)
		})
	}
}

func role(id, value string, enabled bool) map[string]any {
	return map[string]any{"id": id, "value": value, "displayName": value, "description": value, "allowedMemberTypes": []string{"Application"}, "isEnabled": enabled}
}

const upsert = "Prefer: create-if-missing"

func TestUpsertByUniqueName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		u := c.app("Application.ReadWrite.OwnedBy")
		const at = "applications(uniqueName='leastkey-1')"
		made := u.patch(at, map[string]any{"displayName": "bot"}, upsert).is(201)
		id := made.str("id")
		if made.str("uniqueName") != "leastkey-1" || made.header.Get("Location") == "" {
			t.Error(made.text)
		}
		u.patch(at, map[string]any{"notes": "again"}, upsert).is(204)
		if got := u.get(at).is(200); got.str("id") != id || got.str("notes") != "again" {
			t.Error(got.text)
		}
		if found := u.get(query("applications", "uniqueName eq 'leastkey-1'")).is(200).value(); len(found) != 1 {
			t.Error(found)
		}
		u.patch("applications/"+id, map[string]any{"uniqueName": "x"}).is(400, "Request_BadRequest: Property 'uniqueName' is read-only")
		c.app("Application.ReadWrite.OwnedBy").patch(at, map[string]any{"displayName": "x"}, upsert).is(403)
		c.app("Application.Read.All").patch("applications(uniqueName='new')", map[string]any{"displayName": "x"}, upsert).is(403)
		u.patch("applications(uniqueName='new')", map[string]any{}, upsert).is(400, "Request_BadRequest: A value is required for property 'displayName'")

		u.del("applications/" + id).is(204)
		const clash = "Request_MultipleObjectsWithSameKeyValue: Another object with the same value for property uniqueName already exists."
		u.patch(at, map[string]any{"displayName": "bot"}, upsert).is(400, clash)
		time.Sleep(30*24*time.Hour - time.Minute)
		c.app("Application.Read.All").get("directory/deletedItems/" + id).is(200)
		again := c.as(u.id, u.appID, "Application.ReadWrite.OwnedBy") // tokens have expired meanwhile
		again.patch(at, map[string]any{"displayName": "bot"}, upsert).is(400, clash)
		time.Sleep(2 * time.Minute)
		again.get("directory/deletedItems/" + id).is(404)
		if second := again.patch(at, map[string]any{"displayName": "bot"}, upsert).is(201); second.str("id") == id {
			t.Error("the same application came back")
		}
	})
}

// TestUpsertUnderLag asks for the same name again and again while the first write spreads: there is never a second application.
func TestUpsertUnderLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		u := c.app("Application.ReadWrite.OwnedBy")
		c.dir.Store.SetLag(replica.Graph, 2*time.Minute)
		const at = "applications(uniqueName='leastkey-1')"
		u.patch(at, map[string]any{"displayName": "bot"}, upsert).is(201)
		seen := map[int]int{}
		for range 240 {
			a := u.patch(at, map[string]any{"displayName": "bot"}, upsert)
			if seen[a.status]++; a.status != 204 {
				a.is(400, "Request_MultipleObjectsWithSameKeyValue")
			}
			time.Sleep(time.Second)
		}
		if seen[204] == 0 || seen[400] == 0 {
			t.Errorf("the lag was not felt: %v", seen)
		}
		u.patch(at, map[string]any{"displayName": "bot"}, upsert).is(204)
		c.dir.Store.Primary(func(v replica.View) {
			if n := len(c.dir.Applications.All(v)); n != 1 {
				t.Errorf("%d applications", n)
			}
		})
	})
}

func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		all, owned := c.app("Application.ReadWrite.All"), c.app("Application.ReadWrite.OwnedBy")
		time.Sleep(time.Second)
		c.dir.Store.SetLag(replica.Graph, time.Minute)
		a := owned.post("applications", map[string]any{"displayName": "bot"}).is(201)
		appID, id := a.str("appId"), a.str("id")
		counts := map[string]int{}
		for range 20 {
			switch g := all.get("applications/" + id); g.status {
			case 404:
				counts["get 404"]++
			case 200:
				counts["get 200"]++
			}
			switch p := all.post("servicePrincipals", map[string]any{"appId": appID, "accountEnabled": "wrong"}); p.status {
			case 400:
				e := p.body["error"].(map[string]any)
				if details, ok := e["details"].([]any); ok && details[0].(map[string]any)["code"] == "NoBackingApplicationObject" {
					p.is(400, "Request_BadRequest: The appId '"+appID+"' of the service principal does not reference a valid application object.")
					counts["early 400"]++
				}
			}
			if p := owned.post("servicePrincipals", map[string]any{"appId": appID, "accountEnabled": "wrong"}); p.status == 403 {
				p.is(403, "Authorization_RequestDenied: When using this permission, the backing application of the service principal being created must in the local tenant")
				counts["early 403"]++
			}
			if p := all.patch("applications/"+id, map[string]any{}); p.status == 404 {
				counts["patch 404"]++
			}
		}
		for _, what := range []string{"get 404", "early 400", "early 403", "patch 404"} {
			if counts[what] == 0 {
				t.Errorf("never %s: %v", what, counts)
			}
		}
		time.Sleep(time.Minute)
		sp := owned.post("servicePrincipals", map[string]any{"appId": appID}).is(201).str("id")
		owned.post("servicePrincipals", map[string]any{"appId": appID}).is(409, "Request_MultipleObjectsWithSameKeyValue: The service principal cannot be created, updated, or restored because the service principal name "+appID+" is already in use.")
		time.Sleep(time.Minute)
		for range 20 {
			owned.get("servicePrincipals/" + sp).is(200)
		}
	})
}

func TestListing(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	for i := range 250 {
		u.post("applications", map[string]any{"displayName": fmt.Sprintf("bot-%03d", i), "tags": []string{"even", "odd"}[i%2 : i%2+1]}).is(201)
	}
	follow := func(path string, headers ...string) (names []string, pages int) {
		for path != "" {
			a := u.get(path, headers...).is(200)
			for _, v := range a.value() {
				names = append(names, fmt.Sprint(v["displayName"]))
			}
			pages++
			next, _ := a.body["@odata.nextLink"].(string)
			path = strings.TrimPrefix(next, host)
		}
		return names, pages
	}
	if names, pages := follow("applications"); len(names) != 250 || pages != 3 || names[100] != "bot-100" {
		t.Errorf("%d in %d pages", len(names), pages)
	}
	if names, pages := follow("applications?$top=999"); len(names) != 250 || pages != 1 {
		t.Errorf("%d in %d pages", len(names), pages)
	}
	if names, pages := follow("applications?$filter=" + url.QueryEscape("tags/any(t:t eq 'odd')") + "&$top=50&$select=displayName,id"); len(names) != 125 || pages != 3 {
		t.Errorf("%d in %d pages", len(names), pages)
	}
	if names, _ := follow("applications?$orderby=displayName%20desc&$top=100"); len(names) != 250 || names[0] != "bot-249" {
		t.Errorf("%d, %s first", len(names), names[0])
	}
	t.Run("deleted while paging", func(t *testing.T) {
		first := u.get("applications?$top=100").is(200)
		last := first.value()[99]
		u.del("applications/" + last["id"].(string)).is(204)
		if second := u.get(strings.TrimPrefix(first.str("@odata.nextLink"), host)).is(200).value(); len(second) != 100 {
			t.Error(len(second))
		}
	})
	u.get("applications?$skiptoken=x").is(400, "Directory_ExpiredPageToken")
	rows := []struct {
		sentence, path string
		headers        []string
		want           int
	}{
		{"a name is found whatever its case", query("applications", "displayName eq 'BOT-007'"), nil, 1},
		{"a prefix is found", query("applications", "startswith(displayName,'bot-00')"), nil, 10},
		{"a name that is not there finds nothing", query("applications", "displayName eq 'bot'"), nil, 0},
		{"one of several is found", query("applications", "displayName in ('bot-001','bot-002','x')"), nil, 2},
		{"two conditions are both asked", query("applications", "displayName eq 'bot-001' and tags/any(t:t eq 'even')"), nil, 0},
		{"an advanced query is answered when asked for", query("applications", "not(startswith(displayName,'bot-1'))") + "&$count=true", []string{"ConsistencyLevel: eventual"}, 100},
		{"a search finds a part", `applications?$search=%22displayName:t-00%22`, []string{"ConsistencyLevel: eventual"}, 10},
		{"Azure CLI's look-up of a service principal is found", query("servicePrincipals", "servicePrincipalNames/any(c:c eq '"+directory.GraphAppID+"')"), nil, 1},
		{"a service principal is found by a URI", query("servicePrincipals", "servicePrincipalNames/any(c:c eq 'https://vault.azure.net')"), nil, 1},
		{"a service principal is found by appId in upper case", query("servicePrincipals", "appId eq '"+strings.ToUpper(directory.ARMAppID)+"'"), nil, 1},
		{"a user is found by name", query("users", "userPrincipalName eq 'ADMIN@contoso.onmicrosoft.com'"), nil, 1},
	}
	reader := c.app("Application.Read.All", "User.Read.All")
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			if got := reader.get(r.path, r.headers...).is(200).value(); len(got) != r.want {
				t.Errorf("%d found", len(got))
			}
		})
	}
	t.Run("a count comes with the header alone", func(t *testing.T) {
		if a := u.get("applications?$count=true&$top=1", "ConsistencyLevel: eventual").is(200); a.body["@odata.count"] != 249.0 {
			t.Error(a.body["@odata.count"])
		}
		if a := u.get("applications?$count=true&$top=1").is(200); a.body["@odata.count"] != nil {
			t.Error("counted without the header")
		}
		u.get("applications/$count").is(400, "Request_BadRequest: $count is not currently supported.")
		if a := u.get("applications/$count", "ConsistencyLevel: eventual").is(200); a.text != "249" {
			t.Error(a.text)
		}
	})
	t.Run("select keeps what it names", func(t *testing.T) {
		a := u.get("applications?$select=appId,DISPLAYNAME&$top=1").is(200)
		if v := a.value()[0]; len(v) != 2 || v["appId"] == nil || v["displayName"] == nil {
			t.Error(v)
		}
		u.get("applications?$select=appID,nme").is(400, "BadRequest: Parsing OData Select and Expand failed: Could not find a property named 'nme' on type 'microsoft.graph.application'.")
	})
	t.Run("expand adds owners", func(t *testing.T) {
		v := u.get(query("applications", "displayName eq 'bot-001'") + "&$expand=owners").is(200).value()[0]
		if owners, ok := v["owners"].([]any); !ok || len(owners) != 1 {
			t.Error(v["owners"])
		}
	})
}

func TestDeleteAndRestore(t *testing.T) {
	c := newCloud(t)
	u, admin := c.app("Application.ReadWrite.OwnedBy"), c.app("AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "Application.Read.All")
	id, appID, sp := u.makeApp("bot")
	graph := admin.get("servicePrincipals(appId='" + directory.GraphAppID + "')").is(200).str("id")
	admin.post("servicePrincipals/"+sp+"/appRoleAssignments", map[string]any{"principalId": sp, "resourceId": graph, "appRoleId": "df021288-bdef-4463-88db-98f22de89214"}).is(201)
	admin.post("oauth2PermissionGrants", map[string]any{"clientId": sp, "consentType": "AllPrincipals", "resourceId": graph, "scope": "User.Read"}).is(201)

	u.del("applications/" + id).is(204)
	u.get("applications/" + id).is(404)
	u.get("servicePrincipals/" + sp).is(404)
	u.del("applications/" + id).is(404)
	if found := u.get(query("applications", "appId eq '"+appID+"'")).is(200).value(); len(found) != 0 {
		t.Error("a deleted application is found")
	}
	if gone := u.get("directory/deletedItems/microsoft.graph.application").is(200).value(); len(gone) != 1 || gone[0]["deletedDateTime"] == nil {
		t.Error(gone)
	}
	c.app("Application.ReadWrite.OwnedBy").post("directory/deletedItems/"+id+"/restore", nil).is(403)
	c.app("Application.Read.All").del("directory/deletedItems/" + id).is(403)
	u.post("directory/deletedItems/"+sp+"/restore", nil).is(400, "Request_BadRequest: The appId '"+appID+"' of the service principal does not reference a valid application object.")
	if back := u.post("directory/deletedItems/"+id+"/restore", nil).is(200); back.str("id") != id || back.body["deletedDateTime"] != nil {
		t.Error(back.text)
	}
	u.get("servicePrincipals/" + sp).is(200)
	if left := admin.get("servicePrincipals/" + sp + "/appRoleAssignments").is(200).value(); len(left) != 0 {
		t.Error("grants came back:", left)
	}
	if left := admin.get(query("oauth2PermissionGrants", "clientId eq '"+sp+"'")).is(200).value(); len(left) != 0 {
		t.Error("grants came back:", left)
	}

	u.del("servicePrincipals/" + sp).is(204)
	second := u.post("servicePrincipals", map[string]any{"appId": appID}).is(201).str("id")
	u.post("directory/deletedItems/"+sp+"/restore", nil).is(409, "Request_MultipleObjectsWithSameKeyValue")
	u.del("applications/" + id).is(204)
	u.del("directory/deletedItems/" + id).is(204)
	u.get("directory/deletedItems/" + id).is(404)
	u.get("directory/deletedItems/" + second).is(200)
	u.del("directory/deletedItems/" + second).is(204)
	u.del("directory/deletedItems/" + sp).is(204)
	u.post("servicePrincipals", map[string]any{"appId": appID}).is(403, "Authorization_RequestDenied: When using this permission")
}

func TestOwners(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, _, sp := u.makeApp("bot")
	for _, at := range []string{"applications/" + id, "servicePrincipals/" + sp} {
		ref := func(who string) map[string]any {
			return map[string]any{"@odata.id": "https://localhost:9443/v1.0/directoryObjects/" + who}
		}
		u.post(at+"/owners/$ref", ref(c.nobody)).is(204)
		u.post(at+"/owners/$ref", ref(c.nobody)).is(400, "Request_BadRequest: One or more added object references already exist for the following modified properties: 'owners'.")
		u.post(at+"/owners/$ref", ref("none")).is(404, "Request_ResourceNotFound")
		u.post(at+"/owners/$ref", map[string]any{}).is(400, "Request_BadRequest: The request must have a reference in '@odata.id'.")
		u.del(at+"/owners/"+c.admin+"/$ref").is(400, "Request_BadRequest: One or more removed object references do not exist for the following modified properties: 'owners'.")
		if owners := u.get(at + "/owners").is(200).value(); len(owners) != 2 {
			t.Error(owners)
		}
		u.del(at + "/owners/" + c.nobody + "/$ref").is(204)
		if refs := u.get(at + "/owners/$ref").is(200).value(); len(refs) != 1 || !strings.HasSuffix(refs[0]["@odata.id"].(string), u.id) {
			t.Error(refs)
		}
	}
	t.Run("the 101st owner is refused", func(t *testing.T) {
		c.write(func(tx replica.Tx) {
			a, _ := c.dir.Applications.Get(tx.View, id)
			for i := range 99 {
				a.Owners = append(a.Owners, fmt.Sprint("x", i))
			}
			c.dir.Applications.Put(tx, id, a)
		})
		u.post("applications/"+id+"/owners/$ref", map[string]any{"@odata.id": "https://h/" + c.nobody}).is(400, "Directory_QuotaExceeded")
	})
}

// BenchmarkFindAmongMany shows that what an index answers costs the same among 20,000 applications as among 20.
func BenchmarkFindAmongMany(b *testing.B) {
	for _, n := range []int{20, 20000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCloud(b)
			u := c.app("Application.Read.All")
			c.write(func(tx replica.Tx) {
				for i := range n {
					id := c.env.NewID()
					c.dir.Applications.Put(tx, id, directory.Application{ID: id, AppID: c.env.NewID(), DisplayName: fmt.Sprint("app", i)})
				}
			})
			for b.Loop() {
				u.get(query("applications", "displayName eq 'app7'")).is(200)
			}
		})
	}
}

func TestStoredValuesSurviveTheirJSON(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, _, _ := u.makeApp("bot")
	u.patch("applications/"+id, map[string]any{"web": map[string]any{"homePageUrl": "https://x"}, "appRoles": []any{role("r", "v", true)}}).is(204)
	before := u.get("applications/" + id).is(200).text
	c.write(func(tx replica.Tx) {
		a, _ := c.dir.Applications.Get(tx.View, id)
		raw, _ := json.Marshal(a)
		var again directory.Application
		if err := json.Unmarshal(raw, &again); err != nil {
			t.Fatal(err)
		}
		c.dir.Applications.Put(tx, id, again)
	})
	if after := u.get("applications/" + id).is(200).text; after != before {
		t.Errorf("%s\n%s", before, after)
	}
}
