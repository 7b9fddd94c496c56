package canary_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/testkit/canary"
)

// The last line of an EC key's PEM form holds only its public half, and so may any line of its certificate.
func TestACertificateIsNoLeakOfItsKeyRegression(t *testing.T) {
	for n := range 3 { // the certificate's bytes are shifted by each amount that base64 tells apart
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		var w canary.Watch
		if err := w.KeyPEM(canary.LocalCloud, "the authority's key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a" + strings.Repeat("b", n)}, NotAfter: time.Now().Add(time.Hour)}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		s := w.Story("story")
		s.Bytes("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
		if leaks := s.Leaks(); len(leaks) > 0 {
			t.Errorf("subject %s: %v", template.Subject, leaks)
		}
		s.Bytes("ca-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if len(s.Leaks()) == 0 {
			t.Error("the key itself is not found")
		}
	}
}
