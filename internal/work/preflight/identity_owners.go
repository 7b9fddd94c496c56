package preflight

import (
	"context"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// ownersExpected: an owner may add a credential to the application, or to the service principal, at any time and needs no role for it. A
// stranger among them is therefore as good as a stranger's certificate, and fails. The operator who created the application owns it by
// Entra's doing (Microsoft, "Default user permissions"); they need not, so that is a warning.
func ownersExpected() Check {
	return Check{
		ID: "identity_owners", Name: "Owners", Severity: finding.Critical, Required: true,
		Question: "does nobody own application or service principal, or hold a directory role for the application alone, but who is listed under owners?",
		Remedy:   "if it is meant, list the object id under owners; if not, remove the owner",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			a.soon(func(a *Ask) { _, _ = get(a, &a.run.over) })
			have, err := get(a, &a.run.owners)
			if err != nil {
				return failed(err)
			}
			var strangers, creator, steps []string
			n := 0
			for _, o := range []struct {
				what, remove string
				owners       []agent.Owner
			}{
				{"the application", "az ad app owner remove --id " + a.Record.AppID + " --owner-object-id ", have.application},
				{"the service principal", "az rest --method DELETE --url " + a.graphURL("servicePrincipals/"+a.Record.PrincipalID+"/owners/"), have.principal},
			} {
				for _, who := range o.owners {
					n++
					if contains(a.Agent.Owners, who.ID) {
						continue
					}
					told := strings.TrimSpace(who.Type+" "+who.ID+" "+who.DisplayName) + " owns " + o.what
					step := o.remove + who.ID
					if strings.HasPrefix(step, "az rest") {
						step += "/$ref"
					}
					steps = append(steps, step)
					if strings.EqualFold(who.ID, a.Record.CreatedBy) && a.Record.CreatedBy != "" {
						creator = append(creator, told)
					} else {
						strangers = append(strangers, told)
					}
				}
			}
			holders, unread := get(a, &a.run.over)
			for _, h := range holders {
				if contains(a.Agent.Owners, h.ID) {
					continue
				}
				strangers = append(strangers, h.ID+" holds directory role "+h.Template+" for the application")
				steps = append(steps, "remove the role: Microsoft Entra admin center, the application's Roles and administrators")
			}
			more := "; who holds a directory role for it alone was looked at as well"
			if unread != nil {
				more = "; who holds a directory role for it alone could not be read, and such a one may add a credential too: " + unread.Error()
			}
			advice := "if it is meant, list the object id under owners; if not: " + strings.Join(steps, "; ")
			switch {
			case len(strangers) > 0:
				return fail("may add a credential at any time: %s", strings.Join(slices.Concat(strangers, creator), "; ")).instead(advice)
			case len(creator) > 0:
				return warn("who created it may add a credential at any time: %s", strings.Join(creator, "; ")+more).instead(advice)
			}
			return pass("%d, all listed under owners%s", n, more)
		},
	}
}

func contains(ids []string, id string) bool {
	return slices.ContainsFunc(ids, func(x string) bool { return strings.EqualFold(x, id) })
}
