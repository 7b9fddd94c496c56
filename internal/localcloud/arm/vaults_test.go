package arm

import (
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const binned = sub + "/providers/Microsoft.KeyVault/locations/eastus/deletedVaults/"

func vaultBody(properties object) object {
	all := object{"tenantId": tenantID, "sku": object{"family": "A", "name": "standard"}}
	for k, v := range properties {
		all[k] = v
	}
	return object{"location": place, "properties": all}
}

func TestADeletedVaultKeepsItsName(t *testing.T) {
	f := newFixture(t)
	first, _ := f.Vault(primary(f), "kv-bots")
	var purged []string
	f.OnPurge(func(_ replica.Tx, v Resource) { purged = append(purged, v.Incarnation) })
	f.as(owner, "DELETE", vaultID, nil).want(t, 200, "")
	f.as(owner, "PUT", vaultID, vaultBody(nil)).want(t, 409, "ConflictError")
	f.as(owner, "PUT", sub+"/resourceGroups/rg-other/providers/Microsoft.KeyVault/vaults/kv-bots", vaultBody(object{"createMode": "recover"})).want(t, 409, "ConflictError")
	if a := f.as(owner, "POST", sub+"/providers/Microsoft.KeyVault/checkNameAvailability", object{"name": "kv-bots"}).want(t, 200, ""); a.body["nameAvailable"] != false {
		t.Error(a.raw)
	}
	shown := f.as(owner, "GET", binned+"kv-bots", nil).want(t, 200, "")
	if shown.properties()["vaultId"] != vaultID {
		t.Error(shown.raw)
	}
	if list := f.as(owner, "GET", sub+"/providers/Microsoft.KeyVault/deletedVaults", nil).want(t, 200, "").items(); len(list) != 1 {
		t.Error(list)
	}
	f.as(reader, "GET", binned+"kv-bots", nil).want(t, 403, "AuthorizationFailed")
	f.as(reader, "POST", binned+"kv-bots/purge", nil).want(t, 403, "AuthorizationFailed")
	f.as(owner, "GET", strings.Replace(binned, "eastus", "westus2", 1)+"kv-bots", nil).want(t, 404, "DeletedVaultNotFound")

	back := f.as(owner, "PUT", vaultID, vaultBody(object{"createMode": "recover"})).want(t, 201, "")
	if back.properties()["enableRbacAuthorization"] != true || back.properties()["createMode"] != nil {
		t.Error("a recovered vault is as it was:", back.raw)
	}
	if again, _ := f.Vault(primary(f), "kv-bots"); again.Incarnation != first.Incarnation {
		t.Error("a recovered vault is another one")
	}
	f.as(owner, "GET", binned+"kv-bots", nil).want(t, 404, "DeletedVaultNotFound")
	f.as(owner, "PUT", rg+"/providers/Microsoft.KeyVault/vaults/kv-none", vaultBody(object{"createMode": "recover"})).want(t, 404, "DeletedVaultNotFound")

	f.as(owner, "DELETE", rg, nil).want(t, 202, "") // the group takes it along
	f.as(owner, "PUT", rg, object{"location": place}).want(t, 201, "")
	f.as(owner, "PUT", vaultID, vaultBody(nil)).want(t, 409, "ConflictError")
	f.as(owner, "POST", binned+"kv-bots/purge", nil).want(t, 202, "")
	f.as(owner, "POST", binned+"kv-bots/purge", nil).want(t, 404, "DeletedVaultNotFound")
	f.as(owner, "PUT", vaultID, vaultBody(object{"enablePurgeProtection": true})).want(t, 201, "")
	second, _ := f.Vault(primary(f), "kv-bots")
	if second.Incarnation == first.Incarnation || len(purged) != 1 || purged[0] != first.Incarnation {
		t.Errorf("first %q, second %q, purged %q", first.Incarnation, second.Incarnation, purged)
	}

	f.as(owner, "DELETE", vaultID, nil).want(t, 200, "")
	f.as(owner, "POST", binned+"kv-bots/purge", nil).want(t, 405, "MethodNotAllowed")
	f.write(func(tx replica.Tx) {
		d, _ := f.deletedVault(tx.View, "kv-bots")
		d.Purge = time.Now().Add(-time.Second)
		f.binned.Put(tx, "kv-bots", d)
	})
	f.as(owner, "PUT", vaultID, vaultBody(nil)).want(t, 201, "")
	if third, _ := f.Vault(primary(f), "kv-bots"); third.Incarnation == second.Incarnation || len(purged) != 2 || purged[1] != second.Incarnation {
		t.Errorf("second %q, third %q, purged %q", second.Incarnation, third.Incarnation, purged)
	}
}

func TestWhoMayChangeByWhatAVaultGoes(t *testing.T) {
	f := newFixture(t)
	const other = rg + "/providers/Microsoft.KeyVault/vaults/kv-other"
	f.write(func(tx replica.Tx) {
		f.assign(tx, rg, "Contributor", agent, "ServicePrincipal")
		f.assign(tx, rg, "Contributor", nobody, "User")
		a := f.assign(tx, rg, rbacAdmin, nobody, "User")
		a.Condition, a.ConditionVersion = onlyReader, "2.0"
		f.assignments.Put(tx, a.Name, a)
	})
	policies := object{"properties": object{"enableRbacAuthorization": false}}
	for name, oid := range map[string]string{"a contributor": agent, "a contributor who may assign some roles": nobody} {
		if a := f.as(oid, "PATCH", vaultID, policies).want(t, 400, "InsufficientPermissions"); !strings.HasPrefix(a.message(), "Caller is not allowed to change permission model.") {
			t.Errorf("%s: %s", name, a.message())
		}
		f.send("PUT", vaultID+"?api-version=2025-05-01", vaultBody(nil), "Bearer "+f.token(oid, nil), false).want(t, 400, "InsufficientPermissions") // left out means access policies
		f.as(oid, "PUT", vaultID, vaultBody(object{"enableRbacAuthorization": true})).want(t, 200, "")
		f.as(oid, "PATCH", vaultID, object{"tags": object{"a": "b"}}).want(t, 200, "")
	}
	f.as(agent, "PUT", other, vaultBody(object{"enableRbacAuthorization": true})).want(t, 201, "") // a new vault goes by what it says
	f.as(owner, "PATCH", vaultID, policies).want(t, 200, "")
	f.as(agent, "PATCH", vaultID, object{"properties": object{"enableRbacAuthorization": true}}).want(t, 400, "InsufficientPermissions")
}

// Microsoft, "Prepare for Key Vault API version 2026-02-01 and later": the default is of new vaults only.
func TestWhatAVaultThatDoesNotSayGoesBy(t *testing.T) {
	f := newFixture(t)
	put := func(name, version string, properties object) any {
		a := f.send("PUT", rg+"/providers/Microsoft.KeyVault/vaults/"+name+"?api-version="+version, vaultBody(properties), "Bearer "+f.token(owner, nil), false)
		return a.properties()["enableRbacAuthorization"]
	}
	for _, row := range []struct {
		name, vault, version string
		says                 object
		want                 bool
	}{
		{"a new vault of an old version goes by access policies", "kv-old", "2025-05-01", nil, false},
		{"a new vault of the new version goes by roles", "kv-new", "2026-02-01", nil, true},
		{"a new vault of the new version may say policies", "kv-says", "2026-02-01", object{"enableRbacAuthorization": false}, false},
		{"the new version leaves an old vault what it is", "kv-old", "2026-02-01", nil, false},
		{"the new version leaves a new vault what it is", "kv-new", "2026-02-01", nil, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := put(row.vault, row.version, row.says); got != row.want {
				t.Errorf("enableRbacAuthorization is %v", got)
			}
		})
	}
}

// A change that names no identity binds none.
func TestTagsOfAResourceWithAnIdentityNeedNoRightOnTheIdentity(t *testing.T) {
	f := newFixture(t)
	f.as(owner, "PUT", identity, object{"location": place}).want(t, 201, "")
	bound := object{"type": "UserAssigned", "userAssignedIdentities": object{identity: object{}}}
	f.as(owner, "PUT", app, object{"location": place, "identity": bound}).want(t, 201, "")
	f.write(func(tx replica.Tx) { f.assign(tx, rg, "Container Apps Contributor", agent, "ServicePrincipal") })
	got := f.as(agent, "PATCH", app, object{"tags": object{"a": "b"}}).want(t, 202, "")
	if len(got.body["identity"].(object)["userAssignedIdentities"].(object)) != 1 {
		t.Error(got.raw)
	}
	f.as(agent, "PATCH", app, object{"tags": object{"a": "c"}, "identity": bound}).want(t, 403, "LinkedAuthorizationFailed")
	f.as(agent, "PATCH", app, object{"identity": object{"userAssignedIdentities": object{identity: nil}}}).want(t, 202, "")
	f.as(agent, "PUT", app, object{"location": place, "identity": bound}).want(t, 403, "LinkedAuthorizationFailed")
}
