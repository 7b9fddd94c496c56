package odata

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds, so that a hostile filter cannot exhaust the stack; Graph bounds the complexity of a filter too. An expression of maxNodes
// prints with fewer than maxDepth parentheses around a part, so what has parsed once parses again when printed.
const (
	maxNodes = 200
	maxDepth = 1000
)

// SyntaxError says that a $filter does not parse; its text is what Graph says.
type SyntaxError struct{ reason string }

func (e *SyntaxError) Error() string { return "Invalid filter clause: " + e.reason }

// Parse reads a $filter expression.
func Parse(text string) (Expr, error) {
	p := parser{text: text}
	e := p.or(0)
	if p.err == nil && p.space() != len(p.text) {
		p.fail("unexpected text at position %d in '%s'.", p.at, text)
	}
	if p.err != nil {
		return nil, p.err
	}
	return e, nil
}

type parser struct {
	text  string
	at    int
	nodes int
	err   error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{fmt.Sprintf(format, args...)}
	}
}

func (p *parser) space() int {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t') {
		p.at++
	}
	return p.at
}

// take consumes c if it is next.
func (p *parser) take(c byte) bool {
	if p.space() < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(c byte) {
	if !p.take(c) {
		p.fail("expected '%c' at position %d in '%s'.", c, p.at, p.text)
	}
}

// keyword consumes the word if it is next, whole, and in any case.
func (p *parser) keyword(word string) bool {
	end := p.space() + len(word)
	if end > len(p.text) || !strings.EqualFold(p.text[p.at:end], word) || end < len(p.text) && isName(p.text[end]) {
		return false
	}
	p.at = end
	return true
}

func isName(c byte) bool {
	return c == '_' || c == '@' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *parser) name() string {
	start := p.space()
	for p.at < len(p.text) && isName(p.text[p.at]) {
		p.at++
	}
	name := p.text[start:p.at]
	if name == "" || '0' <= name[0] && name[0] <= '9' {
		p.fail("expected a property at position %d in '%s'.", start, p.text)
	}
	return name
}

func (p *parser) or(depth int) Expr {
	left := p.and(depth)
	for p.err == nil && p.keyword("or") {
		p.node()
		left = Or{left, p.and(depth)}
	}
	return left
}

func (p *parser) and(depth int) Expr {
	left := p.unary(depth)
	for p.err == nil && p.keyword("and") {
		p.node()
		left = And{left, p.unary(depth)}
	}
	return left
}

// node counts a node of the tree.
func (p *parser) node() {
	if p.nodes++; p.nodes > maxNodes {
		p.fail("the expression is too complex.")
	}
}

func (p *parser) unary(depth int) Expr {
	if depth++; depth > maxDepth {
		p.fail("the expression is nested too deeply.")
	}
	switch {
	case p.err != nil:
		return nil
	case p.keyword("not"):
		p.node()
		return Not{p.unary(depth)}
	case p.take('('):
		e := p.or(depth)
		p.expect(')')
		return e
	}
	p.node()
	name := p.name()
	if f := strings.ToLower(name); slices.Contains([]string{"startswith", "endswith", "contains"}, f) && p.take('(') {
		return p.call(f)
	}
	for p.err == nil && p.take('/') {
		segment := p.name()
		if strings.EqualFold(segment, "any") && p.take('(') {
			return p.any(name, depth)
		}
		name += "/" + segment
	}
	return p.comparison(name)
}

// call reads the arguments of a function, and "eq true" behind it, which some clients write.
func (p *parser) call(name string) Expr {
	path := p.path()
	p.expect(',')
	value := p.literal()
	p.expect(')')
	if !value.Quoted {
		p.fail("'%s' needs a quoted string in '%s'.", name, p.text)
	}
	call := Call{name, path, value}
	if p.keyword("eq") {
		switch truth := p.literal(); truth {
		case Literal{Text: "true"}:
		case Literal{Text: "false"}:
			return Not{call}
		default:
			p.fail("'%s' is true or false in '%s'.", name, p.text)
		}
	}
	return call
}

func (p *parser) path() string {
	path := p.name()
	for p.err == nil && p.take('/') {
		path += "/" + p.name()
	}
	return path
}

func (p *parser) any(path string, depth int) Expr {
	if p.take(')') {
		return Any{Path: path}
	}
	name := p.name()
	p.expect(':')
	body := p.or(depth)
	p.expect(')')
	return Any{path, name, body}
}

func (p *parser) comparison(path string) Expr {
	if p.keyword("in") {
		in := In{Path: path}
		p.expect('(')
		for p.err == nil {
			in.Values = append(in.Values, p.literal())
			if !p.take(',') {
				break
			}
		}
		p.expect(')')
		return in
	}
	for _, op := range []string{"eq", "ne", "gt", "ge", "lt", "le"} {
		if p.keyword(op) {
			return Compare{path, op, p.literal()}
		}
	}
	p.fail("expected an operator at position %d in '%s'.", p.at, p.text)
	return nil
}

func (p *parser) literal() Literal {
	start := p.space()
	if p.take('\'') {
		var text strings.Builder
		for p.at < len(p.text) {
			c := p.text[p.at]
			p.at++
			if c != '\'' {
				text.WriteByte(c)
			} else if p.at < len(p.text) && p.text[p.at] == '\'' {
				text.WriteByte(c)
				p.at++
			} else {
				return Literal{Quoted: true, Text: text.String()}
			}
		}
		p.fail("there is an unterminated string literal at position %d in '%s'.", len(p.text), p.text)
		return Literal{}
	}
	for p.at < len(p.text) && (isName(p.text[p.at]) || strings.IndexByte(":+-", p.text[p.at]) >= 0) {
		p.at++
	}
	if p.at == start {
		p.fail("expected a literal at position %d in '%s'.", start, p.text)
	}
	return Literal{Text: p.text[start:p.at]}
}
