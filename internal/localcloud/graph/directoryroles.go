package graph

import (
	"encoding/base64"
	"iter"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// builtInRole is a directory role. Its own id differs from its template's, as in a real tenant.
type builtInRole struct {
	id, template, name string
}

var builtInRoles = []builtInRole{
	{"5e1f0000-0000-4000-8000-000000000001", directory.GlobalAdministrator, "Global Administrator"},
	{"5e1f0000-0000-4000-8000-000000000002", directory.PrivilegedRoleAdministrator, "Privileged Role Administrator"},
	{"5e1f0000-0000-4000-8000-000000000003", directory.ApplicationAdministrator, "Application Administrator"},
	{"5e1f0000-0000-4000-8000-000000000004", directory.CloudAppAdministrator, "Cloud Application Administrator"},
	{"5e1f0000-0000-4000-8000-000000000005", directory.DirectoryReaders, "Directory Readers"},
	{"5e1f0000-0000-4000-8000-000000000006", directory.GlobalReader, "Global Reader"},
	{"5e1f0000-0000-4000-8000-000000000007", directory.AgentIDAdministrator, "Agent ID Administrator"},
	{"5e1f0000-0000-4000-8000-000000000008", directory.AgentIDDeveloper, "Agent ID Developer"},
}

func (r builtInRole) encode() object {
	return object{"id": r.id, "deletedDateTime": nil, "displayName": r.name, "description": r.name, "roleTemplateId": r.template}
}

func (r builtInRole) encodeDefinition() object {
	return object{"id": r.template, "templateId": r.template, "displayName": r.name, "description": r.name, "isBuiltIn": true, "isEnabled": true, "resourceScopes": []string{"/"}, "version": "1"}
}

func roleByTemplate(template string) (builtInRole, bool) {
	i := slices.IndexFunc(builtInRoles, func(r builtInRole) bool { return r.template == template })
	if i < 0 {
		return builtInRole{}, false
	}
	return builtInRoles[i], true
}

func directoryRoleRoutes() []route {
	const management = "roleManagement/directory/"
	return []route{
		{method: "GET", segments: path("directoryRoles"), op: "directoryRole.read", look: (*call).listRoles},
		{method: "GET", segments: path("directoryRoles/{role}"), op: "directoryRole.read", look: (*call).getRole},
		{method: "GET", segments: path("directoryRoles/{role}/members"), op: "directoryRole.read", look: (*call).listRoleMembers},
		{method: "POST", segments: path("directoryRoles/{role}/members/$ref"), op: "directoryRole.write", do: (*call).addRoleMember},
		{method: "DELETE", segments: path("directoryRoles/{role}/members/{member}/$ref"), op: "directoryRole.write", do: (*call).removeRoleMember},
		{method: "GET", segments: path(management + "roleDefinitions"), op: "directoryRole.read", look: (*call).listRoleDefinitions},
		{method: "GET", segments: path(management + "roleDefinitions/{role}"), op: "directoryRole.read", look: (*call).getRoleDefinition},
		{method: "GET", segments: path(management + "roleAssignments"), op: "directoryRole.read", look: (*call).listRoleAssignments},
	}
}

func roleRows(encode func(builtInRole) object) iter.Seq[row] {
	return rows(slices.Values(builtInRoles), func(r builtInRole) string { return r.id }, encode)
}

// findRole finds a role by its own id or, as an alternate key, its template's.
func (c *call) findRole() (builtInRole, error) {
	for _, r := range builtInRoles {
		if id := strings.ToLower(c.arg["role"]); c.key["role"] == "roletemplateid" && r.template == id || c.key["role"] == "" && r.id == id {
			return r, nil
		}
	}
	return builtInRole{}, notFound(c.arg["role"])
}

func (c *call) listRoles(replica.View) error {
	return c.list("directoryRoles", roleRows(builtInRole.encode))
}

func (c *call) getRole(replica.View) error {
	r, err := c.findRole()
	if err != nil {
		return err
	}
	return c.one("directoryRoles", r.encode())
}

func (c *call) listRoleMembers(v replica.View) error {
	r, err := c.findRole()
	if err != nil {
		return err
	}
	var ids []string
	for _, m := range c.s.dir.RoleMembers.By(v, "template", r.template) {
		ids = append(ids, m.PrincipalID)
	}
	return c.list("directoryObjects", c.s.objects(v, ids))
}

func (c *call) addRoleMember() error {
	r, err := c.findRole()
	if err != nil {
		return err
	}
	id, err := c.referenced()
	if err != nil {
		return err
	}
	err = c.write(func(tx replica.Tx) error {
		m := directory.RoleMember{ID: r.template + "/" + id, Template: r.template, PrincipalID: id}
		if c.s.dir.PrincipalType(tx.View, id) == "" {
			return notFound(id)
		}
		if c.s.isAgent(tx.View, id) && !anyOf(agentRoles, []string{r.template}) {
			return badRequest("The directory role '%s' cannot be assigned to an agent.", r.name)
		}
		if g, ok := c.s.dir.Groups.Get(tx.View, id); ok && !g.IsAssignableToRole {
			return badRequest("Groups without IsAssignableToRole property set cannot be assigned to roles.")
		}
		if _, ok := c.s.dir.RoleMembers.Get(tx.View, m.ID); ok {
			return badRequest("One or more added object references already exist for the following modified properties: 'members'.")
		}
		c.s.dir.RoleMembers.Put(tx, m.ID, m)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) removeRoleMember() error {
	r, err := c.findRole()
	if err != nil {
		return err
	}
	id := r.template + "/" + reference(c.arg["member"])
	err = c.write(func(tx replica.Tx) error {
		if _, ok := c.s.dir.RoleMembers.Get(tx.View, id); !ok {
			return badRequest("One or more removed object references do not exist for the following modified properties: 'members'.")
		}
		c.s.dir.RoleMembers.Delete(tx, id)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) listRoleDefinitions(replica.View) error {
	return c.list("roleManagement/directory/roleDefinitions", roleRows(builtInRole.encodeDefinition))
}

func (c *call) getRoleDefinition(replica.View) error {
	r, ok := roleByTemplate(strings.ToLower(c.arg["role"]))
	if !ok {
		return notFound(c.arg["role"])
	}
	return c.one("roleManagement/directory/roleDefinitions", r.encodeDefinition())
}

func (c *call) listRoleAssignments(v replica.View) error {
	id := func(m directory.RoleMember) string { return m.ID }
	found := lookup(v, c.query.Filter, c.s.dir.RoleMembers, id, func(directory.RoleMember) bool { return true }, []index{{"principalId", "principal", true}, {"roleDefinitionId", "template", true}})
	return c.list("roleManagement/directory/roleAssignments", rows(found, id, func(m directory.RoleMember) object {
		return object{"id": base64.RawURLEncoding.EncodeToString([]byte(m.ID)), "principalId": m.PrincipalID, "roleDefinitionId": m.Template, "directoryScopeId": "/"}
	}))
}
