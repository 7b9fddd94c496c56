package clients

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"

	"github.com/google/uuid"
)

// TestGoSDKAuthorization drives role definitions, and role assignments with their conditions.
func TestGoSDKAuthorization(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("definitions", g.definitions)
	t.Run("assignments", g.assignments)
	t.Run("refusals", g.refusedAssignments)
	t.Run("conditions", g.conditions)
	t.Run("pages", g.assignmentPages)
}

func (g *goSDK) definitions(t *testing.T) {
	ctx := t.Context()
	c, err := armauthorization.NewRoleDefinitionsClient(g.operator, g.arm())
	must(t, err)
	g.Operation(t, "armauthorization.RoleDefinitionsClient.NewListPager", func() error {
		all, err := pages(ctx, c.NewListPager(g.subscription(), nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) > 20, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armauthorization.RoleDefinitionsClient.NewListPager with a name", func() error {
		all, err := pages(ctx, c.NewListPager(g.group(), &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'Key Vault Secrets User'")}))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 1 && *all[0].Value[0].Name == secretsUserRole, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armauthorization.RoleDefinitionsClient.Get", func() error {
		r, err := c.Get(ctx, g.subscription(), readerRole, nil)
		if err != nil {
			return err
		}
		return is(*r.Properties.RoleName == "Reader" && *r.Properties.Permissions[0].Actions[0] == "*/read", "it is %+v", r.Properties)
	})
	name := uuid.NewString()
	wish := armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{
		RoleName: to.Ptr("Go group reader"), Description: to.Ptr("reads groups"), RoleType: to.Ptr("CustomRole"), AssignableScopes: []*string{to.Ptr(g.subscription())},
		Permissions: []*armauthorization.Permission{{Actions: []*string{to.Ptr("Microsoft.Resources/subscriptions/resourceGroups/read")}}},
	}}
	g.Operation(t, "armauthorization.RoleDefinitionsClient.CreateOrUpdate of a custom role", func() error {
		r, err := c.CreateOrUpdate(ctx, g.subscription(), name, wish, nil)
		if err != nil {
			return err
		}
		return is(*r.Name == name && *r.Properties.RoleType == "CustomRole", "it is %+v", r.Properties)
	})
	g.Operation(t, "armauthorization.RoleDefinitionsClient.GetByID", func() error {
		r, err := c.GetByID(ctx, g.role(name), nil)
		if err != nil {
			return err
		}
		return is(*r.Properties.RoleName == "Go group reader", "it is %+v", r.Properties)
	})
	g.Operation(t, "armauthorization.RoleDefinitionsClient.Delete", func() error {
		r, err := c.Delete(ctx, g.subscription(), name, nil)
		if err != nil {
			return err
		}
		return is(*r.Name == name, "it answers %+v", r.RoleDefinition)
	})
}

func (g *goSDK) assignments(t *testing.T) {
	ctx, a := t.Context(), g.app(t, "go-assigned", time.Hour)
	c, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	vault := g.group() + "/providers/Microsoft.KeyVault/vaults/kv-polyclaw"
	g.Refused(t, "armresources.ResourceGroupsClient.Get before a role is assigned", "AuthorizationFailed", func() error {
		_, err := g.groupsOf(t, a.cred).Get(ctx, "polyclaw-rg", nil)
		return err
	})
	names := map[string]string{}
	for _, row := range []struct{ what, scope, role string }{
		{"the subscription", g.subscription(), readerRole}, {"a group", g.group(), readerRole}, {"a vault", vault, secretsUserRole}, {"a secret", vault + "/secrets/one", secretsUserRole},
	} {
		g.Operation(t, "armauthorization.RoleAssignmentsClient.Create at "+row.what, func() error {
			name := uuid.NewString()
			names[row.scope] = name
			r, err := c.Create(ctx, row.scope, name, g.wish(row.role, a.principal), nil)
			if err != nil {
				return err
			}
			p := r.Properties
			return is(*p.Scope == row.scope && *p.PrincipalID == a.principal && *p.CreatedBy == g.Operator("sp-operator").ObjectID, "it is %+v", p)
		})
	}
	g.Operation(t, "armresources.ResourceGroupsClient.Get after a role is assigned", func() error {
		_, err := g.groupsOf(t, a.cred).Get(ctx, "polyclaw-rg", nil)
		return err
	})
	// The client writes this filter into the query as it stands, with its spaces; over HTTP/2 that arrives.
	for _, row := range []struct {
		filter string
		want   int
	}{
		{"principalId eq '" + a.principal + "'", 4}, {"assignedTo('" + a.principal + "')", 4}, {"atScope() and assignedTo('" + a.principal + "')", 2},
	} {
		g.Operation(t, "armauthorization.RoleAssignmentsClient.NewListForScopePager with "+strings.ReplaceAll(row.filter, a.principal, "…"), func() error {
			n, _, err := countAll(ctx, c.NewListForScopePager(g.group(), &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: &row.filter}))
			if err != nil {
				return err
			}
			return is(n == row.want, "it lists %d", n)
		})
	}
	g.Operation(t, "armauthorization.RoleAssignmentsClient.NewListForSubscriptionPager", func() error {
		all, err := pages(ctx, c.NewListForSubscriptionPager(&armauthorization.RoleAssignmentsClientListForSubscriptionOptions{Filter: to.Ptr("assignedTo('" + a.principal + "')")}))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 4, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armauthorization.RoleAssignmentsClient.NewListForResourcePager", func() error {
		all, err := pages(ctx, c.NewListForResourcePager("polyclaw-rg", "Microsoft.KeyVault", "vaults", "kv-polyclaw", &armauthorization.RoleAssignmentsClientListForResourceOptions{Filter: to.Ptr("atScope()")}))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) >= 3, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armauthorization.RoleAssignmentsClient.Get", func() error {
		r, err := c.Get(ctx, g.group(), names[g.group()], nil)
		if err != nil {
			return err
		}
		return is(*r.Properties.RoleDefinitionID == g.role(readerRole), "it is %+v", r.Properties)
	})
	g.Operation(t, "armauthorization.RoleAssignmentsClient.Delete", func() error {
		for _, scope := range []string{g.subscription(), g.group()} {
			r, err := c.Delete(ctx, scope, names[scope], nil)
			if err != nil {
				return err
			}
			if r.Name == nil || *r.Name != names[scope] {
				return fmt.Errorf("it answers %+v", r.RoleAssignment)
			}
		}
		return nil
	})
	g.Operation(t, "armauthorization.RoleAssignmentsClient.Delete of what is gone", func() error {
		_, err := c.Delete(ctx, g.group(), names[g.group()], nil)
		return err
	})
	g.Refused(t, "armresources.ResourceGroupsClient.Get after the role is taken away", "AuthorizationFailed", func() error {
		_, err := g.groupsOf(t, a.cred).Get(ctx, "polyclaw-rg", nil)
		return err
	})
	perms, err := armauthorization.NewPermissionsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	g.Operation(t, "armauthorization.PermissionsClient.NewListForResourceGroupPager", func() error {
		all, err := pages(ctx, perms.NewListForResourceGroupPager("polyclaw-rg", nil))
		if err != nil {
			return err
		}
		return is(*all[0].Value[0].Actions[0] == "*", "it lists %+v", all[0].Value)
	})
	deny, err := armauthorization.NewDenyAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	g.Operation(t, "armauthorization.DenyAssignmentsClient.NewListForScopePager", func() error {
		all, err := pages(ctx, deny.NewListForScopePager(g.group(), nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 0, "it lists %d", len(all[0].Value))
	})
}

func (g *goSDK) refusedAssignments(t *testing.T) {
	ctx, a := t.Context(), g.app(t, "go-unassigned", time.Hour)
	c, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	name := uuid.NewString()
	_, err = c.Create(ctx, g.group(), name, g.wish(readerRole, a.principal), nil)
	must(t, err)
	stranger := g.wish(readerRole, "99999999-9999-4999-8999-999999999999")
	stranger.Properties.PrincipalType = nil // with it, Azure does not look the principal up
	user := g.wish(readerRole, a.principal)
	user.Properties.PrincipalType = to.Ptr(armauthorization.PrincipalTypeUser)
	for _, row := range []struct {
		name, code, assignment string
		wish                   armauthorization.RoleAssignmentCreateParameters
	}{
		{"that exists under another name", "RoleAssignmentExists", uuid.NewString(), g.wish(readerRole, a.principal)},
		{"over another one's name", "RoleAssignmentUpdateNotPermitted", name, g.wish(contributorRole, a.principal)},
		{"to a principal that does not exist", "PrincipalNotFound", uuid.NewString(), stranger},
		{"to an application as a user", "UnmatchedPrincipalType", uuid.NewString(), user},
		{"of a role that does not exist", "RoleDefinitionDoesNotExist", uuid.NewString(), g.wish("99999999-9999-4999-8999-999999999999", a.principal)},
		{"whose name is no GUID", "InvalidRoleAssignmentId", "not-a-guid", g.wish(contributorRole, a.principal)},
	} {
		g.Refused(t, "armauthorization.RoleAssignmentsClient.Create of one "+row.name, row.code, func() error {
			_, err := c.Create(ctx, g.group(), row.assignment, row.wish, nil)
			return err
		})
	}
	g.Refused(t, "armauthorization.RoleAssignmentsClient.Create by somebody who may only read", "AuthorizationFailed", func() error {
		reader, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], a.cred, g.arm())
		if err != nil {
			return err
		}
		_, err = reader.Create(ctx, g.group(), uuid.NewString(), g.wish(contributorRole, a.principal), nil)
		return err
	})
	g.Refused(t, "armauthorization.RoleAssignmentsClient.Get of one that is not there", "RoleAssignmentNotFound", func() error {
		_, err := c.Get(ctx, g.group(), uuid.NewString(), nil)
		return err
	})
	g.Refused(t, "armauthorization.RoleAssignmentsClient.NewListForScopePager with two filters that exclude each other", "filter", func() error {
		_, err := c.NewListForScopePager(g.group(), &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("atScope() and principalId eq '" + a.principal + "'")}).NextPage(ctx)
		return err
	})
}

