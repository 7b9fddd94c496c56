package clients

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// Azure built-in roles (Microsoft, "Azure built-in roles").
const (
	roleReader         = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	roleSecretsOfficer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
)

const authorization = "/providers/Microsoft.Authorization"

// assign is the request that assigns a role to a service principal at a scope below the subscription. Its name is made of what it says,
// so that a second time is the same assignment.
func (a az) assign(scope, role, principal string) []string {
	sum := sha256.Sum256([]byte(scope + role + principal))
	name := uuid.UUID(sum[:16]).String()
	body, err := json.Marshal(map[string]any{"properties": map[string]string{
		"roleDefinitionId": "/subscriptions/" + a.Cloud().SubscriptionID + authorization + "/roleDefinitions/" + role, "principalId": principal, "principalType": "ServicePrincipal",
	}})
	if err != nil {
		panic(err) // texts can be written
	}
	return a.rest("put", a.arm(scope+authorization+"/roleAssignments/"+name+"?api-version=2022-04-01"), string(body))
}

func TestAzResources(t *testing.T) {
	t.Parallel()
	a, ok := loggedIn(t)
	if !ok {
		return
	}
	op := a.Operator("sp-operator")
	group := "/subscriptions/" + a.Cloud().SubscriptionID + "/resourceGroups/demo-rg"
	a.does(`{"id":"`+group+`","name":"demo-rg","location":"westeurope","tags":{"team":"agents"},"properties":{"provisioningState":"Succeeded"}}`,
		"group create --name demo-rg --location westeurope --tags team=agents")
	a.does(`{"id":"`+group+`"}`, "group show --name demo-rg")
	a.does(`true`, "group exists --name demo-rg")
	a.does(`["demo-rg","legacy-rg","polyclaw-rg"]`, "group list --query", "sort([].name)")
	a.does(`["demo-rg"]`, "group list --tag team=agents --query [].name")
	a.does(`{"tags":{"team":"security"}}`, "group update --name demo-rg --set tags.team=security")

	identity := a.does(`{"name":"demo-mi","clientId":"…","principalId":"…","resourceGroup":"demo-rg","type":"Microsoft.ManagedIdentity/userAssignedIdentities"}`,
		"identity create --resource-group demo-rg --name demo-mi")
	a.does(`{"principalId":"`+identity.at("principalId").text()+`"}`, "identity show --resource-group demo-rg --name demo-mi")
	a.does(`["demo-mi"]`, "identity list --resource-group demo-rg --query [].name")
	a.does(`["demo-mi"]`, "identity list --query [].name")
	a.does(`{"servicePrincipalType":"ManagedIdentity"}`, "ad sp show --id", identity.at("clientId").text())
	a.does(`{"name":"cluster","subject":"system:serviceaccount:agents:demo"}`, "identity federated-credential create --resource-group demo-rg --identity-name demo-mi --name cluster "+
		"--issuer https://oidc.contoso.example --subject system:serviceaccount:agents:demo --audiences api://AzureADTokenExchange")
	a.does(`["cluster"]`, "identity federated-credential list --resource-group demo-rg --identity-name demo-mi --query [].name")
	a.does(`{"issuer":"https://oidc.contoso.example"}`, "identity federated-credential show --resource-group demo-rg --identity-name demo-mi --name cluster")
	a.does("", "identity federated-credential delete --yes --resource-group demo-rg --identity-name demo-mi --name cluster")

	a.roles(identity.at("principalId").text())

	a.does(`["kv-legacy","kv-polyclaw"]`, "resource list --resource-type Microsoft.KeyVault/vaults --query", "sort([].name)")
	a.does(`["demo-mi"]`, "resource list --resource-group demo-rg --query [].name")
	a.does(`{"name":"polyclaw-bot","kind":"azurebot"}`, "resource show --resource-group polyclaw-rg --name polyclaw-bot --resource-type Microsoft.BotService/botServices")
	a.does(`{"name":"polyclaw-pool"}`, "resource show --ids", "/subscriptions/"+a.Cloud().SubscriptionID+"/resourceGroups/polyclaw-rg/providers/Microsoft.App/sessionPools/polyclaw-pool")
	a.does(`{"namespace":"Microsoft.KeyVault","registrationState":"Registered"}`, "provider show --namespace Microsoft.KeyVault")
	a.does(`["Microsoft.KeyVault"]`, "provider list --query", "[?namespace=='Microsoft.KeyVault'].namespace")
	a.does(`["eastus"]`, "account list-locations --query", "[?name=='eastus'].name")
	a.does(`{"name":"keep","level":"CanNotDelete"}`, "lock create --name keep --lock-type CanNotDelete --resource-group demo-rg")
	a.does(`["keep"]`, "lock list --resource-group demo-rg --query [].name")
	a.fails("a locked resource group is not deleted", "ScopeLocked", "group delete --yes --name demo-rg")
	a.does("", "lock delete --name keep --resource-group demo-rg")

	subscriptions := `{"subscriptions":["` + a.Cloud().SubscriptionID + `"],"query":`
	a.named("az rest: Resource Graph, resources", `{"count":2,"data":[{"name":"kv-legacy"},{"name":"kv-polyclaw"}]}`, a.rest("post", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01",
		subscriptions+`"resources | where type =~ 'microsoft.keyvault/vaults' | project name | order by name asc"}`)...)
	a.named("az rest: Resource Graph, role assignments", `{"count":1}`, a.rest("post", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01",
		subscriptions+`"authorizationresources | where type =~ 'microsoft.authorization/roleassignments' | where properties.principalId == '`+op.ObjectID+`'"}`)...)

	a.does("", "identity delete --resource-group demo-rg --name demo-mi")
	a.does(`[]`, "identity list --resource-group demo-rg")
	a.does("", "group delete --yes --name demo-rg")
	a.does(`false`, "group exists --name demo-rg")
}

