package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// elsewhere looks where no list of a subscription leads: in other subscriptions, and at management groups that hold none of the spec's.
// Whatever is found there fails, for the spec asks for nothing there. The answer is required: without it nobody knows what the other
// checks of roles did not look at, and whoever may read anything in Azure may ask.
func elsewhere() Check {
	return Check{
		ID: "rbac_elsewhere", Category: finding.RBAC, Name: "No roles elsewhere in the tenant", Severity: finding.Critical, Required: true,
		Question: "does the identity hold no role outside of the subscriptions that spec and record touch, as far as Azure Resource Graph shows the tenant to you?",
		Remedy:   "remove the assignment, or take the identity out of the group",
		Decide: func(_ context.Context, a *Ask) Verdict {
			a.soon(func(a *Ask) { _, _ = get(a, &a.run.elsewhere) })
			h, err := a.holdings()
			if err != nil {
				return failed(err)
			}
			seen, err := get(a, &a.run.elsewhere)
			if err != nil {
				return failed(err)
			}
			var outside, steps []string
			for _, as := range seen.assignments {
				if h.covers(as) {
					continue
				}
				outside = append(outside, fmt.Sprintf("%s (%s)", a.told(h, as, a.run.p.Roles.Name(as.RoleID)), as.ID))
				if h.Through(as) {
					steps = append(steps, "take the identity out of group "+as.PrincipalID+", or remove "+as.ID)
				} else {
					steps = append(steps, "az role assignment delete --ids "+as.ID)
				}
			}
			switch {
			case len(outside) > 0:
				return fail("%s; %s", strings.Join(outside, "; "), seen.reach(a.Where.TenantID)).instead(strings.Join(steps, "; "))
			case seen.groups != nil:
				return failed(seen.groups)
			}
			return pass("none; %s", seen.reach(a.Where.TenantID))
		},
	}
}

// tenantWide is what Azure Resource Graph shows of the identity.
type tenantWide struct {
	assignments               []agent.Assignment
	subscriptions, management []string // what it shows to the operator at all
	groups                    error    // why the identity's groups are not known, so that only its own assignments were asked for
}

func elsewhereOf(ctx context.Context, a *Ask) (t tenantWide, err error) {
	if a.Record.PrincipalID == "" {
		return t, missing("identity_configured", "no service principal is recorded, so nothing can be assigned to it")
	}
	var unseen error
	var reach sync.WaitGroup
	reach.Go(func() { t.subscriptions, t.management, unseen = a.run.p.ARM.Visible(ctx) })
	principals := []string{a.Record.PrincipalID}
	m, groups := get(a.unheard(), &a.run.memberships)
	for _, g := range m.Groups {
		principals = append(principals, g.ID)
	}
	t.groups = groups
	t.assignments, err = a.run.p.ARM.AssignedAnywhere(ctx, principals)
	reach.Wait()
	return t, first(err, unseen)
}

// reach says what was looked at, and what was not.
func (t tenantWide) reach(tenantID string) string {
	s := fmt.Sprintf("Azure Resource Graph shows you %d subscriptions and %d management groups", len(t.subscriptions), len(t.management))
	if !contains(t.management, tenantID) {
		s += ", and not the tenant's root management group"
	}
	return s + "; it shows nothing of what you may not read, and a change only after some minutes"
}

// covers tells whether the list of the subscriptions has told of an assignment, or would have: Azure Resource Graph, which lags behind, may
// still show one that is gone.
func (h holdings) covers(as agent.Assignment) bool {
	if slices.ContainsFunc(h.Assignments, func(x agent.Assignment) bool { return strings.EqualFold(x.ID, as.ID) }) {
		return true
	}
	return slices.ContainsFunc(h.Readable, func(scope string) bool { return role.Contains(scope, as.Scope) })
}
