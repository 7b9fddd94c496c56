package graph

import (
	"slices"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func sponsorRoutes() []route {
	var all []route
	for _, kind := range []string{"application", "servicePrincipal"} {
		at := kind + "s/{id}/sponsors"
		read, write, find := operation(kind+".read"), operation(kind+".write"), (*call).agentTarget
		all = append(all,
			route{method: "GET", segments: path(at), op: read, subject: find, look: (*call).listSponsors},
			route{method: "GET", segments: path(at + "/$ref"), op: read, subject: find, look: (*call).listSponsorReferences},
			route{method: "POST", segments: path(at + "/$ref"), op: write, subject: find, do: (*call).addSponsor},
			route{method: "DELETE", segments: path(at + "/{sponsor}/$ref"), op: write, subject: find, do: (*call).removeSponsor},
		)
	}
	return all
}

func (c *call) sponsors() []string {
	if c.app.ID != "" {
		return c.app.Sponsors
	}
	return c.sp.Sponsors
}

// listSponsors gives the ids and nothing else, as Graph does (Microsoft Graph, "List agentIdentityBlueprint sponsors"; observed 2026).
func (c *call) listSponsors(replica.View) error {
	return c.list("directoryObjects", rows(slices.Values(c.sponsors()), func(id string) string { return id }, func(id string) object {
		return object{"@odata.type": "#microsoft.graph.directoryObject", "id": id}
	}))
}

func (c *call) listSponsorReferences(replica.View) error {
	value := []object{}
	for _, id := range c.sponsors() {
		value = append(value, object{"@odata.id": c.base() + "/directoryObjects/" + id})
	}
	c.ok(object{"value": value}, "Collection($ref)")
	return nil
}

// withSponsors adds sponsors, which are users, or groups of a kind that this cloud does not have: dynamic ones and those of Microsoft
// 365. A service principal is none ("Administrative relationships in Microsoft Entra Agent ID").
func (s *Service) withSponsors(v replica.View, have, more []string) ([]string, error) {
	sponsors := slices.Clone(have)
	for _, id := range more {
		switch s.dir.PrincipalType(v, id) {
		case "User":
		case "":
			return nil, notFound(id)
		case "Group":
			return nil, badRequest("The group '%s' cannot be a sponsor: only dynamic membership groups and Microsoft 365 groups can.", id)
		default:
			return nil, badRequest("The object '%s' cannot be a sponsor: only users and groups can.", id)
		}
		if !slices.Contains(sponsors, id) {
			sponsors = append(sponsors, id)
		}
	}
	return sponsors, nil
}

func (c *call) addSponsor() error {
	id, err := c.referenced()
	if err != nil {
		return err
	}
	return c.changeSponsors(func(v replica.View, sponsors []string) ([]string, error) {
		if slices.Contains(sponsors, id) {
			return nil, badRequest("One or more added object references already exist for the following modified properties: 'sponsors'.")
		}
		return c.s.withSponsors(v, sponsors, []string{id})
	})
}

// removeSponsor leaves a blueprint and an agent identity one sponsor at least, since neither can be without.
func (c *call) removeSponsor() error {
	return c.changeSponsors(func(_ replica.View, sponsors []string) ([]string, error) {
		i := slices.Index(sponsors, reference(c.arg["sponsor"]))
		if i < 0 {
			return nil, badRequest("One or more removed object references do not exist for the following modified properties: 'sponsors'.")
		}
		if len(sponsors) == 1 && c.agent != directory.BlueprintPrincipal {
			return nil, badRequest("The last sponsor of the object cannot be removed.")
		}
		return slices.Delete(slices.Clone(sponsors), i, i+1), nil
	})
}

func (c *call) changeSponsors(change func(v replica.View, sponsors []string) ([]string, error)) error {
	err := c.write(func(tx replica.Tx) (err error) {
		if c.app.ID != "" {
			a, err := get(tx, c.s.dir.Applications, c.app.ID, directory.Application.Live)
			if err != nil {
				return err
			}
			if a.Sponsors, err = change(tx.View, a.Sponsors); err == nil {
				c.s.dir.Applications.Put(tx, a.ID, a)
			}
			return err
		}
		p, err := get(tx, c.s.dir.ServicePrincipals, c.sp.ID, directory.ServicePrincipal.Live)
		if err != nil {
			return err
		}
		if p.Sponsors, err = change(tx.View, p.Sponsors); err == nil {
			c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		}
		return err
	})
	if err == nil {
		c.done()
	}
	return err
}
