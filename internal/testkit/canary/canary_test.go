package canary_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/testkit/canary"
)

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pkcs8(t testing.TB, key *rsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// wrap breaks a text into lines.
func wrap(s string, width int, end string) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + end)
		s = s[width:]
	}
	return b.String() + s + end
}

// pages is how a database keeps a long value: in parts with something else between them.
func pages(b []byte, size int) []byte {
	var out []byte
	for len(b) > 0 {
		n := min(size, len(b))
		out = append(append(out, b[:n]...), "\x00\x00\x00\x2aanother page"...)
		b = b[n:]
	}
	return out
}

func TestAKeyIsFoundInEveryForm(t *testing.T) {
	key := newKey(t)
	der8, der1 := pkcs8(t, key), x509.MarshalPKCS1PrivateKey(key)
	pem8, pem1 := pemOf("PRIVATE KEY", der8), pemOf("RSA PRIVATE KEY", der1)
	lines := strings.Split(strings.TrimSpace(string(pem8)), "\n")
	std, raw := base64.StdEncoding, base64.RawURLEncoding
	quoted, err := json.Marshal(string(pem8))
	if err != nil {
		t.Fatal(err)
	}
	asBytes, err := json.Marshal(map[string]any{"key": der8})
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string]string{
		"PKCS#8":                            string(der8),
		"PKCS#1":                            string(der1),
		"PKCS#8 over database pages":        string(pages(der8, 100)),
		"PKCS#8 PEM":                        string(pem8),
		"PKCS#1 PEM":                        string(pem1),
		"PKCS#8 PEM with CRLF":              strings.ReplaceAll(string(pem8), "\n", "\r\n"),
		"PEM without its first and last":    strings.Join(lines[8:len(lines)-1], "\n"),
		"one line of PKCS#8 PEM":            "level=INFO msg=read line=" + lines[15],
		"one line of PKCS#1 PEM":            strings.Split(string(pem1), "\n")[15],
		"PEM in JSON":                       string(quoted),
		"PEM in a Go string":                fmt.Sprintf("%q", pem8),
		"PEM in a URL":                      url.QueryEscape(string(pem8)),
		"base64":                            std.EncodeToString(der8),
		"base64 on lines of 76":             wrap(std.EncodeToString(der8), 76, "\r\n"),
		"base64 on lines of 10":             wrap(std.EncodeToString(der8), 10, "\n    "),
		"base64 in a URL":                   "k=" + url.QueryEscape(std.EncodeToString(der8)) + "&broken=%zz",
		"base64url":                         raw.EncodeToString(der8),
		"base64 after one byte":             std.EncodeToString(append([]byte{1}, der8...)),
		"base64 after two bytes":            std.EncodeToString(append([]byte{1, 2}, der8...)),
		"base64url after one byte":          raw.EncodeToString(append([]byte{1}, der8...)),
		"base64 of PEM":                     std.EncodeToString(pem8),
		"base64 of PEM after a prefix":      "go-keyring-base64:" + std.EncodeToString(pem8),
		"hex of PEM":                        hex.EncodeToString(pem8),
		"hex":                               hex.EncodeToString(der8),
		"upper hex":                         strings.ToUpper(hex.EncodeToString(der8)),
		"hex with colons, as openssl does":  wrap(strings.TrimSuffix(strings.ToUpper(wrap(hex.EncodeToString(der8), 2, ":")), ":"), 45, "\n    "),
		"bytes in JSON":                     string(asBytes),
		"bytes as fmt prints them":          fmt.Sprintf("%v", der8),
		"bytes as Go writes them":           fmt.Sprintf("%x", der8),
		"list of bytes in JSON":             strings.ReplaceAll(fmt.Sprintf("%v", der8), " ", ","),
		"private exponent in a JWK":         `{"kty":"RSA","d":"` + raw.EncodeToString(key.D.Bytes()) + `"}`,
		"one prime in a JWK":                `{"p":"` + raw.EncodeToString(key.Primes[0].Bytes()) + `"}`,
		"exponent of the Chinese remainder": raw.EncodeToString(key.Precomputed.Dq.Bytes()),
		"coefficient":                       raw.EncodeToString(key.Precomputed.Qinv.Bytes()),
		"private exponent in hex":           key.D.Text(16),
		"private exponent in decimal":       key.D.String(),
		"the key as fmt prints it":          fmt.Sprintf("%v", key),
		"the key as fmt prints it with %+v": fmt.Sprintf("%+v", struct{ k *rsa.PrivateKey }{key}.k),
	}
	var w canary.Watch
	if err := w.Key(canary.PrivateKey, "the agent's key", key); err != nil {
		t.Fatal(err)
	}
	for name, text := range forms {
		t.Run(name, func(t *testing.T) {
			for where, content := range map[string]string{"alone": text, "amid other things": "before\x00" + text + "\nafter"} {
				if !found(&w, content, "the agent's key") {
					t.Errorf("%s, it was not found", where)
				}
			}
		})
	}
}

