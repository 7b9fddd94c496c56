package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/front/httpapi"
)

func TestThePublicNameOfAProxy(t *testing.T) {
	for raw, want := range map[string]string{
		"admin.example.org": "https://admin.example.org", "example.com:8443": "https://example.com:8443", "example.com:443": "https://example.com", "Intranet": "https://Intranet",
		"192.0.2.7": "https://192.0.2.7", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "[2001:db8::1]": "https://[2001:db8::1]", "2001:db8::1": "https://[2001:db8::1]",
	} {
		p, err := proxyOf(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := (&server{public: p}).url(); got != want {
			t.Errorf("%s: %s", raw, got)
		}
	}
	for _, raw := range []string{"https://example.com", "http://example.com:8443", "example.com/", "example.com:", "example.com:0", "example.com:70000", "example.com:https", "user@example.com", "*.example.com",
		"0.0.0.0", "[::]:8443", ":8443", "a b", "exa\nmple.com", "-a", "example.com.", "a..b"} {
		if p, err := proxyOf(raw); !fault.Is(err, fault.Usage) || api.ExitCode(err) != api.ExitUsage {
			t.Errorf("%q: %+v %v", raw, p, err)
		}
	}
}

// keyPair writes a certificate for the names, and its key with the mode.
func keyPair(t *testing.T, mode os.FileMode, names []string, ips ...net.IP) api.ServeRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: names, IPAddresses: ips}
	cert, err := x509.CreateCertificate(cryptorand.Reader, made, made, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	r := api.ServeRequest{TLSCert: filepath.Join(t.TempDir(), "cert.pem"), TLSKey: filepath.Join(t.TempDir(), "key.pem"), Listen: "0.0.0.0:0"}
	for path, b := range map[string][]byte{r.TLSCert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), r.TLSKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(r.TLSKey, mode); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestACertificateNamesTheServer(t *testing.T) {
	own, _, _ := strings.Cut(machine(), ".")
	for name, row := range map[string]struct {
		r      api.ServeRequest
		link   string // host of the printed address
		called map[string]bool
	}{
		"a wildcard":      {keyPair(t, 0o600, []string{"*.example.org"}), own + ".example.org", map[string]bool{"admin.example.org": true, "Admin.Example.org:9090": true, "example.org": false, "a.b.example.org": false, "evil.example": false, "127.0.0.1": true}},
		"a name":          {keyPair(t, 0o600, []string{"admin.example.org"}), "admin.example.org", map[string]bool{"admin.example.org": true, "other.example.org": false}},
		"an address":      {keyPair(t, 0o600, nil, net.IPv4(192, 0, 2, 7)), "192.0.2.7", map[string]bool{"192.0.2.7:1": true, "192.0.2.8": false}},
		"no name":         {keyPair(t, 0o600, nil), machine(), map[string]bool{"example.org": false, "0.0.0.0": false}},
		"every address":   {keyPair(t, 0o600, nil, net.IPv6unspecified), machine(), map[string]bool{"localhost": true}},
		"an IPv6 address": {keyPair(t, 0o600, nil, net.ParseIP("2001:db8::1")), "2001:db8::1", map[string]bool{"[2001:db8::1]:9090": true, "[2001:db8::2]:9090": false}},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := keysOf(row.r)
			if err != nil {
				t.Fatal(err)
			}
			h := newServed(t)
			l, err := listen(row.r)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			s := &server{keys: keys, listener: l}
			if got := s.url(); got != "https://"+net.JoinHostPort(row.link, port) {
				t.Errorf("it prints %s", got)
			}
			srv, err := httpapi.New(httpapi.Config{House: h, Tokens: h.tokens, Jobs: h.jobs, Named: namedBy(keys)})
			if err != nil {
				t.Fatal(err)
			}
			for host, ok := range row.called {
				if got := askAs(srv.Handler(), host); (got != 421) != ok {
					t.Errorf("called %s it answers %d", host, got)
				}
			}
		})
	}
}

func TestTheServersKeyIsKeptFromOthers(t *testing.T) {
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o644: false} {
		keys, err := keysOf(keyPair(t, mode, []string{"admin.example.org"}))
		if ok != (keys != nil) || !ok && !fault.Is(err, fault.Refused) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := keysOf(api.ServeRequest{TLSCert: "none.pem", TLSKey: filepath.Join(t.TempDir(), "none.pem")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no key: %v", err)
	}
	if named := namedBy((*tls.Config)(nil)); named != nil {
		t.Error("no certificate names something")
	}
}

// askAs is the status with which the server answers who calls it by the name.
func askAs(h http.Handler, host string) int {
	r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}
