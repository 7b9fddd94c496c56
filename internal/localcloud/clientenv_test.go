package localcloud

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryClientGetsAScriptThatAShellTakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a folder") // a quote and spaces must survive
	c := listen(t, Config{RunDir: dir})
	r := c.Run()
	for _, name := range Clients() {
		text, err := r.EnvFor(name)
		must(t, err)
		for _, o := range c.Operators() {
			for _, s := range []Credential{o.Password, o.Certificate, r.Token} {
				if s.Reveal() != "" && strings.Contains(text, s.Reveal()) {
					t.Errorf("%s: the text holds a credential of %s", name, o.Name)
				}
			}
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", "az() { :; }\n"+text+"\nprintf %s \"${REQUESTS_CA_BUNDLE:-${CURL_CA_BUNDLE:-${SSL_CERT_FILE:-$NODE_EXTRA_CA_CERTS}}}\"")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != filepath.Join(dir, caFile) {
			t.Errorf("%s: %v: %q\n%s", name, err, out, text)
		}
	}
	if _, err := r.EnvFor("perl"); err == nil || !strings.Contains(err.Error(), "python") {
		t.Errorf("an unknown client: %v", err)
	}
	r.CAFile = "/a\nrm/ca.pem"
	if text, err := r.EnvFor("curl"); err == nil {
		t.Errorf("a folder with a line break in its name: %q", text)
	}
	if _, err := os.Stat(filepath.Join(dir, "az", "leastkey-cloud.json")); err != nil {
		t.Error(err)
	}
}

func TestCredentialsHideFromPrinters(t *testing.T) {
	c := listen(t, Config{})
	for _, v := range []any{c.Run(), c.Operators(), c.Operators()[0].Password} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			text := fmt.Sprintf(verb, v)
			for _, s := range []Credential{c.Run().Token, c.Operators()[0].Password, c.Operators()[5].Certificate} {
				if strings.Contains(text, s.Reveal()) {
					t.Errorf("%s of %T shows a credential", verb, v)
				}
			}
		}
	}
}
