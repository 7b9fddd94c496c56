package graph

import (
	"iter"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func userRoutes() []route {
	return []route{
		{method: "GET", segments: path("users"), op: "user.read", look: (*call).listUsers},
		{method: "GET", segments: path("users/$count"), op: "user.read", look: (*call).countUsers},
		{method: "GET", segments: path("users/{id}"), op: "user.read", look: (*call).getUser},
	}
}

func everyUser(directory.User) bool { return true }

func (c *call) users(v replica.View) iter.Seq[row] {
	id := func(u directory.User) string { return u.ID }
	return rows(lookup(v, c.query.Filter, c.s.dir.Users, id, everyUser, []index{{"userPrincipalName", "upn", true}}), id, encodeUser)
}

func (c *call) listUsers(v replica.View) error  { return c.list("users", c.users(v)) }
func (c *call) countUsers(v replica.View) error { return c.count("users", c.users(v)) }

// findUser finds a user by object id or user principal name.
func (c *call) findUser(v replica.View, id string) (directory.User, error) {
	if u, ok := c.s.dir.Users.Get(v, strings.ToLower(id)); ok {
		return u, nil
	}
	for _, u := range c.s.dir.Users.By(v, "upn", strings.ToLower(id)) {
		return u, nil
	}
	return directory.User{}, notFound(id)
}

func (c *call) getUser(v replica.View) error {
	u, err := c.findUser(v, c.arg["id"])
	if err != nil {
		return err
	}
	return c.one("users", encodeUser(u))
}
