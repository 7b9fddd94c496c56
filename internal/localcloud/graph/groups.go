package graph

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func groupRoutes() []route {
	return []route{
		{method: "GET", segments: path("groups"), op: "group.read", look: (*call).listGroups},
		{method: "GET", segments: path("groups/$count"), op: "group.read", look: (*call).countGroups},
		{method: "POST", segments: path("groups"), op: "group.create", look: (*call).lookNewGroup, do: (*call).createGroup},
		{method: "GET", segments: path("groups/{group}"), op: "group.read", look: (*call).getGroup},
		{method: "DELETE", segments: path("groups/{group}"), op: "group.delete", look: (*call).lookMembers, do: (*call).deleteGroup},
		{method: "GET", segments: path("groups/{group}/members"), op: "group.read", look: (*call).listMembers},
		{method: "POST", segments: path("groups/{group}/members/$ref"), op: "group.members", look: (*call).lookMembers, do: (*call).addMember},
		{method: "DELETE", segments: path("groups/{group}/members/{member}/$ref"), op: "group.members", look: (*call).lookMembers, do: (*call).removeMember},
	}
}

func everyGroup(directory.Group) bool { return true }

func (c *call) groups(v replica.View) iter.Seq[row] {
	id := func(g directory.Group) string { return g.ID }
	return rows(lookup(v, c.query.Filter, c.s.dir.Groups, id, everyGroup, []index{{"displayName", "displayName", true}}), id, encodeGroup)
}

func (c *call) listGroups(v replica.View) error  { return c.list("groups", c.groups(v)) }
func (c *call) countGroups(v replica.View) error { return c.count("groups", c.groups(v)) }

func (c *call) findGroup(v replica.View) (directory.Group, error) {
	g, ok := c.s.dir.Groups.Get(v, strings.ToLower(c.arg["group"]))
	if !ok {
		return g, notFound(c.arg["group"])
	}
	return g, nil
}

// lookMembers finds the group whose members are to be changed. Who may change the members of a group that can hold directory roles gives
// out roles, and needs the right to (Microsoft Graph, "Add members": RoleManagement.ReadWrite.Directory).
func (c *call) lookMembers(v replica.View) error {
	g, err := c.findGroup(v)
	if err != nil || !g.IsAssignableToRole {
		return err
	}
	return c.allow(v, "group.roles", subject{})
}

func (c *call) lookNewGroup(v replica.View) error {
	var in struct {
		Assignable bool `json:"isAssignableToRole"`
	}
	if err := c.decode(&in); err != nil || !in.Assignable {
		return err
	}
	return c.allow(v, "group.roles", subject{})
}

func (c *call) getGroup(v replica.View) error {
	g, err := c.findGroup(v)
	if err != nil {
		return err
	}
	return c.one("groups", encodeGroup(g))
}

func (c *call) listMembers(v replica.View) error {
	g, err := c.findGroup(v)
	if err != nil {
		return err
	}
	return c.list("directoryObjects", c.s.objects(v, g.Members))
}

// createGroup makes a security group; other kinds of group do not exist here.
func (c *call) createGroup() error {
	var in struct {
		DisplayName     string   `json:"displayName"`
		MailEnabled     *bool    `json:"mailEnabled"`
		MailNickname    string   `json:"mailNickname"`
		SecurityEnabled *bool    `json:"securityEnabled"`
		Members         []string `json:"members@odata.bind"`
		Assignable      bool     `json:"isAssignableToRole"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	switch {
	case in.DisplayName == "":
		return missing("displayName", "Group")
	case in.MailNickname == "":
		return missing("mailNickname", "Group")
	case in.MailEnabled == nil || *in.MailEnabled || in.SecurityEnabled == nil || !*in.SecurityEnabled:
		return badRequest("This local cloud has security groups only: securityEnabled is true and mailEnabled is false.")
	}
	g := directory.Group{ID: c.s.env.NewID(), DisplayName: in.DisplayName, MailNickname: in.MailNickname, IsAssignableToRole: in.Assignable}
	err := c.write(func(tx replica.Tx) error {
		g.CreatedDateTime = tx.Now().UTC().Truncate(time.Second)
		for _, member := range in.Members {
			id := reference(member)
			if err := c.s.memberFits(tx.View, g, id); err != nil {
				return err
			}
			g.Members = append(g.Members, id)
		}
		c.s.dir.Groups.Put(tx, g.ID, g)
		return nil
	})
	if err != nil {
		return err
	}
	c.created("groups/"+g.ID, encodeGroup(g), "groups/$entity")
	return nil
}

func (c *call) addMember() error {
	id, err := c.referenced()
	if err != nil {
		return err
	}
	return c.changeMembers(func(v replica.View, g directory.Group) ([]string, error) {
		if slices.Contains(g.Members, id) {
			return nil, badRequest("One or more added object references already exist for the following modified properties: 'members'.")
		}
		if err := c.s.memberFits(v, g, id); err != nil {
			return nil, err
		}
		return append(slices.Clone(g.Members), id), nil
	})
}

// memberFits refuses what is not there, and a group in a group that can hold directory roles (Microsoft, "Use Microsoft Entra groups to
// manage role assignments").
func (s *Service) memberFits(v replica.View, g directory.Group, id string) error {
	if g.IsAssignableToRole && s.isAgent(v, id) {
		return badRequest("An agent cannot be a member of a group that can be assigned to a role.")
	}
	switch s.dir.PrincipalType(v, id) {
	case "":
		return notFound(id)
	case "Group":
		if g.IsAssignableToRole {
			return badRequest("Nesting is currently not supported for groups that can be assigned to a role.")
		}
	}
	return nil
}

func (c *call) removeMember() error {
	return c.changeMembers(func(_ replica.View, g directory.Group) ([]string, error) {
		i := slices.Index(g.Members, reference(c.arg["member"]))
		if i < 0 {
			return nil, badRequest("One or more removed object references do not exist for the following modified properties: 'members'.")
		}
		return slices.Delete(slices.Clone(g.Members), i, i+1), nil
	})
}

func (c *call) changeMembers(change func(v replica.View, g directory.Group) ([]string, error)) error {
	err := c.write(func(tx replica.Tx) error {
		g, err := c.findGroup(tx.View)
		if err != nil {
			return err
		}
		if g.Members, err = change(tx.View, g); err == nil {
			c.s.dir.Groups.Put(tx, g.ID, g)
		}
		return err
	})
	if err == nil {
		c.done()
	}
	return err
}
