package preflight

import (
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// envFileContent tells of every secret in clear that no other check tells of. The file outlives the process, is copied with its volume, and
// was given to sandboxes as it is; a reference to the vault says the same to the agent and nothing to anybody else.
func envFileContent() Check {
	return Check{
		ID: idEnvContent, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "No Secret in the Environment File", Question: "is no value of the environment file a secret in clear?",
		Remedy: "put each into the agent's vault and write @kv:NAME in its place; then change the secret, since it has been on a disk",
		Decide: inEnvironment(func(e agentEnv) Verdict {
			if v, bad := e.inClear(idEnvContent); bad {
				return v
			}
			return pass("%d keys, and none of those that no other check looks at is given a secret in clear", len(e.set))
		}),
	}
}
