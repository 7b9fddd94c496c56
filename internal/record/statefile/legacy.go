package statefile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Where says which files may hold the Provisioner's legacy secret.
type Where struct {
	State string   // the state file; every file of its folder is looked into, its .bak copies among them
	Env   string   // the environment file
	Temp  []string // temporary folders: our own files whose name has entraclaw or entrabot in it
	Also  []string // further files, and folders with everything below them
	Edit  []string // files that the operator lets us change
}

// Legacy looks for the legacy secret: first for its values, under its key in any of the files, then for each value in every file, also as
// JSON and URLs write it. known are values that are known already. A file that cannot be read is an error: what nobody could look into
// is not clean. No value is in the places.
func Legacy(ctx context.Context, w Where, known []secret.Value) (values []secret.Value, places []provisioner.Place, err error) {
	files, err := w.files()
	if err != nil {
		return nil, nil, err
	}
	values = slices.Clone(known)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		found, err := assigned(f)
		if err != nil {
			return nil, nil, err
		}
		for _, v := range found {
			if !slices.ContainsFunc(values, v.Equal) {
				values = append(values, v)
			}
		}
	}
	values = whole(values)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		line, err := holds(f.path, values)
		if err != nil {
			return nil, nil, err
		}
		if line == 0 {
			continue
		}
		p := provisioner.Place{Path: f.path, Line: line, Kind: f.kind}
		switch f.kind {
		case provisioner.Other:
			p.Why = "it is not a file that we know"
		case provisioner.Edit:
			if p.Diff, err = PurgeDiff(f.path, values); err != nil {
				return nil, nil, err
			}
		}
		places = append(places, p)
	}
	return values, places, nil
}

// whole are the values without those that another one begins with: a piece of it, cut off at a character that some file writes in another
// way. No two secrets of Entra are alike by chance.
func whole(values []secret.Value) []secret.Value {
	begins := func(v, w secret.Value) (yes bool) {
		_ = v.Use(func(a []byte) error { // the functions return nil
			return w.Use(func(b []byte) error { yes = len(a) > len(b) && bytes.HasPrefix(a, b); return nil })
		})
		return yes
	}
	return slices.DeleteFunc(slices.Clone(values), func(piece secret.Value) bool {
		return slices.ContainsFunc(values, func(v secret.Value) bool { return begins(v, piece) })
	})
}

// file is one that is looked into.
type file struct {
	path string
	kind provisioner.Kind
}

