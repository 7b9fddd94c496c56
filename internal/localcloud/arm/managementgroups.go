package arm

import (
	"cmp"
	"net/http"
	"regexp"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	managementNS   = "Microsoft.Management"
	managementType = managementNS + "/managementGroups"
	managementRead = managementType + "/read"
	managementEdit = managementType + "/write"
	delegateOp     = "Microsoft.Authorization/roleAssignments/write"
)

// managementName is a management group's id (Microsoft, "Naming rules and restrictions for Azure resources").
var managementName = regexp.MustCompile(`^[A-Za-z0-9]([-\w.()]{0,88}[-\w()])?$`)

// managementGroups answers for a management group and what follows it in the path.
func (s *Service) managementGroups(v replica.View, c *call) (reply, effect) {
	n, get := len(c.rest), c.method == http.MethodGet
	switch {
	case n == 0 && get:
		return s.getManagementGroup(v, c), nil
	case n == 0 && c.method == http.MethodPut:
		return s.putManagementGroup(v, c)
	case n == 0 && c.method == http.MethodPatch:
		return s.patchManagementGroup(v, c)
	case n == 0 && c.method == http.MethodDelete:
		return s.deleteManagementGroup(v, c)
	case n == 1 && get && words(c.rest, "descendants"):
		return s.descendants(v, c), nil
	case n == 1 && get && words(c.rest, "subscriptions"), n == 2 && words(c.rest, "subscriptions"):
		return s.groupSubscriptions(v, c)
	}
	return c.unknown(), nil
}

// json is the group as listings show it.
func (s *Service) groupJSON(g ManagementGroup) object {
	return object{"id": g.ID().String(), "name": g.Name, "type": managementType, "properties": object{"tenantId": s.env.Dir.Tenant.ID, "displayName": g.DisplayName}}
}

// detailed is the group as it is shown by itself.
func (s *Service) detailed(v replica.View, g ManagementGroup) object {
	o := s.groupJSON(g)
	details := object{"version": g.Version, "updatedTime": stamp(g.UpdatedOn), "updatedBy": g.UpdatedBy}
	if up, found := s.managementGroup(v, g.Parent); found && g.Parent != "" {
		details["parent"] = object{"id": up.ID().String(), "name": up.Name, "displayName": up.DisplayName}
	}
	o["properties"].(object)["details"] = details
	return o
}

// line is the groups above one, the nearest first.
func (s *Service) line(v replica.View, g ManagementGroup) []object {
	above := []object{}
	if g.Parent == "" {
		return above
	}
	for _, name := range s.groupsAbove(v, g.Parent) {
		if up, found := s.managementGroup(v, name); found {
			above = append(above, object{"name": up.Name, "displayName": up.DisplayName})
		}
	}
	return above
}

// getManagementGroup shows a group, with what $expand asks for: children (all the way down with $recurse; without subscriptions if $filter
// is "children.childType ne Subscription"), path or ancestors.
func (s *Service) getManagementGroup(v replica.View, c *call) reply {
	if r := s.may(v, c, c.id, managementRead, ""); r != nil {
		return *r
	}
	if _, missing := s.find(v, c.id); missing != nil {
		return *missing
	}
	clauses, bad := c.filter()
	if bad != nil {
		return *bad
	}
	groupsOnly := len(clauses) == 1 && strings.EqualFold(clauses[0].Name, "children.childType") && clauses[0].Op == "ne" && strings.EqualFold(clauses[0].Value, "Subscription")
	if len(clauses) > 0 && !groupsOnly {
		return badFilter(printFilter(clauses))
	}
	g, _ := s.managementGroup(v, c.id.ManagementGroup)
	o := s.detailed(v, g)
	p := o["properties"].(object)
	details := p["details"].(object)
	recurse := strings.EqualFold(c.param("$recurse"), "true")
	switch expand := strings.ToLower(c.param("$expand")); {
	case expand == "children":
		p["children"] = s.children(v, g.Name, recurse, groupsOnly, 0)
	case recurse:
		return fail(http.StatusBadRequest, "BadRequest", "$recurse needs $expand=children.")
	case expand == "path":
		up := s.line(v, g)
		path := make([]object, len(up))
		for i, o := range up {
			path[len(up)-1-i] = o
		}
		details["path"] = path
	case expand == "ancestors":
		names := []string{}
		up := s.line(v, g)
		for _, o := range up {
			names = append(names, o["name"].(string))
		}
		details["managementGroupAncestors"], details["managementGroupAncestorsChain"] = names, up
	case expand != "":
		return fail(http.StatusBadRequest, "BadRequest", "The $expand '%s' is not one of children, path and ancestors.", c.param("$expand"))
	}
	return ok(o)
}

