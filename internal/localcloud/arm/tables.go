package arm

import (
	"cmp"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Subscription is one subscription of the tenant.
type Subscription struct {
	ID          string `json:"id"` // GUID, in lower case
	DisplayName string `json:"displayName"`
	State       string `json:"state"`
	Parent      string `json:"parent,omitempty"` // name of its management group, in lower case; "" is the root group
}

// Group is a resource group.
type Group struct {
	Subscription string            `json:"subscription"`
	Name         string            `json:"name"`
	Location     string            `json:"location"`
	Tags         map[string]string `json:"tags,omitempty"`
	ManagedBy    string            `json:"managedBy,omitempty"`
}

// ID is the group's resource id.
func (g Group) ID() ID { return ID{Subscription: g.Subscription, Group: g.Name} }

// Resource is any resource of a type that the local cloud keeps. Body is the resource as ARM shows it, without id, name and type.
type Resource struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Name      string    `json:"name"`
	Body      object    `json:"body"`
	CreatedOn time.Time `json:"createdOn"`
	ChangedOn time.Time `json:"changedOn"`

	// Until Ready the provider is still at work, as provisioningState says in the words of State.
	Ready time.Time `json:"ready,omitzero"`
	State string    `json:"state,omitempty"`

	// Incarnation tells a vault from the others that have had its name; "" is the one that was there from the beginning.
	Incarnation string `json:"incarnation,omitempty"`
}

// Properties is the resource's own part, never nil.
func (r Resource) Properties() map[string]any {
	if p, isObject := r.Body["properties"].(object); isObject {
		return p
	}
	return object{}
}

// Location is the region, as written.
func (r Resource) Location() string {
	l, _ := r.Body["location"].(string)
	return l
}

// Lock is a management lock.
type Lock struct {
	Scope string `json:"scope"`
	Name  string `json:"name"`
	Level string `json:"level"` // CanNotDelete or ReadOnly
	Notes string `json:"notes,omitempty"`
}

// tables makes the tables in the store. Indexes are by lower-case ids:
//
//	subscriptions, managementGroups  parent
//	resources    place (id of the group, and of the subscription), kind (that place and "|" and the type), vault (name of a vault)
//	definitions  roleName, assignable (each assignable scope)
//	assignments  scope, under (the assignment's scope and every scope above it up to the subscription), principal, role, triple
//	locks        scope, under
//	binned       subscription
func (s *Service) tables() {
	st, tenant := s.env.Dir.Store, s.env.Dir.Tenant.ID
	fold := func(k string) []string { return []string{strings.ToLower(k)} }
	under := func(scope string) []string {
		id, err := ParseID(scope)
		if err != nil {
			return nil
		}
		if id.ManagementGroup != "" && len(id.Parts) == 0 {
			return []string{id.Key()}
		}
		return ancestry(id)
	}
	places := func(r Resource) []string {
		id, err := ParseID(r.ID)
		if err != nil {
			return nil
		}
		return []string{ID{Subscription: id.Subscription, Group: id.Group}.Key(), ID{Subscription: id.Subscription}.Key()}
	}
	s.subscriptions = replica.NewTable(st, "arm.subscriptions", map[string]func(Subscription) []string{
		"parent": func(sub Subscription) []string { return fold(cmp.Or(sub.Parent, tenant)) },
	})
	s.management = replica.NewTable(st, "arm.managementGroups", map[string]func(ManagementGroup) []string{
		"parent": func(g ManagementGroup) []string { return fold(g.Parent) },
	})
	s.groups = replica.NewTable(st, "arm.resourceGroups", map[string]func(Group) []string{
		"subscription": func(g Group) []string { return fold(g.Subscription) },
	})
	s.resources = replica.NewTable(st, "arm.resources", map[string]func(Resource) []string{
		"place": places,
		"kind": func(r Resource) []string {
			keys := places(r)
			for i := range keys {
				keys[i] += "|" + strings.ToLower(r.Type)
			}
			return keys
		},
		"vault": func(r Resource) []string {
			if !strings.EqualFold(r.Type, vaultType) {
				return nil
			}
			return fold(r.Name)
		},
	})
	s.definitions = replica.NewTable(st, "arm.roleDefinitions", map[string]func(Definition) []string{
		"roleName": func(d Definition) []string { return fold(d.RoleName) },
		"assignable": func(d Definition) []string {
			keys := make([]string, len(d.AssignableScopes))
			for i, a := range d.AssignableScopes {
				keys[i] = scopeKey(a)
			}
			return keys
		},
	})
	s.assignments = replica.NewTable(st, "arm.roleAssignments", map[string]func(Assignment) []string{
		"scope":     func(a Assignment) []string { return fold(a.Scope) },
		"under":     func(a Assignment) []string { return under(a.Scope) },
		"principal": func(a Assignment) []string { return fold(a.PrincipalID) },
		"role":      func(a Assignment) []string { return fold(a.RoleID) },
		"triple":    func(a Assignment) []string { return []string{a.triple()} },
	})
	s.locks = replica.NewTable(st, "arm.locks", map[string]func(Lock) []string{
		"scope": func(l Lock) []string { return fold(l.Scope) },
		"under": func(l Lock) []string { return under(l.Scope) },
	})
	s.binned = replica.NewTable(st, "arm.deletedVaults", map[string]func(DeletedVault) []string{
		"subscription": func(d DeletedVault) []string { return fold(d.Subscription) },
	})
	s.operations = replica.NewTable[operation](st, "arm.operations", nil)
}
