package preflight

import (
	"cmp"
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// graphPermissions: an application permission acts in the whole tenant without any person, and the original did not look for one. An agent
// gets what it needs by Azure roles.
func graphPermissions() Check {
	return Check{
		ID: "identity_graph_permissions", Name: "No Application Permissions", Severity: finding.Critical, Required: true,
		Question: "has the identity no application permission of Microsoft Graph or of any other application?",
		Remedy:   "remove the assignment: DELETE servicePrincipals/PRINCIPAL/appRoleAssignments/ID of Microsoft Graph; the finding has the whole command",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.appRoles)
			if err != nil {
				return failed(err)
			}
			var have, steps []string
			for _, r := range all {
				have = append(have, cmp.Or(r.Value, "role "+r.RoleID)+" of "+cmp.Or(r.Resource, "an application without a name"))
				steps = append(steps, "az rest --method DELETE --url "+a.graphURL("servicePrincipals/"+a.Record.PrincipalID+"/appRoleAssignments/"+r.ID))
			}
			if len(have) > 0 {
				return fail("it may, in the whole tenant: %s", strings.Join(have, ", ")).instead(strings.Join(steps, "; "))
			}
			return pass("none")
		},
	}
}
