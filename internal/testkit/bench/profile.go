package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/pprof"
	"strings"
)

// underProfile runs f while a CPU profile is written.
func underProfile(file string, f func() error) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(err, out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}

// profiled runs f under a CPU profile, of which it gives the summary.
func (b bench) profiled(f func() error) (string, error) {
	file := b.profile
	if file == "" {
		dir, err := os.MkdirTemp("", "leastkey-bench-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		file = filepath.Join(dir, "cpu.pprof")
	}
	if err := underProfile(file, f); err != nil {
		return "", err
	}
	return summary(file)
}

// summary is a profile in one line: the three functions that take most, and what whole jobs take, what they call included.
func summary(file string) (string, error) {
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=100000", file).Output()
	if err != nil {
		return "", fmt.Errorf("go tool pprof: %w", err)
	}
	jobs := []struct{ function, name string }{
		{"crypto/rsa.SignPKCS1v15", "sign"}, {"crypto/rsa.VerifyPKCS1v15", "verify"}, {"net/http.(*conn).serve", "the whole server"},
		{"main.ask", "the client's calls"}, {"net/http.(*persistConn).readLoop", "the client's reading"},
		{"internal/runtime/syscall.Syscall6", "system calls"}, {"runtime.gcBgMarkWorker", "garbage"},
	}
	shares := map[string]string{}
	var most []string
	header := true
	for line := range strings.Lines(string(out)) {
		// flat flat% sum% cum cum% function
		w := strings.Fields(line)
		if header {
			header = len(w) == 0 || w[0] != "flat"
			continue
		}
		if len(w) < 6 {
			continue
		}
		if len(most) < 3 {
			most = append(most, w[1]+" "+path.Base(w[5]))
		}
		shares[w[5]] = w[4]
	}
	var whole []string
	for _, j := range jobs {
		if s := shares[j.function]; s != "" {
			whole = append(whole, j.name+" "+s)
		}
	}
	return strings.Join(most, ", ") + "; " + strings.Join(whole, ", "), nil
}
