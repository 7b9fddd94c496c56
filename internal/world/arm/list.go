package arm

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// maxListed bounds what is offered to choose from. A list that is longer says so rather than pass for complete.
const maxListed = 2000

// Subscriptions lists the subscriptions that the caller can see and use, by name.
func (c *Client) Subscriptions(ctx context.Context) ([]api.Choice, error) {
	const op = "list subscriptions"
	client, err := armsubscriptions.NewClient(c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, "/subscriptions", err)
	}
	return listed(ctx, c, op, "/subscriptions", client.NewListPager(nil), func(page armsubscriptions.ClientListResponse) (all []api.Choice) {
		for _, s := range page.Value {
			if s != nil && (s.State == nil || *s.State == armsubscriptions.SubscriptionStateEnabled || *s.State == armsubscriptions.SubscriptionStateWarned) {
				all = append(all, api.Choice{ID: text(s.SubscriptionID), Name: text(s.DisplayName)})
			}
		}
		return all
	})
}

// Groups lists the resource groups of a subscription, by name.
func (c *Client) Groups(ctx context.Context, subscription string) ([]api.Choice, error) {
	const op = "list resource groups"
	if !agent.IsGUID(subscription) {
		return nil, fault.New(fault.Invalid, op+": the subscription is not a GUID", "")
	}
	path := "/subscriptions/" + subscription
	client, err := armresources.NewResourceGroupsClient(subscription, c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, path, err)
	}
	return listed(ctx, c, op, path, client.NewListPager(nil), func(page armresources.ResourceGroupsClientListResponse) (all []api.Choice) {
		for _, g := range page.Value {
			if g != nil {
				all = append(all, api.Choice{ID: text(g.ID), Name: text(g.Name), Location: text(g.Location)})
			}
		}
		return all
	})
}

// Resources lists the resources of a type, such as Microsoft.KeyVault/vaults, in a subscription, or in one group of it, by name.
func (c *Client) Resources(ctx context.Context, subscription, group, kind string) ([]api.Choice, error) {
	op := "list " + kind
	if _, known := apiVersion(kind); !known || !agent.IsGUID(subscription) {
		return nil, fault.New(fault.Invalid, op+": not a subscription and a type that agents use", "")
	}
	client, err := armresources.NewClient(subscription, c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, "/subscriptions/"+subscription, err)
	}
	filter := "resourceType eq '" + kind + "'"
	if group == "" {
		return listed(ctx, c, op, "/subscriptions/"+subscription, client.NewListPager(&armresources.ClientListOptions{Filter: &filter}),
			func(page armresources.ClientListResponse) []api.Choice { return choices(page.Value) })
	}
	scope := role.GroupScope(subscription, group)
	if s, err := role.ParseScope(scope); err != nil || s.Level != role.ResourceGroup {
		return nil, fault.New(fault.Invalid, op+": not a resource group", "")
	}
	return listed(ctx, c, op, scope, client.NewListByResourceGroupPager(group, &armresources.ClientListByResourceGroupOptions{Filter: &filter}),
		func(page armresources.ClientListByResourceGroupResponse) []api.Choice { return choices(page.Value) })
}

func choices(found []*armresources.GenericResourceExpanded) (all []api.Choice) {
	for _, r := range found {
		if r == nil {
			continue
		}
		x := api.Choice{ID: text(r.ID), Name: text(r.Name), Location: text(r.Location)}
		if s, err := role.ParseScope(x.ID); err == nil {
			x.Group = s.Group
		}
		all = append(all, x)
	}
	return all
}

// listed reads every page.
func listed[P any](ctx context.Context, c *Client, op, scope string, pager *runtime.Pager[P], of func(P) []api.Choice) ([]api.Choice, error) {
	all := []api.Choice{}
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, c.failed(ctx, op, scope, err)
		}
		all = append(all, of(page)...)
		if len(all) > maxListed {
			return nil, fault.New(fault.Unsupported, op+": there are more than can be shown", "type the name")
		}
	}
	slices.SortFunc(all, func(a, b api.Choice) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}
