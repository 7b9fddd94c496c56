package statefile_test

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/statefile"
)

func TestWhatAHistoryHolds(t *testing.T) {
	const known, other = "oHk8Q~ab.cd-ef_gh~ij.kl-mn_op~qr.st-uv_w", "Zzz8Q~0000000000000000000000000000000000"
	f := statefile.NewFinder([]secret.Value{secret.New([]byte(known))})
	for _, row := range []struct {
		name, content string
		line          int
	}{
		{"the value alone", "a\nb\n" + known + "\n", 3},
		{"the value in the middle of a long line", strings.Repeat("x", 200_000) + known, 1},
		{"the value behind the size of a state file", strings.Repeat("x\n", 1<<20) + known, 1<<20 + 1},
		{"the value as a URL has it", "?s=" + strings.ReplaceAll(known, "~", "~"), 1},
		{"an earlier value in a state file", "{\n  \"PROVISIONER_CLIENT_SECRET\": \"" + other + "\"\n}", 2},
		{"an earlier value in an environment file", "A=1\nPROVISIONER_CLIENT_SECRET=" + other + "\n", 2},
		{"an earlier value in a script", "export PROVISIONER_CLIENT_SECRET='" + other + "'; run", 1},
		{"a value without a digit, quoted", `PROVISIONER_CLIENT_SECRET = "abcdefghijklmnopqrstuvwxyz"`, 1},
		{"a call", "PROVISIONER_CLIENT_SECRET = read_secret_of_state(path)", 0},
		{"a variable", "PROVISIONER_CLIENT_SECRET: settings.client_secret_value,", 0},
		{"a shell variable", "PROVISIONER_CLIENT_SECRET=$SOME_OTHER_VARIABLE_OF_MINE", 0},
		{"what documentation says", "PROVISIONER_CLIENT_SECRET=<the secret that the portal shows>", 0},
		{"a read", `os.environ["PROVISIONER_CLIENT_SECRET"]`, 0},
		{"nothing", "", 0},
	} {
		if line, err := f.Find(strings.NewReader(row.content)); err != nil || line != row.line {
			t.Errorf("%s: line %d, %v; want %d", row.name, line, err, row.line)
		}
	}
}
