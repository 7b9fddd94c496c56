package arm

import (
	"net/http"
	"slices"
	"strings"
)

// Versions of the API, newest first: those that Microsoft documents for each type (Azure resource reference and REST reference, August
// 2026). Azure CLI 2.45 to 2.80, the Azure SDKs for Go, JavaScript and Python, Terraform and this project send one of them. Another is
// refused, as Azure refuses it, so that a client that would fail there fails here.
var providerVersions = map[string]string{ // by type, lower case
	"microsoft.authorization/roleassignments":                  "2022-04-01 2020-10-01-preview 2020-08-01-preview 2020-04-01-preview 2020-03-01-preview 2018-09-01-preview 2018-01-01-preview 2017-10-01-preview 2015-07-01",
	"microsoft.authorization/roledefinitions":                  "2022-05-01-preview 2022-04-01 2018-01-01-preview 2015-07-01",
	"microsoft.authorization/permissions":                      "2022-05-01-preview 2022-04-01 2018-07-01 2018-01-01-preview 2015-07-01",
	"microsoft.authorization/denyassignments":                  "2024-07-01-preview 2022-04-01 2018-07-01-preview",
	"microsoft.authorization/locks":                            "2020-05-01 2017-04-01 2016-09-01 2015-01-01",
	"microsoft.authorization/roleeligibilityschedules":         scheduleVersions,
	"microsoft.authorization/roleeligibilityscheduleinstances": scheduleVersions,
	"microsoft.authorization/roleassignmentschedules":          scheduleVersions,
	"microsoft.authorization/roleassignmentscheduleinstances":  scheduleVersions,
	"microsoft.managedidentity/identities":                     identityVersions,
	"microsoft.authorization/classicadministrators":            "2015-07-01 2015-06-01",
	"microsoft.keyvault/managedhsms":                           vaultVersions,
	"microsoft.keyvault/deletedmanagedhsms":                    vaultVersions,
	"microsoft.management/managementgroups":                    managementVersions,
	"microsoft.management/getentities":                         managementVersions,
	"microsoft.management/checknameavailability":               managementVersions,
	"microsoft.resourcegraph/resources":                        "2024-04-01 2022-10-01 2021-06-01-preview 2021-03-01 2020-04-01-preview 2019-04-01 2018-09-01-preview",
	"microsoft.keyvault/deletedvaults":                         vaultVersions,
	"microsoft.keyvault/locations/deletedvaults":               vaultVersions,
	"microsoft.keyvault/checknameavailability":                 vaultVersions,
}

