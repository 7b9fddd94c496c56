package preflight

import (
	"context"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// noGitHub: the seed's promise is that the runtime has no GitHub token. A reference is one for whoever may read the vault, which the agent
// may, so it fails too. The original's check passed always where it ran.
func noGitHub() Check {
	return Check{
		ID: idGitHub, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "No GitHub Token in Runtime", Question: "can the agent not act on GitHub in its operator's name?",
		Remedy: "take it out of the file and out of the agent's vault, and revoke it on GitHub (Settings, Developer settings)",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			v := inEnvironment(func(e agentEnv) Verdict {
				if v, bad := e.inClear(idGitHub); bad {
					return v
				}
				keys := e.refersTo(idGitHub)
				for _, name := range []string{"GITHUB_TOKEN", "GH_TOKEN", "COPILOT_GITHUB_TOKEN", "GITHUB_PAT", "GITHUB_ENTERPRISE_TOKEN", "GH_ENTERPRISE_TOKEN"} {
					keys = append(keys, e.given(name)...)
				}
				if len(keys) > 0 {
					slices.Sort(keys)
					return fail("%s gives a value to %s, which the agent can resolve", e.file.Path, strings.Join(slices.Compact(keys), ", "))
				}
				return pass("%s has none", e.file.Path)
			})(ctx, a)
			if v.Err != nil || v.Outcome == finding.Fail || a.Agent.Runtime.UID == 0 {
				return v
			}
			return noGitHubSession(ctx, a, v)
		},
	}
}

// noGitHubSession looks for the session of GitHub's own tools in the home of the agent's account, where this machine has one.
func noGitHubSession(ctx context.Context, a *Ask, v Verdict) Verdict {
	account, known, err := agentAccount(ctx, a)
	if err != nil || !known {
		return orError(v, err)
	}
	for _, path := range []string{"/.config/gh/hosts.yml", "/.git-credentials", "/.copilot/config.json"} {
		f, err := a.run.p.Host.Look(ctx, account.Home+path)
		switch {
		case fault.Is(err, fault.Forbidden):
			return unseen(account)
		case err != nil:
			return failed(err)
		case f.Exists:
			v = fail("the agent's account has a session of GitHub's: %s", f.Path)
			v.Evidence = append(v.Evidence, f.evidence(false))
			return v
		}
	}
	return v
}

func orError(v Verdict, err error) Verdict {
	if err != nil {
		return failed(err)
	}
	return v
}
