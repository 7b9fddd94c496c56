// Package specfile reads leastkey.yaml, says everything that is wrong with it at once and where, and writes the first one.
package specfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const maxSize = 1 << 20

// Problem is one thing wrong with a file. Line and Column count from 1; 0 is unknown. Field is a path such as
// agents.polyclaw-runtime.roles[1].scope, "" for the whole file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String is one line: leastkey.yaml:7:5: agents.a.kind: "x" is not one of … (did you mean …?)
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	if p.Field != "" {
		b.WriteString(": " + printable(p.Field))
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// printable keeps a key that somebody wrote from steering the terminal, or from filling it.
func printable(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Error is everything wrong with a file, in the order of its lines. It is a fault.Invalid.
type Error struct{ Problems []Problem }

// Error has one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the class.
func (e *Error) Unwrap() error { return &fault.Error{Code: fault.Invalid} }

// Load reads the file, fills in the defaults and checks all of it against the catalogue. fault.NotFound if there is none; *[Error] if it
// is wrong.
func Load(path string, c role.Catalogue) (agent.Spec, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return agent.Spec{}, fault.New(fault.NotFound, "there is no "+path, "leastkey init writes one")
	case errors.Is(err, fs.ErrPermission):
		return agent.Spec{}, &fault.Error{Code: fault.Forbidden, Op: "read spec", Err: err}
	case err != nil:
		return agent.Spec{}, &fault.Error{Code: fault.Unavailable, Op: "read spec", Err: err}
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return agent.Spec{}, fault.New(fault.Invalid, path+" is a folder", "name the file in it")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return agent.Spec{}, &fault.Error{Code: fault.Unavailable, Op: "read spec", Err: err}
	}
	return Parse(path, b, c)
}

// Parse is Load of bytes; name stands in the problems.
func Parse(name string, b []byte, c role.Catalogue) (agent.Spec, error) {
	if len(b) > maxSize {
		return agent.Spec{}, &Error{[]Problem{{File: name, Message: "larger than 1 MiB", Hint: "that is no spec"}}}
	}
	doc, problem := document(b)
	if problem != nil {
		problem.File = name
		return agent.Spec{}, &Error{[]Problem{*problem}}
	}
	r := newReader()
	spec := r.spec(doc.Content[0])
	if !r.exhausted {
		spec.Defaults()
		for _, p := range spec.Validate(c) {
			r.validated(p)
		}
	}
	if len(r.problems) == 0 {
		return spec, nil
	}
	for i := range r.problems {
		r.problems[i].File = name
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return agent.Spec{}, &Error{r.problems}
}
