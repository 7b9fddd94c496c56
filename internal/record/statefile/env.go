// Package statefile changes files of others' making without spoiling them: every byte that is not ours stays, and the file is at every
// instant either the old one or the new one.
package statefile

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Env is an environment file as its readers see it: dotenv libraries, and shells that source it. It keeps every byte: comments, order,
// line ends, quotes and lines that it does not understand. It may hold other people's secrets, so nothing prints it; see [Env.Bytes].
type Env struct {
	lines []line
	crlf  bool // how a new line ends
}

// line is one assignment, or a piece of text that is none. Its bytes are head + value + tail.
type line struct {
	key   string // "" if it is no assignment
	head  string // indentation, export, key, = and what is before the value
	value string // raw, with its quotes; may span several physical lines
	tail  string // what is after the value, with the line end
}

// assignment is the beginning of one. Spaces around = are dotenv's, not the shell's, but a line that has them still sets the key for one
// of its readers.
var assignment = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*`)

var keyName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const byteOrderMark = "\uFEFF"

// ParseEnv reads an environment file. fault.Invalid, which names the line and never its content, if a quote is not closed, or a NUL or
// a lone carriage return is in it: what such a file says depends on the reader, so it is not for us to change.
func ParseEnv(b []byte) (Env, error) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return Env{}, fault.Newf(fault.Invalid, "line %d holds a NUL byte", 1+bytes.Count(b[:i], []byte("\n")))
	}
	rest := string(b)
	if i := loneReturn(rest); i >= 0 {
		return Env{}, fault.New(fault.Invalid, fmt.Sprintf("line %d holds a carriage return that ends no line", 1+strings.Count(rest[:i], "\n")),
			"remove it: for some readers a new line begins there")
	}
	e := Env{crlf: strings.Contains(rest, "\r\n")}
	if tail, ok := strings.CutPrefix(rest, byteOrderMark); ok {
		e.lines, rest = append(e.lines, line{head: byteOrderMark}), tail
	}
	for number := 1; rest != ""; {
		l, ok := cutLine(rest)
		if !ok {
			return Env{}, fault.New(fault.Invalid, fmt.Sprintf("line %d opens a quote that is never closed", number), "close it: its readers do not agree on what follows")
		}
		raw := l.text()
		e.lines = append(e.lines, l)
		rest = rest[len(raw):]
		number += strings.Count(raw, "\n")
	}
	return e, nil
}

// loneReturn is where a carriage return stands without a line feed after it, -1 if nowhere.
func loneReturn(s string) int {
	for i := range len(s) {
		if s[i] == '\r' && !strings.HasPrefix(s[i+1:], "\n") {
			return i
		}
	}
	return -1
}

// cutLine takes the first assignment or other line off the text; false if its quote is not closed.
func cutLine(text string) (line, bool) {
	m := assignment.FindStringSubmatchIndex(text)
	if m == nil {
		return line{head: text[:lineEnd(text)]}, true
	}
	l := line{key: text[m[2]:m[3]], head: text[:m[1]]}
	rest := text[m[1]:]
	n := 0
	switch {
	case strings.HasPrefix(rest, `"`), strings.HasPrefix(rest, "'"):
		if n = closing(rest); n < 0 {
			return line{}, false
		}
	default:
		if n = bare(rest, strings.HasSuffix(l.head, " ") || strings.HasSuffix(l.head, "\t")); n == 0 { // the spaces belong to what follows, a comment perhaps
			l.head = strings.TrimRight(l.head, " \t")
			rest = text[len(l.head):]
		}
	}
	l.value, rest = rest[:n], rest[n:]
	l.tail = rest[:lineEnd(rest)]
	return l, true
}

// lineEnd is the length of the first physical line with its line end.
func lineEnd(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s)
}

// closing is the length of the quoted text at the start of s, -1 if the quote is not closed. A backslash escapes within double quotes;
// within single ones the shell knows no escape.
func closing(s string) int {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i + 1
		case s[i] == '\\' && quote == '"':
			i++
		}
	}
	return -1
}

