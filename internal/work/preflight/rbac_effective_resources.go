package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// effectiveResources asks as the identity what it may do on each resource of the spec.
func effectiveResources() Check {
	return Check{
		ID: "rbac_effective_resources", Category: finding.RBAC, Name: "No escalation on the resources", Severity: finding.Critical, Required: true,
		Question: "what does Azure tell the identity itself that it may do on the vault, session pool and content safety account of the spec?",
		Remedy:   "rbac_no_elevated names the assignment; where it finds none, look at the groups and deny assignments of the resource",
		Moot: func(s Subject) string {
			if len(configuredResources(s)) == 0 {
				return "the spec names no vault, session pool or content safety account"
			}
			return noOwnToken(s)
		},
		Decide: func(_ context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.resources)
			if err != nil {
				return failed(err)
			}
			return weigh(all)
		},
	}
}
