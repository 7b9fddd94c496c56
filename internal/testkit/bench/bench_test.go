package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestTheBenchRuns keeps the bench from rotting: every row is measured once, briefly, and none is judged.
func TestTheBenchRuns(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "leastkey")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/leastkey/leastkey/cmd/leastkey").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b := bench{runs: 1, rate: 200 * time.Millisecond, bin: bin, profile: filepath.Join(t.TempDir(), "cpu"), few: 5, many: 20}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
