//go:build linux

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	aToken  = regexp.MustCompile(`\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\n\z`)
	anError = regexp.MustCompile(`\Aleastkey: error: [^\n]+\n\z`)
)

// environments are what may make programs talk.
func environments() map[string][]string {
	return map[string][]string{
		"plain":               nil,
		"everything is noise": {"LEASTKEY_LOG=debug", "LEASTKEY_DEBUG=1", "LOG_LEVEL=trace", "DEBUG=*", "VERBOSE=1", "AZURE_LOG_LEVEL=verbose", "AZURE_SDK_GO_LOGGING=all", "MSAL_LOG=all", "RUST_LOG=trace"},
		"info":                {"LEASTKEY_LOG=info"},
		"no colour":           {"NO_COLOR=1"},
		"colour by force":     {"CLICOLOR_FORCE=1", "FORCE_COLOR=3", "TERM=xterm-256color", "COLORTERM=truecolor"},
		"continuous":          {"CI=true", "GITHUB_ACTIONS=true", "TF_BUILD=True"},
		"a dumb terminal":     {"TERM=dumb"},
		"another language":    {"LANG=de_DE.UTF-8", "LC_ALL=de_DE.UTF-8"},
	}
}

// programs are the two names of the one command.
func programs() map[string][]string {
	return map[string][]string{"provisioner-token": {small}, "leastkey provisioner token": {binary, "provisioner", "token"}}
}

func TestTheTokenIsAloneOnStdout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wants(0, w.machine, w.migration()...)
	nowhere := newMachine(t.TempDir()) // without a cloud and without a state file
	w.must(os.MkdirAll(nowhere.repo, 0o700))
	unreachable := w.second() // with a state file, and a cloud that is not there
	w.must(os.RemoveAll(filepath.Join(unreachable.home, "local")))
	w.must(os.WriteFile(unreachable.state(), []byte("{"), 0o600))
	for _, name := range slices.Sorted(maps.Keys(programs())) {
		argv := programs()[name]
		for in, env := range environments() {
			before := w.cloud.Counts()["login"].Requests
			r := w.exec(w.machine, argv[0], env, argv[1:]...)
			if r.Code != 0 || !aToken.MatchString(r.Stdout) || r.Stderr != "" {
				t.Errorf("%s, %s: exit %d, %d bytes on stdout, on stderr %q", name, in, r.Code, len(r.Stdout), r.Stderr)
			}
			if n := w.cloud.Counts()["login"].Requests - before; n != 1 {
				t.Errorf("%s, %s: %d requests", name, in, n)
			}
			for why, m := range map[string]machine{"no state file": nowhere, "a corrupt one": unreachable} {
				if r := w.exec(m, argv[0], env, argv[1:]...); r.Code != 1 || r.Stdout != "" || !anError.MatchString(r.Stderr) {
					t.Errorf("%s, %s, %s: exit %d, stdout %q, stderr %q", name, in, why, r.Code, r.Stdout, r.Stderr)
				}
			}
		}
		w.onTerminal(name, argv)
	}
}

// onTerminal runs the program with everything on a terminal.
func (w *world) onTerminal(name string, argv []string) {
	ours, theirs := terminal(w)
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Env = w.repo, append(slices.Clone(w.env), "TERM=xterm-256color")
	c.Stdin, c.Stdout, c.Stderr = theirs, theirs, theirs
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	w.must(c.Start())
	w.must(theirs.Close())
	var out bytes.Buffer
	if _, err := io.Copy(&out, ours); err != nil && !errors.Is(err, unix.EIO) { // what a terminal says once nobody has its other end
		w.Fatal(err)
	}
	if err := c.Wait(); err != nil || !aToken.MatchString(strings.ReplaceAll(out.String(), "\r\n", "\n")) {
		w.Errorf("%s on a terminal: %v, %d bytes", name, err, out.Len())
	}
}

func terminal(w *world) (ours, theirs *os.File) {
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	w.must(err)
	w.Cleanup(func() { _ = ours.Close() })
	w.must(unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	w.must(err)
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	w.must(err)
	return ours, theirs
}
