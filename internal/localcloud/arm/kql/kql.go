// Package kql is the slice of the Kusto Query Language in which programs read Azure Resource Graph in bulk: a table, then where, project,
// project-away, extend, order by, top, take, distinct, count and summarize count(). A query is parsed, bound to the columns of its table
// and run over rows. What is not served is an error with its place; no query is answered in part.
//
// The language is that of Microsoft's "Understanding the Azure Resource Graph query language" and the Kusto reference it points to.
package kql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Query is a query as it was read.
type Query struct {
	Table string // as written; "" is the default table
	ops   []operator
}

// Error says what is wrong with a query, in the words of Azure Resource Graph where they were seen: code ParserFailure for what is no
// query, InvalidQueryLanguage for an operator that is not served.
type Error struct {
	Code, Message   string
	Line, Col       int // of the token, from 1 and from 0; -1 where the service gives none
	Token, Expected string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s at %d:%d near %q", e.Message, e.Line, e.Col, e.Token)
}

// operator is one step of a query.
type operator interface {
	String() string
	bind(s *scope) (step, error)
}

type (
	where   struct{ cond expr }
	project struct{ cols []named }
	extend  struct{ cols []named }
	away    struct{ names []token }
	order   struct{ keys []key }
	top     struct {
		n    int
		keys []key
	}
	take      struct{ n int }
	distinct  struct{ cols []named }
	count     struct{}
	summarize struct {
		name string
		by   []named
	}
)

// named is a column made of an expression; a name that is not given follows from the expression.
type named struct {
	name  string
	value expr
}

// key is what rows are ordered by.
type key struct {
	value      expr
	asc        bool
	nullsFirst bool
}

// expr is an expression.
type expr interface {
	String() string
	bind(s *scope) (typed, error)
}

type (
	column  struct{ at token }
	member  struct{ of, by expr } // of.by and of['by'] with a text, of[0] with a number
	literal struct{ value any }   // string, float64, bool
	call    struct {
		at   token
		args []expr
	}
	binary struct {
		op   token
		l, r expr
	}
	among struct {
		op   token
		l    expr
		list []expr
	}
)

func (q *Query) String() string {
	parts := []string{}
	if q.Table != "" {
		parts = append(parts, ident(q.Table))
	}
	for _, o := range q.ops {
		parts = append(parts, o.String())
	}
	return strings.Join(parts, " | ")
}

func (o where) String() string    { return "where " + o.cond.String() }
func (o project) String() string  { return "project " + join(o.cols) }
func (o extend) String() string   { return "extend " + join(o.cols) }
func (o order) String() string    { return "order by " + join(o.keys) }
func (o top) String() string      { return "top " + strconv.Itoa(o.n) + " by " + join(o.keys) }
func (o take) String() string     { return "take " + strconv.Itoa(o.n) }
func (o distinct) String() string { return "distinct " + join(o.cols) }
func (count) String() string      { return "count" }

func (o away) String() string {
	names := make([]string, len(o.names))
	for i, n := range o.names {
		names[i] = ident(n.value)
	}
	return "project-away " + strings.Join(names, ", ")
}

func (o summarize) String() string {
	s := "summarize " + ident(o.name) + " = count()"
	if len(o.by) > 0 {
		s += " by " + join(o.by)
	}
	return s
}

func (n named) String() string {
	if n.name == "" {
		return n.value.String()
	}
	return ident(n.name) + " = " + n.value.String()
}

func (k key) String() string {
	s, nulls := k.value.String()+" desc", " nulls last"
	if k.asc {
		s = k.value.String() + " asc"
	}
	if k.nullsFirst {
		nulls = " nulls first"
	}
	return s + nulls
}

func (e column) String() string { return ident(e.at.value) }
func (e member) String() string { return e.of.String() + "[" + e.by.String() + "]" }
func (e call) String() string   { return e.at.value + "(" + join(e.args) + ")" }
func (e binary) String() string {
	return "(" + e.l.String() + " " + e.op.raw + " " + e.r.String() + ")"
}
func (e among) String() string {
	return "(" + e.l.String() + " " + e.op.raw + " (" + join(e.list) + "))"
}
func (e literal) String() string {
	switch v := e.value.(type) {
	case string:
		return quote(v)
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

func join[T fmt.Stringer](items []T) string {
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = item.String()
	}
	return strings.Join(parts, ", ")
}

// ident writes a name, in brackets if it would read as something else.
func ident(s string) string {
	if s != "" && letter(s[0]) && word(s, 1) == len(s) && !reserved[s] && !slices.Contains(unserved, s) {
		return s
	}
	return "[" + quote(s) + "]"
}
