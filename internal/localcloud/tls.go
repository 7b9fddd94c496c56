package localcloud

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Names of the certificate authority's files in the run folder.
const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
)

// caDays is how long the authority lives: the most that browsers and macOS accept of a server certificate.
const caDays = 397

// ca is the certificate authority of one run folder. It may sign only for the names that the cloud has, so that a stolen key of it is
// of no use against a machine that trusts it.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// names are what a server certificate says: the loopback, the names of the in-process hosts (for clients that resolve them
// themselves) and the configured ones.
type names struct {
	dns []string
	ips []net.IP
}

func namesOf(sans []string) names {
	n := names{
		dns: []string{"localhost", "*.vault.localhost", loginHost, graphHost, armHost, "*" + vaultSuffix},
		ips: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, s := range sans {
		if ip := net.ParseIP(s); ip != nil {
			n.ips = append(n.ips, ip)
		} else {
			n.dns = append(n.dns, strings.ToLower(s))
		}
	}
	return n
}

// permitted are the name constraints (RFC 5280 section 4.2.1.10) that let n through.
func (n names) permitted() (domains []string, ranges []*net.IPNet) {
	for _, d := range n.dns {
		domains = append(domains, strings.TrimPrefix(d, "*."))
	}
	for _, ip := range n.ips {
		bits := net.IPv6len * 8
		if v4 := ip.To4(); v4 != nil {
			ip, bits = v4, net.IPv4len*8
		}
		ranges = append(ranges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
	}
	return domains, ranges
}

// openCA reads the authority of a run folder, or makes one: if there is none, if it is about to expire, or if it may not sign for the
// names. An empty folder means one in memory.
func openCA(dir string, n names, now time.Time) (*ca, error) {
	if dir != "" {
		c, err := readCA(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case c.serves(n, now):
			return c, nil
		}
	}
	c, keyPEM, err := newCA(n, now)
	if err != nil || dir == "" {
		return c, err
	}
	if err := writeFile(filepath.Join(dir, caKeyFile), keyPEM); err != nil {
		return nil, err
	}
	return c, writeFile(filepath.Join(dir, caFile), c.pem)
}

func readCA(dir string) (*ca, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil { // also after a crash between the two writes; a new one harms nobody
		return nil, fs.ErrNotExist
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("%s: not a certificate", filepath.Join(dir, caFile))
	}
	return &ca{cert: cert, key: pair.PrivateKey.(crypto.Signer), pem: certPEM}, nil
}

// serves tells whether the authority is good for another day and may sign for the names, and for nothing else: one that may sign for
// more, from a run with other names, is not gone on with.
func (c *ca) serves(n names, now time.Time) bool {
	domains, ranges := n.permitted()
	return now.After(c.cert.NotBefore) && now.AddDate(0, 0, 1).Before(c.cert.NotAfter) && c.cert.PermittedDNSDomainsCritical &&
		sameSet(domains, c.cert.PermittedDNSDomains) && sameSet(texts(ranges), texts(c.cert.PermittedIPRanges))
}

func sameSet(a, b []string) bool {
	set := func(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }
	return slices.Equal(set(a), set(b))
}

func texts(ranges []*net.IPNet) []string {
	s := make([]string, len(ranges))
	for i, r := range ranges {
		s[i] = r.String()
	}
	return s
}

func newCA(n names, now time.Time) (*ca, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	domains, ranges := n.permitted()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// A name of its own for each authority: verifiers that know two under one name may try the wrong one.
		Subject:   pkix.Name{CommonName: fmt.Sprintf("Leastkey local cloud CA %x", serial.Bytes()[:4])},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, caDays),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: domains, PermittedIPRanges: ranges,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	c := &ca{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return c, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// serverTLS makes a server certificate for the names; its key is never written.
func (c *ca) serverTLS(n names) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: c.cert.NotBefore, NotAfter: c.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: n.dns, IPAddresses: n.ips,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key}},
	}, nil
}
