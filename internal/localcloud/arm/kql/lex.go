package kql

import (
	"strings"
	"unicode/utf8"
)

// kind is what a token is.
type kind int

const (
	end kind = iota
	name
	text
	number
	punct
)

// token is a lexical unit and where it stands. Words that begin with '!' or end with '~' (!in, in~) are names.
type token struct {
	kind  kind
	value string // of a text, without quotes and escapes
	raw   string
	line  int // from 1
	col   int // from 0, in characters
}

// lexer cuts a query into tokens.
type lexer struct {
	rest      string
	line, col int
}

func (l *lexer) skip(n int) {
	for _, r := range l.rest[:n] {
		if l.col++; r == '\n' {
			l.line, l.col = l.line+1, 0
		}
	}
	l.rest = l.rest[n:]
}

// blank skips white space and // comments.
func (l *lexer) blank() {
	for {
		n := len(l.rest) - len(strings.TrimLeft(l.rest, " \t\r\n"))
		if strings.HasPrefix(l.rest[n:], "//") {
			if i := strings.IndexByte(l.rest[n:], '\n'); i >= 0 {
				n += i
			} else {
				n = len(l.rest)
			}
		}
		if n == 0 {
			return
		}
		l.skip(n)
	}
}

func letter(b byte) bool { return b == '_' || b|0x20 >= 'a' && b|0x20 <= 'z' }
func digit(b byte) bool  { return b >= '0' && b <= '9' }

// word is how many bytes of s, from i on, belong to a name.
func word(s string, i int) int {
	for i < len(s) && (letter(s[i]) || digit(s[i])) {
		i++
	}
	return i
}

// dashed are the words of the language that have a dash, by what stands before it.
var dashed = []string{"project-away", "project-keep", "project-rename", "project-reorder", "mv-expand", "mv-apply", "parse-where", "make-series"}

// next is the token at hand, an [*Error] if nothing of the language stands there.
func (l *lexer) next() (token, error) {
	l.blank()
	t := token{line: l.line, col: l.col}
	n, s := 0, l.rest
	switch {
	case s == "":
		return t, nil
	case letter(s[0]), s[0] == '!' && len(s) > 1 && letter(s[1]):
		t.kind, n = name, word(s, 1)
		for _, d := range dashed {
			if strings.HasPrefix(s, d) && word(s, len(d)) == len(d) {
				n = len(d)
			}
		}
		if w := s[:n]; (w == "in" || w == "!in") && n < len(s) && s[n] == '~' {
			n++
		}
	case digit(s[0]):
		t.kind = number
		for n < len(s) && digit(s[n]) {
			n++
		}
		if n+1 < len(s) && s[n] == '.' && digit(s[n+1]) {
			for n++; n < len(s) && digit(s[n]); n++ {
			}
		}
		if n < len(s) && letter(s[n]) { // 5d, 0x1f: literals of types that are not served
			return t, l.wrong(t, s[:word(s, n)], "")
		}
	case s[0] == '\'' || s[0] == '"' || strings.HasPrefix(s, "@'") || strings.HasPrefix(s, `@"`):
		value, length, closed := quoted(s)
		if !closed {
			return t, l.wrong(t, s[:length], "'")
		}
		t.kind, t.value, n = text, value, length
	default:
		for _, p := range []string{"==", "=~", "!=", "!~", "<=", ">=", "<", ">", "=", "|", ",", "(", ")", "[", "]", ".", ";"} {
			if strings.HasPrefix(s, p) {
				t.kind, n = punct, len(p)
				break
			}
		}
		if n == 0 {
			_, size := utf8.DecodeRuneInString(s)
			return t, l.wrong(t, s[:size], "")
		}
	}
	t.raw = s[:n]
	l.skip(n)
	return t, nil
}

func (l *lexer) wrong(t token, raw, expected string) error {
	return &Error{Code: "ParserFailure", Message: "ParserFailure", Line: t.line, Col: t.col, Token: raw, Expected: expected}
}

// quoted reads a literal: 'a' and "a" have escapes with a backslash, @'a' and @"a" double the quote. length is what was read of s.
func quoted(s string) (value string, length int, closed bool) {
	verbatim := s[0] == '@'
	i := 0
	if verbatim {
		i++
	}
	quote := s[i]
	var b strings.Builder
	for i++; i < len(s) && s[i] != '\n'; i++ {
		switch {
		case s[i] == quote && verbatim && i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		case s[i] == quote:
			return b.String(), i + 1, true
		case s[i] == '\\' && !verbatim:
			if i++; i == len(s) {
				return "", i, false
			}
			c, known := escapes[s[i]]
			if !known {
				return "", i, false
			}
			b.WriteByte(c)
		default:
			b.WriteByte(s[i])
		}
	}
	return "", i, false
}

var escapes = map[byte]byte{'\\': '\\', '\'': '\'', '"': '"', 'n': '\n', 't': '\t', 'r': '\r'}

// quote writes a literal that quoted reads.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s) + "'"
}
