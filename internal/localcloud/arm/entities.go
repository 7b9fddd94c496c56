package arm

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// groupSubscriptions answers for the subscriptions of a management group: listed, shown, moved into it and moved out to the root.
func (s *Service) groupSubscriptions(v replica.View, c *call) (reply, effect) {
	verb := map[string]string{http.MethodGet: "read", http.MethodPut: "write", http.MethodDelete: "delete"}[c.method]
	if verb == "" {
		return c.unknown(), nil
	}
	into := managementType + "/subscriptions/" + verb
	at := ID{ManagementGroup: c.id.ManagementGroup}
	root := strings.EqualFold(at.ManagementGroup, s.rootGroup())
	if verb == "read" || !root {
		if r := s.may(v, c, at, into, c.path); r != nil {
			return *r, nil
		}
	}
	if _, missing := s.find(v, at); missing != nil {
		return *missing, nil
	}
	g, _ := s.managementGroup(v, at.ManagementGroup)
	if len(c.rest) == 1 {
		subs := s.subscriptions.By(v, "parent", strings.ToLower(g.Name))
		return paged(s, c, subs, listPage, func(sub Subscription) string { return sub.ID }, func(sub Subscription) object { return s.member(g, sub) }), nil
	}
	sub, found := s.subscription(v, c.rest[1])
	if !found {
		return subscriptionNotFound(c.rest[1]), nil
	}
	from := cmp.Or(sub.Parent, s.rootGroup())
	if verb == "read" {
		if from != strings.ToLower(g.Name) {
			return fail(http.StatusNotFound, "NotFound", "Subscription '%s' is not in the management group '%s'.", sub.ID, g.Name), nil
		}
		return ok(s.member(g, sub)), nil
	}
	to := strings.ToLower(g.Name)
	if verb == "delete" {
		to = s.rootGroup()
		if from != strings.ToLower(g.Name) {
			return reply{status: http.StatusNoContent}, nil
		}
	}
	if r := s.mayMove(v, c, ID{Subscription: sub.ID}, from, to, into); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		sub, found := s.subscription(tx.View, sub.ID)
		target, exists := s.managementGroup(tx.View, to)
		switch {
		case !found:
			return subscriptionNotFound(c.rest[1])
		case !exists:
			return managementNotFound(to)
		}
		sub.Parent = to
		s.subscriptions.Put(tx, sub.ID, sub)
		if verb == "delete" {
			return reply{status: http.StatusOK}
		}
		return ok(s.member(target, sub))
	}
}

// member is a subscription as its management group shows it.
func (s *Service) member(g ManagementGroup, sub Subscription) object {
	return object{
		"id": g.ID().String() + "/subscriptions/" + sub.ID, "name": sub.ID, "type": managementType + "/subscriptions",
		"properties": object{"displayName": sub.DisplayName, "parent": object{"id": g.ID().String(), "name": g.Name, "displayName": g.DisplayName}, "state": "Active", "tenant": s.env.Dir.Tenant.ID},
	}
}

// listManagementGroups lists the groups that the caller may read; it refuses nobody.
func (s *Service) listManagementGroups(v replica.View, c *call) reply {
	mine := s.rightsOf(v, c.who.ObjectID)
	groups, _ := s.family(v, s.rootGroup())
	groups = slices.DeleteFunc(groups, func(g ManagementGroup) bool { return !mine.allow(g.ID(), managementRead) })
	return paged(s, c, groups, listPage, func(g ManagementGroup) string { return g.Name }, s.groupJSON)
}

// entity is a group or a subscription in a list of both.
type entity struct {
	id                         ID
	typ, name, display, parent string
}

// key is the order of entities: groups, then subscriptions.
func (e entity) key() string {
	if e.typ == managementType {
		return "group/" + e.name
	}
	return "subscription/" + e.name
}

func (s *Service) entities(groups []ManagementGroup, subs []Subscription) []entity {
	var all []entity
	for _, g := range groups {
		all = append(all, entity{g.ID(), managementType, g.Name, g.DisplayName, g.Parent})
	}
	for _, sub := range subs {
		all = append(all, entity{ID{Subscription: sub.ID}, "/subscriptions", sub.ID, sub.DisplayName, cmp.Or(sub.Parent, s.rootGroup())})
	}
	return all
}

// parentID is how an entity names the group that it is in.
func (s *Service) parentID(v replica.View, e entity) any {
	g, found := s.managementGroup(v, e.parent)
	if e.parent == "" || !found {
		return nil
	}
	return object{"id": g.ID().String()}
}

// descendants lists all that is below a management group.
func (s *Service) descendants(v replica.View, c *call) reply {
	if r := s.may(v, c, ID{ManagementGroup: c.id.ManagementGroup}, managementType+"/descendants/read", ""); r != nil {
		return *r
	}
	if _, missing := s.find(v, c.id); missing != nil {
		return *missing
	}
	size, bad := c.top(listPage)
	if bad != nil {
		return *bad
	}
	all := s.entities(s.family(v, c.id.ManagementGroup))[1:]
	return paged(s, c, all, size, entity.key, func(e entity) object {
		return object{"id": e.id.String(), "name": e.name, "type": cmp.Or(map[bool]string{true: managementType + "/subscriptions"}[e.typ != managementType], e.typ), "properties": object{"displayName": e.display, "parent": s.parentID(v, e)}}
	})
}

