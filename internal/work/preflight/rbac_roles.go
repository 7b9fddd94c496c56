package preflight

import (
	"context"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// The roles that have a check of their own. Names change (Session Executor was once Session Creator); ids do not.
const (
	botContributorID  = "9fc6112f-f48e-4e27-8b09-72a5c94e4ae9" // Azure Bot Service Contributor Role
	readerID          = "acdd72a7-3385-48ef-bd42-f606fba81ae7" // Reader
	secretsOfficerID  = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7" // Key Vault Secrets Officer
	secretsUserID     = "4633458b-17de-408a-b874-0445c86b69e6" // Key Vault Secrets User
	sessionExecutorID = "0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0" // Azure ContainerApps Session Executor
	cognitiveUserID   = "a97b65f3-24c7-4388-baec-2e87135dc908" // Cognitive Services User
	openAIUserID      = "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd" // Cognitive Services OpenAI User
)

func named() []string {
	return []string{botContributorID, readerID, secretsOfficerID, secretsUserID, sessionExecutorID, cognitiveUserID, openAIUserID}
}

// holds decides whether every grant of the spec whose role is among the ids is there; where the spec has none, idle says what that means.
func holds(idle string, ids ...string) func(context.Context, *Ask) Verdict {
	return holdsAll(idle, func(g role.Grant) bool { return slices.Contains(ids, strings.ToLower(g.RoleID)) })
}

func holdsAll(idle string, which func(role.Grant) bool) func(context.Context, *Ask) Verdict {
	return func(_ context.Context, a *Ask) Verdict {
		wanted := slices.DeleteFunc(a.Spec.Grants(a.Agent, a.run.p.Roles), func(g role.Grant) bool { return !which(g) })
		if len(wanted) == 0 {
			return skip("%s", idle)
		}
		h, err := a.holdings()
		if err != nil {
			return failed(err)
		}
		var there, gone, narrow []string
		var unseen error
		for _, g := range wanted {
			switch p := agent.Presence(h.Holdings, g); p.Standing {
			case agent.Held:
				there = append(there, g.Role+": "+p.Detail)
			case agent.Missing:
				gone = append(gone, g.Role+": "+p.Detail)
				for _, as := range h.Assignments {
					if as.Condition != "" && as.Grant().Key() == g.Key() && strings.EqualFold(as.PrincipalID, h.PrincipalID) {
						narrow = append(narrow, as.ID)
					}
				}
			default:
				unseen = missing("rbac_assignments_list", "%s on %s: %s", g.Role, role.Short(g.Scope), p.Detail)
			}
		}
		switch {
		case len(narrow) > 0: // Azure refuses a second assignment of the role to the identity at the scope
			return fail("%s", strings.Join(gone, "; ")).instead("leastkey roles fix cannot assign a role beside one under a condition: first remove the condition, or the assignment (az role assignment delete --ids " + strings.Join(narrow, " ") + "); then leastkey roles fix " + a.Agent.Name)
		case len(gone) > 0:
			return fail("%s", strings.Join(gone, "; ")).instead("leastkey roles fix " + a.Agent.Name)
		case unseen != nil:
			return failed(unseen)
		}
		return pass("%s", strings.Join(there, "; "))
	}
}