// delegation is the condition of Microsoft's page "Delegate Azure access management to others": the roles that may be assigned.
const delegation = `((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {` + readerRole + `})) AND ` +
	`((!(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})) OR (@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {` + readerRole + `}))`

func (g *goSDK) conditions(t *testing.T) {
	ctx := t.Context()
	delegate, other := g.app(t, "go-delegate", time.Hour), g.app(t, "go-other", 0)
	c, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	wish := g.wish(rbacAdminRole, delegate.principal)
	wish.Properties.Condition, wish.Properties.ConditionVersion = to.Ptr(delegation), to.Ptr("2.0")
	g.Operation(t, "armauthorization.RoleAssignmentsClient.Create with a condition", func() error {
		r, err := c.Create(ctx, g.group(), uuid.NewString(), wish, nil)
		if err != nil {
			return err
		}
		got, err := c.GetByID(ctx, *r.ID, nil)
		if err != nil {
			return err
		}
		return is(got.Properties.Condition != nil && *got.Properties.Condition == delegation && got.Properties.ConditionVersion != nil && *got.Properties.ConditionVersion == "2.0", "it is %+v", got.Properties)
	})
	theirs, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], delegate.cred, g.arm())
	must(t, err)
	var made armauthorization.RoleAssignmentsClientCreateResponse
	g.Operation(t, "armauthorization.RoleAssignmentsClient.Create and Delete of a role that the condition allows", func() (err error) {
		if made, err = theirs.Create(ctx, g.group(), uuid.NewString(), g.wish(readerRole, other.principal), nil); err != nil {
			return err
		}
		_, err = theirs.DeleteByID(ctx, *made.ID, nil)
		return err
	})
	g.Refused(t, "armauthorization.RoleAssignmentsClient.Create of a role that the condition forbids", "ABAC condition", func() error {
		_, err := theirs.Create(ctx, g.group(), uuid.NewString(), g.wish(contributorRole, other.principal), nil)
		return err
	})
	g.Refused(t, "armauthorization.RoleAssignmentsClient.Create with a condition that cannot be read", "Condition", func() error {
		broken := g.wish(readerRole, other.principal)
		broken.Properties.Condition, broken.Properties.ConditionVersion = to.Ptr("((("), to.Ptr("2.0")
		_, err := c.Create(ctx, g.group(), uuid.NewString(), broken, nil)
		return err
	})
}

// many is how many role assignments no single page holds.
const many = 250

func (g *goSDK) assignmentPages(t *testing.T) {
	ctx := t.Context()
	c, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	_, err = g.groupsOf(t, g.operator).CreateOrUpdate(ctx, "rg-many", armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil)
	must(t, err)
	scope := g.subscription() + "/resourceGroups/rg-many"
	for range many { // with a type, nobody looks the principals up
		_, err := c.Create(ctx, scope, uuid.NewString(), g.wish(readerRole, uuid.NewString()), nil)
		must(t, err)
	}
	g.Operation(t, "armauthorization.RoleAssignmentsClient.NewListForScopePager over several pages", func() error {
		n, sheets, err := countAll(ctx, c.NewListForScopePager(scope, nil))
		if err != nil {
			return err
		}
		return is(n >= many && sheets > 2, "it lists %d assignments on %d pages", n, sheets)
	})
}
