package arm

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

func TestARequestIsRefusedBeforeItIsRead(t *testing.T) {
	const listed = "api-version=2022-12-01"
	f := newFixture(t)
	bearer := func(change func(*authority.Claims)) string { return "Bearer " + f.token(owner, change) }
	for _, row := range []struct {
		name, authorization string
		query               string
		status              int
		code, says          string
	}{
		{"a call without api-version", bearer(nil), "", 400, "MissingApiVersionParameter", "api-version query parameter"},
		{"an api-version that is no date", bearer(nil), "?api-version=latest", 400, "InvalidApiVersionParameter", "latest"},
		{"a call without token", "", "?" + listed, 401, "AuthenticationFailed", "header is missing"},
		{"a token of nobody", "Bearer a.b.c", "?" + listed, 401, "InvalidAuthenticationToken", "invalid"},
		{"an expired token", bearer(func(c *authority.Claims) { c.Expires = time.Now().Unix() - 1 }), "?" + listed, 401, "ExpiredAuthenticationToken", "is earlier than current UTC time"},
		{"a token for Graph", bearer(func(c *authority.Claims) { c.Audience = "https://graph.microsoft.com" }), "?" + listed, 401, "InvalidAuthenticationTokenAudience", "https://graph.microsoft.com"},
		{"a token of another tenant", bearer(func(c *authority.Claims) { c.TenantID = otherSub }), "?" + listed, 401, "InvalidAuthenticationTokenTenant", "https://sts.windows.net/" + tenantID},
		{"a token of another issuer", bearer(func(c *authority.Claims) { c.Issuer = "https://sts.windows.net/x/" }), "?" + listed, 401, "InvalidAuthenticationTokenTenant", "https://sts.windows.net/x/"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := f.send("GET", "/subscriptions"+row.query, nil, row.authorization, false).want(t, row.status, row.code)
			if !strings.Contains(a.message(), row.says) {
				t.Errorf("the message does not say %q: %s", row.says, a.message())
			}
			if challenge := a.header.Get("WWW-Authenticate"); row.status == 401 && !strings.Contains(challenge, "https://login.test/"+tenantID) {
				t.Errorf("the challenge does not name the tenant: %q", challenge)
			}
		})
	}
	for _, audience := range []string{"https://management.azure.com", "https://management.core.windows.net/", "https://arm.test//", directory.ARMAppID} {
		f.send("GET", "/subscriptions", nil, bearer(func(c *authority.Claims) { c.Audience = audience }), true).want(t, 200, "")
	}
}

