package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestFederatedCredentials(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, appID, sp := u.makeApp("bot")
	fic := func(change map[string]any) map[string]any {
		body := map[string]any{"name": "main", "issuer": "https://token.example", "subject": "repo:a/b", "description": "d", "audiences": []string{"api://AzureADTokenExchange"}}
		for k, v := range change {
			body[k] = v
		}
		return body
	}
	at := "applications/" + id + "/federatedIdentityCredentials"
	made := u.post("applications(appId='"+appID+"')/federatedIdentityCredentials", fic(nil)).is(201)
	if made.str("@odata.id") == "" || made.str("name") != "main" {
		t.Error(made.text)
	}
	const bad = "InvalidFederatedIdentityCredentialValue: "
	rows := []struct {
		sentence string
		change   map[string]any
		status   int
		problem  string
	}{
		{"the name again is a conflict", map[string]any{"subject": "x"}, 409, "Request_MultipleObjectsWithSameKeyValue: FederatedIdentityCredential with name main already exists."},
		{"issuer and subject again are refused", map[string]any{"name": "b"}, 400, bad + "The combination of issuer and subject must be unique for the application."},
		{"two audiences are refused", map[string]any{"name": "b", "audiences": []string{"a", "b"}}, 400, bad},
		{"a name with a slash is refused", map[string]any{"name": "a/b"}, 400, bad},
		{"a name of 121 characters is refused", map[string]any{"name": strings.Repeat("a", 121)}, 400, bad},
		{"an issuer that is no https URL is refused", map[string]any{"name": "b", "issuer": "http://x"}, 400, bad},
		{"no subject is refused", map[string]any{"name": "b", "subject": nil}, 201, ""},
	}
	rows[len(rows)-1].change["subject"], rows[len(rows)-1].status, rows[len(rows)-1].problem = "", 400, bad
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) { u.post(at, fic(r.change)).is(r.status, r.problem) })
	}
	if list := u.get(at).is(200).value(); len(list) != 1 || list[0]["subject"] != "repo:a/b" {
		t.Error(list)
	}
	u.get(at + "/main").is(200)
	u.get(at + "/" + made.str("id")).is(200)
	u.get(at + "(name='main')").is(200)
	u.patch(at+"/main", map[string]any{"subject": "repo:a/c"}).is(204)
	u.patch(at+"/main", map[string]any{"name": "other"}).is(400, "Request_BadRequest: Property 'name' is read-only and cannot be set.")
	u.patch(at+"(name='second')", fic(map[string]any{"subject": "s2"})).is(404)
	u.patch(at+"(name='second')", fic(map[string]any{"subject": "s2"}), upsert).is(201)
	u.patch(at+"(name='second')", map[string]any{"subject": "s3"}, upsert).is(204)
	for i := range 18 {
		u.post(at, fic(map[string]any{"name": fmt.Sprint("n", i), "subject": fmt.Sprint("n", i)})).is(201)
	}
	u.post(at, fic(map[string]any{"name": "last", "subject": "last"})).is(400, "Directory_QuotaExceeded: An application can have at most 20 federated identity credentials.")
	u.del(at + "/main").is(204)
	u.del(at + "/main").is(404)
	if list := u.get("servicePrincipals/" + sp + "/federatedIdentityCredentials").is(200).value(); len(list) != 0 {
		t.Error(list)
	}
}

func TestAppRoleAssignments(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All")
	_, _, sp := u.makeApp("bot")
	graph := u.get("servicePrincipals(appId='" + directory.GraphAppID + "')").is(200).str("id")
	const userRead = "df021288-bdef-4463-88db-98f22de89214"
	body := func(principal, resource, role string) map[string]any {
		return map[string]any{"principalId": principal, "resourceId": resource, "appRoleId": role}
	}
	at := "servicePrincipals/" + sp + "/appRoleAssignments"
	a := u.post(at, body(sp, graph, userRead)).is(201)
	if a.str("resourceDisplayName") != "Microsoft Graph" || a.str("principalDisplayName") != "bot" || a.str("principalType") != "ServicePrincipal" || isGUID(a.str("id")) {
		t.Error(a.text)
	}
	u.post(at, body(sp, graph, userRead)).is(400, "Request_BadRequest: Permission being assigned already exists on the object")
	u.post("servicePrincipals/"+graph+"/appRoleAssignedTo", body(sp, graph, "7ab1d382-f21e-4acd-a863-ba3e13f7da61")).is(201)
	u.post(at, body(sp, graph, "11111111-1111-4111-8111-111111111111")).is(400, "Request_BadRequest: Permission being assigned was not found on application '"+directory.GraphAppID+"'.")
	u.post(at, body(sp, "11111111-1111-4111-8111-111111111111", userRead)).is(404, "Request_ResourceNotFound")
	u.post(at, body(graph, graph, userRead)).is(400, "Request_BadRequest: The id of the object in the path")
	u.post(at, body("x", graph, userRead)).is(400, "Request_BadRequest: Invalid value specified for property 'principalId'")
	if list := u.get(at).is(200).value(); len(list) != 2 {
		t.Error(list)
	}
	if list := u.get("servicePrincipals/" + graph + "/appRoleAssignedTo").is(200).value(); len(list) != 2 {
		t.Error(list)
	}
	u.get(at + "/" + a.str("id")).is(200)
	c.user(c.appAdmin).del(at+"/"+a.str("id")).is(403, "Authorization_RequestDenied")
	u.del(at + "/" + a.str("id")).is(204)
	u.del(at + "/" + a.str("id")).is(404)
	u.post(at, body(sp, graph, userRead)).is(201)
}

