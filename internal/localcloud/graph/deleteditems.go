package graph

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func deletedItemRoutes() []route {
	return []route{
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.application"), op: "deletedItem.read", look: (*call).listDeletedApplications},
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.servicePrincipal"), op: "deletedItem.read", look: (*call).listDeletedPrincipals},
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.user"), op: "user.read", look: (*call).listDeletedUsers},
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.agentIdentityBlueprint"), op: "deletedItem.read", subject: (*call).deletedType, look: (*call).listDeletedApplications},
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.agentIdentityBlueprintPrincipal"), op: "deletedItem.read", subject: (*call).deletedType, look: (*call).listDeletedPrincipals},
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.agentIdentity"), op: "deletedItem.read", subject: (*call).deletedType, look: (*call).listDeletedPrincipals},
		{method: "GET", segments: path("directory/deletedItems/microsoft.graph.agentUser"), op: "deletedItem.read", subject: (*call).deletedType, look: (*call).listDeletedUsers},
		{method: "GET", segments: path("directory/deletedItems/{deleted}"), op: "deletedItem.read", look: (*call).getDeleted},
		{method: "POST", segments: path("directory/deletedItems/{deleted}/restore"), op: "deletedItem.write", subject: (*call).deletedItem, do: (*call).restore},
		{method: "DELETE", segments: path("directory/deletedItems/{deleted}"), op: "deletedItem.write", subject: (*call).deletedItem, do: (*call).purge},
	}
}

func (c *call) listDeletedApplications(v replica.View) error {
	gone := only(slices.Values(c.s.dir.Applications.By(v, "deleted", "true")), func(a directory.Application) bool {
		return restorable(a.DeletedDateTime, v.Now()) && (c.cast == "" || c.cast == a.Agent)
	})
	return c.list(c.collection("applications"), rows(gone, func(a directory.Application) string { return a.ID }, func(a directory.Application) object { return c.s.encodeApplication(a, false) }))
}

func (c *call) listDeletedPrincipals(v replica.View) error {
	gone := only(slices.Values(c.s.dir.ServicePrincipals.By(v, "deleted", "true")), func(p directory.ServicePrincipal) bool {
		return restorable(p.DeletedDateTime, v.Now()) && (c.cast == "" || c.cast == p.Agent)
	})
	return c.list(c.collection("servicePrincipals"), rows(gone, func(p directory.ServicePrincipal) string { return p.ID }, func(p directory.ServicePrincipal) object { return c.s.encodeServicePrincipal(p, false) }))
}

func (c *call) listDeletedUsers(v replica.View) error {
	gone := only(c.s.dir.DeletedUsers.Each(v), func(d directory.DeletedUser) bool {
		return restorable(&d.DeletedDateTime, v.Now()) && (c.cast == "" || c.cast == d.User.Agent)
	})
	return c.list(c.collection("users"), rows(gone, func(d directory.DeletedUser) string { return d.ID }, encodeDeletedUser))
}

// deletedType is the subject of a listing of one type of Agent ID.
func (c *call) deletedType(replica.View) (subject, error) {
	path := strings.TrimRight(c.r.URL.Path, "/")
	c.cast, _ = agentType(path[strings.LastIndexByte(path, '/')+1:])
	return subject{agent: c.cast}, nil
}

// findDeleted finds the application or service principal of the path in the recycle bin; the one that is not meant has no id.
func (c *call) findDeleted(v replica.View) (a directory.Application, p directory.ServicePrincipal, err error) {
	id := strings.ToLower(c.arg["deleted"])
	if a, ok := c.s.dir.Applications.Get(v, id); ok && restorable(a.DeletedDateTime, v.Now()) {
		return a, p, nil
	}
	if p, ok := c.s.dir.ServicePrincipals.Get(v, id); ok && restorable(p.DeletedDateTime, v.Now()) {
		return a, p, nil
	}
	return a, p, notFound(c.arg["deleted"])
}

