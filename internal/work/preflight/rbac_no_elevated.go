package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// noElevated judges every role by what it does: a custom role with * fails whatever its name. A condition does not excuse an elevated role,
// because what it leaves over is not judged here.
func noElevated() Check {
	return Check{
		ID: "rbac_no_elevated", Category: finding.RBAC, Name: "No elevated roles", Severity: finding.Critical, Required: true,
		Question: "does any role that reaches the identity, in the subscriptions that spec and record touch and above them, let it gain rights that it was not given?",
		Remedy:   "remove the assignment, or take the identity out of the group: an agent that can grant itself roles can do everything",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, all, err := a.judged()
			if err != nil {
				return failed(err)
			}
			var elevated []string
			for _, j := range all {
				if why := j.does.Elevated(); len(why) > 0 {
					elevated = append(elevated, fmt.Sprintf("%s (%s): %s", a.told(h, j.Assignment, j.does.Name), j.ID, reasons(why)))
				}
			}
			open := first(unjudged(all), h.unread())
			switch {
			case len(elevated) > 0 && open != nil:
				return fail("%s; moreover %s", strings.Join(elevated, "; "), open)
			case len(elevated) > 0:
				return fail("%s", strings.Join(elevated, "; "))
			case open != nil:
				return failed(open)
			}
			return pass("none of %d role assignments is elevated by what its role does, in all of %s and above; of the rest of the tenant tells rbac_elsewhere", len(all), places(h.Readable))
		},
	}
}
