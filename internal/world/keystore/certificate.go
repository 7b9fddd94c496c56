package keystore

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// CertificateOptions describe a self-signed certificate.
type CertificateOptions struct {
	CommonName   string    // for people; it proves nothing. 1 to 64 characters (ub-common-name of RFC 5280 appendix A.1)
	Organization string    // of the subject; "" leaves it out
	Days         int       // how long it is valid; must be positive
	Now          time.Time // the caller's clock; it becomes NotBefore, cut to the second. Zero is refused
}

// Certificate makes the self-signed certificate that is registered with Entra for key. It is not back-dated: a
// certificate that begins before its key was made would be a lie in an audit, and the start date that Graph is told must lie in it.
func Certificate(key crypto.Signer, o CertificateOptions) (*x509.Certificate, error) {
	public, err := rsaPublic(key)
	if err != nil {
		return nil, err
	}
	switch n := utf8.RuneCountInString(o.CommonName); {
	case n == 0 || n > 64:
		return nil, fault.New(fault.Invalid, "common name of a certificate must have 1 to 64 characters", "")
	case o.Days <= 0:
		return nil, fault.New(fault.Invalid, "certificate must be valid for at least one day", "")
	case o.Now.IsZero():
		return nil, fault.New(fault.Invalid, "certificate needs the time at which it begins", "")
	}
	begin := o.Now.UTC().Truncate(time.Second)
	subject := pkix.Name{CommonName: o.CommonName}
	if o.Organization != "" {
		subject.Organization = []string{o.Organization}
	}
	template := &x509.Certificate{
		// SerialNumber stays nil: x509 then draws a random one as RFC 5280 4.1.2.2 wants it.
		Subject:               subject,
		NotBefore:             begin,
		NotAfter:              begin.AddDate(0, 0, o.Days),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		SignatureAlgorithm:    x509.SHA256WithRSA,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Matches tells whether cert is the certificate of key: fault.Conflict if it belongs to another key.
func Matches(cert *x509.Certificate, key crypto.Signer) error {
	public, err := rsaPublic(key)
	if err != nil {
		return err
	}
	if cert == nil {
		return fault.New(fault.Invalid, "no certificate given", "")
	}
	if !public.Equal(cert.PublicKey) {
		return fault.New(fault.Conflict, "certificate and private key do not belong together", "")
	}
	return nil
}

func rsaPublic(key crypto.Signer) (*rsa.PublicKey, error) {
	if key == nil {
		return nil, fault.New(fault.Invalid, "no key given", "")
	}
	public, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fault.New(fault.Refused, "private key is not RSA", "Entra takes RSA keys as certificate credentials")
	}
	return public, nil
}
