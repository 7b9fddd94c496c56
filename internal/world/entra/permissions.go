package entra

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// AppRoles are the application permissions that a resource, such as Microsoft Graph, offers in this tenant, with the object id of its
// service principal. The ids are looked up, never taken from a table: what is granted is what the tenant offers under that name.
func (c *Client) AppRoles(ctx context.Context, resourceAppID string) (principalID string, roles []provisioner.AppRole, err error) {
	var answer struct {
		ID    string `json:"id"`
		Roles []struct {
			ID      string   `json:"id"`
			Value   *string  `json:"value"`
			Enabled bool     `json:"isEnabled"`
			Members []string `json:"allowedMemberTypes"`
		} `json:"appRoles"`
	}
	op := "read what resource " + resourceAppID + " offers"
	if _, err := c.do(ctx, call{op: op, need: reading(), method: http.MethodGet, path: keyed("servicePrincipals", "appId", resourceAppID), query: url.Values{"$select": {"id,appRoles"}}, out: &answer}); err != nil {
		return "", nil, err
	}
	if !agent.IsGUID(answer.ID) {
		return "", nil, fault.New(fault.Unknown, op+": the answer is not a service principal", "check --cloud and the proxy")
	}
	for _, r := range answer.Roles {
		if r.Value != nil && *r.Value != "" && slices.Contains(r.Members, "Application") {
			roles = append(roles, provisioner.AppRole{ID: r.ID, Value: *r.Value, Enabled: r.Enabled})
		}
	}
	return answer.ID, roles, nil
}

// requirement is an entry of requiredResourceAccess.
type requirement struct {
	Resource string   `json:"resourceAppId"`
	Access   []access `json:"resourceAccess"`
}

type access struct {
	ID   string `json:"id"`
	Type string `json:"type"` // Role or Scope
}

func (c *Client) required(ctx context.Context, objectID string) ([]requirement, error) {
	path, err := object("applications", objectID)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Required *[]requirement `json:"requiredResourceAccess"`
	}
	op := "read the declared permissions of application " + objectID
	if _, err := c.do(ctx, call{op: op, need: reading(), method: http.MethodGet, path: path, query: url.Values{"$select": {"requiredResourceAccess"}}, out: &answer}); err != nil {
		return nil, err
	}
	if answer.Required == nil { // written back, an empty list would remove what is declared
		return nil, fault.New(fault.Unknown, op+": the answer does not hold them", "check --cloud and the proxy")
	}
	return *answer.Required, nil
}

// Declared are the ids of the application permissions of a resource that the application declares to need.
func (c *Client) Declared(ctx context.Context, objectID, resourceAppID string) ([]string, error) {
	all, err := c.required(ctx, objectID)
	var ids []string
	for _, r := range all {
		for _, a := range r.Access {
			if strings.EqualFold(r.Resource, resourceAppID) && a.Type == "Role" {
				ids = append(ids, a.ID)
			}
		}
	}
	return ids, err
}

// Declare adds application permissions of a resource to what the application declares. Graph replaces the whole list, so everything that
// is there is sent back as it was.
func (c *Client) Declare(ctx context.Context, objectID, resourceAppID string, roleIDs []string) error {
	all, err := c.required(ctx, objectID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(r requirement) bool { return strings.EqualFold(r.Resource, resourceAppID) })
	if i < 0 {
		i, all = len(all), append(all, requirement{Resource: resourceAppID})
	}
	for _, id := range roleIDs {
		if !slices.ContainsFunc(all[i].Access, func(a access) bool { return strings.EqualFold(a.ID, id) && a.Type == "Role" }) {
			all[i].Access = append(all[i].Access, access{id, "Role"})
		}
	}
	path, err := object("applications", objectID)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: "declare permissions of application " + objectID, need: writing(), method: http.MethodPatch, path: path, body: struct {
		Required []requirement `json:"requiredResourceAccess"`
	}{all}})
	return err
}

// Granted lists the permissions of one resource that a service principal holds.
func (c *Client) Granted(ctx context.Context, principalID, resourceID string) ([]provisioner.Grant, error) {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return nil, err
	}
	var all []provisioner.Grant
	k := call{op: "read the permissions of service principal " + principalID, need: reading(), method: http.MethodGet, path: path + "/appRoleAssignments", query: url.Values{"$top": {"100"}}}
	err = pages(ctx, c, k, func(g struct {
		ID       string `json:"id"`
		Role     string `json:"appRoleId"`
		Resource string `json:"resourceId"`
	}) error {
		if g.ID == "" || g.Role == "" || g.Resource == "" {
			return fault.New(fault.Unknown, k.op+": the answer holds an unreadable one", "check --cloud and the proxy")
		}
		if strings.EqualFold(g.Resource, resourceID) {
			all = append(all, provisioner.Grant{ID: g.ID, RoleID: g.Role})
		}
		return nil
	})
	return all, err
}

