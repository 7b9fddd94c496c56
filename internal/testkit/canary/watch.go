package canary

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"sync"

	"filippo.io/age"
)

// Watch knows secrets in every form. The zero Watch knows none, and still recognises private keys in PEM, age identities, signed
// tokens and planted marks by their shape. It may be used by several goroutines.
type Watch struct {
	mu    sync.Mutex
	index index
}

// Plant makes a secret with [New] and watches for it.
func (w *Watch) Plant(k Kind, name string) string {
	s := New(k)
	if err := w.Text(k, name, []byte(s)); err != nil {
		panic("canary: " + err.Error()) // a mark is never too short
	}
	return s
}

// Text watches for a secret that is text, such as a password or a token. It is an error if it is so short that it would be found by
// chance.
func (w *Watch) Text(k Kind, name string, value []byte) error {
	if len(value) < shortest {
		return fmt.Errorf("%s has %d bytes: fewer than %d are found by chance", name, len(value), shortest)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(k, name, "", textForms(value))
	return nil
}

// Key watches for the private half of an RSA key: each of its secret numbers, so that it is found in every encoding that holds one of
// them, and each line of its PEM forms, so that it is found in encodings of those.
func (w *Watch) Key(k Kind, name string, key *rsa.PrivateKey) error {
	key.Precompute()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	numbers := []*big.Int{key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}
	for _, n := range append(numbers, key.Primes...) {
		w.number(k, name, n.Bytes())
	}
	w.lines(k, name, pkcs8, key.D.Bytes(), false)
	w.lines(k, name, x509.MarshalPKCS1PrivateKey(key), key.D.Bytes(), false)
	return nil
}

// curve is Key for an EC key, of which the local cloud's certificate authority has one.
func (w *Watch) curve(k Kind, name string, key *ecdsa.PrivateKey) error {
	d, err := key.Bytes()
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	w.number(k, name, d)
	w.lines(k, name, pkcs8, d, true)
	return nil
}

func (w *Watch) number(k Kind, name string, n []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(k, name, "", numberForms(n))
}

// lines watches for the lines of the key's PEM form that begin behind the private number d; public tells whether what follows d is the
// public half, which certificates show too.
func (w *Watch) lines(k Kind, name string, der, d []byte, public bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range secretLines(der, d, public) {
		w.add(k, name, "PEM line, ", textForms(line))
	}
}

// KeyPEM watches for the private keys in a PEM text, and is an error if there is none.
func (w *Watch) KeyPEM(k Kind, name string, text []byte) error {
	found := false
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		known, err := w.block(k, name, block)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		found = found || known
	}
	if !found {
		return fmt.Errorf("%s: no private key in it", name)
	}
	return nil
}

func (w *Watch) block(k Kind, name string, block *pem.Block) (bool, error) {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return true, w.Key(k, name, key)
	case *ecdsa.PrivateKey:
		return true, w.curve(k, name, key)
	}
	return false, fmt.Errorf("a %T is not watched for", key)
}

// AgeStore watches for everything in a folder of age files, and tells how many keys there are. identityFile opens them.
func (w *Watch) AgeStore(k Kind, dir, identityFile string) (int, error) {
	f, err := os.Open(identityFile)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	identities, err := age.ParseIdentities(f)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		known, err := w.ageFile(k, filepath.Join(dir, e.Name()), identities)
		if err != nil {
			return n, err
		}
		if known {
			n++
		}
	}
	return n, nil
}

func (w *Watch) ageFile(k Kind, path string, identities []age.Identity) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len("age-encryption.org/"))
	if _, err := io.ReadFull(f, head); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || (err == nil && string(head) != "age-encryption.org/") {
		return false, nil // a lock or an identity
	} else if err != nil {
		return false, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	r, err := age.Decrypt(f, identities...)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if kept, ok := bytes.CutPrefix(text, []byte(secretHeading)); ok { // beside the keys, such as an operator's sign-in
		_, value, ok := bytes.Cut(kept, []byte("\n"))
		if !ok {
			return false, fmt.Errorf("%s: it has another form than this package knows", path)
		}
		return false, w.Text(k, filepath.Base(path), value)
	}
	return true, w.KeyPEM(k, filepath.Base(path), text)
}

// secretHeading begins each file of a store that holds another secret than a key; the secret's name follows, and on the next line itself.
const secretHeading = "leastkey secret 1\n"

func (w *Watch) add(k Kind, name, prefix string, forms []form) {
	for _, f := range forms {
		w.index.add(needle{bytes: f.bytes, form: prefix + f.name, kind: k, secret: name})
	}
}
