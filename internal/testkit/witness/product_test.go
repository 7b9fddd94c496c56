package witness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
)

// patience bounds every wait; the first az on a machine compiles a great deal of Python.
const patience = 3 * time.Minute

// house is the built product with its local cloud running.
type house struct {
	binary    string
	env       []string // of every process: nothing of ours comes in
	run       localcloud.Run
	report    api.Report // of up
	operators map[string]localcloud.Operator
}

// build makes the binary that people get.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "leastkey")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/leastkey/leastkey/cmd/leastkey").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// up runs `leastkey up` until it says that it serves. At the end of the test it is interrupted, and has to end well.
func up(t *testing.T) *house {
	t.Helper()
	home := t.TempDir()
	h := &house{binary: build(t), env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LEASTKEY_HOME=" + filepath.Join(home, "leastkey"), "TMPDIR=" + t.TempDir()}}
	cmd := exec.Command(h.binary, "up", "--json")
	cmd.Env, cmd.Dir = h.env, home
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())

	said := &told{ready: make(chan struct{})}
	var reading sync.WaitGroup
	var reportErr error
	reading.Go(func() {
		reportErr = json.NewDecoder(stdout).Decode(&h.report)
		_, _ = io.Copy(io.Discard, stdout) // until it ends
	})
	reading.Go(func() { said.read(stderr) })
	ended := make(chan error, 1)
	go func() {
		reading.Wait() // Wait closes the pipes
		ended <- cmd.Wait()
	}()
	select {
	case <-said.ready:
	case err := <-ended:
		t.Fatalf("leastkey up ended: %v, %v\n%s", err, reportErr, said)
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Fatalf("leastkey up does not say that it serves:\n%s", said)
	}
	dir := filepath.Join(home, "leastkey", "local")
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(os.Interrupt))
		select {
		case err := <-ended:
			if err != nil || reportErr != nil {
				t.Errorf("leastkey up, interrupted once it served: %v, %v\n%s", err, reportErr, said)
			}
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			t.Error("leastkey up does not end")
		}
		if _, err := localcloud.ReadRun(context.Background(), dir); !errors.Is(err, localcloud.ErrNoRun) {
			t.Errorf("the run file is left over: %v", err)
		}
	})
	h.run, err = localcloud.ReadRun(t.Context(), dir)
	must(t, err)
	h.operators = operators(t, h.run)
	return h
}

// told is what a process tells people, and whether it has said yet that it serves.
type told struct {
	ready chan struct{}
	mu    sync.Mutex
	text  strings.Builder
}

func (s *told) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		s.mu.Lock()
		s.text.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		if strings.HasPrefix(lines.Text(), "This terminal serves") {
			close(s.ready)
		}
	}
}

func (s *told) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func operators(t *testing.T, run localcloud.Run) map[string]localcloud.Operator {
	t.Helper()
	all, err := localcloud.ReadOperators(run)
	must(t, err)
	named := map[string]localcloud.Operator{}
	for _, o := range all {
		named[o.Name] = o
	}
	return named
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a program with that environment and no other.
func run(t *testing.T, dir string, env []string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// leastkey runs the product in a shell that has the variables env.
func (h *house) leastkey(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	return run(t, dir, env, h.binary, args...)
}

// says runs the product and reads the JSON that it answers with.
func (h *house) says(t *testing.T, dir string, env []string, into any, args ...string) {
	t.Helper()
	r := h.leastkey(t, dir, env, append(args, "--json")...)
	if r.code != 0 {
		t.Fatalf("leastkey %s: exit %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	decode(t, "leastkey "+strings.Join(args, " "), r.stdout, into)
}

func decode(t *testing.T, what, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
