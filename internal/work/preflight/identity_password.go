package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// noPassword is the first promise: no identity of ours has a client secret, on neither of the two objects that can have one.
func noPassword() Check {
	return Check{
		ID: "identity_no_password", Name: "No Password Credential", Severity: finding.Critical, Required: true,
		Question: "have application and service principal no password credential?",
		Remedy:   "leastkey migrate, which proves the certificate first and then deletes the password",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			a.soon(func(a *Ask) { _, _ = a.principal() })
			app, err := a.application()
			if err != nil {
				return failed(err)
			}
			sp, err := a.principal()
			if err != nil {
				return failed(err)
			}
			var where []string
			for _, o := range []struct {
				name string
				has  []agent.Password
			}{{"the application", app.Passwords}, {"the service principal", sp.Passwords}} {
				for _, p := range o.has {
					where = append(where, o.name+" has key id "+p.KeyID+" until "+p.End.UTC().Format("2006-01-02"))
				}
			}
			if len(where) > 0 {
				return fail("whoever knows one of them is the agent: %s", strings.Join(where, "; ")).instead("leastkey migrate " + a.Record.Agent + ", or leastkey apply --remove-foreign KEYID for one that nobody uses")
			}
			return pass("none on either")
		},
	}
}
