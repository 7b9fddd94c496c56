package entra

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Principal reads the service principal of a client id. fault.NotFound: Graph answered that there is none.
func (c *Client) Principal(ctx context.Context, appID string) (agent.Principal, error) {
	return c.principal(ctx, call{op: "read service principal of " + appID, need: reading(), method: http.MethodGet, path: keyed("servicePrincipals", "appId", appID), query: url.Values{"$select": {principalFields}}})
}

// PrincipalByID reads a service principal by its object id.
func (c *Client) PrincipalByID(ctx context.Context, principalID string) (agent.Principal, error) {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return agent.Principal{}, err
	}
	return c.principal(ctx, call{op: "read service principal " + principalID, need: reading(), method: http.MethodGet, path: path, query: url.Values{"$select": {principalFields}}})
}

// CreatePrincipal makes the service principal of an application. fault.Conflict: it has one. fault.NotFound: the replica that was asked
// does not know the application yet.
func (c *Client) CreatePrincipal(ctx context.Context, appID string) (agent.Principal, error) {
	return c.principal(ctx, call{op: "create service principal of " + appID, need: writing(), method: http.MethodPost, path: "/servicePrincipals", body: struct {
		AppID string `json:"appId"`
	}{appID}})
}

func (c *Client) principal(ctx context.Context, k call) (agent.Principal, error) {
	var p principal
	k.out = &p
	if _, err := c.do(ctx, k); err != nil {
		return agent.Principal{}, err
	}
	d, err := p.domain()
	if err != nil {
		return agent.Principal{}, &fault.Error{Code: fault.CodeOf(err), Op: k.op, Err: err}
	}
	return d, nil
}

// SetEnabled lets a service principal log in, or forbids it. Tokens that it already has live on.
func (c *Client) SetEnabled(ctx context.Context, principalID string, enabled bool) error {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return err
	}
	verb := "disable"
	if enabled {
		verb = "enable"
	}
	_, err = c.do(ctx, call{op: verb + " service principal " + principalID, need: writing(), method: http.MethodPatch, path: path, body: struct {
		Enabled bool `json:"accountEnabled"`
	}{enabled}})
	return err
}

// DeletePrincipal puts a service principal in the recycle bin. fault.NotFound: it is gone, or not visible.
func (c *Client) DeletePrincipal(ctx context.Context, principalID string) error {
	return c.delete(ctx, "delete service principal ", "servicePrincipals", principalID)
}

// RemovePassword removes one password credential from an object of applications or servicePrincipals. One that is not there, which
// Graph refuses, is a success once a read confirms it.
func (c *Client) RemovePassword(ctx context.Context, collection, objectID, keyID string) error {
	if collection != "applications" && collection != "servicePrincipals" {
		return fault.New(fault.Invalid, "remove password: not a collection that has passwords", "")
	}
	path, err := object(collection, objectID)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: "remove password " + keyID + " from " + objectID, need: writing(), method: http.MethodPost, path: path + "/removePassword", body: struct {
		KeyID string `json:"keyId"`
	}{keyID}})
	if !fault.Is(err, fault.Invalid) {
		return err
	}
	left, rerr := c.passwords(ctx, collection, objectID)
	if rerr != nil {
		return rerr
	}
	if slices.ContainsFunc(left, func(p agent.Password) bool { return strings.EqualFold(p.KeyID, keyID) }) {
		return err
	}
	return nil
}

func (c *Client) passwords(ctx context.Context, collection, objectID string) ([]agent.Password, error) {
	if collection == "applications" {
		a, err := c.Application(ctx, objectID)
		return a.Passwords, err
	}
	p, err := c.PrincipalByID(ctx, objectID)
	return p.Passwords, err
}

// DeletedItem tells when an object went to the recycle bin. fault.NotFound: it is not there.
func (c *Client) DeletedItem(ctx context.Context, id string) (deleted time.Time, err error) {
	path, err := object("directory/deletedItems", id)
	if err != nil {
		return time.Time{}, err
	}
	var item struct {
		ID      string    `json:"id"`
		Deleted time.Time `json:"deletedDateTime"`
	}
	op := "look for " + id + " in the recycle bin"
	if _, err := c.do(ctx, call{op: op, need: reading(), method: http.MethodGet, path: path, out: &item}); err != nil {
		return time.Time{}, err
	}
	if !strings.EqualFold(item.ID, id) {
		return time.Time{}, fault.New(fault.Unknown, op+": the answer is about something else", "check --cloud and the proxy")
	}
	return item.Deleted, nil
}

// DeletedByUniqueName looks in the recycle bin for the application that holds a unique name, which stays reserved while it lies there. The
// whole bin is read: Graph does not say that deleted items can be filtered by unique name (Microsoft, "List deletedItems").
func (c *Client) DeletedByUniqueName(ctx context.Context, name string) (objectID string, found bool, err error) {
	k := call{op: "look for " + name + " in the recycle bin", need: reading(), method: http.MethodGet, path: "/directory/deletedItems/microsoft.graph.application",
		query: url.Values{"$select": {"id,uniqueName"}, "$top": {"100"}}}
	err = pages(ctx, c, k, func(a struct {
		ID         string `json:"id"`
		UniqueName string `json:"uniqueName"`
	}) error {
		if a.UniqueName == name {
			objectID, found = a.ID, true
		}
		return nil
	})
	return objectID, found, err
}

// Purge removes an object from the recycle bin for good. fault.NotFound: it is not there.
func (c *Client) Purge(ctx context.Context, id string) error {
	return c.delete(ctx, "purge from the recycle bin ", "directory/deletedItems", id)
}
