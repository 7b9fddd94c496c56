package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// state looks at the state file: it is there, it reads, it holds no secret, and nobody else reads it.
func (l *list) state(ctx context.Context) []finding.Finding {
	c := begin("state-file", "is the state file clean, and for its owner alone?")
	asked := "file " + l.ask.State
	var err error
	if l.file, err = l.State(ctx, l.ask.State); err != nil {
		if fault.Is(err, fault.Corrupt) {
			return c.refused(asked, err)
		}
		return c.unknown(asked, err)
	}
	f := l.file
	switch mode := fmt.Sprintf("%04o", f.Mode); {
	case !f.Exists:
		c.saw(asked, "it is not there")
		return c.end(finding.Fail, "there is no state file "+l.ask.State, "name it with --state-file; leastkey provisioner bootstrap makes one")
	case f.HasSecret:
		c.saw(asked, "mode "+mode+", has "+provisioner.KeySecret)
		return c.end(finding.Fail, f.Path+" has "+provisioner.KeySecret, "leastkey provisioner migrate")
	case f.Mode&0o077 != 0:
		c.saw(asked, "mode "+mode)
		return c.end(finding.Fail, f.Path+" has mode "+mode+": others can read it, or write it", "chmod 600 "+f.Path)
	case !strings.EqualFold(f.Tenant, l.Tenant):
		c.saw(asked, provisioner.KeyTenant+" "+f.Tenant)
		return c.end(finding.Fail, "it is of tenant "+f.Tenant+", this is tenant "+l.Tenant, "name the right state file with --state-file")
	default:
		c.saw(asked, "mode "+mode+", "+provisioner.KeyClient+" "+f.Client+", no "+provisioner.KeySecret)
		return c.pass("it reads, has mode %s, and no %s", mode, provisioner.KeySecret)
	}
}

// backUps are the encrypted copies that may still know the secret: those that are there, and whose time has not come.
func (l *list) backUps() []string {
	var some []string
	for _, b := range l.ask.Record.BackUps {
		if _, err := os.Lstat(b.Path); errors.Is(err, fs.ErrNotExist) || !l.ask.Now.Before(b.Expires) {
			continue
		}
		some = append(some, b.Path)
	}
	return some
}

// searched is what the search for the secret has found. Two questions rest on it.
type searched struct {
	values []secret.Value
	places []provisioner.Place
	known  string // what was looked for, in words
	all    bool   // every file below the state file's folder was looked at
	err    error
}

// search looks once. A backup that is there and does not open ends it: it may know a value that lies under another key, and what nobody has
// looked for is not absent.
func (l *list) search(ctx context.Context) searched {
	l.once.Do(func() {
		s := &l.found
		var below []string
		if below, s.all, s.err = l.Below(ctx, filepath.Dir(l.ask.State)); s.err != nil {
			return
		}
		s.values, s.places, s.err = l.Search(ctx, Look{l.ask.State, slices.Concat(l.ask.Also, below), l.backUps()})
		s.known = "its value, and what is given to " + provisioner.KeySecret
		if len(s.values) == 0 {
			s.known = "what is given to " + provisioner.KeySecret + " alone, because its value is not known any more"
		}
	})
	return l.found
}

// onDisk looks for the secret in files. The state file has a question of its own.
func (l *list) onDisk(ctx context.Context) []finding.Finding {
	c := begin("secret-on-disk", "does no file hold the secret?")
	dir := filepath.Dir(l.ask.State)
	asked := "every file below " + dir + " but those of .git and node_modules, and ours in the temporary folders"
	for _, path := range l.ask.Also {
		asked += ", " + path
	}
	s := l.search(ctx)
	if s.err != nil {
		return c.unknown(asked, s.err)
	}
	remedy := "leastkey provisioner migrate"
	var in, why []string
	for _, p := range s.places {
		if p.Kind == provisioner.StateFile {
			continue
		}
		if p.Kind != provisioner.EnvFile {
			remedy += " --edit " + p.Path
		}
		at := p.Path
		if p.Line > 0 {
			at += fmt.Sprintf(":%d", p.Line)
		}
		in = append(in, at)
		if p.Why != "" {
			at += " (" + p.Why + ")"
		}
		why = append(why, at)
	}
	switch {
	case len(in) > 0:
		c.saw(asked+" for "+s.known, strings.Join(why, ", "))
		return c.end(finding.Fail, strings.Join(in, ", ")+" holds it", remedy)
	case !s.all:
		c.saw(asked+" for "+s.known, "in none of those that were looked at; there are more")
		return c.end(finding.Unknown, "there is more below "+dir+" than is looked at: nobody has seen the rest",
			"move what does not belong to the Provisioner out of that folder, or the state file into one of its own")
	}
	c.saw(asked+" for "+s.known, "in none")
	return c.pass("looked for %s: in none", s.known)
}

