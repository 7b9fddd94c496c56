package arm

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// Permissions is what the caller itself may do at a resource group or a resource, by everything that reaches it there: each entry is what
// one role allows, without its name and id, which ARM does not tell (Microsoft, "Permissions - List For Resource Group"). None means that
// the caller may do nothing.
//
// fault.Forbidden says that the caller may not even ask, which Microsoft.Authorization/permissions/read would allow.
func (c *Client) Permissions(ctx context.Context, scope string) ([]role.Definition, error) {
	op := "read the caller's permissions on " + role.Short(scope)
	s, err := role.ParseScope(scope)
	if err != nil || s.Group == "" || strings.Contains(scope, "/.") {
		return nil, fault.New(fault.Invalid, op+": not a resource group or a resource in one", "")
	}
	client, err := armauthorization.NewPermissionsClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, scope, err)
	}
	var entries []*armauthorization.Permission
	if s.Level == role.ResourceGroup {
		for pager := client.NewListForResourceGroupPager(s.Group, nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return nil, c.failed(ctx, op, scope, err)
			}
			entries = append(entries, page.Value...)
		}
	} else {
		parent, kind, name := branch(s)
		for pager := client.NewListForResourcePager(s.Group, s.Provider, parent, kind, name, nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return nil, c.failed(ctx, op, scope, err)
			}
			entries = append(entries, page.Value...)
		}
	}
	allowed := make([]role.Definition, len(entries))
	for i, e := range entries {
		if e == nil {
			return nil, fault.New(fault.Unknown, op+": the answer holds an empty permission", "check --cloud and the proxy")
		}
		allowed[i] = role.Definition{Actions: texts(e.Actions), NotActions: texts(e.NotActions), DataActions: texts(e.DataActions), NotDataActions: texts(e.NotDataActions)}
	}
	return allowed, nil
}

// branch takes the id of a resource apart as the permissions API wants it: accounts/a/projects/p is the parent accounts/a, the type
// projects and the name p. A resource that has no parent leaves the parent's place empty, and ARM reads the two slashes as one.
func branch(s role.Scope) (parent, kind, name string) {
	kinds, names := strings.Split(s.Type, "/"), strings.Split(s.Name, "/")
	last := len(kinds) - 1
	var up []string
	for i := range last {
		up = append(up, kinds[i], names[i])
	}
	return strings.Join(up, "/"), kinds[last], names[last]
}
