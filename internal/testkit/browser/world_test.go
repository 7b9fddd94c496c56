package browser

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

const bot = "polyclaw-runtime"

func build(ctx context.Context, dir string) (string, error) {
	if b := os.Getenv("LEASTKEY_BROWSER_BINARY"); b != "" {
		return b, nil
	}
	return product.Build(ctx, dir)
}

// world is a local cloud without any identity, and the admin server over it, as processes of the built product.
type world struct {
	house  product.House
	run    localcloud.Run
	manage *localcloud.Management
	view   *cloudview.Cloud
	served struct{ URL, Login string }
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{house: house(t)}
	var info api.CloudInfo
	w.house.Serve(t, &info, "", "cloud", "serve")
	var err error
	w.run, err = localcloud.ReadRun(t.Context(), info.Dir)
	must(t, err)
	operators, err := localcloud.ReadOperators(w.run)
	must(t, err)
	w.manage, err = w.run.Manage()
	must(t, err)
	t.Cleanup(w.manage.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(w.run.CAPEM))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	for _, o := range operators {
		if o.Name == "admin" {
			w.view = &cloudview.Cloud{Login: info.Login, Graph: info.Graph, ARM: info.ARM, Tenant: info.TenantID, Subscription: info.Subscription,
				User: o.UPN, Password: o.Password.Reveal(), HTTP: &http.Client{Transport: transport}}
		}
	}
	w.house.Serve(t, &w.served, "The admin server answers", "serve", "--listen", "127.0.0.1:0")
	return w
}

// house is an empty home. Its name is short: paths are on the pages, and so on the pictures.
func house(t *testing.T) product.House {
	t.Helper()
	home, err := os.MkdirTemp("", "leastkey-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(home)) })
	h := product.NewHouse(t, binary)
	h.Home = home
	h.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LEASTKEY_HOME=" + filepath.Join(home, "state"), "TMPDIR=" + t.TempDir()}
	return h
}

// link is the path of the login link.
func (w *world) link() string { return strings.TrimPrefix(w.served.Login, w.served.URL) }

// token makes an admin token.
func (w *world) token(t *testing.T, role string) string {
	t.Helper()
	r := w.house.Leastkey(t, "serve", "token", "add", "browser", "--role", role)
	if r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// yaml is leastkey.yaml as it is now.
func (w *world) yaml(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.house.Home, "leastkey.yaml"))
	must(t, err)
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
