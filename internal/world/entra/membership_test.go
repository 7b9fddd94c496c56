package entra

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestMembershipsAreRolesAndGroups(t *testing.T) {
	client, g := serve(t,
		ok(`{"value":[{"@odata.type":"#microsoft.graph.directoryRole","id":"1","displayName":"Global Reader","roleTemplateId":"t1"}],"@odata.nextLink":"`+base+`/more"}`),
		ok(`{"value":[{"@odata.type":"#microsoft.graph.group","id":"g","displayName":"bots"},{"@odata.type":"#microsoft.graph.administrativeUnit","id":"u"},{"@odata.type":"#microsoft.graph.directoryRole","id":"2","displayName":null,"roleTemplateId":null}]}`),
		ok(`{"value":[{"id":"x"}]}`), problem(404, "Request_ResourceNotFound", "x"))
	m, err := client.Memberships(t.Context(), graphSP)
	if err != nil || len(m.Roles) != 2 || m.Roles[0] != (agent.DirectoryRole{Name: "Global Reader", Template: "t1", Scope: "/"}) || len(m.Groups) != 1 || m.Groups[0] != (agent.Group{ID: "g", Name: "bots"}) {
		t.Errorf("%+v: %v", m, err)
	}
	g.expect(t, "GET "+base+"/servicePrincipals/"+graphSP+"/transitiveMemberOf?%24top=100", "GET "+base+"/more")
	if _, err := client.Memberships(t.Context(), graphSP); !fault.Is(err, fault.Unknown) {
		t.Errorf("something without a type may be a role: %v", err)
	}
	if _, err := client.Memberships(t.Context(), graphSP); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := client.Memberships(t.Context(), "me"); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestScopedRolesAreOfThePrincipalAlone(t *testing.T) {
	client, g := serve(t,
		ok(`{"value":[{"principalId":"`+graphSP+`","roleDefinitionId":"t1","directoryScopeId":"/administrativeUnits/a"}]}`),
		ok(`{"value":[{"principalId":"`+me+`","roleDefinitionId":"t1","directoryScopeId":"/"}]}`), problem(403, "Authorization_RequestDenied", "x"))
	roles, err := client.ScopedRoles(t.Context(), graphSP)
	if err != nil || len(roles) != 1 || roles[0] != (agent.DirectoryRole{Template: "t1", Scope: "/administrativeUnits/a"}) {
		t.Errorf("%+v: %v", roles, err)
	}
	g.expect(t, "GET "+base+"/roleManagement/directory/roleAssignments?%24filter=principalId+eq+%27"+graphSP+"%27")
	if _, err := client.ScopedRoles(t.Context(), graphSP); !fault.Is(err, fault.Unknown) {
		t.Errorf("a list that was not filtered: %v", err)
	}
	if _, err := client.ScopedRoles(t.Context(), graphSP); !fault.Is(err, fault.Forbidden) || !strings.Contains(fault.Hint(err), "RoleManagement.Read.Directory") {
		t.Errorf("%v, %s", err, fault.Hint(err))
	}
	if _, err := client.ScopedRoles(t.Context(), "x' or 1 eq 1"); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestPermissionsHaveNames(t *testing.T) {
	one := func(id, role string) string {
		return `{"id":"` + id + `","appRoleId":"` + role + `","resourceId":"` + graphSP + `","resourceDisplayName":"Microsoft Graph"}`
	}
	client, g := serve(t,
		ok(`{"value":[`+one("a", strings.ToUpper(roleID))+`,`+one("b", "other")+`]}`), ok(`{"appRoles":[{"id":"`+roleID+`","value":"Mail.Read"}]}`),
		ok(`{"value":[`+one("a", roleID)+`]}`), problem(403, "Authorization_RequestDenied", "x"),
		ok(`{"value":[{"id":"a"}]}`))
	all, err := client.AppRolesOf(t.Context(), graphSP)
	if err != nil || len(all) != 2 || all[0] != (agent.AppRole{ID: "a", RoleID: strings.ToUpper(roleID), Resource: "Microsoft Graph", Value: "Mail.Read"}) || all[1].Value != "" {
		t.Errorf("%+v: %v", all, err)
	}
	g.expect(t, "GET "+base+"/servicePrincipals/"+graphSP+"/appRoleAssignments?%24top=100", "GET "+base+"/servicePrincipals/"+graphSP+"?%24select=id%2CappRoles")
	if all, err := client.AppRolesOf(t.Context(), graphSP); err != nil || len(all) != 1 || all[0].Value != "" {
		t.Errorf("a name that cannot be read is left out: %+v, %v", all, err)
	}
	if _, err := client.AppRolesOf(t.Context(), graphSP); !fault.Is(err, fault.Unknown) {
		t.Errorf("an unreadable one is not passed over: %v", err)
	}
}

func TestOwnersOfAServicePrincipal(t *testing.T) {
	client, g := serve(t, ok(`{"value":[{"@odata.type":"#microsoft.graph.user","id":"`+me+`","displayName":"Op"}]}`))
	all, err := client.PrincipalOwners(t.Context(), graphSP)
	if err != nil || len(all) != 1 || all[0] != (agent.Owner{ID: me, DisplayName: "Op", Type: "user"}) {
		t.Errorf("%+v: %v", all, err)
	}
	g.expect(t, "GET "+base+"/servicePrincipals/"+graphSP+"/owners?%24select=id%2CdisplayName")
}

func TestConsentsAreOfTheClientAlone(t *testing.T) {
	grant := func(client, kind, who string) string {
		return `{"id":"c1","clientId":"` + client + `","consentType":"` + kind + `","principalId":` + who + `,"resourceId":"r","scope":" Mail.Read  User.Read"}`
	}
	client, g := serve(t,
		ok(`{"value":[`+grant(graphSP, "AllPrincipals", "null")+`,`+grant(graphSP, "Principal", `"`+me+`"`)+`]}`),
		ok(`{"value":[`+grant(me, "AllPrincipals", "null")+`]}`), ok(`{"value":[`+grant(graphSP, "Principal", "null")+`]}`), problem(403, "Authorization_RequestDenied", "x"))
	all, err := client.Consents(t.Context(), graphSP)
	if err != nil || len(all) != 2 || all[0].Principal != "" || all[1].Principal != me || len(all[0].Scopes) != 2 || all[0].Scopes[1] != "User.Read" {
		t.Errorf("%+v: %v", all, err)
	}
	g.expect(t, "GET "+base+"/servicePrincipals/"+graphSP+"/oauth2PermissionGrants")
	for range 2 {
		if _, err := client.Consents(t.Context(), graphSP); !fault.Is(err, fault.Unknown) {
			t.Errorf("an answer about something else: %v", err)
		}
	}
	if _, err := client.Consents(t.Context(), graphSP); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
	if _, err := client.Consents(t.Context(), "me"); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestRolesOverAreOfTheObjectAlone(t *testing.T) {
	client, g := serve(t,
		ok(`{"value":[{"principalId":"`+me+`","roleDefinitionId":"t1","directoryScopeId":"/`+graphSP+`"}]}`),
		ok(`{"value":[{"principalId":"`+me+`","roleDefinitionId":"t1","directoryScopeId":"/"}]}`), problem(403, "Authorization_RequestDenied", "x"))
	holders, err := client.RolesOver(t.Context(), graphSP)
	if err != nil || len(holders) != 1 || holders[0] != (agent.RoleHolder{ID: me, Template: "t1"}) {
		t.Errorf("%+v: %v", holders, err)
	}
	g.expect(t, "GET "+base+"/roleManagement/directory/roleAssignments?%24filter=directoryScopeId+eq+%27%2F"+graphSP+"%27")
	if _, err := client.RolesOver(t.Context(), graphSP); !fault.Is(err, fault.Unknown) {
		t.Errorf("a list that was not filtered: %v", err)
	}
	if _, err := client.RolesOver(t.Context(), graphSP); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
	if _, err := client.RolesOver(t.Context(), "x' or 1 eq 1"); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}
