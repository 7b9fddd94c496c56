package statefile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// assigned is what the state file itself has under the legacy key, and what a file assigns to it otherwise.
func assigned(f file) (own secret.Value, others []claim, err error) {
	b, small, err := head(f.path)
	if err != nil || !small {
		return own, nil, err
	}
	defer clear(b)
	if f.kind == provisioner.StateFile {
		if o, err := parseObject(b); err == nil {
			own = secret.New([]byte(o.get(provisioner.KeySecret)))
		}
	}
	return own, claims(b), nil
}

// head is the content of a file that is small enough to be a state or environment file.
func head(path string) (b []byte, small bool, err error) {
	f, err := open(path)
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

// places are where the file holds the values: what its structure knows, and what is left beside that, which is for --edit.
func (f file) places(p pattern, values []secret.Value) ([]provisioner.Place, error) {
	b, small, err := head(f.path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	place := provisioner.Place{Path: f.path, Kind: f.kind}
	if !small || f.kind == provisioner.Other {
		if place.Line, err = lineOf(f.path, p); err != nil || place.Line == 0 {
			return nil, err
		}
		if f.kind == provisioner.Other {
			place.Why = "it is not a file that we know"
		} else {
			place.Stuck = "it is larger than 1 MiB"
		}
		return []provisioner.Place{place}, nil
	}
	var all []provisioner.Place
	rest, why := b, ""
	switch f.kind {
	case provisioner.StateFile:
		if at := p.all(b); len(at) > 0 {
			place.Line = 1 + bytes.Count(b[:at[0][0]], []byte("\n"))
		}
		o, err := parseObject(b)
		if i := o.find(provisioner.KeySecret); err == nil && i >= 0 && (!o.members[i].plain || o.members[i].text != "") {
			place.Line = 1 + bytes.Count(b[:o.members[i].from], []byte("\n"))
		}
		if place.Line == 0 {
			return nil, nil
		}
		_, _, _, err = purgeState(found{content: b}, f.path, values)
		place.Stuck = f.stuck(err)
		return []provisioner.Place{place}, nil
	case provisioner.EnvFile:
		e, err := ParseEnv(b)
		if err != nil {
			why = "it does not read as an environment file: " + err.Error()
			break
		}
		why = "it stands beside the values, in a comment or within one"
		line := 1
		for i, l := range e.lines {
			n := strings.Count(l.text(), "\n")
			if l.guilty(values) {
				if place.Line == 0 {
					place.Line = line
				}
				e.lines[i] = newLines(n)
			}
			line += n
		}
		if place.Line == 0 {
			break
		}
		_, _, _, err = purgeEnv(found{content: b}, f.path, values)
		place.Stuck = f.stuck(err)
		all = append(all, place)
		rest = e.Bytes()
	}
	at := p.all(rest)
	if len(at) == 0 {
		return all, nil
	}
	left := provisioner.Place{Path: f.path, Line: 1 + bytes.Count(narrow(rest[:at[0][0]]), []byte("\n")), Kind: provisioner.Other, Why: why}
	if f.edit {
		left.Kind, left.Why = provisioner.Edit, ""
		if len(all) > 0 { // the structured purge comes first
			if after, _, _, err := purgeEnv(found{content: b}, f.path, values); err == nil {
				b = after
			}
		}
		left.SHA256, left.Diff, left.Stuck = digest(b), diff(rest, at), f.stuck(nil)
	}
	return append(all, left), nil
}

func newLines(n int) line { return line{head: strings.Repeat("\n", n)} }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// diff says what would be cut out, and shows nothing of the lines: they may hold other people's secrets.
func diff(b []byte, at [][2]int) string {
	var out strings.Builder
	last, n := 0, 0
	say := func() {
		switch {
		case n == 1:
			fmt.Fprintf(&out, "line %d: 1 occurrence is cut out\n", last)
		case n > 1:
			fmt.Fprintf(&out, "line %d: %d occurrences are cut out\n", last, n)
		}
	}
	for _, a := range at {
		line := 1 + bytes.Count(narrow(b)[:a[0]/unitsOf(b)], []byte("\n"))
		if line != last {
			say()
			last, n = line, 0
		}
		n++
	}
	say()
	return strings.TrimRight(out.String(), "\n")
}

func unitsOf(b []byte) int {
	if _, ok := wide(b); ok {
		return 2
	}
	return 1
}

// stuck is why the file could not be changed; "" if it can. What cannot be purged has to be known before anything is deleted.
func (f file) stuck(err error) string {
	if err != nil {
		return err.Error()
	}
	info, err := os.Lstat(f.path)
	switch {
	case err != nil:
		return err.Error()
	case !info.Mode().IsRegular():
		return "it is not a regular file"
	case names(info) > 1:
		return fmt.Sprintf("it has %d names (hard links)", names(info))
	case mounted(f.path):
		return "it is a mount point"
	}
	if err := writable(filepath.Dir(f.path)); err != nil {
		return "its folder cannot be written: " + err.Error()
	}
	return ""
}

// lineOf is the line, from 1, of the first occurrence of any value in the file; 0 if there is none.
func lineOf(path string, p pattern) (int, error) {
	f, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable("read "+path, err)
	}
	defer f.Close()
	line, err := p.line(f)
	if err != nil {
		return 0, unavailable("read "+path, err)
	}
	return line, nil
}

// Purge removes the values from a file. A state file loses the legacy key, the keys whose value one of them is, and what is left of them;
// an environment file loses the assignments; from a file that the operator named, each occurrence is cut out. Everything else stays, and
// the mode is only tightened. approved is the SHA-256 of the content of which the operator has seen what would be cut out; "" if nobody
// was asked. fault.Conflict, and nothing is written, if the file still holds a value and is another.
func Purge(ctx context.Context, path string, values []secret.Value, kind provisioner.Kind, approved string) (Change, error) {
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
			content := patternOf(values).cut(have.content)
			switch {
			case bytes.Equal(content, have.content):
				return nil, nil, nil, nil
			case approved != "" && digest(have.content) != approved:
				return nil, nil, nil, fault.New(fault.Conflict, at+" was changed after it was shown what would be cut out", "nothing was written; run the command again")
			}
			return content, nil, []string{"the secret"}, nil
		}
		return nil, nil, nil, fault.New(fault.Refused, at+" is not ours to change", "name it with --edit once you have looked at it")
	})
}

// isOneOf compares only with what looks like a secret: a placeholder is the value of other keys as well.
func isOneOf(values []secret.Value, text string) bool {
	v := secret.New([]byte(text))
	return secretLike.MatchString(text) && slices.ContainsFunc(values, v.Equal)
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
	content := patternOf(values).cut(o.text)
	if !bytes.Equal(content, o.text) {
		if _, err := parseObject(content); err != nil {
			return nil, nil, nil, fmt.Errorf("%s, without the secret: %w", at, err)
		}
		removed = append(removed, "the secret within other values")
	}
	return content, nil, removed, nil
}

// guilty tells whether the line sets one of the values.
func (l line) guilty(values []secret.Value) bool {
	return l.key != "" && isOneOf(values, unquote(l.value))
}

func purgeEnv(have found, at string, values []secret.Value) ([]byte, []string, []string, error) {
	e, err := have.env(at)
	if err != nil {
		return nil, nil, nil, err
	}
	var removed []string
	for _, key := range e.Keys() {
		guilty := func(l line) bool { return l.key == key && l.guilty(values) }
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
