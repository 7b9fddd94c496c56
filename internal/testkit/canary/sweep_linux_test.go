package canary_test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/canary"
)

// start runs a process that ends with its standard input, and waits until it speaks.
func start(t *testing.T, environ []string, argv ...string) int {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = environ
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("process said %q: %v", line, err)
	}
	return cmd.Process.Pid
}

func TestArgumentsAndEnvironmentOfAProcessAreSwept(t *testing.T) {
	var w canary.Watch
	secret := w.Plant(canary.VaultValue, "a vault value")
	const wait = "echo ready; read -r line"
	file := filepath.Join(t.TempDir(), "secret")
	write(t, file, secret, 0o600)
	for name, row := range map[string]struct {
		environ []string
		argv    []string
		want    string
	}{
		"nothing":     {nil, []string{"/bin/sh", "-c", wait}, ""},
		"an argument": {nil, []string{"/bin/sh", "-c", wait, "--password", secret}, "argv"},
		"a variable":  {[]string{"A=1", "TOKEN=" + secret, "B=2"}, []string{"/bin/sh", "-c", wait}, "environ:TOKEN"},
		// The parent reads the secret from a file, so that only the child shows it.
		"a child's argument": {nil, []string{"/bin/sh", "-c", "s=$(cat \"$0\"); /bin/sh -c 'echo ready; read -r line' x \"$s\"; true", file}, "argv"},
		"a child's variable": {nil, []string{"/bin/sh", "-c", "s=$(cat \"$0\"); TOKEN=$s /bin/sh -c 'echo ready; read -r line'; true", file}, "environ:TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			pid := start(t, row.environ, row.argv...)
			s := w.Story("exec")
			if err := s.ProcTree(pid); err != nil {
				t.Fatal(err)
			}
			switch leaks := s.Leaks(); {
			case row.want == "" && len(leaks) > 0:
				t.Errorf("leaks are %v, want none", leaks)
			case row.want != "" && (len(leaks) != 1 || leaks[0].Stream != row.want):
				t.Errorf("leaks are %v, want one in %s", leaks, row.want)
			}
		})
	}
}

func TestOnlyTheNamedVariableIsExcused(t *testing.T) {
	var w canary.Watch
	secret := w.Plant(canary.VaultValue, "a vault value")
	pid := start(t, []string{"BOT_SECRET=" + secret, "OTHER=" + secret}, "/bin/sh", "-c", "echo ready; read -r line")
	s := w.Story("exec", canary.Excuse{Story: "exec", Stream: "environ:BOT_SECRET", Exception: canary.ForAgentEnvironment})
	if err := s.Proc(pid); err != nil {
		t.Fatal(err)
	}
	if leaks := s.Leaks(); len(leaks) != 1 || leaks[0].Stream != "environ:OTHER" {
		t.Errorf("leaks are %v, want one in OTHER", leaks)
	}
}

func TestAProcessThatIsGoneIsAnError(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var w canary.Watch
	if err := w.Story("exec").ProcTree(cmd.Process.Pid); err == nil {
		t.Error("a process that is gone was swept clean")
	}
}
