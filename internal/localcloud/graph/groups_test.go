package graph

import (
	"fmt"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestGroupsAndRoles(t *testing.T) {
	c := newCloud(t)
	admin, writer := c.user(c.admin), c.app("Group.ReadWrite.All", "Directory.ReadWrite.All")
	body := func(assignable bool, members ...string) map[string]any {
		refs := []string{}
		for _, m := range members {
			refs = append(refs, host+"/v1.0/directoryObjects/"+m)
		}
		return map[string]any{"displayName": "g", "mailEnabled": false, "mailNickname": "g", "securityEnabled": true, "isAssignableToRole": assignable, "members@odata.bind": refs}
	}
	ref := func(id string) map[string]any {
		return map[string]any{"@odata.id": host + "/v1.0/directoryObjects/" + id}
	}
	plain := admin.post("groups", body(false, c.nobody)).is(201).str("id")
	made := admin.post("groups", body(true, c.nobody)).is(201)
	keepers := made.str("id")
	if made.body["isAssignableToRole"] != true {
		t.Error(made.text)
	}
	const nesting = "Request_BadRequest: Nesting is currently not supported for groups that can be assigned to a role."
	role := "directoryRoles(roleTemplateId='" + directory.GlobalAdministrator + "')/members/$ref"
	admin.post(role, ref(plain)).is(400, "Request_BadRequest: Groups without IsAssignableToRole property set cannot be assigned to roles.")
	admin.post(role, ref(keepers)).is(204)
	admin.post("groups", body(true, plain)).is(400, nesting)
	admin.post("groups/"+keepers+"/members/$ref", ref(plain)).is(400, nesting)
	admin.post("groups/"+plain+"/members/$ref", ref(keepers)).is(204)

	// Who may change groups must not come to roles that way.
	writer.post("groups", body(true)).is(403, "Authorization_RequestDenied")
	writer.post("groups/"+keepers+"/members/$ref", ref(writer.id)).is(403, "Authorization_RequestDenied")
	writer.del("groups/"+keepers+"/members/"+c.nobody+"/$ref").is(403, "Authorization_RequestDenied")
	writer.post("groups/"+plain+"/members/$ref", ref(writer.id)).is(204)
	c.app("GroupMember.ReadWrite.All", "RoleManagement.ReadWrite.Directory").post("groups/"+keepers+"/members/$ref", ref(writer.id)).is(204)
}

func TestAnAppRoleOfAGroupReachesItsDirectMembers(t *testing.T) {
	c := newCloud(t)
	graph, direct, above := c.env.NewID(), c.env.NewID(), c.env.NewID()
	c.write(func(tx replica.Tx) {
		c.dir.Groups.Put(tx, direct, directory.Group{ID: direct, Members: []string{c.nobody}})
		c.dir.Groups.Put(tx, above, directory.Group{ID: above, Members: []string{direct}})
		for _, id := range []string{c.nobody, direct, above} {
			c.dir.AppRoleAssignments.Put(tx, id, directory.AppRoleAssignment{ID: id, PrincipalID: id, ResourceID: graph})
		}
	})
	var got []string
	for _, a := range c.user(c.admin).get("users/" + c.nobody + "/appRoleAssignments").is(200).value() {
		got = append(got, a["principalId"].(string))
	}
	if fmt.Sprint(got) != fmt.Sprint([]string{c.nobody, direct}) {
		t.Error(got)
	}
}
