package kql

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// comparisons are the operators between two expressions. Those of texts have their function here; the others are evaluated apart.
var comparisons = map[string]func(x *run, l, r string) bool{
	"==": nil, "!=": nil, "<": nil, "<=": nil, ">": nil, ">=": nil, "in": nil, "!in": nil, "in~": nil, "!in~": nil,
	"=~": of(strings.EqualFold), "!~": not(of(strings.EqualFold)),
	"has": hasTerm, "!has": not(hasTerm),
	"contains": of(folded(strings.Contains)), "!contains": not(of(folded(strings.Contains))),
	"startswith": of(folded(strings.HasPrefix)), "!startswith": not(of(folded(strings.HasPrefix))),
	"endswith": of(folded(strings.HasSuffix)), "!endswith": not(of(folded(strings.HasSuffix))),
	"contains_cs": of(strings.Contains), "startswith_cs": of(strings.HasPrefix), "endswith_cs": of(strings.HasSuffix),
}

// of is a comparison that costs what its texts do, which is paid already.
func of(f func(l, r string) bool) func(x *run, l, r string) bool {
	return func(_ *run, l, r string) bool { return f(l, r) }
}

func not(f func(x *run, l, r string) bool) func(x *run, l, r string) bool {
	return func(x *run, l, r string) bool { return !f(x, l, r) }
}

func folded(f func(s, part string) bool) func(l, r string) bool {
	return func(l, r string) bool { return f(strings.ToLower(l), strings.ToLower(r)) }
}

// hasTerm tells whether the text has the term, whole: what stands around it is no letter or digit. A term can be found in part at every
// byte of a text, so each find is paid for.
func hasTerm(x *run, text, term string) bool {
	text, term = strings.ToLower(text), strings.ToLower(term)
	edge := func(i int) bool {
		return i < 0 || i >= len(text) || !digit(text[i]) && (text[i] < 'a' || text[i] > 'z') && text[i] < 0x80
	}
	for from := 0; from <= len(text) && x.spend(1+len(term)/64); {
		i := strings.Index(text[from:], term)
		if i < 0 {
			return false
		}
		at := from + i
		if edge(at-1) && edge(at+len(term)) {
			return true
		}
		from = at + 1
	}
	return false
}

// logic is and (stop is false) or or (stop is true) of three values, of which nil is unknown.
func logic(l any, right func() any, stop bool) any {
	if l == stop {
		return stop
	}
	switch r := right(); {
	case r == stop:
		return stop
	case l == nil || r == nil:
		return nil
	}
	return !stop
}

// equality is == or, negated, != (Kusto, "Null values": of two nulls neither is known; null differs from everything else).
func equality(x *run, op token, l, r any, negated bool) any {
	switch {
	case l == nil && r == nil:
		return nil
	case l == nil || r == nil:
		return negated
	case kindOf(l) != kindOf(r):
		x.mismatch(op, l, r)
		return nil
	}
	switch l.(type) {
	case map[string]any, []any:
		return (x.text(l) == x.text(r)) != negated
	case string:
		x.text(l)
	}
	return (l == r) != negated
}

