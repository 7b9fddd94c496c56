package localcloud

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func TestAClientIsToldOfTheVaultsThatThereAre(t *testing.T) {
	for _, row := range []struct {
		name  string
		cfg   Config
		first []string
	}{
		{"those of the seed", Config{}, []string{"KV_LEGACY", "KV_POLYCLAW"}},
		{"none in an empty cloud", Config{Empty: true}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.cfg.RunDir = t.TempDir()
			c := listen(t, row.cfg)
			told := func() (names []string) {
				t.Helper()
				r, err := ReadRun(t.Context(), row.cfg.RunDir)
				must(t, err)
				m, err := r.Manage()
				must(t, err)
				defer m.Close()
				vaults, err := m.Vaults(t.Context())
				must(t, err)
				text, err := r.EnvFor("curl", vaults...)
				must(t, err)
				for line := range strings.Lines(text) {
					if name, at, isVault := strings.Cut(strings.TrimPrefix(line, "export LEASTKEY_VAULT_"), "="); isVault && strings.HasPrefix(line, "export LEASTKEY_VAULT_") {
						if !strings.HasPrefix(at, "'https://localhost:") {
							t.Errorf("%s is at %s", name, at)
						}
						names = append(names, name)
					}
				}
				az, err := r.EnvFor("az", append(vaults, "kv\nrm -r /")...)
				must(t, err)
				for _, v := range vaults {
					if !strings.Contains(az, " "+v+".vault.localhost") {
						t.Errorf("az is not told what %s has to resolve to:\n%s", v, az)
					}
				}
				if strings.Contains(az, "/etc/hosts") != (len(vaults) > 0) {
					t.Errorf("az is told of /etc/hosts beside %d vaults", len(vaults))
				}
				return names
			}
			if got := told(); !slices.Equal(got, row.first) {
				t.Errorf("got %q, want %q", got, row.first)
			}
			if row.cfg.Empty {
				return
			}
			sp := asker{t, client(t, c.Run(), false).Transport, asCertificate(t, c, sdk(c, client(t, c.Run(), false).Transport))}
			newVault(sp, c, "KV-New")
			if got, want := told(), []string{"KV_LEGACY", "KV_NEW", "KV_POLYCLAW"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			sp.do(c.Endpoints().ARM+"/.default", "DELETE", vaultID(c, "kv-new"), nil)
			sp.do(c.Endpoints().ARM+"/.default", "DELETE", strings.Replace(vaultID(c, LegacyVault), DefaultGroup, LegacyGroup, 1), nil)
			if got, want := told(), []string{"KV_POLYCLAW"}; !slices.Equal(got, want) {
				t.Errorf("with two in the recycle bin: got %q, want %q", got, want)
			}
		})
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
