package graph

import (
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// TestWhoMayDoWhat asks every operation as every kind of caller. The letters say who may: see callers.
func TestWhoMayDoWhat(t *testing.T) {
	c := newCloud(t)
	owner := c.app("Application.ReadWrite.OwnedBy")
	id, appID, sp := owner.makeApp("owned")
	user := c.user(c.nobody)
	c.write(func(tx replica.Tx) { // nobody owns it too
		a, _ := c.dir.Applications.Get(tx.View, id)
		a.Owners = append(a.Owners, c.nobody)
		c.dir.Applications.Put(tx, id, a)
	})
	graph := c.app("Application.Read.All").get("servicePrincipals(appId='" + directory.GraphAppID + "')").is(200).str("id")
	callers := []struct {
		letter byte
		who    string
		client client
	}{
		{'W', "an application with Application.ReadWrite.All", c.app("Application.ReadWrite.All")},
		{'O', "the owner with Application.ReadWrite.OwnedBy", owner},
		{'o', "another application with Application.ReadWrite.OwnedBy", c.app("Application.ReadWrite.OwnedBy")},
		{'R', "an application with Application.Read.All", c.app("Application.Read.All")},
		{'S', "the application itself, with no permission", c.as(sp, appID)},
		{'N', "another application with no permission", c.app()},
		{'G', "an application with AppRoleAssignment.ReadWrite.All", c.app("AppRoleAssignment.ReadWrite.All")},
		{'D', "an application with DelegatedPermissionGrant.ReadWrite.All", c.app("DelegatedPermissionGrant.ReadWrite.All")},
		{'P', "an application with Policy.ReadWrite.ApplicationConfiguration", c.app("Policy.ReadWrite.ApplicationConfiguration")},
		{'A', "a Global Administrator at Azure CLI", c.user(c.admin)},
		{'B', "an Application Administrator at Azure CLI", c.user(c.appAdmin)},
		{'Q', "a Privileged Role Administrator at Azure CLI", c.user(c.roleAdmin)},
		{'U', "a plain user at Azure CLI who owns the application", user},
		{'L', "a plain user who owns nothing", c.user(c.reader)},
		{'a', "a Global Administrator whose token has User.Read alone", c.user(c.admin, "User.Read")},
	}
	body := map[string]any{}
	grant := map[string]any{"principalId": sp, "resourceId": graph, "appRoleId": "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"}
	other := map[string]any{"principalId": sp, "resourceId": sp, "appRoleId": defaultAccess}
	rows := []struct {
		sentence, method, path string
		body                   any
		may                    string
	}{
		{"list applications", "GET", "applications", nil, "WOoRABQUL"},
		{"read an application", "GET", "applications/" + id, nil, "WOoRABQUL"},
		{"create an application", "POST", "applications", body, "WOoAB"},
		{"change an application", "PATCH", "applications/" + id, body, "WOABU"},
		{"read owners", "GET", "applications/" + id + "/owners", nil, "WOoRABQUL"},
		{"add an owner", "POST", "applications/" + id + "/owners/$ref", body, "WOABU"},
		{"remove a password", "POST", "applications/" + id + "/removePassword", body, "WOABU"},
		{"roll a key", "POST", "applications/" + id + "/addKey", body, "WOSABU"},
		{"remove a key with proof", "POST", "applications/" + id + "/removeKey", body, "WOSABU"},
		{"add a federated credential", "POST", "applications/" + id + "/federatedIdentityCredentials", body, "WOABU"},
		{"read a service principal", "GET", "servicePrincipals/" + sp, nil, "WOoRABQUL"},
		{"create a service principal", "POST", "servicePrincipals", map[string]any{"appId": appID}, "WOABU"},
		{"change a service principal", "PATCH", "servicePrincipals/" + sp, body, "WOAB"},
		{"roll a key of a service principal", "POST", "servicePrincipals/" + sp + "/addKey", body, "WOSAB"},
		{"read app role assignments", "GET", "servicePrincipals/" + sp + "/appRoleAssignments", nil, "WRGABQUL"},
		{"grant an app role of Graph", "POST", "servicePrincipals/" + sp + "/appRoleAssignments", grant, "GAQ"},
		{"grant an app role of another resource", "POST", "servicePrincipals/" + sp + "/appRoleAssignments", other, "GABQ"},
		{"read delegated grants", "GET", "oauth2PermissionGrants", nil, "DABQUL"},
		{"write a delegated grant", "POST", "oauth2PermissionGrants", body, "DABQ"},
		{"read users", "GET", "users", nil, "ABQUL"},
		{"read groups", "GET", "groups", nil, "ABQUL"},
		{"create a group", "POST", "groups", body, "A"},
		{"read directory roles", "GET", "directoryRoles", nil, "ABQUL"},
		{"give a directory role", "POST", "directoryRoles(roleTemplateId='" + directory.GlobalReader + "')/members/$ref", body, "AQ"},
		{"read the organization", "GET", "organization", nil, "ABQULa"},
		{"read licenses", "GET", "subscribedSkus", nil, "ABQULa"},
		{"read domains", "GET", "domains", nil, "ABQUL"},
		{"read the default app management policy", "GET", "policies/defaultAppManagementPolicy", nil, "PABL"},
		{"change the default app management policy", "PATCH", "policies/defaultAppManagementPolicy", body, "PAB"},
		{"make an app management policy", "POST", "policies/appManagementPolicies", body, "PAB"},
		{"assign an app management policy", "POST", "applications/" + id + "/appManagementPolicies/$ref", body, "PAB"},
		{"read the authorization policy", "GET", "policies/authorizationPolicy", nil, "ABQUL"},
		{"change the authorization policy", "PATCH", "policies/authorizationPolicy", body, "AQ"},
		{"read the recycle bin", "GET", "directory/deletedItems/microsoft.graph.application", nil, "WOoRABQUL"},
		{"read oneself", "GET", "users/" + c.admin, nil, "ABQUL"},
		{"send a batch", "POST", "$batch", body, "WOoRSNGDPABQULa"},
	}
	for _, r := range rows {
		for _, caller := range callers {
			t.Run(caller.who+" may or may not "+r.sentence, func(t *testing.T) {
				a := caller.client.do(r.method, r.path, r.body)
				may := false
				for i := range r.may {
					may = may || r.may[i] == caller.letter
				}
				if refused := a.status == 403; refused == may {
					t.Errorf("%d %s", a.status, a.text)
				}
				if a.status == 403 {
					a.is(403, "Authorization_RequestDenied: ")
				}
			})
		}
	}
}

func TestRightsThatDependOnTheTenant(t *testing.T) {
	c := newCloud(t)
	user := c.user(c.nobody)
	user.post("applications", map[string]any{"displayName": "mine"}).is(403, "Authorization_RequestDenied: Insufficient privileges to complete the operation.")
	c.user(c.admin).patch("policies/authorizationPolicy", map[string]any{"defaultUserRolePermissions": map[string]any{"allowedToCreateApps": true}}).is(204)
	id, _, _ := user.makeApp("mine")
	user.patch("applications/"+id, map[string]any{"notes": "n"}).is(204)
	if owners := user.get("applications/" + id + "/owners").is(200).value(); len(owners) != 1 || owners[0]["id"] != c.nobody {
		t.Error(owners)
	}
	c.user(c.reader).patch("applications/"+id, map[string]any{"notes": "n"}).is(403)

	t.Run("a user without an administrator's role makes 250 objects at most", func(t *testing.T) {
		for range 248 {
			user.post("applications", map[string]any{"displayName": "many"}).is(201)
		}
		user.post("applications", map[string]any{"displayName": "many"}).is(400, "Directory_QuotaExceeded: The directory object quota limit for the Principal has been exceeded.")
		c.app("Application.ReadWrite.OwnedBy").post("applications", map[string]any{"displayName": "many"}).is(201)
	})
	t.Run("a service principal with a directory role needs no permission", func(t *testing.T) {
		p := c.app()
		p.patch("applications/"+id, map[string]any{"notes": "n"}).is(403)
		ref := map[string]any{"@odata.id": host + "/v1.0/directoryObjects/" + p.id}
		c.user(c.roleAdmin).post("directoryRoles(roleTemplateId='"+directory.ApplicationAdministrator+"')/members/$ref", ref).is(204)
		p.patch("applications/"+id, map[string]any{"notes": "n"}).is(204)
	})
	t.Run("a role held through a group counts", func(t *testing.T) {
		admin := c.user(c.admin)
		g := admin.post("groups", map[string]any{"displayName": "admins", "mailEnabled": false, "mailNickname": "g", "securityEnabled": true, "isAssignableToRole": true, "members@odata.bind": []string{host + "/v1.0/users/" + c.reader}}).is(201).str("id")
		admin.post("directoryRoles(roleTemplateId='"+directory.CloudAppAdministrator+"')/members/$ref", map[string]any{"@odata.id": "https://x/directoryObjects/" + g}).is(204)
		c.user(c.reader).patch("applications/"+id, map[string]any{"notes": "n"}).is(204)
	})
}
