package localcloud

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNamesThatWouldLetTheAuthoritySignForOthersAreRefused(t *testing.T) {
	for _, row := range []struct{ name, san, because string }{
		{"an empty name would let every host through", "", "no host name"},
		{"a wildcard is no host", "*", "no host name"},
		{"a wildcard of a top-level domain is none either", "*.com", "no host name"},
		{"a wildcard inside is none", "a.*.example", "no host name"},
		{"a root is no host", ".", "no host name"},
		{"a leading dot would mean everything below", ".corp.example.net", "no host name"},
		{"a trailing dot leaves an empty label", "cloud.internal.", "no host name"},
		{"a top-level domain is not ours", "com", "top-level"},
		{"nor is one in another script", "xn--p1ai", "top-level"},
		{"nor is a name that could become one", "cloud", "top-level"},
		{"a public suffix of two labels is not ours", "co.uk", "whole domain"},
		{"nor is somebody's domain", "example.com", "whole domain"},
		{"an address in other clothes is no name", "0x7f.1", "no host name"},
		{"a public address is not ours", "8.8.8.8", "neither"},
		{"nor is every address", "0.0.0.0", "neither"},
		{"nor is a public address of IPv6", "2606:4700::1111", "neither"},
		{"a label of more than 63 characters is none", strings.Repeat("a", 64) + ".internal", "no host name"},
		{"a name of more than 253 characters is none", strings.Repeat("abcdefg.", 32) + "internal", "no host name"},
		{"a name with a space is none", "cloud .internal", "no host name"},
		{"a NUL hides what follows", "cloud.internal\x00.example.net", "no host name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := New(Config{SANs: []string{"cloud.internal", row.san}, SigningKey: testKey(), OperatorKey: testKey()})
			if err == nil || !strings.Contains(err.Error(), row.because) {
				t.Errorf("%q: got %v, want %q", row.san, err, row.because)
			}
		})
	}
	for _, san := range []string{"cloud.internal", "Local-Cloud", "cloud1", "box.lan", "cloud.eng.example.com", "10.1.2.3", "127.0.0.9", "fd00::1", "localhost"} {
		open(t, Config{SANs: []string{san}})
	}
}

func FuzzSAN(f *testing.F) {
	for _, s := range []string{"", "*", "com", "cloud.internal", "10.1.2.3", "fd00::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkSAN(s) != nil {
			return
		}
		domains, ranges := namesOf([]string{s}).permitted()
		for _, d := range domains {
			if d == "" || strings.ContainsAny(d, "* \x00") || strings.HasPrefix(d, ".") {
				t.Errorf("%q makes the constraint %q", s, d)
			}
		}
		for _, r := range ranges {
			if ones, bits := r.Mask.Size(); ones != bits || !r.IP.IsLoopback() && !r.IP.IsPrivate() {
				t.Errorf("%q makes the range %v", s, r)
			}
		}
	})
}

func TestAnAuthorityThatMaySignForMoreIsReplaced(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	wide := namesOf([]string{"cloud.internal"})
	wide.dns = append(wide.dns, "") // as an empty name made it once
	wide.ips = append(wide.ips, net.IPv4(10, 1, 2, 3))
	first, err := openCA(dir, wide, now)
	must(t, err)
	second, err := openCA(dir, namesOf([]string{"cloud.internal"}), now)
	must(t, err)
	if first.cert.Equal(second.cert) {
		t.Fatal("an authority for every host was gone on with")
	}
	b, err := os.ReadFile(filepath.Join(dir, caFile))
	must(t, err)
	if string(b) != string(second.pem) {
		t.Error("the old authority is still in the folder")
	}
	again, err := openCA(dir, namesOf([]string{"cloud.internal", "cloud.internal"}), now)
	must(t, err)
	if !again.cert.Equal(second.cert) {
		t.Error("an authority for the same names was replaced")
	}
	conf, err := second.serverTLS(wide)
	must(t, err)
	leaf, err := x509.ParseCertificate(conf.Certificates[0].Certificate[0])
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(second.cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "10.1.2.3"}); err == nil {
		t.Error("it signs for an address that is no longer its own")
	}
}
