package clients

import (
	"errors"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/managementgroups/armmanagementgroups"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resourcegraph/armresourcegraph"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/google/uuid"
)

// TestGoSDKTree drives what lies above subscriptions and across them: management groups, and Resource Graph.
func TestGoSDKTree(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("management groups", g.managementGroups)
	t.Run("resource graph", g.resourceGraph)
	t.Run("pages of resources", g.resourcePages)
}

func (g *goSDK) resourcePages(t *testing.T) {
	ctx := t.Context()
	c, err := armresources.NewClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	g.Operation(t, "armresources.Client.NewListPager with a number for each page", func() error {
		n := 0
		all, err := pages(ctx, c.NewListPager(&armresources.ClientListOptions{Top: to.Ptr[int32](3)}))
		for _, p := range all {
			n += len(p.Value)
		}
		if err != nil {
			return err
		}
		return is(len(all) > 1 && n >= 7, "it lists %d resources on %d pages", n, len(all))
	})
}

func (g *goSDK) managementGroups(t *testing.T) {
	ctx, a := t.Context(), g.app(t, "go-managed", time.Hour)
	admin := g.user(t, "admin") // every user may make a group under the root, and no application may
	c, err := armmanagementgroups.NewClient(admin, g.arm())
	must(t, err)
	subscriptions, err := armmanagementgroups.NewManagementGroupSubscriptionsClient(admin, g.arm())
	must(t, err)
	g.Refused(t, "armmanagementgroups.Client.BeginCreateOrUpdate by an application without a role above", "AuthorizationFailed", func() error {
		theirs, err := armmanagementgroups.NewClient(g.operator, g.arm())
		if err != nil {
			return err
		}
		_, err = theirs.BeginCreateOrUpdate(ctx, "go-mg", armmanagementgroups.CreateManagementGroupRequest{}, nil)
		return err
	})
	const id = "/providers/Microsoft.Management/managementGroups/go-mg"
	g.Operation(t, "armmanagementgroups.Client.BeginCreateOrUpdate", func() error {
		p, err := c.BeginCreateOrUpdate(ctx, "go-mg", armmanagementgroups.CreateManagementGroupRequest{Properties: &armmanagementgroups.CreateManagementGroupProperties{DisplayName: to.Ptr("Go")}}, nil)
		if err != nil {
			return err
		}
		r, err := p.PollUntilDone(ctx, quickly)
		if err != nil {
			return err
		}
		return is(*r.ID == id && *r.Properties.DisplayName == "Go", "it is %+v", r.ManagementGroup)
	})
	g.groupMoves(t, c)
	g.Operation(t, "armmanagementgroups.ManagementGroupSubscriptionsClient.Create", func() error {
		_, err := subscriptions.Create(ctx, "go-mg", g.env["AZURE_SUBSCRIPTION_ID"], nil)
		return err
	})
	g.Operation(t, "armmanagementgroups.Client.Get with its children", func() error {
		r, err := c.Get(ctx, "go-mg", &armmanagementgroups.ClientGetOptions{Expand: to.Ptr(armmanagementgroups.ManagementGroupExpandTypeChildren)})
		if err != nil {
			return err
		}
		return is(len(r.Properties.Children) == 1 && *r.Properties.Children[0].Name == g.env["AZURE_SUBSCRIPTION_ID"], "its children are %+v", r.Properties.Children)
	})
	g.Operation(t, "armmanagementgroups.Client.NewListPager", func() error {
		n := 0
		all, err := pages(ctx, c.NewListPager(nil))
		for _, p := range all {
			n += len(p.Value)
		}
		if err != nil {
			return err
		}
		return is(n >= 1, "it lists %d", n)
	})
	g.Operation(t, "armmanagementgroups.Client.NewGetDescendantsPager", func() error {
		all, err := pages(ctx, c.NewGetDescendantsPager("go-mg", nil))
		if err != nil {
			return err
		}
		return is(len(all) == 1 && len(all[0].Value) == 1 && *all[0].Value[0].Name == g.env["AZURE_SUBSCRIPTION_ID"], "it lists %+v", all)
	})
	assignments, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], admin, g.arm())
	must(t, err)
	var made armauthorization.RoleAssignmentsClientCreateResponse
	g.Operation(t, "armauthorization.RoleAssignmentsClient.Create at a management group", func() (err error) {
		made, err = assignments.Create(ctx, id, uuid.NewString(), g.wish(readerRole, a.principal), nil)
		return err
	})
	g.Operation(t, "armresources.ResourceGroupsClient.Get by a role of the management group above", func() error {
		_, err := g.groupsOf(t, a.cred).Get(ctx, "polyclaw-rg", nil)
		return err
	})
	g.Operation(t, "armauthorization.RoleAssignmentsClient.NewListForScopePager shows what is inherited", func() error {
		n, _, err := countAll(ctx, assignments.NewListForScopePager(g.group(), &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("assignedTo('" + a.principal + "')")}))
		if err != nil {
			return err
		}
		return is(n == 1, "it lists %d", n)
	})
	g.Refused(t, "armmanagementgroups.Client.BeginDelete of one that is not empty", "BadRequest", func() error {
		_, err := c.BeginDelete(ctx, "go-mg", nil)
		return err
	})
	g.Operation(t, "armmanagementgroups.ManagementGroupSubscriptionsClient.Delete", func() error {
		_, err := subscriptions.Delete(ctx, "go-mg", g.env["AZURE_SUBSCRIPTION_ID"], nil)
		return err
	})
	g.Refused(t, "armresources.ResourceGroupsClient.Get when the subscription has moved away from the role", "AuthorizationFailed", func() error {
		_, err := g.groupsOf(t, a.cred).Get(ctx, "polyclaw-rg", nil)
		return err
	})
	g.Operation(t, "armmanagementgroups.Client.BeginDelete", func() error {
		if _, err := assignments.DeleteByID(ctx, *made.ID, nil); err != nil {
			return err
		}
		p, err := c.BeginDelete(ctx, "go-mg", nil)
		if err != nil {
			return err
		}
		_, err = p.PollUntilDone(ctx, quickly)
		return err
	})
	g.Refused(t, "armmanagementgroups.Client.Get of a deleted one, where nobody has a role", "AuthorizationFailed", func() error {
		_, err := c.Get(ctx, "go-mg", nil)
		return err
	})
}

