package clients

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

// language is a client in another language: its suite lies in script/clients.
type language struct {
	name    string
	check   []string // works where the client is there
	prepare []string // run in its folder beforehand; nil means nothing
	args    []string
}

func languages() []language {
	return []language{
		{"js", []string{"npm", "--version"}, []string{"npm", "ci", "--no-audit", "--no-fund"}, []string{"node", "suite.mjs"}},
		// Debian's interpreter sees Debian's python3-msal and python3-azure, whatever else is in PATH.
		{"python", []string{"/usr/bin/python3", "-c", "import msal, azure.identity"}, nil, []string{"/usr/bin/python3", "suite.py"}},
	}
}

func TestLanguages(t *testing.T) {
	for _, l := range languages() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			l.run(t)
		})
	}
}

func (l language) run(t *testing.T) {
	if !present(t, l.check...) {
		return
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "script", "clients", l.name))
	must(t, err)
	args := l.args
	if l.name == "js" {
		args = append([]string{node(t)}, args[1:]...)
	}
	if l.prepare != nil {
		install(t, dir, l.prepare...)
	}
	issuer := NewIssuer(t)
	s := Start(t, l.name, "--issuer-ca", issuer.CAFile)
	s.Program(t, Program{Env: l.name, Args: args, Dir: dir, Issuers: map[string]*Issuer{"main": issuer}})
}

// oldest and wanted are versions of Node.js: what the SDKs need, and what is installed beside one that is older, such as Debian 12's.
const (
	oldest = 20
	wanted = "node@20.20.2"
)

// node is a Node.js that is new enough: that of the machine, or one of npm's package of that name.
func node(t *testing.T) string {
	t.Helper()
	r := product.Run(t, t.TempDir(), os.Environ(), "node", "--version")
	major, _, _ := strings.Cut(strings.TrimPrefix(r.Stdout, "v"), ".")
	if n, err := strconv.Atoi(major); err == nil && n >= oldest {
		return "node"
	}
	dir := t.TempDir()
	install(t, dir, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", wanted)
	return filepath.Join(dir, "node_modules", ".bin", "node")
}

// install runs npm, whose configuration is the user's.
func install(t *testing.T, dir string, args ...string) {
	t.Helper()
	if r := product.Run(t, dir, os.Environ(), args[0], args[1:]...); r.Code != 0 {
		t.Fatalf("%s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
}
