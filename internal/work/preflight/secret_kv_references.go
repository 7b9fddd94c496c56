package preflight

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// vaultReferences asks whether each reference of the environment file leads anywhere: one that does not is an agent that starts without
// its secret, which the original let start without authentication.
func vaultReferences() Check {
	return Check{
		ID: idReferences, Category: finding.Secrets, Severity: finding.Medium, Moot: noVault,
		Name: "Vault References Resolve", Question: "is every secret that the environment file refers to in the vault?",
		Remedy: "az keyvault secret set --vault-name VAULT --name NAME puts it there; or take the line out of the file",
		Decide: func(_ context.Context, a *Ask) Verdict {
			e, err := get(a, &a.run.environment)
			if err != nil {
				return failed(err)
			}
			wanted := e.references()
			if len(wanted) == 0 {
				return skip("%s refers to no secret of the vault", e.file.Path)
			}
			names, err := get(a, &a.run.names)
			if err != nil {
				return failed(err)
			}
			var lost []string
			for _, key := range slices.Sorted(maps.Keys(wanted)) {
				if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, wanted[key]) }) {
					lost = append(lost, key+" → "+wanted[key])
				}
			}
			if len(lost) > 0 {
				return fail("the vault has no such secret: %s", strings.Join(lost, ", "))
			}
			return pass("all %d are there", len(wanted))
		},
	}
}

// references are the keys of the file with the names of the vault's secrets that they stand for.
func (e agentEnv) references() map[string]string {
	all := map[string]string{}
	for key, v := range e.set {
		if name, ok := secret.Reference(v); ok {
			all[key] = name
		}
	}
	return all
}
