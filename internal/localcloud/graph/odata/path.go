package odata

import (
	"errors"
	"net/url"
	"strings"
)

// Segment is one step of a resource path: applications, applications('…') or applications(appId='…').
type Segment struct {
	Name  string
	Keyed bool   // a key follows in parentheses
	Key   string // name of an alternate key, as written; "" for the object's own id
	Value string // value of the key
}

// ErrPath says that a resource path does not parse.
var ErrPath = errors.New("the request URI is not valid")

// ParsePath reads an escaped path without its leading slash. Slashes inside quotes belong to the key.
func ParsePath(escaped string) ([]Segment, error) {
	var segments []Segment
	for _, raw := range split(escaped) {
		if raw == "" {
			continue
		}
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil, ErrPath
		}
		s, err := segment(text)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// split cuts at slashes outside quotes; a quote is ' or %27.
func split(escaped string) []string {
	var parts []string
	start, quoted, parens := 0, false, false
	for i := 0; i < len(escaped); i++ {
		switch {
		case escaped[i] == '(' && !quoted:
			parens = true
		case escaped[i] == ')' && !quoted:
			parens = false
		case parens && (escaped[i] == '\'' || strings.HasPrefix(escaped[i:], "%27")):
			quoted = !quoted
		case escaped[i] == '/' && !quoted:
			parts = append(parts, escaped[start:i])
			start = i + 1
		}
	}
	return append(parts, escaped[start:])
}

func segment(text string) (Segment, error) {
	name, key, keyed := strings.Cut(text, "(")
	if !keyed {
		return Segment{Name: text}, nil
	}
	key, closed := strings.CutSuffix(key, ")")
	if !closed || name == "" {
		return Segment{}, ErrPath
	}
	s := Segment{Name: name, Keyed: true}
	if alternate, value, ok := strings.Cut(key, "="); ok && !strings.HasPrefix(key, "'") {
		s.Key, key = strings.TrimSpace(alternate), strings.TrimSpace(value)
		if s.Key == "" || strings.ContainsAny(s.Key, "'()/=") {
			return Segment{}, ErrPath
		}
	}
	if value, ok := strings.CutPrefix(key, "'"); ok {
		value, ok = strings.CutSuffix(value, "'")
		if !ok || strings.Contains(strings.ReplaceAll(value, "''", ""), "'") {
			return Segment{}, ErrPath
		}
		s.Value = strings.ReplaceAll(value, "''", "'")
	} else if key == "" || strings.ContainsAny(key, "'()/= ") {
		return Segment{}, ErrPath
	} else {
		s.Value = key
	}
	return s, nil
}

// String gives the segment as an escaped piece of a path.
func (s Segment) String() string {
	text := s.Name
	if s.Keyed {
		text += "("
		if s.Key != "" {
			text += s.Key + "="
		}
		text += "'" + strings.ReplaceAll(s.Value, "'", "''") + "')"
	}
	return strings.ReplaceAll(url.PathEscape(text), "'", "%27")
}
