package kql

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// comparisons are the operators between two expressions. Those of texts have their function here; the others are evaluated apart.
var comparisons = map[string]func(l, r string) bool{
	"==": nil, "!=": nil, "<": nil, "<=": nil, ">": nil, ">=": nil, "in": nil, "!in": nil, "in~": nil, "!in~": nil,
	"=~":          strings.EqualFold,
	"!~":          func(l, r string) bool { return !strings.EqualFold(l, r) },
	"has":         hasTerm,
	"!has":        func(l, r string) bool { return !hasTerm(l, r) },
	"contains":    folded(strings.Contains),
	"!contains":   func(l, r string) bool { return !folded(strings.Contains)(l, r) },
	"startswith":  folded(strings.HasPrefix),
	"!startswith": func(l, r string) bool { return !folded(strings.HasPrefix)(l, r) },
	"endswith":    folded(strings.HasSuffix),
	"!endswith":   func(l, r string) bool { return !folded(strings.HasSuffix)(l, r) },
	"contains_cs": strings.Contains, "startswith_cs": strings.HasPrefix, "endswith_cs": strings.HasSuffix,
}

func folded(f func(s, part string) bool) func(l, r string) bool {
	return func(l, r string) bool { return f(strings.ToLower(l), strings.ToLower(r)) }
}

// hasTerm tells whether the text has the term, whole: what stands around it is no letter or digit.
func hasTerm(text, term string) bool {
	text, term = strings.ToLower(text), strings.ToLower(term)
	edge := func(i int) bool {
		return i < 0 || i >= len(text) || !digit(text[i]) && (text[i] < 'a' || text[i] > 'z') && text[i] < 0x80
	}
	for from := 0; from <= len(text); {
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
func equality(l, r any, negated bool) any {
	if l == nil && r == nil {
		return nil
	}
	return same(l, r) != negated
}

func same(l, r any) bool {
	switch l := l.(type) {
	case string, bool, float64:
		return l == r
	case nil:
		return false
	default:
		switch r.(type) {
		case map[string]any, []any:
			return asText(l) == asText(r)
		}
		return false
	}
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
	call        func(args []any, kinds []Type) any
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
	"tostring":     {1, 1, gives(String), func(a []any, _ []Type) any { return asText(a[0]) }},
	"tolower":      {1, 1, ofText(String), func(a []any, _ []Type) any { return strings.ToLower(asText(a[0])) }},
	"toupper":      {1, 1, ofText(String), func(a []any, _ []Type) any { return strings.ToUpper(asText(a[0])) }},
	"toint":        {1, 1, gives(Long), toLong},
	"tolong":       {1, 1, gives(Long), toLong},
	"tobool":       {1, 1, gives(Bool), toBool},
	"isempty":      {1, 1, gives(Bool), func(a []any, _ []Type) any { return asText(a[0]) == "" }},
	"isnotempty":   {1, 1, gives(Bool), func(a []any, _ []Type) any { return asText(a[0]) != "" }},
	"isnull":       {1, 1, gives(Bool), func(a []any, k []Type) any { return k[0] != String && a[0] == nil }}, // a string is never null
	"isnotnull":    {1, 1, gives(Bool), func(a []any, k []Type) any { return k[0] == String || a[0] != nil }},
	"strlen":       {1, 1, ofText(Long), func(a []any, _ []Type) any { return float64(len([]rune(asText(a[0])))) }},
	"array_length": {1, 1, func(a []Type) (Type, bool) { return Long, a[0] == Dynamic }, arrayLength},
	"not":          {1, 1, func(a []Type) (Type, bool) { return Bool, a[0] == Bool }, negate},
	"strcat":       {1, 64, gives(String), concat},
	"split":        {2, 3, splitTypes, split},
	"coalesce":     {2, 64, alike(0), coalesce},
	"iff":          {3, 3, alike(1), either},
	"iif":          {3, 3, alike(1), either},
}

func toLong(a []any, _ []Type) any {
	switch v := a[0].(type) {
	case float64:
		return math.Trunc(v)
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
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

func toBool(a []any, _ []Type) any {
	switch v := a[0].(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		switch strings.ToLower(v) {
		case "true", "1":
			return true
		case "false", "0":
			return false
		}
	}
	return nil
}

func arrayLength(a []any, _ []Type) any {
	if l, isList := a[0].([]any); isList {
		return float64(len(l))
	}
	return nil
}

func negate(a []any, _ []Type) any {
	if b, known := a[0].(bool); known {
		return !b
	}
	return nil
}

func concat(a []any, _ []Type) any {
	var b strings.Builder
	for _, v := range a {
		b.WriteString(asText(v))
	}
	return b.String()
}

func splitTypes(a []Type) (Type, bool) {
	return Dynamic, textual(a[0]) && a[1] == String && (len(a) < 3 || a[2] == Long)
}

// split gives the parts of a text or, with a number, a list of that one part.
func split(a []any, _ []Type) any {
	sep := asText(a[1])
	parts := []string{asText(a[0])}
	if sep != "" {
		parts = strings.Split(parts[0], sep)
	}
	list := make([]any, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	if len(a) == 3 {
		i, isNumber := a[2].(float64)
		if !isNumber || int(i) >= len(list) {
			return []any{}
		}
		return list[int(i) : int(i)+1]
	}
	return list
}

// coalesce gives the first value that is not null or, of texts, not empty.
func coalesce(a []any, _ []Type) any {
	for _, v := range a {
		if v != nil && v != "" {
			return v
		}
	}
	return a[len(a)-1]
}

func either(a []any, _ []Type) any {
	if a[0] == true {
		return a[1]
	}
	return a[2]
}
