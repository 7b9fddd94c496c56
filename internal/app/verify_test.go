package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/work/verify"
)

// A copy in a folder below is as good as one beside the state file, to whoever finds it.
func TestTheChecklistSearchesFoldersBelow(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const value = "Ab8Q~an-invented-value-of-a-test-0000001"
	for name, content := range map[string]string{
		".entraclaw-state.json":  `{"PROVISIONER_CLIENT_SECRET": "` + value + `"}`,
		"deploy/old/copy.json":   `{"PROVISIONER_CLIENT_SECRET": "` + value + `"}`,
		"deploy/notes.txt":       "it is " + value + "\n",
		"deploy/clean.txt":       "nothing\n",
		"node_modules/m/in.json": value,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, all, err := below(t.Context(), dir)
	if err != nil || !all {
		t.Fatal(files, all, err)
	}
	_, places, err := searchLegacy(t.Context(), stateFiles{}, verify.Look{State: filepath.Join(dir, ".entraclaw-state.json"), Also: files})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range places {
		found[p.Path] = true
	}
	for _, name := range []string{".entraclaw-state.json", "deploy/old/copy.json", "deploy/notes.txt"} {
		if path := filepath.Join(dir, filepath.FromSlash(name)); !found[path] {
			t.Errorf("%s is not found", path)
		}
	}
	if len(found) != 3 {
		t.Errorf("found are %v", found)
	}
}
