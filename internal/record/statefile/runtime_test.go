package statefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestReadLegacyRuntime(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	if _, _, err := ReadLegacyRuntime(path); !fault.Is(err, fault.NotFound) {
		t.Errorf("no file: %v", err)
	}
	for content, want := range map[string]string{
		"RUNTIME_SP_APP_ID=a\nRUNTIME_SP_PASSWORD=\"x~y\"\nRUNTIME_SP_TENANT='t' # of polyclaw\n":                      "x~y",
		"export RUNTIME_SP_APP_ID=a\nRUNTIME_SP_PASSWORD=old\nRUNTIME_SP_TENANT=t\nRUNTIME_SP_PASSWORD=new\nOTHER=z\n": "new",
		"RUNTIME_SP_APP_ID=a\nRUNTIME_SP_TENANT=t\nRUNTIME_SP_PASSWORD=\n":                                             "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		l, v, err := ReadLegacyRuntime(path)
		if err != nil || l.AppID != "a" || l.Tenant != "t" || l.File != path || v.Empty() != (want == "") || !v.Equal(secret.New([]byte(want))) {
			t.Errorf("%q: %+v %v", content, l, err)
		}
	}
}
