package arm

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// builtinJSON is Azure's built-in role definitions as of August 2026 (those that agents and their operators meet), actions word for word.
//
//go:embed roles.json
var builtinJSON []byte

// Definition is a custom role. Name is its GUID, in lower case.
type Definition struct {
	Name             string       `json:"name"`
	RoleName         string       `json:"roleName"`
	Description      string       `json:"description"`
	Permissions      []Permission `json:"permissions"`
	AssignableScopes []string     `json:"assignableScopes"`
	CreatedOn        time.Time    `json:"createdOn"`
	UpdatedOn        time.Time    `json:"updatedOn"`
	CreatedBy        string       `json:"createdBy"`
	UpdatedBy        string       `json:"updatedBy"`
}

// role is a definition of either kind.
type role struct {
	Definition
	builtin bool
}

// builtinRoles panics if the embedded file is broken, which a test would show first.
func builtinRoles() []*role {
	var file []struct {
		Name, ID, Description string
		Permission
	}
	if err := json.Unmarshal(builtinJSON, &file); err != nil {
		panic("arm: roles.json: " + err.Error())
	}
	made := time.Date(2015, 2, 2, 21, 55, 9, 0, time.UTC)
	roles := make([]*role, len(file))
	for i, f := range file {
		roles[i] = &role{builtin: true, Definition: Definition{
			Name: strings.ToLower(f.ID), RoleName: f.Name, Description: f.Description,
			Permissions: []Permission{f.Permission}, AssignableScopes: []string{"/"}, CreatedOn: made, UpdatedOn: made,
		}}
	}
	return roles
}

// role is the definition with the GUID, or nil.
func (s *Service) role(v replica.View, guid string) *role {
	guid = strings.ToLower(guid)
	if r := s.builtin[guid]; r != nil {
		return r
	}
	if d, found := s.definitions.Get(v, guid); found {
		return &role{Definition: d}
	}
	return nil
}

// roleNamed is the definition with the display name, or nil.
func (s *Service) roleNamed(v replica.View, name string) *role {
	for _, r := range s.ordered {
		if strings.EqualFold(r.RoleName, name) {
			return r
		}
	}
	if custom := s.definitions.By(v, "roleName", strings.ToLower(name)); len(custom) > 0 {
		return &role{Definition: custom[0]}
	}
	return nil
}

// assignable tells whether the role may be assigned at the scope.
func (s *Service) assignable(v replica.View, r *role, at ID) bool {
	up := s.chain(v, at)
	return slices.ContainsFunc(r.AssignableScopes, func(a string) bool { return slices.Contains(up, scopeKey(a)) })
}

// scopeKey is the key of a scope written by a client; what is no scope has a key that equals none.
func scopeKey(scope string) string {
	id, err := ParseID(scope)
	if err != nil {
		return "?" + scope
	}
	return id.Key()
}

// roleID is the id of a role definition as shown at a scope: under its subscription, or under the tenant.
func roleID(at ID, guid string) string {
	return strings.TrimSuffix(ID{Subscription: at.Subscription}.String(), "/") + "/providers/Microsoft.Authorization/roleDefinitions/" + guid
}

// kind is what Azure calls the role.
func (r *role) kind() string {
	if r.builtin {
		return "BuiltInRole"
	}
	return "CustomRole"
}

func (r *role) json(at ID) object {
	return object{
		"id": roleID(at, r.Name), "name": r.Name, "type": "Microsoft.Authorization/roleDefinitions",
		"properties": object{
			"roleName": r.RoleName, "type": r.kind(), "description": r.Description, "assignableScopes": r.AssignableScopes, "permissions": filled(r.Permissions),
			"createdOn": stamp(r.CreatedOn), "updatedOn": stamp(r.UpdatedOn), "createdBy": orNull(r.CreatedBy), "updatedBy": orNull(r.UpdatedBy),
		},
	}
}

// filled gives each list of a permission as [] rather than null, as ARM does.
func filled(in []Permission) []Permission {
	out := make([]Permission, len(in))
	for i, p := range in {
		for _, l := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
			if *l == nil {
				*l = []string{}
			}
		}
		out[i] = p
	}
	return out
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// roleDefinitions answers for Microsoft.Authorization/roleDefinitions at a scope.
func (s *Service) roleDefinitions(v replica.View, c *call, scope ID, name string) (reply, effect) {
	const op = "Microsoft.Authorization/roleDefinitions/"
	switch {
	case c.method == http.MethodGet && name == "":
		if r := s.may(v, c, scope, op+"read", shownList(scope)); r != nil {
			return *r, nil
		}
		return s.listRoles(v, c, scope), nil
	case c.method == http.MethodGet:
		if r := s.may(v, c, scope, op+"read", c.id.String()); r != nil {
			return *r, nil
		}
		if r := s.role(v, name); r != nil {
			return ok(r.json(scope)), nil
		}
		return roleDoesNotExist(http.StatusNotFound, name), nil
	case c.method == http.MethodPut && name != "":
		return s.putRole(v, c, scope, name)
	case c.method == http.MethodDelete && name != "":
		return s.deleteRole(v, c, scope, name)
	}
	return c.unknown(), nil
}

// shownList is how a refusal to list an extension names the scope (observed in ARM's refusals: …/providers/Microsoft.Authorization).
func shownList(scope ID) string {
	return strings.TrimSuffix(scope.String(), "/") + "/providers/" + authorization
}

func roleDoesNotExist(status int, id string) reply {
	return fail(status, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", strings.ReplaceAll(strings.ToLower(id), "-", ""))
}

// listRoles lists the built-in roles and the custom ones assignable at the scope; atScopeAndBelow() adds those assignable below it.
func (s *Service) listRoles(v replica.View, c *call, scope ID) reply {
	clauses, bad := c.filter()
	if bad != nil {
		return *bad
	}
	scope, missing := s.find(v, scope)
	if missing != nil {
		return *missing
	}
	below := false
	name, kind := "", ""
	for _, f := range clauses {
		switch n := strings.ToLower(f.Name); {
		case n == "atscopeandbelow" && f.Bare:
			below = true
		case n == "rolename" && f.Op == "eq":
			name = f.Value
		case n == "type" && f.Op == "eq":
			kind = f.Value
		default:
			return badFilter(printFilter(clauses))
		}
	}
	found := slices.Concat(s.ordered, s.customRoles(v, scope, below))
	found = slices.DeleteFunc(found, func(r *role) bool {
		return name != "" && !strings.EqualFold(name, r.RoleName) || kind != "" && !strings.EqualFold(kind, r.kind())
	})
	return paged(s, c, found, listPage, func(r *role) string { return r.kind() + "/" + r.Name }, func(r *role) object { return r.json(scope) })
}

// customRoles is the custom roles assignable at the scope and, if below is set, those assignable somewhere below it.
func (s *Service) customRoles(v replica.View, scope ID, below bool) []*role {
	var found []*role
	seen := map[string]bool{}
	add := func(d Definition) {
		if !seen[d.Name] {
			seen[d.Name] = true
			found = append(found, &role{Definition: d})
		}
	}
	for _, key := range s.chain(v, scope) {
		for _, d := range s.definitions.By(v, "assignable", key) {
			add(d)
		}
	}
	if below {
		for d := range s.definitions.Each(v) {
			if slices.ContainsFunc(d.AssignableScopes, func(a string) bool { return s.inside(v, a, scope) }) {
				add(d)
			}
		}
	}
	return found
}
