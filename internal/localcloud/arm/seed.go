package arm

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// AddSubscription makes a subscription; id is a GUID.
func (s *Service) AddSubscription(tx replica.Tx, id, displayName string) Subscription {
	sub := Subscription{ID: strings.ToLower(id), DisplayName: displayName, State: "Enabled"}
	s.subscriptions.Put(tx, sub.ID, sub)
	return sub
}

// AddGroup makes a resource group.
func (s *Service) AddGroup(tx replica.Tx, subscription, name, location string) Group {
	g := Group{Subscription: strings.ToLower(subscription), Name: name, Location: plainLocation(location)}
	s.groups.Put(tx, g.ID().Key(), g)
	return g
}

// AddResource makes a resource as a PUT of the body would, whoever may. body holds location, properties and the like.
func (s *Service) AddResource(tx replica.Tx, id string, body map[string]any) (Resource, error) {
	at, err := ParseID(id)
	if err != nil {
		return Resource{}, fmt.Errorf("%q is not a resource id", id)
	}
	k, known := kindOf(at.Last().Type())
	if !known || len(at.Parts) != 1 || at.Group == "" || k.Type == federationType {
		return Resource{}, fmt.Errorf("resources of type %s cannot be seeded", at.Last().Type())
	}
	var plain object // as JSON has it, whatever Go types the caller used
	raw, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(raw, &plain)
	}
	if err != nil || plain == nil {
		return Resource{}, fmt.Errorf("%s: the body is no JSON object", id)
	}
	namespace, short, _ := strings.Cut(k.Type, "/")
	name := at.Name()
	at.Parts = nil
	r := Resource{ID: at.with(namespace, short, name).String(), Name: name, Type: k.Type, Body: plain, CreatedOn: s.env.Now(), ChangedOn: s.env.Now()}
	if r.Body["properties"] == nil {
		r.Body["properties"] = object{}
	}
	r.Body["location"] = plainLocation(r.Location())
	if bad := s.bind(tx, &r, Resource{}); bad != nil {
		return Resource{}, fmt.Errorf("%s: an identity that it names does not exist", id)
	}
	if k.Fill != nil {
		k.Fill(s, &r)
	}
	s.resources.Put(tx, strings.ToLower(r.ID), r)
	return r, nil
}

// Assign gives a principal a role, by its display name, at a scope.
func (s *Service) Assign(tx replica.Tx, scope, roleName, principalID, principalType string) (Assignment, error) {
	at, err := ParseID(scope)
	if err != nil {
		return Assignment{}, fmt.Errorf("%q is not a scope", scope)
	}
	r := s.roleNamed(tx.View, roleName)
	if r == nil {
		return Assignment{}, fmt.Errorf("no role is called %q", roleName)
	}
	now := s.env.Now()
	a := Assignment{Name: s.env.NewID(), Scope: at.String(), RoleID: r.Name, PrincipalID: strings.ToLower(principalID), PrincipalType: principalType, CreatedOn: now, UpdatedOn: now}
	s.assignments.Put(tx, strings.ToLower(a.Name), a)
	return a, nil
}

// Vault is the vault with the name, as the view shows it.
func (s *Service) Vault(v replica.View, name string) (Resource, bool) {
	all := s.resources.By(v, "vault", strings.ToLower(name))
	if len(all) == 0 {
		return Resource{}, false
	}
	return all[0], true
}