// roles are read, assigned and taken away. az role would do the same.
func (a az) roles(principal string) {
	a.t.Helper()
	const instead = "roles are read and assigned by `az rest`"
	a.crashes("role definition list", "'RoleDefinitionsOperations' object has no attribute 'config'", instead)
	a.crashes("role assignment list", "'RoleDefinitionsOperations' object has no attribute 'config'", instead)
	a.crashes("role assignment create --assignee-object-id "+principal+" --assignee-principal-type ServicePrincipal --role Reader --resource-group demo-rg", "'RoleAssignmentsOperations' object has no attribute 'config'", instead)
	a.crashes("role assignment delete --assignee "+principal, "'RoleAssignmentsOperations' object has no attribute 'config'", instead)

	const scope = "/resourceGroups/demo-rg"
	full := strings.TrimPrefix(a.arm(scope), a.Cloud().Endpoints.ARM)
	a.named("az rest: role definitions by name", `{"value":[{"name":"`+roleReader+`","properties":{"roleName":"Reader","type":"BuiltInRole"}}]}`,
		a.rest("get", a.arm(authorization+"/roleDefinitions?api-version=2022-04-01&$filter=roleName eq 'Reader'"), "")...)
	a.named("az rest: a role definition", `{"name":"`+roleReader+`"}`, a.rest("get", a.arm(authorization+"/roleDefinitions/"+roleReader+"?api-version=2022-04-01"), "")...)
	made := a.named("az rest: assign a role", `{"properties":{"principalId":"`+principal+`","principalType":"ServicePrincipal","scope":"`+full+`"}}`, a.assign(scope, roleReader, principal)...)
	a.named("az rest: the same assignment again", `{"id":"`+made.at("id").text()+`"}`, a.assign(scope, roleReader, principal)...)
	a.named("az rest: role assignments of a principal", `{"value":[{"id":"`+made.at("id").text()+`"}]}`,
		a.rest("get", a.arm(authorization+"/roleAssignments?api-version=2022-04-01&$filter=assignedTo('"+principal+"')"), "")...)
	a.named("az rest: role assignments at a scope", `{"value":[{"id":"`+made.at("id").text()+`"}]}`,
		a.rest("get", a.arm(scope+authorization+"/roleAssignments?api-version=2022-04-01&$filter=atScope() and assignedTo('"+principal+"')"), "")...)
	another := strings.Replace(made.at("id").text(), made.at("name").text(), uuid.NewString(), 1)
	a.fails("a second assignment of the same role", "RoleAssignmentExists", a.rest("put", a.Cloud().Endpoints.ARM+another+"?api-version=2022-04-01",
		`{"properties":{"roleDefinitionId":"`+made.at("properties.roleDefinitionId").text()+`","principalId":"`+principal+`","principalType":"ServicePrincipal"}}`)...)
	a.named("az rest: take a role away", `{"id":"`+made.at("id").text()+`"}`, a.rest("delete", a.Cloud().Endpoints.ARM+made.at("id").text()+"?api-version=2022-04-01", "")...)
	a.fails("a role assignment that is gone", "RoleAssignmentNotFound", a.rest("get", a.Cloud().Endpoints.ARM+made.at("id").text()+"?api-version=2022-04-01", "")...)
}