// getEntities lists the groups and subscriptions on which the caller has rights, with how far they go; it refuses nobody. Of the views
// FullHierarchy, GroupsOnly and SubscriptionsOnly are served; $search is not.
func (s *Service) getEntities(v replica.View, c *call) reply {
	size, bad := c.top(listPage)
	if bad != nil {
		return *bad
	}
	clauses, bad := c.filter()
	if bad != nil {
		return *bad
	}
	unserved := func(name string) reply {
		return fail(http.StatusBadRequest, "BadRequest", "The %s '%s' is not served by the local cloud.", name, c.param(name))
	}
	if c.param("$search") != "" {
		return unserved("$search")
	}
	want := ""
	for _, f := range clauses {
		if !strings.EqualFold(f.Name, "name") || f.Op != "eq" || want != "" {
			return badFilter(printFilter(clauses))
		}
		want = f.Value
	}
	groups, subs := s.family(v, s.rootGroup())
	switch strings.ToLower(c.param("$view")) {
	case "", "fullhierarchy":
	case "groupsonly":
		subs = nil
	case "subscriptionsonly":
		groups = nil
	default:
		return unserved("$view")
	}
	mine := s.rightsOf(v, c.who.ObjectID)
	all := slices.DeleteFunc(s.entities(groups, subs), func(e entity) bool {
		return want != "" && !strings.EqualFold(want, e.name) || permissionOn(mine, e.id) == "noaccess"
	})
	count := len(all)
	if skip, err := strconv.Atoi(cmp.Or(c.param("$skip"), "0")); err != nil || skip < 0 {
		return unserved("$skip")
	} else if c.param("$skipToken") == "" {
		all = inOrder(all, entity.key)[min(skip, len(all)):]
	}
	rep := paged(s, c, all, size, entity.key, func(e entity) object { return s.entityJSON(v, mine, e) })
	if body, isList := rep.body.(object); isList && rep.status == http.StatusOK {
		body["count"] = count
	}
	return rep
}

func (s *Service) entityJSON(v replica.View, mine *rights, e entity) object {
	p := object{"tenantId": s.env.Dir.Tenant.ID, "displayName": e.display, "parent": s.parentID(v, e), "permissions": permissionOn(mine, e.id), "inheritedPermissions": "noaccess", "numberOfDescendants": 0, "numberOfChildren": 0, "numberOfChildGroups": 0}
	names, titles := []string{}, []string{}
	if e.parent != "" {
		p["inheritedPermissions"] = permissionOn(mine, ID{ManagementGroup: e.parent})
		for _, name := range slices.Backward(s.groupsAbove(v, e.parent)) {
			g, _ := s.managementGroup(v, name)
			names, titles = append(names, g.Name), append(titles, g.DisplayName)
		}
	}
	p["parentNameChain"], p["parentDisplayNameChain"] = names, titles
	if e.typ == managementType {
		groups, subs := s.family(v, e.name)
		near := len(s.management.By(v, "parent", strings.ToLower(e.name)))
		p["numberOfDescendants"], p["numberOfChildGroups"], p["numberOfChildren"] = len(groups)-1+len(subs), near, near+len(s.subscriptions.By(v, "parent", strings.ToLower(e.name)))
	}
	return object{"id": e.id.String(), "name": e.name, "type": e.typ, "properties": p}
}

// permissionOn is how far the rights go on a group or subscription, in the words of getEntities.
func permissionOn(mine *rights, at ID) string {
	read, write, remove := managementRead, managementEdit, managementType+"/delete"
	if at.Subscription != "" {
		read, write, remove = "Microsoft.Resources/subscriptions/read", "Microsoft.Resources/subscriptions/write", "Microsoft.Resources/subscriptions/delete"
	}
	switch {
	case mine.allow(at, remove):
		return "delete"
	case mine.allow(at, write):
		return "edit"
	case mine.allow(at, read), at.Subscription != "" && mine.sees(at):
		return "view"
	}
	return "noaccess"
}

// checkGroupName tells whether the name of a management group is free.
func (s *Service) checkGroupName(v replica.View, c *call) reply {
	var body struct{ Name, Type string }
	if r := c.decode(&body); r != nil {
		return *r
	}
	if !managementName.MatchString(body.Name) {
		return ok(object{"nameAvailable": false, "reason": "Invalid", "message": "The name '" + body.Name + "' is not valid: it has 1 to 90 letters, digits, '-', '_', '.', '(' and ')', begins with a letter or digit and does not end with a period."})
	}
	if _, found := s.managementGroup(v, body.Name); found {
		return ok(object{"nameAvailable": false, "reason": "AlreadyExists", "message": "The management group name '" + body.Name + "' is already in use."})
	}
	return ok(object{"nameAvailable": true})
}
