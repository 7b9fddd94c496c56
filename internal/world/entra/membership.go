package entra

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// PrincipalOwners lists the owners of a service principal. They can add credentials to it, as those of an application can to that.
func (c *Client) PrincipalOwners(ctx context.Context, principalID string) ([]agent.Owner, error) {
	return c.owners(ctx, "read owners of service principal "+principalID, "servicePrincipals", principalID)
}

// roleReading is the right to read assignments of directory roles at any scope.
func roleReading() right { return right{"Directory Readers", "RoleManagement.Read.Directory"} }

// member is a group or a directory role of which something is a member.
type member struct {
	Type     string `json:"@odata.type"`
	ID       string `json:"id"`
	Name     string `json:"displayName"`
	Template string `json:"roleTemplateId"`
}

// Memberships lists what a service principal is in, also through other groups: groups, and directory roles that hold in the whole tenant
// (Microsoft, "List servicePrincipal transitive memberOf"). A role at a smaller scope is not shown there; see [Client.ScopedRoles].
func (c *Client) Memberships(ctx context.Context, principalID string) (agent.Membership, error) {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return agent.Membership{}, err
	}
	var all agent.Membership
	k := call{op: "read what service principal " + principalID + " is a member of", need: reading(), method: http.MethodGet, path: path + "/transitiveMemberOf", query: url.Values{"$top": {"100"}}}
	err = pages(ctx, c, k, func(m member) error {
		switch strings.TrimPrefix(m.Type, "#microsoft.graph.") {
		case "directoryRole":
			all.Roles = append(all.Roles, agent.DirectoryRole{Name: m.Name, Template: m.Template, Scope: "/"})
		case "group":
			all.Groups = append(all.Groups, agent.Group{ID: m.ID, Name: m.Name})
		case "": // nobody could tell what it is, and it may be a role
			return fault.New(fault.Unknown, k.op+": the answer holds something without a type", "check --cloud and the proxy")
		}
		return nil
	})
	return all, err
}

// ScopedRoles lists the directory roles that a service principal holds itself, at any scope: the tenant, an administrative unit, one
// application (Microsoft, "List unifiedRoleAssignments").
func (c *Client) ScopedRoles(ctx context.Context, principalID string) ([]agent.DirectoryRole, error) {
	if !agent.IsGUID(principalID) {
		return nil, fault.New(fault.Invalid, "graph: the object id is not a GUID", "")
	}
	var all []agent.DirectoryRole
	k := call{op: "read the directory roles of " + principalID, need: roleReading(), method: http.MethodGet, path: "/roleManagement/directory/roleAssignments",
		query: url.Values{"$filter": {"principalId eq '" + principalID + "'"}}}
	err := pages(ctx, c, k, func(r struct {
		Principal string `json:"principalId"`
		Role      string `json:"roleDefinitionId"`
		Scope     string `json:"directoryScopeId"`
	}) error {
		if r.Role == "" || !strings.EqualFold(r.Principal, principalID) {
			return fault.New(fault.Unknown, k.op+": the answer is about something else", "check --cloud and the proxy")
		}
		all = append(all, agent.DirectoryRole{Template: r.Role, Scope: r.Scope})
		return nil
	})
	return all, err
}

// RolesOver lists who holds a directory role for one application alone. Application Administrator of an application is as good as an owner
// of it (Microsoft, "Assign Microsoft Entra roles at different scopes").
func (c *Client) RolesOver(ctx context.Context, objectID string) ([]agent.RoleHolder, error) {
	if !agent.IsGUID(objectID) {
		return nil, fault.New(fault.Invalid, "graph: the object id is not a GUID", "")
	}
	var all []agent.RoleHolder
	k := call{op: "read the directory roles over " + objectID, need: roleReading(), method: http.MethodGet, path: "/roleManagement/directory/roleAssignments",
		query: url.Values{"$filter": {"directoryScopeId eq '/" + objectID + "'"}}}
	err := pages(ctx, c, k, func(r struct {
		Principal string `json:"principalId"`
		Role      string `json:"roleDefinitionId"`
		Scope     string `json:"directoryScopeId"`
	}) error {
		if r.Role == "" || r.Principal == "" || !strings.EqualFold(r.Scope, "/"+objectID) {
			return fault.New(fault.Unknown, k.op+": the answer is about something else", "check --cloud and the proxy")
		}
		all = append(all, agent.RoleHolder{ID: r.Principal, Template: r.Role})
		return nil
	})
	return all, err
}

