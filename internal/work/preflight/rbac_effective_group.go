package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// effectiveGroup asks as the identity what it may do in its resource group: by whatever way it came to it, also by one that the operator
// cannot see.
func effectiveGroup() Check {
	return Check{
		ID: "rbac_effective_group", Category: finding.RBAC, Name: "No escalation in the resource group", Severity: finding.Critical, Required: true,
		Question: "what does Azure tell the identity itself that it may do in the spec's resource group?",
		Remedy:   "rbac_no_elevated names the assignment; where it finds none, look at the groups and deny assignments of the resource group",
		Moot:     noOwnToken,
		Decide: func(_ context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.group)
			if err != nil {
				return failed(err)
			}
			return weigh(all)
		},
	}
}