func TestPermissionGrants(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All")
	_, _, sp := u.makeApp("bot")
	graph := u.get("servicePrincipals(appId='" + directory.GraphAppID + "')").is(200).str("id")
	body := map[string]any{"clientId": sp, "consentType": "AllPrincipals", "principalId": nil, "resourceId": graph, "scope": " User.Read  openid "}
	g := u.post("oauth2PermissionGrants", body).is(201)
	if g.str("scope") != "User.Read openid" {
		t.Error(g.text)
	}
	u.post("oauth2PermissionGrants", body).is(409, "Request_MultipleObjectsWithSameKeyValue: Permission entry already exists.")
	u.post("/beta/oauth2PermissionGrants", body).is(400, "Request_BadRequest: A value is required for property 'expiryTime'")
	body["consentType"] = "Principal"
	u.post("oauth2PermissionGrants", body).is(400, "Request_BadRequest: Invalid value specified for property 'consentType'")
	body["principalId"] = c.nobody
	u.post("oauth2PermissionGrants", body).is(201)
	at := "oauth2PermissionGrants/" + g.str("id")
	u.patch(at, map[string]any{"scope": "User.Read.All"}).is(204)
	if got := u.get(at).is(200); got.str("scope") != "User.Read.All" {
		t.Error(got.text)
	}
	if list := u.get(query("oauth2PermissionGrants", "clientId eq '"+sp+"' and consentType eq 'AllPrincipals'")).is(200).value(); len(list) != 1 {
		t.Error(list)
	}
	if list := u.get("servicePrincipals/" + sp + "/oauth2PermissionGrants").is(200).value(); len(list) != 2 {
		t.Error(list)
	}
	u.del(at).is(204)
	u.del(at).is(404)
}

