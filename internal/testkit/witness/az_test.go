package witness

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// session is a configuration folder of az with the environment around it.
type session struct {
	dir string
	env []string
}

// shell runs what `leastkey cloud env --for az` prints as a person's shell would, and takes over the environment that it leaves.
func shell(t *testing.T, env []string, printed string) session {
	t.Helper()
	r := run(t, t.TempDir(), env, "sh", "-euc", printed+"\nenv -0\n")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("the shell says: exit %d\n%s\n%s", r.code, r.stderr, printed)
	}
	s := session{env: strings.Split(strings.TrimSuffix(r.stdout, "\x00"), "\x00")}
	for _, v := range s.env {
		if dir, ok := strings.CutPrefix(v, "AZURE_CONFIG_DIR="); ok {
			s.dir = dir
		}
	}
	if s.dir == "" {
		t.Fatalf("the printed lines leave az its usual folder:\n%s", printed)
	}
	return s
}

// another is a session beside this one, with what it knows so far: az is not made for two at a time in one folder.
func (s session) another(t *testing.T) session {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "az")
	must(t, os.CopyFS(dir, os.DirFS(s.dir)))
	env := slices.DeleteFunc(slices.Clone(s.env), func(v string) bool { return strings.HasPrefix(v, "AZURE_CONFIG_DIR=") })
	return session{dir, append(env, "AZURE_CONFIG_DIR="+dir)}
}

func (s session) az(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, t.TempDir(), s.env, "az", append(args, "--output", "json")...)
}

// ask runs a command that has to work without a word of warning, and reads its answer.
func (s session) ask(t *testing.T, into any, args ...string) {
	t.Helper()
	r := s.az(t, args...)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("az %s: exit %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	decode(t, "az "+strings.Join(args, " "), r.stdout, into)
}

// refused runs a command that has to fail, and gives what it says.
func (s session) refused(t *testing.T, args ...string) string {
	t.Helper()
	r := s.az(t, args...)
	if r.code == 0 || r.stdout != "" {
		t.Fatalf("az %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stderr
}

// account is a subscription as az shows it.
type account struct {
	Cloud     string `json:"cloudName"`
	ID        string `json:"id"`
	TenantID  string `json:"tenantId"`
	HomeID    string `json:"homeTenantId"`
	State     string `json:"state"`
	IsDefault bool   `json:"isDefault"`
	User      struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"user"`
}

// loggedIn checks what az shows after a login: one subscription of one tenant, as that user.
func loggedIn(t *testing.T, all []account, run localcloud.Run, tenant, user, kind string) {
	t.Helper()
	want := account{Cloud: "LeastkeyLocal", ID: run.SubscriptionID, TenantID: tenant, HomeID: run.TenantID, State: "Enabled", IsDefault: true}
	want.User.Name, want.User.Type = user, kind
	if len(all) != 1 || all[0] != want {
		t.Errorf("az login shows %+v, want %+v", all, want)
	}
}

// application logs in with a certificate.
func (s session) application(t *testing.T, run localcloud.Run, op localcloud.Operator, tenant string) {
	t.Helper()
	var all []account
	s.ask(t, &all, "login", "--service-principal", "-u", op.AppID, "-p", op.CertificateFile, "--tenant", tenant)
	loggedIn(t, all, run, tenant, op.AppID, "servicePrincipal")
}

var invitation = regexp.MustCompile(`^To sign in, use a web browser to open the page (https://\S+) and enter the code ([A-Z0-9]+) to authenticate\.\n$`)

// user logs in with a device code: az shows it, and a person with a browser enters it.
func (s session) user(t *testing.T, run localcloud.Run, op localcloud.Operator) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "az", "login", "--use-device-code", "--tenant", run.TenantID, "--output", "json")
	cmd.Env, cmd.Dir = s.env, t.TempDir()
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	pipe, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(pipe)
	line, err := lines.ReadString('\n')
	found := invitation.FindStringSubmatch(line)
	if found == nil || found[1] != run.Endpoints.Login+"/devicelogin" {
		cancel()
		_ = cmd.Wait()
		t.Fatalf("az shows %q (%v), which names no page of the local cloud", line, err)
	}
	browse(t, run, found[1], found[2], op)
	rest, err := io.ReadAll(lines)
	must(t, err)
	if err := cmd.Wait(); err != nil || len(rest) > 0 {
		t.Fatalf("az login --use-device-code: %v\n%s", err, rest)
	}
	var all []account
	decode(t, "az login", stdout.String(), &all)
	loggedIn(t, all, run, run.TenantID, op.UPN, "user")
}

// browse is the person: it opens the page, mistypes the password once, and then signs in.
func browse(t *testing.T, run localcloud.Run, page, code string, op localcloud.Operator) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(run.CAPEM))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport, Timeout: patience}
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
