package arm

import (
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Subscription is one subscription of the tenant.
type Subscription struct {
	ID          string `json:"id"` // GUID, in lower case
	DisplayName string `json:"displayName"`
	State       string `json:"state"`
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

// operation is a long-running one, which here has always succeeded by the time it is asked for.
type operation struct {
	ID           string `json:"id"`
	Subscription string `json:"subscription"`
}

// tables makes the tables in the store. Indexes are by lower-case ids:
//
//	resources    place (id of the group, and of the subscription), kind (that place and "|" and the type), vault (name of a vault)
//	definitions  roleName
//	assignments  scope, under (every scope at or above the assignment's), principal, role, triple
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
		return chain(id, tenant)
	}
	places := func(r Resource) []string {
		id, err := ParseID(r.ID)
		if err != nil {
			return nil
		}
		return []string{ID{Subscription: id.Subscription, Group: id.Group}.Key(), ID{Subscription: id.Subscription}.Key()}
	}
	s.subscriptions = replica.NewTable[Subscription](st, "arm.subscriptions", nil)
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
