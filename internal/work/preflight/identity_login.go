package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// byCertificate is appidacr of a token that was asked for with a certificate (Microsoft, "Access token claims reference").
const byCertificate = "2"

// identityLogin really logs in: nothing else shows that key, certificate, clock and directory fit together.
func identityLogin() Check {
	return Check{
		ID: "identity_login", Name: "Credential Logs In", Severity: finding.Critical, Required: true,
		Question: "does the key obtain a token, and is it the recorded identity's?",
		Remedy:   "leastkey apply, which repairs the certificate",
		Moot:     withKey,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			if _, err := a.recorded(); err != nil {
				return failed(err)
			}
			if a.Record.Active() == nil {
				return fail("no certificate is recorded").because("the record of "+a.Record.Agent, "no active generation").instead("leastkey apply " + a.Record.Agent)
			}
			c, err := get(a, &a.run.login)
			if said := fault.Service(err); strings.HasPrefix(said, "AADSTS") && !fault.Is(err, fault.Throttled, fault.Unavailable) {
				return fail("the login service refuses: %s", err).instead(fault.Hint(err))
			}
			if err != nil {
				return failed(err)
			}
			claims := Verdict{}.because("the token's claims", "appid %s, oid %s, tid %s, appidacr %s", c.AppID, c.ObjectID, c.TenantID, c.AppIDACR).Evidence
			v := loggedInAs(a, c.AppID, c.ObjectID, c.TenantID, c.AppIDACR)
			v.Evidence = claims
			return v
		},
	}
}

func loggedInAs(a *Ask, app, object, tenant, how string) Verdict {
	switch {
	case !strings.EqualFold(app, a.Record.AppID), !strings.EqualFold(object, a.Record.PrincipalID):
		return fail("the token is of application %s and object %s, and %s and %s are recorded", app, object, a.Record.AppID, a.Record.PrincipalID)
	case !strings.EqualFold(tenant, a.Where.TenantID):
		return fail("the token is of tenant %s, and this is tenant %s", tenant, a.Where.TenantID)
	case how != byCertificate:
		return fail("the token does not say that a certificate was used: appidacr is %q", how)
	}
	return pass("a token for Azure Resource Manager, as %s by certificate", a.Record.AppID)
}
