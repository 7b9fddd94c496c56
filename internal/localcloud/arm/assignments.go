package arm

import (
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Assignment grants a role to a principal at a scope. Name is its GUID as it was sent; RoleID is a GUID in lower case.
type Assignment struct {
	Name             string    `json:"name"`
	Scope            string    `json:"scope"`
	RoleID           string    `json:"roleId"`
	PrincipalID      string    `json:"principalId"`
	PrincipalType    string    `json:"principalType"`
	Description      string    `json:"description,omitempty"`
	Condition        string    `json:"condition,omitempty"`
	ConditionVersion string    `json:"conditionVersion,omitempty"`
	Delegated        string    `json:"delegatedManagedIdentityResourceId,omitempty"`
	CreatedOn        time.Time `json:"createdOn"`
	UpdatedOn        time.Time `json:"updatedOn"`
	CreatedBy        string    `json:"createdBy,omitempty"`
	UpdatedBy        string    `json:"updatedBy,omitempty"`
}

// triple is what may exist once: scope, role and principal.
func (a Assignment) triple() string {
	return strings.ToLower(a.Scope + "|" + a.RoleID + "|" + a.PrincipalID)
}

func (a Assignment) json() object {
	at, _ := ParseID(a.Scope)
	return object{
		"id": strings.TrimSuffix(a.Scope, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name, "type": "Microsoft.Authorization/roleAssignments", "name": a.Name,
		"properties": object{
			"roleDefinitionId": roleID(at, a.RoleID), "principalId": a.PrincipalID, "principalType": a.PrincipalType, "scope": a.Scope,
			"condition": orNull(a.Condition), "conditionVersion": orNull(a.ConditionVersion), "description": orNull(a.Description), "delegatedManagedIdentityResourceId": orNull(a.Delegated),
			"createdOn": stamp(a.CreatedOn), "updatedOn": stamp(a.UpdatedOn), "createdBy": orNull(a.CreatedBy), "updatedBy": orNull(a.UpdatedBy),
		},
	}
}

// roleAssignments answers for Microsoft.Authorization/roleAssignments at a scope.
func (s *Service) roleAssignments(v replica.View, c *call, scope ID, name string) (reply, effect) {
	const read = "Microsoft.Authorization/roleAssignments/read"
	switch {
	case c.method == http.MethodGet && name == "":
		if r := s.may(v, c, scope, read, shownList(scope)); r != nil {
			return *r, nil
		}
		return s.listAssignments(v, c, scope), nil
	case c.method == http.MethodGet:
		if r := s.may(v, c, scope, read, c.id.String()); r != nil {
			return *r, nil
		}
		a, found := s.assignments.Get(v, strings.ToLower(name))
		if !found || !strings.EqualFold(a.Scope, scope.String()) {
			return fail(http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", name), nil
		}
		return ok(a.json()), nil
	case c.method == http.MethodPut && name != "":
		return s.putAssignment(v, c, scope, name)
	case c.method == http.MethodDelete && name != "":
		return s.deleteAssignment(v, c, scope, name)
	}
	return c.unknown(), nil
}

// listAssignments lists what the filter selects, in the order of names:
//
//	(none)                                  at the scope, above and below
//	atScope()                               at the scope and above
//	principalId eq '…'                      of that principal; at the scope, above and below
//	assignedTo('…')                         the same, also through groups
//	atScope() and assignedTo('…')           both
//
// (Microsoft, "List Azure role assignments using the REST API"; principalId cannot be joined with atScope().) Orphans, whose principal
// is gone, stay listed. The cost follows what is at, above and below the scope, or the principal's own assignments.
func (s *Service) listAssignments(v replica.View, c *call, scope ID) reply {
	clauses, bad := c.filter()
	if bad != nil {
		return *bad
	}
	scope, missing := s.find(v, scope)
	if missing != nil {
		return *missing
	}
	var at bool
	var principal, assigned string
	for _, f := range clauses {
		switch n := strings.ToLower(f.Name); {
		case n == "atscope" && f.Bare && !at:
			at = true
		case n == "principalid" && f.Op == "eq" && principal == "" && guid.MatchString(f.Value):
			principal = f.Value
		case n == "assignedto" && f.Op == "" && assigned == "" && guid.MatchString(f.Value):
			assigned = f.Value
		default:
			return badFilter(printFilter(clauses))
		}
	}
	if principal != "" && (at || assigned != "") {
		return fail(http.StatusBadRequest, "UnsupportedQuery", "The filter '%s' is not supported: principalId cannot be combined.", printFilter(clauses))
	}
	var found []Assignment
	switch {
	case principal != "":
		found = s.near(v, scope, at, slices.Values(s.assignments.By(v, "principal", strings.ToLower(principal))))
	case assigned != "":
		found = s.near(v, scope, at, s.assignmentsOf(v, strings.ToLower(assigned)))
	default:
		up := s.chain(v, scope)
		if !at {
			found = s.under(v, scope)
			up = up[1:]
		}
		for _, key := range up {
			found = append(found, s.assignments.By(v, "scope", key)...)
		}
	}
	return s.page(c, found)
}

// near keeps the assignments at or above the scope and, unless only is set, those below it.
func (s *Service) near(v replica.View, scope ID, only bool, all iter.Seq[Assignment]) []Assignment {
	up := s.chain(v, scope)
	var kept []Assignment
	for a := range all {
		if slices.Contains(up, strings.ToLower(a.Scope)) || !only && s.inside(v, a.Scope, scope) {
			kept = append(kept, a)
		}
	}
	return kept
}

// page answers with a page of them, in the order of names.
func (s *Service) page(c *call, found []Assignment) reply {
	return paged(s, c, found, assignmentPage, func(a Assignment) string { return a.Name }, Assignment.json)
}