func TestWhatAPersonSeesFollowsTheirRoles(t *testing.T) {
	f := newFixture(t)
	for _, row := range []struct {
		name, who, method, path string
		status                  int
		code                    string
		items                   int
	}{
		{"an owner sees their subscription only", owner, "GET", "/subscriptions", 200, "", 1},
		{"a reader of one group sees the subscription", reader, "GET", "/subscriptions", 200, "", 1},
		{"nobody sees none and is not refused", nobody, "GET", "/subscriptions", 200, "", 0},
		{"everybody sees the tenant", nobody, "GET", "/tenants", 200, "", 1},
		{"nobody may not read a subscription", nobody, "GET", sub, 403, "AuthorizationFailed", 0},
		{"a subscription that is not there is told before rights", nobody, "GET", "/subscriptions/" + absent, 404, "SubscriptionNotFound", 0},
		{"an owner lists both groups", owner, "GET", sub + "/resourcegroups", 200, "", 2},
		{"a reader of one group lists that one", reader, "GET", sub + "/resourcegroups", 200, "", 1},
		{"nobody may not list groups", nobody, "GET", sub + "/resourceGroups", 403, "AuthorizationFailed", 0},
		{"a group that is not there", owner, "GET", sub + "/resourceGroups/none", 404, "ResourceGroupNotFound", 0},
		{"a resource in a group that is not there", owner, "GET", sub + "/resourceGroups/none/providers/Microsoft.KeyVault/vaults/x", 404, "ResourceGroupNotFound", 0},
		{"a resource that is not there", owner, "GET", rg + "/providers/Microsoft.KeyVault/vaults/none", 404, "ResourceNotFound", 0},
		{"rights come before existence", nobody, "GET", rg + "/providers/Microsoft.KeyVault/vaults/none", 403, "AuthorizationFailed", 0},
		{"a type that the local cloud does not keep", owner, "GET", rg + "/providers/Microsoft.KeyVault/managedHSMs/x", 404, "InvalidResourceType", 0},
		{"a namespace that the local cloud does not keep", owner, "GET", rg + "/providers/Microsoft.Storage/storageAccounts/x", 404, "InvalidResourceNamespace", 0},
		{"all resources", owner, "GET", sub + "/resources", 200, "", 2},
		{"resources of one type", owner, "GET", sub + "/resources?$filter=resourceType eq 'microsoft.keyvault/VAULTS'", 200, "", 1},
		{"resources of a type that nothing has", owner, "GET", sub + "/resources?$filter=resourceType eq 'Microsoft.App/sessionPools'", 200, "", 0},
		{"a filter that means nothing", owner, "GET", sub + "/resources?$filter=colour eq 'red'", 400, "InvalidFilterInQueryString", 0},
		{"resources of another group", owner, "GET", sub + "/resourceGroups/rg-other/resources", 200, "", 0},
		{"one type of the subscription", reader, "GET", sub + "/providers/Microsoft.BotService/botServices", 200, "", 1},
		{"one type of the group", reader, "GET", rg + "/providers/Microsoft.BotService/botServices", 200, "", 1},
		{"no deny assignments", reader, "GET", rg + "/providers/Microsoft.Authorization/denyAssignments", 200, "", 0},
		{"nothing eligible", reader, "GET", rg + "/providers/Microsoft.Authorization/roleEligibilityScheduleInstances", 200, "", 0},
		{"a reader's permissions are one entry", reader, "GET", rg + "/providers/Microsoft.Authorization/permissions", 200, "", 1},
		{"permissions exist below a resource too", reader, "GET", vaultID + "/providers/Microsoft.Authorization/permissions", 200, "", 1},
		// The reference has groups and resources only, but the portal asks for a subscription's, and is answered.
		{"permissions of a subscription", owner, "GET", sub + "/providers/Microsoft.Authorization/permissions", 200, "", 1},
		{"permissions do not exist at the root", owner, "GET", "/providers/Microsoft.Authorization/permissions", 404, "NotFound", 0},
		{"no classic administrators", owner, "GET", sub + "/providers/Microsoft.Authorization/classicAdministrators", 200, "", 0},
		{"classic administrators of a group do not exist", owner, "GET", rg + "/providers/Microsoft.Authorization/classicAdministrators", 404, "NotFound", 0},
		{"no managed HSMs in a subscription", owner, "GET", sub + "/providers/Microsoft.KeyVault/managedHSMs", 200, "", 0},
		{"no managed HSMs in a group", reader, "GET", rg + "/providers/Microsoft.KeyVault/managedHSMs", 200, "", 0},
		{"no deleted managed HSMs", owner, "GET", sub + "/providers/Microsoft.KeyVault/deletedManagedHSMs", 200, "", 0},
		{"managed HSMs are for those who may read them", reader, "GET", sub + "/providers/Microsoft.KeyVault/managedHSMs", 403, "AuthorizationFailed", 0},
		{"providers", owner, "GET", sub + "/providers", 200, "", 11},
		{"registering a provider", owner, "POST", sub + "/providers/Microsoft.KeyVault/register", 200, "", 0},
		{"registering a provider without the right", reader, "POST", sub + "/providers/Microsoft.KeyVault/register", 403, "AuthorizationFailed", 0},
		{"an unknown path", owner, "GET", "/elsewhere", 404, "NotFound", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := f.as(row.who, row.method, row.path, nil).want(t, row.status, row.code)
			if len(a.items()) != row.items {
				t.Errorf("got %d items, want %d: %s", len(a.items()), row.items, a.raw)
			}
		})
	}
}