func (c *call) deletedItem(v replica.View) (subject, error) {
	if d, ok := c.deletedUser(v); ok {
		if c.act = (*call).restoreUser; c.r.Method == http.MethodDelete {
			c.act = (*call).purgeUser
		}
		return c.userSubject(v, d.User), nil
	}
	a, p, err := c.findDeleted(v)
	owners := append(append([]string{}, a.Owners...), p.Owners...)
	if p.Agent == directory.AgentIdentity {
		owners = c.childOf(owners, p.BlueprintID)
	}
	return subject{owners: owners, agent: cmp.Or(a.Agent, p.Agent)}, err
}

func (c *call) getDeleted(v replica.View) error {
	if d, ok := c.deletedUser(v); ok {
		return c.one("directoryObjects", encodeDeletedUser(d))
	}
	a, p, err := c.findDeleted(v)
	if err != nil {
		return err
	}
	return c.one("directoryObjects", c.s.encodeDeleted(a, p))
}

func (s *Service) encodeDeleted(a directory.Application, p directory.ServicePrincipal) object {
	if a.ID != "" {
		o := s.encodeApplication(a, false)
		annotate(cmp.Or(a.Agent, "application"), o)
		return o
	}
	o := s.encodeServicePrincipal(p, false)
	annotate(cmp.Or(p.Agent, "servicePrincipal"), o)
	return o
}

// restore takes an object out of the recycle bin; an application brings its service principal of this tenant along (Microsoft,
// "Recover deleted applications FAQs"). Grants do not come back.
func (c *call) restore() error {
	var answer object
	err := c.write(func(tx replica.Tx) error {
		a, p, err := c.findDeleted(tx.View)
		if err != nil {
			return err
		}
		if a.ID != "" {
			for _, uri := range a.IdentifierURIs { // somebody may have taken one in the meantime
				if c.s.identified(tx.View, uri, a.AppID) {
					return sameIdentifier()
				}
			}
			deleted := *a.DeletedDateTime
			a.DeletedDateTime = nil
			c.s.dir.Applications.Put(tx, a.ID, a)
			for _, p := range c.s.dir.ServicePrincipals.By(tx.View, "appId", a.AppID) {
				if _, taken := c.s.principalOf(tx.View, a.AppID); !taken && p.DeletedDateTime != nil && p.DeletedDateTime.Equal(deleted) {
					p.DeletedDateTime = nil
					c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
				}
			}
			answer = c.s.encodeDeleted(a, p)
			return nil
		}
		if _, taken := c.s.principalOf(tx.View, p.AppID); taken {
			return principalTaken(p.AppID)
		}
		if p.AppOwnerOrganizationID == c.s.dir.Tenant.ID && p.ServicePrincipalType == "Application" {
			if _, err := c.findApplication(tx.View, p.AppID, "appid"); err != nil {
				return noBackingApplication(p.AppID)
			}
		}
		p.DeletedDateTime = nil
		c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		answer = c.s.encodeDeleted(a, p)
		return nil
	})
	if err == nil {
		c.ok(answer, "directoryObjects/$entity")
	}
	return err
}

// purge deletes an object for good. The service principal of a purged application stays in the recycle bin until it is purged itself.
func (c *call) purge() error {
	err := c.write(func(tx replica.Tx) error {
		a, p, err := c.findDeleted(tx.View)
		if err != nil {
			return err
		}
		for _, f := range c.s.dir.FederatedCredentials.By(tx.View, "parent", a.ID+p.ID) {
			c.s.dir.FederatedCredentials.Delete(tx, f.ID)
		}
		if a.ID != "" {
			c.s.dir.Applications.Delete(tx, a.ID)
			return nil
		}
		for _, m := range c.s.dir.RoleMembers.By(tx.View, "principal", p.ID) {
			c.s.dir.RoleMembers.Delete(tx, m.ID)
		}
		c.s.dir.ServicePrincipals.Delete(tx, p.ID)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
