package arm

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// credential gives tokens of a principal without a login.
type credential struct {
	f   *fixture
	oid string
}

func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: c.f.token(c.oid, nil), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// serve puts the service behind TLS and HTTP/2, as the filters of armauthorization need, and gives the options of its clients.
func (f *fixture) serve(t *testing.T) *azarm.ClientOptions {
	srv := httptest.NewUnstartedServer(f.Service)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f.arm = srv.URL
	return &azarm.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: srv.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Cloud:     cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: srv.URL, Audience: "https://management.azure.com"}}},
	}}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func all[T any](t *testing.T, p *runtime.Pager[T]) []T {
	t.Helper()
	var pages []T
	for p.More() {
		pages = append(pages, must[T](t)(p.NextPage(t.Context())))
	}
	return pages
}

func code(err error) string {
	if e, is := errors.AsType[*azcore.ResponseError](err); is {
		return e.ErrorCode
	}
	return ""
}

func TestTheSDKAssignsRoles(t *testing.T) {
	f := newFixture(t)
	o := f.serve(t)
	ctx := t.Context()
	defs := must[*armauthorization.RoleDefinitionsClient](t)(armauthorization.NewRoleDefinitionsClient(credential{f, owner}, o))
	pages := all(t, defs.NewListPager(rg, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'Reader'")}))
	if len(pages) != 1 || len(pages[0].Value) != 1 {
		t.Fatalf("got %d pages", len(pages))
	}
	role := pages[0].Value[0]
	if *role.ID != sub+definitions+"/"+readerRole || *role.Properties.RoleType != "BuiltInRole" || *role.Properties.Permissions[0].Actions[0] != "*/read" {
		t.Errorf("got %+v", role.Properties)
	}

	c := must[*armauthorization.RoleAssignmentsClient](t)(armauthorization.NewRoleAssignmentsClient(subID, credential{f, owner}, o))
	wish := armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{RoleDefinitionID: role.ID, PrincipalID: to.Ptr(agent), PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal)}}
	made, err := c.Create(ctx, vaultID, absent, wish, nil)
	if err != nil || *made.Properties.Scope != vaultID || *made.Properties.CreatedBy != owner {
		t.Fatalf("got %+v, %v", made.Properties, err)
	}
	if _, err := c.Create(ctx, vaultID, owner, wish, nil); code(err) != "RoleAssignmentExists" {
		t.Errorf("got %v", err)
	}
	// The client writes this filter into the query as it is, spaces included.
	raw := all(t, c.NewListForScopePager(rg, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("principalId eq '" + agent + "'")}))
	if len(raw) != 1 || len(raw[0].Value) != 1 {
		t.Errorf("got %d pages", len(raw))
	}
	encoded := all(t, c.NewListForSubscriptionPager(&armauthorization.RoleAssignmentsClientListForSubscriptionOptions{Filter: to.Ptr("assignedTo('" + agent + "')")}))
	if len(encoded[0].Value) != 1 {
		t.Errorf("assignedTo() lists %d", len(encoded[0].Value))
	}
	if _, err := c.GetByID(ctx, *made.ID, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteByID(ctx, *made.ID, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Delete(ctx, vaultID, absent, nil); err != nil {
		t.Errorf("deleting again: %v", err)
	}
	perms := must[*armauthorization.PermissionsClient](t)(armauthorization.NewPermissionsClient(subID, credential{f, reader}, o))
	if p := all(t, perms.NewListForResourceGroupPager("rg-bots", nil)); *p[0].Value[0].Actions[0] != "*/read" {
		t.Errorf("got %+v", p)
	}
	if p := all(t, perms.NewListForResourcePager("rg-bots", "Microsoft.KeyVault", "", "vaults", "kv-bots", nil)); len(p[0].Value) != 1 {
		t.Errorf("got %+v", p)
	}
	deny := must[*armauthorization.DenyAssignmentsClient](t)(armauthorization.NewDenyAssignmentsClient(subID, credential{f, owner}, o))
	if p := all(t, deny.NewListForScopePager(rg, nil)); len(p[0].Value) != 0 {
		t.Errorf("got %+v", p)
	}
}

func TestTheSDKFollowsNextLinks(t *testing.T) {
	f := newFixture(t)
	o := f.serve(t)
	f.write(func(tx replica.Tx) {
		for range assignmentPage + 1 {
			f.assign(tx, vaultID, "Reader", f.env.NewID(), "User")
		}
	})
	c := must[*armauthorization.RoleAssignmentsClient](t)(armauthorization.NewRoleAssignmentsClient(subID, credential{f, owner}, o))
	n := 0
	for _, p := range all(t, c.NewListForScopePager(vaultID, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("atScope()")})) {
		n += len(p.Value)
	}
	if n != assignmentPage+3 {
		t.Errorf("got %d", n)
	}
}

