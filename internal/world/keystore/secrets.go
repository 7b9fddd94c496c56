package keystore

import (
	"bytes"
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Secrets is the power to keep small secrets that are not keys, such as the refresh token of `leastkey login`. All backends have it.
// Keys and secrets have names of their own: a secret called x is no key called x, and neither List nor Open shows it.
//
// The rules for names, contexts and concurrent calls are those of Store.
type Secrets interface {
	// PutSecret stores v under name in place of what was there. The secret is read back before PutSecret returns. A process killed
	// on the way leaves the old secret or the new one.
	// fault.Invalid: the name is unfit, or v is empty. fault.Refused: v is longer than this store keeps; the old secret stays.
	PutSecret(ctx context.Context, name string, v secret.Value) error

	// Secret returns what was put last. fault.NotFound means that the store was asked and answered that there is none; a lookup that
	// could not be made has another code, as with Open.
	Secret(ctx context.Context, name string) (secret.Value, error)

	// DeleteSecret removes the secret and looks again; nil also when there was none. It may be called twice.
	DeleteSecret(ctx context.Context, name string) error
}

// MaxSecret is the longest secret in bytes that agefile and memory keep. keychain keeps less.
const MaxSecret = 64 << 10

// reserved begins the entry of every secret, and the name of no key. The keychains of macOS and Windows know entries by service and
// account only, so the account itself has to tell a secret from a key.
const reserved = "secret"

// SecretEntry is the entry under which a backend keeps the secret of that name: fault.Invalid if no store can keep it.
func SecretEntry(name string) (string, error) {
	entry := reserved + ":" + name
	if name == "" {
		return "", fault.New(fault.Invalid, "secret name is empty", "")
	}
	if err := checkText("secret", entry); err != nil {
		return "", err
	}
	return entry, nil
}

// SecretName is the name of the secret that entry belongs to; false if it is not the entry of a secret.
func SecretName(entry string) (string, bool) {
	name, ok := strings.CutPrefix(entry, reserved+":")
	if _, err := SecretEntry(name); !ok || err != nil {
		return "", false
	}
	return name, true
}

// looksReserved disregards case, as the Windows Credential Manager does when it compares names.
func looksReserved(name string) bool {
	before, _, ok := strings.Cut(name, ":")
	return ok && strings.EqualFold(before, reserved)
}

// CopySecret is a copy of v that shares no memory with it, for a backend to keep: fault.Invalid if v is empty, fault.Refused with hint
// if it is longer than limit bytes.
func CopySecret(v secret.Value, limit int, hint string) (secret.Value, error) {
	if v.Empty() {
		return secret.Value{}, fault.New(fault.Invalid, "secret is empty", "")
	}
	var own []byte
	err := v.Use(func(b []byte) error {
		if len(b) > limit {
			return fault.Newf(fault.Refused, "secret is too long: this keystore keeps at most %d bytes", limit).WithHint("%s", hint)
		}
		own = bytes.Clone(b)
		return nil
	})
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(own), nil
}

// SameSecret tells whether stored, as a store gave it back, is want: fault.Corrupt if not.
func SameSecret(stored, want secret.Value) error {
	if !stored.Equal(want) {
		return fault.New(fault.Corrupt, "what the keystore gave back is not the secret that was written", "")
	}
	return nil
}
