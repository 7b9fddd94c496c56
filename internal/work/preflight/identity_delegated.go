package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// delegatedPermissions: a consent lets the application act in a person's name, with that person's rights, once somebody signs in to it. No
// agent has people who sign in, so that none is of use; one for everybody, or one that changes the directory, is worth the tenant.
func delegatedPermissions() Check {
	return Check{
		ID: "identity_delegated_permissions", Name: "No Delegated Permissions", Severity: finding.High, Required: true,
		Question: "has nobody consented that the application acts in the name of people?",
		Remedy:   "remove the consent: DELETE oauth2PermissionGrants/ID of Microsoft Graph; the finding has the whole command",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.consents)
			if err != nil {
				return failed(err)
			}
			var have, steps []string
			grave := false
			for _, c := range all {
				who := "person " + c.Principal
				if c.Principal == "" {
					who = "everybody"
				}
				have = append(have, strings.Join(c.Scopes, " ")+" of "+c.Resource+" in the name of "+who)
				steps = append(steps, "az rest --method DELETE --url "+a.graphURL("oauth2PermissionGrants/"+c.ID))
				grave = grave || graveConsent(c)
			}
			switch {
			case grave:
				return fail("it may act as people: %s", strings.Join(have, "; ")).instead(strings.Join(steps, "; "))
			case len(have) > 0:
				return warn("it may act as people: %s", strings.Join(have, "; ")).instead(strings.Join(steps, "; "))
			}
			return pass("none")
		},
	}
}

// graveConsent tells a consent that reaches everybody, or that can change who may do what in the tenant.
func graveConsent(c agent.Consent) bool {
	if c.Principal == "" {
		return true
	}
	for _, scope := range c.Scopes {
		for _, of := range []string{"directory.", "rolemanagement.", "application.", "approleassignment.", "delegatedpermissiongrant.", "policy.", "user_impersonation"} {
			if strings.HasPrefix(strings.ToLower(scope), of) {
				return true
			}
		}
	}
	return false
}
