//go:build unix

package script_test

import (
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/world/keystore"
)

// TestTheSweepCatches runs stories that leak on purpose: each must fail, and say where.
func TestTheSweepCatches(t *testing.T) {
	for _, row := range []struct{ story, want string }{
		{"file", "notes.txt shows the value in the vault"},
		{"name-of-file", "shows the password of somebody else's application"},
		{"key-in-file", "notes.txt shows "},
		{"deleted-key", "notes.txt shows "},
		{"stdout", "sh leak.sh: stdout shows the value in the vault"},
		{"stderr", "sh leak.sh: stderr shows the value in the vault"},
		{"argv", "argv shows the value in the vault"},
		{"environment", "environ:LK_A shows the value in the vault"},
		{"database", "lk/local/leastkey.db (rows) shows the value in the vault"},
		{"request-log", "request log shows the value in the vault"},
		{"header", "stdout of cloud env --resource shows the header of a managed-identity endpoint"},
		{"legacy", "home/.env shows legacy secret 0"},
		{"token", ""},
		{"token-elsewhere", "sh leak.sh: stdout shows a signed token"},
	} {
		t.Run(row.story, func(t *testing.T) {
			t.Parallel()
			p := params([]string{filepath.Join("testdata", "leaks", row.story+".txtar")})
			p.Cmds["reveal"] = with(reveal)
			said := attempt(p)
			switch {
			case strings.Contains(said, "FAIL"):
				t.Errorf("the story itself failed:\n%s", said)
			case row.want == "" && strings.Contains(said, "canary:"):
				t.Errorf("this is no leak:\n%s", said)
			case !strings.Contains(said, row.want):
				t.Errorf("want %q in:\n%s", row.want, said)
			}
		})
	}
}

// reveal prints a secret, and puts it into a variable of the script.
func reveal(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "reveal vault|password|key VAR")
	secret := s.planted[args[0]]
	if args[0] == "key" { // without what shows it for one at first sight
		_, key := s.active(ts)
		text, err := keystore.EncodeKey(key)
		ts.Check(err)
		ts.Check(text.Use(func(b []byte) error {
			block, _ := pem.Decode(b)
			secret = hex.EncodeToString(block.Bytes)
			return nil
		}))
	}
	if secret == "" {
		ts.Fatalf("no %s is known", args[0])
	}
	_, _ = ts.Stdout().Write([]byte(secret)) // into memory
	ts.Setenv(args[1], secret)
}

// attempt runs stories that may fail, and gives what they said.
func attempt(p testscript.Params) string {
	q := &quiet{}
	q.Run("", func(q testscript.T) { testscript.RunT(q, p) })
	return q.said.String()
}

// quiet is a testing.T that keeps failures to itself.
type quiet struct{ said strings.Builder }

// Run implements [testscript.T]. A failure ends the goroutine, as it does in package testing.
func (q *quiet) Run(_ string, f func(testscript.T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(q)
	}()
	<-done
}

// Fatal implements [testscript.T].
func (q *quiet) Fatal(a ...any) { q.Log(a...); q.FailNow() }

// Skip implements [testscript.T].
func (q *quiet) Skip(a ...any) { q.Fatal(a...) }

// Log implements [testscript.T].
func (q *quiet) Log(a ...any) { fmt.Fprintln(&q.said, a...) }

// FailNow implements [testscript.T].
func (q *quiet) FailNow() { runtime.Goexit() }

// Parallel implements [testscript.T].
func (q *quiet) Parallel() {}

// Verbose implements [testscript.T].
func (q *quiet) Verbose() bool { return false }

// TestNoStoryEscapesTheSweep refuses stories that start the program by testscript's own means.
func TestNoStoryEscapesTheSweep(t *testing.T) {
	for _, f := range stories(t, func(string) bool { return true }) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(strings.TrimLeft(line, "! "), "exec leastkey") {
				t.Errorf("%s:%d: use exits or start", f, n+1)
			}
		}
	}
}
