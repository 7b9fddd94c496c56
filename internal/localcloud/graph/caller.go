package graph

import (
	"net/http"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// caller is whom the access token stands for.
type caller struct {
	app         bool     // an application without a user
	id          string   // object id of the service principal or user
	client      string   // app id of the client
	permissions []string // roles of an application's token, scopes of a user's
}

// identify verifies the access token. The caller is looked up on the primary: Graph answers Authorization_IdentityNotFound for a
// principal that is gone, and nothing is known of that answer lagging behind a token that was issued.
func (c *call) identify() error {
	claims, err := c.s.env.Auth.Verify(c.r.Header.Get("Authorization"), "https://graph.microsoft.com", directory.GraphAppID, c.s.env.Endpoints().Graph)
	if err != nil {
		return unauthorized(err)
	}
	c.who = caller{app: claims.App(), id: claims.ObjectID, client: claims.Client(), permissions: claims.Scopes()}
	if c.who.app {
		c.who.permissions = claims.Roles
	}
	known := false
	c.s.dir.Store.Primary(func(v replica.View) {
		if c.who.app {
			p, ok := c.s.dir.ServicePrincipals.Get(v, c.who.id)
			known = ok && p.Live()
		} else {
			_, known = c.s.dir.Users.Get(v, c.who.id)
		}
	})
	if !known {
		return &problem{status: http.StatusForbidden, code: "Authorization_IdentityNotFound", message: "The identity of the calling application could not be established."}
	}
	return nil
}
