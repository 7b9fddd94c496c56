package clients

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// claimsOf are the claims of a token, whose signature is for its resource to judge.
func claimsOf(token string) (document, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return document{}, errors.New("what should be a token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return document{}, err
	}
	return parse(string(payload))
}

// as logs a user in, with a device code.
func (a az) as(name string) az {
	a.t.Helper()
	a = a.elsewhere()
	_, err := a.DeviceLogin(a.t, a.Cloud().TenantID, func(_, code string) {
		must(a.t, a.Management("POST", "/devicecode/approve", map[string]string{"user_code": code, "upn": a.Operator(name).UPN}, nil))
	})
	must(a.t, err)
	return a
}

func TestAzUsers(t *testing.T) {
	t.Parallel()
	a, ok := openAz(t)
	if !ok {
		return
	}
	a = a.as("admin")
	admin, reader := a.Operator("admin"), a.Operator("reader")
	a.does(`{"id":"`+admin.ObjectID+`","userPrincipalName":"`+admin.UPN+`"}`, "ad signed-in-user show")
	a.does(`{"id":"`+reader.ObjectID+`"}`, "ad user show --id", reader.UPN)
	a.does(`["`+reader.UPN+`"]`, "ad user list --upn", reader.UPN, "--query", "[].userPrincipalName")
	a.does(`["Ria Reader"]`, "ad user list --display-name Ria --query [].displayName")

	group := a.does(`{"displayName":"agents","mailNickname":"agents","securityEnabled":true}`, "ad group create --display-name agents --mail-nickname agents").at("id").text()
	a.does(`{"id":"`+group+`"}`, "ad group show --group agents")
	a.does(`["`+group+`"]`, "ad group list --display-name agents --query [].id")
	a.does("", "ad group member add --group agents --member-id", reader.ObjectID)
	a.does(`{"value":true}`, "ad group member check --group agents --member-id", reader.ObjectID)
	a.does(`["`+reader.ObjectID+`"]`, "ad group member list --group agents --query [].id")
	a.does(`["agents"]`, "ad user get-member-groups --id", reader.UPN, "--query", "[].displayName")
	a.does("", "ad group member remove --group agents --member-id", reader.ObjectID)
	a.does(`{"value":false}`, "ad group member check --group agents --member-id", reader.ObjectID)
	a.does("", "ad group delete --group agents")
	a.does(`[]`, "ad group list --display-name agents")

	app := a.does(`{"appId":"…"}`, "ad app create --display-name consented")
	sp := a.does(`{"appId":"…"}`, "ad sp create --id", app.at("appId").text()).at("id").text()
	graph := a.does(`{"displayName":"Microsoft Graph"}`, "ad sp show --id", microsoftGraph).at("id").text()
	a.does(`["`+sp+`"]`, "ad sp list --show-mine --query [].id")
	a.does(`["`+app.at("appId").text()+`"]`, "ad app list --show-mine --query [].appId")
	assignment := a.named("az rest: consent to an application permission", `{"principalId":"`+sp+`","appRoleId":"`+groupReadAllRole+`"}`,
		a.rest("post", a.graph("/servicePrincipals/"+sp+"/appRoleAssignments"), `{"principalId":"`+sp+`","resourceId":"`+graph+`","appRoleId":"`+groupReadAllRole+`"}`)...)
	a.named("az rest: the application permissions of a service principal", `{"value":[{"id":"`+assignment.at("id").text()+`"}]}`, a.rest("get", a.graph("/servicePrincipals/"+sp+"/appRoleAssignments"), "")...)
	a.named("az rest: $batch", `{"responses":[{"id":"1","status":200,"body":{"id":"`+admin.ObjectID+`"}},{"id":"2","status":200,"body":{"value":[{"displayName":"consented"}]}},{"id":"3","status":404}]}`,
		a.rest("post", a.graph("/$batch"), `{"requests":[{"id":"1","method":"GET","url":"/me"},{"id":"2","method":"GET","url":"/applications?$filter=displayName eq 'consented'&$select=displayName"},`+
			`{"id":"3","method":"GET","url":"/applications/`+sp+`"}]}`)...)
	a.named("az rest: $batch whose requests wait for each other", `{"responses":[{"id":"1","status":204},{"id":"2","status":200,"body":{"notes":"by batch"}}]}`,
		append(a.rest("post", a.graph("/$batch"), `{"requests":[{"id":"1","method":"PATCH","url":"/applications/`+app.at("id").text()+`","headers":{"Content-Type":"application/json"},"body":{"notes":"by batch"}},`+
			`{"id":"2","dependsOn":["1"],"method":"GET","url":"/applications/`+app.at("id").text()+`?$select=notes"}]}`), "--query", "{responses: sort_by(responses,&id)}")...)
	a.does("", "rest --method delete --url", a.graph("/servicePrincipals/"+sp+"/appRoleAssignments/"+assignment.at("id").text()))
	a.named("az rest: page after page", `{"@odata.nextLink":"…","value":[{"userPrincipalName":"…"},{"userPrincipalName":"…"}]}`, a.rest("get", a.graph("/users?$top=2&$select=userPrincipalName"), "")...)
	a.named("az rest: subscriptions", `{"value":[{"subscriptionId":"`+a.Cloud().SubscriptionID+`"}]}`, a.rest("get", "/subscriptions?api-version=2022-12-01", "")...)
	a.managementGroups()

	secret := a.elsewhere()
	secret.does("", "account clear")
	secret.named("az login, with name and password", `[{"user":{"name":"`+reader.UPN+`","type":"user"}}]`, words("login --tenant", a.Cloud().TenantID, "-u", reader.UPN, "-p="+reader.Password.Reveal())...)
}

// managementGroups are made by a user; an application would need a role at the root, where nobody has one.
func (a az) managementGroups() {
	a.t.Helper()
	subscription := a.Cloud().SubscriptionID
	a.does(`{"name":"platform","displayName":"Platform","type":"Microsoft.Management/managementGroups"}`, "account management-group create --name platform --display-name Platform")
	a.does(`["platform"]`, "account management-group list --no-register --query [].name")
	a.does(`{"displayName":"Platform","details":{"parent":{"name":"`+a.Cloud().TenantID+`"}}}`, "account management-group show --no-register --name platform")
	a.does(`{"displayName":"Platform team"}`, "account management-group update --name platform --display-name", "Platform team")
	a.does(`{"name":"team"}`, "account management-group create --name team")
	a.does(`{"name":"team"}`, "account management-group update --name team --parent platform")
	a.named("az account management-group show, of one that has moved", `{"details":{"parent":{"name":"platform"}}}`, words("account management-group show --no-register --name team")...)
	a.does(`{"status":"Succeeded"}`, "account management-group delete --no-register --name team")
	a.does(`{"name":"`+subscription+`","parent":{"name":"platform"}}`, "account management-group subscription add --name platform --subscription", subscription)
	a.does(`["`+subscription+`"]`, "account management-group show --no-register --expand --name platform --query children[].name")
	a.does(`["`+subscription+`"]`, "account management-group subscription show-sub-under-mg --name platform --query [].name")
	a.fails("a management group that is not empty is not deleted", "BadRequest", "account management-group delete --no-register --name platform")
	a.does("", "account management-group subscription remove --name platform --subscription", subscription)
	a.named("az account management-group subscription show-sub-under-mg, after the removal", `[]`, words("account management-group subscription show-sub-under-mg --name platform")...)
	a.does(`{"status":"Succeeded"}`, "account management-group delete --no-register --name platform")
	a.does(`[]`, "account management-group list --no-register --query", "[?name=='platform']")
}
