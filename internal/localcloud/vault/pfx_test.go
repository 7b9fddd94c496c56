package vault

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// The files are OpenSSL 3.0's: with the algorithms of today, with triple DES and a password beyond ASCII, with an empty password, and
// with RC2 as OpenSSL 1 wrote them.
func TestReadingPFX(t *testing.T) {
	for _, row := range []struct {
		file, password string
		err            error
	}{
		{"modern.pfx", "hunter2", nil},
		{"modern.pfx", "hunter3", errPassword},
		{"modern.pfx", "", errPassword},
		{"des.pfx", "pä§s", nil},
		{"des.pfx", "pass", errPassword},
		{"empty.pfx", "", nil},
		{"rc2.pfx", "x", errRC2},
	} {
		der, err := os.ReadFile(filepath.Join("testdata", row.file))
		if err != nil {
			t.Fatal(err)
		}
		key, chain, err := decodePFX(der, row.password)
		if !errors.Is(err, row.err) {
			t.Errorf("%s: got %v", row.file, err)
		}
		if row.err == nil && (len(chain) != 1 || chain[0].Subject.CommonName != "pfx fixture" || !samePublic(key.Public(), chain[0].PublicKey)) {
			t.Errorf("%s: got %v", row.file, chain)
		}
		if _, _, err := decodePFX(der[:len(der)-1], row.password); err == nil {
			t.Errorf("%s: a file cut short reads", row.file)
		}
	}
}

// azidentity reads a certificate that an application has fetched from the vault, by a library that knows the oldest algorithms alone.
func TestTheClientsReadThePFXOfAVault(t *testing.T) {
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	f := rbacVault(t)
	template, err := f.template(certPolicy{X509: x509Props{Subject: "CN=x", Months: 1}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := selfSigned(template, key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := encodePFX(random, key, []*x509.Certificate{cert})
	if err != nil {
		t.Fatal(err)
	}
	certs, private, err := azidentity.ParseCertificates(file, nil)
	if err != nil || len(certs) != 1 || !certs[0].Equal(cert) || !key.Equal(private) {
		t.Errorf("azidentity reads %v, %v", certs, err)
	}
	back, chain, err := decodePFX(file, "")
	if err != nil || !key.Equal(back) || !chain[0].Equal(cert) {
		t.Errorf("it comes back as %v, %v", chain, err)
	}
}

func FuzzDecodePFX(f *testing.F) {
	for _, name := range []string{"modern.pfx", "des.pfx", "empty.pfx", "rc2.pfx"} {
		der, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der, "hunter2")
		f.Add(der, "")
	}
	f.Fuzz(func(t *testing.T, der []byte, password string) {
		key, chain, err := decodePFX(der, password)
		if err != nil {
			return
		}
		if _, isEC := key.(*ecdsa.PrivateKey); !isEC { // what no vault keeps
			return
		}
		again, err := encodePFX(random, key, chain)
		if err != nil {
			t.Fatal(err)
		}
		if back, certs, err := decodePFX(again, ""); err != nil || !samePublic(back.Public(), key.Public()) || len(certs) != len(chain) {
			t.Fatalf("written anew it does not read: %v", err)
		}
	})
}