// files are those that are looked into, each once, with what may be done to it.
func (w Where) files() ([]file, error) {
	var all []file
	seen := map[string]bool{}
	add := func(path string, kind provisioner.Kind) error {
		at, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
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
		if info.Mode().IsRegular() && info.Size() > 0 && !seen[at] { // our locks are empty, and elsewhere than on Unix nobody else may open one
			seen[at] = true
			all = append(all, file{at, kind})
		}
		return nil
	}
	for _, named := range []struct {
		paths []string
		kind  provisioner.Kind
	}{{[]string{w.State}, provisioner.StateFile}, {w.Edit, provisioner.Edit}, {[]string{w.Env}, provisioner.EnvFile}} { // a comment in the environment file goes only when it is named
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

// assignment of the legacy key, in JSON, environment files, shell and most else.
var legacyKey = regexp.MustCompile(provisioner.KeySecret + `["']?[ \t]*[:=][ \t]*["']?([A-Za-z0-9~._+/=!@#%^*:\-]{16,})`)

// generated tells whether the text can be a secret that Entra has made: 32 to 64 random letters and digits, with some signs (seen 2019 to
// 2026), while code and documentation say with words where one would stand.
func generated(text []byte) bool {
	return bytes.ContainsAny(text, "0123456789") && bytes.ContainsFunc(text, unicode.IsLower) && bytes.ContainsFunc(text, unicode.IsUpper)
}

// assigned are the values that a file gives the legacy key. A state file and an environment file are taken at their word; elsewhere the
// value has to look like one.
func assigned(f file) ([]secret.Value, error) {
	b, small, err := head(f.path)
	if err != nil || !small {
		return nil, err
	}
	defer clear(b)
	var all []secret.Value
	if o, err := parseObject(b); err == nil { // JSON may write characters in other ways
		if v := o.get(provisioner.KeySecret); v != "" {
			all = append(all, secret.New([]byte(v)))
		}
	}
	if f.kind == provisioner.EnvFile {
		if e, err := ParseEnv(b); err == nil {
			for _, l := range e.lines {
				if v := unquote(l.value); l.key == provisioner.KeySecret && v != "" {
					all = append(all, secret.New([]byte(v)))
				}
			}
		}
	}
	for _, m := range legacyKey.FindAllSubmatch(b, -1) {
		if generated(m[1]) {
			all = append(all, secret.New(bytes.Clone(m[1])))
		}
	}
	return all, nil
}

// head is the content of a file that is small enough to be a state or environment file.
func head(path string) (b []byte, small bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, unavailable("read "+path, err)
	}
	defer f.Close()
	if b, err = io.ReadAll(io.LimitReader(f, maxSize+1)); err != nil {
		return nil, false, unavailable("read "+path, err)
	}
	return b, len(b) <= maxSize, nil
}

// spellings are the ways in which a value stands in files.
func spellings(v secret.Value) [][]byte {
	var all [][]byte
	_ = v.Use(func(b []byte) error { // the function returns nil
		if len(b) == 0 {
			return nil
		}
		all = append(all, bytes.Clone(b))
		if quoted, err := json.Marshal(string(b)); err == nil {
			all = append(all, quoted[1:len(quoted)-1])
		}
		all = append(all, []byte(url.QueryEscape(string(b))), []byte(url.PathEscape(string(b))))
		return nil
	})
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

// needles are all spellings of the values, and the length of the longest, which comes first: one value may begin with another, and what
// is left of it once the shorter one is cut out is a piece of a secret.
func needles(values []secret.Value) (all [][]byte, longest int) {
	for _, v := range values {
		all = append(all, spellings(v)...)
	}
	slices.SortStableFunc(all, func(a, b []byte) int { return len(b) - len(a) })
	if len(all) > 0 {
		longest = len(all[0])
	}
	return all, longest
}

// holds is the line, from 1, of the first occurrence of any value in the file; 0 if there is none. Files of any size are read, a piece
// at a time.
func holds(path string, values []secret.Value) (int, error) {
	all, longest := needles(values)
	if len(all) == 0 {
		return 0, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable("read "+path, err)
	}
	defer f.Close()
	line, err := search(f, all, longest)
	if err != nil {
		return 0, unavailable("read "+path, err)
	}
	return line, nil
}

// search is the line of the first needle in what r gives; 0 if there is none.
func search(r io.Reader, needles [][]byte, longest int) (int, error) {
	line, window, piece := 1, []byte(nil), make([]byte, 64<<10)
	defer clear(piece)
	for {
		n, err := r.Read(piece)
		window = append(window, piece[:n]...)
		first := -1
		for _, needle := range needles {
			if i := bytes.Index(window, needle); i >= 0 && (first < 0 || i < first) {
				first = i
			}
		}
		if first >= 0 {
			line += bytes.Count(window[:first], []byte("\n"))
			clear(window)
			return line, nil
		}
		if cut := len(window) - longest; cut > 0 { // what a needle could still begin in stays
			line += bytes.Count(window[:cut], []byte("\n"))
			window = append(window[:0], window[cut:]...)
		}
		if err == io.EOF {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Purge removes the values from a file. A state file loses the keys whose value one of them is, and an environment file the assignments;
// from a file that the operator named, each occurrence is cut out. Everything else stays, and the mode is only tightened.
func Purge(ctx context.Context, path string, values []secret.Value, kind provisioner.Kind) (Change, error) {
	return rewrite(ctx, path, func(have found, at string) ([]byte, []string, []string, error) {
		if !have.exists() {
			return nil, nil, nil, nil
		}
		switch kind {
		case provisioner.StateFile:
			return purgeState(have, at, values)
		case provisioner.EnvFile:
			return purgeEnv(have, at, values)
		case provisioner.Edit:
			content := cut(have.content, values)
			if bytes.Equal(content, have.content) {
				return nil, nil, nil, nil
			}
			return content, nil, []string{"the secret"}, nil
		}
		return nil, nil, nil, fault.New(fault.Refused, at+" is not ours to change", "name it with --edit once you have looked at it")
	})
}

func isOneOf(values []secret.Value, text string) bool {
	v := secret.New([]byte(text))
	return text != "" && slices.ContainsFunc(values, v.Equal)
}

func purgeState(have found, at string, values []secret.Value) ([]byte, []string, []string, error) {
	o, err := parseObject(have.content)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", at, err)
	}
	var removed []string
	for _, m := range slices.Clone(o.members) {
		if m.key != provisioner.KeySecret && !isOneOf(values, m.text) {
			continue
		}
		if _, err := o.remove(m.key); err != nil {
			return nil, nil, nil, err
		}
		removed = append(removed, m.key)
	}
	return o.text, nil, removed, nil
}

func purgeEnv(have found, at string, values []secret.Value) ([]byte, []string, []string, error) {
	e, err := have.env(at)
	if err != nil {
		return nil, nil, nil, err
	}
	var removed []string
	for _, key := range e.Keys() {
		guilty := func(l line) bool { return l.key == key && isOneOf(values, unquote(l.value)) }
		if !slices.ContainsFunc(e.lines, guilty) {
			continue
		}
		if err := e.joined(key); err != nil {
			return nil, nil, nil, fmt.Errorf("change %s: %w", at, err)
		}
		e.lines = slices.DeleteFunc(e.lines, guilty)
		removed = append(removed, key)
	}
	return e.Bytes(), nil, removed, nil
}

func cut(b []byte, values []secret.Value) []byte { return replaced(b, values, "") }

// replaced is b with every value in it replaced, in whatever spelling.
func replaced(b []byte, values []secret.Value, by string) []byte {
	all, _ := needles(values)
	for _, needle := range all {
		b = bytes.ReplaceAll(b, needle, []byte(by))
	}
	return b
}

// PurgeDiff shows what cutting the values out of a file would change: the lines concerned, before and after, the value hidden.
func PurgeDiff(path string, values []secret.Value) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", unavailable("read "+path, err)
	}
	defer clear(b)
	var diff strings.Builder
	for i, line := range bytes.SplitAfter(b, []byte("\n")) {
		after := cut(line, values)
		if bytes.Equal(after, line) {
			continue
		}
		hidden := replaced(line, values, "[secret]")
		fmt.Fprintf(&diff, "line %d\n-%s\n+%s\n", i+1, bytes.TrimRight(hidden, "\r\n"), bytes.TrimRight(after, "\r\n"))
	}
	return diff.String(), nil
}