func inOrder(op string, l, r any) any {
	a, isNumber := l.(float64)
	b, too := r.(float64)
	if !isNumber || !too {
		return nil
	}
	switch op {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

// asText is tostring(): of null nothing, of lists and objects their JSON.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// function is a scalar function of the language.
type function struct {
	least, most int // number of arguments; most 0 is any
	types       func(args []Type) (Type, bool)
	call        func(x *run, args []any, kinds []Type) any
}

func gives(t Type) func([]Type) (Type, bool) { return func([]Type) (Type, bool) { return t, true } }

// ofText gives a type if the first argument is a text.
func ofText(t Type) func([]Type) (Type, bool) {
	return func(args []Type) (Type, bool) { return t, textual(args[0]) }
}

// alike gives the type of all arguments from the one at i on.
func alike(i int) func([]Type) (Type, bool) {
	return func(args []Type) (Type, bool) {
		for _, t := range args[i:] {
			if t != args[i] {
				return "", false
			}
		}
		return args[i], i == 0 || args[0] == Bool
	}
}

// functions are those that are served, by name; names are in the case of the language.
var functions = map[string]function{
	"tostring":     {1, 1, gives(String), func(x *run, a []any, _ []Type) any { return x.text(a[0]) }},
	"tolower":      {1, 1, ofText(String), func(x *run, a []any, _ []Type) any { return remade(x, strings.ToLower, a[0]) }},
	"toupper":      {1, 1, ofText(String), func(x *run, a []any, _ []Type) any { return remade(x, strings.ToUpper, a[0]) }},
	"toint":        {1, 1, gives(Long), toLong},
	"tolong":       {1, 1, gives(Long), toLong},
	"tobool":       {1, 1, gives(Bool), toBool},
	"isempty":      {1, 1, gives(Bool), func(x *run, a []any, _ []Type) any { return x.text(a[0]) == "" }},
	"isnotempty":   {1, 1, gives(Bool), func(x *run, a []any, _ []Type) any { return x.text(a[0]) != "" }},
	"isnull":       {1, 1, gives(Bool), func(_ *run, a []any, k []Type) any { return k[0] != String && a[0] == nil }}, // a string is never null
	"isnotnull":    {1, 1, gives(Bool), func(_ *run, a []any, k []Type) any { return k[0] == String || a[0] != nil }},
	"strlen":       {1, 1, ofText(Long), func(x *run, a []any, _ []Type) any { return float64(utf8.RuneCountInString(x.text(a[0]))) }},
	"array_length": {1, 1, func(a []Type) (Type, bool) { return Long, a[0] == Dynamic }, arrayLength},
	"not":          {1, 1, func(a []Type) (Type, bool) { return Bool, a[0] == Bool }, negate},
	"strcat":       {1, 64, gives(String), concat},
	"split":        {2, 3, splitTypes, split},
	"coalesce":     {2, 64, alike(0), coalesce},
	"iff":          {3, 3, alike(1), either},
	"iif":          {3, 3, alike(1), either},
}

// remade is a text made of another, paid for.
func remade(x *run, f func(string) string, v any) any {
	s := x.text(v)
	x.make(len(s))
	return f(s)
}

func toLong(x *run, a []any, _ []Type) any {
	switch v := a[0].(type) {
	case float64:
		return math.Trunc(v)
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(x.text(v)), 10, 64); err == nil {
			return float64(n)
		}
	case bool:
		if v {
			return 1.0
		}
		return 0.0
	}
	return nil
}

func toBool(x *run, a []any, _ []Type) any {
	switch v := a[0].(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		switch strings.ToLower(x.text(v)) {
		case "true", "1":
			return true
		case "false", "0":
			return false
		}
	}
	return nil
}

func arrayLength(_ *run, a []any, _ []Type) any {
	if l, isList := a[0].([]any); isList {
		return float64(len(l))
	}
	return nil
}

func negate(_ *run, a []any, _ []Type) any {
	if b, known := a[0].(bool); known {
		return !b
	}
	return nil
}

// concat is strcat(). The text is bounded before it is made.
func concat(x *run, a []any, _ []Type) any {
	texts, size := make([]string, len(a)), 0
	for i, v := range a {
		texts[i] = x.text(v)
		if size += len(texts[i]); size > maxText {
			x.runaway("made a text that is longer than 1 MB")
			return nil
		}
	}
	if !x.make(size) {
		return nil
	}
	return strings.Join(texts, "")
}

func splitTypes(a []Type) (Type, bool) {
	return Dynamic, textual(a[0]) && a[1] == String && (len(a) < 3 || a[2] == Long)
}

// split gives the parts of a text or, with a number, a list of that one part, which is empty if there is none.
func split(x *run, a []any, _ []Type) any {
	text, sep := x.text(a[0]), x.text(a[1])
	if sep != "" && !x.make(part*(strings.Count(text, sep)+1)) {
		return nil
	}
	parts := []string{text}
	if sep != "" {
		parts = strings.Split(text, sep)
	}
	list := make([]any, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	if len(a) < 3 {
		return list
	}
	i, found := index(a[2], len(list))
	if !found {
		return []any{}
	}
	return list[i : i+1]
}

// index is a number as the place of an item among n. Numbers go beyond what int has, so they are compared before they are made one.
func index(v any, n int) (int, bool) {
	f, isNumber := v.(float64)
	if !isNumber || !(f >= 0 && f < float64(n)) {
		return 0, false
	}
	return int(f), true
}

// coalesce gives the first value that is not null or, of texts, not empty.
func coalesce(_ *run, a []any, _ []Type) any {
	for _, v := range a {
		if v != nil && v != "" {
			return v
		}
	}
	return a[len(a)-1]
}

func either(_ *run, a []any, _ []Type) any {
	if a[0] == true {
		return a[1]
	}
	return a[2]
}
