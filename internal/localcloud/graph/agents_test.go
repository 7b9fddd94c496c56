package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	castBlueprint = "applications/microsoft.graph.agentIdentityBlueprint"
	castPrincipal = "servicePrincipals/microsoft.graph.agentIdentityBlueprintPrincipal"
	castIdentity  = "servicePrincipals/microsoft.graph.agentIdentity"
	castUser      = "users/microsoft.graph.agentUser"
)

type fields = map[string]any

// provisioner is an application with what the creator of agents is granted.
func (c *cloud) provisioner() client {
	return c.app("AgentIdentityBlueprint.Create", "AgentIdentityBlueprint.ReadWrite.All", "AgentIdentityBlueprintPrincipal.Create", "AgentIdentityBlueprintPrincipal.ReadWrite.All",
		"AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All", "AgentIdUser.ReadWrite.All", "Application.Read.All")
}

func (c *cloud) sponsor() []string { return []string{host + "/v1.0/users/" + c.nobody} }

// agent is a whole chain.
type agent struct{ blueprint, blueprintApp, principal, identity string }

func (u client) makeAgent(name string) agent {
	u.c.t.Helper()
	b := u.post(castBlueprint, fields{"displayName": name, "sponsors@odata.bind": u.c.sponsor()}).is(201)
	p := u.post(castPrincipal, fields{"appId": b.str("appId")}).is(201)
	return agent{b.str("id"), b.str("appId"), p.str("id"), u.makeIdentity(b.str("appId"), name)}
}

func (u client) makeIdentity(blueprintApp, name string) string {
	u.c.t.Helper()
	return u.post(castIdentity, u.c.identity(blueprintApp, name)).is(201).str("id")
}

func (c *cloud) identity(blueprintApp, name string) fields {
	return fields{"displayName": name, "agentIdentityBlueprintId": blueprintApp, "sponsors@odata.bind": c.sponsor()}
}

func agentUserBody(parent, name string) fields {
	return fields{"accountEnabled": true, "displayName": name, "mailNickname": name, "userPrincipalName": name + "@contoso.onmicrosoft.com", "identityParentId": parent}
}

