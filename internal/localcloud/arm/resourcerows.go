package arm

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/arm/kql"
)

// row makes a record of Azure Resource Graph. It reads values, not tables, so it may run when the store is let go.
type row func() kql.Row

// record is a row with what every row has: types and names of resource groups are in lower case there (Microsoft, "Understanding the
// Azure Resource Graph query language").
func (s *Service) record(id ID, name, typ string, properties any) kql.Row {
	return kql.Row{
		"id": id.String(), "name": name, "type": strings.ToLower(typ), "tenantId": s.env.Dir.Tenant.ID, "kind": "", "location": "",
		"resourceGroup": strings.ToLower(id.Group), "subscriptionId": strings.ToLower(id.Subscription), "managedBy": "", "properties": decoded(properties),
	}
}

// decoded is a value as encoding/json would decode it, which is what the query language works on.
func decoded(v any) any {
	var out any
	raw, err := json.Marshal(v)
	if err != nil || json.Unmarshal(raw, &out) != nil {
		return nil // what ARM keeps came as JSON
	}
	return out
}

func (s *Service) resourceRows(w graphScope, plan *kql.Plan) []row {
	var rows []row
	types, pinned := plan.Pinned("type")
	groups, inGroups := plan.Pinned("resourceGroup")
	for _, sub := range w.subs {
		at := ID{Subscription: sub.ID}
		var found []Resource
		switch {
		case inGroups:
			for _, g := range groups {
				found = append(found, s.resources.By(w.v, "place", ID{Subscription: sub.ID, Group: g}.Key())...)
			}
		case pinned:
			for _, t := range types {
				found = append(found, s.resources.By(w.v, "kind", at.Key()+"|"+t)...)
			}
		default:
			found = s.resources.By(w.v, "place", at.Key())
		}
		seen := map[string]bool{}
		for _, r := range found {
			id, err := ParseID(r.ID)
			if err != nil || seen[id.Key()] || !w.mine.allow(id, r.Type+"/read") {
				continue
			}
			seen[id.Key()] = true
			rows = append(rows, func() kql.Row {
				shown := s.json(r)
				rec := s.record(id, r.Name, r.Type, shown["properties"])
				rec["location"] = plainLocation(r.Location())
				for _, k := range []string{"kind", "managedBy"} {
					if v, isText := shown[k].(string); isText {
						rec[k] = v
					}
				}
				for _, k := range []string{"sku", "plan", "tags", "identity", "zones", "extendedLocation"} {
					rec[k] = decoded(shown[k])
				}
				return rec
			})
		}
	}
	return rows
}

func (s *Service) containerRows(w graphScope) []row {
	var rows []row
	for _, g := range w.groups {
		details := s.detailed(w.v, g)["properties"].(object)
		details["details"].(object)["managementGroupAncestorsChain"] = s.line(w.v, g)
		rows = append(rows, func() kql.Row { return s.record(g.ID(), g.Name, managementType, details) })
	}
	for _, sub := range w.subs {
		at := ID{Subscription: sub.ID}
		above := s.line(w.v, ManagementGroup{Parent: cmp.Or(sub.Parent, s.rootGroup())})
		rows = append(rows, func() kql.Row {
			shown := s.subscriptionJSON(sub)
			return s.record(at, sub.DisplayName, "microsoft.resources/subscriptions", object{"state": sub.State, "subscriptionPolicies": shown["subscriptionPolicies"], "managedByTenants": []any{}, "managementGroupAncestorsChain": above})
		})
		for _, g := range s.groups.By(w.v, "subscription", sub.ID) {
			if !w.mine.allow(g.ID(), groupOp+"read") {
				continue
			}
			rows = append(rows, func() kql.Row {
				rec := s.record(g.ID(), g.Name, "microsoft.resources/subscriptions/resourcegroups", g.json()["properties"])
				rec["location"], rec["managedBy"] = g.Location, g.ManagedBy
				if g.Tags != nil {
					rec["tags"] = decoded(g.Tags)
				}
				return rec
			})
		}
	}
	return rows
}