// repository opens the one that the state file lies in. Where there is none to ask, why says so.
func (l *list) repository(ctx context.Context) (r Repository, why string, err error) {
	r, err = l.Git(ctx, filepath.Dir(l.ask.State))
	if fault.Is(err, fault.NotFound, fault.Unsupported) {
		return nil, err.Error(), nil
	}
	return r, "", err
}

// history looks for the secret in everything that the repository remembers.
func (l *list) history(ctx context.Context) []finding.Finding {
	c := begin("secret-in-history", "does no git history hold the secret?")
	r, why, err := l.repository(ctx)
	switch {
	case err != nil:
		return c.unknown("git in "+filepath.Dir(l.ask.State), err)
	case why != "":
		return c.end(finding.Skip, why, "")
	}
	s := l.search(ctx)
	if s.err != nil {
		return c.unknown("what the secret is", s.err)
	}
	asked := "git: every object of " + r.Top() + " that branches, tags, stash, reflog and index reach, for " + s.known
	found, n, err := r.Search(ctx, s.values)
	switch {
	case err != nil:
		return c.unknown(asked, err)
	case len(found) > 0:
		c.saw(asked, strings.Join(found, ", "))
		return c.end(finding.Fail, "the history holds it: "+strings.Join(found, ", "),
			"git log --all --find-object=BLOB shows the commits; a migrated secret opens nothing, and rewriting the history (git filter-repo) is yours to decide")
	case r.Shallow():
		c.saw(asked, fmt.Sprintf("in none of %d; earlier commits are not here", n))
		return c.end(finding.Unknown, "this clone is shallow: nobody has looked at earlier commits", "git fetch --unshallow")
	}
	c.saw(asked, fmt.Sprintf("in none of %d", n))
	return c.pass("looked for %s: in none of %d objects", s.known, n)
}

// ignored looks whether git would ever take the state file or a copy of it.
func (l *list) ignored(ctx context.Context) []finding.Finding {
	c := begin("state-ignored", "does git ignore the state file and its copies?")
	r, why, err := l.repository(ctx)
	switch {
	case err != nil:
		return c.unknown("git in "+filepath.Dir(l.ask.State), err)
	case why != "":
		return c.end(finding.Skip, why, "")
	}
	name := filepath.Base(l.ask.State)
	tracked, err := r.Tracked(ctx, []string{l.ask.State, l.ask.State + ".bak*"})
	if err != nil {
		return c.unknown("git ls-files "+name+" "+name+".bak*", err)
	}
	c.saw("git ls-files "+name+" "+name+".bak*", or(strings.Join(tracked, ", "), "nothing"))
	if len(tracked) > 0 {
		return c.end(finding.Fail, strings.Join(tracked, ", ")+" is tracked: the next commit publishes it", "git rm --cached "+tracked[0]+", and a line in .gitignore")
	}
	want := []string{l.ask.State, l.ask.State + ".bak.1"}
	ignored, err := r.Ignored(ctx, want)
	if err != nil {
		return c.unknown("git check-ignore "+name, err)
	}
	c.saw("git check-ignore "+name+" "+name+".bak.1", fmt.Sprintf("%d of %d are ignored", len(ignored), len(want)))
	for _, path := range want {
		if !slices.Contains(ignored, path) {
			return c.end(finding.Fail, filepath.Base(path)+" is not ignored: git add . would take it", "printf '%s\\n' "+name+" '"+name+".bak*' >> .gitignore")
		}
	}
	return c.pass("both %s and its .bak copies are ignored, and neither is tracked", name)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
