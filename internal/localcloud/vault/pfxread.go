package vault

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // PKCS #12
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" // PKCS #12
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"hash"
	"slices"
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

var (
	errPFX      = errors.New("it is no PKCS #12 file in DER with a MAC")
	errPassword = errors.New("the password is wrong, or the file is damaged")
	errRC2      = errors.New("it is encrypted with RC2, which the local cloud does not read; export it with AES or triple DES")
	errPBE      = errors.New("it is encrypted with an algorithm that the local cloud does not read; export it with AES or triple DES")
)

// maxIterations bounds what a file may cost to read; writers take some thousands.
const maxIterations = 600_000

type encryptedData struct {
	Version int
	Info    struct {
		Type      asn1.ObjectIdentifier
		Algorithm algorithm
		Content   []byte `asn1:"tag:0,optional"`
	}
}

// decodePFX reads a PKCS #12 file with one key (RFC 7292), in the algorithms of today (PBES2 with AES) or with triple DES.
func decodePFX(der []byte, password string) (crypto.Signer, []*x509.Certificate, error) {
	var file pfxFile
	if rest, err := asn1.Unmarshal(der, &file); err != nil || len(rest) > 0 || file.Version != 3 || !file.Safe.Type.Equal(oidData) {
		return nil, nil, errPFX
	}
	safe, err := octets(file.Safe)
	if err != nil {
		return nil, nil, err
	}
	secret, err := file.MAC.open(safe, password)
	if err != nil {
		return nil, nil, err
	}
	var parts []contentInfo
	if rest, err := asn1.Unmarshal(safe, &parts); err != nil || len(rest) > 0 {
		return nil, nil, errPFX
	}
	var read pfxContent
	for _, part := range parts {
		content, err := part.open(secret, password)
		if err != nil {
			return nil, nil, err
		}
		var bags []safeBag
		if rest, err := asn1.Unmarshal(content, &bags); err != nil || len(rest) > 0 {
			return nil, nil, errPFX
		}
		for _, bag := range bags {
			if err := read.add(bag, secret, password); err != nil {
				return nil, nil, err
			}
		}
	}
	if read.key == nil || len(read.chain) == 0 {
		return nil, nil, errors.New("it lacks the key or the certificate")
	}
	return read.key, read.chain, nil
}

// pfxContent is what the bags of a file hold.
type pfxContent struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

func (p *pfxContent) add(bag safeBag, secret []byte, password string) error {
	der := bag.Value.Bytes
	switch {
	case bag.ID.Equal(oidCertBag):
		var c certBag
		if _, err := asn1.Unmarshal(der, &c); err != nil || !c.ID.Equal(oidX509) {
			return errPFX
		}
		cert, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return errors.New("a certificate does not read")
		}
		p.chain = append(p.chain, cert)
		return nil
	case bag.ID.Equal(oidShroudedBag):
		var box shrouded
		if _, err := asn1.Unmarshal(der, &box); err != nil {
			return errPFX
		}
		var err error
		if der, err = box.Algorithm.decrypt(box.Data, secret, password); err != nil {
			return err
		}
	case !bag.ID.Equal(oidKeyBag):
		return nil // a revocation list or a secret
	}
	if p.key != nil {
		return errors.New("it has more than one key")
	}
	key, err := parseKey(der)
	if err != nil {
		return errors.New("the key does not read")
	}
	p.key = key
	return nil
}

// octets is the content of plain data.
func octets(c contentInfo) ([]byte, error) {
	var out []byte
	if rest, err := asn1.Unmarshal(c.Content.Bytes, &out); err != nil || len(rest) > 0 {
		return nil, errPFX
	}
	return out, nil
}

func (c contentInfo) open(secret []byte, password string) ([]byte, error) {
	if c.Type.Equal(oidData) {
		return octets(c)
	}
	var e encryptedData
	if !c.Type.Equal(oidEncrypted) {
		return nil, errPFX
	}
	if _, err := asn1.Unmarshal(c.Content.Bytes, &e); err != nil {
		return nil, errPFX
	}
	return e.Info.Algorithm.decrypt(e.Info.Content, secret, password)
}

