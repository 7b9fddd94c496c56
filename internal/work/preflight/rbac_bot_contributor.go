package preflight

import "github.com/leastkey/leastkey/internal/domain/finding"

// botContributor: without the role the agent cannot register its bot.
func botContributor() Check {
	return Check{
		ID: "rbac_bot_contributor", Category: finding.RBAC, Name: "Azure Bot Service Contributor Role", Severity: finding.Medium, Required: true,
		Question: "does the identity hold Azure Bot Service Contributor Role where the spec asks for it?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide:   holds("the spec does not ask for Azure Bot Service Contributor Role", botContributorID),
	}
}
