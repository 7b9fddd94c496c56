package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// takingOver are the rights by which somebody becomes a managed identity: to let in a token of another issuer, to attach the identity to a
// resource of their own, or to give themselves either (Microsoft, "Managed identity best practice recommendations"). Role definitions write
// the second with the identity's name in between.
func takingOver() []string {
	const identity = "Microsoft.ManagedIdentity/userAssignedIdentities/"
	return []string{identity + "federatedIdentityCredentials/write", identity + "assign/action", identity + "any/assign/action"}
}

// granting is the right to give oneself one of those, which is a step further.
const granting = "Microsoft.Authorization/roleAssignments/write"

// takeover: a managed identity has no owners in the directory; who holds such a right on its resource is one. Those of subscription or
// management group are somebody's decision about much more than this identity, and everybody has some. One that was given at the identity
// or its group is about this identity.
func takeover() Check {
	return Check{
		ID: "identity_takeover", Name: "Who May Take the Managed Identity", Severity: finding.Critical, Required: true,
		Question: "does nobody hold a role on the managed identity or its group, beyond who created it and who is listed under owners, that lets them become it?",
		Remedy:   "if it is meant, list the object id under owners; if not, remove the assignment; an identity in a group of its own has fewer",
		Moot:     isManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.takers)
			if err != nil {
				return failed(err)
			}
			var direct, steps []string
			above := map[string]int{}
			for _, j := range all {
				at := slices.ContainsFunc(takingOver(), j.does.Allows)
				switch {
				case j.err != nil, !at && !j.does.Allows(granting):
					continue
				case contains(append([]string{a.Record.CreatedBy, a.Record.PrincipalID}, a.Agent.Owners...), j.PrincipalID):
					continue
				}
				name := cmp.Or(j.does.Name, "role "+j.RoleID)
				if s, err := role.ParseScope(j.Scope); err == nil && s.Group != "" && at {
					direct = append(direct, fmt.Sprintf("%s holds %s on %s", j.PrincipalID, name, role.Short(j.Scope)))
					steps = append(steps, "az role assignment delete --ids "+j.ID)
					continue
				}
				if !at {
					name += ", which can give the right,"
				}
				above[name+" on "+role.Short(j.Scope)]++
			}
			slices.Sort(direct)
			var inherited []string
			for what, n := range above {
				inherited = append(inherited, fmt.Sprintf("%d as %s", n, what))
			}
			slices.Sort(inherited)
			roles, open := undefined(all)
			switch {
			case len(direct) > 0 && len(inherited) > 0:
				return fail("can become the identity: %s; moreover by what was not given for it: %s", strings.Join(direct, "; "), strings.Join(inherited, "; ")).instead("if it is meant, list the object id under owners; if not: " + strings.Join(steps, "; "))
			case len(direct) > 0:
				return fail("can become the identity: %s", strings.Join(direct, "; ")).instead("if it is meant, list the object id under owners; if not: " + strings.Join(steps, "; "))
			case open != nil:
				return failed(fmt.Errorf("what %s allows could not be read: %w", strings.Join(roles, ", "), open))
			case len(inherited) > 0:
				return warn("can become the identity by roles that were not given for it: %s", strings.Join(inherited, "; ")).
					instead("keep such roles few, and given for a time only; deny assignments and Privileged Identity Management are not looked at")
			}
			return pass("nobody but who created it and who is listed under owners, by %d role assignments at the identity and above", len(all))
		},
	}
}

func takersOf(ctx context.Context, a *Ask) ([]judged, error) {
	held, err := a.run.p.Identities.AssignmentsAt(ctx, a.Record.ResourceID)
	if err != nil {
		return nil, err
	}
	return defined(ctx, a, held), nil
}
