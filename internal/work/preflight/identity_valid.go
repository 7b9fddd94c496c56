package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// identityValid looks at the very objects that are recorded, by their object ids: a name or a client id could lead to somebody else's.
func identityValid() Check {
	return Check{
		ID: "identity_valid", Name: "Identity Exists in Azure AD", Severity: finding.Critical, Required: true,
		Question: "is the recorded identity in the directory, enabled, with the ids that are recorded?",
		Remedy:   "leastkey apply, which repairs what is missing",
		Decide: func(ctx context.Context, a *Ask) (v Verdict) {
			if a.managed() {
				v = validManaged(a)
				v.Name = "Managed Identity Exists in Azure AD"
			} else {
				v = validPrincipal(a)
				v.Name = "Service Principal Exists in Azure AD"
			}
			return v
		},
	}
}

func validPrincipal(a *Ask) Verdict {
	a.soon(func(a *Ask) { _, _ = get(a, &a.run.principal) })
	app, err := get(a, &a.run.application)
	if err != nil {
		return failed(err)
	}
	if v, bad := validObject(a); bad {
		return v
	}
	switch {
	case app == nil:
		return fail("application %s is not in the directory", a.Record.ApplicationID)
	case !strings.EqualFold(app.AppID, a.Record.AppID):
		return fail("application %s has client id %s, and %s is recorded", app.ID, app.AppID, a.Record.AppID)
	}
	return pass("%s: application %s, service principal %s, enabled", app.DisplayName, app.AppID, a.Record.PrincipalID)
}

func validManaged(a *Ask) Verdict {
	a.soon(func(a *Ask) { _, _ = get(a, &a.run.principal) })
	id, err := get(a, &a.run.identity)
	if err != nil {
		return failed(err)
	}
	switch {
	case id == nil:
		return fail("managed identity %s is not there", a.Record.ResourceID)
	case !strings.EqualFold(id.ClientID, a.Record.AppID), !strings.EqualFold(id.PrincipalID, a.Record.PrincipalID), !strings.EqualFold(id.TenantID, a.Where.TenantID):
		return fail("managed identity %s has client id %s, principal %s in tenant %s; recorded are %s and %s in %s", id.Name, id.ClientID, id.PrincipalID, id.TenantID, a.Record.AppID, a.Record.PrincipalID, a.Where.TenantID)
	}
	if v, bad := validObject(a); bad {
		return v
	}
	return pass("%s: client id %s, service principal %s, enabled", id.Name, id.ClientID, id.PrincipalID)
}

// validObject looks at the service principal, which both kinds have.
func validObject(a *Ask) (Verdict, bool) {
	sp, err := get(a, &a.run.principal)
	switch {
	case err != nil:
		return failed(err), true
	case a.Record.PrincipalID == "":
		return fail("no service principal is recorded").because("the record of "+a.Record.Agent, "application %s, no service principal", a.Record.ApplicationID), true
	case sp == nil:
		return fail("service principal %s is not in the directory", a.Record.PrincipalID), true
	case !strings.EqualFold(sp.AppID, a.Record.AppID):
		return fail("service principal %s is of client id %s, and %s is recorded", sp.ID, sp.AppID, a.Record.AppID), true
	case !sp.Enabled:
		return fail("service principal %s is disabled: nobody can log in as it", sp.ID).instead("find out who disabled it and why; then: az ad sp update --id " + sp.AppID + " --set accountEnabled=true"), true
	}
	return Verdict{}, false
}
