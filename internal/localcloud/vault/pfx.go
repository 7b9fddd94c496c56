package vault

import (
	"bytes"
	"crypto"
	"crypto/cipher"
	"crypto/des" // PKCS #12
	"crypto/hmac"
	"crypto/sha1" // PKCS #12
	"crypto/x509"
	"encoding/asn1"
	"hash"
	"math/big"
	"slices"
	"unicode/utf16"
)

// The object identifiers of PKCS #12 (RFC 7292) and PKCS #5 (RFC 8018).
var (
	oidData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncrypted   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidKeyBag      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShroudedBag = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidCertBag     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidX509        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidLocalKeyID  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 21}
	oidTripleDES   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 3}
	oidRC2         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 6}
	oidSHA1        = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
)

type algorithm struct {
	ID     asn1.ObjectIdentifier
	Params asn1.RawValue `asn1:"optional"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

type pfxFile struct {
	Version int
	Safe    contentInfo
	MAC     macData `asn1:"optional"`
}

type macData struct {
	Digest     digestInfo
	Salt       []byte
	Iterations int `asn1:"optional,default:1"`
}

type digestInfo struct {
	Algorithm algorithm
	Digest    []byte
}

type safeBag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue  `asn1:"tag:0,explicit"`
	Attributes []bagAttribute `asn1:"set,optional"`
}

type bagAttribute struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"set"`
}

type certBag struct {
	ID   asn1.ObjectIdentifier
	Data []byte `asn1:"tag:0,explicit"`
}

type shrouded struct {
	Algorithm algorithm
	Data      []byte
}

type pbeParams struct {
	Salt       []byte
	Iterations int
}

// pfxIterations is that of most writers. It protects nothing here: the password is empty.
const pfxIterations = 2000

// encodePFX makes the PKCS #12 file that a vault gives as a secret: without a password (Microsoft, "Get started with Key Vault
// certificates": the private key is exported with an empty password) and in the oldest algorithms, because readers such as
// golang.org/x/crypto/pkcs12, by which azidentity reads certificates, know no others. key nil leaves the key out.
func encodePFX(random func(int) []byte, key crypto.Signer, chain []*x509.Certificate) ([]byte, error) {
	secret := bmpString("")
	id := sha1.Sum(chain[0].Raw)
	mark, err := localKeyID(id[:])
	if err != nil {
		return nil, err
	}
	var certs, keys []safeBag
	for i, c := range chain {
		bag, err := bagOf(oidCertBag, certBag{oidX509, c.Raw})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			bag.Attributes = mark
		}
		certs = append(certs, bag)
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		box, err := shroud(random(8), der, secret)
		if err != nil {
			return nil, err
		}
		bag, err := bagOf(oidShroudedBag, box)
		if err != nil {
			return nil, err
		}
		bag.Attributes = mark
		keys = append(keys, bag)
	}
	var parts []contentInfo
	for _, bags := range [][]safeBag{certs, keys} { // two, even if one is empty: some readers insist
		der, err := asn1.Marshal(bags)
		if err != nil {
			return nil, err
		}
		info, err := dataOf(der)
		if err != nil {
			return nil, err
		}
		parts = append(parts, info)
	}
	safe, err := asn1.Marshal(parts)
	if err != nil {
		return nil, err
	}
	salt := random(8)
	mac := hmac.New(sha1.New, pkcs12KDF(secret, salt, pfxIterations, 3, 20))
	mac.Write(safe)
	file := pfxFile{Version: 3, MAC: macData{Digest: digestInfo{algorithm{ID: oidSHA1, Params: asn1.NullRawValue}, mac.Sum(nil)}, Salt: salt, Iterations: pfxIterations}}
	if file.Safe, err = dataOf(safe); err != nil {
		return nil, err
	}
	return asn1.Marshal(file)
}

func dataOf(content []byte) (contentInfo, error) {
	octets, err := asn1.Marshal(content)
	return contentInfo{oidData, explicit(octets)}, err
}

// explicit is der in a context tag 0. (A raw value is written as it is, tag and all, whatever the field says.)
func explicit(der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}
}

func bagOf(id asn1.ObjectIdentifier, value any) (safeBag, error) {
	der, err := asn1.Marshal(value)
	return safeBag{ID: id, Value: explicit(der)}, err
}

// localKeyID binds a key to its certificate.
func localKeyID(id []byte) ([]bagAttribute, error) {
	der, err := asn1.Marshal(id)
	return []bagAttribute{{oidLocalKeyID, asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: der}}}, err
}

// shroud encrypts a PKCS #8 key.
func shroud(salt, der, secret []byte) (shrouded, error) {
	params, err := asn1.Marshal(pbeParams{salt, pfxIterations})
	if err != nil {
		return shrouded{}, err
	}
	block, err := des.NewTripleDESCipher(pkcs12KDF(secret, salt, pfxIterations, 1, 24))
	if err != nil {
		return shrouded{}, err
	}
	pad := block.BlockSize() - len(der)%block.BlockSize()
	padded := slices.Concat(der, bytes.Repeat([]byte{byte(pad)}, pad))
	cipher.NewCBCEncrypter(block, pkcs12KDF(secret, salt, pfxIterations, 2, 8)).CryptBlocks(padded, padded)
	return shrouded{algorithm{ID: oidTripleDES, Params: asn1.RawValue{FullBytes: params}}, padded}, nil
}

// bmpString is a password as PKCS #12 takes it: UTF-16, with a terminator (RFC 7292 appendix B.1).
func bmpString(s string) []byte {
	var out []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		out = append(out, byte(u>>8), byte(u))
	}
	return out
}

// pkcs12KDF is kdf with SHA-1.
func pkcs12KDF(secret, salt []byte, iterations int, purpose byte, size int) []byte {
	return kdf(sha1.New, secret, salt, iterations, purpose, size)
}

// kdf derives size bytes: 1 a key, 2 an initial vector, 3 a key of the MAC (RFC 7292 appendix B.2).
func kdf(h func() hash.Hash, secret, salt []byte, iterations int, purpose byte, size int) []byte {
	sum := h()
	u, v := sum.Size(), sum.BlockSize()
	fill := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		n := (len(b) + v - 1) / v * v
		return bytes.Repeat(b, n/len(b)+1)[:n]
	}
	d, i := bytes.Repeat([]byte{purpose}, v), slices.Concat(fill(salt), fill(secret))
	modulus := new(big.Int).Lsh(big.NewInt(1), uint(v)*8)
	var out []byte
	for {
		a := slices.Concat(d, i)
		for range iterations {
			sum.Reset()
			sum.Write(a)
			a = sum.Sum(a[:0])
		}
		if out = append(out, a[:u]...); len(out) >= size {
			return out[:size]
		}
		b := new(big.Int).SetBytes(bytes.Repeat(a, v/u+1)[:v])
		b.Add(b, big.NewInt(1))
		for j := 0; j < len(i); j += v {
			x := new(big.Int).SetBytes(i[j : j+v])
			x.Add(x, b).Mod(x, modulus)
			x.FillBytes(i[j : j+v])
		}
	}
}
