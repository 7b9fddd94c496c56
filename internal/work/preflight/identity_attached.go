package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// attachedKnown: code on a resource that has the identity is the identity, and so is whoever may run code there.
func attachedKnown() Check {
	return Check{
		ID: "identity_attached", Name: "Where the Managed Identity Is Attached", Severity: finding.Medium,
		Question: "is the managed identity attached to no resource that the spec does not name?",
		Remedy:   "detach it from what is not the agent's: az resource update, or the resource's own identity command",
		Moot:     isManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.attached)
			if err != nil {
				return failed(err)
			}
			const reach = "Azure Resource Graph shows only what you may read, and some time behind"
			known, others := []string{}, []string{}
			for _, id := range all {
				if contains(configuredResources(a.Subject), id) {
					known = append(known, role.Short(id))
				} else {
					others = append(others, role.Short(id)+" ("+id+")")
				}
			}
			if len(others) > 0 {
				return warn("whoever may run code on one of these can be the identity, and the spec names none of them: %s; %s", strings.Join(others, "; "), reach)
			}
			return pass("attached to %s; %s", places(known), reach)
		},
	}
}
