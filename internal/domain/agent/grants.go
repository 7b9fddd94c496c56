package agent

import (
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// WhyRemoved is the reason of a step that assigns again what is recorded as assigned.
const WhyRemoved = "it was removed by somebody"

// GrantSteps are the steps that assign every role of the spec, whether it is there or not: what the half of a plan that another person
// applies may consist of, and nothing else.
func GrantSteps(s Spec, a *Agent, c role.Catalogue) []Step {
	var steps []Step
	for i, g := range s.Grants(a, c) {
		steps = append(steps, Step{
			ID: fmt.Sprintf("role-%d:%s", i+1, slug(g)), Action: AssignRole, Plane: ARM, Title: grantTitle(g), Why: s.Why(a, g), With: grantWith(g),
		})
	}
	return steps
}

func grantTitle(g role.Grant) string { return "assign " + g.Role + " on " + role.Short(g.Scope) }

func grantWith(g role.Grant) map[string]string {
	return map[string]string{"role": g.Role, "role_id": g.RoleID, "scope": g.Scope, "principal": "$" + FactPrincipal}
}