// open checks the MAC and tells the password in the form by which it holds: an empty one is written with its terminator, and by some
// without.
func (m macData) open(content []byte, password string) ([]byte, error) {
	if m.Iterations < 1 || m.Iterations > maxIterations || len(m.Salt) == 0 {
		return nil, errPFX
	}
	forms := [][]byte{bmpString(password)}
	if password == "" {
		forms = append(forms, nil)
	}
	h, _ := hashOf(m.Digest.Algorithm.ID)
	if h == nil {
		return nil, errPBE
	}
	for _, secret := range forms {
		mac := hmac.New(h, kdf(h, secret, m.Salt, m.Iterations, 3, h().Size()))
		mac.Write(content)
		if hmac.Equal(mac.Sum(nil), m.Digest.Digest) {
			return secret, nil
		}
	}
	return nil, errPassword
}

// hashOf finds a hash by its own identifier or by that of its HMAC.
func hashOf(id asn1.ObjectIdentifier) (h func() hash.Hash, known bool) {
	h, known = map[string]func() hash.Hash{
		oidSHA1.String(): sha1.New, "1.2.840.113549.2.7": sha1.New,
		"2.16.840.1.101.3.4.2.1": sha256.New, "1.2.840.113549.2.9": sha256.New,
		"2.16.840.1.101.3.4.2.2": sha512.New384, "1.2.840.113549.2.10": sha512.New384,
		"2.16.840.1.101.3.4.2.3": sha512.New, "1.2.840.113549.2.11": sha512.New,
	}[id.String()]
	return h, known
}

func (a algorithm) decrypt(data, secret []byte, password string) ([]byte, error) {
	var block cipher.Block
	var iv []byte
	var err error
	switch {
	case a.ID.Equal(oidTripleDES):
		var p pbeParams
		if _, bad := asn1.Unmarshal(a.Params.FullBytes, &p); bad != nil || p.Iterations < 1 || p.Iterations > maxIterations {
			return nil, errPFX
		}
		iv = kdf(sha1.New, secret, p.Salt, p.Iterations, 2, des.BlockSize)
		block, err = des.NewTripleDESCipher(kdf(sha1.New, secret, p.Salt, p.Iterations, 1, 24))
	case a.ID.Equal(oidPBES2):
		block, iv, err = pbes2(a.Params.FullBytes, password)
	case a.ID.Equal(oidRC2):
		return nil, errRC2
	default:
		return nil, errPBE
	}
	if err != nil {
		return nil, err
	}
	return unpad(block, iv, data)
}

// pbes2 makes the cipher of RFC 8018 section 6.2.
func pbes2(params []byte, password string) (cipher.Block, []byte, error) {
	var p struct{ KDF, Cipher algorithm }
	if _, err := asn1.Unmarshal(params, &p); err != nil || !p.KDF.ID.Equal(oidPBKDF2) {
		return nil, nil, errPBE
	}
	var k struct {
		Salt       []byte
		Iterations int
		Size       int       `asn1:"optional"`
		PRF        algorithm `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(p.KDF.Params.FullBytes, &k); err != nil || k.Iterations < 1 || k.Iterations > maxIterations {
		return nil, nil, errPFX
	}
	prf := sha1.New
	if k.PRF.ID != nil {
		var known bool
		if prf, known = hashOf(k.PRF.ID); !known {
			return nil, nil, errPBE
		}
	}
	size := map[string]int{"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32}[p.Cipher.ID.String()]
	var iv []byte
	if _, err := asn1.Unmarshal(p.Cipher.Params.FullBytes, &iv); err != nil || size == 0 || len(iv) != aes.BlockSize {
		return nil, nil, errPBE
	}
	key, err := pbkdf2.Key(prf, password, k.Salt, k.Iterations, size)
	if err != nil {
		return nil, nil, errPBE
	}
	block, err := aes.NewCipher(key)
	return block, iv, err
}

// unpad decrypts in CBC mode and takes the padding off. The MAC has been checked, so that what it tells is no oracle.
func unpad(block cipher.Block, iv, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(data) == 0 || len(data)%size != 0 {
		return nil, errPFX
	}
	out := slices.Clone(data)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, out)
	pad := int(out[len(out)-1])
	if pad < 1 || pad > size || !bytes.Equal(out[len(out)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errPassword
	}
	return out[:len(out)-pad], nil
}
