package kql

import (
	"slices"
	"strconv"
)

const (
	// maxLength is the longest query; Azure Resource Graph has a limit too, which was not seen.
	maxLength = 64 << 10
	// maxDepth bounds how deep parentheses nest.
	maxDepth = 100
)

// reserved are words that are no names.
var reserved = map[string]bool{"and": true, "or": true, "by": true, "true": true, "false": true, "asc": true, "desc": true, "in": true, "has": true, "contains": true, "startswith": true, "endswith": true,
	"where": true, "filter": true, "project": true, "extend": true, "order": true, "sort": true, "top": true, "take": true, "limit": true, "distinct": true, "count": true, "summarize": true, "nulls": true}

// unserved are operators of the language, or of Resource Graph's part of it, that are not served here.
var unserved = []string{"join", "union", "mv-expand", "mvexpand", "mv-apply", "parse", "parse-where", "project-keep", "project-rename", "project-reorder", "sample", "sample-distinct", "let", "render", "evaluate", "lookup", "make-series", "find", "search", "serialize", "as", "print", "getschema", "invoke", "range", "datatable", "set", "declare"}

type parser struct {
	lexer
	tok   token
	depth int
}

// Parse reads a query. The error is an [*Error].
func Parse(query string) (*Query, error) {
	p := &parser{lexer: lexer{rest: query, line: 1}}
	if len(query) > maxLength {
		return nil, &Error{Code: "ParserFailure", Message: "the query is longer than " + strconv.Itoa(maxLength) + " bytes", Line: -1, Col: -1}
	}
	if err := p.step(); err != nil {
		return nil, err
	}
	q := &Query{}
	switch {
	case p.isName("where", "project", "extend", "order", "sort", "top", "take", "limit", "distinct", "count", "summarize", "filter", "project-away"):
		o, err := p.operator() // the table is left out
		if err != nil {
			return nil, err
		}
		q.ops = append(q.ops, o)
	default:
		n, err := p.ident()
		if err != nil {
			return nil, err
		}
		q.Table = n.value
	}
	for p.is("|") {
		if err := p.step(); err != nil {
			return nil, err
		}
		o, err := p.operator()
		if err != nil {
			return nil, err
		}
		q.ops = append(q.ops, o)
	}
	if p.is(";") {
		if err := p.step(); err != nil {
			return nil, err
		}
	}
	if p.tok.kind != end {
		return nil, p.unexpected("|")
	}
	return q, nil
}

func (p *parser) step() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) is(punctuation string) bool { return p.tok.kind == punct && p.tok.raw == punctuation }

func (p *parser) isName(words ...string) bool {
	return p.tok.kind == name && slices.Contains(words, p.tok.raw)
}

func (p *parser) unexpected(expected string) error {
	if p.tok.kind == name && slices.Contains(unserved, p.tok.raw) {
		return unservedAt(p.tok)
	}
	return p.wrong(p.tok, p.tok.raw, expected)
}

// unservedAt is how Resource Graph refuses an operator that it does not have (seen in reports of azure-powershell, 2020), with the place.
func unservedAt(t token) error {
	return &Error{Code: "InvalidQueryLanguage", Message: "InvalidQueryLanguage", Line: t.line, Col: t.col, Token: t.raw}
}

// take steps over punctuation or a word that must stand here.
func (p *parser) expect(raw string) error {
	if p.tok.kind != punct && p.tok.kind != name || p.tok.raw != raw {
		return p.unexpected(raw)
	}
	return p.step()
}

// ident reads a name: a word that is not reserved, or ['any text'].
func (p *parser) ident() (token, error) {
	t := p.tok
	switch {
	case t.kind == name && slices.Contains(unserved, t.raw):
		return t, unservedAt(t)
	case t.kind == name && !reserved[t.raw] && letter(t.raw[0]) && word(t.raw, 1) == len(t.raw):
		t.value = t.raw
		return t, p.step()
	case p.is("["):
		if err := p.step(); err != nil {
			return t, err
		}
		if p.tok.kind != text || p.tok.value == "" {
			return t, p.unexpected("'")
		}
		t.value = p.tok.value
		if err := p.step(); err != nil {
			return t, err
		}
		return t, p.expect("]")
	}
	return t, p.unexpected("")
}