// GrantRole gives a service principal one permission of a resource: what an administrator's consent does. One that it has already, which
// Graph refuses, is a success once a read shows it. fault.NotFound: a replica does not know the service principal, or the grant, yet.
func (c *Client) GrantRole(ctx context.Context, principalID, resourceID, roleID string) error {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: "grant permission " + roleID + " to service principal " + principalID, need: consenting(), method: http.MethodPost, path: path + "/appRoleAssignments", body: struct {
		Principal string `json:"principalId"`
		Resource  string `json:"resourceId"`
		Role      string `json:"appRoleId"`
	}{principalID, resourceID, roleID}})
	if !fault.Is(err, fault.Conflict) {
		return err
	}
	have, rerr := c.Granted(ctx, principalID, resourceID)
	if rerr != nil {
		return rerr
	}
	if slices.ContainsFunc(have, func(g provisioner.Grant) bool { return strings.EqualFold(g.RoleID, roleID) }) {
		return nil
	}
	return &fault.Error{Code: fault.NotFound, Op: "read the permission that is there already", Err: err}
}

// The directory roles, by template id, whose holders may remove credentials of any application (Microsoft Entra, "Built-in roles").
const (
	globalAdministrator           = "62e90394-69f5-4237-9190-012177145e10"
	applicationAdministrator      = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
	cloudApplicationAdministrator = "158c047a-c907-4556-b7ef-446551a6b5f7"
)

// Rights tells whether the caller may remove the application's credentials, without trying: by the directory roles of a person and by
// ownership. Where that cannot be read it is not known, which is no error: the attempt itself will tell, and can be taken back.
func (c *Client) Rights(ctx context.Context, app agent.Application) (provisioner.Rights, error) {
	var me struct {
		ID string `json:"id"`
	}
	if _, err := c.do(ctx, call{op: "read who the operator is", need: reading(), method: http.MethodGet, path: "/me", query: url.Values{"$select": {"id"}}, out: &me}); err != nil {
		if ctx.Err() != nil || fault.Is(err, fault.Throttled, fault.Unavailable) {
			return provisioner.Rights{}, err
		}
		return provisioner.Rights{Detail: "the operator is no person: " + err.Error()}, nil
	}
	if slices.ContainsFunc(app.Owners, func(o agent.Owner) bool { return strings.EqualFold(o.ID, me.ID) }) {
		return provisioner.Rights{Known: true, Enough: true, Detail: "the operator owns the application"}, nil
	}
	var roles []string
	groups := false
	k := call{op: "read the operator's directory roles", need: reading(), method: http.MethodGet, path: "/me/memberOf", query: url.Values{"$top": {"100"}}}
	err := pages(ctx, c, k, func(raw json.RawMessage) error {
		var r struct {
			Type     string `json:"@odata.type"`
			Template string `json:"roleTemplateId"`
			Name     string `json:"displayName"`
		}
		if json.Unmarshal(raw, &r) != nil || r.Type != "#microsoft.graph.directoryRole" {
			groups = true
			return nil
		}
		roles = append(roles, strings.ToLower(r.Template))
		return nil
	})
	if err != nil {
		if ctx.Err() != nil || fault.Is(err, fault.Throttled, fault.Unavailable) {
			return provisioner.Rights{}, err
		}
		return provisioner.Rights{Detail: err.Error()}, nil
	}
	for _, may := range []struct{ id, name string }{{globalAdministrator, "Global Administrator"}, {applicationAdministrator, "Application Administrator"}, {cloudApplicationAdministrator, "Cloud Application Administrator"}} {
		if slices.Contains(roles, may.id) {
			return provisioner.Rights{Known: true, Enough: true, Detail: "directory role " + may.name}, nil
		}
	}
	if len(roles) > 0 || groups { // a custom role may allow it too, and so may a role that a group holds
		return provisioner.Rights{Detail: "none of the operator's own directory roles is known to allow it"}, nil
	}
	return provisioner.Rights{Known: true, Detail: "the operator has no directory role, is in no group and does not own the application"}, nil
}
