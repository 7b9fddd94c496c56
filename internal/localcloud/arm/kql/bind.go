package kql

import (
	"fmt"
	"slices"
	"strings"
)

// Type is the type of a column or expression.
type Type string

// The types. Those of dynamic columns are known only row by row: null, string, number, boolean, list or object.
const (
	String  Type = "string"
	Long    Type = "long"
	Bool    Type = "bool"
	Dynamic Type = "dynamic"
)

// Column is a column of a table or of a result.
type Column struct {
	Name string
	Type Type
}

// Row has the values of its columns, as encoding/json decodes them into any.
type Row = map[string]any

// scope is the columns that there are at a step, and the order of its rows.
type scope struct {
	columns []Column
	order   []sortKey
}

func (s *scope) typeOf(name string) (Type, bool) {
	i := slices.IndexFunc(s.columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return "", false
	}
	return s.columns[i].Type, true
}

// typed is an expression that is ready to be evaluated. null is nil.
type typed struct {
	kind Type
	eval func(x *run, r Row) any
}

// Plan is a query bound to the columns of its table.
type Plan struct {
	query   *Query
	steps   []step
	columns []Column
	order   []sortKey // of the result, in front of what tells its rows apart

	// Limited tells that take or top bound the result.
	Limited bool
}

// Columns are those of the result.
func (p *Plan) Columns() []Column { return p.columns }

// Bind checks the query against the columns of its table. The error is an [*Error].
func (q *Query) Bind(columns []Column) (*Plan, error) {
	p := &Plan{query: q}
	s := &scope{columns: slices.Clone(columns)}
	for _, o := range q.ops {
		st, err := o.bind(s)
		if err != nil {
			return nil, err
		}
		p.steps = append(p.steps, st)
		switch o.(type) {
		case take, top:
			p.Limited = true
		case count, summarize:
			p.Limited = false // what is counted is whole
		}
	}
	p.columns, p.order = s.columns, s.order
	return p, nil
}

// semantic is an error of meaning. Azure's codes for these were not seen; the form of the answer is the same.
func semantic(at token, format string, args ...any) error {
	return &Error{Code: "SemanticError", Message: fmt.Sprintf(format, args...), Line: at.line, Col: at.col, Token: at.raw}
}

// place is the first token of an expression that has one.
func place(e expr) token {
	switch e := e.(type) {
	case column:
		return e.at
	case call:
		return e.at
	case member:
		return place(e.of)
	case binary:
		return place(e.l)
	case among:
		return place(e.l)
	}
	return token{line: -1, col: -1}
}

func (e literal) bind(*scope) (typed, error) {
	kind := String
	switch e.value.(type) {
	case float64:
		kind = Long
	case bool:
		kind = Bool
	}
	return typed{kind, func(*run, Row) any { return e.value }}, nil
}

func (e column) bind(s *scope) (typed, error) {
	n := e.at.value
	kind, found := s.typeOf(n)
	if !found {
		return typed{}, semantic(e.at, "Failed to resolve column or scalar expression named '%s'", n)
	}
	return typed{kind, func(x *run, r Row) any { return r[n] }}, nil
}

func (e member) bind(s *scope) (typed, error) {
	of, err := e.of.bind(s)
	if err != nil {
		return of, err
	}
	if of.kind != Dynamic {
		return of, semantic(place(e), "Only a dynamic value has members, and this is of type %s", of.kind)
	}
	by := e.by.(literal).value
	return typed{Dynamic, func(x *run, r Row) any {
		switch v := of.at(x, r).(type) {
		case map[string]any:
			if key, isText := by.(string); isText {
				return v[key]
			}
		case []any:
			if i, found := index(by, len(v)); found {
				return v[i]
			}
		}
		return nil
	}}, nil
}

// textual tells whether a value of the type can stand where a string is wanted.
func textual(t Type) bool { return t == String || t == Dynamic }

