package agefile

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

const victimEnv = "LEASTKEY_TEST_AGEFILE_VICTIM"

// TestMain turns the test binary into the process that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
	}
	if dir := os.Getenv(secretVictimEnv); dir != "" {
		secretVictim(dir)
	}
	if dir := os.Getenv(replaceVictimEnv); dir != "" {
		replaceVictim(dir)
	}
	os.Exit(m.Run())
}

// victim creates keys without end. It prints each name before its Create begins and again when it has returned.
func victim(dir string) {
	s, err := New(Config{Path: dir, Development: true})
	if err != nil {
		panic(err)
	}
	key, err := keystore.Generate(0)
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		name := fmt.Sprintf("%d/agent#%d", os.Getpid(), i)
		fmt.Println("begin " + name)
		if _, err := s.Create(context.Background(), name, key); err != nil {
			panic(err)
		}
		fmt.Println("end " + name)
	}
}

// A process killed at any moment leaves whole entries only: what it reported is there, what is there opens, and the next process goes on.
func TestKilledProcessLeavesWholeEntriesOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, Config{Path: dir, Development: true})
	var reported []string
	for round := range 40 {
		reported = append(reported, killAfter(t, victimEnv, dir, round%5+1)...)
		names, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range reported {
			if !slices.Contains(names, n) {
				t.Fatalf("round %d: %s was reported as created and is gone", round, n)
			}
		}
		for _, n := range names[max(0, len(names)-8):] {
			if _, err := s.Open(t.Context(), s.Ref(n)); err != nil {
				t.Fatalf("round %d: %s does not open: %v", round, n, err)
			}
		}
	}
	if _, err := s.Create(t.Context(), "after", newKey(t)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 0 {
		t.Errorf("left over after the next create: %q", left)
	}
	names, _ := s.List(t.Context())
	for _, n := range names {
		if _, err := s.Open(t.Context(), s.Ref(n)); err != nil {
			t.Errorf("%s does not open: %v", n, err)
		}
	}
}

// killAfter starts a victim, reads that many lines, kills it at once, and returns the names that it reported.
func killAfter(t *testing.T, env, dir string, lines int) (created []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		var name string
		if _, err := fmt.Sscanf(scanner.Text(), "end %s", &name); err == nil {
			created = append(created, name)
		}
		if n == lines {
			_ = cmd.Process.Kill() // what it printed meanwhile is still read
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the victim ended by itself")
	}
	return created
}

// What a kill between two calls of place leaves, one state after another.
func TestEachStateBetweenTwoCallsIsWholeOrAbsent(t *testing.T) {
	s, file := stored(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(s.dir, tempPrefix+"killed")
	final, ref := filepath.Join(s.dir, "next.age"), s.Ref("next")
	for n := 0; n <= len(whole); n += 1 + n%13 {
		if err := os.WriteFile(temp, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Open(t.Context(), ref)
		want(t, fmt.Sprintf("temporary file of %d bytes", n), err, fault.NotFound)
	}
	if err := os.WriteFile(temp, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(temp, final); err != nil { // linked, temporary name not yet removed
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), ref); err != nil {
		t.Error(err)
	}
	_, err = s.Create(t.Context(), "next", newKey(t))
	want(t, "create again", err, fault.Conflict)
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) != 2 { // k.age and .lock
		t.Errorf("left over: %v", left)
	}
}
