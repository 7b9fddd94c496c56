package statefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/secret"
)

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// folder is a temporary folder by the name that links resolve to.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func values(all ...string) (out []secret.Value) {
	for _, v := range all {
		out = append(out, secret.New([]byte(v)))
	}
	return out
}