func TestTheSDKMakesAndDeletesGroupsAndIdentities(t *testing.T) {
	f := newFixture(t)
	o := f.serve(t)
	ctx := t.Context()
	groups := must[*armresources.ResourceGroupsClient](t)(armresources.NewResourceGroupsClient(subID, credential{f, owner}, o))
	if r, err := groups.CheckExistence(ctx, "rg-sdk", nil); err != nil || r.Success {
		t.Fatalf("got %v, %v", r.Success, err)
	}
	must[armresources.ResourceGroupsClientCreateOrUpdateResponse](t)(groups.CreateOrUpdate(ctx, "rg-sdk", armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil))
	if p := all(t, groups.NewListPager(nil)); len(p[0].Value) != 3 {
		t.Errorf("got %d groups", len(p[0].Value))
	}
	ids := must[*armmsi.UserAssignedIdentitiesClient](t)(armmsi.NewUserAssignedIdentitiesClient(subID, credential{f, owner}, o))
	mi := must[armmsi.UserAssignedIdentitiesClientCreateOrUpdateResponse](t)(ids.CreateOrUpdate(ctx, "rg-sdk", "mi-sdk", armmsi.Identity{Location: to.Ptr("eastus")}, nil))
	if *mi.Properties.TenantID != tenantID || *mi.Properties.PrincipalID == "" || *mi.Properties.ClientID == "" {
		t.Errorf("got %+v", mi.Properties)
	}
	if p := all(t, ids.NewListByResourceGroupPager("rg-sdk", nil)); len(p[0].Value) != 1 {
		t.Errorf("got %d identities", len(p[0].Value))
	}
	fed := must[*armmsi.FederatedIdentityCredentialsClient](t)(armmsi.NewFederatedIdentityCredentialsClient(subID, credential{f, owner}, o))
	must[armmsi.FederatedIdentityCredentialsClientCreateOrUpdateResponse](t)(fed.CreateOrUpdate(ctx, "rg-sdk", "mi-sdk", "gh-main", armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{
		Issuer: to.Ptr("https://token.actions.githubusercontent.com"), Subject: to.Ptr("repo:a/b:ref:refs/heads/main"), Audiences: []*string{to.Ptr("api://AzureADTokenExchange")},
	}}, nil))
	if p := all(t, fed.NewListPager("rg-sdk", "mi-sdk", nil)); len(p[0].Value) != 1 {
		t.Errorf("got %d federated credentials", len(p[0].Value))
	}
	poller := must[*runtime.Poller[armresources.ResourceGroupsClientDeleteResponse]](t)(groups.BeginDelete(ctx, "rg-sdk", nil))
	must[armresources.ResourceGroupsClientDeleteResponse](t)(poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}))
	if _, err := groups.Get(ctx, "rg-sdk", nil); code(err) != "ResourceGroupNotFound" {
		t.Errorf("got %v", err)
	}
}

func TestTheSDKReadsVaultsResourcesAndSubscriptions(t *testing.T) {
	f := newFixture(t)
	o := f.serve(t)
	vaults := must[*armkeyvault.VaultsClient](t)(armkeyvault.NewVaultsClient(subID, credential{f, reader}, o))
	v := must[armkeyvault.VaultsClientGetResponse](t)(vaults.Get(t.Context(), "rg-bots", "kv-bots", nil))
	if *v.ID != vaultID || !*v.Properties.EnableRbacAuthorization || *v.Properties.VaultURI != "https://kv-bots.vault.azure.net/" {
		t.Errorf("got %+v", v.Properties)
	}
	if _, err := vaults.Get(t.Context(), "rg-other", "kv-bots", nil); code(err) != "AuthorizationFailed" {
		t.Errorf("got %v", err)
	}
	list := must[*armresources.Client](t)(armresources.NewClient(subID, credential{f, owner}, o))
	if p := all(t, list.NewListPager(&armresources.ClientListOptions{Filter: to.Ptr("resourceType eq 'Microsoft.KeyVault/vaults'")})); len(p[0].Value) != 1 || *p[0].Value[0].ID != vaultID {
		t.Errorf("got %+v", p)
	}
	providers := must[*armresources.ProvidersClient](t)(armresources.NewProvidersClient(subID, credential{f, owner}, o))
	if p := must[armresources.ProvidersClientGetResponse](t)(providers.Get(t.Context(), "microsoft.app", nil)); *p.Namespace != "Microsoft.App" || len(p.ResourceTypes) != 3 {
		t.Errorf("got %+v", p)
	}
	subs := must[*armsubscriptions.Client](t)(armsubscriptions.NewClient(credential{f, owner}, o))
	if p := all(t, subs.NewListPager(nil)); len(p[0].Value) != 1 || *p[0].Value[0].TenantID != tenantID {
		t.Errorf("got %+v", p)
	}
	tenants := must[*armsubscriptions.TenantsClient](t)(armsubscriptions.NewTenantsClient(credential{f, owner}, o))
	p := all(t, tenants.NewListPager(nil))
	if !slices.ContainsFunc(p[0].Value, func(d *armsubscriptions.TenantIDDescription) bool { return *d.TenantID == tenantID }) {
		t.Errorf("got %+v", p)
	}
}
