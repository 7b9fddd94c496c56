//go:build unix

package statefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const childOf = "STATEFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childOf); path != "" {
		if err := child(path, os.Getenv(childOf+"_KEY"), os.Getenv(childOf+"_ROUNDS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(path, key, rounds string) error {
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := UpdateEnv(context.Background(), path, map[string]string{key: fmt.Sprint("v", i), "LAST": key}, nil); err != nil {
			return err
		}
	}
	return nil
}

func spawn(t *testing.T, path, key string, rounds int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOf+"="+path, childOf+"_KEY="+key, childOf+"_ROUNDS="+strconv.Itoa(rounds))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestUpdateEnv(t *testing.T) {
	path := filepath.Join(folder(t), ".env")
	ctx := t.Context()
	c, err := UpdateEnv(ctx, path, map[string]string{"B": "2", "A": "1"}, []string{"GONE"})
	if err != nil || !reflect.DeepEqual(c, Change{Path: path, Set: []string{"A", "B"}, Created: true, ModeAfter: 0o600}) {
		t.Fatalf("%+v %v", c, err)
	}
	if got := content(t, path); got != "A=1\nB=2\n" {
		t.Fatalf("%q", got)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err = UpdateEnv(ctx, path, map[string]string{"A": "1"}, []string{"GONE"})
	if err != nil || !reflect.DeepEqual(c, Change{Path: path, Unchanged: true, ModeBefore: 0o600, ModeAfter: 0o600}) {
		t.Fatalf("%+v %v", c, err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Fatal("a file in which nothing changes was written")
	}
	put(t, path, "# mine\nTOKEN=x\nOLD='y'\nA=0\n", 0o644)
	c, err = UpdateEnv(ctx, path, map[string]string{"A": "1"}, []string{"OLD", "OLD"})
	if err != nil || !reflect.DeepEqual(c, Change{Path: path, Set: []string{"A"}, Removed: []string{"OLD"}, ModeBefore: 0o644, ModeAfter: 0o600}) || !c.Tightened() {
		t.Fatalf("%+v %v", c, err)
	}
	if got := content(t, path); got != "# mine\nTOKEN=x\nA=1\n" {
		t.Fatalf("%q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	values, exists, err := ReadEnv(path)
	if err != nil || !exists || !reflect.DeepEqual(values, map[string]string{"TOKEN": "x", "A": "1"}) {
		t.Fatal(values, exists, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 { // .env and .env.lock
		t.Fatal(entries, err)
	}
}

func TestUpdateEnvThroughALink(t *testing.T) {
	dir := folder(t)
	real := filepath.Join(dir, "real.env")
	put(t, real, "A=0\n", 0o400)
	link := filepath.Join(dir, ".env")
	if err := os.Symlink("real.env", link); err != nil {
		t.Fatal(err)
	}
	c, err := UpdateEnv(t.Context(), link, map[string]string{"A": "1"}, nil)
	if err != nil || c.Path != real || c.ModeAfter != 0o400 {
		t.Fatalf("%+v %v", c, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Fatal("the link was replaced")
	}
	if content(t, real) != "A=1\n" {
		t.Fatal(content(t, real))
	}
	if values, exists, err := ReadEnv(link); err != nil || !exists || values["A"] != "1" {
		t.Fatal(values, exists, err)
	}
}

func TestUpdateEnvRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want fault.Code
	}{
		{"a folder", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"a link to nowhere", func(t *testing.T, path string) {
			if err := os.Symlink("nowhere", path); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"a file with two names", func(t *testing.T, path string) {
			put(t, path, "B=1\n", 0o600)
			if err := os.Link(path, path+".second"); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"more than 1 MiB", func(t *testing.T, path string) { put(t, path, strings.Repeat("# x\n", 1<<18)+"B=1\n", 0o600) }, fault.Invalid},
		{"a quote that is not closed", func(t *testing.T, path string) { put(t, path, "B='\n", 0o600) }, fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(folder(t), ".env")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := UpdateEnv(t.Context(), path, map[string]string{"A": "1"}, nil)
			if !fault.Is(err, c.want) || fault.Hint(err) == "" {
				t.Fatalf("%v (%s, hint %q)", err, fault.CodeOf(err), fault.Hint(err))
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Fatal("it was changed")
			}
			if _, err := os.Lstat(path + ".leastkey-new"); !errors.Is(err, os.ErrNotExist) {
				t.Fatal("a temporary file is left")
			}
		})
	}
	if _, err := UpdateEnv(t.Context(), filepath.Join(folder(t), "no", ".env"), map[string]string{"A": "1"}, nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, err := UpdateEnv(t.Context(), filepath.Join(folder(t), ".env"), map[string]string{"A": "1"}, []string{"A"}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if _, exists, err := ReadEnv(filepath.Join(folder(t), ".env")); exists || err != nil {
		t.Error(exists, err)
	}
	if _, exists, err := ReadEnv(folder(t)); exists || err == nil {
		t.Error("a folder reads as an environment file")
	}
}

func TestMountPointsGetTheirHint(t *testing.T) {
	for _, errno := range []error{syscall.EBUSY, syscall.EXDEV} {
		err := renameFault(".env", &os.LinkError{Op: "rename", Old: "a", New: "b", Err: errno})
		if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "mount") {
			t.Error(err)
		}
	}
}

func TestChangeByAnotherIsNotOverwritten(t *testing.T) {
	path := filepath.Join(folder(t), ".env")
	put(t, path, "A=0\n", 0o600)
	have, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, "A=0\nTHEIRS=1\n", 0o600)
	if err := have.replace(path, path+".leastkey-new", []byte("A=1\n"), 0o600); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
	if content(t, path) != "A=0\nTHEIRS=1\n" {
		t.Fatal("their change is lost")
	}
}

func TestShellSourcesWhatWeWrite(t *testing.T) {
	for _, value := range []string{"", "00000000-0000-0000-0000-000000000000", "https://127.0.0.1:1/x?a=b&c=d#e", "two  words", "$HOME $(id) !x ~ * ; | é", "#", "~", "=", "a=b"} {
		for _, before := range []string{"", "KEY='old' # c\n", "export KEY=\"old\"", "KEY = old\n"} {
			e := mustParse(t, before)
			if _, err := e.Set("KEY", value); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "env")
			if err := os.WriteFile(path, e.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("/bin/sh", "-c", `. "$0" && printf %s "$KEY"`, path).CombinedOutput()
			if err != nil || string(out) != value {
				t.Errorf("%q is %q to the shell (%v); file %q", value, out, err, e.Bytes())
			}
		}
	}
}

func TestOwnerIsKept(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, ".env")
	put(t, path, "A=0\n", 0o640)
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 { // another user can only be had by root; for others this shows that the own user stays
		uid, gid = 12345, 12346
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
		// A link that another user planted must not lead root into a file of a third.
		planted := filepath.Join(dir, "planted")
		if err := errors.Join(os.Symlink(path, planted), os.Lchown(planted, 999, 999)); err != nil {
			t.Fatal(err)
		}
		if _, err := UpdateEnv(t.Context(), planted, map[string]string{"A": "1"}, nil); !fault.Is(err, fault.Refused) {
			t.Fatal(err)
		}
	}
	if _, err := UpdateEnv(t.Context(), path, map[string]string{"A": "1"}, nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if int(st.Uid) != uid || int(st.Gid) != gid || info.Mode().Perm() != 0o600 {
		t.Fatal(st.Uid, st.Gid, info.Mode())
	}
}

func TestUpdateEnvWaitsForItsLock(t *testing.T) {
	path := filepath.Join(folder(t), ".env")
	l := flock.New(path + ".lock")
	if ok, err := l.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := UpdateEnv(ctx, path, map[string]string{"A": "1"}, nil); !fault.Is(err, fault.Busy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := UpdateEnv(t.Context(), path, map[string]string{"A": "1"}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestTwoProcessesLoseNothing(t *testing.T) {
	path := filepath.Join(folder(t), ".env")
	put(t, path, "# theirs\nTOKEN=x\n", 0o600)
	const rounds = 40
	a, b := spawn(t, path, "ONE", rounds), spawn(t, path, "TWO", rounds)
	if err := errors.Join(a.Wait(), b.Wait()); err != nil {
		t.Fatal(err)
	}
	values, _, err := ReadEnv(path)
	last := fmt.Sprint("v", rounds-1)
	if err != nil || values["ONE"] != last || values["TWO"] != last || values["TOKEN"] != "x" || len(values) != 4 {
		t.Fatal(values, err)
	}
}

func TestFileIsWholeAfterAKill(t *testing.T) {
	path := filepath.Join(folder(t), ".env")
	theirs := strings.Repeat("# "+strings.Repeat("x", 200)+"\n", 1000) + "TOKEN=x\n"
	put(t, path, theirs, 0o600)
	last := -1
	for round := range 15 {
		cmd := spawn(t, path, "KEY", 1_000_000)
		deadline := time.Now().Add(10 * time.Second)
		for { // until it writes: the value of this round differs from what the last one left
			values, _, err := ReadEnv(path)
			if err != nil && !fault.Is(err, fault.Conflict) { // replaced five times while it was being opened
				t.Fatal(err)
			}
			if err == nil && values["KEY"] != "" && values["KEY"] != fmt.Sprint("v", last) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the child wrote nothing")
			}
		}
		kill := time.NewTimer(time.Duration(round) * 600 * time.Microsecond)
		<-kill.C
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		got := content(t, path)
		if rest, ok := strings.CutPrefix(got, theirs); !ok || strings.Count(rest, "\n") != 2 || !strings.HasSuffix(rest, "\nLAST=KEY\n") {
			t.Fatalf("round %d: the file ends with %q", round, got[max(0, len(got)-100):])
		}
		values, _, err := ReadEnv(path)
		if err != nil {
			t.Fatal(err)
		}
		if last, err = strconv.Atoi(strings.TrimPrefix(values["KEY"], "v")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := UpdateEnv(t.Context(), path, nil, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		t.Fatal("temporary files are left: ", entries, err)
	}
}
