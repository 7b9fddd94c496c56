package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// envFileMode asks who else can read or exchange the file. The original wrote it 0644, where any account of the machine reads it (seen
// 2026-02 in its volume). A link out of its folder, or a second name, means that somebody who never touches the file itself decides what
// the agent reads; so does a folder in which others may write.
func envFileMode() Check {
	return Check{
		ID: idEnvMode, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Environment File Is the Agent's Alone", Question: "can nobody but its owner read or exchange the agent's environment file?",
		Remedy: "chmod 600 the file, give it to the account that runs leastkey, and keep it in a folder in which nobody else may write",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			e, err := get(a, &a.run.environment)
			if err != nil {
				return failed(err)
			}
			f := e.file
			switch {
			case !f.Exists:
				return skip("there is no environment file %s", f.Path)
			case f.UID < 0:
				return skip("this system has access lists and no modes; they are not looked at")
			}
			me, err := get(a, &a.run.me)
			if err != nil {
				return failed(err)
			}
			folder, err := a.run.p.Host.Look(ctx, filepath.Dir(f.Path))
			if err != nil {
				return failed(err)
			}
			wrong := envFaults(f, folder, []int{0, me.UID, a.Agent.Runtime.UID})
			v := pass("%s: %s", f.Path, f)
			if len(wrong) > 0 {
				v = fail("%s %s", f.Path, strings.Join(wrong, "; it "))
			}
			v.Evidence = append(v.Evidence, folder.evidence(false))
			return v
		},
	}
}

func envFaults(f, folder File, owners []int) (wrong []string) {
	if f.open() {
		wrong = append(wrong, fmt.Sprintf("has mode %04o, so that others than its owner may use it", f.Mode.Perm()))
	}
	if !slices.Contains(owners, f.UID) {
		wrong = append(wrong, fmt.Sprintf("belongs to uid %d, which is neither yours nor the agent's", f.UID))
	}
	if f.Link != "" && filepath.Dir(f.Link) != filepath.Dir(f.Path) {
		wrong = append(wrong, "is a link out of its folder, to "+f.Link)
	}
	if f.Names > 1 {
		wrong = append(wrong, fmt.Sprintf("has %d names (hard links)", f.Names))
	}
	const sticky = 0o1000
	if folder.UID >= 0 && folder.Mode.Perm()&0o022 != 0 && uint32(folder.Mode)&sticky == 0 {
		wrong = append(wrong, fmt.Sprintf("lies in a folder of mode %04o, in which others may exchange it", folder.Mode.Perm()))
	}
	return wrong
}
