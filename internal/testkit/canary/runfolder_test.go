package canary_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
)

// TestARealRunFolderHoldsNothingBeyondItsExcuses keeps the list of excuses true: every file of a running local cloud that holds a secret
// is on it, and nothing is on it that holds none.
func TestARealRunFolderHoldsNothingBeyondItsExcuses(t *testing.T) {
	home := t.TempDir()
	dir := filepath.Join(home, "local")
	cloud, err := localcloud.New(localcloud.Config{RunDir: dir, StateFile: filepath.Join(dir, "cloud.jsonl"), LogFile: filepath.Join(dir, "requests.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	if err := cloud.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := agefile.New(agefile.Config{Path: filepath.Join(dir, "keys"), Development: true})
	if err != nil {
		t.Fatal(err)
	}
	key, err := keystore.Generate(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Create(t.Context(), "tenant/agent#1", key); err != nil {
		t.Fatal(err)
	}

	var w canary.Watch
	if n, err := w.RunFolder(dir); err != nil || n != 1 {
		t.Fatalf("RunFolder = %d, %v; want one key", n, err)
	}
	sweep := func(excuses ...canary.Excuse) *canary.Sweep {
		s := w.Story("up", excuses...)
		if err := s.Files(home); err != nil {
			t.Fatal(err)
		}
		return s
	}
	excused := sweep(canary.RunFolder("up", "local")...)
	for _, l := range excused.Leaks() {
		t.Error(l)
	}
	for _, e := range excused.Unused() {
		t.Errorf("%s is excused and holds no secret that is known", e.Stream)
	}
	var bare []string
	for _, l := range sweep().Leaks() {
		bare = append(bare, l.Secret)
	}
	for _, secret := range []string{"password of admin", "the management token", "ca-key.pem", "sp-operator.pem", "token-signing-key.pem", "an age identity"} {
		if !slices.Contains(bare, secret) {
			t.Errorf("without excuses %s is not found; found are %v", secret, bare)
		}
	}

	// The agent's own key, in clear, is a leak even in an excused file.
	plain := decrypted(t, dir)
	write(t, filepath.Join(dir, "cloud.jsonl"), plain, 0o600)
	if leaks := sweep(canary.RunFolder("up", "local")...).Leaks(); !slices.ContainsFunc(leaks, func(l canary.Leak) bool { return l.Kind == canary.PrivateKey && strings.HasSuffix(l.Secret, ".age") }) {
		t.Errorf("the agent's key in clear: leaks are %v", leaks)
	}
}

// decrypted is the PEM of the only key of the run folder.
func decrypted(t *testing.T, dir string) string {
	t.Helper()
	identity, err := os.Open(filepath.Join(dir, "keys", "identity.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer identity.Close()
	return opened(t, identity, filepath.Join(dir, "keys", "*.age"))
}

func opened(t *testing.T, identity io.Reader, pattern string) string {
	t.Helper()
	identities, err := age.ParseIdentities(identity)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("files are %v, %v; want one", files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := age.Decrypt(f, identities...)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}
