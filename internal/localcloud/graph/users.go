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
		{method: "POST", segments: path("users"), op: "user.create", subject: (*call).newUser, do: (*call).createUser},
		{method: "GET", segments: path("users/{id}"), op: "user.read", subject: (*call).targetUser, look: (*call).getUser},
		{method: "PATCH", segments: path("users/{id}"), op: "user.write", subject: (*call).targetUser, do: (*call).updateUser},
		{method: "DELETE", segments: path("users/{id}"), op: "user.write", subject: (*call).targetUser, do: (*call).deleteUser},
	}
}

func everyUser(directory.User) bool { return true }

func (c *call) users(v replica.View) iter.Seq[row] {
	id := func(u directory.User) string { return u.ID }
	by := []index{{"userPrincipalName", "upn", true}}
	if c.cast != "" {
		fits := func(u directory.User) bool { return u.Agent == c.cast }
		return rows(ofType(c, v, c.s.dir.Users, id, fits, append(by, index{"identityParentId", "parent", true})), id, encodeUser)
	}
	return rows(lookup(v, c.query.Filter, c.s.dir.Users, id, everyUser, by), id, encodeUser)
}

func (c *call) listUsers(v replica.View) error { return c.list(c.collection("users"), c.users(v)) }

func (c *call) countUsers(v replica.View) error { return c.count(c.collection("users"), c.users(v)) }

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

func (c *call) getUser(replica.View) error { return c.one(c.collection("users"), encodeUser(c.usr)) }
