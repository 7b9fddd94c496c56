package preflight

import (
	"cmp"
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// scopedRoles looks for directory roles that hold for one object or administrative unit alone, which memberships do not show. To read them
// takes a right of its own.
func scopedRoles() Check {
	return Check{
		ID: "identity_scoped_directory_roles", Name: "No Directory Roles at Smaller Scopes", Severity: finding.High,
		Question: "has the identity no directory role for a single object or administrative unit?",
		Remedy:   "remove the role: Microsoft Entra admin center, the object's Roles and administrators",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			a.soon(func(a *Ask) { _, _ = get(a, &a.run.scoped) })
			// A filter by an id that nobody has gives an empty list.
			if _, err := a.principal(); err != nil {
				return failed(err)
			}
			all, err := get(a, &a.run.scoped)
			if err != nil {
				return failed(err)
			}
			var roles []string
			for _, r := range all {
				roles = append(roles, "role "+r.Template+" at "+cmp.Or(r.Scope, "/"))
			}
			if len(roles) > 0 {
				return fail("it holds %s", strings.Join(roles, ", "))
			}
			return pass("none")
		},
	}
}
