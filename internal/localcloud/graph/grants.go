package graph

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func grantRoutes() []route {
	return []route{
		{method: "GET", segments: path("oauth2PermissionGrants"), op: "grant.read", look: (*call).listGrants},
		{method: "POST", segments: path("oauth2PermissionGrants"), op: "grant.write", do: (*call).createGrant},
		{method: "GET", segments: path("oauth2PermissionGrants/{grant}"), op: "grant.read", look: (*call).getGrant},
		{method: "PATCH", segments: path("oauth2PermissionGrants/{grant}"), op: "grant.write", look: (*call).lookGrant, do: (*call).updateGrant},
		{method: "DELETE", segments: path("oauth2PermissionGrants/{grant}"), op: "grant.write", look: (*call).lookGrant, do: (*call).deleteGrant},
		{method: "GET", segments: path("servicePrincipals/{id}/oauth2PermissionGrants"), op: "grant.read", look: (*call).listGrantsOfClient},
	}
}

func encodeGrant(g directory.PermissionGrant) object {
	return object{"id": g.ID, "clientId": g.ClientID, "consentType": g.ConsentType, "principalId": pointer(g.PrincipalID), "resourceId": g.ResourceID, "scope": g.Scope}
}

func grantID(g directory.PermissionGrant) string { return g.ID }

func everyGrant(directory.PermissionGrant) bool { return true }

func (c *call) listGrants(v replica.View) error {
	found := lookup(v, c.query.Filter, c.s.dir.PermissionGrants, grantID, everyGrant, []index{{"clientId", "client", true}, {"resourceId", "resource", true}})
	return c.list("oauth2PermissionGrants", rows(found, grantID, encodeGrant))
}

func (c *call) listGrantsOfClient(v replica.View) error {
	return c.list("oauth2PermissionGrants", rows(slices.Values(c.s.dir.PermissionGrants.By(v, "client", c.sp.ID)), grantID, encodeGrant))
}

func (c *call) getGrant(v replica.View) error {
	g, ok := c.s.dir.PermissionGrants.Get(v, c.arg["grant"])
	if !ok {
		return notFound(c.arg["grant"])
	}
	return c.one("oauth2PermissionGrants", encodeGrant(g))
}

// lookGrant asks the replica whether the grant is there.
func (c *call) lookGrant(v replica.View) error {
	if _, ok := c.s.dir.PermissionGrants.Get(v, c.arg["grant"]); !ok {
		return notFound(c.arg["grant"])
	}
	return nil
}

func (c *call) createGrant() error {
	var in struct {
		ClientID    string  `json:"clientId"`
		ConsentType string  `json:"consentType"`
		PrincipalID *string `json:"principalId"`
		ResourceID  string  `json:"resourceId"`
		Scope       string  `json:"scope"`
		ExpiryTime  *string `json:"expiryTime"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if c.version == "beta" && in.ExpiryTime == nil {
		return missing("expiryTime", "OAuth2PermissionGrant")
	}
	if in.PrincipalID != nil && *in.PrincipalID == "" {
		in.PrincipalID = nil
	}
	g := directory.PermissionGrant{
		ClientID: strings.ToLower(in.ClientID), ConsentType: in.ConsentType, PrincipalID: in.PrincipalID, ResourceID: strings.ToLower(in.ResourceID), Scope: scopes(in.Scope),
	}
	if g.ConsentType != "AllPrincipals" && g.ConsentType != "Principal" || (g.ConsentType == "Principal") != (g.PrincipalID != nil) {
		return invalid("consentType", "OAuth2PermissionGrant")
	}
	g.ID = base64.RawURLEncoding.EncodeToString(c.s.env.Random(32))
	err := c.write(func(tx replica.Tx) error {
		for _, id := range []string{g.ClientID, g.ResourceID} {
			if _, err := get(tx, c.s.dir.ServicePrincipals, id, directory.ServicePrincipal.Live); err != nil {
				return err
			}
		}
		if g.PrincipalID != nil && c.s.dir.PrincipalType(tx.View, *g.PrincipalID) != "User" {
			return notFound(*g.PrincipalID)
		}
		if err := c.s.grantable(tx.View, g); err != nil {
			return err
		}
		if slices.ContainsFunc(c.s.dir.PermissionGrants.By(tx.View, "client", g.ClientID), func(h directory.PermissionGrant) bool { return sameGrant(g, h) }) {
			return clash(http.StatusConflict, "Permission entry already exists.")
		}
		c.s.dir.PermissionGrants.Put(tx, g.ID, g)
		return nil
	})
	if err != nil {
		return err
	}
	c.created("oauth2PermissionGrants/"+g.ID, encodeGrant(g), "oauth2PermissionGrants/$entity")
	return nil
}

func sameGrant(a, b directory.PermissionGrant) bool {
	same := a.PrincipalID == nil && b.PrincipalID == nil || a.PrincipalID != nil && b.PrincipalID != nil && *a.PrincipalID == *b.PrincipalID
	return same && a.ClientID == b.ClientID && a.ResourceID == b.ResourceID && a.ConsentType == b.ConsentType
}

// scopes writes a list of scopes with single spaces.
func scopes(text string) string { return strings.Join(strings.Fields(text), " ") }

func (c *call) updateGrant() error {
	var in struct {
		Scope *string `json:"scope"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if in.Scope == nil {
		return missing("scope", "OAuth2PermissionGrant")
	}
	err := c.write(func(tx replica.Tx) error {
		g, ok := c.s.dir.PermissionGrants.Get(tx.View, c.arg["grant"])
		if !ok {
			return notFound(c.arg["grant"])
		}
		g.Scope = scopes(*in.Scope)
		if err := c.s.grantable(tx.View, g); err != nil {
			return err
		}
		c.s.dir.PermissionGrants.Put(tx, g.ID, g)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) deleteGrant() error {
	err := c.write(func(tx replica.Tx) error {
		if _, ok := c.s.dir.PermissionGrants.Get(tx.View, c.arg["grant"]); !ok {
			return notFound(c.arg["grant"])
		}
		c.s.dir.PermissionGrants.Delete(tx, c.arg["grant"])
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