const (
	scheduleVersions = "2020-10-01 2020-10-01-preview"
	appVersions      = "2025-07-01 2025-02-02-preview 2025-01-01 2024-10-02-preview 2024-08-02-preview 2024-03-01 2024-02-02-preview 2023-11-02-preview 2023-08-01-preview 2023-05-02-preview 2023-05-01 2023-04-01-preview 2022-11-01-preview 2022-10-01 2022-06-01-preview 2022-03-01 2022-01-01-preview"
	machineVersions  = "2025-04-01 2024-11-01 2024-07-01 2024-03-01 2023-09-01 2023-07-01 2023-03-01 2022-11-01 2022-08-01 2022-03-01 2021-11-01 2021-07-01 2021-04-01 2021-03-01 2020-12-01 2020-06-01 2019-12-01 2019-07-01 2019-03-01 2018-10-01 2018-06-01 2017-12-01"
	poolVersions     = "2025-07-01 2025-02-02-preview 2025-01-01 2024-10-02-preview 2024-08-02-preview 2024-02-02-preview"
	botVersions      = "2023-09-15-preview 2022-09-15 2022-06-15-preview 2021-05-01-preview 2021-03-01 2020-06-02 2018-07-12 2017-12-01"
	accountVersions  = "2025-06-01 2025-04-01-preview 2024-10-01 2024-06-01-preview 2024-04-01-preview 2023-10-01-preview 2023-05-01 2022-12-01 2022-10-01 2022-03-01 2021-10-01 2021-04-30 2017-04-18"
	registryVersions = "2025-04-01 2025-03-01-preview 2024-11-01-preview 2023-11-01-preview 2023-08-01-preview 2023-07-01 2023-06-01-preview 2023-01-01-preview 2022-12-01 2022-02-01-preview 2021-12-01-preview 2021-09-01 2021-08-01-preview 2021-06-01-preview 2020-11-01-preview 2019-05-01 2017-10-01"
	vaultVersions    = "2026-02-01 2025-05-01 2024-12-01-preview 2024-11-01 2024-04-01-preview 2023-07-01 2023-02-01 2022-11-01 2022-07-01 2022-02-01-preview 2021-11-01-preview 2021-10-01 2021-06-01-preview 2021-04-01-preview 2020-04-01-preview 2019-09-01 2018-02-14 2018-02-14-preview 2016-10-01 2015-06-01"
	identityVersions = "2025-01-31-preview 2024-11-30 2023-07-31-preview 2023-01-31 2022-01-31-preview 2021-09-30-preview 2018-11-30 2015-08-31-preview"

	// Those of ARM's own operations are not of a provider, and refused in other words.
	subscriptionVersions = "2022-12-01 2022-09-01 2021-01-01 2020-01-01 2019-11-01 2019-06-01 2018-06-01 2016-06-01 2015-11-01 2014-04-01"
	groupVersions        = "2025-04-01 2025-03-01 2024-11-01 2024-07-01 2024-03-01 2023-07-01 2022-09-01 2021-04-01 2021-01-01 2020-10-01 2020-08-01 2020-06-01 2019-10-01 2019-08-01 2019-07-01 2019-05-10 2019-05-01 2018-05-01 2018-02-01 2017-05-10 2016-09-01 2016-07-01 2016-02-01 2015-11-01"
	managementVersions   = "2024-02-01-preview 2023-04-01 2021-04-01 2020-10-01 2020-05-01 2020-02-01 2019-11-01 2018-03-01-preview"
)

// versions are those of what the path names; typ is the provider's type, "" for ARM's own operations. A type that the local cloud does
// not keep has none, and its own answer.
func (c *call) versions() (typ string, versions []string) {
	named := func(typ string) (string, []string) {
		if k, known := kindOf(typ); known {
			return k.Type, k.Versions
		}
		return typ, strings.Fields(providerVersions[strings.ToLower(typ)])
	}
	if _, kind, _, ext := c.extension(authorization); ext {
		return named(authorization + "/" + kind)
	}
	switch n := len(c.rest); {
	case len(c.id.Parts) > 0:
		return named(c.id.Last().Type())
	case n == 3 && words(c.rest, "providers"):
		if _, known := kindOf(c.rest[1] + "/" + c.rest[2]); !known && strings.EqualFold(c.rest[2], "register") {
			break
		}
		return named(c.rest[1] + "/" + c.rest[2])
	case c.id.ManagementGroup != "":
		return "", strings.Fields(managementVersions)
	case c.id.Group == "" && (n == 0 || words(c.rest, "subscriptions") || words(c.rest, "tenants") || words(c.rest, "locations")):
		return "", strings.Fields(subscriptionVersions)
	}
	return "", strings.Fields(groupVersions)
}

// checkVersion refuses a version that the type does not have.
func (c *call) checkVersion() *reply {
	asked := c.param("api-version")
	typ, versions := c.versions()
	if len(versions) == 0 || slices.ContainsFunc(versions, func(v string) bool { return strings.EqualFold(v, asked) }) {
		return nil
	}
	if typ == "" {
		r := fail(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported versions are '%s'.", asked, strings.Join(versions, ","))
		return &r
	}
	_, short, _ := strings.Cut(typ, "/")
	r := fail(http.StatusBadRequest, "NoRegisteredProviderFound", "No registered resource provider found for location 'eastus' and API version '%s' for type '%s'. The supported api-versions are '%s'. The supported locations are 'eastus, westeurope'.", asked, short, strings.Join(versions, ", "))
	return &r
}
