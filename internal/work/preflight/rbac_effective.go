package preflight

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// askOwnPermissions is the operation that lets a caller read its own permissions.
const askOwnPermissions = "Microsoft.Authorization/permissions/read"

// effective is what ARM tells the identity that it may do at a scope. mute says why it may not even ask, as it should be.
type effective struct {
	scope   string
	allowed []role.Definition
	mute    string
	err     error
}

// effectiveAt asks as the identity, at every scope side by side.
func effectiveAt(ctx context.Context, a *Ask, scopes []string) ([]effective, error) {
	if err := a.loggedIn(); err != nil {
		return nil, err
	}
	all := make([]effective, len(scopes))
	var asking sync.WaitGroup
	for i, scope := range scopes {
		all[i].scope = scope
		asking.Go(func() {
			all[i].allowed, all[i].err = patiently(ctx, "the identity's permissions on "+role.Short(scope), func(ctx context.Context) ([]role.Definition, error) {
				allowed, err := a.run.self.Permissions(ctx, scope)
				if fault.Is(err, fault.Forbidden) && fault.Service(err) == "AuthorizationFailed" {
					all[i].mute, err = a.mute(scope, err)
				}
				return allowed, err
			})
		})
	}
	asking.Wait()
	return all, nil
}

// mute weighs the refusal to tell the identity its permissions. Where none of its roles lets it ask, the refusal is as it should be; where
// one does, it has not spread yet, and asking again helps.
func (a *Ask) mute(scope string, refused error) (string, error) {
	h, all, err := a.unheard().judged()
	if err != nil {
		return "", refused
	}
	for _, j := range all {
		if j.err != nil {
			return "", refused
		}
		if p := agent.Presence(h.Holdings, role.Grant{RoleID: j.RoleID, Scope: scope}); p.Standing != agent.Missing && j.does.Allows(askOwnPermissions) {
			return "", &fault.Error{Code: fault.NotYet, Service: fault.Service(refused), Hint: "the role assignment has not spread yet, or a deny assignment is in its way", Err: refused}
		}
	}
	if h.unread() != nil {
		return "", refused
	}
	return "no role of the identity lets it ask for its permissions on " + role.Short(scope) + ", so they are judged by the assignments alone", nil
}

// weigh decides over what the identity was told: any way up fails, and what could not be asked is unknown.
func weigh(all []effective) Verdict {
	var up, fine, mute []string
	var open error
	for _, e := range all {
		switch {
		case e.err != nil:
			open = first(open, e.err)
		case e.mute != "":
			mute = append(mute, e.mute)
		default:
			found := len(up)
			for _, d := range e.allowed {
				if why := d.Elevated(); len(why) > 0 {
					up = append(up, fmt.Sprintf("on %s an entry says: %s", role.Short(e.scope), reasons(why)))
				}
			}
			if len(up) == found {
				fine = append(fine, role.Short(e.scope))
			}
		}
	}
	switch {
	case len(up) > 0:
		return fail("by what Azure tells the identity of itself it can gain rights: %s", strings.Join(up, "; "))
	case open != nil:
		return failed(open)
	case len(fine) == 0:
		return skip("%s", strings.Join(mute, "; "))
	}
	return pass("%s", strings.Join(append([]string{"Azure tells the identity of no way to more rights on " + strings.Join(fine, ", ")}, mute...), "; "))
}

// configuredResources are the resources that the spec names for the agent, each once.
func configuredResources(s Subject) (ids []string) {
	for _, id := range []string{s.Spec.VaultID(s.Agent), s.Spec.PoolID(s.Agent), s.Spec.SafetyID(s.Agent)} {
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}
