//go:build linux

package faults

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/testkit/secretservice"
)

// inKeychain is a world whose machine has a real Secret Service, and its keystore there.
func inKeychain(t *testing.T) (*world, *secretservice.Service) {
	service := secretservice.Start(t)
	w := newWorld(t)
	w.env = append(w.env, "DBUS_SESSION_BUS_ADDRESS="+service.Address)
	return w, service
}

// secretTool is libsecret's own program, which nobody here wrote.
func (w *world) secretTool(s *secretservice.Service, stdin string, args ...string) string {
	w.Helper()
	c := exec.Command("secret-tool", args...)
	var out, complaint bytes.Buffer
	c.Env, c.Stdin, c.Stdout, c.Stderr = s.Env, strings.NewReader(stdin), &out, &complaint
	if err := c.Run(); err != nil {
		w.Fatalf("secret-tool %s: %v\n%s", args[0], err, complaint.String())
	}
	return out.String()
}

const inTheKeychain = "--keystore=keychain"

func TestTheKeyLiesUnderTheSeedsNames(t *testing.T) {
	if !secretservice.Available(t, "secret-tool") {
		return
	}
	w, service := inKeychain(t)
	w.fresh()
	w.call(http.MethodDelete, "applications/"+w.in.ObjectID, nil, nil)
	w.wants(0, w.machine, "provisioner", "bootstrap", "--yes", inTheKeychain)
	block, rest := pem.Decode([]byte(w.secretTool(service, "", "lookup", "service", "entraclaw-provisioner-cert", "username", w.in.Tenant)))
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatal("the entry is not one PKCS#8 PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	w.must(err)
	b, err := os.ReadFile(w.state())
	w.must(err)
	if !holdsCertificateOf(b, key.(*rsa.PrivateKey)) {
		t.Error("the state file does not hold the certificate of the key")
	}
	w.tokenFrom(w.machine)
	w.wants(0, w.machine, "provisioner", "rotate", "--yes", inTheKeychain)
	w.tokenFrom(w.machine)
	if _, err := os.Stat(filepath.Join(w.home, "local", "keys")); err == nil {
		t.Error("there is a keystore of files too")
	}
}

func holdsCertificateOf(state []byte, key *rsa.PrivateKey) bool {
	var all map[string]string
	if json.Unmarshal(state, &all) != nil {
		return false
	}
	block, _ := pem.Decode([]byte(all[provisioner.KeyCert]))
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && key.PublicKey.Equal(cert.PublicKey)
}

func (w *world) tokenFrom(m machine) {
	w.Helper()
	if r := w.run(m, "provisioner", "token", inTheKeychain); r.Code != 0 || !aToken.MatchString(r.Stdout) || r.Stderr != "" {
		w.Errorf("provisioner token: exit %d\n%s", r.Code, r.Stderr)
	}
}

// The original, and its successor, keep certificate and key together in one entry. Where their own migration has stopped halfway, with
// certificate and passwords side by side, ours goes on with that key.
func TestTheOriginalsEntryIsFound(t *testing.T) {
	if !secretservice.Available(t, "secret-tool") {
		return
	}
	for _, name := range []string{provisioner.Service, provisioner.LegacyService} {
		t.Run(name, func(t *testing.T) {
			w, service := inKeychain(t)
			der, err := x509.MarshalPKCS8PrivateKey(w.in.OtherKey)
			w.must(err)
			bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.in.OtherDER})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
			w.secretTool(service, bundle, "store", "--label=Provisioner", "service", name, "username", w.in.Tenant)
			w.tokenFrom(w.machine) // as it is
			w.wants(0, w.machine, append(w.migration(), inTheKeychain)...)
			p, bad, err := w.in.Look(t.Context(), w.as("admin"))
			if err != nil || len(bad) > 0 || p.Passwords+p.PrincipalPasswords > 0 || len(p.Certificates) != 1 {
				t.Errorf("%+v %q %v: no password, and the one certificate that there was", p, bad, err)
			}
			if left, err := w.in.Holding(); err != nil || len(left) > 0 {
				t.Errorf("the secret is still in %v (%v)", left, err)
			}
			w.tokenFrom(w.machine)
			if w.secretTool(service, "", "lookup", "service", name, "username", w.in.Tenant) != bundle {
				t.Error("the entry was changed")
			}
			w.wants(0, w.machine, "provisioner", "rotate", "--yes", inTheKeychain)
			w.tokenFrom(w.machine)
		})
	}
}
