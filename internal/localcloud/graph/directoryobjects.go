package graph

import (
	"iter"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func directoryObjectRoutes() []route {
	return []route{
		{method: "POST", segments: path("directoryObjects/getByIds"), op: "directoryObject.read", look: (*call).getByIDs},
		{method: "GET", segments: path("directoryObjects/{id}"), op: "directoryObject.read", look: (*call).getDirectoryObject},
		{method: "GET", segments: path("servicePrincipals/{id}/memberOf"), op: "servicePrincipal.read", look: (*call).listMemberOf},
		{method: "GET", segments: path("servicePrincipals/{id}/transitiveMemberOf"), op: "servicePrincipal.read", look: (*call).listTransitiveMemberOf},
		{method: "GET", segments: path("servicePrincipals/{id}/ownedObjects"), op: "servicePrincipal.read", look: (*call).listOwnedObjects},
		{method: "GET", segments: path("servicePrincipals/{id}/createdObjects"), op: "servicePrincipal.read", look: (*call).listCreatedObjects},
		{method: "GET", segments: path("users/{id}/memberOf"), op: "user.read", look: (*call).listMemberOf},
		{method: "GET", segments: path("users/{id}/transitiveMemberOf"), op: "user.read", look: (*call).listTransitiveMemberOf},
		{method: "GET", segments: path("users/{id}/ownedObjects"), op: "user.read", look: (*call).listOwnedObjects},
	}
}

// directoryObject writes the object of an id with its type, whatever it is.
func (s *Service) directoryObject(v replica.View, id string) (object, bool) {
	write := func(kind string, o object) (object, bool) {
		if o["@odata.type"] == nil { // a type of Agent ID is there already
			o["@odata.type"] = "#microsoft.graph." + kind
		}
		return o, true
	}
	if a, ok := s.dir.Applications.Get(v, id); ok && a.Live() {
		return write("application", s.encodeApplication(a, false))
	}
	if p, ok := s.dir.ServicePrincipals.Get(v, id); ok && p.Live() {
		return write("servicePrincipal", s.encodeServicePrincipal(p, false))
	}
	if u, ok := s.dir.Users.Get(v, id); ok {
		return write("user", encodeUser(u))
	}
	if g, ok := s.dir.Groups.Get(v, id); ok {
		return write("group", encodeGroup(g))
	}
	for _, r := range builtInRoles {
		if r.id == id {
			return write("directoryRole", r.encode())
		}
	}
	return nil, false
}

// objects are the directory objects of the ids, without those that are gone.
func (s *Service) objects(v replica.View, ids []string) iter.Seq[row] {
	return func(yield func(row) bool) {
		for _, id := range ids {
			if o, ok := s.directoryObject(v, id); ok && !yield(row{id, func() object { return o }}) {
				return
			}
		}
	}
}

// maxExpanded is how many objects $expand gives at most (Microsoft Graph, "Customize Microsoft Graph responses with query parameters").
const maxExpanded = 20

// expanded are the first of the objects as a list, for $expand.
func (s *Service) expanded(v replica.View, ids []string) []object {
	list := []object{}
	for r := range s.objects(v, ids) {
		if len(list) == maxExpanded {
			break
		}
		list = append(list, r.object())
	}
	return list
}

func (c *call) getDirectoryObject(v replica.View) error {
	o, ok := c.s.directoryObject(v, strings.ToLower(c.arg["id"]))
	if !ok {
		return notFound(c.arg["id"])
	}
	return c.one("directoryObjects", o)
}

// getByIDs answers the objects of up to 1000 ids; unknown ones are left out silently.
func (c *call) getByIDs(v replica.View) error {
	var in struct {
		IDs   []string `json:"ids"`
		Types []string `json:"types"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if len(in.IDs) == 0 || len(in.IDs) > 1000 {
		return badRequest("Invalid number of ids: between 1 and 1000 are needed.")
	}
	value := []object{}
	for _, id := range in.IDs {
		o, ok := c.s.directoryObject(v, strings.ToLower(id))
		if !ok {
			continue
		}
		kind := strings.TrimPrefix(o["@odata.type"].(string), "#microsoft.graph.")
		if len(in.Types) == 0 || slices.ContainsFunc(in.Types, func(t string) bool { return strings.EqualFold(t, kind) || strings.EqualFold(t, "directoryObject") }) {
			shaped, err := c.shape("directoryObjects", o)
			if err != nil {
				return err
			}
			value = append(value, shaped)
		}
	}
	c.ok(object{"value": value}, "directoryObjects")
	return nil
}

// principal is the id of the user or service principal of the path.
func (c *call) principal(v replica.View) (string, error) {
	if c.sp.ID != "" {
		return c.sp.ID, nil
	}
	u, err := c.findUser(v, c.arg["id"])
	return u.ID, err
}

func (c *call) listMemberOf(v replica.View) error {
	id, err := c.principal(v)
	if err != nil {
		return err
	}
	var groups []string
	for _, g := range c.s.dir.Groups.By(v, "member", id) {
		groups = append(groups, g.ID)
	}
	return c.listMemberships(v, groups, []string{id})
}

func (c *call) listTransitiveMemberOf(v replica.View) error {
	id, err := c.principal(v)
	if err != nil {
		return err
	}
	groups := c.s.dir.GroupsOf(v, id)
	return c.listMemberships(v, groups, append([]string{id}, groups...))
}

// listMemberships lists the groups, and the directory roles held by any of holders.
func (c *call) listMemberships(v replica.View, groups, holders []string) error {
	ids := slices.Clone(groups)
	for _, holder := range holders {
		for _, m := range c.s.dir.RoleMembers.By(v, "principal", holder) {
			if r, ok := roleByTemplate(m.Template); ok && !slices.Contains(ids, r.id) {
				ids = append(ids, r.id)
			}
		}
	}
	return c.list("directoryObjects", c.s.objects(v, ids))
}

func (c *call) listOwnedObjects(v replica.View) error {
	id, err := c.principal(v)
	if err != nil {
		return err
	}
	var ids []string
	for _, a := range c.s.dir.Applications.By(v, "owner", id) {
		ids = append(ids, a.ID)
	}
	for _, p := range c.s.dir.ServicePrincipals.By(v, "owner", id) {
		ids = append(ids, p.ID)
	}
	return c.list("directoryObjects", c.s.objects(v, ids))
}

// listCreatedObjects lists the applications that the service principal's application has created.
func (c *call) listCreatedObjects(v replica.View) error {
	var ids []string
	for _, a := range c.s.dir.Applications.By(v, "createdBy", c.sp.AppID) {
		ids = append(ids, a.ID) // one in the recycle bin is left out by the listing
	}
	return c.list("directoryObjects", c.s.objects(v, ids))
}
