package keystore

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// DefaultBits is the size of a new key.
const DefaultBits = 2048

// Key is an RSA key that signs and does not show itself. It keeps the private half in a closure, because fmt prints every
// number of an *rsa.PrivateKey that sits anywhere inside a printed struct.
type Key struct {
	open   func() *rsa.PrivateKey
	public *rsa.PublicKey
}

// Generate makes a new key. bits is 2048 or 3072; 0 means DefaultBits.
func Generate(bits int) (*Key, error) {
	if bits == 0 {
		bits = DefaultBits
	}
	if err := checkBits(bits); err != nil {
		return nil, err
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generate RSA key of %d bits: %w", bits, err)
	}
	return hide(k), nil
}

func hide(k *rsa.PrivateKey) *Key {
	// The public half is a copy, so that nobody reaches the private half through its address.
	public := &rsa.PublicKey{N: k.N, E: k.E}
	return &Key{open: func() *rsa.PrivateKey { return k }, public: public}
}

// Public returns an *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign signs digest as rsa.PrivateKey.Sign does: PKCS #1 v1.5, or PSS with *rsa.PSSOptions.
func (k *Key) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.open().Sign(random, digest, opts)
}

// String names the key without showing it.
func (k *Key) String() string { return fmt.Sprintf("[RSA-%d private key]", k.public.N.BitLen()) }

// Format is String for every verb.
func (k *Key) Format(s fmt.State, _ rune) { fmt.Fprint(s, k.String()) }

// MarshalJSON refuses: a key belongs in a keystore only.
func (k *Key) MarshalJSON() ([]byte, error) {
	return nil, fault.New(fault.Refused, "private keys are not encoded as JSON", "")
}

// checkBits lets through the sizes that every keychain can hold: the PKCS#8 PEM of RSA-3072 takes 2,484 bytes and the Windows
// Credential Manager holds 2,560 (CRED_MAX_CREDENTIAL_BLOB_SIZE, 5*512), so RSA-4096 with 3,272 bytes fits neither there nor in
// what macOS' security tool reads.
func checkBits(bits int) error {
	switch {
	case bits == 2048 || bits == 3072:
		return nil
	case bits > 3072:
		return fault.New(fault.Refused, fmt.Sprintf("RSA key of %d bits", bits),
			"use 3072 bits: a longer key does not fit the keychains of Windows and macOS")
	}
	return fault.New(fault.Refused, fmt.Sprintf("RSA key of %d bits", bits), "use 2048 or 3072 bits")
}

// private is the RSA key behind a signer, checked.
func private(key crypto.Signer) (*rsa.PrivateKey, error) {
	var k *rsa.PrivateKey
	switch s := key.(type) {
	case *Key:
		if s == nil {
			return nil, fault.New(fault.Invalid, "no key given", "")
		}
		k = s.open()
	case *rsa.PrivateKey:
		k = s
	case nil:
		return nil, fault.New(fault.Invalid, "no key given", "")
	default:
		return nil, fault.Newf(fault.Unsupported, "a key of type %T cannot be copied into a keystore", key)
	}
	if k == nil {
		return nil, fault.New(fault.Invalid, "no key given", "")
	}
	if err := checkPrivate(k); err != nil {
		return nil, err
	}
	return k, nil
}

func checkPrivate(k *rsa.PrivateKey) error {
	if k.N == nil {
		return fault.New(fault.Invalid, "RSA key is empty", "")
	}
	if err := checkBits(k.N.BitLen()); err != nil {
		return err
	}
	// The cause is left out: it comes from a parser of secret bytes.
	if len(k.Primes) != 2 || k.Validate() != nil {
		return fault.New(fault.Invalid, "RSA key is not valid", "")
	}
	return nil
}

// EncodeKey is the stored form of a key: PKCS#8 in PEM. Only backends call it.
func EncodeKey(key crypto.Signer) (secret.Value, error) {
	k, err := private(key)
	if err != nil {
		return secret.Value{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return secret.Value{}, fault.New(fault.Invalid, "RSA key cannot be encoded", "")
	}
	defer clear(der)
	return secret.New(pem.EncodeToMemory(&pem.Block{Type: pemPKCS8, Bytes: der})), nil
}

// SameKey tells whether stored, as a store gave it back, holds exactly the key whose stored form is want: fault.Corrupt if not.
func SameKey(stored []byte, want secret.Value) error {
	got, err := DecodeKey(stored)
	if err != nil {
		return fault.New(fault.Corrupt, "what the keystore gave back is not the key that was written", "")
	}
	again, err := EncodeKey(got)
	if err != nil || !again.Equal(want) {
		return fault.New(fault.Corrupt, "what the keystore gave back is not the key that was written", "")
	}
	return nil
}
