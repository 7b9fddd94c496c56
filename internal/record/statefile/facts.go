package statefile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Facts are what is known of a file or folder without its content.
type Facts struct {
	Path   string // absolute
	Link   string // where the path leads, if it is a link; "" if not
	Exists bool
	Folder bool
	Mode   fs.FileMode // permission bits, and sticky as 01000
	UID    int         // -1 where the system has none
	Size   int64
	Names  uint64 // hard links; of a folder 1
	SHA256 string // hex, of an environment file that was read
	ID     string // of the file or folder itself, by whatever path; "" where the system has none
}

// Look tells the facts; those of what a link leads to. What is not there has Exists false and no error: a link to nowhere too.
func Look(path string) (Facts, error) {
	f, _, err := factsOf(path)
	return f, err
}

func factsOf(path string) (Facts, fs.FileInfo, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Facts{}, nil, unavailable("find "+path, err)
	}
	f := Facts{Path: abs, UID: -1}
	link, err := os.Lstat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil, nil
	}
	if err != nil {
		return f, nil, unavailable("look at "+abs, err)
	}
	if link.Mode()&fs.ModeSymlink != 0 {
		if f.Link, err = filepath.EvalSymlinks(abs); errors.Is(err, fs.ErrNotExist) || circle(abs) {
			return f, nil, nil
		}
		if err != nil {
			return f, nil, unavailable("look at "+abs, err)
		}
	}
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil, nil
	}
	if err != nil {
		return f, nil, unavailable("look at "+abs, err)
	}
	f.Exists, f.Folder, f.Size, f.UID, f.Names, f.Mode = true, info.IsDir(), info.Size(), uid(info), 1, info.Mode().Perm()
	f.ID = sameness(info)
	if info.Mode()&fs.ModeSticky != 0 {
		f.Mode |= 0o1000
	}
	if info.Mode().IsRegular() {
		f.Names = names(info)
	}
	return f, info, nil
}

// Environment reads an environment file with its facts. Values are what a reader gets: without quotes, and not expanded. The finds are
// everything in the bytes of the file that gives a secret or a reference to one, whether a reader gets it or not: see [secret.Scan].
// fault.Refused for what is no file.
func Environment(path string) (Facts, map[string]secret.Value, []secret.Find, error) {
	f, info, err := factsOf(path)
	if err != nil || !f.Exists {
		return f, nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return f, nil, nil, fault.New(fault.Refused, f.Path+" is not a regular file", "name a file")
	}
	have, err := read(cmp.Or(f.Link, f.Path))
	if err != nil {
		return f, nil, nil, err
	}
	defer clear(have.content)
	e, err := have.env(f.Path)
	if err != nil {
		return f, nil, nil, err
	}
	f.Size, f.SHA256 = int64(len(have.content)), digest(have.content)
	set := map[string]secret.Value{}
	for _, key := range e.Keys() {
		v, _ := e.Get(key)
		set[key] = secret.New([]byte(v))
	}
	return f, set, e.finds(func(p string) bool { return thereFrom(filepath.Dir(f.Path), p) }), nil
}

// thereFrom tells whether a path, which may be relative to a folder, leads to something.
func thereFrom(dir, path string) bool {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	_, err := os.Lstat(path)
	return err == nil
}

// finds are those of every assignment, not of the last one of each key only, and of every line by itself. What a line of one assignment
// holds beside it is a part of the same value.
func (e Env) finds(exists func(path string) bool) (all []secret.Find) {
	number := 1
	for _, l := range e.lines {
		text := l.text()
		told := false
		if l.key != "" {
			if f, ok := secret.Judge(l.key, secret.New([]byte(unquote(l.value))), exists); ok {
				f.Line, told = number, f.Kind != ""
				all = append(all, f)
			}
		}
		many := strings.Count(strings.TrimSuffix(text, "\n"), "\n") > 0
		for _, f := range secret.Scan([]byte(text), exists) {
			if told && (!many || f.Key == "") {
				continue
			}
			f.Line += number - 1
			if !slices.ContainsFunc(all, func(o secret.Find) bool { o.Line = f.Line; return o == f }) {
				all = append(all, f)
			}
		}
		number += strings.Count(text, "\n")
	}
	return all
}

// Given is a key that is given what looks like a secret.
type Given struct{ Key, Kind string }

// GivenIn are the keys of a JSON file, at any depth, that are given what looks like a secret. fault.Corrupt if it does not read as one.
func GivenIn(path string) ([]Given, error) {
	b, small, err := head(path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	var v any
	if !small || json.Unmarshal(b, &v) != nil {
		return nil, fault.New(fault.Corrupt, path+" does not read as a state file", "move it away once you know why")
	}
	var all []Given
	collect("", v, &all)
	slices.SortFunc(all, func(a, b Given) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Kind, b.Kind)) })
	return all, nil
}

// collect walks a value of JSON. What lies in a list goes by the list's key.
func collect(key string, v any, all *[]Given) {
	switch v := v.(type) {
	case string:
		if kind := secret.Assignment(key, secret.New([]byte(v)), func(p string) bool { return thereFrom("/", p) }); kind != "" {
			*all = append(*all, Given{key, kind})
		}
	case map[string]any:
		for k, each := range v {
			collect(k, each, all)
		}
	case []any:
		for _, each := range v {
			collect(key, each, all)
		}
	}
}

// The pieces in which a large file is searched, and how much of one is searched again with the next: no marked secret is longer.
const (
	piece  = 1 << 20
	margin = 4 << 10
)

// MarkedIn is what a file of any kind and size holds of a secret with an unmistakable mark; "" if nothing.
func MarkedIn(path string) (kind string, err error) {
	f, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", unavailable("read "+path, err)
	}
	defer f.Close()
	b := make([]byte, 0, piece+margin)
	defer func() { clear(b[:cap(b)]) }()
	for {
		kept := len(b)
		n, err := io.ReadFull(f, b[kept:kept+piece])
		b = b[:kept+n]
		if kind := secret.Marked(b); kind != "" {
			return kind, nil
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return "", nil
		case err != nil:
			return "", unavailable("read "+path, err)
		}
		b = append(b[:0], bytes.Clone(b[max(0, len(b)-margin):])...)
	}
}
