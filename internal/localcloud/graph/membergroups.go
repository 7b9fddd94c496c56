package graph

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// maxCheckedGroups is how many groups one checkMemberGroups may name (Microsoft Graph, "directoryObject: checkMemberGroups").
const maxCheckedGroups = 20

func memberGroupRoutes() []route {
	var all []route
	for _, of := range []struct {
		path string
		op   operation
	}{{"directoryObjects", "directoryObject.read"}, {"users", "user.read"}, {"servicePrincipals", "servicePrincipal.read"}} {
		all = append(all,
			route{method: "POST", segments: path(of.path + "/{id}/checkMemberGroups"), op: of.op, look: (*call).checkMemberGroups},
			route{method: "POST", segments: path(of.path + "/{id}/getMemberGroups"), op: of.op, look: (*call).getMemberGroups},
		)
	}
	return all
}

// memberGroups are the groups that the object of the path is in, through other groups too.
func (c *call) memberGroups(v replica.View) ([]string, error) {
	id := strings.ToLower(c.arg["id"])
	if _, ok := c.s.directoryObject(v, id); !ok {
		var err error
		if id, err = c.principal(v); err != nil { // a user's name
			return nil, err
		}
	}
	return c.s.dir.GroupsOf(v, id), nil
}

// checkMemberGroups answers those of the groups asked for that the object is in. az ad group member check asks so.
func (c *call) checkMemberGroups(v replica.View) error {
	var in struct {
		GroupIDs []string `json:"groupIds"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if len(in.GroupIDs) == 0 || len(in.GroupIDs) > maxCheckedGroups {
		return badRequest("Invalid number of groupIds: between 1 and 20 are needed.")
	}
	groups, err := c.memberGroups(v)
	if err != nil {
		return err
	}
	c.texts(slices.DeleteFunc(in.GroupIDs, func(id string) bool { return !slices.Contains(groups, strings.ToLower(id)) }))
	return nil
}

// getMemberGroups answers every group. All groups here are security groups, so that securityEnabledOnly leaves none out.
func (c *call) getMemberGroups(v replica.View) error {
	var in struct {
		SecurityEnabledOnly *bool `json:"securityEnabledOnly"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	groups, err := c.memberGroups(v)
	if err != nil {
		return err
	}
	c.texts(groups)
	return nil
}

// texts answers a list of ids.
func (c *call) texts(list []string) {
	if list == nil {
		list = []string{}
	}
	c.ok(object{"value": list}, "Collection(Edm.String)")
}

// deleteGroup deletes a security group for good, with all that names it (Microsoft Graph, "Delete group": only Microsoft 365 groups can
// be restored).
func (c *call) deleteGroup() error {
	err := c.write(func(tx replica.Tx) error {
		g, err := c.findGroup(tx.View)
		if err != nil {
			return err
		}
		for _, above := range c.s.dir.Groups.By(tx.View, "member", g.ID) {
			above.Members = slices.DeleteFunc(slices.Clone(above.Members), func(id string) bool { return id == g.ID })
			c.s.dir.Groups.Put(tx, above.ID, above)
		}
		for _, m := range c.s.dir.RoleMembers.By(tx.View, "principal", g.ID) {
			c.s.dir.RoleMembers.Delete(tx, m.ID)
		}
		for _, a := range c.s.dir.AppRoleAssignments.By(tx.View, "principal", g.ID) {
			c.s.dir.AppRoleAssignments.Delete(tx, a.ID)
		}
		c.s.dir.Groups.Delete(tx, g.ID)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
