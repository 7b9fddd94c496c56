package preflight

import (
	"context"
	"errors"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// noVault is why the question of the vault does not arise; "" if it does.
func noVault(s Subject) string {
	if s.Agent.KeyVault == "" {
		return "the spec names no key_vault"
	}
	return noOwnToken(s)
}

// vaultReachable asks the vault as the identity itself, which is the only way to know. The original asked as whoever was logged in and
// took every error for an empty vault: a 403 passed with "0 secret(s) readable". Names are enough, so no value is read.
func vaultReachable() Check {
	return Check{
		ID: idVault, Category: finding.Secrets, Severity: finding.High, Required: true, Moot: noVault,
		Name: "Key Vault Reachable", Question: "can the identity list the secrets of its vault?",
		Remedy: "leastkey roles fix assigns its role on the vault; a vault with a firewall has to let this network in",
		Decide: func(_ context.Context, a *Ask) Verdict {
			names, err := get(a, &a.run.names)
			switch {
			case err == nil:
				return pass("%d secrets of %s listed, by name and as the identity", len(names), role.Short(a.Spec.VaultID(a.Agent)))
			case mine(err) && fault.Is(err, fault.Forbidden, fault.NotFound, fault.Refused):
				v := fail("%s", err)
				if hint := fault.Hint(err); hint != "" {
					v = v.instead(hint)
				}
				return v
			}
			return failed(err)
		},
	}
}

// mine tells whether the error is of the lookup of the vault itself, and not of what another check tells of.
func mine(err error) bool {
	u, ok := errors.AsType[*Unanswered](err)
	return ok && u.Owner == idVault
}

func readVault(ctx context.Context, a *Ask) ([]string, error) {
	rec, err := a.recorded()
	switch {
	case err != nil:
		return nil, err
	case rec.Active() == nil:
		return nil, missing("identity_configured", "no key of the identity is recorded")
	}
	names, err := a.run.self.SecretNames(ctx, func() (string, error) {
		v, err := get(a, &a.run.vault)
		switch {
		case err != nil:
			return "", err
		case v == nil:
			return "", fault.New(fault.NotFound, "vault "+a.Spec.VaultID(a.Agent)+" does not exist", "correct key_vault, or remove it")
		}
		return v.URI, nil
	})
	if fault.Is(err, fault.Unauthenticated) {
		if _, login := get(a, &a.run.login); login != nil {
			return nil, login // it cannot log in at all, which is not the vault's to tell
		}
	}
	return names, err
}
