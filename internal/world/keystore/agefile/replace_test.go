package agefile

import (
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const replaceVictimEnv = "LEASTKEY_TEST_AGEFILE_REPLACE_VICTIM"

// three keys take turns, so that a kill can be told from one turn before and one after.
const turns = 3

// replaceVictim replaces the slot without end by the keys that the test has put beside it. It prints the number of each turn before Replace
// begins and again when it has returned.
func replaceVictim(dir string) {
	s, err := New(Config{Path: dir, Development: true})
	if err != nil {
		panic(err)
	}
	var keys [turns]crypto.Signer
	for i := range keys {
		if keys[i], err = s.Open(context.Background(), s.Ref(fmt.Sprint("key", i))); err != nil {
			panic(err)
		}
	}
	for n := 0; ; n++ {
		fmt.Println("begin", n)
		if err := s.Replace(context.Background(), "slot", keys[n%turns]); err != nil {
			panic(err)
		}
		fmt.Println("end", n)
	}
}

// A process killed at any moment of a replacement leaves the old key or the new one, never none and never half of one.
func TestAKilledReplacementLeavesTheOldKeyOrTheNewOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, Config{Path: dir, Development: true})
	var keys [turns]crypto.Signer
	for i := range keys {
		keys[i] = newKey(t)
		if _, err := s.Create(t.Context(), fmt.Sprint("key", i), keys[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(t.Context(), "slot", newKey(t)); err != nil {
		t.Fatal(err)
	}
	for round := range 30 {
		reported := killAfter(t, replaceVictimEnv, dir, 1+round%5)
		got, err := s.Open(t.Context(), s.Ref("slot"))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(reported) == 0 {
			continue
		}
		last, err := strconv.Atoi(reported[len(reported)-1])
		if err != nil {
			t.Fatal(err)
		}
		public := got.Public().(*rsa.PublicKey)
		if !public.Equal(keys[last%turns].Public()) && !public.Equal(keys[(last+1)%turns].Public()) {
			t.Fatalf("round %d: turn %d was reported as done, and the slot holds neither its key nor the next one's", round, last)
		}
	}
	if err := s.Replace(t.Context(), "slot", keys[0]); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); len(left) != 0 {
		t.Errorf("left over after the next replacement: %q", left)
	}
	if names, err := s.List(t.Context()); err != nil || len(names) != turns+1 {
		t.Error(names, err)
	}
}

// A replacement that cannot be written, or that does not read back, leaves the old key.
func TestAReplacementThatFailsLeavesTheOldKey(t *testing.T) {
	s, file := stored(t)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	want(t, "replace in an open folder", s.Replace(t.Context(), "k", newKey(t)), fault.Refused)
	if err := os.Chmod(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Error("the old key was changed", err)
	}
	stranger := open(t, Config{Path: s.dir, Passphrase: phrase("wrong"), WorkFactor: 4})
	if err := stranger.Replace(t.Context(), "k", newKey(t)); err == nil {
		t.Error("somebody who cannot open the old key has replaced it")
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Error("the old key was changed", err)
	}
}
