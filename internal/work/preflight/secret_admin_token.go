package preflight

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// adminToken: with the admin secret the agent can ask the admin server to spend its operator's session, as in the original, whose two
// containers read one file. A reference is no better here: the agent may read the vault.
func adminToken() Check {
	return Check{
		ID: idAdminToken, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "No Admin Access for the Agent", Question: "can the agent not ask the admin server in its operator's name?",
		Remedy: "take it out of the agent's environment file, and out of its vault; then make a new one",
		Decide: inEnvironment(func(e agentEnv) Verdict {
			bad := e.refersTo(idAdmin)
			for _, name := range []string{"ADMIN_SECRET", "ADMIN_TOKEN", "LEASTKEY_TOKEN", "LEASTKEY_ADMIN_TOKEN"} {
				bad = append(bad, e.given(name)...)
			}
			slices.Sort(bad)
			bad = slices.Compact(bad)
			if len(bad) > 0 {
				return fail("%s gives a value to %s", e.file.Path, strings.Join(bad, ", "))
			}
			return pass("%s has none", e.file.Path)
		}),
	}
}
