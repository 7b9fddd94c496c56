package preflight

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// sessionFiles are those of the Azure CLI in which tokens lie (Azure CLI, "core/_profile.py" and MSAL extensions, 2.45 to 2.70), and the
// one in which it keeps the secret of a service principal.
func sessionFiles() []string {
	return []string{"msal_token_cache.json", "msal_token_cache.bin", "accessTokens.json", principalEntries, "service_principal_entries.bin"}
}

const principalEntries = "service_principal_entries.json"

// cliIsolated asks whether the operator's session is the operator's alone. The original passed when a folder was there at all. The folder
// itself is made 0755 by the CLI; what counts is whether somebody else can open a file with tokens in it.
func cliIsolated() Check {
	return Check{
		ID: idCLI, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "Admin CLI Session Isolated", Question: "can nobody else use the operator's Azure CLI session?",
		Remedy: "chmod 700 the folder and 600 the files in it; where the agent could read them: az logout, then log in again",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			me, err := get(a, &a.run.me)
			if err != nil {
				return failed(err)
			}
			if me.Azure == "" || me.Home == "" {
				return skip("nothing says where the operator's home is: HOME is not set")
			}
			var folders []File
			for _, path := range []string{me.Azure, me.Home} {
				f, err := a.run.p.Host.Look(ctx, path)
				if err != nil {
					return failed(err)
				}
				folders = append(folders, f)
			}
			if !folders[0].Exists {
				return skip("the operator has no Azure CLI session on this machine (%s)", me.Azure)
			}
			return a.session(ctx, folders, me)
		},
	}
}

// session judges the files of a session. folders are those on the way that the others would have to pass.
func (a *Ask) session(ctx context.Context, folders []File, me Account) Verdict {
	closed := false
	for _, f := range folders {
		closed = closed || f.Exists && f.UID >= 0 && f.Mode.Perm()&0o011 == 0
	}
	var found []File
	for _, name := range sessionFiles() {
		f, err := a.run.p.Host.Look(ctx, filepath.Join(me.Azure, name))
		if err != nil {
			return failed(err)
		}
		if f.Exists {
			found = append(found, f)
		}
	}
	v := pass("%s: its %d files with tokens are the operator's alone", me.Azure, len(found))
	for _, f := range found {
		switch {
		case f.UID < 0:
			return skip("this system has access lists and no modes; they are not looked at")
		case f.UID != me.UID && f.UID != 0:
			v = fail("%s belongs to uid %d", f.Path, f.UID)
		case f.open() && !closed:
			v = fail("others can open %s: mode %04o", f.Path, f.Mode.Perm())
		case filepath.Base(f.Path) == principalEntries && f.Size > len64("[]\n") && v.Outcome == finding.Pass:
			v = warn("%s keeps the secret of a service principal in clear", f.Path).instead("az logout, then log in as a person, or with --operator workload")
		}
	}
	for _, f := range slices.Concat(folders, found) {
		v.Evidence = append(v.Evidence, f.evidence(false))
	}
	return v
}

func len64(s string) int64 { return int64(len(s)) }
