package arm

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// ManagementGroup is a group of subscriptions and of other groups. The tenant's root group, whose name is the tenant's id, is there
// without being kept: it is kept once somebody has changed it.
type ManagementGroup struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"displayName"`
	Parent      string    `json:"parent"` // name of the group above, in lower case; "" of the root group alone
	Version     int       `json:"version"`
	UpdatedOn   time.Time `json:"updatedOn"`
	UpdatedBy   string    `json:"updatedBy,omitempty"`
}

// ID is the group's resource id.
func (g ManagementGroup) ID() ID { return ID{ManagementGroup: g.Name} }

// maxLevels is how deep the hierarchy goes, the root and the subscriptions not counted; maxManagementGroups is how many groups a tenant
// has (Microsoft, "What are Azure management groups?").
const (
	maxLevels           = 6
	maxManagementGroups = 10000
)

// rootGroup is the name of the tenant's root management group, in lower case.
func (s *Service) rootGroup() string { return strings.ToLower(s.env.Dir.Tenant.ID) }

func (s *Service) managementGroup(v replica.View, name string) (ManagementGroup, bool) {
	key := strings.ToLower(name)
	g, found := s.management.Get(v, key)
	if !found && key == s.rootGroup() {
		return ManagementGroup{Name: s.env.Dir.Tenant.ID, DisplayName: "Tenant Root Group", Version: 1}, true
	}
	return g, found
}

// groupsAbove is the names, in lower case, of the group and of those above it, the root last. A group that the view does not show
// stands under the root. A replica that has heard of one of two moves may show a ring; it is left where it closes.
func (s *Service) groupsAbove(v replica.View, name string) []string {
	var names []string
	for at := strings.ToLower(name); at != "" && at != s.rootGroup() && !slices.Contains(names, at); {
		names = append(names, at)
		g, _ := s.management.Get(v, at)
		at = g.Parent
	}
	return append(names, s.rootGroup())
}

// chain is the keys of the scopes from which a role assignment reaches id: id itself first, then its groups, the root last.
func (s *Service) chain(v replica.View, id ID) []string {
	keys := ancestry(id)
	group := id.ManagementGroup
	if id.Subscription != "" {
		sub, _ := s.subscription(v, id.Subscription)
		group = cmp.Or(sub.Parent, s.rootGroup())
	}
	if group != "" {
		for _, name := range s.groupsAbove(v, group) {
			keys = append(keys, ID{ManagementGroup: name}.Key())
		}
	}
	return append(keys, "/")
}

// within tells whether a scope is at or below another.
func (s *Service) within(v replica.View, inner, outer ID) bool {
	return slices.Contains(s.chain(v, inner), outer.Key())
}

// inside is within for a scope as text.
func (s *Service) inside(v replica.View, inner string, outer ID) bool {
	id, err := ParseID(inner)
	return err == nil && s.within(v, id, outer)
}

// family is a group with everything below it: groups, itself first, and subscriptions.
func (s *Service) family(v replica.View, name string) (groups []ManagementGroup, subs []Subscription) {
	top, found := s.managementGroup(v, name)
	if !found {
		return nil, nil
	}
	groups = []ManagementGroup{top}
	seen := map[string]bool{strings.ToLower(name): true}
	for i := 0; i < len(groups); i++ {
		key := strings.ToLower(groups[i].Name)
		subs = append(subs, s.subscriptions.By(v, "parent", key)...)
		for _, g := range s.management.By(v, "parent", key) {
			if k := strings.ToLower(g.Name); !seen[k] {
				seen[k] = true
				groups = append(groups, g)
			}
		}
	}
	return groups, subs
}

// under is the role assignments at and below a scope.
func (s *Service) under(v replica.View, at ID) []Assignment {
	switch {
	case at.Root():
		return s.assignments.All(v)
	case at.ManagementGroup == "" || len(at.Parts) > 0:
		return s.assignments.By(v, "under", at.Key())
	}
	var found []Assignment
	groups, subs := s.family(v, at.ManagementGroup)
	for _, g := range groups {
		found = append(found, s.assignments.By(v, "under", g.ID().Key())...)
	}
	for _, sub := range subs {
		found = append(found, s.assignments.By(v, "under", ID{Subscription: sub.ID}.Key())...)
	}
	return found
}