func TestTheAgentChain(t *testing.T) {
	c := newCloud(t)
	p := c.provisioner()
	a := p.makeAgent("bot")

	b := p.get(castBlueprint + "/" + a.blueprint).is(200)
	if b.str("@odata.type") != "#microsoft.graph.agentIdentityBlueprint" || b.str("signInAudience") != "AzureADMyOrg" || b.str("appId") == b.str("id") {
		t.Error(b.text)
	}
	sp := p.get("servicePrincipals/" + a.principal).is(200)
	if sp.str("servicePrincipalType") != "Application" || sp.str("appId") != a.blueprintApp || sp.str("createdByAppId") != p.appID {
		t.Error(sp.text)
	}
	id := p.get(castIdentity + "/" + a.identity).is(200)
	if id.str("id") != id.str("appId") || id.str("servicePrincipalType") != "ServiceIdentity" || id.str("agentIdentityBlueprintId") != a.blueprintApp || id.str("@odata.type") != "#microsoft.graph.agentIdentity" {
		t.Error(id.text)
	}

	t.Run("every spelling of a cast finds it", func(t *testing.T) {
		for _, path := range []string{"applications/" + a.blueprint, "applications/" + a.blueprint + "/Microsoft.Graph.AgentIdentityBlueprint", "applications/graph.agentIdentityBlueprint/" + a.blueprint,
			"applications(appId='" + a.blueprintApp + "')/microsoft.graph.agentIdentityBlueprint", "applications?$filter=displayName eq 'bot'"} {
			if got := p.get(path).is(200); !strings.Contains(got.text, a.blueprint) {
				t.Error(path, got.text)
			}
		}
	})
	t.Run("a cast to another type does not", func(t *testing.T) {
		plain, _, _ := c.app("Application.ReadWrite.All").makeApp("plain")
		p.get(castBlueprint+"/"+plain).is(404, "Request_ResourceNotFound: ")
		p.get(castPrincipal+"/"+a.identity).is(404, "Request_ResourceNotFound: ")
		if got := p.get(castBlueprint).is(200).value(); len(got) != 1 {
			t.Error(got)
		}
		p.get("applications/"+plain+"/sponsors").is(400, "BadRequest: ")
	})
	t.Run("identities are listed by blueprint on their own collection only", func(t *testing.T) {
		other := p.makeAgent("other")
		if got := p.get(query(castIdentity, "agentIdentityBlueprintId eq '"+a.blueprintApp+"'")).is(200).value(); len(got) != 1 || got[0]["id"] != a.identity {
			t.Error(got)
		}
		if got := p.get(castIdentity + "?$select=id,appId,displayName,agentIdentityBlueprintId&$top=999").is(200).value(); len(got) != 2 || got[1]["id"] != other.identity {
			t.Error(got)
		}
		p.get(query("servicePrincipals", "agentIdentityBlueprintId eq '"+a.blueprintApp+"'")).is(400)
	})
	t.Run("the beta form with @odata.type makes the same", func(t *testing.T) {
		b := p.do("POST", "/beta/applications", fields{"@odata.type": "Microsoft.Graph.AgentIdentityBlueprint", "displayName": "old", "sponsors@odata.bind": c.sponsor()}, "OData-Version: 4.0").is(201)
		p.do("POST", "/beta/servicePrincipals", fields{"@odata.type": "Microsoft.Graph.AgentIdentityBlueprintPrincipal", "appId": b.str("appId")}).is(201)
		body := c.identity(b.str("appId"), "old")
		body["@odata.type"] = "Microsoft.Graph.AgentIdentity"
		i := p.do("POST", "/beta/servicePrincipals", body).is(201)
		u := agentUserBody(i.str("id"), "old")
		u["@odata.type"] = "microsoft.graph.agentUser"
		p.do("POST", "/beta/users", u).is(201)
	})
	t.Run("an upsert by unique name makes one and then changes it", func(t *testing.T) {
		at := "applications(uniqueName='leastkey-bp')/microsoft.graph.agentIdentityBlueprint"
		body := fields{"displayName": "up", "sponsors@odata.bind": c.sponsor()}
		p.patch(at, body).is(404)
		if made := p.patch(at, body, "Prefer: create-if-missing").is(201); made.str("@odata.type") != "#microsoft.graph.agentIdentityBlueprint" {
			t.Error(made.text)
		}
		p.patch(at, fields{"displayName": "up2"}, "Prefer: create-if-missing").is(204)
		w := c.app("Application.ReadWrite.All")
		w.patch("applications(uniqueName='plain')", fields{"displayName": "plain"}, "Prefer: create-if-missing").is(201)
		p.patch("applications(uniqueName='plain')/microsoft.graph.agentIdentityBlueprint", fields{"displayName": "x"}, "Prefer: create-if-missing").is(404)
	})
}

