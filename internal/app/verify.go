package app

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/source"
	"github.com/leastkey/leastkey/internal/record/statefile"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/verify"
	"github.com/leastkey/leastkey/internal/world/git"
	"github.com/leastkey/leastkey/internal/world/helper"
)

// verifier plugs the checklist in.
func verifier(p *place, w outside, keys migrate.Keys, files migrate.Files) *verify.Verify {
	return verify.New(verify.Config{
		Graph: w.graph, Keys: keys, State: files.State, Login: w.graphLogin, Tenant: p.tenant,
		Search: func(ctx context.Context, look verify.Look) ([]secret.Value, []provisioner.Place, error) {
			return searchLegacy(ctx, files, look)
		},
		Below: below,
		Git: func(ctx context.Context, dir string) (verify.Repository, error) {
			r, err := git.Open(ctx, dir)
			if err != nil {
				return nil, err
			}
			return repository{r}, nil
		},
		Sources: func(ctx context.Context, dir string, look func(path, language string, content []byte) error) (int, error) {
			return source.Read(ctx, dir, func(path string, l source.Language, content []byte) error { return look(path, string(l), content) })
		},
		Helper: runHelper,
	})
}

// below bounds how much of a folder is searched: what a project and its pictures have, and no home folder.
func below(ctx context.Context, dir string) (files []string, all bool, err error) {
	return source.Below(ctx, dir, source.Most{Files: 20_000, Bytes: 2 << 30})
}

// searchLegacy looks for the secret, with what the backups know.
func searchLegacy(ctx context.Context, files migrate.Files, look verify.Look) ([]secret.Value, []provisioner.Place, error) {
	found, err := files.Legacy(ctx, migrate.Where{State: look.State, Env: filepath.Join(filepath.Dir(look.State), ".env"), Also: look.Also, BackUps: look.BackUps})
	return found.Values, found.Places, err
}

// repository is git's, with what the legacy secret looks like.
type repository struct{ *git.Repository }

// Top implements [verify.Repository].
func (r repository) Top() string { return r.Repository.Top }

// Shallow implements [verify.Repository].
func (r repository) Shallow() bool { return r.Repository.Shallow }

// Search implements [verify.Repository].
func (r repository) Search(ctx context.Context, values []secret.Value) (found []string, objects int, err error) {
	f := statefile.NewFinder(values)
	objects, err = r.History(ctx, func(o git.Object, content io.Reader) error {
		line, err := f.Find(content)
		if line > 0 {
			found = append(found, o.Kind+" "+o.ID[:min(12, len(o.ID))]+" "+cmp.Or(o.Path, "(message)"))
		}
		return err
	})
	slices.Sort(found)
	return found, objects, err
}

// runHelper finds the token helper: the named one, that on the PATH, or that beside this program.
func runHelper(ctx context.Context, program, stateFile string) (verify.Helped, error) {
	path, err := helper.Find(program)
	if err != nil && program == "" {
		if self, e := os.Executable(); e == nil {
			if beside, e := helper.Find(filepath.Join(filepath.Dir(self), helper.Name)); e == nil {
				path, err = beside, nil
			}
		}
	}
	if err != nil {
		return verify.Helped{}, err
	}
	r, err := helper.Run(ctx, path, filepath.Dir(stateFile), stateFile)
	return verify.Helped{Path: r.Path, Token: r.Token, Bytes: r.Bytes, Took: r.Took}, err
}
