// Package secret holds the two faces of a secret: the Value, which cannot be printed, and the Ref, which can.
package secret

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Value is a secret in memory. It keeps the bytes in a closure, so no printer, encoder or debugger dump of a struct that holds one
// shows them: a named string type leaks through most of fmt, encoding/json and log/slog when it sits in an unexported field.
// The zero Value is empty.
type Value struct {
	open func() []byte
}

const hidden = "[secret]"

// New takes ownership of b; the caller must not keep it.
func New(b []byte) Value { return Value{open: func() []byte { return b }} }

// Use lends the bytes to f, which must not keep them. The zero Value lends nil.
func (v Value) Use(f func(b []byte) error) error {
	if v.open == nil {
		return f(nil)
	}
	return f(v.open())
}

// Empty tells whether there is nothing inside.
func (v Value) Empty() bool { return v.open == nil || len(v.open()) == 0 }

// Equal compares in constant time.
func (v Value) Equal(w Value) bool {
	var a, b []byte
	if v.open != nil {
		a = v.open()
	}
	if w.open != nil {
		b = w.open()
	}
	return subtle.ConstantTimeCompare(a, b) == 1
}

// String and the methods below hide the value from every printer of the standard library.
func (Value) String() string { return hidden }

// GoString hides the value from %#v.
func (Value) GoString() string { return hidden }

// Format hides the value from every verb.
func (Value) Format(s fmt.State, _ rune) { fmt.Fprint(s, hidden) }

// MarshalJSON writes the word [secret].
func (Value) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// MarshalText writes the word [secret].
func (Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the value from slog.
func (Value) LogValue() slog.Value { return slog.StringValue(hidden) }

// Ref names a key in a keystore; it holds no secret and may be logged and stored. Its text form is one of
//
//	keychain:<service>/<account>     the OS keychain; the account may contain / and #
//	age:<path>#<name>                an entry of an age-encrypted file store; the name may contain / and #, the path may not contain #
//	memory:<name>                    this process only
//
// Parts are percent-encoded where they contain a reserved character. The zero Ref names nothing.
type Ref struct {
	Backend string // "keychain", "age", "memory"
	Store   string // keychain: the service; age: the path of the store; memory: ""
	Name    string // keychain: the account; age and memory: the entry
}

// ErrRef says that a text is not a Ref. It does not echo the text, which may hold a secret by mistake.
var ErrRef = errors.New("not a key reference: want keychain:SERVICE/ACCOUNT, age:PATH#NAME or memory:NAME")

// ParseRef reads the text form. A reference with a query, an authority (where user info would be), an @ in a keychain's service or an
// unknown backend is refused: such a place is where people put PINs.
func ParseRef(s string) (Ref, error) {
	backend, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" || strings.HasPrefix(rest, "//") || strings.ContainsAny(rest, "?\x00\r\n") {
		return Ref{}, ErrRef
	}
	var r Ref
	switch backend {
	case "keychain":
		store, name, ok := strings.Cut(rest, "/")
		if !ok || strings.Contains(store, "@") {
			return Ref{}, ErrRef
		}
		r = Ref{Backend: backend, Store: store, Name: name}
	case "age":
		store, name, ok := strings.Cut(rest, "#")
		if !ok {
			return Ref{}, ErrRef
		}
		r = Ref{Backend: backend, Store: store, Name: name}
	case "memory":
		r = Ref{Backend: backend, Name: rest}
	default:
		return Ref{}, ErrRef
	}
	var err1, err2 error
	r.Store, err1 = url.PathUnescape(r.Store)
	r.Name, err2 = url.PathUnescape(r.Name)
	if err1 != nil || err2 != nil || r.Name == "" || (r.Store == "" && backend != "memory") || !printable(r.Store) || !printable(r.Name) {
		return Ref{}, ErrRef
	}
	return r, nil
}

// printable tells whether the text is valid UTF-8 without control characters: a Ref goes to terminals and into JSON.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// Zero tells whether the Ref names nothing.
func (r Ref) Zero() bool { return r == Ref{} }

// String is the text form; "" for the zero Ref.
func (r Ref) String() string {
	switch r.Backend {
	case "keychain":
		return "keychain:" + escape(r.Store, "/@") + "/" + escape(r.Name, "")
	case "age":
		return "age:" + noAuthority(escape(r.Store, "#")) + "#" + escape(r.Name, "")
	case "memory":
		return "memory:" + noAuthority(escape(r.Name, ""))
	}
	return ""
}

// MarshalText and UnmarshalText let a Ref stand in JSON and YAML as its text form.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form; empty text is the zero Ref.
func (r *Ref) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*r = Ref{}
		return nil
	}
	p, err := ParseRef(string(b))
	if err != nil {
		return err
	}
	*r = p
	return nil
}

// noAuthority encodes the first slash of two, which would begin an authority.
func noAuthority(s string) string {
	if strings.HasPrefix(s, "//") {
		return "%2F" + s[1:]
	}
	return s
}

// escape encodes what would read differently: the percent sign, the question mark, line ends, NUL and the separator.
func escape(s, separator string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' || c == '?' || c < 0x20 || strings.IndexByte(separator, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
