package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// federatedExactly: a federated credential is a way in without any key. One that the spec does not have lets in a stranger; one that is
// missing locks the workload out.
func federatedExactly() Check {
	return Check{
		ID: "identity_federated", Name: "Federated Credentials", Severity: finding.Critical, Required: true,
		Question: "are the federated credentials exactly those of the spec?",
		Remedy:   "leastkey apply, which writes those of the spec; one that nobody asked for: leastkey apply --remove-foreign ID",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			have, err := get(a, &a.run.federated)
			if err != nil {
				return failed(err)
			}
			var strange, lacking []string
			for _, f := range a.Agent.StrangeFederated(have) {
				strange = append(strange, fmt.Sprintf("%s (id %s: subject %s of %s)", f.Name, f.ID, f.Subject, f.Issuer))
			}
			for _, w := range a.Agent.Federated {
				if !slices.ContainsFunc(have, func(f agent.FederatedCredential) bool { return f.Stands(w.Credential()) }) {
					lacking = append(lacking, w.Subject+" of "+w.Issuer)
				}
			}
			switch {
			case len(strange) > 0:
				return fail("nobody asked for these, and each lets somebody in without a key: %s", strings.Join(strange, "; "))
			case len(lacking) > 0:
				return fail("these cannot log in, though the spec has them: %s", strings.Join(lacking, "; "))
			}
			return pass("%d, as the spec has them", len(have))
		},
	}
}
