package arm

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func TestVersionsOfTheAPI(t *testing.T) {
	f := newFixture(t)
	const invalid, unregistered = "InvalidApiVersionParameter", "NoRegisteredProviderFound"
	for _, row := range []struct{ sentence, path, version, code string }{
		// What clients were seen to send.
		{"Azure CLI lists subscriptions", "/subscriptions", "2019-11-01", ""},
		{"newer Azure CLI lists subscriptions", "/subscriptions", "2022-12-01", ""},
		{"Azure CLI reads a group", rg, "2021-04-01", ""},
		{"the Go SDK reads a group", rg, "2025-04-01", ""},
		{"Azure CLI lists role assignments", rg + assignments, "2020-04-01-preview", ""},
		{"the Go SDK lists role assignments", rg + assignments, "2022-04-01", ""},
		{"Azure CLI lists role definitions", sub + "/providers/Microsoft.Authorization/roleDefinitions", "2018-01-01-preview", ""},
		{"Azure CLI lists identities", rg + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities", "2022-01-31-preview", ""},
		{"the Go SDK lists identities", rg + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities", "2024-11-30", ""},
		{"Azure CLI reads a vault", vaultID, "2022-07-01", ""},
		{"the Go SDK reads a vault", vaultID, "2024-11-01", ""},
		{"SDKs list vaults as resources", sub + "/resources", "2015-11-01", ""},
		{"eligible roles have versions of their own", sub + "/providers/Microsoft.Authorization/roleEligibilityScheduleInstances", "2020-10-01", ""},
		{"the case of a preview does not matter", vaultID, "2024-12-01-PREVIEW", ""},

		{"a vault does not have a version of role assignments", vaultID, "2022-04-01", unregistered},
		{"a vault does not have a version of tomorrow", vaultID, "2099-01-01", unregistered},
		{"a vault does not have a version that has only a preview", vaultID, "2024-12-01", unregistered},
		{"a listing of vaults neither", rg + "/providers/Microsoft.KeyVault/vaults", "2099-01-01", unregistered},
		{"role assignments do not have a version of tomorrow", rg + assignments, "2099-01-01", unregistered},
		{"one role assignment neither", rg + assignments + "/" + absent, "2099-01-01", unregistered},
		{"deleted vaults neither", sub + "/providers/Microsoft.KeyVault/deletedVaults", "2099-01-01", unregistered},
		{"a group does not have a version of role assignments", rg, "2022-04-01", invalid},
		{"subscriptions do not have a version of groups", "/subscriptions", "2025-04-01", invalid},
		{"providers do not have a version of tomorrow", sub + "/providers", "2099-01-01", invalid},
		{"a type that is not kept is not found whatever the version", rg + "/providers/Microsoft.Storage/storageAccounts", "2099-01-01", "InvalidResourceNamespace"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			a := f.send("GET", row.path+"?api-version="+url.QueryEscape(row.version), nil, "Bearer "+f.token(owner, nil), false)
			status := map[string]int{"": 200, "InvalidResourceNamespace": 404}[row.code]
			if status == 0 {
				status = 400
			}
			a.want(t, status, row.code)
			if status == 400 && !strings.Contains(a.message(), row.version) || row.code == unregistered && !strings.Contains(a.message(), "The supported api-versions are '20") {
				t.Error(a.message())
			}
		})
	}
}

func TestListedVersionsAreNewestFirst(t *testing.T) {
	form := regexp.MustCompile(`^20\d\d-\d\d-\d\d(-preview)?$`)
	lists := map[string][]string{"subscriptions": strings.Fields(subscriptionVersions), "groups": strings.Fields(groupVersions), "management groups": strings.Fields(managementVersions)}
	for _, k := range kinds {
		lists[k.Type] = k.Versions
	}
	for typ, list := range providerVersions {
		lists[typ] = strings.Fields(list)
	}
	for typ, list := range lists {
		if len(list) == 0 {
			t.Errorf("%s has no versions", typ)
		}
		for i, v := range list {
			if !form.MatchString(v) || i > 0 && v[:10] > list[i-1][:10] {
				t.Errorf("%s: %s stands wrong", typ, v)
			}
		}
	}
}
