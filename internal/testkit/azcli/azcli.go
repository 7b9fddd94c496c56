// Package azcli runs az, the command line of Azure, with configuration folders of its own.
package azcli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

const folder = "AZURE_CONFIG_DIR="

// Present tells whether az is there and runs. Without it the test fails, unless ALLOW_MISSING=1.
func Present(t *testing.T) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "az", "version", "--output", "json").CombinedOutput()
	if err == nil {
		t.Logf("az is %s", strings.Join(strings.Fields(string(out)), " "))
		return true
	}
	if os.Getenv("ALLOW_MISSING") == "1" {
		t.Logf("missing: azure-cli (%v)", err)
		return false
	}
	t.Fatalf("az does not run: %v\n%s\ninstall the Debian package azure-cli (it brings python3), or set ALLOW_MISSING=1 to go on without", err, out)
	return false
}

// Session is a configuration folder of az with the environment around it.
type Session struct {
	Dir string
	Env []string
}

// Open runs what `leastkey cloud env --for az` prints in a shell with the environment env, and takes over what it leaves.
func Open(t *testing.T, env []string, printed string) Session {
	t.Helper()
	s := Session{Env: product.Shell(t, env, printed)}
	for _, v := range s.Env {
		if dir, ok := strings.CutPrefix(v, folder); ok {
			s.Dir = dir
		}
	}
	if s.Dir == "" {
		t.Fatalf("the printed lines leave az its usual folder:\n%s", printed)
	}
	return s
}

// Another is a session beside this one, with what it knows so far: az is not made for two at a time in one folder.
func (s Session) Another(t *testing.T) Session {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "az")
	if err := os.CopyFS(dir, os.DirFS(s.Dir)); err != nil {
		t.Fatal(err)
	}
	env := slices.DeleteFunc(slices.Clone(s.Env), func(v string) bool { return strings.HasPrefix(v, folder) })
	return Session{dir, append(env, folder+dir)}
}

// Run runs a command that answers in JSON.
func (s Session) Run(t *testing.T, args ...string) product.Result {
	t.Helper()
	return product.Run(t, t.TempDir(), s.Env, "az", append(args, "--output", "json")...)
}

// Account is a subscription as az shows it.
type Account struct {
	Cloud     string `json:"cloudName"`
	ID        string `json:"id"`
	TenantID  string `json:"tenantId"`
	HomeID    string `json:"homeTenantId"`
	State     string `json:"state"`
	IsDefault bool   `json:"isDefault"`
	User      struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"user"`
}

var invitation = regexp.MustCompile(`^To sign in, use a web browser to open the page (https://\S+) and enter the code ([A-Z0-9]+) to authenticate\.\n$`)

// DeviceLogin logs a user in: az shows a page and a code, and enter is the person who enters the code there.
func (s Session) DeviceLogin(t *testing.T, tenant string, enter func(page, code string)) ([]Account, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), product.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "az", "login", "--use-device-code", "--tenant", tenant, "--output", "json")
	cmd.Env, cmd.Dir = s.Env, t.TempDir()
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(pipe)
	line, err := lines.ReadString('\n')
	found := invitation.FindStringSubmatch(line)
	if found == nil {
		cancel()
		_ = cmd.Wait()
		return nil, fmt.Errorf("az shows %q (%v), which is no invitation", line, err)
	}
	enter(found[1], found[2])
	rest, err := io.ReadAll(lines)
	if err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("az login --use-device-code: %w\n%s", err, rest)
	}
	var all []Account
	return all, json.Unmarshal(stdout.Bytes(), &all)
}