func TestWhatAgentsRefuse(t *testing.T) {
	c := newCloud(t)
	p := c.provisioner()
	a := p.makeAgent("bot")
	bare := p.post(castBlueprint, fields{"displayName": "bare", "sponsors@odata.bind": c.sponsor()}).is(201)
	plain, plainApp, plainSP := c.app("Application.ReadWrite.All").makeApp("plain")
	group := c.user(c.admin).post("groups", fields{"displayName": "g", "mailEnabled": false, "mailNickname": "g", "securityEnabled": true}).is(201).str("id")
	self := c.as(a.principal, a.blueprintApp, "AgentIdentity.CreateAsManager", "AgentIdUser.ReadWrite.IdentityParentedBy")
	key := fields{"keyCredentials": []any{keyBody(fresh(t, 1))}}
	symmetric := fields{"keyCredentials": []any{fields{"type": "Symmetric", "usage": "Verify", "key": "AAAA"}}}
	bind := func(kind, id string) fields {
		return fields{"displayName": "x", "agentIdentityBlueprintId": a.blueprintApp, "sponsors@odata.bind": []string{host + "/v1.0/" + kind + "/" + id}}
	}
	foreign := agentUserBody(a.identity, "foreign")
	foreign["userPrincipalName"] = "x@elsewhere.com"
	for _, r := range []struct {
		sentence     string
		who          client
		method, path string
		body         any
		status       int
		problem      string
	}{
		{"a blueprint without a sponsor", p, "POST", castBlueprint, fields{"displayName": "x"}, 400, "Request_BadRequest: A value is required for property 'sponsors'"},
		{"a blueprint with a public client", p, "POST", castBlueprint, fields{"displayName": "x", "sponsors@odata.bind": c.sponsor(), "isFallbackPublicClient": true}, 400, "AgentBlueprint_IncompatibleProperty: "},
		{"a public client on a blueprint afterwards", p, "PATCH", "applications/" + a.blueprint, fields{"publicClient": fields{"redirectUris": []string{"http://localhost"}}}, 400, "AgentBlueprint_IncompatibleProperty: "},
		{"a symmetric key on a blueprint", p, "PATCH", castBlueprint + "/" + a.blueprint, symmetric, 400, "Request_BadRequest: The value for the property \"type\""},
		{"a principal for an ordinary application", p, "POST", castPrincipal, fields{"appId": plainApp}, 400, "AgentBlueprintPrincipal_RequireAgentBlueprint: "},
		{"a second principal", p, "POST", castPrincipal, fields{"appId": a.blueprintApp}, 409, "Request_MultipleObjectsWithSameKeyValue: "},
		{"a credential on a principal", p, "PATCH", "servicePrincipals/" + a.principal, key, 400, "AgentBlueprintPrincipal_IncompatibleProperty: "},
		{"an identity of a blueprint without principal", p, "POST", castIdentity, c.identity(bare.str("appId"), "x"), 400, "AgentIdentity_AgentBlueprintPrincipalDoesNotExist: "},
		{"an identity of an ordinary application", p, "POST", castIdentity, c.identity(plainApp, "x"), 400, "AgentIdentity_IncompatibleParentType: "},
		{"an identity by the object id of the blueprint", p, "POST", castIdentity, c.identity(a.blueprint, "x"), 400, "AgentIdentity_IncompatibleParentType: "},
		{"an identity without a sponsor", p, "POST", castIdentity, fields{"displayName": "x", "agentIdentityBlueprintId": a.blueprintApp}, 400, "Request_BadRequest: A value is required for property 'sponsors'"},
		{"a service principal as sponsor", p, "POST", castIdentity, bind("servicePrincipals", plainSP), 400, "Request_BadRequest: The object"},
		{"a security group as sponsor", p, "POST", castIdentity, bind("groups", group), 400, "Request_BadRequest: The group"},
		{"a certificate on an identity", p, "PATCH", "servicePrincipals/" + a.identity, key, 400, "AgentIdentity_CredentialsNotSupported: "},
		{"a secret on an identity", p, "POST", "servicePrincipals/" + a.identity + "/addPassword", fields{}, 400, "AgentIdentity_CredentialsNotSupported: "},
		{"a redirect on an identity", p, "PATCH", "servicePrincipals/" + a.identity, fields{"replyUrls": []string{"https://x"}}, 400, "AgentBlueprintPrincipal_AgentIdentity_IncompatibleProperty: "},
		{"a blueprint that makes another's identity", self, "POST", castIdentity, c.identity(bare.str("appId"), "x"), 403, "Error_AgentBlueprintCannotCreateAssociatedIdentity: "},
		{"an identity that makes identities", c.as(a.identity, a.identity, "AgentIdentity.Create.All"), "POST", castIdentity, c.identity(a.blueprintApp, "x"), 403, "Error_AgentIdentitiesCreatingAgentIdentitiesNotAllowed: "},
		{"an application that may make its own only", c.app("AgentIdentity.CreateAsManager"), "POST", castIdentity, c.identity(a.blueprintApp, "x"), 403, "Error_AgentIdentitySelfCreateRequired: "},
		{"an agent user of another domain", p, "POST", castUser, foreign, 400, "Request_BadRequest: The domain portion of the userPrincipalName property is invalid."},
		{"an agent user of a service principal that is no identity", p, "POST", castUser, agentUserBody(plainSP, "x"), 400, "Request_BadRequest: Invalid value specified for property 'identityParentId'"},
		{"an agent user with a password", p, "POST", castUser, func() fields {
			b := agentUserBody(a.identity, "x")
			b["passwordProfile"] = fields{"password": "x"}
			return b
		}(), 400, "Request_BadRequest: Invalid property 'passwordProfile'"},
		{"an ordinary user", c.app("User.ReadWrite.All"), "POST", "users", agentUserBody(a.identity, "x"), 400, "Request_BadRequest: The local cloud"},
		{"Azure CLI's token of a Global Administrator makes no blueprint", c.user(c.admin), "POST", castBlueprint, fields{"displayName": "x", "sponsors@odata.bind": c.sponsor()}, 403, "Authorization_RequestDenied: "},
		{"nor reads one by its type", c.user(c.admin), "GET", castBlueprint + "/" + a.blueprint, nil, 403, "Authorization_RequestDenied: "},
		{"nor deletes one", c.user(c.admin), "DELETE", "applications/" + a.blueprint, nil, 403, "Authorization_RequestDenied: "},
		{"nor deletes an identity", c.user(c.admin), "DELETE", "servicePrincipals/" + a.identity, nil, 403, "Authorization_RequestDenied: "},
		{"it reads one as an application", c.user(c.admin), "GET", "applications/" + a.blueprint, nil, 200, ""},
		{"Directory.ReadWrite.All takes the say away", c.app("AgentIdentityBlueprint.ReadWrite.All", "Directory.ReadWrite.All"), "DELETE", "applications/" + a.blueprint, nil, 403, "Authorization_RequestDenied: "},
		{"Application.ReadWrite.All writes no blueprint", c.app("Application.ReadWrite.All"), "PATCH", "applications/" + a.blueprint, key, 403, "Authorization_RequestDenied: "},
		{"a permission for credentials changes no name", c.app("AgentIdentityBlueprint.AddRemoveCreds.All"), "PATCH", "applications/" + a.blueprint, fields{"displayName": "x"}, 403, "Authorization_RequestDenied: "},
		{"a permission for blueprints writes no ordinary application", p, "PATCH", "applications/" + plain, key, 403, "Authorization_RequestDenied: "},
		{"a blocked application permission", c.app("AppRoleAssignment.ReadWrite.All"), "POST", "servicePrincipals/" + a.identity + "/appRoleAssignments", fields{"principalId": a.identity, "resourceId": c.graphID(), "appRoleId": "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"}, 400, "Request_BadRequest: "},
		{"a blocked delegated permission", c.app("DelegatedPermissionGrant.ReadWrite.All"), "POST", "oauth2PermissionGrants", fields{"clientId": a.identity, "consentType": "AllPrincipals", "resourceId": c.graphID(), "scope": "User.Read User.ReadWrite.All"}, 400, "Request_BadRequest: "},
		{"a powerful directory role", c.user(c.roleAdmin), "POST", "directoryRoles(roleTemplateId='" + directory.ApplicationAdministrator + "')/members/$ref", fields{"@odata.id": "https://x/directoryObjects/" + a.identity}, 400, "Request_BadRequest: The directory role"},
	} {
		t.Run(r.sentence, func(t *testing.T) {
			got := r.who.do(r.method, r.path, r.body).is(r.status)
			if r.problem != "" {
				got.is(r.status, r.problem)
			}
		})
	}
}

