package arm

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// token is a lexical unit of a condition: a GUID, an attribute, a string, a number, a name (with dots and colons) or punctuation.
var token = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|@(?i:Request|Resource|Principal|Environment)\[[A-Za-z0-9_.:/<>$|& -]+\]|'(?:[^'\\]|\\.)*'|-?[0-9]+|[A-Za-z][A-Za-z0-9_.:]*|&&|\|\||[(){},!])`)

// condition reads the language of role assignment conditions, version 2.0 (Microsoft, "Azure role assignment condition format and
// syntax"): what is not on that page is an error. Words are read without regard to case, as az's documentation writes stringEquals.
type condition struct {
	tokens []string
	mixed  bool // AND and OR stand side by side somewhere
}

// maxCondition is the longest condition (Microsoft, "FAQ for Azure role assignment conditions": 8 KB).
const maxCondition = 8 << 10

var (
	errCondition = errors.New("it ends too early")
	errTooLong   = fmt.Errorf("it is longer than %d bytes", maxCondition)
)

// parseCondition reads a condition, or says why it is none. Its length bounds how deep it nests.
func parseCondition(text string) (expression, error) {
	if len(text) > maxCondition {
		return nil, errTooLong
	}
	e, _, err := readCondition(text)
	return e, err
}

// readCondition tells also whether the order of AND and OR is left to chance.
func readCondition(text string) (e expression, mixed bool, err error) {
	var p condition
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		t := token.FindString(text)
		if t == "" {
			return nil, false, errors.New("it has a character that belongs nowhere")
		}
		p.tokens, text = append(p.tokens, t), text[len(t):]
	}
	if e, err = p.any(); err != nil {
		return nil, false, err
	}
	if len(p.tokens) > 0 {
		return nil, false, fmt.Errorf("%s is not expected where it stands", p.tokens[0])
	}
	return e, p.mixed, nil
}

// refuseCondition is nil if a role assignment may carry the condition and the version. One that is left out is 2.0, and there is no other
// (Microsoft, "Add or edit Azure role assignment conditions using the REST API"). Where three expressions are joined by AND and OR the
// order is ambiguous and parentheses must tell it (the page on the syntax).
//
// The message is the documented one for every cause ("Troubleshoot Azure role assignment conditions"), the code as users report it;
// Azure gives no details, the local cloud says what is wrong.
func refuseCondition(text, version string) *reply {
	why := ""
	switch {
	case version != "" && version != conditionVersion:
		why = "conditionVersion " + version + " is not " + conditionVersion
	case text == "":
		return nil
	case len(text) > maxCondition: // before it is read: what nests without a bound would take memory without one
		why = errTooLong.Error()
	default:
		_, mixed, err := readCondition(text)
		if err == nil && mixed {
			err = errors.New("a AND b OR c needs parentheses")
		}
		if err == nil {
			return nil
		}
		why = err.Error()
	}
	const code = "InvalidRoleAssignmentCondition"
	return &reply{status: http.StatusBadRequest, body: object{"error": object{
		"code": code, "message": "The given role assignment condition is invalid.", "details": []object{{"code": code, "message": why}},
	}}}
}

const conditionVersion = "2.0"

func (p *condition) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *condition) next() string {
	t := p.peek()
	if t != "" {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *condition) take(words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(p.peek(), w) {
			p.next()
			return true
		}
	}
	return false
}

func (p *condition) want(word string) error {
	if p.take(word) {
		return nil
	}
	return p.instead(word)
}

// instead says that something else was wanted here.
func (p *condition) instead(wanted string) error {
	if p.peek() == "" {
		return errCondition
	}
	return fmt.Errorf("%s is wanted instead of %s", wanted, p.peek())
}

// any reads expressions joined by OR, each of which is joined by AND, which binds tighter.
func (p *condition) any() (expression, error) { return p.joined(false, p.all, "OR", "||") }

func (p *condition) all() (expression, error) { return p.joined(true, p.one, "AND", "&&") }

