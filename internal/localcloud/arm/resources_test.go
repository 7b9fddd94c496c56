package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	identity = rg + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mi-bot"
	app      = rg + "/providers/Microsoft.App/containerApps/bot-app"
	place    = "eastus"
)

func TestPutResourceRefusals(t *testing.T) {
	f := newFixture(t)
	for _, row := range []struct {
		name, id string
		body     any
		status   int
		code     string
	}{
		{"no location", botID + "2", object{}, 400, "LocationRequired"},
		{"no body", botID + "2", nil, 400, "InvalidRequestContent"},
		{"properties that are no object", botID + "2", object{"location": place, "properties": 1}, 400, "InvalidRequestContent"},
		{"a vault name with an underscore", rg + "/providers/Microsoft.KeyVault/vaults/kv_1", object{"location": place}, 400, "InvalidResourceName"},
		{"a vault without sku", rg + "/providers/Microsoft.KeyVault/vaults/kv-new", object{"location": place, "properties": object{"tenantId": tenantID}}, 400, "BadRequest"},
		{"a vault name that another group has", sub + "/resourceGroups/rg-other/providers/Microsoft.KeyVault/vaults/KV-bots", object{"location": place, "properties": object{"tenantId": tenantID, "sku": object{}}}, 409, "VaultAlreadyExists"},
		{"a resource that moves", vaultID, object{"location": "westus2", "properties": object{"tenantId": tenantID, "sku": object{}}}, 409, "InvalidResourceLocation"},
		{"a resource outside of a group", sub + "/providers/Microsoft.BotService/botServices/b2", object{"location": place}, 400, "InvalidResourceScope"},
		{"an action that is not served", botID + "/listChannels", nil, 404, "NotFound"},
	} {
		t.Run(row.name, func(t *testing.T) {
			method := "PUT"
			if strings.HasSuffix(row.id, "listChannels") {
				method = "POST"
			}
			f.as(owner, method, row.id, row.body).want(t, row.status, row.code)
		})
	}
}

func TestAResourceFromPutToDelete(t *testing.T) {
	f := newFixture(t)
	const pool = rg + "/providers/Microsoft.App/sessionPools/pool"
	f.as(reader, "PUT", pool, object{"location": place}).want(t, 403, "AuthorizationFailed")
	made := f.as(owner, "PUT", strings.ToLower(pool), object{"location": "East US", "id": "/nonsense", "type": "x", "tags": object{"a": "1", "b": "2"}, "properties": object{"containerType": "PythonLTS", "scale": object{"max": 5, "min": 1}}}).want(t, 201, "")
	if made.body["id"] != rg+"/providers/Microsoft.App/sessionPools/pool" || made.body["type"] != "Microsoft.App/sessionPools" || made.properties()["provisioningState"] != "InProgress" {
		t.Errorf("got %s", made.raw)
	}
	f.as(owner, "HEAD", pool, nil).want(t, 204, "")
	// 202, as the specification has it and the SDKs wait for it.
	patched := f.as(owner, "PATCH", pool, object{"tags": object{"c": "3"}, "properties": object{"scale": object{"max": 9, "min": nil}}}).want(t, 202, "")
	if tags := patched.body["tags"].(object); len(tags) != 1 || patched.properties()["scale"].(object)["max"] != 9.0 || patched.properties()["scale"].(object)["min"] != nil || patched.properties()["containerType"] != "PythonLTS" {
		t.Errorf("got %s", patched.raw)
	}
	short := f.as(owner, "GET", rg+"/resources?$filter=resourceType eq 'Microsoft.App/sessionPools'", nil).items()
	if len(short) != 1 || short[0]["properties"] != nil || short[0]["name"] != "pool" {
		t.Errorf("got %v", short)
	}
	f.as(owner, "PUT", pool, object{"location": place}).want(t, 200, "")
	f.as(owner, "PUT", pool+assignments+"/"+absent, assignment(readerRole, agent, "")).want(t, 201, "")
	f.as(owner, "DELETE", pool, nil).want(t, 202, "")
	f.as(owner, "DELETE", pool, nil).want(t, 204, "")
	f.as(owner, "HEAD", pool, nil).want(t, 404, "")
	f.as(owner, "PATCH", pool, object{}).want(t, 404, "ResourceNotFound")
	if n := len(f.assignments.By(primary(f), "principal", agent)); n != 0 {
		t.Errorf("%d assignments outlive their resource", n)
	}
}

