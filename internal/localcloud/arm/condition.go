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
// syntax"). It checks form only: nothing here decides what a condition allows.
type condition struct {
	tokens []string
	depth  int
}

var errCondition = errors.New("it ends too early")

// maxCondition is the longest condition (Microsoft, same page: 8 KB).
const maxCondition = 8 << 10

// checkCondition is nil if the text is a well-formed condition.
func checkCondition(text string) error {
	if len(text) > maxCondition {
		return fmt.Errorf("it is longer than %d bytes", maxCondition)
	}
	var p condition
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		t := token.FindString(text)
		if t == "" {
			return errors.New("it has a character that belongs nowhere")
		}
		p.tokens, text = append(p.tokens, t), text[len(t):]
	}
	if err := p.any(); err != nil {
		return err
	}
	if len(p.tokens) > 0 {
		return fmt.Errorf("%s is not expected where it stands", p.tokens[0])
	}
	return nil
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

// any reads expressions joined by AND and OR.
func (p *condition) any() error {
	for {
		if err := p.one(); err != nil {
			return err
		}
		if !p.take("AND", "&&", "OR", "||") {
			return nil
		}
	}
}

func (p *condition) one() error {
	if p.depth++; p.depth > 64 {
		return errors.New("it is nested too deeply")
	}
	defer func() { p.depth-- }()
	switch {
	case p.take("!", "NOT"):
		return p.one()
	case p.take("("):
		if err := p.any(); err != nil {
			return err
		}
		return p.want(")")
	case p.take("Exists", "NotExists"):
		return p.attribute()
	case p.take("ActionMatches", "SubOperationMatches"):
		return p.braces()
	}
	if err := p.attribute(); err != nil {
		return err
	}
	if op := p.next(); !operator.MatchString(op) {
		return fmt.Errorf("%q is not an operator", op)
	}
	return p.value()
}

// operator is a comparison, on its own or over all and any members of two sets.
var operator = regexp.MustCompile(`^(?i)(?:For(?:AnyOf|AllOf)(?:Any|All)Values:)?(?:String(?:Not)?(?:Equals|Like|StartsWith|EndsWith|Matches)(?:IgnoreCase)?|Numeric(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals)|DateTime(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals)|TimeOfDay(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals|InRange)|Bool(?:Not)?Equals|Guid(?:Not)?Equals|IpMatch|IpNotMatch|Ip(?:Equals|NotEquals|InRange))$`)

func (p *condition) attribute() error {
	if t := p.next(); !strings.HasPrefix(t, "@") {
		if t == "" {
			return errCondition
		}
		return fmt.Errorf("an attribute is wanted instead of %s", t)
	}
	return nil
}

func (p *condition) value() error {
	switch t := p.peek(); {
	case t == "":
		return errCondition
	case t == "{":
		return p.braces()
	case t[0] == '@', literal(t):
		p.next()
		return nil
	default:
		return fmt.Errorf("a value is wanted instead of %s", t)
	}
}

func literal(t string) bool {
	return t != "" && (t[0] == '\'' || t[0] == '-' || t[0] >= '0' && t[0] <= '9' || guid.MatchString(t) || strings.EqualFold(t, "true") || strings.EqualFold(t, "false"))
}

// braces reads a list of literals in braces.
func (p *condition) braces() error {
	if err := p.want("{"); err != nil {
		return err
	}
	for {
		switch t := p.next(); {
		case t == "":
			return errCondition
		case !literal(t):
			return fmt.Errorf("%s is not expected in a list", t)
		}
		if p.take("}") {
			return nil
		}
		if err := p.want(","); err != nil {
			return err
		}
	}
}
