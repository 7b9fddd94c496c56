package preflight

import (
	"cmp"
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
			var strange, ours, lacking, steps []string
			for _, f := range a.Agent.StrangeFederated(have) {
				told := fmt.Sprintf("%s (id %s: subject %s of %s, audience %s)", f.Name, f.ID, f.Subject, f.Issuer, strings.Join(f.Audiences, ", "))
				if slices.Contains(a.Record.Federated, f.Name) {
					ours = append(ours, told)
					continue
				}
				strange = append(strange, told)
				steps = append(steps, "leastkey apply "+a.Record.Agent+" --remove-foreign "+cmp.Or(f.ID, f.Name))
			}
			for _, w := range a.Agent.Federated {
				if !slices.ContainsFunc(have, func(f agent.FederatedCredential) bool { return f.Stands(w.Credential()) }) {
					lacking = append(lacking, w.Subject+" of "+w.Issuer)
				}
			}
			switch {
			case len(strange) > 0:
				return fail("nobody asked for these, and each lets somebody in without a key: %s", strings.Join(strange, "; ")+alsoOurs(ours)).instead("find out who added it; then " + strings.Join(steps, "; "))
			case len(ours) > 0:
				return fail("written by leastkey, and the spec does not ask for it as it is, so that somebody still logs in by it: %s", strings.Join(ours, "; ")).instead("leastkey apply " + a.Record.Agent)
			case len(lacking) > 0:
				return fail("these cannot log in, though the spec has them: %s", strings.Join(lacking, "; ")).instead("leastkey apply " + a.Record.Agent)
			}
			return pass("%d, as the spec has them", len(have))
		},
	}
}

// alsoOurs mentions credentials of ours beside a stranger's.
func alsoOurs(ours []string) string {
	if len(ours) == 0 {
		return ""
	}
	return "; moreover the spec no longer asks for what leastkey wrote: " + strings.Join(ours, "; ")
}
