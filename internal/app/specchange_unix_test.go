//go:build unix

package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// A token of role apply is no shell on the server's machine: what it may name is what leastkey would have written there itself.
func TestAChangeOfEnvFileStaysInItsFolder(t *testing.T) {
	outside := t.TempDir()
	for path, text := range map[string]string{"victim": "ours: no\n", "ours.env": "AZURE_CLIENT_ID=1\n"} {
		if err := os.WriteFile(filepath.Join(outside, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct {
		path string
		ok   bool
	}{
		"a new file":                        {"bot.env", true},
		"a new file in a folder below":      {filepath.Join("sub", "bot.env"), true},
		"a file that has our keys":          {"mine.env", true},
		"what holds by default":             {".env", true},
		"nothing, which is the default":     {"", true},
		"an absolute path":                  {filepath.Join(outside, "new"), false},
		"a folder above":                    {filepath.Join("..", "new"), false},
		"a way up and down again":           {filepath.Join("sub", "..", "..", "new"), false},
		"a path that is not clean":          {"./bot.env", false},
		"leastkey.yaml itself":              {specName, false},
		"somebody else's file":              {"notes.txt", false},
		"an environment file without ours":  {"other.env", false},
		"a folder":                          {"sub", false},
		"a link that leads out":             {"link.env", false},
		"a link out to a file with our key": {"linked.env", false},
		"a link out to nothing":             {"nowhere.env", false},
		"a way through a folder's link":     {filepath.Join("away", "new.env"), false},
		"a control character":               {"a\x1b[2J.env", false},
		"a line end":                        {"a\nb.env", false},
		"a right-to-left override":          {"a\u202evne.env", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			vault := "kv-one"
			made, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, KeyVault: &vault})
			if err != nil {
				t.Fatal(err)
			}
			for path, text := range map[string]string{"mine.env": "X=1\nAZURE_CLIENT_ID=1\n", "other.env": "X=1\n", "notes.txt": "to do\n"} {
				if err := os.WriteFile(filepath.Join(s.dir, path), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(s.dir, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			for link, to := range map[string]string{"link.env": filepath.Join(outside, "victim"), "linked.env": filepath.Join(outside, "ours.env"), "nowhere.env": filepath.Join(outside, "none"), "away": outside} {
				if err := os.Symlink(to, filepath.Join(s.dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, EnvFile: &row.path, SHA256: made.SHA256})
			if row.ok && err != nil || !row.ok && !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", row.path, err)
			}
			if row.ok && row.path != "" && got.Spec.Agents[bot].EnvFile != row.path {
				t.Errorf("written: %q", got.Spec.Agents[bot].EnvFile)
			}
		})
	}
}

func TestAnEnvFileThatLeastkeyYamlNamesMayStay(t *testing.T) {
	s := newServed(t)
	vault, far := "kv-one", filepath.Join(t.TempDir(), "far.env")
	made, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, KeyVault: &vault})
	if err != nil {
		t.Fatal(err)
	}
	text := made.Text + "    env_file: " + far + "\n"
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	have, err := s.ReadSpec(t.Context())
	if err != nil || have.Problem != "" {
		t.Fatalf("%s %v\n%s", have.Problem, err, text)
	}
	if _, err := s.WriteSpec(t.Context(), "ada", api.SpecChange{Agent: bot, EnvFile: &far, SHA256: have.SHA256}); err != nil {
		t.Error(err)
	}
}