func TestServicePrincipals(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, appID, sp := u.makeApp("bot")
	u.patch("servicePrincipals/"+sp, map[string]any{"accountEnabled": false, "tags": []string{"x"}, "notes": "n"}).is(204)
	got := u.get("servicePrincipals(appId='" + appID + "')").is(200)
	if got.body["accountEnabled"] != false || got.str("notes") != "n" || got.str("servicePrincipalType") != "Application" || got.str("appOwnerOrganizationId") != c.dir.Tenant.ID {
		t.Error(got.text)
	}
	u.patch("servicePrincipals/"+sp, map[string]any{"servicePrincipalNames": []string{"api://x"}}).is(400, "Request_BadRequest: Invalid value specified for property 'servicePrincipalNames'")
	u.patch("servicePrincipals/"+sp, map[string]any{"appId": appID}).is(400, "Request_BadRequest: Property 'appId' is read-only")
	u.post("servicePrincipals", map[string]any{"appId": "11111111-1111-4111-8111-111111111111"}).is(400, "Request_BadRequest: The appId '11111111-1111-4111-8111-111111111111' of the service principal does not reference a valid application object.")
	u.post("servicePrincipals", map[string]any{"appId": directory.GraphAppID}).is(409, "Request_MultipleObjectsWithSameKeyValue")
	u.post("servicePrincipals", map[string]any{}).is(400, "Request_BadRequest: A value is required for property 'appId' of resource 'ServicePrincipal'.")
	if owned := u.get("servicePrincipals/" + u.id + "/ownedObjects").is(200).value(); len(owned) != 2 {
		t.Error(owned)
	}
	if made := u.get("servicePrincipals/" + u.id + "/createdObjects").is(200).value(); len(made) != 1 || made[0]["id"] != id {
		t.Error(made)
	}

	t.Run("a managed identity's credentials and existence are Azure's", func(t *testing.T) {
		mi := c.env.NewID()
		c.write(func(tx replica.Tx) {
			c.dir.ServicePrincipals.Put(tx, mi, directory.ServicePrincipal{ID: mi, AppID: c.env.NewID(), DisplayName: "mi", ServicePrincipalType: "ManagedIdentity", AccountEnabled: true})
		})
		u.post("servicePrincipals/"+mi+"/addPassword", nil).is(400, "Request_BadRequest: Credentials of a service principal of type 'ManagedIdentity' cannot be changed.")
		u.patch("servicePrincipals/"+mi, map[string]any{"keyCredentials": []any{keyBody(fresh(t, 0))}}).is(400)
		u.del("servicePrincipals/"+mi).is(403, "Authorization_RequestDenied")
	})
	t.Run("memberships go through groups", func(t *testing.T) {
		admin := c.user(c.admin)
		group := func(name, member string, assignable bool) string {
			return admin.post("groups", map[string]any{"displayName": name, "mailEnabled": false, "mailNickname": name, "securityEnabled": true, "isAssignableToRole": assignable, "members@odata.bind": []string{"https://h/v1.0/directoryObjects/" + member}}).is(201).str("id")
		}
		inner := group("inner", sp, true)
		outer := group("outer", inner, false)
		if named := admin.get("groups?$filter=mailNickname%20eq%20'inner'").is(200).value(); len(named) != 1 || named[0]["id"] != inner || named[0]["mailNickname"] != "inner" {
			t.Error(named)
		}
		admin.post("directoryRoles(roleTemplateId='"+directory.GlobalReader+"')/members/$ref", map[string]any{"@odata.id": "https://h/directoryObjects/" + inner}).is(204)
		if list := u.get("servicePrincipals/" + sp + "/memberOf").is(200).value(); len(list) != 1 || list[0]["id"] != inner {
			t.Error(list)
		}
		if list := u.get("servicePrincipals/" + sp + "/transitiveMemberOf").is(200).value(); len(list) != 3 || list[1]["id"] != outer || list[2]["roleTemplateId"] != directory.GlobalReader {
			t.Error(list)
		}
		at := "groups/" + inner + "/members"
		ref := map[string]any{"@odata.id": "https://h/v1.0/directoryObjects/" + c.nobody}
		admin.post(at+"/$ref", ref).is(204)
		admin.post(at+"/$ref", ref).is(400, "Request_BadRequest: One or more added object references already exist for the following modified properties: 'members'.")
		if list := admin.get(at).is(200).value(); len(list) != 2 {
			t.Error(list)
		}
		admin.del(at + "/" + c.nobody + "/$ref").is(204)
		admin.del(at + "/" + c.nobody + "/$ref").is(400)
		if list := admin.get(query("groups", "displayName eq 'INNER'")).is(200).value(); len(list) != 1 {
			t.Error(list)
		}
		check := map[string]any{"groupIds": []string{outer, c.nobody}}
		for _, at := range []string{"directoryObjects/" + sp, "servicePrincipals/" + sp} {
			if in := admin.post(at+"/checkMemberGroups", check).is(200).texts(); len(in) != 1 || in[0] != outer {
				t.Error(at, in)
			}
			if in := admin.post(at+"/getMemberGroups", map[string]any{"securityEnabledOnly": true}).is(200).texts(); len(in) != 2 || in[0] != inner || in[1] != outer {
				t.Error(at, in)
			}
		}
		if in := admin.post("users/nobody@contoso.onmicrosoft.com/checkMemberGroups", check).is(200).texts(); len(in) != 0 {
			t.Error(in)
		}
		admin.post("directoryObjects/"+sp+"/checkMemberGroups", map[string]any{}).is(400)
		c.user(c.nobody).del("groups/" + inner).is(403)
		admin.del("groups/" + inner).is(204)
		admin.get("groups/" + inner).is(404)
		if list := admin.get("servicePrincipals/" + sp + "/transitiveMemberOf").is(200).value(); len(list) != 0 {
			t.Error("what a group gave is there after it: ", list)
		}
		admin.post("groups", map[string]any{"displayName": "mail", "mailEnabled": true, "mailNickname": "m", "securityEnabled": false}).is(400)
	})
}

