package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // RSA-OAEP is with SHA-1 (RFC 7518 section 4.3)
	"crypto/sha256"
	_ "crypto/sha512" // PS384 and PS512
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// use is one operation with a key. Outside the time of its validity a key still opens and verifies what was made with it (Microsoft,
// "About keys": date-time controlled operations).
type use struct {
	name   string // as in key_ops
	need   right
	always bool // whatever nbf and exp say
	do     func(k keyVersion, kid string, in usage) (any, *reply)
}

func uses() []use {
	return []use{
		{"sign", right{"keys/sign/action", "sign"}, false, sign},
		{"verify", right{"keys/verify/action", "verify"}, true, verify},
		{"encrypt", right{"keys/encrypt/action", "encrypt"}, false, encrypt},
		{"decrypt", right{"keys/decrypt/action", "decrypt"}, true, decrypt},
		{"wrapKey", right{"keys/wrap/action", "wrapKey"}, false, encrypt},
		{"unwrapKey", right{"keys/unwrap/action", "unwrapKey"}, true, decrypt},
	}
}

// usage is the body of such an operation.
type usage struct {
	Algorithm string `json:"alg"`
	Value     b64    `json:"value"`
	Digest    b64    `json:"digest"` // of verify, where value is the signature
}

// useKey answers the operations with a key.
func (s *Service) useKey(v replica.View, c *call, operation, id string) reply {
	name := c.path[1]
	i := slices.IndexFunc(uses(), func(u use) bool { return strings.EqualFold(u.name, operation) })
	if i < 0 {
		return s.unknown(c)
	}
	u := uses()[i]
	if r := s.may(v, c, u.need, name); r != nil {
		return *r
	}
	e, found := s.keys.live(v, c.vault, name)
	if !found {
		return s.keys.notFound(name)
	}
	version, found := s.keys.version(e, id)
	if !found {
		return s.keys.notFound(name + "/" + id)
	}
	if r := version.usable(u, s.env.Now().Unix()); r != nil {
		return *r
	}
	var body usage
	if c.decode(&body) != nil {
		return badParameter("Content of 'value' is not base64url.\r\nProperty 'value' is required.\r\n")
	}
	if body.Algorithm == "" || body.Value == nil {
		return badParameter("Property 'alg' and property 'value' are required.\r\n")
	}
	kid := c.base + "/keys/" + e.Name + "/" + version.ID
	c.work = func() *reply {
		out, bad := u.do(version, kid, body)
		if bad != nil {
			return bad
		}
		if u.name == "verify" {
			return refused(ok(object{"value": out}))
		}
		return refused(ok(object{"kid": kid, "value": out}))
	}
	return reply{}
}

// usable is nil if the key may be used so at the time, in Unix seconds.
func (k keyVersion) usable(u use, now int64) *reply {
	switch {
	case !k.Enabled:
		return refused(keyDisabled(u.name))
	case !u.always && k.NotBefore != nil && now < *k.NotBefore:
		return refused(fail(http.StatusForbidden, "Forbidden", "KeyNotYetValid", "Operation %s is not allowed on a key that is not yet valid.", u.name))
	case !u.always && k.Expires != nil && now >= *k.Expires:
		return refused(fail(http.StatusForbidden, "Forbidden", "KeyExpired", "Operation %s is not allowed on an expired key.", u.name))
	case !slices.Contains(k.Operations, u.name):
		return refused(fail(http.StatusForbidden, "Forbidden", "KeyOperationForbidden", "Operation %s is not permitted on this key.", u.name))
	}
	return nil
}

// signing is an algorithm of RFC 7518 section 3.
type signing struct {
	hash  crypto.Hash
	pss   bool
	curve string // "" for RSA
}

func signings(name string) (signing, bool) {
	a, known := map[string]signing{
		"RS256": {hash: crypto.SHA256}, "RS384": {hash: crypto.SHA384}, "RS512": {hash: crypto.SHA512},
		"PS256": {hash: crypto.SHA256, pss: true}, "PS384": {hash: crypto.SHA384, pss: true}, "PS512": {hash: crypto.SHA512, pss: true},
		"ES256": {hash: crypto.SHA256, curve: "P-256"}, "ES384": {hash: crypto.SHA384, curve: "P-384"}, "ES512": {hash: crypto.SHA512, curve: "P-521"},
	}[name]
	return a, known
}

// signingFor is the algorithm, if it is one for the key and the digest has its length. The refusals are in the words that clients report.
func signingFor(k keyVersion, kid, name string, digest []byte, property string) (signing, *reply) {
	a, known := signings(name)
	kind := "RSA"
	if a.curve != "" {
		kind = "EC"
	}
	switch {
	case !known:
		return a, refused(badParameter("Unknown or unsupported algorithm: %s", name))
	case kind != k.Public.Type:
		return a, refused(badParameter("Key and signing algorithm are incompatible. Key %s is of type '%s', and algorithm '%s' can only be used with a key of type '%s' or '%s-HSM'.", kid, k.Public.Type, name, kind, kind))
	case a.curve != k.Public.Curve:
		return a, refused(badParameter("Key and signing algorithm are incompatible. Key %s uses curve '%s', and algorithm '%s' can only be used with curve '%s'.", kid, k.Public.Curve, name, a.curve))
	case len(digest) != a.hash.Size():
		return a, refused(badParameter("Invalid length of '%s': %d bytes. %s requires %d bytes, encoded with base64url.", property, len(digest), name, a.hash.Size()))
	}
	return a, nil
}

