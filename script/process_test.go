//go:build unix

package script_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tokenStdout is the one stream that may show an access token.
const tokenStdout = "stdout"

// process is a program that the story started.
type process struct {
	what     string // as typed
	cmd      *exec.Cmd
	out, err stream
	ended    chan struct{}
	code     int // once ended; the negative number of a signal that ended it
}

// stream keeps what a process prints, and tells when there is more.
type stream struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

// Write implements [io.Writer].
func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
	return s.b.Write(b)
}

// now is what there is, and a channel that closes with the next write.
func (s *stream) now() ([]byte, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return bytes.Clone(s.b.Bytes()), s.more
}

func (s *stream) bytes() []byte {
	b, _ := s.now()
	return b
}

// passed are the variables that a process gets, if the story has them; a story may add others whose names begin with LK_ or AZURE_.
func passed() []string {
	return []string{"PATH", "HOME", "LEASTKEY_HOME", "TMPDIR", "GOCOVERDIR", "DBUS_SESSION_BUS_ADDRESS", "LK_A", "LK_B", "FORGED_AZ",
		"LEASTKEY_STATE_FILE", "GRAPH", "LEASTKEY", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"}
}

func (s *story) launch(ts *testscript.TestScript, args []string) *process {
	path := ""
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if at, err := exec.LookPath(dir + string(os.PathSeparator) + args[0]); err == nil {
			path = at
			break
		}
	}
	if path == "" {
		ts.Fatalf("%s: not found", args[0])
	}
	p := &process{what: strings.Join(args, " "), cmd: exec.CommandContext(s.ctx, path, args[1:]...), ended: make(chan struct{})}
	p.cmd.Args[0] = args[0]
	p.cmd.Dir = ts.MkAbs(".")
	for _, name := range passed() {
		if v := ts.Getenv(name); v != "" {
			p.cmd.Env = append(p.cmd.Env, name+"="+v)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second // for a child that outlives it and holds its streams
	if err := p.cmd.Start(); err != nil {
		ts.Fatalf("%s: %v", p.what, err)
	}
	go func() {
		err := p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		if w, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			p.code = -int(w.Signal())
		}
		if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit && !errors.Is(err, exec.ErrWaitDelay) {
			fmt.Fprintf(&p.err, "\n(%v)\n", err)
		}
		close(p.ended)
	}()
	s.prepareSweep()
	_ = s.sweep.ProcTree(p.cmd.Process.Pid) // one that is quick has ended; what it was given is swept below
	return p
}

// look sweeps what the process was given and has printed.
func (s *story) look(p *process) {
	s.sweep.Bytes("argv of "+p.cmd.Args[0], []byte(strings.Join(p.cmd.Args, " ")))
	for _, v := range p.cmd.Env {
		name, _, _ := strings.Cut(v, "=")
		s.sweep.Bytes("environ:"+name, []byte(v))
	}
	stdout := p.what + ": stdout"
	if isTokenCommand(p.cmd.Args) {
		stdout = tokenStdout
	}
	if showsHeader(p.cmd.Args) {
		stdout = headerStdout
	}
	s.sweep.Bytes(stdout, p.out.bytes())
	s.sweep.Bytes(p.what+": stderr", p.err.bytes())
}

// waitFor waits for the process, learns what is secret now, and sweeps.
func (s *story) waitFor(ts *testscript.TestScript, p *process) {
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		ts.Fatalf("%s: has not ended after %v\n%s", p.what, patience, p.err.bytes())
	}
	ts.Check(s.learn())
	if showsHeader(p.cmd.Args) {
		ts.Check(s.learnHeader(p.out.bytes()))
	}
	s.look(p)
}

func exits(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, -1, "exits CODE PROGRAM [ARG…]")
	p := s.launch(ts, args[1:])
	s.waitFor(ts, p)
	s.report(ts, p, args[0])
}

// report makes the process's output that of the script, and compares its exit code.
func (s *story) report(ts *testscript.TestScript, p *process, want string) {
	_, _ = ts.Stdout().Write(p.out.bytes()) // into memory
	_, _ = ts.Stderr().Write(p.err.bytes())
	code, err := strconv.Atoi(want)
	ts.Check(err)
	if p.code != code {
		ts.Fatalf("exit code %d, want %d\n%s%s", p.code, code, p.out.bytes(), p.err.bytes())
	}
}

func start(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, -1, "start NAME PROGRAM [ARG…]")
	if s.running[args[0]] != nil {
		ts.Fatalf("%s runs already", args[0])
	}
	s.running[args[0]] = s.launch(ts, args[1:])
}

func (s *story) process(ts *testscript.TestScript, name string) *process {
	p := s.running[name]
	if p == nil {
		ts.Fatalf("there is no %s; there are %s", name, strings.Join(sortedKeys(s.running), ", "))
	}
	return p
}

func await(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 3, 4, "await NAME stdout|stderr REGEXP [VAR]: its first group goes into VAR")
	p := s.process(ts, args[0])
	from := map[string]*stream{"stdout": &p.out, "stderr": &p.err}[args[1]]
	if from == nil {
		ts.Fatalf("%s is neither stdout nor stderr", args[1])
	}
	want, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	found := s.until(ts, p, from, want)
	if len(args) == 4 {
		ts.Setenv(args[3], found[1])
	}
}

// until waits for output that matches, and gives the match.
func (s *story) until(ts *testscript.TestScript, p *process, from *stream, want *regexp.Regexp) []string {
	late := time.After(patience)
	for over := false; ; {
		text, more := from.now()
		if m := want.FindSubmatch(text); m != nil {
			return slices.Collect(func(yield func(string) bool) {
				for _, g := range m {
					if !yield(string(g)) {
						return
					}
				}
			})
		}
		if over {
			ts.Fatalf("%s: ended with %d and never printed %s\n%s%s", p.what, p.code, want, p.out.bytes(), p.err.bytes())
		}
		select {
		case <-more:
		case <-p.ended:
			over = true
		case <-late:
			ts.Fatalf("%s: has not printed %s after %v\n%s%s", p.what, want, patience, p.out.bytes(), p.err.bytes())
		}
	}
}

func signal(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "signal NAME INT|TERM|KILL")
	sig, ok := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[1]]
	if !ok {
		ts.Fatalf("no signal %s", args[1])
	}
	ts.Check(s.process(ts, args[0]).cmd.Process.Signal(sig))
}

func ends(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "ends NAME CODE")
	p := s.process(ts, args[0])
	s.waitFor(ts, p)
	delete(s.running, args[0])
	s.report(ts, p, args[1])
}

// conclude sweeps a process that runs at the end of the story, and ends it.
func (s *story) conclude(p *process) error {
	_ = s.sweep.ProcTree(p.cmd.Process.Pid) // it may have ended of itself
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s: does not end on SIGINT\n%s", p.what, p.err.bytes())
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // children that it left
	s.look(p)
	return nil
}
