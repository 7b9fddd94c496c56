package specfile

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// What a file may make us do: aliases of aliases grow without bound, and a person reads no thousand problems.
const (
	maxNodes    = 20_000
	maxProblems = 100
)

// reader turns nodes into a Spec along the yaml tags of its fields and remembers where each field was.
type reader struct {
	at        map[string]place // field path → where it is
	settled   map[string]bool  // field paths that did not read: what follows from that is not said
	misspelt  map[string]bool  // field paths that an unknown key seems to have meant
	problems  []Problem
	nodes     int
	exhausted bool
}

type place struct{ line, column int }

func newReader() *reader {
	return &reader{at: map[string]place{}, settled: map[string]bool{}, misspelt: map[string]bool{}}
}

func (r *reader) spec(root *yaml.Node) agent.Spec {
	var s agent.Spec
	r.value(root, "", reflect.ValueOf(&s).Elem())
	return s
}

func (r *reader) add(n *yaml.Node, path, message, hint string) {
	r.settled[path] = true
	at := place{n.Line, n.Column}
	if key, ok := r.at[path]; ok && n.Tag == "!!null" {
		at = key // an absent value has no place of its own
	}
	r.report(Problem{Line: at.line, Column: at.column, Field: path, Message: message, Hint: hint})
}

func (r *reader) report(p Problem) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
}

// validated adds a problem of the whole spec at the nearest place that the file has, unless the field, or what it is part of, did not
// even read.
func (r *reader) validated(p agent.Problem) {
	if _, present := r.at[p.Field]; !present && r.misspelt[p.Field] {
		return
	}
	where, found := r.at[""], false
	for path := p.Field; ; path = parent(path) {
		if r.settled[path] {
			return
		}
		if at, ok := r.at[path]; ok && !found {
			where, found = at, true
		}
		if path == "" {
			break
		}
	}
	r.report(Problem{Line: where.line, Column: where.column, Field: p.Field, Message: p.Message, Hint: p.Hint})
}

// parent is the path without its last part. An agent's name may hold dots; then some of these paths are nobody's, which does no harm.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	rolesType    = reflect.TypeFor[agent.Roles]()
)

// value reads a node into v. What is wrong is reported, and v keeps its zero value there.
func (r *reader) value(n *yaml.Node, path string, v reflect.Value) {
	if r.nodes++; r.nodes > maxNodes {
		if !r.exhausted {
			r.exhausted = true
			r.add(n, path, "the file has too many values, counting what its aliases repeat", "write it without nested aliases")
		}
		return
	}
	if _, ok := r.at[path]; !ok {
		r.at[path] = place{n.Line, n.Column}
	}
	if n.Kind == yaml.AliasNode { // one that contains itself ends where the types of the fields do
		r.value(n.Alias, path, v)
		return
	}
	if v.Type() == rolesType {
		r.roles(n, path, v)
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // as if it were not written
	}
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.value(n, path, v.Elem())
	case v.Kind() == reflect.Struct:
		r.structure(n, path, v)
	case v.Kind() == reflect.Map:
		r.mapping(n, path, v)
	case v.Kind() == reflect.Slice:
		r.list(n, path, v)
	default:
		r.scalar(n, path, v)
	}
}

// pairs calls f for each key of a mapping that is text and comes for the first time.
func (r *reader) pairs(n *yaml.Node, path, want string, f func(key *yaml.Node, path string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, path, want)
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Tag == "!!merge":
			r.add(key, join(path, "<<"), "merge keys are not read", "write the fields out, or give a whole value an alias")
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str":
			r.report(Problem{Line: key.Line, Column: key.Column, Field: path, Message: "a key is not text", Hint: "put it in quotes"})
		case first[key.Value] > 0:
			r.add(key, join(path, key.Value), fmt.Sprintf("the key is already on line %d", first[key.Value]), "keep one")
		default:
			first[key.Value] = key.Line
			f(key, join(path, key.Value), value)
		}
	}
}

func (r *reader) structure(n *yaml.Node, path string, v reflect.Value) {
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	r.pairs(n, path, "fields: "+strings.Join(names, ", "), func(key *yaml.Node, at string, value *yaml.Node) {
		i, ok := fields[key.Value]
		if !ok {
			r.unknown(key, path, names)
			return
		}
		if value.Tag == "!!null" {
			r.at[at] = place{key.Line, key.Column}
		}
		r.value(value, at, v.Field(i))
	})
}

