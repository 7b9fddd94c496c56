package clients

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/google/uuid"
)

// Azure built-in roles (Microsoft, "Azure built-in roles").
const (
	readerRole         = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	contributorRole    = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	rbacAdminRole      = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
	secretsOfficerRole = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	secretsUserRole    = "4633458b-17de-408a-b874-0445c86b69e6"
	cryptoOfficerRole  = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
	cryptoUserRole     = "12338af0-0e69-4776-bea7-57ae8d297424"
)

// quickly is how often pollers ask; their default is every half minute.
var quickly = &runtime.PollUntilDoneOptions{Frequency: time.Second}

// TestGoSDKResourceManager drives the management plane: subscriptions, groups, resources, identities.
func TestGoSDKResourceManager(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("subscriptions", g.subscriptions)
	t.Run("groups", g.groups)
	t.Run("resources", g.resources)
	t.Run("identities", g.identities)
}

func (g *goSDK) subscriptions(t *testing.T) {
	ctx := t.Context()
	c, err := armsubscriptions.NewClient(g.operator, g.arm())
	must(t, err)
	g.Operation(t, "armsubscriptions.Client.NewListPager", func() error {
		all, err := pages(ctx, c.NewListPager(nil))
		if err != nil {
			return err
		}
		return is(len(all) == 1 && len(all[0].Value) == 1 && *all[0].Value[0].SubscriptionID == g.env["AZURE_SUBSCRIPTION_ID"], "it lists %+v", all)
	})
	g.Operation(t, "armsubscriptions.Client.Get", func() error {
		s, err := c.Get(ctx, g.env["AZURE_SUBSCRIPTION_ID"], nil)
		if err != nil {
			return err
		}
		return is(*s.State == armsubscriptions.SubscriptionStateEnabled && *s.TenantID == g.tenant(), "it is %+v", s.Subscription)
	})
	g.Operation(t, "armsubscriptions.Client.NewListLocationsPager", func() error {
		all, err := pages(ctx, c.NewListLocationsPager(g.env["AZURE_SUBSCRIPTION_ID"], nil))
		if err != nil {
			return err
		}
		has := slices.ContainsFunc(all[0].Value, func(l *armsubscriptions.Location) bool { return *l.Name == "eastus" })
		return is(has, "eastus is missing")
	})
	g.Operation(t, "armsubscriptions.TenantsClient.NewListPager", func() error {
		tenants, err := armsubscriptions.NewTenantsClient(g.operator, g.arm())
		if err != nil {
			return err
		}
		all, err := pages(ctx, tenants.NewListPager(nil))
		if err != nil {
			return err
		}
		return is(*all[0].Value[0].TenantID == g.tenant(), "it lists %+v", all)
	})
	g.Refused(t, "armsubscriptions.Client.Get of one that is not there", "SubscriptionNotFound", func() error {
		_, err := c.Get(ctx, "99999999-9999-4999-8999-999999999999", nil)
		return err
	})
}