func (p *condition) joined(and bool, read func() (expression, error), words ...string) (expression, error) {
	first, err := read()
	parts := []expression{first}
	for err == nil && p.take(words...) {
		var e expression
		e, err = read()
		parts = append(parts, e)
	}
	if err != nil || len(parts) == 1 {
		return first, err
	}
	for _, e := range parts {
		if _, is := e.(junction); is {
			p.mixed = true
		}
	}
	return junction{and, parts}, nil
}

func (p *condition) one() (expression, error) {
	switch {
	case p.take("!", "NOT"):
		e, err := p.one()
		return not{e}, err
	case p.take("("):
		e, err := p.any()
		if err != nil {
			return nil, err
		}
		return group{e}, p.want(")")
	case p.take("Exists"):
		a, err := p.attribute()
		return exists{a}, err
	case p.take("ActionMatches"):
		patterns, err := p.patterns()
		return actionMatches{patterns}, err
	case p.take("SubOperationMatches"):
		patterns, err := p.patterns()
		return subOperationMatches{patterns}, err
	}
	return p.comparison()
}

func (p *condition) patterns() (operand, error) {
	o, err := p.braces()
	for _, l := range o.literals {
		if err == nil && l[0] != '\'' {
			err = fmt.Errorf("a pattern in quotes is wanted instead of %s", l)
		}
	}
	return o, err
}

// comparison reads an attribute, or a set of constants as the page's examples have it, an operator, and constants or an attribute.
func (p *condition) comparison() (expression, error) {
	var c comparison
	var err error
	if p.peek() == "{" {
		c.left, err = p.braces()
	} else {
		c.left.attribute, err = p.attribute()
	}
	if err != nil {
		return nil, err
	}
	word := p.peek()
	quantifier, name, quantified := strings.Cut(word, ":")
	if !quantified {
		quantifier, name = "", word
	}
	if c.over, c.op = operatorNamed(quantifier, name); c.op == nil {
		return nil, p.instead("an operator")
	}
	p.next()
	if c.right, err = p.operand(); err != nil {
		return nil, err
	}
	for _, o := range []operand{c.left, c.right} {
		for _, l := range o.literals {
			if !c.op.of.fits(l) {
				return nil, fmt.Errorf("%s is no value for %s", l, c.op.name)
			}
		}
		if len(o.literals) > 1 && c.over == "" {
			return nil, fmt.Errorf("%s with several values needs to be told over which, as in ForAnyOfAnyValues:%[1]s", c.op.name)
		}
	}
	return c, nil
}

// tagKey is how the key of a blob index tag ends (Microsoft, "Actions and attributes for Azure role assignment conditions for Azure Blob
// Storage").
var tagKey = regexp.MustCompile(`^[^<>]*(?:<\$key(?:_case_sensitive)?\$>)?$`)

func (p *condition) attribute() (attribute, error) {
	t := p.peek()
	if !strings.HasPrefix(t, "@") {
		return attribute{}, p.instead("an attribute")
	}
	source, name, _ := strings.Cut(strings.TrimSuffix(t[1:], "]"), "[")
	if !tagKey.MatchString(name) {
		return attribute{}, fmt.Errorf("%s attribute %s is not valid", source, name)
	}
	p.next()
	return attribute{source, name}, nil
}

func (p *condition) operand() (o operand, err error) {
	switch t := p.peek(); {
	case t == "{":
		return p.braces()
	case strings.HasPrefix(t, "@"):
		o.attribute, err = p.attribute()
		return o, err
	case literal(t):
		return operand{literals: []string{p.next()}}, nil
	}
	return o, p.instead("a value")
}

func literal(t string) bool {
	return t != "" && (t[0] == '\'' || t[0] == '-' || t[0] >= '0' && t[0] <= '9' || guid.MatchString(t) || strings.EqualFold(t, "true") || strings.EqualFold(t, "false"))
}

// braces reads a set of constants.
func (p *condition) braces() (operand, error) {
	o := operand{set: true}
	if err := p.want("{"); err != nil {
		return o, err
	}
	for {
		if !literal(p.peek()) {
			return o, p.instead("a value")
		}
		o.literals = append(o.literals, p.next())
		if p.take("}") {
			return o, nil
		}
		if err := p.want(","); err != nil {
			return o, err
		}
	}
}
