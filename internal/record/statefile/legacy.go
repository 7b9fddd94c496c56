package statefile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// Where says which files may hold the Provisioner's legacy secret.
type Where struct {
	State string   // the state file; every file of its folder is looked into, its .bak copies among them
	Env   string   // the environment file
	Temp  []string // temporary folders: our own files whose name has entraclaw or entrabot in it
	Also  []string // further files, and folders with everything below them
	Edit  []string // files that the operator lets us change
}

// Ours asks whether a value that a file assigns to the legacy key is a secret of our application. nil knows of none.
type Ours func(ctx context.Context, v secret.Value) (bool, error)

// whyForeign is said of a value that nothing shows to be our application's: another application's secret bears the same key.
const whyForeign = "the value that it assigns to " + provisioner.KeySecret + " is not known to be this application's"

// Legacy looks for the legacy secret. Its values are what the state file has under the legacy key, what is known already (from backups,
// say), and of what other files assign to that key those that ours vouches for. Each is then looked for in every file, in whatever
// spelling. A file that cannot be read is an error: what nobody could look into is not clean. No value is in the places.
func Legacy(ctx context.Context, w Where, known []secret.Value, ours Ours) (values []secret.Value, places []provisioner.Place, err error) {
	files, err := w.files()
	if err != nil {
		return nil, nil, err
	}
	values = slices.DeleteFunc(slices.Clone(known), secret.Value.Empty)
	var claimed [][]claim
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		own, others, err := assigned(f)
		if err != nil {
			return nil, nil, err
		}
		if !own.Empty() && !slices.ContainsFunc(values, own.Equal) {
			values = append(values, own)
		}
		claimed = append(claimed, others)
	}
	foreign := make([]int, len(files)) // the line of the first
	if values, err = vouched(ctx, claimed, values, ours); err != nil {
		return nil, nil, err
	}
	p := patternOf(values)
	for i, all := range claimed {
		for _, c := range all {
			if foreign[i] == 0 && !p.within(c.value) {
				foreign[i] = c.line
			}
		}
	}
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		found, err := f.places(p, values)
		if err != nil {
			return nil, nil, err
		}
		places = append(places, found...)
		if foreign[i] > 0 {
			places = append(places, provisioner.Place{Path: f.path, Line: foreign[i], Kind: provisioner.Other, Foreign: true, Why: whyForeign})
		}
	}
	return values, places, nil
}

// vouched adds to the values those of the claims that ours vouches for, each asked once. Prose may end a value with a sign that is not its own.
func vouched(ctx context.Context, claimed [][]claim, values []secret.Value, ours Ours) ([]secret.Value, error) {
	var asked []secret.Value
	for _, c := range slices.Concat(claimed...) {
		if ours == nil || patternOf(values).within(c.value) {
			continue
		}
		for _, v := range c.readings() {
			if slices.ContainsFunc(asked, v.Equal) {
				continue
			}
			asked = append(asked, v)
			yes, err := ours(ctx, v)
			if err != nil {
				return nil, err
			}
			if yes {
				values = append(values, v)
				break
			}
		}
	}
	return values, nil
}

// file is one that is looked into.
type file struct {
	path string
	kind provisioner.Kind
	edit bool // the operator has named it: what structure does not reach may be cut out too
}

// files are those that are looked into, each once, with what may be done to it.
func (w Where) files() ([]file, error) {
	var all []file
	seen := map[string]bool{}
	add := func(path string, kind provisioner.Kind) error {
		at, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) || circle(path) {
			return nil // a link to nowhere holds nothing
		}
		if err != nil {
			return unavailable("look at "+path, err)
		}
		if at, err = filepath.Abs(at); err != nil {
			return unavailable("find "+path, err)
		}
		info, err := os.Stat(at)
		if err != nil {
			return unavailable("look at "+path, err)
		}
		if kind == provisioner.Other && sqlite.Part(at) {
			return nil // leastkey's own memory, which holds no secret, and which only SQLite may open
		}
		if !info.Mode().IsRegular() || info.Size() == 0 { // our locks are empty, and elsewhere than on Unix nobody else may open one
			return nil
		}
		if !seen[at] {
			seen[at] = true
			all = append(all, file{at, kind, kind == provisioner.Edit})
		} else if kind == provisioner.Edit {
			for i := range all {
				all[i].edit = all[i].edit || all[i].path == at
			}
		}
		return nil
	}
	for _, named := range []struct {
		paths []string
		kind  provisioner.Kind
	}{{[]string{w.State}, provisioner.StateFile}, {[]string{w.Env}, provisioner.EnvFile}, {w.Edit, provisioner.Edit}} {
		for _, p := range named.paths {
			if p == "" {
				continue
			}
			if err := add(p, named.kind); err != nil {
				return nil, err
			}
		}
	}
	if w.State != "" {
		if err := folderOf(filepath.Dir(w.State), add); err != nil {
			return nil, err
		}
		// Copies lie beside the file itself, also where its name here is a link.
		if at, err := filepath.EvalSymlinks(w.State); err == nil && filepath.Dir(at) != filepath.Dir(w.State) {
			if err := folderOf(filepath.Dir(at), add); err != nil {
				return nil, err
			}
		}
	}
	for _, dir := range w.Temp {
		if err := temporary(dir, add); err != nil {
			return nil, err
		}
	}
	for _, path := range w.Also {
		if err := below(path, add); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// circle tells whether the path is a link that leads back to itself.
func circle(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, syscall.ELOOP)
}

func folderOf(dir string, add func(string, provisioner.Kind) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unavailable("look into "+dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := add(filepath.Join(dir, e.Name()), provisioner.Other); err != nil {
			return err
		}
	}
	return nil
}

// temporary adds what the caller owns: other people's files of that name are not ours to read.
func temporary(dir string, add func(string, provisioner.Kind) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unavailable("look into "+dir, err)
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if !strings.Contains(name, "entraclaw") && !strings.Contains(name, "entrabot") {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return unavailable("look at "+e.Name(), err)
		}
		if !own(info) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if info.IsDir() {
			err = below(path, add)
		} else if info.Mode().IsRegular() {
			err = add(path, provisioner.Other)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// below adds a file, or everything below a folder. Git's own objects are compressed, so that no search finds anything in them: the
// history is a question of its own.
func below(path string, add func(string, provisioner.Kind) error) error {
	path, err := filepath.EvalSymlinks(path) // a walk does not follow the link that it begins at
	if err != nil {
		return unavailable("look into "+path, err)
	}
	return filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return unavailable("look into "+at, err)
		case e.IsDir() && e.Name() == ".git" && at != path:
			return fs.SkipDir
		case e.Type().IsRegular():
			return add(at, provisioner.Other)
		}
		return nil
	})
}