func (g *goSDK) groups(t *testing.T) {
	ctx, c := t.Context(), g.groupsOf(t, g.operator)
	g.Operation(t, "armresources.ResourceGroupsClient.CheckExistence of one that is not there", func() error {
		r, err := c.CheckExistence(ctx, "rg-go", nil)
		if err != nil {
			return err
		}
		return is(!r.Success, "it is there")
	})
	g.Operation(t, "armresources.ResourceGroupsClient.CreateOrUpdate", func() error {
		r, err := c.CreateOrUpdate(ctx, "rg-go", armresources.ResourceGroup{Location: to.Ptr("East US"), Tags: map[string]*string{"made": to.Ptr("by Go")}}, nil)
		if err != nil {
			return err
		}
		return is(*r.Location == "eastus" && *r.Properties.ProvisioningState == "Succeeded", "it is %+v", r.ResourceGroup)
	})
	g.Operation(t, "armresources.ResourceGroupsClient.Update of the tags", func() error {
		r, err := c.Update(ctx, "rg-go", armresources.ResourceGroupPatchable{Tags: map[string]*string{"made": to.Ptr("again")}}, nil)
		if err != nil {
			return err
		}
		return is(*r.Tags["made"] == "again", "its tags are %v", r.Tags)
	})
	g.Operation(t, "armresources.ResourceGroupsClient.Get", func() error {
		r, err := c.Get(ctx, "RG-GO", nil) // names are compared without case
		if err != nil {
			return err
		}
		return is(*r.Name == "rg-go" && *r.Tags["made"] == "again", "it is %+v", r.ResourceGroup)
	})
	g.Operation(t, "armresources.ResourceGroupsClient.NewListPager", func() error {
		all, err := pages(ctx, c.NewListPager(nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 3, "it lists %d groups", len(all[0].Value))
	})
	token := result(t, g, "armresources.ResourceGroupsClient.BeginDelete", func() (string, error) {
		p, err := c.BeginDelete(ctx, "rg-go", nil)
		if err != nil || p.Done() {
			return "", err
		}
		return p.ResumeToken()
	})
	g.Operation(t, "armresources.ResourceGroupsClient.BeginDelete, waited for by another process with the resume token", func() error {
		<-time.After(1100 * time.Millisecond) // as long as the answer has said; asked at once, a slow machine would see another status than a quick one
		p, err := c.BeginDelete(ctx, "", &armresources.ResourceGroupsClientBeginDeleteOptions{ResumeToken: token})
		if err != nil {
			return err
		}
		_, err = p.PollUntilDone(ctx, quickly)
		return err
	})
	g.Refused(t, "armresources.ResourceGroupsClient.Get of a deleted one", "ResourceGroupNotFound", func() error {
		_, err := c.Get(ctx, "rg-go", nil)
		return err
	})
	nobody := g.app(t, "go-nobody", time.Hour)
	g.Refused(t, "armresources.ResourceGroupsClient.CreateOrUpdate without a role", "AuthorizationFailed", func() error {
		_, err := g.groupsOf(t, nobody.cred).CreateOrUpdate(ctx, "rg-nobody", armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil)
		return err
	})
	g.Refused(t, "armresources.ResourceGroupsClient.NewListPager with a token for Microsoft Graph", "InvalidAuthenticationTokenAudience", func() error {
		o := g.armOnce()
		o.Cloud.Services[cloud.ResourceManager] = cloud.ServiceConfiguration{Endpoint: g.env["LEASTKEY_ARM"], Audience: g.env["LEASTKEY_GRAPH"]}
		c, err := armresources.NewResourceGroupsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, o)
		if err != nil {
			return err
		}
		_, err = c.NewListPager(nil).NextPage(ctx)
		return err
	})
}

func (g *goSDK) groupsOf(t *testing.T, cred azcore.TokenCredential) *armresources.ResourceGroupsClient {
	t.Helper()
	c, err := armresources.NewResourceGroupsClient(g.env["AZURE_SUBSCRIPTION_ID"], cred, g.arm())
	must(t, err)
	return c
}

// appVersion is the version of Microsoft.App that the cases speak.
const appVersion = "2024-03-01"

// containerApp makes or changes a container app with identities.
func (g *goSDK) containerApp(ctx context.Context, name string, identity *armresources.Identity) (armresources.GenericResource, error) {
	c, err := armresources.NewClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	if err != nil {
		return armresources.GenericResource{}, err
	}
	p, err := c.BeginCreateOrUpdateByID(ctx, g.group()+"/providers/Microsoft.App/containerApps/"+name, appVersion, armresources.GenericResource{
		Location: to.Ptr("eastus"), Identity: identity,
		Properties: map[string]any{"managedEnvironmentId": g.group() + "/providers/Microsoft.App/managedEnvironments/polyclaw-env"},
	}, nil)
	if err != nil {
		return armresources.GenericResource{}, err
	}
	r, err := p.PollUntilDone(ctx, quickly)
	return r.GenericResource, err
}