func TestDirectoryReads(t *testing.T) {
	c := newCloud(t)
	u := c.user(c.admin)
	id, _, sp := u.makeApp("bot")
	rows := []struct {
		sentence, path string
		status         int
		has            string
	}{
		{"the caller is me", "me", 200, `"userPrincipalName":"admin@contoso.onmicrosoft.com"`},
		{"my roles are memberships", "me/memberOf", 200, directory.GlobalAdministrator},
		{"I own what I made", "me/ownedObjects", 200, id},
		{"a user has a name for a key", "users/nobody@contoso.onmicrosoft.com", 200, c.nobody},
		{"a user may be asked for more", "users/" + c.nobody + "?$select=id,accountEnabled", 200, `"accountEnabled":true`},
		{"a user who is not there is not found", "users/none", 404, "Request_ResourceNotFound"},
		{"any object has a type", "directoryObjects/" + sp, 200, `"@odata.type":"#microsoft.graph.servicePrincipal"`},
		{"an application is an object", "directoryObjects/" + id, 200, `"@odata.type":"#microsoft.graph.application"`},
		{"an object that is not there is not found", "directoryObjects/none", 404, "Request_ResourceNotFound"},
		{"directory roles are listed", "directoryRoles", 200, directory.ApplicationAdministrator},
		{"a directory role has members", "directoryRoles(roleTemplateId='" + directory.GlobalAdministrator + "')/members", 200, c.admin},
		{"role definitions are listed", "roleManagement/directory/roleDefinitions", 200, "Global Administrator"},
		{"a role definition is read", "roleManagement/directory/roleDefinitions/" + directory.GlobalReader, 200, "Global Reader"},
		{"role assignments are filtered", query("roleManagement/directory/roleAssignments", "principalId eq '"+c.appAdmin+"'"), 200, directory.ApplicationAdministrator},
		{"the organization is the tenant", "organization", 200, c.dir.Tenant.ID},
		{"the organization is read by id", "organization/" + c.dir.Tenant.ID, 200, "verifiedDomains"},
		{"the initial domain is verified", "domains", 200, `"isVerified":true`},
		{"a domain is read by name", "domains/contoso.onmicrosoft.com", 200, `"isInitial":true`},
		{"there are no licenses", "subscribedSkus", 200, `"value":[]`},
		{"users may not create applications by default", "policies/authorizationPolicy", 200, `"allowedToCreateApps":false`},
		{"Azure CLI is a service principal", "servicePrincipals(appId='" + directory.AzureCLIAppID + "')", 200, "Microsoft Azure CLI"},
		{"Graph defines the permissions of agent identities", "servicePrincipals(appId='" + directory.GraphAppID + "')", 200, "ad25cc1d-84d8-47df-a08e-b34c2e800819"},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			if a := u.get(r.path).is(r.status); !strings.Contains(a.text, r.has) || strings.Contains(a.text, "canary") {
				t.Error(a.text)
			}
		})
	}
	t.Run("objects are fetched by their ids", func(t *testing.T) {
		list := u.post("directoryObjects/getByIds", map[string]any{"ids": []string{sp, c.nobody, "none", id}, "types": []string{"user", "servicePrincipal", "directoryObjectPartnerReference"}}).is(200).value()
		if len(list) != 2 || list[0]["@odata.type"] != "#microsoft.graph.servicePrincipal" || list[1]["id"] != c.nobody {
			t.Error(list)
		}
		u.post("directoryObjects/getByIds", map[string]any{"ids": []string{}}).is(400)
	})
	t.Run("a directory role is given and taken", func(t *testing.T) {
		at := "directoryRoles(roleTemplateId='" + directory.GlobalReader + "')/members"
		ref := map[string]any{"@odata.id": "https://h/v1.0/directoryObjects/" + c.nobody}
		u.post(at+"/$ref", ref).is(204)
		u.post(at+"/$ref", ref).is(400)
		u.del(at + "/" + c.nobody + "/$ref").is(204)
		u.del(at + "/" + c.nobody + "/$ref").is(400)
		u.post("directoryRoles/none/members/$ref", ref).is(404)
	})
}

func TestSeededIdsAreTheirOwn(t *testing.T) {
	seen := map[string]string{}
	for p := range permissions() {
		for _, id := range []string{p.delegated, p.app} {
			if id == "" {
				continue
			}
			if !isGUID(id) || seen[id] != "" {
				t.Errorf("%s of %s is no GUID, or that of %s", id, p.name, seen[id])
			}
			seen[id] = p.name
		}
	}
	if len(seen) < 70 {
		t.Errorf("%d ids", len(seen))
	}
}
