package graph

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func organizationRoutes() []route {
	return []route{
		{method: "GET", segments: path("organization"), op: "organization.read", look: (*call).listOrganization},
		{method: "GET", segments: path("organization/{organization}"), op: "organization.read", look: (*call).getOrganization},
		{method: "GET", segments: path("domains"), op: "domain.read", look: (*call).listDomains},
		{method: "GET", segments: path("domains/{domain}"), op: "domain.read", look: (*call).getDomain},
		{method: "GET", segments: path("subscribedSkus"), op: "organization.read", look: (*call).listSKUs},
	}
}

func (s *Service) encodeOrganization() object {
	t := s.dir.Tenant
	return object{
		"id": t.ID, "displayName": t.DisplayName, "tenantType": "AAD", "countryLetterCode": "US", "createdDateTime": nil, "deletedDateTime": nil,
		"assignedPlans": []any{}, "businessPhones": []any{}, "onPremisesSyncEnabled": nil, "provisionedPlans": []any{}, "technicalNotificationMails": []any{},
		"verifiedDomains": []any{object{"name": t.Domain, "isDefault": true, "isInitial": true, "type": "Managed", "capabilities": "Email, OfficeCommunicationsOnline"}},
	}
}

func (s *Service) encodeDomain() object {
	return object{
		"id": s.dir.Tenant.Domain, "authenticationType": "Managed", "isAdminManaged": true, "isDefault": true, "isInitial": true, "isRoot": true, "isVerified": true,
		"supportedServices": []string{"Email", "OfficeCommunicationsOnline"}, "availabilityStatus": nil, "state": nil, "manufacturer": nil, "model": nil,
	}
}

func (c *call) listOrganization(replica.View) error {
	return c.list("organization", slices.Values([]row{{c.s.dir.Tenant.ID, c.s.encodeOrganization}}))
}

func (c *call) getOrganization(replica.View) error {
	if !strings.EqualFold(c.arg["organization"], c.s.dir.Tenant.ID) {
		return notFound(c.arg["organization"])
	}
	return c.one("organization", c.s.encodeOrganization())
}

func (c *call) listDomains(replica.View) error {
	return c.list("domains", slices.Values([]row{{c.s.dir.Tenant.Domain, c.s.encodeDomain}}))
}

func (c *call) getDomain(replica.View) error {
	if !strings.EqualFold(c.arg["domain"], c.s.dir.Tenant.Domain) {
		return notFound(c.arg["domain"])
	}
	return c.one("domains", c.s.encodeDomain())
}

// listSKUs answers that the tenant has no licenses.
func (c *call) listSKUs(replica.View) error { return c.list("subscribedSkus", slices.Values([]row{})) }