func (g *goSDK) resources(t *testing.T) {
	ctx := t.Context()
	c, err := armresources.NewClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	r := result(t, g, "armresources.Client.BeginCreateOrUpdateByID of a container app with an identity of its own", func() (armresources.GenericResource, error) {
		r, err := g.containerApp(ctx, "go-app", &armresources.Identity{Type: to.Ptr(armresources.ResourceIdentityTypeSystemAssigned)})
		if err == nil {
			err = is(r.Identity != nil && r.Identity.PrincipalID != nil && *r.Identity.TenantID == g.tenant(), "its identity is %+v", r.Identity)
		}
		return r, err
	})
	g.Operation(t, "armmsi.SystemAssignedIdentitiesClient.GetByScope", func() error {
		c, err := armmsi.NewSystemAssignedIdentitiesClient(g.operator, g.arm())
		if err != nil {
			return err
		}
		own, err := c.GetByScope(ctx, *r.ID, nil)
		if err != nil {
			return err
		}
		return is(*own.Properties.PrincipalID == *r.Identity.PrincipalID, "it is %+v", own.Properties)
	})
	g.Operation(t, "armresources.Client.GetByID", func() error {
		got, err := c.GetByID(ctx, *r.ID, appVersion, nil)
		if err != nil {
			return err
		}
		return is(*got.Name == "go-app" && *got.Type == "Microsoft.App/containerApps", "it is %+v", got.GenericResource)
	})
	g.Operation(t, "armresources.Client.CheckExistenceByID", func() error {
		there, err := c.CheckExistenceByID(ctx, *r.ID, appVersion, nil)
		if err != nil {
			return err
		}
		absent, err := c.CheckExistenceByID(ctx, *r.ID+"-not", appVersion, nil)
		if err != nil {
			return err
		}
		return is(there.Success && !absent.Success, "there: %v, absent: %v", there.Success, absent.Success)
	})
	g.Operation(t, "armresources.Client.NewListByResourceGroupPager with a filter", func() error {
		all, err := pages(ctx, c.NewListByResourceGroupPager("polyclaw-rg", &armresources.ClientListByResourceGroupOptions{Filter: to.Ptr("resourceType eq 'Microsoft.App/containerApps'")}))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 1 && *all[0].Value[0].Name == "go-app", "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armresources.Client.BeginDeleteByID", func() error {
		p, err := c.BeginDeleteByID(ctx, *r.ID, appVersion, nil)
		if err != nil {
			return err
		}
		_, err = p.PollUntilDone(ctx, quickly)
		return err
	})
	g.Refused(t, "armresources.Client.GetByID of a deleted one", "ResourceNotFound", func() error {
		_, err := c.GetByID(ctx, *r.ID, appVersion, nil)
		return err
	})
	g.Refused(t, "armresources.Client.GetByID in a version that the type does not have", "NoRegisteredProviderFound", func() error {
		_, err := c.GetByID(ctx, *r.ID, "1999-01-01", nil)
		return err
	})
}

func (g *goSDK) identities(t *testing.T) {
	ctx, subscription := t.Context(), g.env["AZURE_SUBSCRIPTION_ID"]
	c, err := armmsi.NewUserAssignedIdentitiesClient(subscription, g.operator, g.arm())
	must(t, err)
	made := result(t, g, "armmsi.UserAssignedIdentitiesClient.CreateOrUpdate", func() (armmsi.Identity, error) {
		r, err := c.CreateOrUpdate(ctx, "polyclaw-rg", "mi-go", armmsi.Identity{Location: to.Ptr("eastus")}, nil)
		if err == nil {
			err = is(*r.Properties.TenantID == g.tenant() && *r.Properties.PrincipalID != *r.Properties.ClientID, "it is %+v", r.Properties)
		}
		return r.Identity, err
	})
	g.Operation(t, "Microsoft Graph: the identity's service principal", func() error {
		var sp struct{ ID, ServicePrincipalType string }
		if err := g.graph(g.operator).call(ctx, "GET", "/v1.0/servicePrincipals(appId='"+*made.Properties.ClientID+"')", nil, &sp); err != nil {
			return err
		}
		return is(sp.ID == *made.Properties.PrincipalID && sp.ServicePrincipalType == "ManagedIdentity", "it is %+v", sp)
	})
	g.Operation(t, "armmsi.UserAssignedIdentitiesClient.Update of the tags", func() error {
		r, err := c.Update(ctx, "polyclaw-rg", "mi-go", armmsi.IdentityUpdate{Tags: map[string]*string{"made": to.Ptr("by Go")}}, nil)
		if err != nil {
			return err
		}
		return is(*r.Tags["made"] == "by Go" && *r.Properties.PrincipalID == *made.Properties.PrincipalID, "it is %+v", r.Identity)
	})
	g.Operation(t, "armmsi.UserAssignedIdentitiesClient.NewListBySubscriptionPager", func() error {
		all, err := pages(ctx, c.NewListBySubscriptionPager(nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 1 && *all[0].Value[0].ID == *made.ID, "it lists %d", len(all[0].Value))
	})
	fed, err := armmsi.NewFederatedIdentityCredentialsClient(subscription, g.operator, g.arm())
	must(t, err)
	wish := armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
		Issuer: to.Ptr("https://token.actions.githubusercontent.com"), Subject: to.Ptr("repo:contoso/agent:ref:refs/heads/main"), Audiences: []*string{to.Ptr("api://AzureADTokenExchange")},
	}}
	g.Operation(t, "armmsi.FederatedIdentityCredentialsClient.CreateOrUpdate", func() error {
		r, err := fed.CreateOrUpdate(ctx, "polyclaw-rg", "mi-go", "main", wish, nil)
		if err != nil {
			return err
		}
		return is(*r.Properties.Subject == *wish.Properties.Subject, "it is %+v", r.Properties)
	})
	g.Operation(t, "armmsi.FederatedIdentityCredentialsClient.NewListPager", func() error {
		all, err := pages(ctx, fed.NewListPager("polyclaw-rg", "mi-go", nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 1 && *all[0].Value[0].Name == "main", "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armmsi.FederatedIdentityCredentialsClient.Delete", func() error {
		_, err := fed.Delete(ctx, "polyclaw-rg", "mi-go", "main", nil)
		return err
	})
	g.Refused(t, "armmsi.FederatedIdentityCredentialsClient.Get of a deleted one", "404", func() error {
		_, err := fed.Get(ctx, "polyclaw-rg", "mi-go", "main", nil)
		return err
	})
	g.Operation(t, "armmsi.UserAssignedIdentitiesClient.Delete", func() error {
		_, err := c.Delete(ctx, "polyclaw-rg", "mi-go", nil)
		return err
	})
	g.Refused(t, "armmsi.UserAssignedIdentitiesClient.Get of a deleted one", "ResourceNotFound", func() error {
		_, err := c.Get(ctx, "polyclaw-rg", "mi-go", nil)
		return err
	})
}

// assign gives a principal a role. It is not recorded unless an operation does it.
func (g *goSDK) assign(ctx context.Context, scope, role, principal string) error {
	c, err := armauthorization.NewRoleAssignmentsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	if err != nil {
		return err
	}
	_, err = c.Create(ctx, scope, uuid.NewString(), g.wish(role, principal), nil)
	return err
}

// wish is the body of a role assignment to an application.
func (g *goSDK) wish(role, principal string) armauthorization.RoleAssignmentCreateParameters {
	return armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr(g.role(role)), PrincipalID: &principal, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal),
	}}
}

func (g *goSDK) role(id string) string {
	return g.subscription() + "/providers/Microsoft.Authorization/roleDefinitions/" + id
}

// countAll counts what a pager of role assignments lists, and its pages.
func countAll(ctx context.Context, p *runtime.Pager[armauthorization.RoleAssignmentsClientListForScopeResponse]) (n, sheets int, err error) {
	all, err := pages(ctx, p)
	for _, page := range all {
		n += len(page.Value)
	}
	return n, len(all), err
}
