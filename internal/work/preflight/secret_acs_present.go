package preflight

import (
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// acsString is the reverse of the original's, which passed when the connection string stood in the file with its key.
func acsString() Check {
	return Check{
		ID: idACS, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "ACS Connection String", Question: "is the connection string of Communication Services nowhere in clear?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			return e.referred(idACS, "there is no connection string of Communication Services", "ACS_CONNECTION_STRING")
		}),
	}
}
