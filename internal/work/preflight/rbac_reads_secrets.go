package preflight

import (
	"context"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// readsSecrets warns of roles that hand out keys of resources: whoever has such a key is the resource's owner to it, without any role. The
// roles of the set are among them, so this is no failure; a resource that takes no keys makes them harmless.
func readsSecrets() Check {
	return Check{
		ID: "rbac_reads_secrets", Category: finding.RBAC, Name: "Roles that read keys", Severity: finding.Medium,
		Question: "does a role that reaches the identity let it read the keys of resources, past their access control?",
		Remedy:   "disable local authentication on these resources (disableLocalAuth on a Cognitive Services account, authentication without keys on the bot's channels), so that their keys open nothing",
		Decide: func(_ context.Context, a *Ask) Verdict {
			h, all, err := a.judged()
			if err != nil {
				return failed(err)
			}
			var reads []string
			for _, j := range all {
				if ops := j.does.ReadsSecrets(); len(ops) > 0 {
					reads = append(reads, fmt.Sprintf("%s allows %s", a.told(h, j.Assignment, j.does.Name), reasons(ops)))
				}
			}
			open := first(unjudged(all), h.unread())
			switch {
			case len(reads) > 0:
				return warn("%s", strings.Join(reads, "; "))
			case open != nil:
				return failed(open)
			}
			return pass("none of %d role assignments lets the identity read keys of resources", len(all))
		},
	}
}
