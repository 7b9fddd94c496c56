package witness

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/azcli"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

// session is az as one person uses it.
type session struct{ azcli.Session }

// shell runs what `leastkey cloud env --for az` prints as a person's shell would.
func shell(t *testing.T, env []string, printed string) session {
	t.Helper()
	return session{azcli.Open(t, env, printed)}
}

func (s session) another(t *testing.T) session {
	t.Helper()
	return session{s.Another(t)}
}

// ask runs a command that has to work without a word of warning, and reads its answer.
func (s session) ask(t *testing.T, into any, args ...string) {
	t.Helper()
	r := s.Run(t, args...)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("az %s: exit %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	decode(t, "az "+strings.Join(args, " "), r.Stdout, into)
}

// refused runs a command that has to fail, and gives what it says.
func (s session) refused(t *testing.T, args ...string) string {
	t.Helper()
	r := s.Run(t, args...)
	if r.Code == 0 || r.Stdout != "" {
		t.Fatalf("az %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stderr
}

// loggedIn checks what az shows after a login: one subscription of one tenant, as that user.
func loggedIn(t *testing.T, all []azcli.Account, run localcloud.Run, tenant, user, kind string) {
	t.Helper()
	want := azcli.Account{Cloud: "LeastkeyLocal", ID: run.SubscriptionID, TenantID: tenant, HomeID: run.TenantID, State: "Enabled", IsDefault: true}
	want.User.Name, want.User.Type = user, kind
	if len(all) != 1 || all[0] != want {
		t.Errorf("az login shows %+v, want %+v", all, want)
	}
}

// application logs in with a certificate.
func (s session) application(t *testing.T, run localcloud.Run, op localcloud.Operator, tenant string) {
	t.Helper()
	var all []azcli.Account
	s.ask(t, &all, "login", "--service-principal", "-u", op.AppID, "-p", op.CertificateFile, "--tenant", tenant)
	loggedIn(t, all, run, tenant, op.AppID, "servicePrincipal")
}

// user logs in with a device code: az shows it, and a person with a browser enters it.
func (s session) user(t *testing.T, run localcloud.Run, op localcloud.Operator) {
	t.Helper()
	all, err := s.DeviceLogin(t, run.TenantID, func(page, code string) {
		if page != run.Endpoints.Login+"/devicelogin" {
			t.Errorf("az shows %q, which is no page of the local cloud", page)
		}
		browse(t, run, page, code, op)
	})
	must(t, err)
	loggedIn(t, all, run, run.TenantID, op.UPN, "user")
}

// browse is the person: it opens the page, mistypes the password once, and then signs in.
func browse(t *testing.T, run localcloud.Run, page, code string, op localcloud.Operator) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(run.CAPEM))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport, Timeout: product.Patience}
	see := func(status int, sentence string, resp *http.Response, err error) {
		t.Helper()
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != status || !strings.Contains(string(body), sentence) {
			t.Fatalf("the page answers %d, without %q:\n%s", resp.StatusCode, sentence, body)
		}
	}
	enter := func(password string) (*http.Response, error) {
		return browser.PostForm(page, url.Values{"code": {code}, "username": {op.UPN}, "password": {password}, "action": {"approve"}})
	}
	resp, err := browser.Get(page)
	see(http.StatusOK, `name="code"`, resp, err)
	resp, err = enter("mistyped")
	see(http.StatusBadRequest, "User name or password is wrong.", resp, err)
	resp, err = enter(op.Password.Reveal())
	see(http.StatusOK, "You have signed in.", resp, err)
}
