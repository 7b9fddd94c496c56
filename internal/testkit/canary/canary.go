// Package canary finds secrets where none may be.
//
// A test plants marked secrets ([New]) or tells which real ones exist ([Watch.Text], [Watch.Key]), runs a story, and sweeps
// everything that the story left or showed: files, standard streams, arguments and environments of child processes. A secret is
// found in each form in which programs write such bytes down: raw, hex, base64 of either alphabet at any alignment and with line
// breaks, PEM, decimal numbers, escaped in a URL or in JSON, or as base64 or hex of any of the PEM forms.
//
// Where a stream must hold a secret, an [Excuse] says so by the exact names of story and stream, and says under which of the product's
// named exceptions; it forgives that exception's kind of secret and no other.
package canary

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// Kind is what a secret is for. It decides which exception can forgive its sight.
type Kind string

// The kinds.
const (
	PrivateKey   Kind = "private-key"   // of an agent: nothing forgives it
	ClientSecret Kind = "client-secret" // nothing forgives it
	VaultValue   Kind = "vault-value"
	HeaderValue  Kind = "header-value" // per-run header of the managed-identity endpoint
	LocalCloud   Kind = "local-cloud"  // keys, test operators and management token of the local cloud
	AccessToken  Kind = "access-token"
	AdminToken   Kind = "admin-token" // admin token, login link, session cookie
)

// Exception is one of the places where the product may show a secret, and the only ones.
type Exception string

// The exceptions, in the order in which the threat model lists them.
const (
	ForAgentEnvironment Exception = "a" // a Key Vault value that the spec lists, in the agent's environment or a tmpfs file
	ForEndpointHeader   Exception = "b" // the header value, in the agent's environment
	ForRunFolder        Exception = "c" // the local cloud's own secrets, 0600 in its run folder
	ForTokenAnswer      Exception = "d" // an access token as the answer to its own agent, or alone on stdout
	ForAdminOnce        Exception = "e" // an admin token or login link, once, on stdout; the session cookie
)

// forgives tells whether the exception is about that kind of secret. unknown is a secret that was recognised by its shape alone.
func (e Exception) forgives(k Kind, unknown bool) bool {
	switch e {
	case ForAgentEnvironment:
		return k == VaultValue
	case ForEndpointHeader:
		return k == HeaderValue
	case ForRunFolder: // its keys need not be known to the test; an agent's key that is known is still a leak there
		return k == LocalCloud || (k == PrivateKey && unknown)
	case ForTokenAnswer:
		return k == AccessToken
	case ForAdminOnce:
		return k == AdminToken
	}
	return false
}

// Excuse lets one stream of one story hold one exception's secrets. Names are compared as they are; there are no patterns.
type Excuse struct {
	Story     string
	Stream    string // "stdout", "environ:NAME", "argv", or a file's path below the swept folder, with slashes
	Exception Exception
}

// Leak is a secret that was seen. It does not show it.
type Leak struct {
	Story  string
	Stream string
	Offset int // in bytes; -1 in the stream's own name
	Secret string
	Kind   Kind
	Form   string // "base64", "PEM line, hex", …
	Why    string // why an excuse did not hold; "" if there was none
}

// String is one line for a person.
func (l Leak) String() string {
	s := fmt.Sprintf("%s: %s shows %s (%s) as %s at byte %d", l.Story, l.Stream, l.Secret, l.Kind, l.Form, l.Offset)
	if l.Why != "" {
		s += ": " + l.Why
	}
	return s
}

// mark begins every planted secret, so that one which nobody watches for is recognised too.
const mark = "lkcanary-"

// New makes a secret that no other test has: the mark, its kind and 128 random bits in hex.
func New(k Kind) string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return mark + string(k) + "-" + hex.EncodeToString(b)
}