// bare is the length of the unquoted value at the start of s, which follows = and spaces: up to a comment or the line end, without the
// spaces before it. A # at once after = begins the value, after spaces a comment.
func bare(s string, spaced bool) int {
	s = strings.TrimRight(s[:lineEnd(s)], "\r\n")
	for i := range len(s) {
		if s[i] == '#' && ((i == 0 && spaced) || (i > 0 && (s[i-1] == ' ' || s[i-1] == '\t'))) {
			s = s[:i]
			break
		}
	}
	return len(strings.TrimRight(s, " \t\r"))
}

// Get is the value of the key; the last assignment wins, as it does for dotenv and for the shell. Variables in it are not expanded.
func (e Env) Get(key string) (value string, ok bool) {
	for _, l := range slices.Backward(e.lines) {
		if l.key == key && key != "" {
			return unquote(l.value), true
		}
	}
	return "", false
}

// Keys are the keys that are set, each once, in the order of the file.
func (e Env) Keys() []string {
	var keys []string
	for _, l := range e.lines {
		if l.key != "" && !slices.Contains(keys, l.key) {
			keys = append(keys, l.key)
		}
	}
	return keys
}

func unquote(raw string) string {
	if len(raw) < 2 {
		return raw
	}
	switch raw[0] {
	case '\'':
		return raw[1 : len(raw)-1]
	case '"':
		return unescape(raw[1 : len(raw)-1])
	}
	return raw
}

// unescape undoes what the shell escapes within double quotes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`", s[i+1]) >= 0 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Set gives the key that value and tells whether anything changed. The line that sets it keeps its place, its export, its comment and,
// where the value allows, its quotes; earlier ones of the same key are taken out, so that no reader sees an old value. A new key goes to
// the end. fault.Invalid for what not every reader would read alike: see [quote].
func (e *Env) Set(key, value string) (changed bool, err error) {
	if !keyName.MatchString(key) {
		return false, fault.Newf(fault.Invalid, "%q is not the name of an environment variable", key)
	}
	if _, err := quote(value, 0); err != nil {
		return false, fmt.Errorf("set %s: %w", key, err)
	}
	at := e.last(key)
	if err := e.continued(at); err != nil {
		return false, fmt.Errorf("set %s: %w", key, err)
	}
	if err := e.joined(key); err != nil {
		return false, fmt.Errorf("set %s: %w", key, err)
	}
	if at == len(e.lines) {
		raw, err := quote(value, 0)
		e.endLastLine()
		e.lines = append(e.lines, line{key: key, head: key + "=", value: raw, tail: e.newline()})
		return true, err
	}
	fresh, err := e.lines[at].with(value)
	if err != nil {
		return false, fmt.Errorf("set %s: %w", key, err)
	}
	changed = fresh != e.lines[at]
	e.lines[at] = fresh
	before := len(e.lines)
	i := -1
	e.lines = slices.DeleteFunc(e.lines, func(l line) bool { i++; return l.key == key && i != at })
	return changed || len(e.lines) < before, nil
}

// last is the index of the line that sets the key, or the number of lines if none does.
func (e Env) last(key string) int {
	for i, l := range slices.Backward(e.lines) {
		if l.key == key {
			return i
		}
	}
	return len(e.lines)
}

