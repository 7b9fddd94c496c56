package preflight

import "github.com/leastkey/leastkey/internal/domain/finding"

// sessionPool: the role lets the agent run code in sandbox sessions.
func sessionPool() Check {
	return Check{
		ID: "rbac_session_pool", Category: finding.RBAC, Name: "Session pool executor", Severity: finding.Medium, Required: true,
		Question: "may the identity run code in the session pool of the spec?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide:   holds("the spec names no session pool", sessionExecutorID),
	}
}
