// Package product builds the program that people get and runs it, and other programs, as processes: with an environment in which there
// is nothing of ours, and with a bound on every wait.
package product

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait; the first az on a machine compiles a great deal of Python.
const Patience = 3 * time.Minute

// Build makes the binary in a folder and gives its path.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "leastkey")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/leastkey/leastkey/cmd/leastkey").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// House is a home folder for processes of the product, with nothing in it.
type House struct {
	Binary string
	Home   string
	Env    []string // of every process: nothing of ours comes in
}

// NewHouse makes an empty home.
func NewHouse(t *testing.T, binary string) House {
	t.Helper()
	home := t.TempDir()
	return House{binary, home, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LEASTKEY_HOME=" + filepath.Join(home, "leastkey"), "TMPDIR=" + t.TempDir()}}
}

// RunDir is where a local cloud of this home announces itself.
func (h House) RunDir() string { return filepath.Join(h.Home, "leastkey", "local") }

// Result is how a program ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs a program with that environment and no other.
func Run(t *testing.T, dir string, env []string, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Leastkey runs the product.
func (h House) Leastkey(t *testing.T, args ...string) Result {
	t.Helper()
	return Run(t, h.Home, h.Env, h.Binary, args...)
}

// Serve starts a command of the product that goes on until it is interrupted, such as cloud serve, with --json. It returns when the
// command's JSON document is in into and a line on stderr has begun with ready, which may be "". At the end of the test the process is
// interrupted, and has to end well; on Linux it does not outlive this process, whatever becomes of that.
func (h House) Serve(t *testing.T, into any, ready string, args ...string) {
	t.Helper()
	what := "leastkey " + strings.Join(args, " ")
	cmd := exec.Command(h.Binary, append(args, "--json")...)
	cmd.Env, cmd.Dir = h.Env, h.Home
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	withParent(cmd)

	said := &told{ready: make(chan struct{}), prefix: ready}
	answered := make(chan struct{})
	var reading sync.WaitGroup
	var answerErr error
	reading.Go(func() {
		answerErr = json.NewDecoder(stdout).Decode(into)
		close(answered)
		_, _ = io.Copy(io.Discard, stdout) // until it ends
	})
	reading.Go(func() { said.read(stderr) })
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for withParent
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			reading.Wait() // Wait closes the pipes
			ended <- cmd.Wait()
		}
	}()
	must(t, <-started)
	late := time.After(Patience)
	for waits := []<-chan struct{}{answered, said.ready}; len(waits) > 0; waits = waits[1:] {
		select {
		case <-waits[0]:
		case err := <-ended:
			t.Fatalf("%s ended: %v\n%s", what, err, said)
		case <-late:
			_ = cmd.Process.Kill()
			t.Fatalf("%s does not say that it serves:\n%s", what, said)
		}
	}
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(os.Interrupt))
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s, interrupted once it served: %v\n%s", what, err, said)
			}
		case <-time.After(Patience):
			_ = cmd.Process.Kill()
			t.Errorf("%s does not end", what)
		}
	})
	if answerErr != nil {
		t.Fatalf("%s: %v\n%s", what, answerErr, said)
	}
}

// told is what a process tells people, and whether it has said yet that it serves.
type told struct {
	prefix string
	ready  chan struct{}
	mu     sync.Mutex
	text   strings.Builder
}

func (s *told) read(r io.Reader) {
	waiting := true
	if s.prefix == "" {
		waiting = false
		close(s.ready)
	}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		s.mu.Lock()
		s.text.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		if waiting && strings.HasPrefix(lines.Text(), s.prefix) {
			waiting = false
			close(s.ready)
		}
	}
}

// String is what it has said so far.
func (s *told) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// Shell runs what `leastkey cloud env` prints as a person's shell would, and gives the environment that it leaves.
func Shell(t *testing.T, env []string, printed string) []string {
	t.Helper()
	r := Run(t, t.TempDir(), env, "sh", "-euc", printed+"\nenv -0\n")
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("the shell says: exit %d\n%s\n%s", r.Code, r.Stderr, printed)
	}
	return strings.Split(strings.TrimSuffix(r.Stdout, "\x00"), "\x00")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
