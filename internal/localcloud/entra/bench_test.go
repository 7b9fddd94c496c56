package entra

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"testing"
)

// BenchmarkCertificateLogin is verified logins with assertions signed beforehand; BenchmarkSign is the machine's RSA-2048 signature,
// the floor of a login.
func BenchmarkCertificateLogin(b *testing.B) {
	w := newWorld(b)
	assertions := make([]string, 0, 4096)
	for range min(b.N, 4096) {
		assertions = append(assertions, w.jwt().sign())
	}
	w.AllowReplay = func() bool { return b.N > len(assertions) }
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if got := w.post(tokenPath, w.assertionForm(assertions[i%len(assertions)], armScope)); got.status != 200 {
			b.Fatal(got.raw)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	key, sum := clientKey(), make([]byte, 32)
	for b.Loop() {
		if _, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum); err != nil {
			b.Fatal(err)
		}
	}
}
