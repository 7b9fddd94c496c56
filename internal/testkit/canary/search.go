package canary

import (
	"bytes"
	"encoding/binary"
	"net/url"
	"regexp"
)

// needle is a form of a secret.
type needle struct {
	bytes  []byte
	form   string
	kind   Kind
	secret string
}

// index finds thousands of needles in one pass: by their first eight bytes, behind a filter that is small enough for a cache.
type index struct {
	needles map[uint64][]needle
	filter  [1 << 13]uint64 // 2^19 bits
}

func (x *index) add(n needle) {
	if len(n.bytes) < shortest {
		return
	}
	if x.needles == nil {
		x.needles = map[uint64][]needle{}
	}
	h := binary.LittleEndian.Uint64(n.bytes)
	x.needles[h] = append(x.needles[h], n)
	word, bit := place(h)
	x.filter[word] |= bit
}

func place(h uint64) (word int, bit uint64) {
	h = h * 0x9e3779b97f4a7c15 >> 45
	return int(h >> 6), 1 << (h & 63)
}

// hit is a needle and where it was.
type hit struct {
	needle
	offset  int
	unknown bool // recognised by its shape alone
}

func (x *index) find(b []byte, found func(hit)) {
	if len(x.needles) == 0 {
		return
	}
	for i := 0; i+shortest <= len(b); i++ {
		h := binary.LittleEndian.Uint64(b[i:])
		word, bit := place(h)
		if x.filter[word]&bit == 0 {
			continue
		}
		for _, n := range x.needles[h] {
			if bytes.HasPrefix(b[i:], n.bytes) {
				found(hit{needle: n, offset: i})
			}
		}
	}
}

// shapes are secrets that can be told without knowing them.
func shapes() []shape {
	return []shape{
		{regexp.MustCompile(`-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----`), "PEM", PrivateKey, "a private key"},
		{regexp.MustCompile(`AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{20}`), "plain", PrivateKey, "an age identity"},
		{regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{40,}`), "JWT", AccessToken, "a signed token"},
		{regexp.MustCompile(mark + `[a-z-]+-[0-9a-f]{16}`), "plain", ClientSecret, "a planted secret that nobody watches for"},
	}
}

type shape struct {
	pattern *regexp.Regexp
	form    string
	kind    Kind
	what    string
}

// search reports each secret once per stream and form.
func (w *Watch) search(b []byte) []hit {
	w.mu.Lock()
	defer w.mu.Unlock()
	type key struct {
		secret, form string
		kind         Kind
	}
	seen := map[key]bool{}
	var all []hit
	found := func(h hit) {
		k := key{h.secret, h.form, h.kind}
		if !seen[k] {
			seen[k] = true
			all = append(all, h)
		}
	}
	for _, view := range views(b) {
		w.index.find(view, found)
	}
	for _, s := range shapes() {
		for _, at := range s.pattern.FindAllIndex(b, -1) {
			if s.kind == ClientSecret && w.watched(b[at[0]:]) {
				continue
			}
			found(hit{needle{form: s.form, kind: s.kind, secret: s.what}, at[0], true})
		}
	}
	return all
}

// watched tells whether a planted secret at the beginning of b is one that the index knows.
func (w *Watch) watched(b []byte) bool {
	if len(b) < shortest {
		return false
	}
	for _, n := range w.index.needles[binary.LittleEndian.Uint64(b)] {
		if bytes.HasPrefix(b, n.bytes) {
			return true
		}
	}
	return false
}

// views are the content as it is, without what breaks lines and groups digits, and with URL escapes undone. Offsets in the later
// ones are of the view.
func views(b []byte) [][]byte {
	all := [][]byte{b}
	if s := squeeze(b); len(s) < len(b) {
		all = append(all, s)
	}
	if bytes.IndexByte(b, '%') >= 0 {
		if plain, err := url.PathUnescape(string(b)); err == nil {
			all = append(all, []byte(plain))
		} else {
			all = append(all, unescape(b))
		}
	}
	return all
}

// squeeze removes white space, colons, and the escapes of line ends in JSON and Go.
func squeeze(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ':':
		case c == '\\' && i+1 < len(b) && (b[i+1] == 'n' || b[i+1] == 'r' || b[i+1] == 't'):
			i++
		default:
			out = append(out, c)
		}
	}
	return out
}

// unescape undoes the URL escapes that are well formed, in content that has others too.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if s, err := url.PathUnescape(string(b[i : i+3])); err == nil {
				out = append(out, s...)
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}
