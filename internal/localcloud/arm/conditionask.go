package arm

import "strings"

// truth is a value of three-valued logic: a comparison with an attribute that the request does not have is neither true nor false, so
// that its negation is not true either. Only yes grants.
type truth int

const (
	unknown truth = iota
	no
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// expression is a part of a condition. It prints as it is written, words in Microsoft's spelling.
type expression interface {
	ask(q question) truth
	String() string
}

type (
	junction struct {
		and   bool // or else or
		parts []expression
	}
	not                 struct{ inner expression }
	group               struct{ inner expression }
	exists              struct{ attribute attribute }
	actionMatches       struct{ patterns operand }
	subOperationMatches struct{ patterns operand }
	comparison          struct {
		left, right operand
		over        string // quantifier, "" compares one value with one
		op          *operator
	}
)

// operand is one side of a comparison: an attribute, or constants as they are written.
type operand struct {
	attribute attribute
	literals  []string
	set       bool // in braces
}

// attribute is where and under which name a value is found.
type attribute struct{ source, name string }

func (e junction) ask(q question) truth {
	settles := truthOf(!e.and) // one part that is so settles the whole
	answer := truthOf(e.and)
	for _, part := range e.parts {
		switch part.ask(q) {
		case settles:
			return settles
		case unknown:
			answer = unknown
		}
	}
	return answer
}

func (e not) ask(q question) truth {
	switch e.inner.ask(q) {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

func (e group) ask(q question) truth { return e.inner.ask(q) }

func (e exists) ask(q question) truth {
	value, known := q.attribute(e.attribute)
	if !known {
		return unknown
	}
	return truthOf(value != nil)
}

func (e actionMatches) ask(q question) truth {
	return truthOf(anyMatches(e.patterns.values(), q.operation))
}

// No operation of the local cloud has suboperations, which are Storage's.
func (subOperationMatches) ask(question) truth { return no }

func (e comparison) ask(q question) truth {
	left, known := e.left.read(q, e.op.of)
	right, alsoKnown := e.right.read(q, e.op.of)
	if !known || !alsoKnown {
		return unknown
	}
	someLeft, someRight := e.over == anyOfAny || e.over == anyOfAll, e.over == anyOfAny || e.over == allOfAny
	return truthOf(quantified(someLeft, left, func(l string) bool {
		return quantified(someRight, right, func(r string) bool { return e.op.holds(l, r) })
	}))
}

// quantified tells whether f holds for some of the values, or else for all.
func quantified(some bool, values []string, f func(string) bool) bool {
	for _, v := range values {
		if f(v) == some {
			return some
		}
	}
	return !some
}

func (o operand) values() []string {
	values := make([]string, len(o.literals))
	for i, l := range o.literals {
		values[i] = plain(l)
	}
	return values
}

// read gives the values of the operand if they are there and of the type.
func (o operand) read(q question, t valueType) ([]string, bool) {
	if o.literals != nil {
		return o.values(), true
	}
	v, _ := q.attribute(o.attribute)
	if v == nil || v.of != t {
		return nil, false
	}
	return []string{v.text}, true
}

func (e junction) String() string {
	word := " OR "
	if e.and {
		word = " AND "
	}
	all := make([]string, len(e.parts))
	for i, part := range e.parts {
		all[i] = part.String()
	}
	return strings.Join(all, word)
}

func (e not) String() string                 { return "!" + e.inner.String() }
func (e group) String() string               { return "(" + e.inner.String() + ")" }
func (e exists) String() string              { return "Exists " + e.attribute.String() }
func (e actionMatches) String() string       { return "ActionMatches" + e.patterns.String() }
func (e subOperationMatches) String() string { return "SubOperationMatches" + e.patterns.String() }

func (e comparison) String() string {
	op := e.op.name
	if e.over != "" {
		op = e.over + ":" + op
	}
	return e.left.String() + " " + op + " " + e.right.String()
}

func (o operand) String() string {
	switch s := strings.Join(o.literals, ", "); {
	case o.set:
		return "{" + s + "}"
	case s != "":
		return s
	}
	return o.attribute.String()
}

func (a attribute) String() string { return "@" + a.source + "[" + a.name + "]" }
