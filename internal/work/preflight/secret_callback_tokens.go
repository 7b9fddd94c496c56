package preflight

import (
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// callbackTokens: the token with which callers prove that a callback is Azure's. Its one right place is the vault, named by the
// agent's file: in clear it can be read there, and within an address it is written into every log on the way.
func callbackTokens() Check {
	return Check{
		ID: idCallback, Category: finding.Secrets, Severity: finding.Medium, Required: true,
		Name: "Callback Token", Question: "is the callback token only where the vault keeps it?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			for _, key := range slices.Sorted(maps.Keys(e.set)) {
				if strings.Contains(strings.ToUpper(key), "CALLBACK") && inAddress(e.set[key]) {
					return fail("%s has a token within the address of %s", e.file.Path, key)
				}
			}
			return e.referred(idCallback, "there is no callback token", "ACS_CALLBACK_TOKEN")
		}),
	}
}

// inAddress tells whether a value is an address that carries a token.
func inAddress(v secret.Value) (yes bool) {
	_ = v.Use(func(b []byte) error { // the function returns nil
		lower := strings.ToLower(string(b))
		_, query, _ := strings.Cut(lower, "?")
		yes = strings.HasPrefix(lower, "http") && (strings.Contains(query, "token=") || strings.Contains(query, "code=") || strings.Contains(query, "secret="))
		return nil
	})
	return yes
}
