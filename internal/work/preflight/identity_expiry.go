package preflight

import (
	"context"
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// credentialExpiry looks at the certificate that is in use, as it is registered. The original took the latest of all credentials, which
// may be another's.
func credentialExpiry() Check {
	return Check{
		ID: "identity_credential_expiry", Name: "Credential Expiry", Severity: finding.High, Required: true,
		Question: "does the certificate that is in use last for 30 more days, or for a third of its life where that is less?",
		Remedy:   "leastkey rotate",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			if _, err := a.recorded(); err != nil {
				return failed(err)
			}
			if why := withKey(a.Subject); why != "" {
				return pass("no credential of its own").because("the record of "+a.Record.Agent, "%s", why)
			}
			g := a.Record.Active()
			if g == nil {
				return fail("no certificate is recorded").because("the record of "+a.Record.Agent, "no active generation").instead("leastkey apply " + a.Record.Agent)
			}
			app, err := a.application()
			if err != nil {
				return failed(err)
			}
			for _, c := range app.Certificates {
				if a.Record.Whose(a.Agent, c) == agent.Current {
					return a.expiry(g, c.End)
				}
			}
			return fail("the certificate in use, SHA-256 %s, is not registered on the application", g.SHA256).instead("leastkey apply " + a.Record.Agent)
		},
	}
}

// expiry judges by whichever ends first: the certificate or what Entra has of it.
func (a *Ask) expiry(g *agent.Generation, registered time.Time) Verdict {
	end := g.NotAfter
	if !registered.IsZero() && registered.Before(end) {
		end = registered
	}
	asked, seen := "certificate "+g.SHA256, "not before "+g.NotBefore.UTC().Format(time.RFC3339)+", ends "+end.UTC().Format(time.RFC3339)
	f, soon := agent.Expiry(g.NotBefore, end, a.Now, "leastkey rotate "+a.Record.Agent)
	window := fmt.Sprintf("%.1f days", agent.WarnsBefore(g.NotBefore, end).Hours()/24)
	if !soon {
		return pass("until %s; it warns %s before", end.UTC().Format(time.DateOnly), window).because(asked, "%s", seen)
	}
	return Verdict{Outcome: f.Outcome, Detail: f.Detail + "; by its life it warns " + window + " before", Remedy: f.Remedy}.because(asked, "%s", seen)
}
