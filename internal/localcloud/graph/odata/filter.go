// Package odata reads the part of OData's URL conventions that Microsoft Graph's directory objects support: $filter as a syntax tree
// that prints itself, and the other system query options.
//
// Sources: OData 4.01 URL Conventions §5.1.1; Microsoft Graph, "Use the $filter query parameter" and "Advanced query capabilities on
// Microsoft Entra ID objects".
package odata

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expr is a $filter expression. String gives text that parses to the same tree.
type Expr interface {
	String() string
	// Match tells whether the object with the given properties satisfies the expression.
	Match(Getter) bool
	// Advanced tells whether Graph evaluates the expression only with ConsistencyLevel: eventual and $count=true.
	Advanced() bool
	// keys gives values of which the property (with "/any" behind a collection's name) must have one; ok is false if the expression
	// does not say so.
	keys(property string) (values []string, ok bool)
}

// Getter gives the value of a property by its path, segments in lower case; nil is null or absent. Values are string, bool, float64,
// []string, []any or map[string]any, as encoding/json makes them.
type Getter func(path string) any

// Keys gives the values of which property must have one for the expression to match, so that an index can be asked first. A collection
// is named with "/any" behind it. ok is false when the expression allows any value.
func Keys(e Expr, property string) (values []string, ok bool) {
	if e == nil {
		return nil, false
	}
	return e.keys(strings.ToLower(property))
}

// Prefixes gives texts with one of which the property must begin for the expression to match; ok is false when it may begin with any.
func Prefixes(e Expr, property string) (texts []string, ok bool) {
	switch e := e.(type) {
	case And:
		if texts, ok = Prefixes(e.Left, property); !ok {
			texts, ok = Prefixes(e.Right, property)
		}
	case Or:
		left, one := Prefixes(e.Left, property)
		right, other := Prefixes(e.Right, property)
		texts, ok = slices.Concat(left, right), one && other
	case Call:
		texts, ok = []string{e.Value.Text}, e.Func == "startswith" && strings.EqualFold(e.Path, property)
	}
	return texts, ok
}

// And, Or and Not are the logical operators.
type (
	And struct{ Left, Right Expr }
	Or  struct{ Left, Right Expr }
	Not struct{ X Expr }
)

// Compare compares a property with a literal; Op is eq, ne, gt, ge, lt or le.
type Compare struct {
	Path  string
	Op    string
	Value Literal
}

// In asks whether a property is one of several literals.
type In struct {
	Path   string
	Values []Literal
}

// Call is startswith, endswith or contains.
type Call struct {
	Func  string // lower case
	Path  string
	Value Literal
}

// Any asks whether one member of a collection satisfies Body, in which the member is called Var. A nil Body asks for any member.
type Any struct {
	Path string
	Var  string
	Body Expr
}

// Literal is a constant: a quoted string, or the bare text of a number, truth value, null, date or GUID.
type Literal struct {
	Quoted bool
	Text   string
}

func (l Literal) String() string {
	if l.Quoted {
		return "'" + strings.ReplaceAll(l.Text, "'", "''") + "'"
	}
	return l.Text
}

func (e And) String() string     { return "(" + e.Left.String() + " and " + e.Right.String() + ")" }
func (e Or) String() string      { return "(" + e.Left.String() + " or " + e.Right.String() + ")" }
func (e Not) String() string     { return "not (" + e.X.String() + ")" }
func (e Compare) String() string { return e.Path + " " + e.Op + " " + e.Value.String() }
func (e Call) String() string    { return e.Func + "(" + e.Path + "," + e.Value.String() + ")" }

func (e In) String() string {
	texts := make([]string, len(e.Values))
	for i, v := range e.Values {
		texts[i] = v.String()
	}
	return e.Path + " in (" + strings.Join(texts, ",") + ")"
}

func (e Any) String() string {
	if e.Body == nil {
		return e.Path + "/any()"
	}
	return e.Path + "/any(" + e.Var + ":" + e.Body.String() + ")"
}

func (e And) Advanced() bool     { return e.Left.Advanced() || e.Right.Advanced() }
func (e Or) Advanced() bool      { return e.Left.Advanced() || e.Right.Advanced() }
func (e Not) Advanced() bool     { return true }
func (e Compare) Advanced() bool { return e.Op == "ne" }
func (e In) Advanced() bool      { return false }
func (e Call) Advanced() bool    { return e.Func != "startswith" }
func (e Any) Advanced() bool     { return e.Body != nil && e.Body.Advanced() }

func (e And) keys(p string) ([]string, bool) {
	if values, ok := e.Left.keys(p); ok {
		return values, true
	}
	return e.Right.keys(p)
}

