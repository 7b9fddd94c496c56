package clients

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Certificate is a self-signed certificate with its RSA-2048 key, in memory and as PEM files.
type Certificate struct {
	Key, Cert, Both string // files: PKCS#8 key, certificate, key and certificate
	DER             []byte
	SHA1, SHA256    string // thumbprints in upper-case hex
	NotAfter        time.Time
	Signer          *rsa.PrivateKey
}

// Certificate makes a fresh one that has been valid for an hour and is for lifetime, which may be negative. Its files go with the home of
// the cloud. It panics when there is no space to write, or the name is one twice.
func (s *Suite) Certificate(name string, lifetime time.Duration) Certificate {
	c, err := newCertificate(filepath.Join(s.house.Home, "certificates"), name, lifetime)
	if err != nil {
		panic(err)
	}
	return c
}

func newCertificate(dir, name string, lifetime time.Duration) (Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Certificate{}, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return Certificate{}, err
	}
	now := time.Now()
	end := now.Add(lifetime)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(min(lifetime, 0) - time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return Certificate{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, err
	}
	file := func(kind string) string { return filepath.Join(dir, name+"."+kind+".pem") }
	c := Certificate{
		Key: file("key"), Cert: file("cert"), Both: file("both"), DER: der, NotAfter: end.Truncate(time.Second), Signer: key,
		SHA1: fmt.Sprintf("%X", sha1.Sum(der)), SHA256: fmt.Sprintf("%X", sha256.Sum256(der)),
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, content := range map[string][]byte{c.Key: private, c.Cert: public, c.Both: append(private, public...)} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return Certificate{}, err
		}
		_, err = f.Write(content)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return Certificate{}, err
		}
	}
	return c, nil
}

// Assertion signs a client assertion for the token endpoint (RFC 7523), as Microsoft's "Microsoft identity platform application
// authentication certificate credentials" describes it. Each call makes a new one.
func (c Certificate) Assertion(client, audience string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": audience, "iss": client, "sub": client, "jti": uuid.NewString(),
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	})
	sum := sha1.Sum(c.DER)
	t.Header["x5t"] = base64.RawURLEncoding.EncodeToString(sum[:])
	return t.SignedString(c.Signer)
}

// identifier is how Graph names the certificate where nobody else has: customKeyIdentifier.
func (c Certificate) identifier() string {
	sum := sha1.Sum(c.DER)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// keyCredential is how Graph takes the certificate.
func (c Certificate) keyCredential() map[string]any {
	return map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(c.DER)}
}

// Expired waits until the certificate is.
func (c Certificate) Expired(ctx context.Context) error {
	return until(ctx, c.NotAfter.Add(time.Second))
}

// until waits for a moment by the clock, which the cloud's process shares.
func until(ctx context.Context, moment time.Time) error {
	timer := time.NewTimer(time.Until(moment))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
