package graph

import (
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

func TestIdentifierURIs(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, appID, sp := u.makeApp("bot")
	other, otherApp, _ := u.makeApp("other")
	tenant := c.dir.Tenant.ID
	const unverified, invalid, taken = "HostNameNotOnVerifiedDomain: Values of identifierUris property must use a verified domain of the organization or its subdomain: '", "Request_BadRequest: Invalid value specified for property 'identifierUris'", "Request_MultipleObjectsWithSameKeyValue"
	u.patch("applications/"+other, map[string]any{"identifierUris": []string{"https://contoso.onmicrosoft.com/other", "api://" + tenant + "/other"}}).is(204)
	for _, r := range []struct{ sentence, uri, problem string }{
		{"the application's own id is taken", "api://" + appID, ""},
		{"the application's id may stand behind a name", "api://bots/" + appID, ""},
		{"the tenant's id is taken", "api://" + tenant + "/bot", ""},
		{"the tenant's domain is taken", "https://contoso.onmicrosoft.com/bot", ""},
		{"a domain below the tenant's is taken", "https://bot.CONTOSO.onmicrosoft.com", ""},
		{"a port changes nothing", "https://contoso.onmicrosoft.com:8443/bot", ""},
		{"a name without a host is taken", "urn:bot", ""},
		{"Graph's own name is refused", "https://graph.microsoft.com", unverified + "https://graph.microsoft.com'"},
		{"a host that ends like the domain is refused", "https://evilcontoso.onmicrosoft.com", unverified},
		{"a host that begins like the domain is refused", "https://contoso.onmicrosoft.com.evil", unverified},
		{"a host behind a user's name is refused", "https://contoso.onmicrosoft.com@evil", unverified},
		{"the token exchange is refused", "api://AzureADTokenExchange", unverified},
		{"the token exchange in small letters is refused", "api://azureadtokenexchange", unverified},
		{"the id of another application is refused", "api://" + otherApp, unverified},
		{"a bare GUID is no URI", otherApp, invalid},
		{"a word is no URI", "bot", invalid},
		{"a name that another application has is refused", "https://contoso.onmicrosoft.com/other", taken},
		{"a slash does not make it another name", "https://contoso.onmicrosoft.com/other/", taken},
	} {
		t.Run(r.sentence, func(t *testing.T) {
			a := u.patch("applications/"+id, map[string]any{"identifierUris": []string{r.uri}})
			if r.problem == "" {
				a.is(204)
			} else {
				a.is(400, r.problem)
			}
		})
	}
	u.patch("applications/"+id, map[string]any{"identifierUris": []string{"api://" + appID}}).is(204)
	for _, r := range []struct {
		sentence string
		names    []string
		status   int
	}{
		{"the app id alone is enough", []string{appID}, 204},
		{"the application's URIs are taken", []string{appID, "api://" + appID}, 204},
		{"without the app id they are refused", []string{"api://" + appID}, 400},
		{"what the application does not have is refused", []string{appID, "api://" + tenant + "/bot"}, 400},
		{"another's app id is refused", []string{appID, otherApp}, 400},
		{"another's URI is refused", []string{appID, "https://contoso.onmicrosoft.com/other"}, 400},
		{"Graph's name is refused", []string{appID, "https://graph.microsoft.com"}, 400},
	} {
		t.Run(r.sentence, func(t *testing.T) {
			u.patch("servicePrincipals/"+sp, map[string]any{"servicePrincipalNames": r.names}).is(r.status)
		})
	}
	vault := u.get("servicePrincipals(appId='" + directory.VaultAppID + "')").is(200)
	at := "servicePrincipals/" + vault.str("id")
	u.patch(at, map[string]any{"servicePrincipalNames": []string{directory.VaultAppID, "https://graph.microsoft.com"}}).is(400)
	u.patch(at, map[string]any{"servicePrincipalNames": []string{directory.VaultAppID, "https://vault.azure.net"}}).is(204)

	t.Run("a restored application finds its name taken", func(t *testing.T) {
		u.del("applications/" + other).is(204)
		u.patch("applications/"+id, map[string]any{"identifierUris": []string{"api://" + tenant + "/other"}}).is(204)
		u.post("directory/deletedItems/"+other+"/restore", map[string]any{}).is(400, taken)
	})
}
