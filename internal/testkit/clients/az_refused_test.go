package clients

import (
	"net/url"
	"os"
	"testing"
	"time"
)

func TestAzRefusals(t *testing.T) {
	t.Parallel()
	a, ok := loggedIn(t)
	if !ok {
		return
	}
	run := a.Cloud()
	nobody := a.elsewhere() // in whose folder logins are tried

	app := a.prepare("ad app create --display-name tries").at("appId").text()
	a.prepare("ad sp create --id", app)
	key := func(name string, lifetime time.Duration) Certificate {
		c := a.Certificate(name, lifetime)
		public, err := os.ReadFile(c.Cert)
		must(t, err)
		a.prepare("ad app credential reset --append --id", app, "--cert", string(public))
		return c
	}
	short := key("short", 45*time.Second) // which a busy machine needs to register it; it is tried last
	gone := key("gone", time.Hour)
	good := key("good", time.Hour)
	keys := a.prepare("ad app credential list --cert --id", app)
	for i := range 3 {
		if k := keys.at(string(rune('0' + i))); k.at("customKeyIdentifier").text() == gone.identifier() {
			a.prepare("ad app credential delete --cert --id", app, "--key-id", k.at("keyId").text())
		}
	}
	if left := a.prepare("ad app credential list --cert --id", app, "--query", "length(@)"); left.v != float64(2) {
		t.Fatalf("%v certificates are left, want 2", left.v)
	}

	nobody.fails("a key that is registered nowhere", "AADSTS700027", nobody.login(app, a.Certificate("stranger", time.Hour).Both)...)
	nobody.fails("a certificate of a deleted credential", "AADSTS700027", nobody.login(app, gone.Both)...)
	nobody.fails("an application that there is not", "AADSTS700016", nobody.login("0defaced-0000-4000-8000-00000000000a", good.Both)...)
	nobody.fails("a wrong secret", "AADSTS7000215", nobody.login(app, "never-a-secret")...)

	object := a.prepare("ad app show --query id --id", app).text()
	end := time.Now().Add(30 * time.Second).UTC()
	expired := a.prepare("rest --method post --url", a.graph("/applications/"+object+"/addPassword"), "--body", `{"passwordCredential":{"endDateTime":"`+end.Format(time.RFC3339Nano)+`"}}`).at("secretText").text()

	audience := run.Endpoints.Login + "/" + run.TenantID + "/oauth2/v2.0/token"
	assertion := func(to string) url.Values {
		text, err := good.Assertion(app, to)
		must(t, err)
		return a.asserted(app, text)
	}
	once := assertion(audience)
	a.named("az rest: a token for an assertion", `{"token_type":"Bearer","access_token":"…"}`, a.token(run.TenantID, once)...)
	a.fails("the same assertion again", "AADSTS50013", a.token(run.TenantID, once)...)
	a.fails("an assertion for another audience", "AADSTS700023", a.token(run.TenantID, assertion("https://login.contoso.example/token"))...)
	a.fails("another tenant", "AADSTS90002", a.token("0defaced-0000-4000-8000-00000000000b", assertion(audience))...)
	a.Note("To an authority that ends in /adfs, as the local cloud's does for az, az sends no tenant; another tenant is asked for by `az rest`.")
	a.fails("a token for Graph at ARM", "InvalidAuthenticationTokenAudience", append(a.rest("get", a.arm("?api-version=2022-12-01"), ""), "--resource", run.Endpoints.Graph)...)
	a.fails("a token for ARM at Graph", "InvalidAuthenticationToken", append(a.rest("get", a.graph("/applications"), ""), "--resource", run.Endpoints.ARM)...)

	busy := func(name, code string, by az, command ...string) {
		t.Helper()
		args := words(command...)
		a.Refused(t, name+" (`"+title(args)+"`)", code, func() error { return a.Throttled(func() error { return by.refusal(args) }) })
	}
	busy("ARM is busy, and still after az has tried again", "SubscriptionRequestsThrottled", a, "group list")
	busy("Graph is busy", "TooManyRequests", a, a.rest("get", a.graph("/applications"), "")...)
	busy("Entra is busy", "AADSTS90055", nobody, nobody.login(app, good.Both)...)

	must(t, until(t.Context(), end.Add(time.Second)))
	nobody.fails("an expired secret", "AADSTS7000222", nobody.login(app, expired)...)
	must(t, short.Expired(t.Context()))
	nobody.fails("an expired certificate", "AADSTS700027: Client assertion contains an invalid signature. [Reason - The key used is expired.", nobody.login(app, short.Both)...)
	a.prepare("ad app delete --id", app)
	nobody.fails("an application that was deleted", "AADSTS700016", nobody.login(app, good.Both)...)
}

// prepare runs a command that is no operation of the record.
func (a az) prepare(command ...string) document {
	a.t.Helper()
	v, err := a.answer(append(words(command...), "--only-show-errors"))
	if err != nil {
		a.t.Fatalf("%s: %v", title(words(command...)), err)
	}
	return v
}

func TestAzRights(t *testing.T) {
	t.Parallel()
	a, ok := loggedIn(t)
	if !ok {
		return
	}
	run := a.Cloud()
	app := a.prepare("ad app create --display-name theirs").at("appId").text()
	a.prepare("ad sp create --id", app)

	a.fails("a Graph permission that is missing", "Authorization_RequestDenied", a.rest("get", a.graph("/groups"), "")...)
	a.fails("a Graph permission that is missing, as az ad tells it", "Insufficient privileges to complete the operation.", "ad group list")
	a.fails("/me of an application", "/me request is only valid with delegated authentication flow.", "ad signed-in-user show")
	reader := a.as("reader")
	reader.fails("a role that is missing", "AuthorizationFailed", "group create --name mine --location eastus")
	reader.fails("a role that is missing to assign roles", "AuthorizationFailed", reader.assign("/resourceGroups/polyclaw-rg", roleReader, a.Operator("sp-operator").ObjectID)...)
	reader.fails("a directory role that is missing", "Insufficient privileges to complete the operation.", "ad app update --display-name mine --id", app)

	a.fails("a resource group that there is not", "ResourceGroupNotFound", "group show --name none")
	a.fails("a resource that there is not", "ResourceNotFound", "identity show --resource-group polyclaw-rg --name none")
	a.fails("an application that there is not, in Graph", "Request_ResourceNotFound", a.rest("get", a.graph("/applications/0defaced-0000-4000-8000-00000000000d"), "")...)
	a.fails("an application that there is not, as az ad tells it", "does not exist or one of its queried reference-property objects are not present", "ad app show --id 0defaced-0000-4000-8000-00000000000d")
	a.fails("a second service principal of an application", "is already in use", "ad sp create --id", app)
	a.fails("a second service principal, in Graph", "Request_MultipleObjectsWithSameKeyValue", a.rest("post", a.graph("/servicePrincipals"), `{"appId":"`+app+`"}`)...)
	a.fails("an api-version that there is not", "InvalidApiVersionParameter", a.rest("get", a.arm("/resourceGroups?api-version=1999-01-01"), "")...)
	a.fails("a vault in access-policy mode without a policy", "ForbiddenByPolicy", append(a.rest("get", run.Endpoints.Vault["kv-legacy"]+"/secrets?api-version=7.4", ""), "--resource", "https://vault.azure.net")...)
}
