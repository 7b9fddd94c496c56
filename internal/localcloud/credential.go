package localcloud

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Credential is a test credential of a local cloud: an operator's password, or the management token. It is worth nothing anywhere
// else, and all the same it hides from printers, so that a habit formed here is a good one. The zero value is empty.
type Credential struct{ reveal func() string }

// NewCredential hides s.
func NewCredential(s string) Credential { return Credential{func() string { return s }} }

// freshCredential has 256 bits of the operating system's randomness, whatever the cloud's seed.
func freshCredential() Credential {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return NewCredential(base64.RawURLEncoding.EncodeToString(b))
}

// Reveal returns the credential.
func (c Credential) Reveal() string {
	if c.reveal == nil {
		return ""
	}
	return c.reveal()
}

// matches compares in constant time; an empty credential matches nothing.
func (c Credential) matches(s string) bool {
	want := c.Reveal()
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(s)) == 1
}

const hidden = "[local cloud test credential]"

// String hides the value.
func (Credential) String() string { return hidden }

// Format hides the value from every verb.
func (Credential) Format(s fmt.State, _ rune) { fmt.Fprint(s, hidden) }

// MarshalJSON hides the value. Files that must hold it say so by calling Reveal.
func (Credential) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }
