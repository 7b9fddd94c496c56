package kql

import "strings"

// Pinned tells which texts, in lower case, the query lets a path of the table have, such as properties.principalId: other rows need not
// be read. ok is false if it lets it be anything. Only the conditions at the head of the query are looked at.
func (p *Plan) Pinned(path string) (values []string, ok bool) {
	for _, o := range p.query.ops {
		w, isWhere := o.(where)
		if !isWhere {
			break
		}
		if v, found := pinned(w.cond, path); found && (!ok || len(v) < len(values)) {
			values, ok = v, true
		}
	}
	return values, ok
}

func pinned(e expr, path string) ([]string, bool) {
	switch e := e.(type) {
	case binary:
		switch e.op.raw {
		case "and":
			if v, found := pinned(e.l, path); found {
				return v, true
			}
			return pinned(e.r, path)
		case "==", "=~":
			if v, isText := textOf(e.r); isText && pathOf(e.l) == path {
				return []string{v}, true
			}
			if v, isText := textOf(e.l); isText && pathOf(e.r) == path {
				return []string{v}, true
			}
		}
	case among:
		if pathOf(e.l) != path || strings.HasPrefix(e.op.raw, "!") {
			return nil, false
		}
		var values []string
		for _, x := range e.list {
			v, isText := textOf(x)
			if !isText {
				return nil, false
			}
			values = append(values, v)
		}
		return values, true
	}
	return nil, false
}

func textOf(e expr) (string, bool) {
	l, isLiteral := e.(literal)
	if !isLiteral {
		return "", false
	}
	s, isText := l.value.(string)
	return strings.ToLower(s), isText
}

// pathOf is the path that an expression reads, whatever the case it is read in; "" if it is none.
func pathOf(e expr) string {
	switch e := e.(type) {
	case column:
		return e.at.value
	case member:
		up := pathOf(e.of)
		if key, isText := e.by.(literal).value.(string); isText && up != "" {
			return up + "." + key
		}
	case call:
		switch e.at.value {
		case "tostring", "tolower", "toupper":
			if len(e.args) == 1 {
				return pathOf(e.args[0])
			}
		}
	}
	return ""
}
