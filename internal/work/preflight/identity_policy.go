package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// managementPolicy is advice: the tenant can forbid what we do not do anyway, so that nobody else does it to the agent either. To read it
// takes a right that many operators do not have; then it stays unknown, and is counted.
func managementPolicy() Check {
	return Check{
		ID: "identity_app_management_policy", Name: "App Management Policy", Severity: finding.Low,
		Question: "does a policy of the tenant forbid passwords on the application, and cap the life of certificates?",
		Remedy:   "ask who manages the tenant for an app management policy: passwordAddition restricted, asymmetricKeyLifetime at most P730D",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			p, err := get(a, &a.run.policy)
			if err != nil {
				return failed(err)
			}
			var lacking []string
			if !p.NoPasswords {
				lacking = append(lacking, "passwords may be added")
			}
			switch {
			case p.LongestLife == 0:
				lacking = append(lacking, "certificates may live for ever")
			case p.LongestLife > longestLife:
				lacking = append(lacking, fmt.Sprintf("certificates may live %d days", p.LongestLife/(24*time.Hour)))
			}
			if len(lacking) > 0 {
				return warn("%s", strings.Join(lacking, "; "))
			}
			return pass("no passwords, and certificates of at most %d days: %s", p.LongestLife/(24*time.Hour), strings.Join(p.Policies, ", "))
		},
	}
}
