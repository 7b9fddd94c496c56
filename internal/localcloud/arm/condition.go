package arm

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// token is a lexical unit of a condition: a GUID, an attribute, a string, a number, a name (with dots and colons) or punctuation.
var token = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|@(?i:Request|Resource|Principal|Environment)\[[A-Za-z0-9_.:/<>$|& -]+\]|'(?:[^'\\]|\\.)*'|-?[0-9]+(?:\.[0-9]+)?|[A-Za-z][A-Za-z0-9_.:]*|&&|\|\||[(){},!])`)

// condition reads the language of role assignment conditions, version 2.0 (Microsoft, "Azure role assignment condition format and
// syntax"), as far as its form goes; what an expression means is a matter of [expression].
type condition struct {
	tokens []string
	depth  int
}

var errCondition = errors.New("it ends too early")

// maxCondition is the longest condition (Microsoft, same page: 8 KB).
const maxCondition = 8 << 10

// parseCondition reads a condition, or says why it is none.
func parseCondition(text string) (expression, error) {
	if len(text) > maxCondition {
		return nil, fmt.Errorf("it is longer than %d bytes", maxCondition)
	}
	var p condition
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		t := token.FindString(text)
		if t == "" {
			return nil, errors.New("it has a character that belongs nowhere")
		}
		p.tokens, text = append(p.tokens, t), text[len(t):]
	}
	e, err := p.any()
	if err != nil {
		return nil, err
	}
	if len(p.tokens) > 0 {
		return nil, fmt.Errorf("%s is not expected where it stands", p.tokens[0])
	}
	return e, nil
}

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
	if p.peek() == "" {
		return errCondition
	}
	return fmt.Errorf("%s is wanted instead of %s", word, p.peek())
}

// any reads expressions joined by OR, each of which is joined by AND, which binds tighter.
func (p *condition) any() (expression, error) { return p.joined(either{}, p.all, "OR", "||") }

func (p *condition) all() (expression, error) { return p.joined(both{}, p.one, "AND", "&&") }

func (p *condition) joined(with joiner, read func() (expression, error), words ...string) (expression, error) {
	left, err := read()
	for err == nil && p.take(words...) {
		var right expression
		right, err = read()
		left = with.join(left, right)
	}
	return left, err
}

func (p *condition) one() (expression, error) {
	if p.depth++; p.depth > 64 {
		return nil, errors.New("it is nested too deeply")
	}
	defer func() { p.depth-- }()
	switch {
	case p.take("!", "NOT"):
		e, err := p.one()
		return not{e}, err
	case p.take("("):
		e, err := p.any()
		if err != nil {
			return nil, err
		}
		return e, p.want(")")
	case p.take("Exists", "NotExists"):
		_, err := p.attribute()
		return beyond{}, err
	case p.take("ActionMatches"):
		patterns, err := p.braces()
		return match{patterns}, err
	case p.take("SubOperationMatches"):
		_, err := p.braces()
		return beyond{}, err
	}
	attribute, err := p.attribute()
	if err != nil {
		return nil, err
	}
	op := p.next()
	if !operator.MatchString(op) {
		return nil, fmt.Errorf("%q is not an operator", op)
	}
	values, known, err := p.value()
	if c, can := newComparison(attribute, op, values); can && known {
		return c, err
	}
	return beyond{}, err
}

// operator is a comparison, on its own or over all and any members of two sets.
var operator = regexp.MustCompile(`^(?i)(?:For(?:AnyOf|AllOf)(?:Any|All)Values:)?(?:String(?:Not)?(?:Equals|Like|StartsWith|EndsWith|Matches)(?:IgnoreCase)?|Numeric(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals)|DateTime(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals)|TimeOfDay(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals|InRange)|Bool(?:Not)?Equals|Guid(?:Not)?Equals|IpMatch|IpNotMatch|Ip(?:Equals|NotEquals|InRange))$`)

func (p *condition) attribute() (string, error) {
	t := p.next()
	if !strings.HasPrefix(t, "@") {
		if t == "" {
			return "", errCondition
		}
		return "", fmt.Errorf("an attribute is wanted instead of %s", t)
	}
	return t, nil
}

// value reads the right side of a comparison; known tells whether it is a constant and not another attribute.
func (p *condition) value() (values []string, known bool, err error) {
	switch t := p.peek(); {
	case t == "":
		return nil, false, errCondition
	case t == "{":
		values, err = p.braces()
		return values, true, err
	case t[0] == '@':
		p.next()
		return nil, false, nil
	case literal(t):
		p.next()
		return []string{plain(t)}, true, nil
	default:
		return nil, false, fmt.Errorf("a value is wanted instead of %s", t)
	}
}

func literal(t string) bool {
	return t != "" && (t[0] == '\'' || t[0] == '-' || t[0] >= '0' && t[0] <= '9' || guid.MatchString(t) || strings.EqualFold(t, "true") || strings.EqualFold(t, "false"))
}

// plain is a literal without its quotes.
func plain(t string) string {
	if len(t) >= 2 && t[0] == '\'' {
		return t[1 : len(t)-1]
	}
	return t
}

// braces reads a list of literals in braces.
func (p *condition) braces() ([]string, error) {
	if err := p.want("{"); err != nil {
		return nil, err
	}
	var values []string
	for {
		switch t := p.next(); {
		case t == "":
			return nil, errCondition
		case !literal(t):
			return nil, fmt.Errorf("%s is not expected in a list", t)
		default:
			values = append(values, plain(t))
		}
		if p.take("}") {
			return values, nil
		}
		if err := p.want(","); err != nil {
			return nil, err
		}
	}
}