func TestARefusalNamesCallerActionAndScope(t *testing.T) {
	f := newFixture(t)
	const want = "The client 'app-" + reader + "' with object id '" + reader + "' does not have authorization to perform action 'Microsoft.KeyVault/vaults/write' over scope '" + vaultID + "' or the scope is invalid. If access was recently granted, please refresh your credentials."
	if got := f.as(reader, "PUT", vaultID, object{"location": "eastus"}).want(t, 403, "AuthorizationFailed").message(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	user := "Bearer " + f.token(reader, func(c *authority.Claims) { c.UPN = "ann@contoso.onmicrosoft.com" })
	if got := f.send("GET", sub+"/providers/Microsoft.Authorization/roleAssignments", nil, user, true).want(t, 403, "AuthorizationFailed").message(); !strings.Contains(got, "The client 'ann@contoso.onmicrosoft.com'") || !strings.Contains(got, "over scope '"+sub+"/providers/Microsoft.Authorization'") {
		t.Errorf("got %s", got)
	}
}

func TestResourceGroups(t *testing.T) { synctest.Test(t, resourceGroups) }

func resourceGroups(t *testing.T) {
	f := newFixture(t)
	const group = sub + "/resourcegroups/rg-new"
	f.as(owner, "HEAD", group, nil).want(t, 404, "")
	f.as(owner, "PUT", group, object{}).want(t, 400, "LocationRequired")
	f.as(owner, "PUT", group, "{").want(t, 400, "InvalidRequestContent")
	f.as(owner, "PUT", sub+"/resourceGroups/bad.", object{"location": "eastus"}).want(t, 400, "InvalidResourceGroup")
	f.as(reader, "PUT", group, object{"location": "eastus"}).want(t, 403, "AuthorizationFailed")
	made := f.as(owner, "PUT", group, object{"location": "West Europe", "tags": object{"a": "b"}}).want(t, 201, "")
	if made.body["id"] != sub+"/resourceGroups/rg-new" || made.body["location"] != "westeurope" {
		t.Errorf("got %s", made.raw)
	}
	f.as(owner, "PUT", strings.ToUpper(group), object{"location": "westeurope"}).want(t, 200, "")
	f.as(owner, "PUT", group, object{"location": "eastus"}).want(t, 409, "InvalidResourceGroupLocation")
	f.as(owner, "HEAD", group, nil).want(t, 204, "")
	f.as(owner, "PATCH", group, object{"tags": object{"c": "d"}}).want(t, 200, "")
	if n := len(f.as(owner, "GET", sub+"/resourcegroups?$filter=tagName eq 'c'", nil).items()); n != 1 {
		t.Errorf("%d groups have the tag", n)
	}
	f.as(owner, "PUT", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mi-1", object{"location": "westeurope"}).want(t, 201, "")
	f.as(owner, "PUT", group+"/providers/Microsoft.Authorization/roleAssignments/"+nobody, assignment(readerRole, agent, "ServicePrincipal")).want(t, 201, "")

	gone := f.as(owner, "DELETE", group, nil).want(t, 202, "")
	poll, isOurs := strings.CutPrefix(gone.header.Get("Location"), "https://arm.test")
	if !isOurs {
		t.Fatalf("Location is %q", gone.header.Get("Location"))
	}
	path, query, _ := strings.Cut(poll, "?")
	if again := f.send("GET", path+"?"+query, nil, "Bearer "+f.token(owner, nil), false).want(t, 202, ""); again.header.Get("Location") != gone.header.Get("Location") || again.header.Get("Retry-After") != "1" {
		t.Errorf("a client that asks too early is told %v", again.header)
	}
	time.Sleep(settling)
	f.send("GET", path+"?"+query, nil, "Bearer "+f.token(owner, nil), false).want(t, 200, "")
	f.send("GET", path+"?"+query, nil, "Bearer "+f.token(nobody, nil), false).want(t, 404, "OperationNotFound")
	f.as(owner, "GET", group, nil).want(t, 404, "ResourceGroupNotFound")
	if n := len(f.as(owner, "GET", sub+"/providers/Microsoft.Authorization/roleAssignments?$filter=principalId eq '"+agent+"'", nil).items()); n != 0 {
		t.Errorf("%d role assignments outlive their group", n)
	}
	if n := len(f.env.Dir.ServicePrincipals.All(primary(f))); n != 1 {
		t.Errorf("%d service principals, want the agent's alone", n)
	}
}

func TestAnswersCarryARMsHeaders(t *testing.T) {
	f := newFixture(t)
	h := f.as(owner, "GET", rg, nil).header
	for _, k := range []string{"x-ms-request-id", "x-ms-correlation-request-id", "x-ms-routing-request-id", "x-ms-ratelimit-remaining-subscription-reads", "X-Content-Type-Options"} {
		if h.Get(k) == "" {
			t.Errorf("no %s", k)
		}
	}
	if h := f.as(owner, "GET", "/tenants", nil).header; h.Get("x-ms-ratelimit-remaining-tenant-reads") == "" {
		t.Error("no x-ms-ratelimit-remaining-tenant-reads")
	}
	f.send("BREW", "/subscriptions", nil, "Bearer "+f.token(owner, nil), true).want(t, http.StatusMethodNotAllowed, "HttpMethodNotSupported")
}
