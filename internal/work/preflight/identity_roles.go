package preflight

import (
	"cmp"
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// directoryRoles: no agent of the role set needs a role of Microsoft Entra, and some of them are worth the tenant. Those that come by a
// group count as well.
func directoryRoles() Check {
	return Check{
		ID: "identity_directory_roles", Name: "No Directory Roles", Severity: finding.Critical, Required: true,
		Question: "has the identity no directory role, itself or by a group?",
		Remedy:   "remove the role, or the identity from the group: Microsoft Entra admin center, Roles and administrators",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			m, err := get(a, &a.run.memberships)
			if err != nil {
				return failed(err)
			}
			var roles, groups []string
			for _, r := range m.Roles {
				roles = append(roles, cmp.Or(r.Name, "role "+cmp.Or(r.Template, "of which nothing may be read")))
			}
			for _, g := range m.Groups {
				groups = append(groups, cmp.Or(g.Name, g.ID))
			}
			if len(roles) > 0 {
				return fail("it holds, in the whole tenant: %s", strings.Join(roles, ", "))
			}
			if len(groups) > 0 {
				return pass("none; it is in the groups %s", strings.Join(groups, ", "))
			}
			return pass("none, and no group")
		},
	}
}