func TestAzVaults(t *testing.T) {
	t.Parallel()
	a, ok := loggedIn(t)
	if !ok {
		return
	}
	operator := a.Operator("sp-operator").ObjectID
	const vault = "/resourceGroups/polyclaw-rg/providers/Microsoft.KeyVault/vaults/kv-polyclaw"
	a.does(`["kv-legacy","kv-polyclaw"]`, "keyvault list --query", "sort([].name)")
	a.does(`{"name":"kv-polyclaw","properties":{"enableRbacAuthorization":true,"enableSoftDelete":true}}`, "keyvault show --name kv-polyclaw")
	a.crashes("keyvault secret list --vault-name kv-polyclaw", "No module named 'azure.keyvault.v7_0'", "what is in a vault is reached by `az rest`")

	a.does(`{"name":"kv-demo","properties":{"enableRbacAuthorization":true,"vaultUri":"…"}}`, "keyvault create --name kv-demo --resource-group polyclaw-rg --location eastus --enable-rbac-authorization true")
	a.does(`{"properties":{"publicNetworkAccess":"Disabled"}}`, "keyvault update --name kv-demo --resource-group polyclaw-rg --public-network-access Disabled")
	a.does("", "keyvault delete --name kv-demo --resource-group polyclaw-rg")
	a.does(`["kv-demo"]`, "keyvault list-deleted --resource-type vault --query [].name")
	a.does(`{"name":"kv-demo"}`, "keyvault show-deleted --name kv-demo")
	a.does("", "keyvault purge --name kv-demo")
	a.does(`[]`, "keyvault list-deleted --resource-type vault")

	at := a.Cloud().Endpoints.Vault["kv-polyclaw"]
	secret := func(method, path, body string) []string {
		return append(a.rest(method, at+path+"?api-version=7.4", body), "--resource", "https://vault.azure.net")
	}
	a.fails("a vault's value without a role on the vault", "ForbiddenByRbac", secret("get", "/secrets", "")...)
	a.named("az rest: assign Key Vault Secrets Officer on the vault", `{"properties":{"principalId":"`+operator+`"}}`, a.assign(vault, roleSecretsOfficer, operator)...)
	a.named("az rest: set a value in the vault", `{"value":"hunter2","id":"…"}`, secret("put", "/secrets/demo", `{"value":"hunter2"}`)...)
	a.named("az rest: read a value in the vault", `{"value":"hunter2"}`, secret("get", "/secrets/demo", "")...)
	a.named("az rest: list values in the vault", `{"value":[{"id":"`+at+`/secrets/demo"}],"nextLink":null}`, secret("get", "/secrets", "")...)
	a.named("az rest: delete a value in the vault", `{"recoveryId":"…"}`, secret("delete", "/secrets/demo", "")...)
	a.fails("a value that is not in the vault", "SecretNotFound", secret("get", "/secrets/demo", "")...)
}