// found tells whether the secret of that name is seen in a content.
func found(w *canary.Watch, content, secret string) bool {
	s := w.Story("a story")
	s.Bytes("stdout", []byte(content))
	for _, l := range s.Leaks() {
		if l.Secret == secret {
			return true
		}
	}
	return false
}

func TestWhatIsPublicIsNotFound(t *testing.T) {
	key, other := newKey(t), newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	to, err := age.Encrypt(&sealed, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = to.Write(pemOf("PRIVATE KEY", pkcs8(t, key)))
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(certificate)
	var w canary.Watch
	if err := w.Key(canary.PrivateKey, "the agent's key", key); err != nil {
		t.Fatal(err)
	}
	w.Plant(canary.VaultValue, "a vault value")
	for name, content := range map[string]string{
		"its certificate":                       string(certificate),
		"its certificate in PEM":                string(pemOf("CERTIFICATE", certificate)),
		"its certificate in base64url":          base64.RawURLEncoding.EncodeToString(certificate),
		"its public key":                        string(pemOf("PUBLIC KEY", public)),
		"its public key as fmt prints it":       fmt.Sprintf("%+v", key.PublicKey),
		"its thumbprint":                        hex.EncodeToString(sum[:]),
		"the key, encrypted with age":           sealed.String(),
		"the public half of an age identity":    identity.Recipient().String(),
		"another key's bytes without PEM":       string(pkcs8(t, other)),
		"a token without its signature":         "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9.[signature]",
		"a PEM of public things":                "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		"words about a private key":             "the PRIVATE KEY block is in the keystore",
		"nothing":                               "",
		"less than the shortest secret":         "abc",
		"the mark without what makes it secret": "lkcanary- marks a planted secret",
	} {
		t.Run(name, func(t *testing.T) {
			s := w.Story("a story")
			s.Bytes("stdout", []byte(content))
			for _, l := range s.Leaks() {
				t.Error(l)
			}
		})
	}
}

func TestATextIsFoundInEveryForm(t *testing.T) {
	const password = `p"a/s&s~w+o=r d.1<é>`
	quoted, err := json.Marshal(password)
	if err != nil {
		t.Fatal(err)
	}
	var w canary.Watch
	if err := w.Text(canary.ClientSecret, "a password", []byte(password)); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"plain":                  "log: password=" + password + " next",
		"a form":                 url.Values{"client_secret": {password}, "x": {"1"}}.Encode(),
		"a path":                 "/x/" + url.PathEscape(password) + "/y",
		"JSON":                   string(quoted),
		"basic authorisation":    "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("agent:"+password)),
		"basic, other alignment": "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("agents:"+password)),
		"basic, third alignment": "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("agent1:"+password+":tail")),
		"hex":                    hex.EncodeToString([]byte(password)),
		"bytes in JSON":          fmt.Sprintf(`{"v":%q}`, base64.StdEncoding.EncodeToString([]byte(password))),
	} {
		t.Run(name, func(t *testing.T) {
			if !found(&w, content, "a password") {
				t.Error("it was not found")
			}
		})
	}
}

