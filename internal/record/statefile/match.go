package statefile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// legacyKey is an assignment of the legacy key, in JSON, environment files, shell and most else.
var legacyKey = regexp.MustCompile(provisioner.KeySecret + `["']?[ \t]*[:=][ \t]*["']?([A-Za-z0-9~._+/=!@#%^&*:\-]{16,})`)

// generated tells whether the text can be a secret that Entra has made: 32 to 64 random letters and digits, with some signs (seen 2019 to
// 2026), while code and documentation say with words where one would stand.
func generated(text []byte) bool {
	return bytes.ContainsAny(text, "0123456789") && bytes.ContainsFunc(text, unicode.IsLower) && bytes.ContainsFunc(text, unicode.IsUpper)
}

// secretLike is what is searched for by its value. A word or a placeholder stands in too many files for that.
var secretLike = regexp.MustCompile(`^[!-~]{16,}$`)

// claim is a value that a file assigns to the legacy key, and whose it is remains to be seen.
type claim struct {
	value secret.Value
	line  int
}

// readings are what the value may be: as it stands, without the signs that end a sentence or an item, and as the first field of a form.
func (c claim) readings() (all []secret.Value) {
	_ = c.value.Use(func(b []byte) error { // the function returns nil
		field, _, _ := bytes.Cut(b, []byte("&"))
		for _, r := range [][]byte{b, bytes.TrimRight(b, ".,:!*&"), field} {
			if secretLike.Match(r) {
				all = append(all, secret.New(bytes.Clone(r)))
			}
		}
		return nil
	})
	return all
}

// claims are the values that a text assigns to the legacy key and that look like secrets.
func claims(b []byte) (all []claim) {
	have := func(v secret.Value) bool {
		return slices.ContainsFunc(all, func(c claim) bool { return c.value.Equal(v) })
	}
	texts := [][]byte{narrow(b)}
	if bytes.IndexByte(b, '\\') >= 0 {
		texts = append(texts, unescaped(texts[0]))
	}
	for _, text := range texts {
		for _, m := range legacyKey.FindAllSubmatchIndex(text, -1) {
			if m[3] < len(text) && text[m[3]] == '\\' {
				continue // it goes on with an escape
			}
			if v := text[m[2]:m[3]]; generated(v) && !have(secret.New(bytes.Clone(v))) {
				all = append(all, claim{secret.New(bytes.Clone(v)), 1 + bytes.Count(text[:m[2]], []byte("\n"))})
			}
		}
	}
	return all
}

// wide tells whether the text is UTF-16 by its byte order mark, and in which order.
func wide(b []byte) (binary.ByteOrder, bool) {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		return binary.LittleEndian, true
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		return binary.BigEndian, true
	}
	return nil, false
}

// narrow gives a UTF-16 text one byte for each of its units, the mark among them; 0 for what is not ASCII. Another text is itself.
func narrow(b []byte) []byte {
	order, ok := wide(b)
	if !ok {
		return b
	}
	out := make([]byte, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		out = append(out, ascii(order.Uint16(b)))
	}
	return out
}

func ascii(u uint16) byte {
	if u > 0x7e {
		return 0
	}
	return byte(u)
}

// unescaped is the text with JSON's \uXXXX of ASCII and \/ undone.
func unescaped(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		if c, n := escape(b[i:]); n > 0 && (b[i] == '\\') && (c == '/' || n >= 6) {
			out, i = append(out, c), i+n
			continue
		}
		out, i = append(out, b[i]), i+1
	}
	return out
}