func TestAVaultSaysWhereItListensAndWhatItTrusts(t *testing.T) {
	f := newFixture(t)
	if p := f.as(reader, "GET", vaultID, nil).want(t, 200, "").properties(); p["vaultUri"] != "https://kv-bots.vault.azure.net/" || p["enableRbacAuthorization"] != true || p["softDeleteRetentionInDays"] != 90.0 {
		t.Errorf("got %v", p)
	}
	check := f.as(owner, "POST", sub+"/providers/Microsoft.KeyVault/checkNameAvailability", object{"name": "kv-BOTS", "type": vaultType}).want(t, 200, "")
	if check.body["nameAvailable"] != false {
		t.Errorf("got %s", check.raw)
	}
}

func TestUserAssignedIdentities(t *testing.T) {
	f := newFixture(t)
	made := f.as(owner, "PUT", identity, object{"location": place}).want(t, 201, "")
	p := made.properties()
	sp, found := f.env.Dir.ServicePrincipals.Get(primary(f), p["principalId"].(string))
	if !found || sp.AppID != p["clientId"] || sp.ServicePrincipalType != "ManagedIdentity" || len(sp.AlternativeNames) != 2 || sp.AlternativeNames[0] != "isExplicit=True" || sp.AlternativeNames[1] != identity {
		t.Errorf("the identity is %v, its service principal %+v", p, sp)
	}
	if again := f.as(owner, "PUT", identity, object{"location": place, "tags": object{"a": "b"}}).want(t, 200, ""); again.properties()["principalId"] != sp.ID {
		t.Errorf("a second PUT made another principal: %s", again.raw)
	}
	if n := len(f.as(owner, "GET", rg+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities", nil).items()); n != 1 {
		t.Errorf("%d identities in the group", n)
	}

	federation := identity + "/federatedIdentityCredentials"
	token := object{"properties": object{"issuer": "https://idp.test", "subject": "s", "audiences": []string{"api://AzureADTokenExchange"}}}
	f.as(owner, "PUT", federation+"/f1", object{"properties": object{"issuer": "https://idp.test"}}).want(t, 400, "BadRequest")
	f.as(owner, "PUT", federation+"/gh1", token).want(t, 201, "")
	f.as(owner, "PUT", federation+"/gh1", token).want(t, 200, "")
	f.as(owner, "PUT", federation+"/gh2", token).want(t, 409, "Conflict")
	f.as(reader, "PUT", federation+"/gh2", token).want(t, 403, "AuthorizationFailed")
	f.as(owner, "PUT", rg+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/none/federatedIdentityCredentials/gh1", token).want(t, 404, "ParentResourceNotFound")
	if items := f.as(reader, "GET", federation, nil).want(t, 200, "").items(); len(items) != 1 || items[0]["id"] != federation+"/gh1" {
		t.Errorf("got %v", items)
	}
	f.as(reader, "GET", federation+"/gh1", nil).want(t, 200, "")
	f.as(owner, "DELETE", federation+"/gh1", nil).want(t, 200, "")
	f.as(owner, "DELETE", federation+"/gh1", nil).want(t, 204, "")
	f.as(owner, "GET", federation+"/gh1", nil).want(t, 404, "ResourceNotFound")

	f.as(owner, "PUT", federation+"/gh1", token).want(t, 201, "")
	f.as(owner, "DELETE", identity, nil).want(t, 200, "")
	if _, found := f.env.Dir.ServicePrincipals.Get(primary(f), sp.ID); found || len(f.env.Dir.FederatedCredentials.All(primary(f))) != 0 {
		t.Error("principal or federated credentials outlive the identity")
	}
}

func TestBindingAnIdentityNeedsTheRightToAssignIt(t *testing.T) {
	f := newFixture(t)
	mi := f.as(owner, "PUT", identity, object{"location": place}).want(t, 201, "").properties()
	f.write(func(tx replica.Tx) { f.assign(tx, rg, "Container Apps Contributor", agent, "ServicePrincipal") })
	body := object{"location": place, "identity": object{"type": "UserAssigned", "userAssignedIdentities": object{identity: object{}}}}
	refused := f.as(agent, "PUT", app, body).want(t, 403, "LinkedAuthorizationFailed")
	if !strings.Contains(refused.message(), "'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) '"+identity+"'") {
		t.Errorf("got %s", refused.message())
	}
	f.write(func(tx replica.Tx) { f.assign(tx, identity, "Managed Identity Operator", agent, "ServicePrincipal") })
	made := f.as(agent, "PUT", app, body).want(t, 201, "")
	shown := made.body["identity"].(object)["userAssignedIdentities"].(object)[identity].(object)
	if shown["clientId"] != mi["clientId"] || shown["principalId"] != mi["principalId"] {
		t.Errorf("got %s", made.raw)
	}
	body["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{identity + "-none": object{}}}
	f.as(owner, "PUT", app, body).want(t, 400, "FailedIdentityOperation")
}

func TestSystemAssignedIdentity(t *testing.T) {
	f := newFixture(t)
	self := app + "/providers/Microsoft.ManagedIdentity/identities/default"
	forged := object{"type": "None", "principalId": agent}
	f.as(owner, "PUT", app, object{"location": place, "identity": forged}).want(t, 201, "")
	f.as(owner, "GET", self, nil).want(t, 404, "ResourceNotFound")
	on := f.as(owner, "PATCH", app, object{"identity": object{"type": "SystemAssigned"}}).want(t, 202, "")
	id := on.body["identity"].(object)["principalId"].(string)
	sp, found := f.env.Dir.ServicePrincipals.Get(primary(f), id)
	if !found || sp.AlternativeNames[0] != "isExplicit=False" || id == agent {
		t.Errorf("got %+v", sp)
	}
	if p := f.as(reader, "GET", self, nil).want(t, 200, "").properties(); p["principalId"] != id {
		t.Errorf("got %v", p)
	}
	f.as(owner, "PATCH", app, object{"identity": object{"type": "None"}}).want(t, 202, "")
	if _, found := f.env.Dir.ServicePrincipals.Get(primary(f), id); found {
		t.Error("the principal outlives the identity")
	}
	if _, found := f.env.Dir.ServicePrincipals.Get(primary(f), agent); !found {
		t.Error("a forged principalId removed somebody else's service principal")
	}
}

func TestLocks(t *testing.T) {
	f := newFixture(t)
	const locks = "/providers/Microsoft.Authorization/locks/"
	lock := func(level string) object { return object{"properties": object{"level": level}} }
	f.as(owner, "PUT", rg+assignments+"/"+absent, assignment(readerRole, agent, "")).want(t, 201, "")
	f.as(reader, "PUT", rg+locks+"keep", lock("CanNotDelete")).want(t, 403, "AuthorizationFailed")
	f.as(owner, "PUT", rg+locks+"keep", lock("Sticky")).want(t, 400, "InvalidLockLevel")
	f.as(owner, "PUT", rg+locks+"keep", lock("CanNotDelete")).want(t, 201, "")
	if n := len(f.as(owner, "GET", sub+strings.TrimSuffix(locks, "/"), nil).items()); n != 1 {
		t.Errorf("%d locks", n)
	}
	for name, path := range map[string]string{"the group": rg, "a resource in it": botID, "a role assignment at it": rg + assignments + "/" + absent} {
		if a := f.as(owner, "DELETE", path, nil); a.code() != "ScopeLocked" || !strings.Contains(a.message(), rg) {
			t.Errorf("%s went in spite of the lock: %s", name, a.raw)
		}
	}
	f.as(owner, "PUT", botID, object{"location": "global"}).want(t, 200, "")
	f.as(owner, "PUT", rg+locks+"keep", lock("ReadOnly")).want(t, 200, "")
	f.as(owner, "PUT", botID, object{"location": "global"}).want(t, 409, "ScopeLocked")
	f.as(owner, "DELETE", rg+locks+"keep", nil).want(t, 200, "")
	f.as(owner, "PUT", botID+locks+"inner", lock("CanNotDelete")).want(t, 201, "")
	f.as(owner, "DELETE", rg, nil).want(t, 409, "ScopeLocked")
	f.as(owner, "GET", botID+locks+"inner", nil).want(t, 200, "")
	f.as(owner, "GET", botID+locks+"other", nil).want(t, 404, "LockNotFound")
	f.as(owner, "DELETE", botID+locks+"inner", nil).want(t, 200, "")
	f.as(owner, "DELETE", botID+locks+"inner", nil).want(t, 204, "")
	f.as(owner, "DELETE", rg, nil).want(t, 202, "")
}
