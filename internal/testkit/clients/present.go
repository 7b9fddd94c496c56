package clients

import (
	"os"
	"os/exec"
	"testing"
)

// present tells whether a program is there. Without it the test fails, unless ALLOW_MISSING=1.
func present(t *testing.T, program string) bool {
	t.Helper()
	_, err := exec.LookPath(program)
	switch {
	case err == nil:
		return true
	case os.Getenv("ALLOW_MISSING") == "1":
		t.Logf("missing: %s", program)
	default:
		t.Fatalf("%s is missing; script/deps.sh tells its package. ALLOW_MISSING=1 goes on without", program)
	}
	return false
}