func unusable(error) *reply {
	return refused(fail(http.StatusInternalServerError, "InternalError", "", "The key could not be used."))
}

func sign(k keyVersion, kid string, in usage) (any, *reply) {
	a, bad := signingFor(k, kid, in.Algorithm, in.Value, "value")
	if bad != nil {
		return nil, bad
	}
	key, err := k.signer()
	if err != nil {
		return nil, unusable(err)
	}
	var signature []byte
	switch key := key.(type) {
	case *ecdsa.PrivateKey: // the two numbers, each of the curve's length (RFC 7518 section 3.4)
		r, s, err := ecdsa.Sign(rand.Reader, key, in.Value)
		if err != nil {
			return nil, unusable(err)
		}
		half := (key.Curve.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, half)), s.FillBytes(make([]byte, half))...)
	case *rsa.PrivateKey:
		if a.pss {
			signature, err = rsa.SignPSS(rand.Reader, key, a.hash, in.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, key, a.hash, in.Value)
		}
		if err != nil {
			return nil, unusable(err)
		}
	}
	return b64(signature), nil
}

func verify(k keyVersion, kid string, in usage) (any, *reply) {
	a, bad := signingFor(k, kid, in.Algorithm, in.Digest, "digest")
	if bad != nil {
		return nil, bad
	}
	key, err := k.signer()
	if err != nil {
		return nil, unusable(err)
	}
	switch key := key.Public().(type) {
	case *ecdsa.PublicKey:
		half := (key.Curve.Params().BitSize + 7) / 8
		if len(in.Value) != 2*half {
			return false, nil
		}
		return ecdsa.Verify(key, in.Digest, new(big.Int).SetBytes(in.Value[:half]), new(big.Int).SetBytes(in.Value[half:])), nil
	case *rsa.PublicKey:
		if a.pss {
			return rsa.VerifyPSS(key, a.hash, in.Digest, in.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil, nil
		}
		return rsa.VerifyPKCS1v15(key, a.hash, in.Digest, in.Value) == nil, nil
	}
	return false, nil
}

// rsaFor is the key, if the algorithm is one of RFC 7518 section 4 for it.
func rsaFor(k keyVersion, kid, algorithm string) (*rsa.PrivateKey, *reply) {
	switch algorithm {
	case "RSA-OAEP", "RSA-OAEP-256", "RSA1_5":
	default:
		return nil, refused(badParameter("Unknown or unsupported algorithm: %s", algorithm))
	}
	key, err := k.signer()
	if err != nil {
		return nil, unusable(err)
	}
	private, isRSA := key.(*rsa.PrivateKey)
	if !isRSA {
		return nil, refused(badParameter("Key and encryption algorithm are incompatible. Key %s is of type '%s', and algorithm '%s' can only be used with a key of type 'RSA' or 'RSA-HSM'.", kid, k.Public.Type, algorithm))
	}
	return private, nil
}

func encrypt(k keyVersion, kid string, in usage) (any, *reply) {
	key, bad := rsaFor(k, kid, in.Algorithm)
	if bad != nil {
		return nil, bad
	}
	var out []byte
	var err error
	switch in.Algorithm {
	case "RSA-OAEP":
		out, err = rsa.EncryptOAEP(sha1.New(), rand.Reader, &key.PublicKey, in.Value, nil)
	case "RSA-OAEP-256":
		out, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, in.Value, nil)
	default:
		//lint:ignore SA1019 Key Vault offers RSA1_5, and clients of old data still ask for it.
		out, err = rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, in.Value)
	}
	if err != nil {
		return nil, refused(badParameter("Invalid length of 'value': %d bytes are too many for algorithm %s with a key of %d bits.", len(in.Value), in.Algorithm, key.N.BitLen()))
	}
	return b64(out), nil
}

func decrypt(k keyVersion, kid string, in usage) (any, *reply) {
	key, bad := rsaFor(k, kid, in.Algorithm)
	if bad != nil {
		return nil, bad
	}
	var out []byte
	var err error
	switch in.Algorithm {
	case "RSA-OAEP":
		out, err = rsa.DecryptOAEP(sha1.New(), nil, key, in.Value, nil)
	case "RSA-OAEP-256":
		out, err = rsa.DecryptOAEP(sha256.New(), nil, key, in.Value, nil)
	default:
		//lint:ignore SA1019 Key Vault offers RSA1_5, and clients of old data still ask for it.
		out, err = rsa.DecryptPKCS1v15(nil, key, in.Value)
	}
	if err != nil {
		return nil, refused(badParameter("The parameter is incorrect.\r\n"))
	}
	return b64(out), nil
}
