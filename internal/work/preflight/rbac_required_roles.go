package preflight

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// requiredRoles asks for everything in the spec's list of roles that has no check of its own.
func requiredRoles() Check {
	return Check{
		ID: "rbac_required_roles", Category: finding.RBAC, Name: "Roles of the spec", Severity: finding.Medium, Required: true,
		Question: "does the identity hold every other role that the spec lists?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide: holdsAll("the spec lists no other role", func(g role.Grant) bool {
			return !slices.Contains(named(), strings.ToLower(g.RoleID))
		}),
	}
}
