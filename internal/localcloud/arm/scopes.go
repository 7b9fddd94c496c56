package arm

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func (s *Service) subscription(v replica.View, id string) (Subscription, bool) {
	return s.subscriptions.Get(v, strings.ToLower(id))
}

func (s *Service) subscriptionJSON(sub Subscription) object {
	return object{
		"id": "/subscriptions/" + sub.ID, "subscriptionId": sub.ID, "tenantId": s.env.Dir.Tenant.ID, "displayName": sub.DisplayName, "state": sub.State,
		"authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": object{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
	}
}

// listSubscriptions lists those where the caller has any role, at the subscription, above or below; it refuses nobody.
func (s *Service) listSubscriptions(v replica.View, c *call) reply {
	mine := s.rightsOf(v, c.who.ObjectID)
	subs := slices.DeleteFunc(s.subscriptions.All(v), func(sub Subscription) bool { return !mine.sees(ID{Subscription: sub.ID}) })
	rep := paged(s, c, subs, listPage, func(sub Subscription) string { return sub.ID }, s.subscriptionJSON)
	if body, isList := rep.body.(object); isList && rep.status == http.StatusOK {
		body["count"] = object{"type": "Total", "value": len(subs)}
	}
	return rep
}

// getSubscription shows a subscription to whoever sees it in the list.
func (s *Service) getSubscription(v replica.View, c *call) reply {
	sub, _ := s.subscription(v, c.id.Subscription)
	if !s.sees(v, c.who.ObjectID, ID{Subscription: sub.ID}) {
		return *s.may(v, c, ID{Subscription: sub.ID}, "Microsoft.Resources/subscriptions/read", "")
	}
	return ok(s.subscriptionJSON(sub))
}

func (s *Service) listTenants() reply {
	t := s.env.Dir.Tenant
	return list([]object{{"id": "/tenants/" + t.ID, "tenantId": t.ID, "displayName": t.DisplayName, "defaultDomain": t.Domain, "domains": []string{t.Domain}, "countryCode": "US", "tenantCategory": "Home", "tenantType": "AAD"}})
}

func (s *Service) locations(v replica.View, c *call) reply {
	if !s.sees(v, c.who.ObjectID, ID{Subscription: c.id.Subscription}) {
		return *s.may(v, c, c.id, "Microsoft.Resources/subscriptions/locations/read", "")
	}
	var all []object
	for _, l := range [][2]string{{"eastus", "East US"}, {"westus2", "West US 2"}, {"westeurope", "West Europe"}, {"northeurope", "North Europe"}, {"swedencentral", "Sweden Central"}} {
		all = append(all, object{"id": "/subscriptions/" + c.id.Subscription + "/locations/" + l[0], "name": l[0], "displayName": l[1], "regionalDisplayName": l[1], "type": "Region"})
	}
	return list(all)
}

func (g Group) key() string { return g.ID().Key() }

func (g Group) json() object {
	o := object{"id": g.ID().String(), "name": g.Name, "type": "Microsoft.Resources/resourceGroups", "location": g.Location, "properties": object{"provisioningState": "Succeeded"}}
	if g.Tags != nil {
		o["tags"] = g.Tags
	}
	if g.ManagedBy != "" {
		o["managedBy"] = g.ManagedBy
	}
	return o
}

const groupOp = "Microsoft.Resources/subscriptions/resourceGroups/"

// listGroups lists the groups that the caller may read; a caller without any role in the subscription is refused.
func (s *Service) listGroups(v replica.View, c *call) reply {
	sub := ID{Subscription: strings.ToLower(c.id.Subscription)}
	if !s.sees(v, c.who.ObjectID, sub) {
		return *s.may(v, c, sub, groupOp+"read", "")
	}
	clauses, bad := c.filter()
	if bad != nil {
		return *bad
	}
	tag, value := "", ""
	for _, f := range clauses {
		switch n := strings.ToLower(f.Name); {
		case n == "tagname" && f.Op == "eq":
			tag = f.Value
		case n == "tagvalue" && f.Op == "eq":
			value = f.Value
		default:
			return badFilter(printFilter(clauses))
		}
	}
	size, bad := c.top(listPage)
	if bad != nil {
		return *bad
	}
	mine := s.rightsOf(v, c.who.ObjectID)
	groups := slices.DeleteFunc(s.groups.By(v, "subscription", sub.Subscription), func(g Group) bool {
		has, found := g.Tags[tag]
		return tag != "" && (!found || value != "" && has != value) || !mine.allow(g.ID(), groupOp+"read")
	})
	return paged(s, c, groups, size, Group.key, Group.json)
}

var groupName = regexp.MustCompile(`^[-\w._()]{0,89}[-\w_()]$`)

// group answers for one resource group.
func (s *Service) group(v replica.View, c *call) (reply, effect) {
	verb := map[string]string{http.MethodGet: "read", http.MethodHead: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete"}[c.method]
	if verb == "" {
		return c.unknown(), nil
	}
	if r := s.may(v, c, c.id, groupOp+verb, ""); r != nil {
		return *r, nil
	}
	g, found := s.groups.Get(v, c.id.Key())
	switch {
	case c.method == http.MethodHead && found:
		return reply{status: http.StatusNoContent}, nil
	case c.method == http.MethodHead:
		return reply{status: http.StatusNotFound}, nil
	case c.method == http.MethodPut:
		return s.putGroup(v, c)
	case !found:
		return groupNotFound(c.id.Group), nil
	case c.method == http.MethodPatch:
		return s.patchGroup(v, c)
	case c.method == http.MethodDelete:
		return s.deleteGroup(v, c, g)
	}
	return ok(g.json()), nil
}

func (s *Service) putGroup(v replica.View, c *call) (reply, effect) {
	var body struct {
		Location, ManagedBy string
		Tags                map[string]string
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	switch {
	case !groupName.MatchString(c.id.Group):
		return fail(http.StatusBadRequest, "InvalidResourceGroup", "The provided resource group name '%s' is not valid. It has 1 to 90 letters, digits, '-', '.', '(', ')' or '_' and does not end with a period.", c.id.Group), nil
	case body.Location == "":
		return locationRequired(), nil
	}
	if r := s.lockedWrite(v, c.id); r != nil {
		return *r, nil
	}
	g := Group{Subscription: strings.ToLower(c.id.Subscription), Name: c.id.Group, Location: plainLocation(body.Location), Tags: body.Tags, ManagedBy: body.ManagedBy}
	return reply{}, func(tx replica.Tx) reply {
		status := http.StatusCreated
		if old, found := s.groups.Get(tx.View, c.id.Key()); found {
			if old.Location != g.Location {
				return fail(http.StatusConflict, "InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.", g.Location, old.Location)
			}
			g.Name, status = old.Name, http.StatusOK
		}
		s.groups.Put(tx, c.id.Key(), g)
		return reply{status: status, body: g.json()}
	}
}

func (s *Service) patchGroup(v replica.View, c *call) (reply, effect) {
	var body struct {
		Tags map[string]string
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if r := s.lockedWrite(v, c.id); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		g, found := s.groups.Get(tx.View, c.id.Key())
		if !found {
			return groupNotFound(c.id.Group)
		}
		if body.Tags != nil {
			g.Tags = body.Tags
		}
		s.groups.Put(tx, c.id.Key(), g)
		return ok(g.json())
	}
}

// deleteGroup removes the group with all in it: resources, their identities, and every role assignment and lock at or below it. The
// answer is that of a long-running operation.
func (s *Service) deleteGroup(v replica.View, c *call, g Group) (reply, effect) {
	if r := s.lockedDelete(v, c.id, true); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		for _, r := range s.resources.By(tx.View, "place", c.id.Key()) {
			s.forget(tx, r)
		}
		s.clear(tx, c.id)
		s.groups.Delete(tx, c.id.Key())
		op := s.begin(tx, c, "", http.StatusOK)
		at := fmt.Sprintf("%s/subscriptions/%s/operationresults/%s?api-version=%s", s.env.Endpoints().ARM, g.Subscription, op.ID, c.param("api-version"))
		return reply{status: http.StatusAccepted, header: map[string]string{"Location": at, "Retry-After": retryAfter}}
	}
}

// clear removes the role assignments at and below a scope that is going away.
func (s *Service) clear(tx replica.Tx, at ID) {
	for _, a := range s.under(tx.View, at) {
		s.assignments.Delete(tx, strings.ToLower(a.Name))
	}
	for _, l := range s.locks.By(tx.View, "under", at.Key()) {
		s.locks.Delete(tx, l.key())
	}
}

func locationRequired() reply {
	return fail(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition.")
}

// plainLocation is a region's name without spaces and capitals: "East US" is eastus.
func plainLocation(l string) string { return strings.ToLower(strings.ReplaceAll(l, " ", "")) }
