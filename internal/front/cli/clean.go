package cli

import (
	"unicode"

	escape "github.com/leastkey/leastkey/internal/domain/plain"
)

// clean makes what came from outside safe to print on a line of ours.
func clean(s string) string { return escape.Line(s) }

// cleanJSON makes an encoded JSON document safe to print; it means the same.
func cleanJSON(doc []byte) []byte { return escape.JSON(doc) }

// cells is how many columns of a terminal the text takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += runeCells(r)
	}
	return n
}

// runeCells follows Unicode's East Asian Width (UAX #11) for the blocks that matter.
func runeCells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}
