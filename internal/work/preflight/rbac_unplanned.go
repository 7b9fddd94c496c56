package preflight

import (
	"context"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// unplannedRoles finds what somebody else gave the identity. A role of the spec that comes by another scope, or another role at a scope of
// the spec, is not of the spec.
func unplannedRoles() Check {
	return Check{
		ID: "rbac_unplanned", Category: finding.RBAC, Name: "No unplanned roles", Severity: finding.High, Required: true,
		Question: "does the identity hold, in the subscriptions that spec and record touch or above them, a role that neither spec nor record know of?",
		Remedy:   "if it is meant, put it into the spec; if not, leastkey apply removes the identity's own; of a group's, take the identity out of the group",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, err := a.holdings()
			if err != nil {
				return failed(err)
			}
			var unknown []string
			for _, as := range h.Assignments {
				if !a.planned(as.Grant()) && a.entry(as) == nil {
					unknown = append(unknown, a.told(h, as, "")+" ("+as.ID+")")
				}
			}
			open := h.unread()
			switch {
			case len(unknown) > 0:
				return fail("neither spec nor record know: %s", strings.Join(unknown, "; "))
			case open != nil:
				return failed(open)
			}
			return pass("all %d role assignments are the spec's or recorded; looked at: all of %s and above; of the rest tells rbac_elsewhere", len(h.Assignments), places(h.Readable))
		},
	}
}

// planned tells whether the spec asks for exactly this.
func (a *Ask) planned(g role.Grant) bool {
	return slices.ContainsFunc(a.Spec.Grants(a.Agent, a.run.p.Roles), func(want role.Grant) bool { return want.Key() == g.Key() })
}

// entry is what the record has of an assignment; nil if it has nothing. A group's assignment of the same role and scope is another one.
func (a *Ask) entry(as agent.Assignment) *agent.Assigned {
	i := slices.IndexFunc(a.Record.Assignments, func(r agent.Assigned) bool {
		return r.Key() == as.Grant().Key() && strings.EqualFold(as.PrincipalID, a.Record.PrincipalID)
	})
	if i < 0 {
		return nil
	}
	return &a.Record.Assignments[i]
}
