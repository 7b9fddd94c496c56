package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func localPlace(t *testing.T) *place {
	p := newPlace(api.Target{})
	p.site = &site{cloud: agent.Local, dir: t.TempDir(), tenant: "11111111-0000-0000-0000-000000000001"}
	return p
}

// A key in memory is gone with the process, while its certificate stays on the application.
func TestNoCommandMakesAKeyInMemory(t *testing.T) {
	for _, name := range []string{"memory", "memory:x"} {
		if _, err := with(nil).keys(localPlace(t), api.Target{Keystore: name}); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One that is recorded is known to be gone.
	keys, err := with(nil).keys(localPlace(t), api.Target{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), secret.Ref{Backend: "memory", Name: "x"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a recorded one: %v", err)
	}
}

func TestAnIdentityThatIsNotThereIsSaidAtOnce(t *testing.T) {
	dir := t.TempDir()
	_, err := with(nil).keys(localPlace(t), api.Target{Keystore: "age:" + filepath.Join(dir, "keys"), AgeIdentity: filepath.Join(dir, "none")})
	if !fault.Is(err, fault.Invalid) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestClearEnvWhoseFolderIsGone(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"gone/.env", filepath.Join(dir, "gone", "deep", ".env")} {
		if did, err := (envFile{base: dir}).Clear(t.Context(), path, map[string]string{"A": "1"}); err != nil || did != "there is no file" {
			t.Errorf("%s: %q %v", path, did, err)
		}
	}
	if at, set, err := readEnv(dir)(".env"); at != filepath.Join(dir, ".env") || len(set) > 0 || err != nil {
		t.Errorf("read at %q: %v %v", at, set, err)
	}
}

func TestDoctorNamesKeysThatNothingRecords(t *testing.T) {
	p := localPlace(t)
	a := with(nil)
	if left := a.checkLeftKeys(t.Context(), p, api.Target{}); len(left) > 0 {
		t.Errorf("without a keystore: %+v", left)
	}
	keys, err := a.keys(p, api.Target{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{p.tenant + "/bot#1", "22222222-0000-0000-0000-000000000002/bot#2"} { // the second is another tenant's
		if _, err := keys.Create(t.Context(), name, testKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	left := a.checkLeftKeys(t.Context(), p, api.Target{})
	if len(left) != 1 || left[0].Outcome != finding.Warn {
		t.Errorf("%+v", left)
	}
	if err := os.RemoveAll(filepath.Join(p.dir, "keys")); err != nil {
		t.Fatal(err)
	}
}
