package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// namesakes: names are not unique, and anybody may choose them. Another application of the agent's name may be forgotten, or waits to be
// taken for the agent.
func namesakes() Check {
	return Check{
		ID: "identity_namesakes", Name: "No Namesakes", Severity: finding.Medium,
		Question: "does no other application carry the agent's name, and the recorded one its unique name?",
		Remedy:   "find out whose it is; one that nobody needs is deleted: az ad app delete --id OBJECTID",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			a.soon(func(a *Ask) { _, _ = get(a, &a.run.namesakes) })
			app, err := a.application()
			if err != nil {
				return failed(err)
			}
			all, err := get(a, &a.run.namesakes)
			if err != nil {
				return failed(err)
			}
			var others []string
			for _, n := range all {
				if !strings.EqualFold(n.ID, app.ID) {
					others = append(others, fmt.Sprintf("%s (client id %s, %d owners, %d certificates, %d passwords)", n.ID, n.AppID, len(n.Owners), len(n.Certificates), len(n.Passwords)))
				}
			}
			switch {
			case len(others) > 0:
				return warn("also named %s: %s", a.Agent.Name, strings.Join(others, "; "))
			case a.Record.UniqueName != "" && app.UniqueName != a.Record.UniqueName:
				return warn("its unique name is %q, and %q is recorded", app.UniqueName, a.Record.UniqueName).instead("find out who changed it")
			}
			return pass("nobody else is named %s", a.Agent.Name)
		},
	}
}
