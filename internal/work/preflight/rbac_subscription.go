package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// subscriptionLevel judges what reaches whole subscriptions by assignments and definitions. Nothing is probed there: what a subscription
// lets one do can be tried only on things that exist.
func subscriptionLevel() Check {
	return Check{
		ID: "rbac_subscription", Category: finding.RBAC, Name: "No escalation at subscription level", Severity: finding.Critical, Required: true,
		Question: "does a role at a subscription that spec and record touch, or above it, let the identity gain rights that it was not given?",
		Remedy:   "remove the assignment at the subscription, management group or root",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, all, err := a.judged()
			if err != nil {
				return failed(err)
			}
			var wide []judged
			for _, j := range all {
				if s, err := role.ParseScope(j.Scope); err != nil || s.Level <= role.Subscription {
					wide = append(wide, j)
				}
			}
			var elevated, harmless []string
			for _, j := range wide {
				if why := j.does.Elevated(); len(why) > 0 {
					elevated = append(elevated, fmt.Sprintf("%s: %s", a.told(h, j.Assignment, j.does.Name), reasons(why)))
					continue
				}
				harmless = append(harmless, a.told(h, j.Assignment, j.does.Name))
			}
			open := unjudged(wide)
			if h.dark {
				open = first(open, h.unread())
			}
			switch {
			case len(elevated) > 0:
				return fail("%s", strings.Join(elevated, "; "))
			case open != nil:
				return failed(open)
			case len(harmless) > 0:
				return pass("no escalation by what reaches the whole of subscription %s: %s; of others tells rbac_elsewhere", strings.Join(h.subscriptions, ", "), strings.Join(harmless, "; "))
			}
			return pass("nothing reaches the whole of subscription %s; of other subscriptions, and of management groups that hold none of these, tells rbac_elsewhere", strings.Join(h.subscriptions, ", "))
		},
	}
}
