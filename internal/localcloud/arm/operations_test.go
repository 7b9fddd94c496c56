package arm

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// follow asks an address that a header gave.
func (f *fixture) follow(oid, address string) answer {
	f.t.Helper()
	path, isOurs := strings.CutPrefix(address, f.arm)
	if !isOurs {
		f.t.Fatalf("%q is not on our host", address)
	}
	return f.send("GET", path, nil, "Bearer "+f.token(oid, nil), false)
}

func TestProvidersTakeTheirTime(t *testing.T) {
	for _, row := range []struct{ typ, making, changing string }{
		{"Microsoft.App/containerApps", "InProgress", "InProgress"},
		{"Microsoft.App/managedEnvironments", "InitializationInProgress", "Waiting"},
		{"Microsoft.App/sessionPools", "InProgress", "InProgress"},
		{"Microsoft.ContainerRegistry/registries", "Creating", "Updating"},
	} {
		t.Run(row.typ, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				id := rg + "/providers/" + row.typ + "/thing1"
				state := func(a answer) any { return a.properties()["provisioningState"] }
				made := f.as(owner, "PUT", id, object{"location": "East US"}).want(t, 201, "")
				status, result := made.header.Get("Azure-AsyncOperation"), made.header.Get("Location")
				if state(made) != row.making || !strings.Contains(status, "/locations/eastus/operationStatuses/") || !strings.Contains(result, "/operationResults/") {
					t.Errorf("got %s, %v", made.raw, made.header)
				}
				if got := f.as(owner, "GET", id, nil).want(t, 200, ""); state(got) != row.making {
					t.Errorf("got %s", got.raw)
				}
				if a := f.follow(owner, status).want(t, 200, ""); a.body["status"] != "InProgress" || a.header.Get("Retry-After") != "1" {
					t.Errorf("got %s, %v", a.raw, a.header)
				}
				f.follow(owner, result).want(t, 202, "")
				f.follow(nobody, status).want(t, 404, "OperationNotFound")
				time.Sleep(settling)
				if a := f.follow(owner, status).want(t, 200, ""); a.body["status"] != "Succeeded" || a.body["endTime"] == nil {
					t.Errorf("got %s", a.raw)
				}
				if a := f.follow(owner, result).want(t, 200, ""); a.body["id"] != id || state(a) != "Succeeded" {
					t.Errorf("got %s", a.raw)
				}
				if got := f.as(owner, "PUT", id, object{"location": "eastus"}).want(t, 200, ""); state(got) != row.changing {
					t.Errorf("got %s", got.raw)
				}
				time.Sleep(settling)
				gone := f.as(owner, "DELETE", id, nil).want(t, 202, "")
				f.follow(owner, gone.header.Get("Location")).want(t, 202, "")
				time.Sleep(settling)
				f.follow(owner, gone.header.Get("Location")).want(t, 204, "")
				f.as(owner, "DELETE", id, nil).want(t, 204, "")
			})
		})
	}
}

func TestAVaultIsRegisteredInTheDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		id := rg + "/providers/Microsoft.KeyVault/vaults/kv-new"
		state := func(a answer) any { return a.properties()["provisioningState"] }
		if made := f.as(owner, "PUT", id, vaultBody(nil)).want(t, 201, ""); state(made) != "RegisteringDns" || made.header.Get("Azure-AsyncOperation") != "" {
			t.Errorf("got %s, %v", made.raw, made.header)
		}
		time.Sleep(settling)
		if got := f.as(owner, "GET", id, nil); state(got) != "Succeeded" {
			t.Errorf("got %s", got.raw)
		}
		f.as(owner, "DELETE", id, nil).want(t, 200, "")
		purged := f.as(owner, "POST", binned+"kv-new/purge", nil).want(t, 202, "")
		f.follow(owner, purged.header.Get("Location")).want(t, 202, "")
		time.Sleep(settling)
		f.follow(owner, purged.header.Get("Location")).want(t, 200, "")
	})
}

// Whoever deletes the group in which it has its only role must still be told how that ended.
func TestWhoBeganAnOperationMayAskForIt(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) { f.assign(tx, sub+"/resourceGroups/rg-other", "Owner", agent, "ServicePrincipal") })
	gone := f.as(agent, "DELETE", sub+"/resourceGroups/rg-other", nil).want(t, 202, "")
	f.as(agent, "GET", sub, nil).want(t, 403, "AuthorizationFailed")
	f.follow(agent, gone.header.Get("Location")).want(t, 202, "")
	f.follow(owner, gone.header.Get("Location")).want(t, 202, "")
	f.follow(agent, strings.Replace(gone.header.Get("Location"), subID, otherSub, 1)).want(t, 404, "OperationNotFound")
}

func TestOperationsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for range 100 {
			f.as(owner, "PUT", rg+"/providers/Microsoft.App/sessionPools/pool", object{"location": place})
			time.Sleep(remembered / 10)
		}
		if n := len(f.operations.All(primary(f))); n > 12 {
			t.Errorf("%d operations are kept", n)
		}
	})
}

func TestEtagsFollowTheResource(t *testing.T) {
	f := newFixture(t)
	first := f.as(owner, "GET", botID, nil).body["etag"]
	if first == nil || first != f.as(owner, "GET", botID, nil).body["etag"] {
		t.Errorf("got %v", first)
	}
	changed := f.as(owner, "PATCH", botID, object{"etag": first, "tags": object{"a": "b"}}).want(t, 200, "")
	if changed.body["etag"] == first {
		t.Error("the etag stays when the resource changes")
	}
	if a := f.as(owner, "GET", vaultID, nil); a.body["etag"] != nil {
		t.Error("a vault has no etag")
	}
}

func TestTheSDKWaitsForVaultsAndResources(t *testing.T) {
	f := newFixture(t)
	o := f.serve(t)
	ctx := t.Context()
	soon := &runtime.PollUntilDoneOptions{Frequency: time.Second}
	vaults := must[*armkeyvault.VaultsClient](t)(armkeyvault.NewVaultsClient(subID, credential{f, owner}, o))
	put := must[*runtime.Poller[armkeyvault.VaultsClientCreateOrUpdateResponse]](t)(vaults.BeginCreateOrUpdate(ctx, "rg-bots", "kv-sdk", armkeyvault.VaultCreateOrUpdateParameters{
		Location: to.Ptr("eastus"), Properties: &armkeyvault.VaultProperties{TenantID: to.Ptr(tenantID), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)}},
	}, nil))
	if made := must[armkeyvault.VaultsClientCreateOrUpdateResponse](t)(put.PollUntilDone(ctx, soon)); *made.Properties.ProvisioningState != armkeyvault.VaultProvisioningStateSucceeded {
		t.Errorf("got %+v", made.Properties)
	}
	must[armkeyvault.VaultsClientDeleteResponse](t)(vaults.Delete(ctx, "rg-bots", "kv-sdk", nil))
	purge := must[*runtime.Poller[armkeyvault.VaultsClientPurgeDeletedResponse]](t)(vaults.BeginPurgeDeleted(ctx, "kv-sdk", "eastus", nil))
	must[armkeyvault.VaultsClientPurgeDeletedResponse](t)(purge.PollUntilDone(ctx, soon))

	c := must[*armresources.Client](t)(armresources.NewClient(subID, credential{f, owner}, o))
	create := must[*runtime.Poller[armresources.ClientCreateOrUpdateByIDResponse]](t)(c.BeginCreateOrUpdateByID(ctx, app, "2024-03-01", armresources.GenericResource{Location: to.Ptr("eastus")}, nil))
	if made := must[armresources.ClientCreateOrUpdateByIDResponse](t)(create.PollUntilDone(ctx, soon)); *made.ID != app {
		t.Errorf("got %+v", made)
	}
	patch := must[*runtime.Poller[armresources.ClientUpdateByIDResponse]](t)(c.BeginUpdateByID(ctx, app, "2024-03-01", armresources.GenericResource{Identity: &armresources.Identity{Type: to.Ptr(armresources.ResourceIdentityTypeSystemAssigned)}}, nil))
	if made := must[armresources.ClientUpdateByIDResponse](t)(patch.PollUntilDone(ctx, soon)); *made.Identity.PrincipalID == "" {
		t.Errorf("got %+v", made)
	}
	remove := must[*runtime.Poller[armresources.ClientDeleteByIDResponse]](t)(c.BeginDeleteByID(ctx, app, "2024-03-01", nil))
	must[armresources.ClientDeleteByIDResponse](t)(remove.PollUntilDone(ctx, soon))
	if _, err := c.GetByID(ctx, app, "2024-03-01", nil); code(err) != "ResourceNotFound" {
		t.Errorf("got %v", err)
	}
}
