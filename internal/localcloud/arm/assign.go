package arm

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// maxAssignments is the limit of role assignments in a subscription (Microsoft, "Azure RBAC limits").
const maxAssignments = 4000

const ownerRole = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// putAssignment makes a role assignment, or changes description and condition of one. Codes and words are Azure's (Microsoft,
// "Troubleshoot Azure RBAC", and logs of real calls) except where said.
func (s *Service) putAssignment(v replica.View, c *call, scope ID, name string) (reply, effect) {
	if r := s.mayDelegate(v, c, scope, "Microsoft.Authorization/roleAssignments/write", c.id.String(), s.asked(v, c), nil); r != nil {
		return *r, nil
	}
	if !guid.MatchString(name) {
		return fail(http.StatusBadRequest, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", name), nil
	}
	scope, missing := s.find(v, scope)
	if missing != nil {
		return *missing, nil
	}
	a, bad := s.readAssignment(v, c, scope)
	if bad != nil {
		return *bad, nil
	}
	if r := s.lockedWrite(v, scope); r != nil {
		return *r, nil
	}
	a.Name = name
	return reply{}, func(tx replica.Tx) reply { return s.writeAssignment(tx, a) }
}

// assignmentBody is the body of a PUT of a role assignment. Names are matched without regard to case.
type assignmentBody struct {
	Properties *struct {
		RoleDefinitionID, PrincipalID, PrincipalType, Description, Condition, ConditionVersion, DelegatedManagedIdentityResourceID string
	}
}

// asked are the attributes of the role assignment in the body, nil if it has none that can be read.
func (s *Service) asked(v replica.View, c *call) *delegated {
	var body assignmentBody
	if json.Unmarshal(c.body, &body) != nil || body.Properties == nil {
		return nil
	}
	p := body.Properties
	role, err := ParseID(p.RoleDefinitionID)
	if err != nil {
		return nil
	}
	d := &delegated{role.Name(), p.PrincipalID, knownType(p.PrincipalType)}
	if d.principalType == "" {
		d.principalType = s.env.Dir.PrincipalType(v, strings.ToLower(d.principalID))
	}
	return d
}

// present are the attributes of a role assignment that there is, nil if the view does not show it.
func (s *Service) present(v replica.View, scope ID, name string) *delegated {
	a, found := s.assignments.Get(v, strings.ToLower(name))
	if !found || !strings.EqualFold(a.Scope, scope.String()) {
		return nil
	}
	return a.attributes()
}

// readAssignment reads the body and checks what it points at on the caller's replica, so that a role or principal just made may be
// missing there. Sending principalType skips the look at the directory (Microsoft, "Troubleshoot Azure RBAC", replication delay).
func (s *Service) readAssignment(v replica.View, c *call, scope ID) (Assignment, *reply) {
	bad := func(code, format string, args ...any) (Assignment, *reply) {
		r := fail(http.StatusBadRequest, code, format, args...)
		return Assignment{}, &r
	}
	var body assignmentBody
	if r := c.decode(&body); r != nil {
		return Assignment{}, r
	}
	if body.Properties == nil {
		return bad("InvalidCreateRoleAssignmentRequest", "The request to create role assignment is not valid: properties are required.")
	}
	p := body.Properties
	def, err := ParseID(p.RoleDefinitionID)
	if last := def.Last(); err != nil || !strings.EqualFold(last.Type(), "Microsoft.Authorization/roleDefinitions") || !guid.MatchString(def.Name()) {
		return bad("InvalidRoleDefinitionId", "The role definition ID '%s' is not valid. The role definition ID must be a resource id that ends in a GUID.", p.RoleDefinitionID)
	}
	if !guid.MatchString(p.PrincipalID) {
		return bad("InvalidPrincipalId", "A valid principal ID must be provided for role assignment.")
	}
	r := s.role(v, def.Name())
	if r == nil || !s.assignable(v, r, scope) {
		no := roleDoesNotExist(http.StatusBadRequest, def.Name())
		return Assignment{}, &no
	}
	principal := strings.ToLower(p.PrincipalID)
	seen := s.env.Dir.PrincipalType(v, principal)
	switch known := knownType(p.PrincipalType); {
	case p.PrincipalType == "" && seen == "":
		return bad("PrincipalNotFound", "Principal %s does not exist in the directory %s. Check that you have the correct principal ID. If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. "+
			"In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype", strings.ReplaceAll(principal, "-", ""), s.env.Dir.Tenant.ID)
	case p.PrincipalType == "":
		p.PrincipalType = seen
	case known == "":
		return bad("InvalidPrincipalType", "The principal type '%s' is not valid.", p.PrincipalType)
	case seen != "" && seen != known:
		return bad("UnmatchedPrincipalType", "The PrincipalId '%s' has type '%s' , which is different from specified PrinciaplType '%s'.", strings.ReplaceAll(principal, "-", ""), seen, known)
	default:
		p.PrincipalType = known
	}
	if r := refuseCondition(p.Condition, p.ConditionVersion); r != nil {
		return Assignment{}, r
	}
	if p.Condition != "" {
		p.ConditionVersion = conditionVersion
	}
	now, by := s.env.Now(), c.who.ObjectID
	return Assignment{
		Scope: scope.String(), RoleID: r.Name, PrincipalID: principal, PrincipalType: p.PrincipalType, Description: p.Description,
		Condition: p.Condition, ConditionVersion: p.ConditionVersion, Delegated: p.DelegatedManagedIdentityResourceID,
		CreatedOn: now, UpdatedOn: now, CreatedBy: by, UpdatedBy: by,
	}, nil
}

// knownType is Azure's spelling of a principal type, or "".
func knownType(t string) string {
	for _, k := range []string{"ServicePrincipal", "User", "Group", "ForeignGroup", "Device"} {
		if strings.EqualFold(k, t) {
			return k
		}
	}
	return ""
}

// writeAssignment decides on the primary: names and triples are unique at once, whatever the replicas show.
func (s *Service) writeAssignment(tx replica.Tx, a Assignment) reply {
	key := strings.ToLower(a.Name)
	if old, found := s.assignments.Get(tx.View, key); found {
		if old.triple() != a.triple() {
			return fail(http.StatusBadRequest, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
		}
		a.Name, a.PrincipalType, a.CreatedOn, a.CreatedBy = old.Name, old.PrincipalType, old.CreatedOn, old.CreatedBy
		s.assignments.Put(tx, key, a)
		return ok(a.json())
	}
	if same := s.assignments.By(tx.View, "triple", a.triple()); len(same) > 0 {
		return fail(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(strings.ToLower(same[0].Name), "-", ""))
	}
	at, err := ParseID(a.Scope)
	if err == nil && at.Subscription != "" && s.assignments.Count(tx.View, "under", ID{Subscription: at.Subscription}.Key()) >= maxAssignments {
		return fail(http.StatusBadRequest, "RoleAssignmentLimitExceeded", "No more role assignments can be created.")
	}
	s.assignments.Put(tx, key, a)
	return reply{status: http.StatusCreated, body: a.json()}
}

// deleteAssignment removes an assignment; one that is not there is no error. A lock on the scope protects its assignments too
// (Microsoft, "Lock your Azure resources").
func (s *Service) deleteAssignment(v replica.View, c *call, scope ID, name string) (reply, effect) {
	if r := s.mayDelegate(v, c, scope, "Microsoft.Authorization/roleAssignments/delete", c.id.String(), nil, s.present(v, scope, name)); r != nil {
		return *r, nil
	}
	if r := s.lockedDelete(v, scope, false); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		key := strings.ToLower(name)
		a, found := s.assignments.Get(tx.View, key)
		if !found || !strings.EqualFold(a.Scope, scope.String()) {
			return reply{status: http.StatusNoContent}
		}
		if s.lastOwner(tx.View, a) {
			return fail(http.StatusForbidden, "LastRoleAssignmentDeletionNotAllowed", "Cannot delete the last RBAC admin assignment.") // the code was not seen, the words were
		}
		s.assignments.Delete(tx, key)
		return ok(a.json())
	}
}

// lastOwner tells whether nobody would own the subscription without the assignment.
func (s *Service) lastOwner(v replica.View, a Assignment) bool {
	at, err := ParseID(a.Scope)
	if err != nil || a.RoleID != ownerRole || at.Subscription == "" || at.Group != "" || len(at.Parts) > 0 {
		return false
	}
	for _, key := range s.chain(v, at) {
		for _, other := range s.assignments.By(v, "scope", key) {
			if other.RoleID == ownerRole && !strings.EqualFold(other.Name, a.Name) {
				return false
			}
		}
	}
	return true
}
