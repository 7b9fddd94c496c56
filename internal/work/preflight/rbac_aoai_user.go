package preflight

import "github.com/leastkey/leastkey/internal/domain/finding"

// openAIUser: the role is needed for Azure OpenAI without a key. It belongs to no role set, so only a spec that lists it asks for it.
func openAIUser() Check {
	return Check{
		ID: "rbac_aoai_user", Category: finding.RBAC, Name: "Azure OpenAI access", Severity: finding.Low, Required: true,
		Question: "does the identity hold Cognitive Services OpenAI User where the spec asks for it?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide:   holds("the spec does not ask for Cognitive Services OpenAI User", openAIUserID),
	}
}