// groupMoves puts a group under go-mg and takes it away again; where it is then, both groups tell.
func (g *goSDK) groupMoves(t *testing.T, c *armmanagementgroups.Client) {
	ctx := t.Context()
	made, err := c.BeginCreateOrUpdate(ctx, "go-below", armmanagementgroups.CreateManagementGroupRequest{}, nil)
	must(t, err)
	_, err = made.PollUntilDone(ctx, quickly)
	must(t, err)
	under := func(parent string, children int) error {
		r, err := c.Get(ctx, "go-below", nil)
		if err != nil {
			return err
		}
		above, err := c.Get(ctx, "go-mg", &armmanagementgroups.ClientGetOptions{Expand: to.Ptr(armmanagementgroups.ManagementGroupExpandTypeChildren)})
		if err != nil {
			return err
		}
		return is(*r.Properties.Details.Parent.Name == parent && len(above.Properties.Children) == children, "it is under %s, and go-mg has %d children", *r.Properties.Details.Parent.Name, len(above.Properties.Children))
	}
	for _, row := range []struct {
		name, parent string
		children     int
	}{{"armmanagementgroups.Client.Update moves a group, and Get of both", "go-mg", 1}, {"armmanagementgroups.Client.Update moves it back to the root, and Get of both", g.tenant(), 0}} {
		g.Operation(t, row.name, func() error {
			_, err := c.Update(ctx, "go-below", armmanagementgroups.PatchManagementGroupRequest{ParentGroupID: to.Ptr("/providers/Microsoft.Management/managementGroups/" + row.parent)}, nil)
			if err != nil {
				return err
			}
			return under(row.parent, row.children)
		})
	}
	gone, err := c.BeginDelete(ctx, "go-below", nil)
	must(t, err)
	_, err = gone.PollUntilDone(ctx, quickly)
	must(t, err)
}

func (g *goSDK) resourceGraph(t *testing.T) {
	ctx := t.Context()
	c, err := armresourcegraph.NewClient(g.operator, g.arm())
	must(t, err)
	query := func(text string, o *armresourcegraph.QueryRequestOptions) (armresourcegraph.ClientResourcesResponse, []any, error) {
		if o == nil {
			o = &armresourcegraph.QueryRequestOptions{}
		}
		o.ResultFormat = to.Ptr(armresourcegraph.ResultFormatObjectArray)
		r, err := c.Resources(ctx, armresourcegraph.QueryRequest{Query: &text, Subscriptions: []*string{to.Ptr(g.env["AZURE_SUBSCRIPTION_ID"])}, Options: o}, nil)
		if err != nil {
			return r, nil, err
		}
		rows, ok := r.Data.([]any)
		if !ok {
			err = errors.New("the data is no array of objects")
		}
		return r, rows, err
	}
	for range many {
		must(t, g.assign(ctx, g.group(), readerRole, uuid.NewString()))
	}
	sp := g.Operator("sp-operator").ObjectID
	g.Operation(t, "armresourcegraph.Client.Resources: role assignments of a principal", func() error {
		_, rows, err := query("authorizationresources | where type =~ 'microsoft.authorization/roleassignments' | extend principalId = tostring(properties.principalId) | where principalId =~ '"+sp+"' | project id, principalId, roleId = tostring(properties.roleDefinitionId)", nil)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return errors.New("there are none")
		}
		row, _ := rows[0].(map[string]any)
		return is(row["principalId"] == sp, "the row is %v", row)
	})
	g.Operation(t, "armresourcegraph.Client.Resources: page by page with the skip token", func() error {
		seen, sheets := 0, 0
		var token *string
		for {
			r, rows, err := query("authorizationresources | where type =~ 'microsoft.authorization/roleassignments' | project id | order by id asc", &armresourcegraph.QueryRequestOptions{Top: to.Ptr[int32](100), SkipToken: token})
			if err != nil {
				return err
			}
			seen, sheets, token = seen+len(rows), sheets+1, r.SkipToken
			if token == nil || *token == "" {
				return is(int64(seen) == *r.TotalRecords && seen >= many && sheets > 2, "%d of %d on %d pages", seen, *r.TotalRecords, sheets)
			}
		}
	})
	g.Refused(t, "armresourcegraph.Client.Resources with a query that cannot be read", "InvalidQuery", func() error {
		_, _, err := query("authorizationresources | whatever", nil)
		return err
	})
}
