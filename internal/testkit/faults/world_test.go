//go:build linux

package faults

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
	"github.com/leastkey/leastkey/internal/testkit/product"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
)

// binary and small are the programs that people get: leastkey and provisioner-token.
var binary, small string

func TestMain(m *testing.M) {
	if os.Getenv(childFault) != "" {
		os.Exit(child(os.Args[1:]))
	}
	os.Exit(suite(m))
}

func suite(m *testing.M) int {
	dir, err := os.MkdirTemp("", "leastkey-faults-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if binary, err = product.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	small = filepath.Join(dir, "provisioner-token")
	if out, err := exec.Command("go", "build", "-o", small, "github.com/leastkey/leastkey/cmd/provisioner-token").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

var signing = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// world is a cloud in this process, a legacy install, and a machine that has it.
type world struct {
	*testing.T
	cloud *localcloud.Cloud
	view  *cloudview.Cloud
	in    legacy.Installed
	machine
	planted  []byte // what a row has to find again
	squatter string // object id of somebody else's application
}

// machine is one of those that share the Provisioner: a home of its own, and a folder with a state file.
type machine struct {
	home, repo string
	env        []string
}

func (m machine) state() string { return filepath.Join(m.repo, ".entraclaw-state.json") }

func newWorld(t *testing.T) *world {
	home := t.TempDir()
	w := &world{T: t, machine: newMachine(home)}
	cloud, err := localcloud.New(localcloud.Config{RunDir: filepath.Join(home, "local"), SigningKey: signing(), OperatorKey: signing()})
	w.must(err)
	t.Cleanup(func() { w.must(cloud.Close()) })
	w.must(cloud.Listen(context.Background()))
	w.cloud = cloud
	w.view = w.as("admin")
	w.in, err = legacy.Install(t.Context(), w.view, w.repo)
	w.must(err)
	return w
}

func newMachine(home string) machine {
	return machine{home: home, repo: filepath.Join(home, "repo"), env: []string{"LEASTKEY_HOME=" + home, "HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + home}}
}

// as looks with the eyes, and fresh tokens, of an operator.
func (w *world) as(operator string) *cloudview.Cloud {
	e := w.cloud.Endpoints()
	v := &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: w.cloud.TenantID(), Subscription: w.cloud.SubscriptionID(), HTTP: &http.Client{Transport: w.cloud.Transport()}}
	for _, o := range w.cloud.Operators() {
		if o.Name == operator {
			v.User, v.Password = o.UPN, o.Password.Reveal()
		}
	}
	return v
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) call(method, path string, body, into any) {
	w.Helper()
	_, err := w.view.Call(w.Context(), method, "/v1.0/"+path, body, into)
	w.must(err)
}

func (w *world) turn(k localcloud.Knobs) { w.must(w.cloud.SetKnobs(k)) }

// migration is the command with all that somebody has to have looked at.
func (m machine) migration() []string {
	args := []string{"provisioner", "migrate", "--yes", "--sole-holder"}
	if copies, _ := filepath.Glob(m.state() + ".bak*"); len(copies) > 0 { // the pattern is well formed
		args = append(args, "--edit", copies[0])
	}
	return args
}

// run runs the program that people get, in the machine's folder.
func (w *world) run(m machine, args ...string) product.Result {
	w.Helper()
	return w.exec(m, binary, nil, args...)
}

// faulty runs the program with one thing in it that fails.
func (w *world) faulty(m machine, fault string, args ...string) product.Result {
	w.Helper()
	return w.exec(m, os.Args[0], []string{childFault + "=" + fault}, args...)
}

func (w *world) exec(m machine, program string, env []string, args ...string) product.Result {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), product.Patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	c.Dir, c.Env, c.Stdout, c.Stderr = m.repo, slices.Concat(m.env, env), &stdout, &stderr
	err := c.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		w.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return product.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: c.ProcessState.ExitCode()}
}

// wants runs a command that has to end with that code.
func (w *world) wants(code int, m machine, args ...string) product.Result {
	w.Helper()
	r := w.run(m, args...)
	if r.Code != code {
		w.Errorf("leastkey %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// untouched wants everything to be as the original has left it.
func (w *world) untouched() {
	w.Helper()
	bad, err := w.in.Untouched(w.Context(), w.as("admin"))
	w.must(err)
	for _, b := range bad {
		w.Error(b)
	}
	if keys := w.keys(w.machine); len(keys) > 0 {
		w.Errorf("the keystore holds %v", keys)
	}
}

// migrated wants what a migration has to reach; others is how many certificates more than that one and the other machine's there are.
func (w *world) migrated() {
	w.Helper()
	bad, err := w.in.Migrated(w.Context(), w.as("admin"))
	w.must(err)
	for _, b := range bad {
		w.Error(b)
	}
	if keys := w.keys(w.machine); !slices.Equal(keys, []string{w.in.Tenant}) {
		w.Errorf("the keystore holds %v", keys)
	}
	w.logsIn(w.machine)
}

// goesOn wants the next migration, without a fault, to reach its end.
func (w *world) goesOn() {
	w.Helper()
	w.wants(0, w.machine, w.migration()...)
	w.migrated()
}

func (w *world) logsIn(m machine) {
	w.Helper()
	if r := w.run(m, "provisioner", "token"); r.Code != 0 || strings.Count(r.Stdout, ".") != 2 || r.Stderr != "" {
		w.Errorf("provisioner token: exit %d\n%s", r.Code, r.Stderr)
	}
}

// keys are the names in the keystore of a machine.
func (w *world) keys(m machine) []string {
	s, err := agefile.New(agefile.Config{Path: filepath.Join(m.home, "local", "keys"), Development: true})
	w.must(err)
	names, err := s.List(w.Context())
	w.must(err)
	return names
}

// someLogIn wants a credential that works, whatever has failed.
func (w *world) someLogIn() {
	w.Helper()
	for _, s := range w.in.Secrets {
		if _, err := legacy.Token(w.Context(), w.view, w.in.AppID, s); err == nil {
			return
		}
	}
	w.logsIn(w.machine)
}

// second is another machine that has a copy of the install and reaches the same cloud.
func (w *world) second() machine {
	m := newMachine(w.TempDir())
	for _, dir := range []string{m.repo, filepath.Join(m.home, "local")} {
		w.must(os.MkdirAll(dir, 0o700))
	}
	files, err := os.ReadDir(filepath.Join(w.home, "local"))
	w.must(err)
	for _, f := range files {
		if f.Type().IsRegular() && f.Name() != "cloud.lock" && !strings.HasPrefix(f.Name(), "leastkey.db") && f.Name() != "keychain.lock" {
			w.copyFile(filepath.Join(w.home, "local", f.Name()), filepath.Join(m.home, "local", f.Name()))
		}
	}
	for _, path := range []string{w.in.StateFile, w.in.EnvFile, w.in.BackUp} {
		w.copyFile(path, filepath.Join(m.repo, filepath.Base(path)))
	}
	return m
}

func (w *world) copyFile(from, to string) {
	b, err := os.ReadFile(from)
	w.must(err)
	w.must(os.WriteFile(to, b, 0o600))
}

// until repeats a command while it ends with exit 4, as it says that one should.
func (w *world) until(m machine, args ...string) {
	w.Helper()
	var r product.Result
	for range 4 {
		if r = w.run(m, args...); r.Code != 4 {
			break
		}
	}
	if r.Code != 0 {
		w.Errorf("leastkey %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
}

func day(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func asText(v any) string { return fmt.Sprint(v) }
