package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

// language is a client in another language: its suite lies in script/clients.
type language struct {
	name    string
	tool    string   // without which it cannot run
	prepare []string // run in its folder beforehand; nil means nothing
	args    []string
}

func languages() []language {
	return []language{
		{"js", "node", []string{"npm", "ci", "--no-audit", "--no-fund"}, []string{"node", "suite.mjs"}},
		// Debian's interpreter sees Debian's python3-msal and python3-azure, whatever else is in PATH.
		{"python", "/usr/bin/python3", nil, []string{"/usr/bin/python3", "suite.py"}},
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
	if !present(t, l.tool) {
		return
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "script", "clients", l.name))
	must(t, err)
	if l.prepare != nil {
		if r := product.Run(t, dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, l.prepare[0], l.prepare[1:]...); r.Code != 0 {
			t.Fatalf("%s: exit %d\n%s%s", strings.Join(l.prepare, " "), r.Code, r.Stdout, r.Stderr)
		}
	}
	issuer := NewIssuer(t)
	s := Start(t, l.name, "--issuer-ca", issuer.CAFile)
	s.Program(t, Program{Env: l.name, Args: l.args, Dir: dir, Issuers: map[string]*Issuer{"main": issuer}})
}
