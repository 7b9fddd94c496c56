package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// azureLoggedIn is about the operator, whose tokens everything else is read with. The id is the original's, which looked at az alone; what
// counts is the tenant of the tokens in use, for Graph and for ARM.
func azureLoggedIn() Check {
	return Check{
		ID: "azure_logged_in", Name: "Azure CLI Authenticated", Severity: finding.High, Required: true,
		Question: "is the operator signed in, for Graph and for Azure Resource Manager, in this tenant?",
		Remedy:   "sign in: az login, or leastkey login with --operator device-code",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			name := ""
			if a.Where.Operator != "az" {
				name = "Operator Authenticated"
			}
			c, err := a.operator()
			if fault.Is(err, fault.Unauthenticated, fault.Refused) {
				v := fail("%s", err).because("the tokens of operator "+a.Where.Operator, "%s", err).instead(fault.Hint(err))
				v.Name = name
				return v
			}
			if err != nil {
				return Verdict{Err: err, Name: name}
			}
			v := pass("%s in tenant %s", c.Name, c.TenantID).because("the tokens of operator "+a.Where.Operator, "oid %s, tid %s", c.ObjectID, c.TenantID)
			v.Name = name
			return v
		},
	}
}