func TestShapesAreFoundUnknown(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	signature := base64.RawURLEncoding.EncodeToString(make([]byte, 256))
	var w canary.Watch
	for name, row := range map[string]struct{ content, secret string }{
		"a private key nobody named":    {string(pemOf("PRIVATE KEY", pkcs8(t, newKey(t)))), "a private key"},
		"an EC private key":             {"-----BEGIN EC PRIVATE KEY-----", "a private key"},
		"an age identity":               {identity.String(), "an age identity"},
		"a signed token":                {"Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9." + signature, "a signed token"},
		"a mark that nobody waits for":  {"value=" + canary.New(canary.VaultValue), "a planted secret that nobody watches for"},
		"a private key in a JSON value": {`{"k":"-----BEGIN RSA PRIVATE KEY-----\nMII"}`, "a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			if !found(&w, row.content, row.secret) {
				t.Error("it was not found")
			}
		})
	}
}

func TestPlantedSecretsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s := canary.New(canary.VaultValue)
		if seen[s] || !strings.Contains(s, string(canary.VaultValue)) {
			t.Fatalf("%q came twice, or does not name its kind", s)
		}
		seen[s] = true
	}
}

func TestALeakDoesNotShowTheSecret(t *testing.T) {
	var w canary.Watch
	secret := w.Plant(canary.VaultValue, "a vault value")
	s := w.Story("a story")
	s.Bytes("stdout", []byte(secret))
	if len(s.Leaks()) != 1 {
		t.Fatalf("leaks are %v, want one", s.Leaks())
	}
	if text := fmt.Sprintf("%v %+v", s.Leaks()[0], s.Leaks()); strings.Contains(text, secret) {
		t.Error("the report shows the secret")
	}
}

func TestASecretThatWouldBeFoundByChanceIsRefused(t *testing.T) {
	var w canary.Watch
	if err := w.Text(canary.ClientSecret, "a short one", []byte("1234567")); err == nil {
		t.Error("seven bytes were accepted")
	}
	if err := w.KeyPEM(canary.PrivateKey, "no key", []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")); err == nil {
		t.Error("a text without a key was accepted, and would never be found")
	}
}

func TestKeysOfAnAgeStoreAreWatched(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	identityFile := filepath.Join(t.TempDir(), "identity.txt")
	write(t, identityFile, identity.String()+"\n", 0o600)
	var sealed bytes.Buffer
	to, err := age.Encrypt(&sealed, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = to.Write(pemOf("PRIVATE KEY", pkcs8(t, key)))
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "one.age"), sealed.String(), 0o600)
	write(t, filepath.Join(dir, "lock"), "", 0o600)
	var w canary.Watch
	n, err := w.AgeStore(canary.PrivateKey, dir, identityFile)
	if err != nil || n != 1 {
		t.Fatalf("AgeStore = %d, %v; want one key", n, err)
	}
	if !found(&w, hex.EncodeToString(pkcs8(t, key)), "one.age") {
		t.Error("the key of the store was not found")
	}
	s := w.Story("a story")
	if err := s.Files(dir); err != nil {
		t.Fatal(err)
	}
	if len(s.Leaks()) != 0 || s.Swept() != 2 {
		t.Errorf("%d files swept, leaks %v; want 2 without leaks", s.Swept(), s.Leaks())
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestOneWatchServesManyStoriesAtOnce(t *testing.T) {
	var w canary.Watch
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			secret := w.Plant(canary.VaultValue, "a vault value")
			if !found(&w, secret, "a vault value") {
				t.Error("it was not found")
			}
		})
	}
	all.Wait()
}

func BenchmarkSearch(b *testing.B) {
	var w canary.Watch
	for i := range 4 {
		if err := w.Key(canary.PrivateKey, fmt.Sprint(i), newKey(b)); err != nil {
			b.Fatal(err)
		}
	}
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		w.Story("a story").Bytes("a file", content)
	}
}