// comparable tells whether values of the types can be equal.
func comparableTypes(a, b Type) bool { return a == b || a == Dynamic || b == Dynamic }

func (e binary) bind(s *scope) (typed, error) {
	l, err := e.l.bind(s)
	if err != nil {
		return l, err
	}
	r, err := e.r.bind(s)
	if err != nil {
		return r, err
	}
	bad := func() (typed, error) {
		return typed{}, semantic(e.op, "'%s' does not go with operands of types %s and %s", e.op.raw, l.kind, r.kind)
	}
	switch op := e.op.raw; op {
	case "and", "or":
		if l.kind != Bool || r.kind != Bool {
			return bad()
		}
		stop := op == "or" // one such operand decides
		return typed{Bool, func(x *run, row Row) any { return logic(l.at(x, row), func() any { return r.at(x, row) }, stop) }}, nil
	case "==", "!=":
		if !comparableTypes(l.kind, r.kind) {
			return bad()
		}
		return typed{Bool, func(x *run, row Row) any { return equality(x, e.op, l.at(x, row), r.at(x, row), op == "!=") }}, nil
	case "<", "<=", ">", ">=":
		if l.kind != Long && l.kind != Dynamic || r.kind != Long && r.kind != Dynamic {
			return bad()
		}
		return typed{Bool, func(x *run, row Row) any { return inOrder(op, l.at(x, row), r.at(x, row)) }}, nil
	default:
		if !textual(l.kind) || !textual(r.kind) {
			return bad()
		}
		compare := comparisons[op]
		return typed{Bool, func(x *run, row Row) any { return compare(x, x.text(l.at(x, row)), x.text(r.at(x, row))) }}, nil
	}
}

func (e among) bind(s *scope) (typed, error) {
	l, err := e.l.bind(s)
	if err != nil {
		return l, err
	}
	folds := strings.HasSuffix(e.op.raw, "~")
	var items []typed
	for _, x := range e.list {
		item, err := x.bind(s)
		if err != nil {
			return item, err
		}
		if !comparableTypes(l.kind, item.kind) || folds && (!textual(l.kind) || !textual(item.kind)) || item.kind == Dynamic {
			return item, semantic(e.op, "'%s' does not go with operands of types %s and %s", e.op.raw, l.kind, item.kind)
		}
		items = append(items, item)
	}
	negated := strings.HasPrefix(e.op.raw, "!")
	return typed{Bool, func(x *run, row Row) any {
		value := l.at(x, row)
		return slices.ContainsFunc(items, func(i typed) bool {
			if folds {
				return strings.EqualFold(x.text(value), x.text(i.at(x, row)))
			}
			return equality(x, e.op, value, i.at(x, row), false) == true
		}) != negated
	}}, nil
}

func (e call) bind(s *scope) (typed, error) {
	f, known := functions[e.at.value]
	if !known {
		return typed{}, &Error{Code: "InvalidQueryLanguage", Message: "InvalidQueryLanguage", Line: e.at.line, Col: e.at.col, Token: e.at.raw}
	}
	if len(e.args) < f.least || f.most > 0 && len(e.args) > f.most {
		return typed{}, semantic(e.at, "%s() does not take %d arguments", e.at.value, len(e.args))
	}
	args, kinds := make([]typed, len(e.args)), make([]Type, len(e.args))
	for i, x := range e.args {
		a, err := x.bind(s)
		if err != nil {
			return a, err
		}
		args[i], kinds[i] = a, a.kind
	}
	kind, fits := f.types(kinds)
	if !fits {
		return typed{}, semantic(e.at, "%s() does not go with arguments of types %v", e.at.value, kinds)
	}
	return typed{kind, func(x *run, r Row) any {
		values := make([]any, len(args))
		for i, a := range args {
			values[i] = a.at(x, r)
		}
		if x.err != nil {
			return nil
		}
		return f.call(x, values, kinds)
	}}, nil
}
