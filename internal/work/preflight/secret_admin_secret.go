package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// adminSecret is the reverse of the original's, which passed when ADMIN_SECRET stood in the file that every container reads. An admin
// token of leastkey's is kept as its hash; ADMIN_SECRET comes to the server in a file or systemd credential, never in an environment
// variable, which every child and every crash report sees.
func adminSecret() Check {
	return Check{
		ID: idAdmin, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "Admin Secret", Question: "is the admin server's secret in no file and no environment in clear?",
		Remedy: "make a new one (leastkey serve token add NAME), or give ADMIN_SECRET to the server as a file of mode 0600 or a systemd credential",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			v := inEnvironment(func(e agentEnv) Verdict {
				return e.referred(idAdmin, "there is no admin secret: admin tokens are kept as hashes", "ADMIN_SECRET")
			})(ctx, a)
			if own := a.run.p.Host.Getenv("ADMIN_SECRET"); v.Err == nil && v.Outcome != finding.Fail && !own.Empty() {
				if _, ref := secret.Reference(own); !ref {
					return fail("ADMIN_SECRET is in the environment of this process").because("environment variable ADMIN_SECRET", "set")
				}
			}
			return v
		},
	}
}
