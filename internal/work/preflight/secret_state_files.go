package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// stateFiles asks about what leastkey and the Provisioner remember. None of it is a secret, but who can write it decides which objects are
// taken for ours; so others get nothing, and nothing in it looks like a secret. The local cloud's own folder holds the keys of that cloud,
// which is why only the record itself is searched.
func stateFiles() Check {
	return Check{
		ID: idStateFiles, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Record and State Files", Question: "are record, keys and state files their owner's alone, and without a secret in clear?",
		Remedy: "chmod -R go= the folder; run leastkey as its owner",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			me, err := get(a, &a.run.me)
			if err != nil {
				return failed(err)
			}
			kept, err := get(a, &a.run.kept)
			if err != nil {
				return failed(err)
			}
			state, err := a.run.p.Host.Look(ctx, a.Spec.Provisioner.StateFile)
			if err != nil {
				return failed(err)
			}
			v := a.modes(append(kept, state), me)
			for _, f := range kept {
				if filepath.Base(f.Path) != recordName {
					continue
				}
				way, err := a.run.p.Host.Way(ctx, f.Path)
				if err != nil {
					return failed(err)
				}
				if astray, seen := onTheWay(way, []int{0, me.UID}); len(astray) > 0 && v.Outcome != finding.Fail {
					v.Outcome, v.Detail, v.Evidence = finding.Fail, f.Path+" "+strings.Join(astray, "; it "), append(v.Evidence, seen...)
					v.Remedy = "keep the record where nobody else may write in, or owns, any folder above it"
				}
			}
			inside, err := a.within(ctx, kept, state)
			switch {
			case err != nil:
				return failed(err)
			case inside != "":
				v.Outcome, v.Detail = finding.Fail, inside
				v.Remedy = "leastkey provisioner migrate removes the Provisioner's; of any other, find out who wrote it, and change it"
			}
			return v
		},
	}
}

// recordName is the database; what SQLite keeps beside it begins so too.
const recordName = "leastkey.db"

// modes judges each by itself. A folder that others may list but not change shows the names of what is in it and no more.
func (a *Ask) modes(all []File, me Account) Verdict {
	var evidence []finding.Evidence
	var wrong, listed []string
	n := 0
	for _, f := range all {
		if !f.Exists {
			continue
		}
		n++
		bad := ""
		switch {
		case f.UID >= 0 && f.UID != me.UID && f.UID != 0:
			bad = fmt.Sprintf("%s belongs to uid %d", f.Path, f.UID)
		case f.open() && f.Folder && f.Mode.Perm()&0o022 == 0:
			listed = append(listed, fmt.Sprintf("%s has mode %04o", f.Path, f.Mode.Perm()))
		case f.open():
			bad = fmt.Sprintf("%s has mode %04o", f.Path, f.Mode.Perm())
		}
		if bad != "" {
			wrong = append(wrong, bad)
		}
		if bad != "" || f.Folder {
			evidence = append(evidence, f.evidence(false))
		}
	}
	v := pass("%d files and folders, each its owner's alone", n)
	switch {
	case len(wrong) > 0:
		v = fail("%s", strings.Join(wrong, "; "))
	case len(listed) > 0:
		v = warn("others see the names of what is kept: %s", strings.Join(listed, "; "))
	}
	v.Evidence = evidence
	return v
}

// within is what looks like a secret in the record or in the state file; "" if nothing does.
func (a *Ask) within(ctx context.Context, kept []File, state File) (string, error) {
	for _, f := range kept {
		if name := filepath.Base(f.Path); f.Folder || !strings.HasPrefix(name, recordName) {
			continue
		}
		kind, err := a.run.p.Host.Marked(ctx, f.Path)
		if err != nil {
			return "", err
		}
		if kind != "" {
			return fmt.Sprintf("%s holds %s", f.Path, kind), nil
		}
	}
	if !state.Exists {
		return "", nil
	}
	given, err := a.run.p.Host.Given(ctx, state.Path)
	if err != nil {
		return "", err
	}
	var all []string
	for _, g := range given {
		all = append(all, g.String())
	}
	if len(all) > 0 {
		return fmt.Sprintf("%s holds in clear: %s", state.Path, strings.Join(all, ", ")), nil
	}
	return "", nil
}
