package soak

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/testkit/product"
	"github.com/leastkey/leastkey/internal/world/token"
)

// others adds the programs that are there. curl runs all the time; az, JavaScript and Python take turns, because each takes a processor.
func (s *soak) others(add func(string, func(context.Context) error)) {
	turn := make(chan struct{}, 1)
	slice := min(max(s.load/10, 15*time.Second), time.Minute)
	inTurn := func(f func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return ctx.Err()
			}
			mine, cancel := context.WithTimeout(ctx, slice)
			defer cancel()
			err := f(mine)
			s.sweep(ctx, time.Now().Add(-2*time.Minute))
			return err
		}
	}
	there := func(program string) bool {
		_, err := exec.LookPath(program)
		if err != nil {
			s.Logf("%s is not there", program)
		}
		return err == nil
	}
	files := s.certificateFiles()
	if there("curl") {
		add("curl", s.curl())
	}
	if there("az") {
		add("az", inTurn(s.az()))
	}
	if there("/usr/bin/python3") {
		add("python", inTurn(s.language("python", files, "/usr/bin/python3", "suite.py")))
	}
	if there("node") && s.modules() {
		add("js", inTurn(s.language("js", files, "node", "suite.mjs")))
	}
}

// env is the environment of a shell that has taken over what `leastkey cloud env` prints for the client.
func (s *soak) env(client string) []string {
	printed := s.house.Leastkey(s.T, "cloud", "env", "--for", client)
	if printed.Code != 0 {
		s.Fatalf("cloud env --for %s: %s", client, printed.Stderr)
	}
	return product.Shell(s.T, s.house.Env, printed.Stdout)
}

// command is a process that ends with ctx, and whose pipes do not outlive it for long.
func command(ctx context.Context, dir string, env []string, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env, c.WaitDelay = dir, env, 2*time.Second
	return c
}

