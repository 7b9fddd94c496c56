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
// the agent reads; so does a folder above in which others may write.
func envFileMode() Check {
	return Check{
		ID: idEnvMode, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Environment File Is the Agent's Alone", Question: "can nobody but its owner read or exchange the agent's environment file?",
		Remedy: "chmod 600 the file, give it to the account that runs leastkey, and keep it where nobody else may write in, or owns, any folder above it or any link to it",
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
			way, err := a.run.p.Host.Way(ctx, f.Path)
			if err != nil {
				return failed(err)
			}
			owners := []int{0, me.UID, a.Agent.Runtime.UID}
			wrong := envFaults(f, owners)
			astray, seen := onTheWay(way, owners)
			wrong = append(wrong, astray...)
			v := pass("%s: %s", f.Path, f)
			if len(wrong) > 0 {
				v = fail("%s %s", f.Path, strings.Join(wrong, "; it "))
			}
			v.Evidence = append(v.Evidence, seen...)
			return v
		},
	}
}

// onTheWay is what is wrong with the folders and links that lead to a file, as sshd judges those above its keys (sshd_config(5),
// StrictModes): whoever may rename one of them puts another file in its place. In a folder with the sticky bit nobody renames what is
// another's. The evidence is the nearest folder and whatever is wrong.
func onTheWay(way []File, owners []int) (wrong []string, seen []finding.Evidence) {
	const sticky = 0o1000
	for i, f := range way {
		bad := ""
		switch kind := "folder"; {
		case f.UID < 0:
		case !slices.Contains(owners, f.UID):
			if !f.Folder {
				kind = "link"
			}
			bad = fmt.Sprintf("is reached by the %s %s of uid %d, who may exchange it", kind, f.Path, f.UID)
		case f.Folder && f.Mode.Perm()&0o022 != 0 && uint32(f.Mode)&sticky == 0:
			bad = fmt.Sprintf("is reached by the folder %s of mode %04o, in which others may exchange it", f.Path, f.Mode.Perm())
		}
		if bad != "" {
			wrong = append(wrong, bad)
		}
		if bad != "" || i == len(way)-1 {
			seen = append(seen, f.evidence(false))
		}
	}
	return wrong, seen
}

func envFaults(f File, owners []int) (wrong []string) {
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
	return wrong
}