// children is what is right below a group or, to any depth, all that is below it: nil where there is nothing, as ARM shows it.
func (s *Service) children(v replica.View, name string, recurse, groupsOnly bool, depth int) []object {
	var items []object
	for _, g := range s.management.By(v, "parent", strings.ToLower(name)) {
		o := object{"id": g.ID().String(), "name": g.Name, "type": managementType, "displayName": g.DisplayName}
		if recurse && depth <= maxLevels {
			o["children"] = s.children(v, g.Name, recurse, groupsOnly, depth+1)
		}
		items = append(items, o)
	}
	if groupsOnly {
		return items
	}
	for _, sub := range s.subscriptions.By(v, "parent", strings.ToLower(name)) {
		items = append(items, object{"id": "/subscriptions/" + sub.ID, "name": sub.ID, "type": "/subscriptions", "displayName": sub.DisplayName})
	}
	return items
}

// parentAsked is the group that a request puts another under; "" if it names none.
func (s *Service) parentAsked(v replica.View, id string) (string, *reply) {
	if id == "" {
		return "", nil
	}
	at, err := ParseID(id)
	if err != nil || at.ManagementGroup == "" || len(at.Parts) > 0 {
		r := fail(http.StatusBadRequest, "BadRequest", "'%s' is not the id of a management group.", id)
		return "", &r
	}
	if _, missing := s.find(v, at); missing != nil {
		return "", missing
	}
	return strings.ToLower(at.ManagementGroup), nil
}

// mayMove is nil if the caller may take a management group or subscription out of one group and into another: it takes the right to
// write it and to assign roles on it, and to write both groups, of which the root does not count, as everything begins there
// (Microsoft, "Manage your Azure subscriptions at scale with management groups", moving). into is the operation asked for on the second.
func (s *Service) mayMove(v replica.View, c *call, child ID, from, to, into string) *reply {
	for _, op := range []string{managementEdit, delegateOp} {
		if r := s.may(v, c, child, op, ""); r != nil {
			return r
		}
	}
	if from != s.rootGroup() {
		if r := s.may(v, c, ID{ManagementGroup: from}, managementEdit, ""); r != nil {
			return r
		}
	}
	if to != s.rootGroup() {
		return s.may(v, c, ID{ManagementGroup: to}, into, "")
	}
	return nil
}

// mayFound is nil if the caller may make a group there. Every user of the tenant may make one under the root, as long as nobody protects
// the hierarchy, which the local cloud does not do (Microsoft, "Create a management group").
func (s *Service) mayFound(v replica.View, c *call, parent string) *reply {
	if parent == s.rootGroup() && s.env.Dir.PrincipalType(v, c.who.ObjectID) == "User" {
		return nil
	}
	return s.may(v, c, ID{ManagementGroup: parent}, managementEdit, c.id.String())
}