func (c *cloud) graphID() (id string) {
	c.write(func(tx replica.Tx) {
		for _, p := range c.dir.ServicePrincipals.By(tx.View, "appId", directory.GraphAppID) {
			id = p.ID
		}
	})
	return id
}

func TestWhatAgentsAllow(t *testing.T) {
	c := newCloud(t)
	p := c.provisioner()
	a := p.makeAgent("bot")
	t.Run("a permission for credentials changes them", func(t *testing.T) {
		u := c.app("AgentIdentityBlueprint.AddRemoveCreds.All")
		u.patch("applications/"+a.blueprint, fields{"keyCredentials": []any{keyBody(fresh(t, 1))}}).is(204)
		u.post("applications/"+a.blueprint+"/microsoft.graph.agentIdentityBlueprint/addPassword", fields{"passwordCredential": fields{"displayName": "s"}}).is(200)
		u.post("applications/"+a.blueprint+"/microsoft.graph.agentIdentityBlueprint/federatedIdentityCredentials", fields{"name": "n", "issuer": "https://i", "subject": "s", "audiences": []string{"api://AzureADTokenExchange"}}).is(201)
		if keys := p.get("applications/" + a.blueprint + "?$select=keyCredentials").is(200).list("keyCredentials"); len(keys) != 1 || keys[0]["key"] == nil {
			t.Error(keys)
		}
	})
	t.Run("a blueprint makes its own identities and their users, and changes and deletes them", func(t *testing.T) {
		self := c.as(a.principal, a.blueprintApp, "AgentIdentity.CreateAsManager", "AgentIdUser.ReadWrite.IdentityParentedBy")
		id := self.makeIdentity(a.blueprintApp, "mine")
		u := self.post(castUser, agentUserBody(id, "mine")).is(201).str("id")
		self.patch("servicePrincipals/"+id, fields{"accountEnabled": false}).is(204)
		self.patch("users/"+u, fields{"usageLocation": "US"}).is(204)
		self.del("users/" + u).is(204)
		self.del("servicePrincipals/" + id).is(204)
		other := p.makeAgent("other")
		self.del("servicePrincipals/"+other.identity).is(403, "Authorization_RequestDenied: ")
	})
	t.Run("a user with the role and the scope, and a developer who owns it", func(t *testing.T) {
		c.write(func(tx replica.Tx) {
			for id, role := range map[string]string{c.appAdmin: directory.AgentIDAdministrator, c.reader: directory.AgentIDDeveloper} {
				c.dir.RoleMembers.Put(tx, role+"/"+id, directory.RoleMember{ID: role + "/" + id, Template: role, PrincipalID: id})
			}
		})
		scopes := []string{"AgentIdentityBlueprint.Create", "AgentIdentityBlueprint.ReadWrite.All", "AgentIdentityBlueprintPrincipal.Create", "AgentIdentity.Create.All", "AgentIdentity.ReadWrite.All", "Application.Read.All"}
		keeper, developer := c.user(c.appAdmin, scopes...), c.user(c.reader, scopes...)
		mine := developer.makeAgent("mine")
		developer.patch("applications/"+mine.blueprint, fields{"displayName": "still mine"}).is(204)
		keeper.patch("applications/"+mine.blueprint, fields{"displayName": "kept"}).is(204)
		developer.patch("applications/"+a.blueprint, fields{"displayName": "not mine"}).is(403)
		c.user(c.nobody, scopes...).post(castBlueprint, fields{"displayName": "x", "sponsors@odata.bind": c.sponsor()}).is(403)
	})
	t.Run("sponsors come and go, and one stays", func(t *testing.T) {
		for _, at := range []string{"applications/" + a.blueprint + "/microsoft.graph.agentIdentityBlueprint", "servicePrincipals/" + a.identity + "/microsoft.graph.agentIdentity"} {
			ref := fields{"@odata.id": host + "/v1.0/users/" + c.reader}
			p.post(at+"/sponsors/$ref", ref).is(204)
			p.post(at+"/sponsors/$ref", ref).is(400, "Request_BadRequest: One or more added object references already exist")
			if got := p.get(at + "/sponsors").is(200).value(); len(got) != 2 || len(got[0]) != 2 {
				t.Error(got)
			}
			p.del(at + "/sponsors/" + c.nobody + "/$ref").is(204)
			p.del(at+"/sponsors/"+c.reader+"/$ref").is(400, "Request_BadRequest: The last sponsor")
			if got := p.get(at + "?$expand=sponsors").is(200).list("sponsors"); len(got) != 1 || got[0]["id"] != c.reader {
				t.Error(got)
			}
		}
	})
	t.Run("inheritable permissions by resource", func(t *testing.T) {
		at := castBlueprint + "/" + a.blueprint + "/inheritablePermissions"
		p.post(at, fields{"resourceAppId": directory.GraphAppID, "inheritableScopes": fields{"@odata.type": "microsoft.graph.enumeratedScopes"}}).is(400)
		p.post(at, fields{"resourceAppId": directory.GraphAppID, "inheritableScopes": fields{"@odata.type": "microsoft.graph.enumeratedScopes", "scopes": []string{"User.Read"}}}).is(201)
		p.post(at, fields{"resourceAppId": directory.GraphAppID, "inheritableScopes": fields{"@odata.type": "microsoft.graph.allAllowedScopes"}}).is(409)
		p.patch(at+"/"+directory.GraphAppID, fields{"inheritableScopes": fields{"@odata.type": "#microsoft.graph.allAllowedScopes", "kind": "allAllowed"}, "inheritableRoles": fields{"@odata.type": "#microsoft.graph.allAllowedRoles"}}).is(204)
		got := p.get(at).is(200).value()
		if len(got) != 1 || fmt.Sprint(got[0]["inheritableScopes"].(fields)["kind"], got[0]["inheritableRoles"].(fields)["kind"]) != "allAllowedallAllowed" {
			t.Error(got)
		}
		p.get(at + "/" + directory.GraphAppID).is(200)
		p.del(at + "/" + directory.GraphAppID).is(204)
		p.get(at + "/" + directory.GraphAppID).is(404)
	})
	t.Run("app role assignments, grants and mild directory roles", func(t *testing.T) {
		u := p.post(castUser, agentUserBody(a.identity, "bot")).is(201).str("id")
		p.post(castUser, agentUserBody(a.identity, "bot2")).is(400, "Request_MultipleObjectsWithSameKeyValue: ")
		c.app("AppRoleAssignment.ReadWrite.All").post("servicePrincipals/"+a.identity+"/appRoleAssignments", fields{"principalId": a.identity, "resourceId": c.graphID(), "appRoleId": "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"}).is(201)
		c.app("DelegatedPermissionGrant.ReadWrite.All").post("oauth2PermissionGrants", fields{"clientId": a.identity, "consentType": "Principal", "principalId": u, "resourceId": c.graphID(), "scope": "User.Read Mail.Send"}).is(201)
		c.user(c.roleAdmin).post("directoryRoles(roleTemplateId='"+directory.DirectoryReaders+"')/members/$ref", fields{"@odata.id": "https://x/directoryObjects/" + a.identity}).is(204)
		if got := p.get(query(castUser, "identityParentId eq '"+a.identity+"'")).is(200).value(); len(got) != 1 || got[0]["id"] != u || got[0]["identityParentId"] != a.identity {
			t.Error(got)
		}
	})
}

