package arm

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// maxRoles is the limit of custom roles in a tenant (Microsoft, "Azure RBAC limits").
const maxRoles = 5000

var (
	guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

	// action is an operation or a pattern of operations: namespace/type…/verb, in which * may stand for anything.
	action = regexp.MustCompile(`^(\*|[A-Za-z0-9*]+(\.[A-Za-z0-9*]+)*(/[A-Za-z0-9*_.$-]+)+)$`)
)

// putRole makes or changes a custom role. The caller needs the right on every assignable scope, old and new, so that nobody widens a
// role into scopes of others (Microsoft, "Azure custom roles").
func (s *Service) putRole(v replica.View, c *call, scope ID, name string) (reply, effect) {
	const write = "Microsoft.Authorization/roleDefinitions/write"
	if r := s.may(v, c, scope, write, c.id.String()); r != nil {
		return *r, nil
	}
	if !guid.MatchString(name) {
		return fail(http.StatusBadRequest, "InvalidRoleDefinitionId", "The role definition ID '%s' is not valid. The role definition ID must be a GUID.", name), nil
	}
	name = strings.ToLower(name)
	if s.builtin[name] != nil {
		return builtinFixed(), nil
	}
	var body struct {
		Properties struct {
			RoleName, Description, Type string
			Permissions                 []Permission
			AssignableScopes            []string
		}
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	p := body.Properties
	d := Definition{Name: name, RoleName: strings.TrimSpace(p.RoleName), Description: p.Description, Permissions: filled(p.Permissions), AssignableScopes: p.AssignableScopes}
	if r := s.checkRole(v, d); r != nil {
		return *r, nil
	}
	touched := d.AssignableScopes
	if old := s.role(v, name); old != nil {
		touched = append(slices.Clone(touched), old.AssignableScopes...)
	}
	for _, t := range touched {
		id, _ := ParseID(t) // checkRole has read the new ones, and the old ones were read then
		if r := s.may(v, c, id, write, ""); r != nil {
			return *r, nil
		}
	}
	by := c.who.ObjectID
	return reply{}, func(tx replica.Tx) reply {
		same := s.definitions.By(tx.View, "roleName", strings.ToLower(d.RoleName))
		if taken := s.roleNamed(tx.View, d.RoleName); slices.ContainsFunc(same, func(o Definition) bool { return o.Name != name }) || taken != nil && taken.builtin {
			return fail(http.StatusConflict, "RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name.")
		}
		now := s.env.Now()
		d.CreatedOn, d.CreatedBy, d.UpdatedOn, d.UpdatedBy = now, by, now, by
		if old, found := s.definitions.Get(tx.View, name); found {
			d.CreatedOn, d.CreatedBy = old.CreatedOn, old.CreatedBy
		} else if s.definitions.Len(tx) >= maxRoles {
			return fail(http.StatusBadRequest, "RoleDefinitionLimitExceeded", "Role definition limit exceeded. No more role definitions can be created.")
		}
		s.definitions.Put(tx, name, d)
		return reply{status: http.StatusCreated, body: (&role{Definition: d}).json(scope)}
	}
}

// checkRole refuses a custom role that Azure would refuse (Microsoft, "Troubleshoot Azure RBAC", custom roles).
func (s *Service) checkRole(v replica.View, d Definition) *reply {
	bad := func(code, format string, args ...any) *reply {
		r := fail(http.StatusBadRequest, code, format, args...)
		return &r
	}
	switch {
	case d.RoleName == "" || len(d.RoleName) > 512:
		return bad("RoleDefinitionNameNullOrEmpty", "The role definition name must have 1 to 512 characters.")
	case len(d.Permissions) == 0:
		return bad("RoleDefinitionPermissionsNullOrEmpty", "The role definition must have permissions.")
	case len(d.AssignableScopes) == 0:
		return bad("MissingAssignableScopes", "The role definition must have at least one assignable scope.")
	}
	groups, data := 0, false
	for _, p := range d.Permissions {
		data = data || len(p.DataActions) > 0
		for _, a := range slices.Concat(p.Actions, p.NotActions, p.DataActions, p.NotDataActions) {
			if !action.MatchString(a) || strings.Count(a, "*") > 1 {
				return bad("InvalidActionOrNotAction", "'%s' does not match any of the actions supported by the providers.", a)
			}
		}
	}
	for _, a := range d.AssignableScopes {
		id, err := ParseID(a)
		if err != nil || id.Root() {
			return bad("InvalidAssignableScopes", "The scope '%s' is not valid in the assignable scopes of a custom role.", a)
		}
		if _, missing := s.find(v, id); missing != nil {
			return missing
		}
		if id.ManagementGroup != "" {
			groups++
		}
	}
	switch {
	case groups > 1:
		return bad("InvalidAssignableScopes", "A custom role can have only one management group in its assignable scopes.")
	case groups == 1 && data:
		return bad("InvalidAssignableScopes", "A custom role with data actions cannot be assigned at a management group.")
	}
	return nil
}

// deleteRole removes a custom role that nobody holds.
func (s *Service) deleteRole(v replica.View, c *call, scope ID, name string) (reply, effect) {
	const remove = "Microsoft.Authorization/roleDefinitions/delete"
	if r := s.may(v, c, scope, remove, c.id.String()); r != nil {
		return *r, nil
	}
	name = strings.ToLower(name)
	d := s.role(v, name)
	switch {
	case d == nil:
		return reply{status: http.StatusNoContent}, nil
	case d.builtin:
		return builtinFixed(), nil
	}
	for _, a := range d.AssignableScopes {
		if id, err := ParseID(a); err == nil {
			if r := s.may(v, c, id, remove, ""); r != nil {
				return *r, nil
			}
		}
	}
	return reply{}, func(tx replica.Tx) reply {
		if s.assignments.Count(tx.View, "role", name) > 0 {
			return fail(http.StatusBadRequest, "RoleDefinitionHasAssignments", "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments)")
		}
		s.definitions.Delete(tx, name)
		return ok(d.json(scope))
	}
}

// builtinFixed refuses to change a built-in role. Azure's code for it was not seen; the status is a client's error either way.
func builtinFixed() reply {
	return fail(http.StatusBadRequest, "BuiltInRoleCannotBeModified", "A built-in role definition cannot be changed or deleted.")
}
