package preflight

import (
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// openAIKey: an endpoint is no secret, and with a role (Cognitive Services OpenAI User) the agent needs no key.
func openAIKey() Check {
	return Check{
		ID: idOpenAI, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Azure OpenAI Configuration", Question: "is no key of Azure OpenAI in clear?", Remedy: toVault + "; better, give the identity Cognitive Services OpenAI User and no key",
		Decide: inEnvironment(func(e agentEnv) Verdict {
			v := e.referred(idOpenAI, "Azure OpenAI is not configured", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY")
			if v.Outcome == finding.Skip && e.has("AZURE_OPENAI_ENDPOINT") {
				return pass("an endpoint, and no key: the identity's role is enough")
			}
			return v
		}),
	}
}