func TestDeletingAgents(t *testing.T) {
	c := newCloud(t)
	p := c.provisioner()
	a := p.makeAgent("bot")
	u := p.post(castUser, agentUserBody(a.identity, "bot")).is(201).str("id")
	second := p.makeIdentity(a.blueprintApp, "second")

	p.del("applications/" + a.blueprint + "/microsoft.graph.agentIdentityBlueprint").is(204)
	for _, path := range []string{"applications/" + a.blueprint, "servicePrincipals/" + a.principal, "servicePrincipals/" + a.identity, "servicePrincipals/" + second} {
		p.get(path).is(404)
	}
	p.get(castUser + "/" + u).is(404)
	for path, n := range map[string]int{"microsoft.graph.agentIdentityBlueprint": 1, "microsoft.graph.agentIdentityBlueprintPrincipal": 1, "microsoft.graph.agentIdentity": 2, "microsoft.graph.agentUser": 1, "microsoft.graph.application": 1, "microsoft.graph.servicePrincipal": 3} {
		if got := p.get("directory/deletedItems/" + path).is(200).value(); len(got) != n {
			t.Error(path, got)
		}
	}
	if got := p.get("directory/deletedItems/" + a.identity).is(200); got.str("@odata.type") != "#microsoft.graph.agentIdentity" {
		t.Error(got.text)
	}
	p.post("directory/deletedItems/"+u+"/restore", nil).is(404) // its identity is gone
	p.post("directory/deletedItems/"+a.blueprint+"/restore", nil).is(200)
	p.get("servicePrincipals/" + a.principal).is(200)
	p.get("servicePrincipals/" + a.identity).is(404) // children come back one by one
	p.post("directory/deletedItems/"+a.identity+"/restore", nil).is(200)
	p.post("directory/deletedItems/"+u+"/restore", nil).is(200)
	p.get(castUser + "/" + u).is(200)
	p.del("directory/deletedItems/" + second).is(204)
	p.get("directory/deletedItems/" + second).is(404)

	t.Run("deleted identities count for the limit of a blueprint", func(t *testing.T) {
		for i := 1; i < maxIdentities; i++ {
			p.makeIdentity(a.blueprintApp, fmt.Sprint("n", i))
		}
		p.del("servicePrincipals/" + a.identity).is(204)
		p.post(castIdentity, c.identity(a.blueprintApp, "more")).is(400, "AgentIdentity_LimitExceeded: ")
		p.del("directory/deletedItems/" + a.identity).is(204)
		p.makeIdentity(a.blueprintApp, "more")
	})
}
