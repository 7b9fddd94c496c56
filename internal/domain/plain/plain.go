// Package plain makes text from outside safe to show. The display name of somebody else's application may hold escape sequences that rewrite a
// terminal, line ends that forge a line of ours, or bidirectional overrides that show another text than the one there is (CVE-2021-42574): who
// approves a plan must read what the plan says. Such characters become visible escapes; printable ones of every script stay.
package plain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Line is the text on one line.
func Line(s string) string { return escaped(s, strconv.IsPrint) }

// Text is the text with its line ends, all of them \n, and tabs. A carriage return alone, which ends a line of an event stream too (WHATWG HTML,
// section 9.2.5), is escaped.
func Text(s string) string {
	return escaped(strings.ReplaceAll(s, "\r\n", "\n"), func(r rune) bool { return r == '\n' || r == '\t' || strconv.IsPrint(r) })
}

func escaped(s string, stays func(rune) bool) string {
	if all(s, stays) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case stays(r):
			b.WriteString(s[i : i+n])
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

func all(s string, stays func(rune) bool) bool {
	for i, r := range s {
		if !stays(r) || (r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError))) {
			return false
		}
	}
	return true
}

// JSON escapes in an encoded document what encoding/json leaves as it is and a terminal might act on, or XML cannot hold. Such characters stand
// only inside strings, where an escape means the same.
func JSON(doc []byte) []byte {
	if all(strings.ReplaceAll(string(doc), "\n", ""), strconv.IsPrint) {
		return doc
	}
	var b []byte
	for _, r := range string(doc) {
		switch {
		case r == '\n' || strconv.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}
