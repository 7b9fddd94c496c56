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
		Remedy:   "find out who changed it; the finding says what helps: restoring it, leastkey revoke and apply, or leastkey adopt",
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
		return fail("application %s is not in the directory", a.Record.ApplicationID).instead(a.restore())
	case !strings.EqualFold(app.AppID, a.Record.AppID):
		return fail("application %s has client id %s, and %s is recorded", app.ID, app.AppID, a.Record.AppID).instead("find out who changed the record; leastkey adopt --app-id " + app.AppID + " " + a.Record.Agent + " takes this application, if it is the agent's")
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
		return fail("managed identity %s is not there", a.Record.ResourceID).
			instead("it has no recycle bin: find out who deleted it and why; then leastkey revoke " + a.Record.Agent + ", and apply again makes a new one, which its resources have to be given anew")
	case !strings.EqualFold(id.ClientID, a.Record.AppID), !strings.EqualFold(id.PrincipalID, a.Record.PrincipalID), !strings.EqualFold(id.TenantID, a.Where.TenantID):
		return fail("managed identity %s has client id %s, principal %s in tenant %s; recorded are %s and %s in %s", id.Name, id.ClientID, id.PrincipalID, id.TenantID, a.Record.AppID, a.Record.PrincipalID, a.Where.TenantID).
			instead("somebody deleted it and made another of its name: find out who; leastkey revoke " + a.Record.Agent + " leaves the new one alone, and leastkey adopt --resource-id " + a.Record.ResourceID + " " + a.Record.Agent + " takes it")
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
		return fail("no service principal is recorded").because("the record of "+a.Record.Agent, "application %s, no service principal", a.Record.ApplicationID).
			instead("leastkey apply " + a.Record.Agent + ", which makes it"), true
	case sp == nil && a.managed():
		return fail("service principal %s is not in the directory, and the managed identity is: a new one takes a while to be seen", a.Record.PrincipalID).
			instead("run the preflight again; if it stays so: leastkey revoke " + a.Record.Agent + ", and apply again"), true
	case sp == nil:
		if app, err := get(a, &a.run.application); err == nil && app == nil {
			return fail("application %s and service principal %s are not in the directory", a.Record.ApplicationID, a.Record.PrincipalID).instead(a.restore()), true
		}
		return fail("service principal %s is not in the directory", a.Record.PrincipalID).
			instead("restore it within 30 days: az rest --method POST --url " + a.graphURL("directory/deletedItems/"+a.Record.PrincipalID+"/restore") + "; a new one has another id and no roles: leastkey adopt --app-id " + a.Record.AppID + " " + a.Record.Agent + " takes it"), true
	case !strings.EqualFold(sp.AppID, a.Record.AppID):
		return fail("service principal %s is of client id %s, and %s is recorded", sp.ID, sp.AppID, a.Record.AppID).instead("find out who changed the record; leastkey adopt --app-id " + a.Record.AppID + " " + a.Record.Agent + " reads it anew"), true
	case !sp.Enabled:
		return fail("service principal %s is disabled: nobody can log in as it", sp.ID).instead("find out who disabled it and why; then: az ad sp update --id " + sp.AppID + " --set accountEnabled=true"), true
	}
	return Verdict{}, false
}

// restore is what helps where somebody deleted the application: apply makes no second one in its place.
func (a *Ask) restore() string {
	return "find out who deleted it; restore it within 30 days: az rest --method POST --url " + a.graphURL("directory/deletedItems/"+a.Record.ApplicationID+"/restore") +
		"; or leastkey revoke " + a.Record.Agent + ", and apply again makes a new one"
}

// graphURL is an address of Microsoft Graph as a person can use it, in the cloud at hand.
func (a *Ask) graphURL(path string) string { return a.run.p.GraphAt + "/v1.0/" + path }
