package clients

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// present tells whether a client is there, which it is when the command works. Without it the test fails, unless ALLOW_MISSING=1.
func present(t *testing.T, command ...string) bool {
	t.Helper()
	err := exec.CommandContext(t.Context(), command[0], command[1:]...).Run()
	switch {
	case err == nil:
		return true
	case os.Getenv("ALLOW_MISSING") == "1":
		t.Logf("missing: %s (%v)", strings.Join(command, " "), err)
	default:
		t.Fatalf("%s: %v; script/deps.sh installs what is needed, or tells its package. ALLOW_MISSING=1 goes on without", strings.Join(command, " "), err)
	}
	return false
}
