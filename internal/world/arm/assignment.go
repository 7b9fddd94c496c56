package arm

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const (
	roleDefinitions = "/providers/Microsoft.Authorization/roleDefinitions/"
)

// Assignments lists the role assignments that reach a principal, by itself or through its groups, at, above and below the scope. Role
// is left empty: the catalogue knows names.
func (c *Client) Assignments(ctx context.Context, scope, principalID string) ([]agent.Assignment, error) {
	op := "read role assignments on " + role.Short(scope)
	if !agent.IsGUID(principalID) {
		return nil, fault.New(fault.Invalid, op+": the principal id is not a GUID", "")
	}
	return c.assignments(ctx, op, scope, "assignedTo('"+principalID+"')")
}

func (c *Client) assignments(ctx context.Context, op, scope, filter string) ([]agent.Assignment, error) {
	path, err := pathOf(op, scope)
	if err != nil {
		return nil, err
	}
	client, err := armauthorization.NewRoleAssignmentsClient("", c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, scope, err)
	}
	// The SDK writes the filter into the query as it is (v2.2.0), so it has to be encoded beforehand: over HTTP/1.1 a server refuses
	// a request line with a space in it.
	filter = url.QueryEscape(filter)
	var found []agent.Assignment
	for pager := client.NewListForScopePager(path, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: &filter}); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, c.failed(ctx, op, scope, err)
		}
		for _, a := range page.Value {
			d, err := assignment(op, a)
			if err != nil {
				return nil, err
			}
			found = append(found, d)
		}
	}
	return found, nil
}

// AssignmentsAt lists the role assignments, of anybody, at the scope and above it. Role is left empty.
func (c *Client) AssignmentsAt(ctx context.Context, scope string) ([]agent.Assignment, error) {
	return c.assignments(ctx, "read who has rights on "+role.Short(scope), scope, "atScope()")
}

// AssignmentFor finds the assignment of exactly that role, at exactly that scope, to the principal itself, whatever its name; nil if
// there is none.
func (c *Client) AssignmentFor(ctx context.Context, g role.Grant, principalID string) (*agent.Assignment, error) {
	all, err := c.Assignments(ctx, g.Scope, principalID)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(a agent.Assignment) bool {
		return a.Grant().Key() == g.Key() && strings.EqualFold(a.PrincipalID, principalID)
	})
	if i < 0 {
		return nil, nil
	}
	found := all[i]
	found.Role = g.Role
	return &found, nil
}

// Assign gives a service principal a role under that name (a GUID). The same name, role, scope and principal again is a success.
//
// fault.Conflict (RoleAssignmentExists): the principal has the role there under another name; see AssignmentFor. fault.NotFound
// (PrincipalNotFound): a replica does not know the principal yet.
func (c *Client) Assign(ctx context.Context, name string, g role.Grant, principalID string) error {
	op := "assign " + g.Role + " on " + role.Short(g.Scope)
	path, err := pathOf(op, g.Scope)
	if err != nil {
		return err
	}
	s, _ := role.ParseScope(g.Scope) // pathOf has read it
	if !agent.IsGUID(name) || !agent.IsGUID(g.RoleID) || !agent.IsGUID(principalID) || s.SubscriptionID == "" {
		return fault.New(fault.Invalid, op+": name, role and principal must be GUIDs, and the scope in a subscription", "")
	}
	client, err := armauthorization.NewRoleAssignmentsClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return c.failed(ctx, op, g.Scope, err)
	}
	definition := "/subscriptions/" + s.SubscriptionID + roleDefinitions + g.RoleID
	// With the type given, ARM does not look the principal up in its replica of the directory (https://aka.ms/docs-principaltype).
	kind := armauthorization.PrincipalTypeServicePrincipal
	_, err = client.Create(ctx, path, name, armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		PrincipalID: &principalID, PrincipalType: &kind, RoleDefinitionID: &definition,
	}}, nil)
	if err != nil {
		return c.failed(ctx, op, g.Scope, err)
	}
	return nil
}

// Unassign removes the assignment of that name at the scope; nil also when there was none.
func (c *Client) Unassign(ctx context.Context, scope, name string) error {
	op := "remove role assignment " + name + " on " + role.Short(scope)
	path, err := pathOf(op, scope)
	if err != nil {
		return err
	}
	if !agent.IsGUID(name) {
		return fault.New(fault.Invalid, op+": the name is not a GUID", "")
	}
	client, err := armauthorization.NewRoleAssignmentsClient("", c.credential, c.options)
	if err != nil {
		return c.failed(ctx, op, scope, err)
	}
	if _, err := client.Delete(ctx, path, name, nil); err != nil { // 204 when there was none
		return c.failed(ctx, op, scope, err)
	}
	return nil
}