// putManagementGroup makes a group, whose Owner is then the caller, or changes one. Making is a long-running operation.
func (s *Service) putManagementGroup(v replica.View, c *call) (reply, effect) {
	var body struct {
		Properties struct {
			DisplayName string
			Details     struct{ Parent struct{ ID string } }
		}
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if !managementName.MatchString(c.id.ManagementGroup) {
		return fail(http.StatusBadRequest, "BadRequest", "The management group id '%s' is not valid: it has 1 to 90 letters, digits, '-', '_', '.', '(' and ')', begins with a letter or digit and does not end with a period.", c.id.ManagementGroup), nil
	}
	name := body.Properties.DisplayName
	if old, found := s.managementGroup(v, c.id.ManagementGroup); found {
		parent, bad := s.parentAsked(v, body.Properties.Details.Parent.ID)
		if bad != nil {
			return *bad, nil
		}
		return s.changeManagementGroup(v, c, old, name, parent)
	}
	parent, bad := s.parentAsked(v, body.Properties.Details.Parent.ID)
	parent = cmp.Or(parent, s.rootGroup())
	if r := s.mayFound(v, c, parent); r != nil {
		return *r, nil
	}
	if bad != nil {
		return *bad, nil
	}
	kind := s.env.Dir.PrincipalType(v, c.who.ObjectID)
	return reply{}, func(tx replica.Tx) reply {
		if old, found := s.managementGroup(tx.View, c.id.ManagementGroup); found {
			return ok(s.detailed(tx.View, old)) // somebody else was quicker
		}
		if s.management.Len(tx) >= maxManagementGroups {
			return fail(http.StatusBadRequest, "BadRequest", "The limit of %d management groups of the tenant is reached.", maxManagementGroups)
		}
		g := ManagementGroup{Name: c.id.ManagementGroup, DisplayName: cmp.Or(name, c.id.ManagementGroup), Parent: parent, Version: 1, UpdatedOn: tx.Now(), UpdatedBy: c.who.ObjectID}
		if r := s.fits(tx.View, g, parent); r != nil {
			return *r
		}
		s.management.Put(tx, strings.ToLower(g.Name), g)
		own := Assignment{Name: s.env.NewID(), Scope: g.ID().String(), RoleID: ownerRole, PrincipalID: c.who.ObjectID, PrincipalType: cmp.Or(kind, "ServicePrincipal"), CreatedOn: tx.Now(), UpdatedOn: tx.Now(), CreatedBy: c.who.ObjectID, UpdatedBy: c.who.ObjectID}
		s.assignments.Put(tx, own.Name, own)
		return s.accepted(tx, c, g)
	}
}

// accepted answers a change of a group that takes a while (Management Groups - Create Or Update, examples of the REST specification).
func (s *Service) accepted(tx replica.Tx, c *call, g ManagementGroup) reply {
	op := s.begin(tx, c, "", 0)
	at := s.env.Endpoints().ARM + "/providers/" + managementNS + "/operationResults/" + op.ID + "?api-version=" + c.param("api-version")
	return reply{
		status: http.StatusAccepted,
		body:   object{"id": g.ID().String(), "type": managementType, "name": g.Name, "status": "NotStarted"},
		header: map[string]string{"Azure-AsyncOperation": at, "Location": at, "Retry-After": retryAfter},
	}
}

// fits refuses a place in the hierarchy that does not exist, is below the group itself, or is too deep.
func (s *Service) fits(v replica.View, g ManagementGroup, parent string) *reply {
	bad := func(format string, args ...any) *reply {
		r := fail(http.StatusBadRequest, "BadRequest", format, args...)
		return &r
	}
	if _, found := s.managementGroup(v, parent); !found {
		return bad("The parent management group '%s' does not exist.", parent)
	}
	key, below := strings.ToLower(g.Name), 1
	above := len(s.groupsAbove(v, parent)) - 1
	groups, _ := s.family(v, g.Name)
	for _, d := range groups {
		if strings.EqualFold(d.Name, parent) {
			return bad("The management group '%s' cannot stand under '%s', which is below it.", g.Name, parent)
		}
		for i, name := range s.groupsAbove(v, d.Name) {
			if name == key {
				below = max(below, i+1)
			}
		}
	}
	if above+below > maxLevels {
		return bad("The management group hierarchy has at most %d levels below the root.", maxLevels)
	}
	return nil
}

// patchManagementGroup renames or moves a group.
func (s *Service) patchManagementGroup(v replica.View, c *call) (reply, effect) {
	var body struct{ DisplayName, ParentGroupID string }
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if r := s.may(v, c, c.id, managementEdit, ""); r != nil {
		return *r, nil
	}
	if _, missing := s.find(v, c.id); missing != nil {
		return *missing, nil
	}
	parent, bad := s.parentAsked(v, body.ParentGroupID)
	if bad != nil {
		return *bad, nil
	}
	g, _ := s.managementGroup(v, c.id.ManagementGroup)
	return s.changeManagementGroup(v, c, g, body.DisplayName, parent)
}

// changeManagementGroup gives a group another display name or parent; "" leaves either as it is.
func (s *Service) changeManagementGroup(v replica.View, c *call, g ManagementGroup, name, parent string) (reply, effect) {
	if r := s.may(v, c, c.id, managementEdit, ""); r != nil {
		return *r, nil
	}
	moves := parent != "" && parent != g.Parent
	switch {
	case moves && g.Parent == "":
		return fail(http.StatusBadRequest, "BadRequest", "The root management group cannot be moved."), nil
	case moves:
		if r := s.mayMove(v, c, g.ID(), g.Parent, parent, managementEdit); r != nil {
			return *r, nil
		}
	}
	return reply{}, func(tx replica.Tx) reply {
		now, found := s.managementGroup(tx.View, g.Name)
		if !found {
			return managementNotFound(g.Name)
		}
		if moves {
			if r := s.fits(tx.View, now, parent); r != nil {
				return *r
			}
			now.Parent = parent
		}
		now.DisplayName = cmp.Or(name, now.DisplayName)
		now.Version, now.UpdatedOn, now.UpdatedBy = now.Version+1, tx.Now(), c.who.ObjectID
		s.management.Put(tx, strings.ToLower(now.Name), now)
		return ok(s.detailed(tx.View, now))
	}
}

// deleteManagementGroup removes a group that nothing is in, with the role assignments at it.
func (s *Service) deleteManagementGroup(v replica.View, c *call) (reply, effect) {
	if r := s.may(v, c, c.id, managementType+"/delete", ""); r != nil {
		return *r, nil
	}
	if strings.EqualFold(c.id.ManagementGroup, s.rootGroup()) {
		return fail(http.StatusBadRequest, "BadRequest", "The root management group cannot be deleted."), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		g, found := s.managementGroup(tx.View, c.id.ManagementGroup)
		if !found {
			return reply{status: http.StatusNoContent}
		}
		if groups, subs := s.family(tx.View, g.Name); len(groups) > 1 || len(subs) > 0 {
			return fail(http.StatusBadRequest, "BadRequest", "The management group '%s' contains child resources and cannot be deleted.", g.Name)
		}
		s.clear(tx, g.ID())
		s.management.Delete(tx, strings.ToLower(g.Name))
		return s.accepted(tx, c, g)
	}
}

func managementNotFound(name string) reply {
	return fail(http.StatusNotFound, "NotFound", "Management group '%s' not found.", name)
}