// escape is the character that an escape at the beginning of b stands for, and the escape's length; 0 if none is there. JSON within a JSON
// string has more than one backslash.
func escape(b []byte) (c byte, n int) {
	if len(b) >= 3 && b[0] == '%' {
		if u, err := strconv.ParseUint(string(b[1:3]), 16, 7); err == nil {
			return byte(u), 3
		}
		return 0, 0
	}
	slashes := len(b) - len(bytes.TrimLeft(b, `\`))
	if slashes == 0 || slashes > mostSlashes {
		return 0, 0
	}
	switch rest := b[slashes:]; {
	case len(rest) >= 5 && rest[0] == 'u':
		if u, err := strconv.ParseUint(string(rest[1:5]), 16, 7); err == nil {
			return byte(u), slashes + 5
		}
	case len(rest) >= 3 && rest[0] == 'x':
		if u, err := strconv.ParseUint(string(rest[1:3]), 16, 7); err == nil {
			return byte(u), slashes + 3
		}
	case len(rest) >= 1 && strings.IndexByte("~._+/=!@#%^&*:-$`'\"", rest[0]) >= 0:
		return rest[0], slashes + 1
	}
	return 0, 0
}

// mostSlashes is how many backslashes may stand before one character, and longestUnit how long its longest spelling is.
const (
	mostSlashes = 8
	longestUnit = mostSlashes + 5
)

// pattern finds values in whatever spelling JSON, URLs and shells give them, even if only some characters are escaped.
type pattern struct {
	values  [][]byte // the longest first: one may begin with another, and what is left once the shorter one is cut out is a piece of a secret
	begins  [256]bool
	longest int
}

func patternOf(values []secret.Value) pattern {
	var p pattern
	for _, v := range values {
		_ = v.Use(func(b []byte) error { // the function returns nil
			if secretLike.Match(b) {
				p.values = append(p.values, bytes.Clone(b))
			}
			return nil
		})
	}
	slices.SortFunc(p.values, func(a, b []byte) int { return cmp.Or(len(b)-len(a), bytes.Compare(a, b)) })
	p.values = slices.CompactFunc(p.values, bytes.Equal)
	for _, v := range p.values {
		p.begins[v[0]], p.begins['\\'], p.begins['%'] = true, true, true
		p.longest = max(p.longest, len(v)*longestUnit)
	}
	return p
}

// next is where the first value in b stands; -1 if there is none.
func (p pattern) next(b []byte) (from, to int) {
	if len(p.values) == 0 {
		return -1, -1
	}
	for i, c := range b {
		if !p.begins[c] {
			continue
		}
		for _, v := range p.values {
			if n := spelled(b[i:], v, true); n >= 0 {
				return i, i + n
			}
		}
	}
	return -1, -1
}

// spelled is the length of the value at the beginning of b; -1 if it is not there.
func spelled(b, value []byte, first bool) int {
	if len(value) == 0 {
		return 0
	}
	if len(b) == 0 {
		return -1
	}
	if b[0] == value[0] {
		if n := spelled(b[1:], value[1:], false); n >= 0 {
			return 1 + n
		}
	}
	c, n := escape(b)
	if n == 0 || c != value[0] || (first && b[0] == '\\' && n < 4 && c != '/') { // what stands before a value is not its own
		return -1
	}
	if m := spelled(b[n:], value[1:], false); m >= 0 {
		return n + m
	}
	return -1
}

// all are the places of every value in the text, which may be UTF-16.
func (p pattern) all(b []byte) (at [][2]int) {
	_, isWide := wide(b)
	text := narrow(b)
	for done := 0; ; {
		from, to := p.next(text[done:])
		if from < 0 {
			break
		}
		at = append(at, [2]int{done + from, done + to})
		done += to
	}
	if isWide {
		for i := range at {
			at[i][0], at[i][1] = 2*at[i][0], 2*at[i][1]
		}
	}
	return at
}

// cut is the text without the values.
func (p pattern) cut(b []byte) []byte {
	var out []byte
	done := 0
	for _, at := range p.all(b) {
		out = append(out, b[done:at[0]]...)
		done = at[1]
	}
	if done == 0 {
		return b
	}
	return append(out, b[done:]...)
}

// within tells whether any of the values is in v.
func (p pattern) within(v secret.Value) (yes bool) {
	_ = v.Use(func(b []byte) error { from, _ := p.next(b); yes = from >= 0; return nil }) // the function returns nil
	return yes
}

// line is the line, from 1, of the first value in what r gives; 0 if there is none. Any size is read, a piece at a time.
func (p pattern) line(r io.Reader) (int, error) {
	if len(p.values) == 0 {
		return 0, nil
	}
	line, window, piece := 1, []byte(nil), make([]byte, 64<<10)
	defer clear(piece)
	r = &narrowed{r: r}
	for {
		n, err := r.Read(piece)
		window = append(window, piece[:n]...)
		if first, _ := p.next(window); first >= 0 {
			line += bytes.Count(window[:first], []byte("\n"))
			clear(window)
			return line, nil
		}
		if cut := len(window) - p.longest; cut > 0 { // what a value could still begin in stays
			line += bytes.Count(window[:cut], []byte("\n"))
			window = append(window[:0], window[cut:]...)
		}
		if err == io.EOF {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// narrowed reads what [narrow] gives.
type narrowed struct {
	r     io.Reader
	begun bool
	order binary.ByteOrder
}

func (n *narrowed) Read(b []byte) (int, error) {
	if !n.begun {
		n.begun = true
		var mark [2]byte
		got, err := io.ReadFull(n.r, mark[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		n.order, _ = wide(mark[:got])
		if n.order == nil {
			n.r = io.MultiReader(bytes.NewReader(mark[:got]), n.r)
		}
	}
	if n.order == nil {
		return n.r.Read(b)
	}
	units := make([]byte, len(b)&^1)
	got, err := io.ReadFull(n.r, units)
	defer clear(units)
	for i := 0; i+1 < got; i += 2 {
		b[i/2] = ascii(n.order.Uint16(units[i:]))
	}
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return got / 2, err
}
