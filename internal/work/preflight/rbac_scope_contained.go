package preflight

import (
	"context"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// scopeContained compares with the very scopes of the spec: "in some resource group" would let any group pass.
func scopeContained() Check {
	return Check{
		ID: "rbac_scope_contained", Category: finding.RBAC, Name: "Roles only within the spec's scopes", Severity: finding.High, Required: true,
		Question: "does every role assignment that reaches the identity, in the subscriptions that spec and record touch and above them, lie within the scopes that the spec names?",
		Remedy:   "remove the assignments outside: leastkey apply removes the identity's own; of a group's, take the identity out of the group",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, err := a.holdings()
			if err != nil {
				return failed(err)
			}
			var scopes []string
			for _, g := range a.Spec.Grants(a.Agent, a.run.p.Roles) {
				if !slices.Contains(scopes, g.Scope) {
					scopes = append(scopes, g.Scope)
				}
			}
			var outside []string
			for _, as := range h.Assignments {
				if !slices.ContainsFunc(scopes, func(s string) bool { return role.Contains(s, as.Scope) }) {
					outside = append(outside, a.told(h, as, ""))
				}
			}
			open := h.unread()
			switch {
			case len(outside) > 0:
				return fail("outside %s: %s", places(scopes), strings.Join(outside, "; "))
			case open != nil:
				return failed(open)
			case len(h.Assignments) == 0:
				return skip("no role assignment reaches the identity, so none has a scope to judge")
			}
			return pass("all %d role assignments lie within %s; looked at: all of %s and above; of the rest tells rbac_elsewhere", len(h.Assignments), places(scopes), places(h.Readable))
		},
	}
}