// Consents lists what people, or an administrator for all of them, have let a service principal do in their name (Microsoft, "List
// oauth2PermissionGrants (for a servicePrincipal)").
func (c *Client) Consents(ctx context.Context, principalID string) ([]agent.Consent, error) {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return nil, err
	}
	var all []agent.Consent
	k := call{op: "read the delegated permissions of service principal " + principalID, need: right{"Directory Readers", "DelegatedPermissionGrant.Read.All"}, method: http.MethodGet, path: path + "/oauth2PermissionGrants"}
	err = pages(ctx, c, k, func(g struct {
		ID        string  `json:"id"`
		Client    string  `json:"clientId"`
		Consent   string  `json:"consentType"`
		Principal *string `json:"principalId"`
		Resource  string  `json:"resourceId"`
		Scope     string  `json:"scope"`
	}) error {
		everybody := strings.EqualFold(g.Consent, "AllPrincipals")
		if g.ID == "" || !strings.EqualFold(g.Client, principalID) || everybody == (text(g.Principal) != "") {
			return fault.New(fault.Unknown, k.op+": the answer holds an unreadable one", "check --cloud and the proxy")
		}
		all = append(all, agent.Consent{ID: g.ID, Principal: text(g.Principal), Resource: g.Resource, Scopes: strings.Fields(g.Scope)})
		return nil
	})
	return all, err
}

// AppRolesOf lists every application permission that a service principal holds, of any application.
func (c *Client) AppRolesOf(ctx context.Context, principalID string) ([]agent.AppRole, error) {
	path, err := object("servicePrincipals", principalID)
	if err != nil {
		return nil, err
	}
	var all []agent.AppRole
	resources := map[string]map[string]string{} // object id of the resource → role → value
	k := call{op: "read the permissions of service principal " + principalID, need: reading(), method: http.MethodGet, path: path + "/appRoleAssignments", query: url.Values{"$top": {"100"}}}
	err = pages(ctx, c, k, func(g struct {
		ID       string `json:"id"`
		Role     string `json:"appRoleId"`
		Resource string `json:"resourceId"`
		Name     string `json:"resourceDisplayName"`
	}) error {
		if g.ID == "" || g.Role == "" || g.Resource == "" {
			return fault.New(fault.Unknown, k.op+": the answer holds an unreadable one", "check --cloud and the proxy")
		}
		if resources[g.Resource] == nil {
			resources[g.Resource] = c.roleValues(ctx, g.Resource)
		}
		all = append(all, agent.AppRole{ID: g.ID, RoleID: g.Role, Resource: g.Name, Value: resources[g.Resource][strings.ToLower(g.Role)]})
		return nil
	})
	return all, err
}

// roleValues are the names of a resource's roles. They help to read the answer and decide nothing, so that a failure leaves them out.
func (c *Client) roleValues(ctx context.Context, resourceID string) map[string]string {
	values := map[string]string{}
	path, err := object("servicePrincipals", resourceID)
	if err != nil {
		return values
	}
	var answer struct {
		Roles []struct {
			ID    string `json:"id"`
			Value string `json:"value"`
		} `json:"appRoles"`
	}
	if _, err := c.do(ctx, call{op: "read what resource " + resourceID + " offers", need: reading(), method: http.MethodGet, path: path, query: url.Values{"$select": {"id,appRoles"}}, out: &answer}); err != nil {
		return values
	}
	for _, r := range answer.Roles {
		values[strings.ToLower(r.ID)] = r.Value
	}
	return values
}
