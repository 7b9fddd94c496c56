package vault

import "strings"

// geographies are those of Azure's public cloud that have more than one region (Microsoft, "Azure regions list", 2026-08).
const geographies = `
asia pacific: eastasia southeastasia
australia: australiacentral australiacentral2 australiaeast australiasoutheast
brazil: brazilsouth brazilsoutheast
canada: canadacentral canadaeast
europe: northeurope westeurope
france: francecentral francesouth
germany: germanynorth germanywestcentral
india: centralindia jioindiacentral jioindiawest southindia westindia
japan: japaneast japanwest
korea: koreacentral koreasouth
norway: norwayeast norwaywest
south africa: southafricanorth southafricawest
sweden: swedencentral swedensouth
switzerland: switzerlandnorth switzerlandwest
uae: uaecentral uaenorth
united kingdom: uksouth ukwest
united states: centralus eastus eastus2 northcentralus southcentralus westcentralus westus westus2 westus3`

// geographyOf is the geography of a region, as its name or as it is displayed. Any other region is one by itself.
func geographyOf(location string) string {
	region := strings.ReplaceAll(strings.ToLower(location), " ", "")
	for line := range strings.Lines(geographies) {
		name, regions, _ := strings.Cut(line, ":")
		for r := range strings.FieldsSeq(regions) {
			if r == region {
				return name
			}
		}
	}
	return "only " + region
}