// curl logs in with an assertion and reads Graph and ARM, as Microsoft's documentation shows it.
func (s *soak) curl() func(context.Context) error {
	env, dir, op := s.env("curl"), s.TempDir(), s.operators["sp-operator"]
	pair, err := tls.LoadX509KeyPair(op.CertificateFile, op.CertificateFile)
	s.must(err)
	key, der := pair.PrivateKey.(crypto.Signer), pair.Certificate[0]
	endpoint := s.run.Endpoints.Login + "/" + s.run.TenantID + "/oauth2/v2.0/token"
	const script = `curl() { command curl --silent --show-error --fail --retry 3 --retry-delay 1 --max-time 20 "$@"; }
get() {
  TOKEN=$(curl --data-urlencode "client_id=$CLIENT" --data-urlencode "scope=$1/.default" --data-urlencode "client_assertion=$2" --data grant_type=client_credentials \
    --data-urlencode client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer "$ENDPOINT" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl --header "Authorization: Bearer $TOKEN" "$3"
}
get "$LEASTKEY_GRAPH" "$ONE" "$LEASTKEY_GRAPH/v1.0/applications?\$top=3" >/dev/null
get "$LEASTKEY_ARM" "$TWO" "$LEASTKEY_ARM/subscriptions/$SUBSCRIPTION/resourcegroups?api-version=2022-09-01" >/dev/null`
	return func(ctx context.Context) error {
		one, err := token.Sign(key, der, op.AppID, endpoint, time.Now())
		if err != nil {
			return err
		}
		two, err := token.Sign(key, der, op.AppID, endpoint, time.Now())
		if err != nil {
			return err
		}
		c := command(ctx, dir, append(env, "CLIENT="+op.AppID, "ENDPOINT="+endpoint, "ONE="+one, "TWO="+two, "SUBSCRIPTION="+s.run.SubscriptionID), "sh", "-euc", script)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

// az runs ordinary commands. What it makes it deletes, or the sweeper does. A turn counts if any of them has worked.
func (s *soak) az() func(context.Context) error {
	env, dir, op := s.env("az"), s.TempDir(), s.operators["sp-operator"]
	return func(ctx context.Context) error {
		name := "az-" + uuid.NewString()[:8]
		worked, last := 0, error(nil)
		for _, args := range [][]string{
			{"login", "--service-principal", "-u", op.AppID, "-p", op.CertificateFile, "--tenant", s.run.TenantID},
			{"account", "get-access-token", "--resource-type", "ms-graph"},
			{"ad", "app", "create", "--display-name", name},
			{"ad", "app", "list", "--display-name", name},
			{"ad", "sp", "list", "--display-name", "sp-operator"},
			{"group", "create", "--name", name, "--location", "eastus"},
			{"group", "list"},
			{"rest", "--url", s.run.Endpoints.ARM + "/subscriptions/" + s.run.SubscriptionID + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01"},
			{"group", "delete", "--name", name, "--yes", "--no-wait"},
		} {
			out, err := command(ctx, dir, env, "az", append(args, "--output", "none", "--only-show-errors")...).CombinedOutput()
			if err == nil {
				worked++
				continue
			}
			last = fmt.Errorf("az %s: %w: %s", args[0], err, out)
		}
		if worked > 0 {
			return nil
		}
		return last
	}
}

// modules installs what the JavaScript suite needs, once.
func (s *soak) modules() bool {
	dir := suite(s, "js")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err == nil {
		return true
	}
	out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--prefix", dir).CombinedOutput()
	if err != nil {
		s.Logf("npm ci: %v\n%s", err, out)
	}
	return err == nil
}

func suite(s *soak, language string) string {
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "script", "clients", language))
	s.must(err)
	return dir
}

// language runs a suite of script/clients. Its cases expect a cloud to themselves, so what comes of them is not judged here: it is load
// that somebody else has thought of. A turn counts if an operation has worked.
func (s *soak) language(language string, files map[string]string, program ...string) func(context.Context) error {
	env, dir, op := s.env(language), suite(s, language), s.operators["sp-operator"]
	client := s.connect()
	return func(ctx context.Context) error {
		c := command(ctx, dir, append(env, "LEASTKEY_OPERATOR_APP_ID="+op.AppID, "LEASTKEY_OPERATOR_PEM="+op.CertificateFile, "LEASTKEY_RUN_ID="+uuid.NewString()), program[0], program[1:]...)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		in, err := c.StdinPipe()
		if err != nil {
			return err
		}
		out, err := c.StdoutPipe()
		if err != nil {
			return err
		}
		if err := c.Start(); err != nil {
			return err
		}
		worked, err := s.talk(ctx, client, files, out, in)
		_ = in.Close()
		err = errors.Join(err, c.Wait()) // killed, when its time is over
		if worked > 0 {
			return nil
		}
		return errors.Join(errors.New("nothing has worked"), err, errors.New(stderr.String()))
	}
}

// talk answers the lines of the program (package clients has the protocol) and counts the operations that worked.
func (s *soak) talk(ctx context.Context, client *http.Client, files map[string]string, from io.Reader, to io.Writer) (worked int, err error) {
	lines, out := bufio.NewScanner(from), json.NewEncoder(to)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m struct {
			OK                                      bool
			Do, Resource, Issuer, Subject, Audience string
			Body                                    json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return worked, err
		}
		var answer any = struct{}{}
		switch method, path, request := strings.Cut(m.Do, " "); {
		case m.Do == "":
			if m.OK {
				worked++
			}
		case m.Do == "certificate":
			answer = files
		case m.Do == "identity":
			body, err := json.Marshal(map[string]string{"resource": m.Resource})
			if err != nil {
				return worked, err
			}
			_, answer = s.managed(ctx, client, http.MethodPost, "/identities", body)
		case m.Do == "issuer.token":
			text, err := s.issuer.Token(m.Subject, m.Audience)
			if err != nil {
				return worked, err
			}
			answer = map[string]string{"issuer": s.issuer.URL, "token": text}
		case request && path == "/knobs": // the weather is not its own
			answer = map[string]any{"status": http.StatusOK, "body": struct{}{}}
		case request:
			status, said := s.managed(ctx, client, method, path, m.Body)
			answer = map[string]any{"status": status, "body": said}
		}
		if err := out.Encode(answer); err != nil {
			return worked, err
		}
	}
	return worked, lines.Err()
}

// managed sends a request to the management API; what is no JSON is null.
func (s *soak) managed(ctx context.Context, client *http.Client, method, path string, body []byte) (int, json.RawMessage) {
	null := json.RawMessage("null")
	r, err := http.NewRequestWithContext(ctx, method, s.run.Management+path, bytes.NewReader(body))
	if err != nil {
		return 0, null
	}
	r.Header.Set("Authorization", "Bearer "+s.run.Token.Reveal())
	resp, err := client.Do(r)
	if err != nil {
		return 0, null
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || !json.Valid(said) {
		return resp.StatusCode, null
	}
	return resp.StatusCode, said
}

// certificateFiles is one certificate for all that ask for one.
func (s *soak) certificateFiles() map[string]string {
	key, cert := s.certificate()
	dir := s.TempDir()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	s.must(err)
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		s.must(os.WriteFile(path, content, 0o600))
		return path
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return map[string]string{
		"key": write("key.pem", secret), "cert": write("cert.pem", public), "both": write("both.pem", append(secret[:len(secret):len(secret)], public...)),
		"sha1": fmt.Sprintf("%X", sha1.Sum(cert.Raw)), "sha256": fmt.Sprintf("%X", sha256.Sum256(cert.Raw)),
	}
}
