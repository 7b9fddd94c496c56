package preflight

import (
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// connectionStrings are those of storage, queues, databases and anything else: each holds a key that lives until somebody changes it.
func connectionStrings() Check {
	return Check{
		ID: idStrings, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Connection Strings", Question: "is every connection string a reference to the vault?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			var keys []string
			for key := range e.set {
				if strings.HasSuffix(strings.ToUpper(key), "CONNECTION_STRING") && !strings.EqualFold(key, "ACS_CONNECTION_STRING") {
					keys = append(keys, key)
				}
			}
			return e.referred(idStrings, "there is no connection string", keys...)
		}),
	}
}
