package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// staleRoles finds what the spec has dropped and the identity still holds: least privilege is what the spec asks for now.
func staleRoles() Check {
	return Check{
		ID: "rbac_stale", Category: finding.RBAC, Name: "No stale roles", Severity: finding.Medium,
		Question: "does the identity still hold a recorded role that the spec no longer asks for?",
		Remedy:   "leastkey roles fix removes what is ours and no longer asked for",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, err := a.holdings()
			if err != nil {
				return failed(err)
			}
			var ours, others []string
			for _, as := range h.Assignments {
				switch e := a.entry(as); {
				case e == nil || a.planned(as.Grant()):
				case e.Ours:
					ours = append(ours, a.told(h, as, ""))
				default:
					others = append(others, a.told(h, as, "")+" (found there, not made by leastkey)")
				}
			}
			fix := "leastkey roles fix " + a.Agent.Name
			switch {
			case len(ours) == 0 && len(others) > 0:
				return warn("the spec does not ask for %s", strings.Join(others, "; ")).instead("leastkey apply " + a.Agent.Name + " removes it, or put it into the spec")
			case len(ours) > 0:
				return warn("the spec no longer asks for %s", strings.Join(append(ours, others...), "; ")).instead(fix)
			}
			if lost := a.outOfSight(h); len(lost) > 0 {
				return failed(missing("rbac_assignments_list", "whether the identity still holds %s could not be read", strings.Join(lost, ", ")))
			}
			return pass("the identity holds none of the recorded roles beyond the spec")
		},
	}
}

// outOfSight are recorded assignments beyond the spec that lie where nobody could look.
func (a *Ask) outOfSight(h holdings) (lost []string) {
	for _, r := range a.Record.Assignments {
		if !a.planned(r.Grant) && agent.Presence(h.Holdings, r.Grant).Standing == agent.NotSeen {
			lost = append(lost, r.Role+" on "+role.Short(r.Scope))
		}
	}
	return lost
}
