package lock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const childOf = "LOCK_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childOf); path != "" {
		if _, err := Acquire(context.Background(), path, "apply child", false, nil); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

func mustAcquire(t *testing.T, path, who string) *Lock {
	t.Helper()
	l, err := Acquire(t.Context(), path, who, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release() })
	return l
}

func TestSecondIsToldWhoHoldsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locks", "a.lock")
	l := mustAcquire(t, path, "apply\n\x1b[31m \"polyclaw\" "+strings.Repeat("é<", 400))
	_, err := Acquire(t.Context(), path, "revoke", false, nil)
	if !fault.Is(err, fault.Busy) || fault.Hint(err) == "" {
		t.Fatal(err)
	}
	want := fmt.Sprintf("process %d (apply[31m \"polyclaw\" ", os.Getpid())
	if !strings.HasPrefix(err.Error(), want) || strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Fatalf("%q, want %q", err, want)
	}
	for range 2 {
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if got := holderOf(path); got != "another leastkey process" {
		t.Fatalf("after its release: %s", got)
	}
	mustAcquire(t, path, "revoke")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
}

func TestWaiterGetsItWhenTheHolderReleases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	synctest.Test(t, func(t *testing.T) {
		l := mustAcquire(t, path, "apply a")
		time.AfterFunc(time.Minute, func() { _ = l.Release() })
		var told []string
		start := time.Now()
		second, err := Acquire(t.Context(), path, "apply b", true, func(h string) { told = append(told, h) })
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < time.Minute || took > time.Minute+2*lastWait {
			t.Errorf("waited %v", took)
		}
		if len(told) != 1 || !strings.Contains(told[0], "apply a") {
			t.Errorf("told %q", told)
		}
		if err := second.Release(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	synctest.Test(t, func(t *testing.T) {
		l := mustAcquire(t, path, "apply a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Acquire(ctx, path, "b", true, nil)
		if !fault.Is(err, fault.Busy) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "apply a") {
			t.Fatal(err)
		}
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLockOfAKilledHolderIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOf+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Fatal(line, err)
	}
	if _, err := Acquire(t.Context(), path, "b", false, nil); !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d (apply child", cmd.Process.Pid)) {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	mustAcquire(t, path, "b")
	if got := holderOf(path); !strings.Contains(got, fmt.Sprint("process ", os.Getpid(), " (b,")) {
		t.Fatalf("the stale note is still there: %s", got)
	}
}

func TestLinkIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "precious")
	if err := os.WriteFile(target, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "a.lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(t.Context(), filepath.Join(dir, "a.lock"), "b", true, nil); err == nil {
		t.Fatal("followed")
	}
	if b, _ := os.ReadFile(target); string(b) != "x" {
		t.Fatal("the target was written to")
	}
}
