package preflight

import "github.com/leastkey/leastkey/internal/domain/finding"

// readerRole: without the role the agent cannot see the resources of its group.
func readerRole() Check {
	return Check{
		ID: "rbac_reader", Category: finding.RBAC, Name: "Reader", Severity: finding.Medium, Required: true,
		Question: "does the identity hold Reader where the spec asks for it?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide:   holds("the spec does not ask for Reader", readerID),
	}
}
