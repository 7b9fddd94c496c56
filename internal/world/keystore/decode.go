package keystore

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	pemPKCS8     = "PRIVATE KEY"
	pemPKCS1     = "RSA PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"

	// maxEncoded bounds what is parsed: the longest honest input is a bundle of an RSA-3072 key and a certificate, in hex.
	maxEncoded = 64 << 10
)

// DecodeKey reads a private key in each form in which keychains have been seen to give one back:
//
//   - PEM of PKCS#8 or PKCS#1, alone or in a bundle with certificates (which are passed over)
//   - the same in bare hex, which is how macOS' security tool prints content that has line ends
//   - the same after go-keyring's prefixes "go-keyring-base64:" and "go-keyring-encoded:" (hex), when something other than
//     go-keyring read the entry
//
// Exactly one key must be inside, RSA of 2048 or 3072 bits. fault.Corrupt if the bytes are no key, fault.Refused if the key is of
// a size or kind that we do not keep. Errors never show any of b, nor does DecodeKey change or keep b.
func DecodeKey(b []byte) (crypto.Signer, error) {
	if len(b) > maxEncoded {
		return nil, corrupt("too long for a private key")
	}
	text, err := unwrap(bytes.TrimSpace(b))
	if err != nil {
		return nil, err
	}
	var found *rsa.PrivateKey
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			continue
		}
		k, err := parseBlock(block)
		clear(block.Bytes)
		if err != nil {
			return nil, err
		}
		if found != nil {
			return nil, corrupt("more than one private key")
		}
		found = k
	}
	if found == nil {
		return nil, corrupt("no private key in PEM form")
	}
	if err := checkPrivate(found); err != nil {
		return nil, err
	}
	return hide(found), nil
}

// DecodeCertificate reads the certificate of the first private key in an entry, in the forms that DecodeKey reads: fault.NotFound if the
// entry holds none of that key.
func DecodeCertificate(b []byte) ([]byte, error) {
	key, err := DecodeKey(b)
	if err != nil {
		return nil, err
	}
	text, err := unwrap(bytes.TrimSpace(b))
	if err != nil {
		return nil, err
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fault.New(fault.NotFound, "no certificate lies beside the key", "")
		}
		if block.Type != "CERTIFICATE" {
			clear(block.Bytes)
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && Matches(cert, key) == nil {
			return cert.Raw, nil
		}
	}
}

// unwrap takes off what other programs put around the PEM.
func unwrap(b []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(b, []byte("go-keyring-base64:")); ok {
		out := make([]byte, base64.StdEncoding.DecodedLen(len(rest)))
		n, err := base64.StdEncoding.Decode(out, rest)
		if err != nil {
			return nil, corrupt("not base64 after go-keyring's prefix")
		}
		return out[:n], nil
	}
	if rest, ok := bytes.CutPrefix(b, []byte("go-keyring-encoded:")); ok {
		out, err := unhex(rest)
		if err != nil {
			return nil, corrupt("not hex after go-keyring's prefix")
		}
		return out, nil
	}
	// PEM contains dashes, so hex and PEM cannot be mistaken for each other.
	if out, err := unhex(b); err == nil {
		return out, nil
	}
	return b, nil
}

func unhex(b []byte) ([]byte, error) {
	out := make([]byte, hex.DecodedLen(len(b)))
	_, err := hex.Decode(out, b)
	return out, err
}

func parseBlock(block *pem.Block) (*rsa.PrivateKey, error) {
	// "Proc-Type: 4,ENCRYPTED" of RFC 1421.
	if block.Type == pemEncrypted || block.Headers["DEK-Info"] != "" {
		return nil, fault.New(fault.Refused, "private key is protected by a password of its own",
			"decrypt it first, or make a new key by rotation")
	}
	switch block.Type {
	case pemPKCS8:
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, corrupt("not a PKCS#8 private key")
		}
		if r, ok := k.(*rsa.PrivateKey); ok {
			return r, nil
		}
		return nil, fault.New(fault.Refused, "private key is not RSA", "Entra takes RSA keys as certificate credentials")
	case pemPKCS1:
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, corrupt("not a PKCS#1 private key")
		}
		return k, nil
	}
	return nil, corrupt("a PEM block that is neither private key nor certificate")
}

func corrupt(what string) error {
	return fault.New(fault.Corrupt, "stored key does not read: "+what, "")
}
