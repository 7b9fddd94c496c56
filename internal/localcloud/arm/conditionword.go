package arm

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// valueType is the type of an attribute and of the operators that compare it. An operator of another type says nothing about it.
type valueType int

const (
	text valueType = iota
	number
	boolean
	instant
	identifier // a GUID
)

// fits tells whether a constant, as it stands in a condition, is a value of the type.
func (t valueType) fits(literal string) bool {
	s := plain(literal)
	switch t {
	case number: // "Only integers are supported."
		_, err := strconv.ParseInt(s, 10, 64)
		return err == nil
	case boolean:
		return strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
	case instant:
		_, err := time.Parse(instantForm, s)
		return err == nil
	case identifier:
		return guid.MatchString(s)
	}
	return literal[0] == '\''
}

// instantForm is yyyy-mm-ddThh:mm:ss.mmmmmmmZ; [time.Parse] takes the fraction where there is one.
const instantForm = "2006-01-02T15:04:05Z"

// plain is a constant without its quotes. The backslash in front of a quote goes too; others are for the operators that know wildcards.
func plain(literal string) string {
	if len(literal) >= 2 && literal[0] == '\'' {
		return strings.ReplaceAll(literal[1:len(literal)-1], `\'`, `'`)
	}
	return literal
}

// operator compares two values of its type.
type operator struct {
	name  string // in Microsoft's spelling
	of    valueType
	holds func(left, right string) bool
	cross bool // may be asked over sets
}

// quantifiers say over which pairs of two sets an operator is asked (Microsoft, "Cross product comparison operators").
const (
	anyOfAny = "ForAnyOfAnyValues"
	allOfAny = "ForAllOfAnyValues"
	anyOfAll = "ForAnyOfAllValues"
	allOfAll = "ForAllOfAllValues"
)

// operatorNamed finds an operator, and the quantifier in front of it, by their names in any case; nil if there is none.
func operatorNamed(quantifier, name string) (over string, op *operator) {
	for _, q := range []string{"", anyOfAny, allOfAny, anyOfAll, allOfAll} {
		if !strings.EqualFold(q, quantifier) {
			continue
		}
		for i, o := range operators {
			if strings.EqualFold(o.name, name) && (o.cross || q == "") {
				return q, &operators[i]
			}
		}
	}
	return "", nil
}

// operators are all that the page on the syntax lists.
var operators = func() []operator {
	all := []operator{
		{"BoolEquals", boolean, strings.EqualFold, false},
		{"BoolNotEquals", boolean, negated(strings.EqualFold), false},
		{"GuidEquals", identifier, strings.EqualFold, true},
		{"GuidNotEquals", identifier, negated(strings.EqualFold), true},
	}
	add := func(of valueType, name string, holds func(l, r string) bool, cross bool) {
		all = append(all, operator{name, of, holds, cross})
	}
	for _, s := range []struct {
		verb  string
		holds func(l, r string) bool
		cross bool
	}{{"Equals", func(l, r string) bool { return l == r }, true}, {"StartsWith", strings.HasPrefix, false}, {"Like", like, true}} {
		add(text, "String"+s.verb, s.holds, s.cross)
		add(text, "StringNot"+s.verb, negated(s.holds), s.cross)
		add(text, "String"+s.verb+"IgnoreCase", folded(s.holds), s.cross)
		add(text, "StringNot"+s.verb+"IgnoreCase", negated(folded(s.holds)), s.cross)
	}
	for _, o := range []struct {
		verb  string
		holds func(order int) bool
	}{
		{"Equals", func(order int) bool { return order == 0 }},
		{"NotEquals", func(order int) bool { return order != 0 }},
		{"GreaterThan", func(order int) bool { return order > 0 }},
		{"GreaterThanEquals", func(order int) bool { return order >= 0 }},
		{"LessThan", func(order int) bool { return order < 0 }},
		{"LessThanEquals", func(order int) bool { return order <= 0 }},
	} {
		add(number, "Numeric"+o.verb, func(l, r string) bool { return o.holds(numbers(l, r)) }, true)
		add(instant, "DateTime"+o.verb, func(l, r string) bool { return o.holds(instants(l, r)) }, false)
	}
	return all
}()

func negated(f func(l, r string) bool) func(l, r string) bool {
	return func(l, r string) bool { return !f(l, r) }
}

func folded(f func(l, r string) bool) func(l, r string) bool {
	return func(l, r string) bool { return f(strings.ToLower(l), strings.ToLower(r)) }
}

// numbers and instants give the order of two values that fit their type.
func numbers(l, r string) int {
	a, _ := strconv.ParseInt(l, 10, 64)
	b, _ := strconv.ParseInt(r, 10, 64)
	return cmp.Compare(a, b)
}

func instants(l, r string) int {
	a, _ := time.Parse(instantForm, l)
	b, _ := time.Parse(instantForm, r)
	return a.Compare(b)
}

// like tells whether the pattern is the whole text: * stands for any characters, ? for one, and a backslash takes away that meaning.
func like(s, pattern string) bool {
	type piece struct {
		rune
		any, one bool
	}
	var p []piece
	escaped := false
	for _, r := range pattern {
		switch {
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '*':
			p = append(p, piece{any: true})
		case !escaped && r == '?':
			p = append(p, piece{one: true})
		default:
			p = append(p, piece{rune: r})
		}
		escaped = false
	}
	in := []rune(s)
	i, j, star, from := 0, 0, -1, 0 // on a mismatch the last star takes one more character
	for i < len(in) {
		switch {
		case j < len(p) && p[j].any:
			star, from = j, i
			j++
		case j < len(p) && (p[j].one || p[j].rune == in[i]):
			i, j = i+1, j+1
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j].any {
		j++
	}
	return j == len(p)
}