// RoleDefinition reads a role by its GUID, for those that the catalogue lacks.
func (c *Client) RoleDefinition(ctx context.Context, scope, guid string) (role.Definition, error) {
	op := "read role " + guid
	path, err := pathOf(op, scope)
	if err != nil {
		return role.Definition{}, err
	}
	if !agent.IsGUID(guid) {
		return role.Definition{}, fault.New(fault.Invalid, op+": not a GUID", "")
	}
	client, err := armauthorization.NewRoleDefinitionsClient(c.credential, c.options)
	if err != nil {
		return role.Definition{}, c.failed(ctx, op, scope, err)
	}
	got, err := client.Get(ctx, path, guid, nil)
	if err != nil {
		return role.Definition{}, c.failed(ctx, op, scope, err)
	}
	// A role without permissions would pass for harmless, so an answer that shows none is no answer.
	if got.Properties == nil || len(got.Properties.Permissions) == 0 || !strings.EqualFold(text(got.Name), guid) {
		return role.Definition{}, fault.New(fault.Unknown, op+": the answer is not that role", "check --cloud and the proxy")
	}
	return definition(guid, *got.Properties)
}

// definition unites the permissions of a role. Each permission of several is an allowance of its own, so what one of them excludes
// stays excluded only if all exclude it.
func definition(guid string, p armauthorization.RoleDefinitionProperties) (role.Definition, error) {
	d := role.Definition{Name: text(p.RoleName), ID: strings.ToLower(guid), Description: text(p.Description)}
	for i, permission := range p.Permissions {
		if permission == nil {
			return role.Definition{}, fault.New(fault.Unknown, "read role "+guid+": the answer holds an empty permission", "")
		}
		d.Actions = append(d.Actions, texts(permission.Actions)...)
		d.DataActions = append(d.DataActions, texts(permission.DataActions)...)
		if i == 0 {
			d.NotActions, d.NotDataActions = texts(permission.NotActions), texts(permission.NotDataActions)
			continue
		}
		d.NotActions = both(d.NotActions, texts(permission.NotActions))
		d.NotDataActions = both(d.NotDataActions, texts(permission.NotDataActions))
	}
	return d, nil
}

func both(a, b []string) []string {
	return slices.DeleteFunc(a, func(x string) bool {
		return !slices.ContainsFunc(b, func(y string) bool { return strings.EqualFold(x, y) })
	})
}

func texts(list []*string) []string {
	var out []string
	for _, p := range list {
		if p != nil {
			out = append(out, *p)
		}
	}
	return out
}

// assignment is one as the domain knows it. One that does not say whose, which or where is not dropped: a list that hides an
// assignment is worse than none.
func assignment(op string, a *armauthorization.RoleAssignment) (agent.Assignment, error) {
	unreadable := fault.New(fault.Unknown, op+": the answer holds an unreadable assignment", "check --cloud and the proxy")
	if a == nil || a.Properties == nil {
		return agent.Assignment{}, unreadable
	}
	p := a.Properties
	id := text(p.RoleDefinitionID)
	guid := id[strings.LastIndexByte(id, '/')+1:]
	if !agent.IsGUID(guid) || !agent.IsGUID(text(p.PrincipalID)) || text(p.Scope) == "" || text(a.Name) == "" {
		return agent.Assignment{}, unreadable
	}
	return agent.Assignment{
		ID: text(a.ID), Name: *a.Name, RoleID: strings.ToLower(guid), Scope: *p.Scope, PrincipalID: *p.PrincipalID, Condition: text(p.Condition),
	}, nil
}

// pathOf is a scope as the SDK puts it into an address, behind a slash of its own and unescaped: nothing that is not a scope may get
// there.
func pathOf(op, scope string) (string, error) {
	s, err := role.ParseScope(scope)
	if err != nil || s.Level == role.Root || strings.Contains(scope, "/.") {
		return "", fault.New(fault.Invalid, op+": not a scope below the root", "")
	}
	return strings.TrimPrefix(s.String(), "/"), nil
}
