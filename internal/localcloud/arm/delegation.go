package arm

import "strings"

// Conditions that limit what somebody may delegate (Microsoft, "Delegate Azure role assignment management to others with conditions",
// and its examples): which roles may be assigned or removed, to which principals, of which type. These are evaluated. A condition that
// uses anything else of the language is kept, and its assignment grants nothing here: what we cannot evaluate must not open a door.

// truth is a value of three-valued logic: a comparison with an attribute that the request does not have is neither true nor false, so
// that its negation is not true.
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

// question is what a condition is asked about. Attributes are those of the role assignment in the request and of the one that there is;
// nil where there is none.
type question struct {
	operation         string // lower case
	request, resource *delegated
}

// delegated are the attributes of a role assignment that a condition can ask for.
type delegated struct{ roleID, principalID, principalType string }

func (a Assignment) attributes() *delegated {
	return &delegated{a.RoleID, a.PrincipalID, a.PrincipalType}
}

// expression is a part of a condition.
type expression interface{ ask(q question) truth }

type (
	both   struct{ left, right expression }
	either struct{ left, right expression }
	not    struct{ inner expression }
	match  struct{ patterns []string } // ActionMatches
	beyond struct{}                    // what is not evaluated
)

type joiner interface {
	join(left, right expression) expression
}

func (both) join(l, r expression) expression   { return both{l, r} }
func (either) join(l, r expression) expression { return either{l, r} }

func (e both) ask(q question) truth {
	l, r := e.left.ask(q), e.right.ask(q)
	switch {
	case l == no || r == no:
		return no
	case l == yes && r == yes:
		return yes
	}
	return unknown
}

func (e either) ask(q question) truth {
	l, r := e.left.ask(q), e.right.ask(q)
	switch {
	case l == yes || r == yes:
		return yes
	case l == no && r == no:
		return no
	}
	return unknown
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

func (e match) ask(q question) truth { return truthOf(anyMatches(e.patterns, q.operation)) }

func (beyond) ask(question) truth { return unknown }

// evaluable tells whether nothing of the expression is beyond us.
func evaluable(e expression) bool {
	switch e := e.(type) {
	case both:
		return evaluable(e.left) && evaluable(e.right)
	case either:
		return evaluable(e.left) && evaluable(e.right)
	case not:
		return evaluable(e.inner)
	case beyond:
		return false
	}
	return true
}

// comparison compares an attribute of a role assignment, which has one value, with constants.
type comparison struct {
	resource bool // of the assignment that there is, not of the one in the request
	value    func(d *delegated) string
	negated  bool // each pair is asked whether it differs
	every    bool // all the constants must agree, not one
	exact    bool // case matters
	values   []string
}

// newComparison is the comparison of those words; ok is false for attributes and operators of other services.
func newComparison(attribute, op string, values []string) (c comparison, ok bool) {
	source, name, _ := strings.Cut(strings.TrimSuffix(strings.ToLower(attribute), "]"), "[")
	quantifier, word, set := strings.Cut(strings.ToLower(op), ":")
	if !set {
		quantifier, word = "", quantifier
	}
	if source != "@request" && source != "@resource" {
		return c, false
	}
	c.resource, c.values = source == "@resource", values
	kind := "guid"
	switch name {
	case "microsoft.authorization/roleassignments:roledefinitionid":
		c.value = func(d *delegated) string { return d.roleID }
	case "microsoft.authorization/roleassignments:principalid":
		c.value = func(d *delegated) string { return d.principalID }
	case "microsoft.authorization/roleassignments:principaltype":
		c.value = func(d *delegated) string { return d.principalType }
		kind = "string"
	default:
		return c, false
	}
	switch kind + " " + word {
	case "guid guidequals", "string stringequalsignorecase":
	case "guid guidnotequals", "string stringnotequalsignorecase":
		c.negated = true
	case "string stringequals":
		c.exact = true
	case "string stringnotequals":
		c.exact, c.negated = true, true
	default:
		return c, false
	}
	// The left side has one value, so whether any or all of it must agree is the same.
	switch quantifier {
	case "":
		return c, len(values) == 1
	case "foranyofanyvalues", "forallofanyvalues":
	case "foranyofallvalues", "forallofallvalues":
		c.every = true
	}
	return c, true
}

func (c comparison) ask(q question) truth {
	d := q.request
	if c.resource {
		d = q.resource
	}
	if d == nil {
		return unknown
	}
	have := c.value(d)
	for _, v := range c.values {
		same := have == v || !c.exact && strings.EqualFold(have, v)
		if agrees := same != c.negated; agrees != c.every {
			return truthOf(agrees) // one that agrees is enough, or one that does not is too much
		}
	}
	return truthOf(c.every)
}

// holds tells whether a condition lets the question through. No condition lets everything through.
func holds(text string, q question) bool {
	if text == "" {
		return true
	}
	e, err := parseCondition(text)
	return err == nil && evaluable(e) && e.ask(q) == yes
}
