package preflight

import "github.com/leastkey/leastkey/internal/domain/finding"

// contentSafety: without Cognitive Services User the calls to Prompt Shields fail, and an agent that goes on without them is open to
// prompt injection.
func contentSafety() Check {
	return Check{
		ID: "rbac_content_safety", Category: finding.RBAC, Name: "Content safety", Severity: finding.Medium, Required: true,
		Question: "may the identity call the content safety account of the spec?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide:   holds("the spec names no content safety account", cognitiveUserID),
	}
}
