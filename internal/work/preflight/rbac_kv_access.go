package preflight

import "github.com/leastkey/leastkey/internal/domain/finding"

// vaultAccess goes by the ids of the two roles on secrets: Key Vault Administrator or Reader, which have the words in their names, are not
// what the spec asks for.
func vaultAccess() Check {
	return Check{
		ID: "rbac_kv_access", Category: finding.RBAC, Name: "Key Vault access", Severity: finding.Medium, Required: true,
		Question: "does the identity hold the Key Vault role that the spec asks for, Secrets Officer or Secrets User?",
		Remedy:   "leastkey roles fix assigns what is missing",
		Decide:   holds("the spec asks for no role on a key vault", secretsOfficerID, secretsUserID),
	}
}