// list reads items with commas between them.
func list[T any](p *parser, item func() (T, error)) ([]T, error) {
	var all []T
	for {
		i, err := item()
		if err != nil {
			return nil, err
		}
		if all = append(all, i); !p.is(",") {
			return all, nil
		}
		if err := p.step(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) operator() (operator, error) {
	op := p.tok
	if op.kind != name {
		return nil, p.unexpected("")
	}
	if slices.Contains(unserved, op.raw) {
		return nil, unservedAt(op)
	}
	if err := p.step(); err != nil {
		return nil, err
	}
	switch op.raw {
	case "where", "filter":
		e, err := p.expr()
		return where{e}, err
	case "project":
		cols, err := list(p, p.named)
		return project{cols}, err
	case "extend":
		cols, err := list(p, p.named)
		return extend{cols}, err
	case "distinct":
		cols, err := list(p, p.named)
		return distinct{cols}, err
	case "project-away":
		names, err := list(p, p.ident)
		return away{names}, err
	case "order", "sort":
		keys, err := p.keys()
		return order{keys}, err
	case "take", "limit":
		n, err := p.natural()
		return take{n}, err
	case "top":
		n, err := p.natural()
		if err != nil {
			return nil, err
		}
		keys, err := p.keys()
		return top{n, keys}, err
	case "count":
		return count{}, nil
	case "summarize":
		return p.summarize()
	}
	return nil, unservedAt(op)
}

func (p *parser) natural() (int, error) {
	n, err := strconv.Atoi(p.tok.raw)
	if p.tok.kind != number || err != nil {
		return 0, p.unexpected("")
	}
	return n, p.step()
}

// named reads an expression with or without a name before it.
func (p *parser) named() (named, error) {
	saved := *p
	if n, err := p.ident(); err == nil && p.is("=") {
		if err := p.step(); err != nil {
			return named{}, err
		}
		e, err := p.expr()
		return named{n.value, e}, err
	}
	*p = saved
	e, err := p.expr()
	return named{"", e}, err
}

// keys reads "by a asc, b desc nulls last". Rows are in descending order unless told otherwise, nulls where the order has them last or,
// ascending, first.
func (p *parser) keys() ([]key, error) {
	if err := p.expect("by"); err != nil {
		return nil, err
	}
	return list(p, func() (k key, err error) {
		if k.value, err = p.expr(); err != nil {
			return k, err
		}
		if p.isName("asc", "desc") {
			k.asc = p.tok.raw == "asc"
			if err = p.step(); err != nil {
				return k, err
			}
		}
		k.nullsFirst = k.asc
		if p.isName("nulls") {
			if err = p.step(); err != nil {
				return k, err
			}
			if !p.isName("first", "last") {
				return k, p.unexpected("first")
			}
			k.nullsFirst = p.tok.raw == "first"
			err = p.step()
		}
		return k, err
	})
}

// summarize reads the one aggregation that is served: a count, by some columns.
func (p *parser) summarize() (operator, error) {
	s := summarize{name: "count_"}
	saved := *p
	if n, err := p.ident(); err == nil && p.is("=") {
		s.name = n.value
		if err := p.step(); err != nil {
			return nil, err
		}
	} else {
		*p = saved
	}
	if !p.isName("count") {
		if p.tok.kind == name {
			return nil, unservedAt(p.tok)
		}
		return nil, p.unexpected("count")
	}
	for _, raw := range []string{"count", "(", ")"} {
		if err := p.expect(raw); err != nil {
			return nil, err
		}
	}
	if !p.isName("by") {
		return s, nil
	}
	if err := p.step(); err != nil {
		return nil, err
	}
	var err error
	s.by, err = list(p, p.named)
	return s, err
}

// expr reads alternatives: "or" binds least, then "and", then comparisons.
func (p *parser) expr() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, &Error{Code: "ParserFailure", Message: "the query nests too deep", Line: p.tok.line, Col: p.tok.col, Token: p.tok.raw}
	}
	defer func() { p.depth-- }()
	return p.joined("or", func() (expr, error) { return p.joined("and", p.comparison) })
}

// maxJoined bounds how many expressions one "and" or "or" joins, as each of them makes the expression deeper.
const maxJoined = 1000

func (p *parser) joined(word string, part func() (expr, error)) (expr, error) {
	l, err := part()
	for n := 0; err == nil && p.isName(word); n++ {
		op := p.tok
		if n == maxJoined {
			return nil, &Error{Code: "ParserFailure", Message: "the query joins too many conditions", Line: op.line, Col: op.col, Token: op.raw}
		}
		if err = p.step(); err != nil {
			return nil, err
		}
		var r expr
		if r, err = part(); err == nil {
			l = binary{op, l, r}
		}
	}
	return l, err
}

func (p *parser) comparison() (expr, error) {
	l, err := p.postfix()
	if err != nil {
		return nil, err
	}
	op := p.tok
	if _, known := comparisons[op.raw]; !known || op.kind != punct && op.kind != name {
		return l, nil
	}
	if err := p.step(); err != nil {
		return nil, err
	}
	switch op.raw {
	case "in", "!in", "in~", "!in~":
		if err := p.expect("("); err != nil {
			return nil, err
		}
		items, err := list(p, p.expr)
		if err != nil {
			return nil, err
		}
		return among{op, l, items}, p.expect(")")
	}
	r, err := p.postfix()
	return binary{op, l, r}, err
}

// postfix reads a primary expression with .member and ['member'] and [0] after it.
func (p *parser) postfix() (expr, error) {
	e, err := p.primary()
	for n := 0; err == nil; n++ {
		if n == maxDepth {
			return nil, p.unexpected("")
		}
		switch {
		case p.is("."):
			if err = p.step(); err != nil {
				return nil, err
			}
			if p.tok.kind != name || word(p.tok.raw, 0) != len(p.tok.raw) { // after a dot any word is a name
				return nil, p.unexpected("")
			}
			e = member{e, literal{p.tok.raw}}
			err = p.step()
		case p.is("["):
			if err = p.step(); err != nil {
				return nil, err
			}
			by := p.tok
			switch {
			case by.kind == text:
				e = member{e, literal{by.value}}
			case by.kind == number:
				n, bad := strconv.ParseInt(by.raw, 10, 32) // what prints as it reads
				if bad != nil {
					return nil, p.unexpected("")
				}
				e = member{e, literal{float64(n)}}
			default:
				return nil, p.unexpected("")
			}
			if err = p.step(); err == nil {
				err = p.expect("]")
			}
		default:
			return e, nil
		}
	}
	return nil, err
}

func (p *parser) primary() (expr, error) {
	t := p.tok
	switch {
	case t.kind == text:
		return literal{t.value}, p.step()
	case t.kind == number:
		n, err := strconv.ParseFloat(t.raw, 64)
		if err != nil {
			return nil, p.unexpected("")
		}
		return literal{n}, p.step()
	case p.isName("true", "false"):
		return literal{t.raw == "true"}, p.step()
	case p.is("("):
		if err := p.step(); err != nil {
			return nil, err
		}
		e, err := p.expr()
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	}
	n, err := p.ident()
	if err != nil {
		return nil, err
	}
	if t.kind != name || !p.is("(") {
		return column{n}, nil
	}
	if err := p.step(); err != nil {
		return nil, err
	}
	var args []expr
	if !p.is(")") {
		if args, err = list(p, p.expr); err != nil {
			return nil, err
		}
	}
	return call{n, args}, p.expect(")")
}
