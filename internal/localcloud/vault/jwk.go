package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
)

// errNotHeld says that a vault does not keep keys of such a type.
var errNotHeld = errors.New("it is no RSA key of 2048, 3072 or 4096 bits and no EC key on P-256, P-384 or P-521")

// b64 is bytes in the form of RFC 7515: base64url without padding. Padding is read too, which some clients send.
type b64 []byte

// MarshalText implements [encoding.TextMarshaler].
func (b b64) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *b64) UnmarshalText(text []byte) error {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(string(text), "="))
	*b = raw
	return err
}

// jwk is a JSON Web Key (RFC 7517 and RFC 7518 section 6). Private members are only ever read.
type jwk struct {
	ID         string   `json:"kid,omitempty"`
	Type       string   `json:"kty"`
	Operations []string `json:"key_ops,omitempty"`
	N          b64      `json:"n,omitempty"`
	E          b64      `json:"e,omitempty"`
	Curve      string   `json:"crv,omitempty"`
	X          b64      `json:"x,omitempty"`
	Y          b64      `json:"y,omitempty"`
	D          b64      `json:"d,omitempty"`
	P          b64      `json:"p,omitempty"`
	Q          b64      `json:"q,omitempty"`
}

// publicJWK is the public key as a JWK.
func publicJWK(key crypto.PublicKey) (jwk, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 2048, 3072, 4096:
			return jwk{Type: "RSA", N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes()}, nil
		}
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, X, Y
		if err != nil || curveOf(k.Curve.Params().Name) == nil {
			return jwk{}, errNotHeld
		}
		half := (len(point) - 1) / 2
		return jwk{Type: "EC", Curve: k.Curve.Params().Name, X: point[1 : 1+half], Y: point[1+half:]}, nil
	}
	return jwk{}, errNotHeld
}

// private is the private key that the JWK holds, checked.
func (k jwk) private() (crypto.Signer, error) {
	if k.Type == "EC" {
		return k.privateEC()
	}
	return k.privateRSA()
}

func (k jwk) privateRSA() (crypto.Signer, error) {
	n := new(big.Int).SetBytes(k.N)
	switch n.BitLen() {
	case 2048, 3072, 4096:
	default:
		return nil, errNotHeld
	}
	if len(k.D) > len(k.N) || len(k.P) > len(k.N) || len(k.Q) > len(k.N) || len(k.P) == 0 || len(k.Q) == 0 || len(k.E) == 0 || len(k.E) > 4 {
		return nil, errors.New("one of n, e, d, p and q is missing or too long")
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: n, E: int(new(big.Int).SetBytes(k.E).Int64())},
		D:         new(big.Int).SetBytes(k.D),
		Primes:    []*big.Int{new(big.Int).SetBytes(k.P), new(big.Int).SetBytes(k.Q)},
	}
	if key.Validate() != nil {
		return nil, errors.New("its members do not belong together")
	}
	key.Precompute()
	return key, nil
}

func (k jwk) privateEC() (crypto.Signer, error) {
	curve := curveOf(k.Curve)
	if curve == nil {
		return nil, errNotHeld
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(k.D) == 0 || len(k.D) > size {
		return nil, errors.New("d is missing or too long")
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, new(big.Int).SetBytes(k.D).FillBytes(make([]byte, size)))
	if err != nil {
		return nil, errors.New("d is out of range")
	}
	public, err := publicJWK(key.Public())
	if err != nil {
		return nil, err
	}
	if string(public.X) != string(k.X) || string(public.Y) != string(k.Y) {
		return nil, errors.New("its members do not belong together")
	}
	return key, nil
}
