package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// vaultMode: in access-policy mode role assignments do nothing, and whoever may write the vault can give itself every secret (Microsoft,
// "Azure role-based access control vs. access policies").
func vaultMode() Check {
	return Check{
		ID: "rbac_vault_mode", Category: finding.RBAC, Name: "Vault in RBAC mode", Severity: finding.High, Required: true,
		Question: "does the vault of the spec go by role assignments?",
		Remedy:   "move its access policies to role assignments first, then: az keyvault update --enable-rbac-authorization true; leastkey never switches it",
		Moot: func(s Subject) string {
			if s.Agent.KeyVault == "" {
				return "the spec names no key vault"
			}
			return ""
		},
		Decide: func(_ context.Context, a *Ask) Verdict {
			v, err := get(a, &a.run.vault)
			switch {
			case err != nil:
				return failed(err)
			case v == nil:
				return fail("%s is not there", a.Spec.VaultID(a.Agent)).instead("make the vault, or correct key_vault in the spec")
			case !v.RBAC:
				return fail("%s goes by access policies: the identity's roles do nothing on its secrets", v.ID)
			}
			return pass("%s goes by role assignments", v.ID)
		},
	}
}
