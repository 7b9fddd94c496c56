package graph

import (
	"slices"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// maxOwners is how many owners an application or service principal has at most (Microsoft Entra service limits).
const maxOwners = 100

func ownerRoutes() []route {
	var all []route
	for _, kind := range []string{"application", "servicePrincipal"} {
		at := kind + "s/{id}/owners"
		all = append(all,
			route{method: "GET", segments: path(at), op: operation(kind + ".read"), look: (*call).listOwners},
			route{method: "GET", segments: path(at + "/$ref"), op: operation(kind + ".read"), look: (*call).listOwnerReferences},
			route{method: "POST", segments: path(at + "/$ref"), op: operation(kind + ".write"), do: (*call).addOwner},
			route{method: "DELETE", segments: path(at + "/{owner}/$ref"), op: operation(kind + ".write"), do: (*call).removeOwner},
		)
	}
	return all
}

func (c *call) owners() []string {
	if c.app.ID != "" {
		return c.app.Owners
	}
	return c.sp.Owners
}

func (c *call) listOwners(v replica.View) error {
	return c.list("directoryObjects", c.s.objects(v, c.owners()))
}

func (c *call) listOwnerReferences(v replica.View) error {
	value := []object{}
	for r := range c.s.objects(v, c.owners()) {
		value = append(value, object{"@odata.id": c.base() + "/directoryObjects/" + r.id})
	}
	c.ok(object{"value": value}, "Collection($ref)")
	return nil
}

// withOwners adds owners that must exist and must not be there yet, except that the creator may be named again.
func (s *Service) withOwners(v replica.View, have, more []string) ([]string, error) {
	owners := slices.Clone(have)
	for _, id := range more {
		switch s.dir.PrincipalType(v, id) {
		case "User", "ServicePrincipal":
		case "":
			return nil, notFound(id)
		default:
			return nil, badRequest("The owner '%s' is neither a user nor a service principal.", id)
		}
		if !slices.Contains(owners, id) {
			owners = append(owners, id)
		}
	}
	if len(owners) > maxOwners {
		p := quota()
		p.message = "The object has the largest number of owners, 100, already."
		return nil, p
	}
	return owners, nil
}

// addOwner answers 204; the body is a reference whose host does not matter.
func (c *call) addOwner() error {
	id, err := c.referenced()
	if err != nil {
		return err
	}
	err = c.changeOwners(func(v replica.View, owners []string) ([]string, error) {
		if slices.Contains(owners, id) {
			return nil, badRequest("One or more added object references already exist for the following modified properties: 'owners'.")
		}
		return c.s.withOwners(v, owners, []string{id})
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) removeOwner() error {
	err := c.changeOwners(func(_ replica.View, owners []string) ([]string, error) {
		i := slices.Index(owners, reference(c.arg["owner"]))
		if i < 0 {
			return nil, badRequest("One or more removed object references do not exist for the following modified properties: 'owners'.")
		}
		return slices.Delete(slices.Clone(owners), i, i+1), nil
	})
	if err == nil {
		c.done()
	}
	return err
}

// referenced is the id in the body's @odata.id.
func (c *call) referenced() (string, error) {
	var in struct {
		ID string `json:"@odata.id"`
	}
	if err := c.decode(&in); err != nil {
		return "", err
	}
	if in.ID == "" {
		return "", badRequest("The request must have a reference in '@odata.id'.")
	}
	return reference(in.ID), nil
}

func (c *call) changeOwners(change func(v replica.View, owners []string) ([]string, error)) error {
	return c.write(func(tx replica.Tx) (err error) {
		if c.app.ID != "" {
			var a directory.Application
			if a, err = get(tx, c.s.dir.Applications, c.app.ID, directory.Application.Live); err != nil {
				return err
			}
			if a.Owners, err = change(tx.View, a.Owners); err == nil {
				c.s.dir.Applications.Put(tx, a.ID, a)
			}
			return err
		}
		p, err := get(tx, c.s.dir.ServicePrincipals, c.sp.ID, directory.ServicePrincipal.Live)
		if err != nil {
			return err
		}
		if p.Owners, err = change(tx.View, p.Owners); err == nil {
			c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		}
		return err
	})
}

// get is a live object of a table on the primary.
func get[T any](tx replica.Tx, t *replica.Table[T], id string, alive func(T) bool) (T, error) {
	o, ok := t.Get(tx.View, id)
	if !ok || !alive(o) {
		return o, notFound(id)
	}
	return o, nil
}