// joined refuses a key of which any assignment follows such a line: taking that one out would join what is after it instead.
func (e Env) joined(key string) error {
	for i, l := range e.lines {
		if l.key == key && key != "" {
			if err := e.continued(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// continued refuses a place after a line that ends with a backslash: a shell joins the two.
func (e Env) continued(at int) error {
	if at == 0 {
		return nil
	}
	raw := e.lines[at-1].text()
	if strings.HasPrefix(strings.TrimLeft(raw, " \t"), "#") || !strings.HasSuffix(strings.TrimSuffix(raw, "\n"), `\`) {
		return nil
	}
	return fault.New(fault.Invalid, "the line before it ends with a backslash, which joins the two for a shell", "put that value in single quotes")
}

// with is the line with another value. It is the same line if it says that already to every reader.
func (l line) with(value string) (line, error) {
	equals := strings.LastIndexByte(l.head, '=')
	head := strings.TrimRight(l.head[:equals], " \t") + "=" // spaces around = are an error to the shell
	if unquote(l.value) == value && head == l.head && plainTail(l.tail) {
		return l, nil
	}
	style := byte(0)
	if l.value != "" {
		style = l.value[0]
	}
	raw, err := quote(value, style)
	if err != nil {
		return line{}, err
	}
	tail := l.tail
	if !plainTail(tail) { // A="x"y: what follows the quote belongs to the value for a shell
		tail = tail[len(strings.TrimRight(tail, "\r\n")):]
	}
	if raw == "" && strings.HasPrefix(strings.TrimLeft(tail, " \t"), "#") {
		raw = `""` // some readers would take the comment for the value
	}
	return line{key: l.key, head: head, value: raw, tail: tail}, nil
}

func (l line) text() string { return l.head + l.value + l.tail }

// plainTail tells whether nothing but spaces and a comment follows the value.
func plainTail(tail string) bool {
	trimmed := strings.TrimLeft(tail, " \t")
	rest := strings.TrimRight(trimmed, "\r\n")
	return rest == "" || (rest[0] == '#' && len(trimmed) < len(tail))
}

// Remove takes every assignment of the key out and tells whether there was one. fault.Invalid, and nothing is changed, where one follows
// a line that ends with a backslash.
func (e *Env) Remove(key string) (bool, error) {
	if err := e.joined(key); err != nil {
		return false, fmt.Errorf("remove %s: %w", key, err)
	}
	before := len(e.lines)
	e.lines = slices.DeleteFunc(e.lines, func(l line) bool { return l.key == key && key != "" })
	return len(e.lines) < before, nil
}

func (e *Env) newline() string {
	if e.crlf {
		return "\r\n"
	}
	return "\n"
}

// endLastLine gives the last line an end, so that another can follow.
func (e *Env) endLastLine() {
	if len(e.lines) == 0 {
		return
	}
	l := &e.lines[len(e.lines)-1]
	mark := len(e.lines) == 1 && l.text() == byteOrderMark // which is no line, but only at the beginning of the file
	if !mark && !strings.HasSuffix(l.text(), "\n") {
		l.tail += e.newline()
	}
}

// Bytes is the file.
func (e Env) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range e.lines {
		b.WriteString(l.text())
	}
	return b.Bytes()
}

// Format hides the file from every printer: it may hold other people's secrets.
func (e Env) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "[environment file of %d lines]", len(e.lines))
}

// bareValue reads alike without quotes everywhere, docker --env-file (which knows no quotes) included.
var bareValue = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-][A-Za-z0-9_./:@%+,=-]*$`)

// quote writes a value so that dotenv libraries and shells read it alike. The style is the quote that the line has now (0 or another
// byte: none). Values of ours are ids, addresses and paths; refused are control characters, the quotes and the backslash, which dotenv and
// the shell escape differently, and ${, which some dotenv libraries expand even within single quotes.
func quote(value string, style byte) (string, error) {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return "", fault.Newf(fault.Invalid, "the value holds a control character or is not UTF-8")
	}
	if strings.ContainsAny(value, `'"\`+"`") || strings.Contains(value, "${") {
		return "", fault.Newf(fault.Invalid, "the value holds a quote, a backslash or ${, which the readers of environment files do not read alike")
	}
	plain := bareValue.MatchString(value)
	switch {
	case style == '\'', style == '"' && plain:
		return string(style) + value + string(style), nil
	case plain || value == "":
		return value, nil
	}
	return "'" + value + "'", nil
}