// tenantRole is how Resource Graph names a role definition, in an assignment too: under the tenant, so that the two can be joined.
func tenantRole(guid string) string {
	return "/providers/" + authorization + "/RoleDefinitions/" + guid
}

func (s *Service) authorizationRows(w graphScope, plan *kql.Plan, filter string) []row {
	var rows []row
	wants := func(typ string) bool {
		types, pinned := plan.Pinned("type")
		if !pinned {
			return true
		}
		return oneOf(typ, types...)
	}
	if wants("microsoft.authorization/roleassignments") {
		for _, a := range s.graphAssignments(w, plan, filter) {
			at, err := ParseID(a.Scope)
			if err != nil || !w.mine.allow(at, "Microsoft.Authorization/roleAssignments/read") {
				continue
			}
			rows = append(rows, func() kql.Row {
				shown := a.json()
				p := shown["properties"].(object)
				p["roleDefinitionId"] = tenantRole(a.RoleID)
				rec := s.record(at, a.Name, "microsoft.authorization/roleassignments", p)
				rec["id"] = shown["id"]
				return rec
			})
		}
	}
	if wants("microsoft.authorization/roledefinitions") {
		rows = append(rows, s.definitionRows(w)...)
	}
	return rows
}

// graphAssignments is the assignments where the query looks: at its scopes and below them, unless authorizationScopeFilter has it
// otherwise. If the query is for certain principals, only theirs are read.
func (s *Service) graphAssignments(w graphScope, plan *kql.Plan, filter string) []Assignment {
	below := oneOf(filter, "", "AtScopeAndBelow", "AtScopeAboveAndBelow")
	above := oneOf(filter, "AtScopeAndAbove", "AtScopeAboveAndBelow")
	seen := map[string]bool{}
	var found []Assignment
	add := func(all []Assignment) {
		for _, a := range all {
			if key := strings.ToLower(a.Name); !seen[key] {
				seen[key] = true
				found = append(found, a)
			}
		}
	}
	principals, pinned := plan.Pinned("properties.principalId")
	for _, at := range w.asked {
		up := s.chain(w.v, at)
		if !above {
			up = up[:1]
		}
		switch {
		case pinned:
			for _, p := range principals {
				for _, a := range s.assignments.By(w.v, "principal", p) {
					scope := strings.ToLower(a.Scope)
					if oneOf(scope, up...) || below && s.inside(w.v, scope, at) {
						add([]Assignment{a})
					}
				}
			}
			continue
		case below:
			add(s.under(w.v, at))
		}
		for _, key := range up {
			add(s.assignments.By(w.v, "scope", key))
		}
	}
	return found
}

// definitionRows is the built-in roles and the custom ones that may be assigned at, above or below where the query looks.
func (s *Service) definitionRows(w graphScope) []row {
	const read = "Microsoft.Authorization/roleDefinitions/read"
	var rows []row
	seen := map[string]bool{}
	add := func(r *role) {
		if seen[r.Name] {
			return
		}
		seen[r.Name] = true
		rows = append(rows, func() kql.Row {
			rec := s.record(ID{}, r.Name, "microsoft.authorization/roledefinitions", r.json(ID{})["properties"])
			rec["id"] = tenantRole(r.Name)
			return rec
		})
	}
	var scopes []ID
	for _, sub := range w.subs {
		scopes = append(scopes, ID{Subscription: sub.ID})
	}
	for _, g := range w.groups {
		scopes = append(scopes, g.ID())
	}
	for _, at := range scopes {
		if !w.mine.allow(at, read) {
			continue
		}
		for _, r := range s.ordered {
			add(r)
		}
		for _, r := range s.customRoles(w.v, at, true) {
			add(r)
		}
	}
	return rows
}
