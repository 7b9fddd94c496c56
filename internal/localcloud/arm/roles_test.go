package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const definitions = "/providers/Microsoft.Authorization/roleDefinitions"

func custom(name string, actions []string, scopes ...string) object {
	return object{"properties": object{"roleName": name, "description": "d", "type": "CustomRole", "permissions": []object{{"actions": actions}}, "assignableScopes": scopes}}
}

func TestBuiltInRoles(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range builtinRoles() {
		if !guid.MatchString(r.Name) || seen[r.Name] || r.RoleName == "" || len(r.Permissions) != 1 {
			t.Errorf("broken role %+v", r)
		}
		seen[r.Name] = true
	}
	if !seen[ownerRole] || !seen[botRole] || len(seen) < 60 {
		t.Errorf("only %d roles", len(seen))
	}
}

func TestListRoleDefinitions(t *testing.T) {
	f := newFixture(t)
	f.as(owner, "PUT", sub+definitions+"/"+absent, custom("Bot Watcher", []string{"Microsoft.BotService/*/read"}, rg)).want(t, 201, "")
	all := len(f.ordered)
	for _, row := range []struct {
		name, scope, filter string
		status, want        int
	}{
		{"by name", sub, "roleName eq 'Reader'", 200, 1},
		{"by a name in other case", sub, "roleName eq 'READER'", 200, 1},
		{"by a name that none has", sub, "roleName eq 'Rider'", 200, 0},
		{"built-in ones", sub, "type eq 'BuiltInRole'", 200, all},
		{"custom ones where they can be assigned", rg, "type eq 'CustomRole'", 200, 1},
		{"custom ones are not shown above their scopes", sub, "type eq 'CustomRole'", 200, 0},
		{"unless asked for below", sub, "atScopeAndBelow() and type eq 'CustomRole'", 200, 1},
		{"everything", rg, "", 200, all + 1},
		{"a filter that is none", rg, "roleName like 'x'", 400, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := row.scope + definitions
			if row.filter != "" {
				path += "?$filter=" + row.filter
			}
			if a := f.as(owner, "GET", path, nil); a.status != row.status || len(a.items()) != row.want {
				t.Errorf("got %d with %d roles", a.status, len(a.items()))
			}
		})
	}
	one := f.as(owner, "GET", sub+definitions+"/"+readerRole, nil).want(t, 200, "")
	if p := one.properties(); one.body["id"] != sub+definitions+"/"+readerRole || p["roleName"] != "Reader" || p["type"] != "BuiltInRole" || !strings.Contains(one.raw, `"notActions":[]`) {
		t.Errorf("got %s", one.raw)
	}
	f.as(owner, "GET", sub+definitions+"/"+nobody, nil).want(t, 404, "RoleDefinitionDoesNotExist")
	f.as(agent, "GET", sub+definitions, nil).want(t, 403, "AuthorizationFailed")
}

func TestCustomRoles(t *testing.T) {
	f := newFixture(t)
	const a, b = "dddddddd-0000-0000-0000-00000000000a", "dddddddd-0000-0000-0000-00000000000b"
	act := []string{"Microsoft.BotService/*/read"}
	f.as(owner, "PUT", sub+definitions+"/"+a, custom("Bot Watcher", act, sub)).want(t, 201, "")
	for _, row := range []struct {
		name, who, id string
		body          object
		status        int
		code          string
	}{
		{"the same role again", owner, a, custom("Bot Watcher", act, sub), 201, ""},
		{"another role of the same name", owner, b, custom("bot watcher", act, sub), 409, "RoleDefinitionWithSameNameExists"},
		{"a role with the name of a built-in one", owner, b, custom("Reader", act, sub), 409, "RoleDefinitionWithSameNameExists"},
		{"a name that is no GUID", owner, "b", custom("B", act, sub), 400, "InvalidRoleDefinitionId"},
		{"a built-in role cannot be changed", owner, readerRole, custom("B", act, sub), 400, "BuiltInRoleCannotBeModified"},
		{"a role without name", owner, b, custom(" ", act, sub), 400, "RoleDefinitionNameNullOrEmpty"},
		{"a role without scopes", owner, b, custom("B", act), 400, "MissingAssignableScopes"},
		{"a role for the root", owner, b, custom("B", act, "/"), 400, "InvalidAssignableScopes"},
		{"a role for a group that is not there", owner, b, custom("B", act, sub+"/resourceGroups/none"), 404, "ResourceGroupNotFound"},
		{"an action that is none", owner, b, custom("B", []string{"read everything"}, sub), 400, "InvalidActionOrNotAction"},
		{"a role for a subscription of others", owner, b, custom("B", act, sub, "/subscriptions/"+otherSub), 403, "AuthorizationFailed"},
		{"a reader may not make roles", reader, b, custom("B", act, rg), 403, "AuthorizationFailed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f.as(row.who, "PUT", sub+definitions+"/"+row.id, row.body).want(t, row.status, row.code)
		})
	}
	f.as(owner, "PUT", rg+assignments+"/"+b, assignment(a, nobody, "User")).want(t, 201, "")
	f.as(nobody, "GET", botID, nil).want(t, 200, "")
	f.as(nobody, "GET", vaultID, nil).want(t, 403, "AuthorizationFailed")
	f.as(owner, "DELETE", sub+definitions+"/"+a, nil).want(t, 400, "RoleDefinitionHasAssignments")
	f.as(owner, "DELETE", rg+assignments+"/"+b, nil).want(t, 200, "")
	f.as(owner, "DELETE", sub+definitions+"/"+a, nil).want(t, 200, "")
	f.as(owner, "DELETE", sub+definitions+"/"+a, nil).want(t, 204, "")
	f.as(owner, "DELETE", sub+definitions+"/"+readerRole, nil).want(t, 400, "BuiltInRoleCannotBeModified")
}

func TestACustomRoleCannotBeAssignedOutsideItsScopes(t *testing.T) {
	f := newFixture(t)
	const a = "dddddddd-0000-0000-0000-00000000000a"
	f.write(func(tx replica.Tx) {
		f.definitions.Put(tx, a, Definition{Name: a, RoleName: "Narrow", Permissions: []Permission{{Actions: []string{"*"}}}, AssignableScopes: []string{rg}})
	})
	f.as(owner, "PUT", sub+assignments+"/"+absent, assignment(a, agent, "")).want(t, 400, "RoleDefinitionDoesNotExist")
	f.as(owner, "PUT", vaultID+assignments+"/"+absent, assignment(a, agent, "")).want(t, 201, "")
}