// unknown is a typing error, a field of another version, or a secret that somebody wants to keep here.
func (r *reader) unknown(key *yaml.Node, path string, names []string) {
	at := join(path, key.Value)
	if looksSecret(key.Value) {
		r.add(key, at, "no secret belongs here: leastkey never reads one from a file", "remove it, and revoke that secret if anybody could have read this file")
		return
	}
	near := role.Nearest(key.Value, names)
	hint := "known here: " + strings.Join(names, ", ")
	if near != "" {
		hint = "did you mean " + near + "?"
		r.misspelt[join(path, near)] = true // that it is missing has been said
	}
	r.add(key, at, "unknown key", hint)
}

// secretWords are what keys of secrets contain, without dashes and underscores.
var secretWords = regexp.MustCompile(`secret|passw|passphrase|pwd|token|apikey|accesskey|accountkey|sharedkey|privatekey|connectionstring|credential|pfx|pkcs12`)

func looksSecret(key string) bool {
	return secretWords.MatchString(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(key)))
}

func (r *reader) mapping(n *yaml.Node, path string, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	r.pairs(n, path, "names, each with its fields", func(key *yaml.Node, at string, value *yaml.Node) {
		e := reflect.New(v.Type().Elem()).Elem()
		if value.Tag == "!!null" {
			r.at[at] = place{key.Line, key.Column}
		}
		r.value(value, at, e)
		v.SetMapIndex(reflect.ValueOf(key.Value), e)
	})
}

func (r *reader) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.wrongType(n, path, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for i, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.Tag == "!!null" {
			r.add(item, at, "the item is empty", "write it or remove the dash")
		}
		r.value(item, at, e)
		if r.exhausted {
			return
		}
		v.Set(reflect.Append(v, e))
	}
}

// roles is the name of a set or a list. One that is left empty is refused: to fall back to the set would give an agent more than
// somebody who emptied the list meant.
func (r *reader) roles(n *yaml.Node, path string, v reflect.Value) {
	switch {
	case n.Tag == "!!null":
		r.add(n, path, "roles is empty", "write roles: polyclaw, a list of {role, scope}, or [] for none")
	case n.Kind == yaml.SequenceNode:
		r.list(n, path, v.FieldByName("List"))
	case n.Kind == yaml.ScalarNode && n.Value == "":
		r.add(n, path, "roles is empty", "write roles: polyclaw, a list of {role, scope}, or [] for none")
	case n.Kind == yaml.ScalarNode:
		r.scalar(n, path, v.FieldByName("Set"))
	default:
		r.wrongType(n, path, "polyclaw, or a list of {role, scope}")
	}
}

func (r *reader) scalar(n *yaml.Node, path string, v reflect.Value) {
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || err != nil {
			r.wrongType(n, path, "a duration such as 0s, 90m or 72h")
			return
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			r.wrongType(n, path, "text")
			return
		}
		v.SetString(n.Value)
	case v.Kind() == reflect.Int:
		r.whole(n, path, v)
	case v.Kind() == reflect.Float64:
		r.number(n, path, v)
	default:
		r.add(n, path, "leastkey cannot read this field", "") // a field of a type that nobody taught the reader
	}
}

func (r *reader) whole(n *yaml.Node, path string, v reflect.Value) {
	var i int
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&i) != nil {
		r.wrongType(n, path, "a whole number")
		return
	}
	r.notZero(n, path, i == 0)
	v.SetInt(int64(i))
}

func (r *reader) number(n *yaml.Node, path string, v reflect.Value) {
	var f float64
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" || n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		r.wrongType(n, path, "a number")
		return
	}
	r.notZero(n, path, f == 0)
	v.SetFloat(f)
}

// notZero refuses a 0 that somebody wrote: no number here means anything by it, and the default would silently take its place.
func (r *reader) notZero(n *yaml.Node, path string, zero bool) {
	if zero {
		r.add(n, path, "0 is not a value of this field", "remove the field to get its default")
	}
}

// wrongType says what is wanted and what is there, and not its content, which may be a secret in the wrong place.
func (r *reader) wrongType(n *yaml.Node, path, want string) {
	hint := ""
	if n.Kind == yaml.ScalarNode && n.Tag != "!!str" && want == "text" {
		hint = "put it in quotes"
	}
	r.add(n, path, "want "+want+", found "+kindOf(n), hint)
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!null":
		return "nothing"
	}
	return "a value with the tag " + n.ShortTag()
}
