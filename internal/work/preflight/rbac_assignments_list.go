package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// assignmentsList tells of the list that all other questions about roles rest on, and how far it reaches.
func assignmentsList() Check {
	return Check{
		ID: "rbac_assignments_list", Category: finding.RBAC, Name: "Role assignments read", Severity: finding.High, Required: true,
		Question: "which role assignments reach the identity, itself and through groups, in every subscription that spec and record touch?",
		Remedy:   "let somebody run the preflight who may read role assignments there: Reader is enough",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, err := a.holdings()
			if err == nil {
				err = h.unread()
			}
			if err != nil {
				return failed(err)
			}
			wanted := len(a.Spec.Grants(a.Agent, a.run.p.Roles))
			if len(h.Assignments) == 0 && wanted > 0 {
				return warn("no role assignment reaches the identity, though the spec asks for %d; looked at: all of %s and above", wanted, places(h.Readable)).instead("leastkey apply " + a.Agent.Name)
			}
			lines := []string{fmt.Sprintf("%d role assignments reach the identity, in all of %s and above", len(h.Assignments), places(h.Readable))}
			for _, as := range h.Assignments {
				lines = append(lines, a.told(h, as, ""))
			}
			return pass("%s", strings.Join(lines, "; "))
		},
	}
}