func (e Or) keys(p string) ([]string, bool) {
	left, ok := e.Left.keys(p)
	if !ok {
		return nil, false
	}
	right, ok := e.Right.keys(p)
	return slices.Concat(left, right), ok
}

func (e Not) keys(string) ([]string, bool)  { return nil, false }
func (e Call) keys(string) ([]string, bool) { return nil, false }

func (e Compare) keys(p string) ([]string, bool) {
	if e.Op != "eq" || !e.Value.Quoted || strings.ToLower(e.Path) != p {
		return nil, false
	}
	return []string{e.Value.Text}, true
}

func (e In) keys(p string) ([]string, bool) {
	if strings.ToLower(e.Path) != p {
		return nil, false
	}
	var values []string
	for _, v := range e.Values {
		if !v.Quoted {
			return nil, false
		}
		values = append(values, v.Text)
	}
	return values, true
}

func (e Any) keys(p string) ([]string, bool) {
	if e.Body == nil || strings.ToLower(e.Path)+"/any" != p {
		return nil, false
	}
	return e.Body.keys(strings.ToLower(e.Var))
}

func (e And) Match(get Getter) bool { return e.Left.Match(get) && e.Right.Match(get) }
func (e Or) Match(get Getter) bool  { return e.Left.Match(get) || e.Right.Match(get) }
func (e Not) Match(get Getter) bool { return !e.X.Match(get) }

func (e Compare) Match(get Getter) bool { return compare(get(strings.ToLower(e.Path)), e.Op, e.Value) }

func (e In) Match(get Getter) bool {
	have := get(strings.ToLower(e.Path))
	return slices.ContainsFunc(e.Values, func(v Literal) bool { return compare(have, "eq", v) })
}

func (e Call) Match(get Getter) bool {
	text, ok := get(strings.ToLower(e.Path)).(string)
	if !ok {
		return false
	}
	have, want := strings.ToLower(text), strings.ToLower(e.Value.Text)
	switch e.Func {
	case "startswith":
		return strings.HasPrefix(have, want)
	case "endswith":
		return strings.HasSuffix(have, want)
	default:
		return strings.Contains(have, want)
	}
}

func (e Any) Match(get Getter) bool {
	name := strings.ToLower(e.Var)
	for _, member := range members(get(strings.ToLower(e.Path))) {
		if e.Body == nil {
			return true
		}
		inner := func(path string) any {
			if path == name {
				return member
			}
			if rest, ok := strings.CutPrefix(path, name+"/"); ok {
				return Property(member, rest)
			}
			return get(path)
		}
		if e.Body.Match(inner) {
			return true
		}
	}
	return false
}

func members(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case []string:
		all := make([]any, len(v))
		for i, s := range v {
			all[i] = s
		}
		return all
	case []map[string]any:
		all := make([]any, len(v))
		for i, m := range v {
			all[i] = m
		}
		return all
	}
	return nil
}

// Property is the value at a path (segments separated by "/", any case) below a JSON value, or nil.
func Property(v any, path string) any {
	for segment := range strings.SplitSeq(path, "/") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		if next, ok := object[segment]; ok {
			v = next
			continue
		}
		v = nil
		for name, value := range object {
			if strings.EqualFold(name, segment) {
				v = value
				break
			}
		}
	}
	return v
}

// compare follows Graph: text without regard to case, dates as instants, and null equal to null alone.
func compare(have any, op string, want Literal) bool {
	if !want.Quoted && strings.EqualFold(want.Text, "null") {
		return (have == nil) == (op == "eq") && (op == "eq" || op == "ne")
	}
	order, ok := ordered(have, want)
	switch op {
	case "eq":
		return ok && order == 0
	case "ne":
		return !ok || order != 0
	case "gt":
		return ok && order > 0
	case "ge":
		return ok && order >= 0
	case "lt":
		return ok && order < 0
	default:
		return ok && order <= 0
	}
}

func ordered(have any, want Literal) (order int, comparable bool) {
	switch have := have.(type) {
	case string:
		if a, err := time.Parse(time.RFC3339Nano, have); err == nil && !want.Quoted {
			b, err := time.Parse(time.RFC3339Nano, want.Text)
			return a.Compare(b), err == nil
		}
		return strings.Compare(strings.ToLower(have), strings.ToLower(want.Text)), true
	case bool:
		b, err := strconv.ParseBool(strings.ToLower(want.Text))
		if err != nil || want.Quoted {
			return 0, false
		}
		switch {
		case have == b:
			return 0, true
		case have:
			return 1, true
		}
		return -1, true
	case float64:
		b, err := strconv.ParseFloat(want.Text, 64)
		if err != nil || want.Quoted {
			return 0, false
		}
		switch {
		case have < b:
			return -1, true
		case have > b:
			return 1, true
		}
		return 0, true
	}
	return 0, false
}
