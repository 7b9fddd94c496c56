// Package keystore keeps private keys by name and hands them out as crypto.Signer, never as bytes.
//
// The backends are keychain (what the operating system offers), agefile (a folder of age-encrypted files) and memory. All pass
// the suite in keystoretest. An entry is the PKCS#8 PEM of one RSA key and nothing else: a certificate is public and kept in the
// state, and key and certificate together do not fit the Windows Credential Manager.
package keystore

import (
	"context"
	"crypto"
	"strings"
	"unicode/utf8"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// AgentService is the keychain service under which the keys of agents are kept.
const AgentService = "leastkey-agent"

// Store holds private keys by name. An entry is written once and never changed: a new key is a new generation under a new name.
//
// Every method may be called by several goroutines and honours ctx: when ctx ends first the answer is fault.Unavailable (or
// fault.Busy while another process holds the lock), and whether a write took effect is unknown until Open is asked.
type Store interface {
	// Ref is what the entry of that name is called. It does no I/O and does not tell whether the entry exists.
	Ref(name string) secret.Ref

	// Create stores key under name. It looks first and never overwrites: fault.Conflict if the name is taken. The entry is read
	// back and compared before Create returns, so a key that was returned for can be relied on.
	// fault.Invalid: the name or the key is not fit for any store. fault.Unsupported: the key cannot be exported.
	Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error)

	// Open returns the key. fault.NotFound means that the store was asked and answered that there is none. A lookup that could
	// not be made has another code (Unavailable, Unauthenticated, Corrupt, Refused), so that nobody replaces a key that is only
	// out of reach.
	Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error)

	// Delete removes the entry and looks again; nil also when there was none. It may be called twice.
	Delete(ctx context.Context, ref secret.Ref) error
}

// Replacer is the power to change what an entry holds. Only the active slot of the Provisioner is ever changed: other programs know it
// by service and account alone. All backends have it.
type Replacer interface {
	// Replace stores key under name in place of what was there, or as a new entry. Whoever reads meanwhile finds the old key or the new
	// one, and so does whoever comes after a kill. The entry is read back and compared before Replace returns.
	Replace(ctx context.Context, name string, key crypto.Signer) error

	// Certificate is the certificate that lies beside the key in the entry, as the original Provisioner stored both together.
	// fault.NotFound: there is no such entry, or it is a key alone.
	Certificate(ctx context.Context, ref secret.Ref) (der []byte, err error)
}

// Lister is the power to name all entries, sorted. agefile and memory have it, and keychain where it talks to a Secret Service.
// The keychains of macOS and Windows lack it: their lists would show the entries of every other program.
type Lister interface {
	List(ctx context.Context) ([]string, error)
}

// maxName is the longest name in bytes. With a secret of the greatest length beside it, it keeps the line that macOS' security tool reads below its limit of 4,096 bytes.
const maxName = 256

// CheckName tells whether every store can keep a key of that name: fault.Invalid if not. Slashes, # and any letters are fine;
// control characters are not, because macOS' security tool reads its commands by the line. Names that begin "secret:" are those of
// Secrets.
func CheckName(name string) error {
	if looksReserved(name) {
		return fault.New(fault.Invalid, "key name begins with "+reserved+": as only the entries of secrets do", "")
	}
	return checkText("key", name)
}

func checkText(what, name string) error {
	switch {
	case name == "":
		return fault.New(fault.Invalid, what+" name is empty", "")
	case len(name) > maxName:
		return fault.Newf(fault.Invalid, "%s name is longer than %d bytes", what, maxName)
	case !utf8.ValidString(name):
		return fault.New(fault.Invalid, what+" name is not UTF-8", "")
	case strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fault.New(fault.Invalid, what+" name has a control character", "")
	}
	return nil
}

// CheckRef tells whether ref names an entry of s: fault.Invalid if not. A reference to another store that happens to hold an entry
// of the same name must not open that entry.
func CheckRef(s Store, ref secret.Ref) error {
	if ref.Zero() {
		return fault.New(fault.Invalid, "key reference is empty", "")
	}
	if err := CheckName(ref.Name); err != nil {
		return err
	}
	if s.Ref(ref.Name) != ref {
		return fault.Newf(fault.Invalid, "%s is not a reference into this keystore", ref)
	}
	return nil
}

// Interrupted is the fault of a call whose context ended before the store answered.
func Interrupted(op string, cause error) error {
	return &fault.Error{Code: fault.Unavailable, Op: op, Hint: "the keystore did not answer in time", Err: cause}
}
