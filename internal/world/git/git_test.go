package git_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/world/git"
)

// repository is a new one, and a way to run git in it.
func repository(t *testing.T) (string, func(args ...string)) {
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "init.defaultBranch=main"}, args...)...)
		c.Dir, c.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1"}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("init", "-q")
	return dir, run
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holding is where the history holds a word.
func holding(ctx context.Context, t *testing.T, r *git.Repository, word string) []string {
	t.Helper()
	var all []string
	if _, err := r.History(ctx, func(o git.Object, content io.Reader) error {
		b, err := io.ReadAll(content)
		if strings.Contains(string(b), word) {
			all = append(all, o.Kind+" "+o.Path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestTheHistoryIsAllThatSomethingReaches(t *testing.T) {
	dir, run := repository(t)
	commit := func(name, content, message string) {
		write(t, dir, name, content)
		run("add", "-f", name)
		run("commit", "-q", "-m", message)
	}
	commit("gone later.txt", "word", "one")
	run("rm", "-q", "gone later.txt")
	run("commit", "-q", "-m", "a word in a message")
	run("checkout", "-q", "-b", "other")
	commit("elsewhere", "word", "on another branch")
	run("tag", "-a", "-m", "a word in a tag", "v1")
	run("checkout", "-q", "main")
	run("branch", "-q", "-D", "other")
	commit("amended", "word", "first try")
	write(t, dir, "amended", "nothing")
	run("add", "amended")
	run("commit", "-q", "--amend", "-m", "second try")
	write(t, dir, "staged", "word")
	run("add", "staged")
	commit("large", strings.Repeat("x", 300_000)+"word", "large")
	write(t, dir, "not added", "word")

	r, err := git.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	// Files of the same content are one object, under the path at which it is met first.
	got := holding(t.Context(), t, r, "word")
	for _, want := range []string{"blob large", "commit ", "tag v1"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not seen: %q", want, got)
		}
	}
	if len(got) != 4 {
		t.Errorf("the word is in %q", got)
	}
	// What is read in part, or not at all, does not put what follows out of step.
	n, err := r.History(t.Context(), func(_ git.Object, content io.Reader) error {
		_, err := content.Read(make([]byte, 3))
		if err == io.EOF {
			err = nil
		}
		return err
	})
	if m, err2 := r.History(t.Context(), func(git.Object, io.Reader) error { return nil }); err != nil || err2 != nil || n != m || n < 10 {
		t.Errorf("%d and %d objects, %v, %v", n, m, err, err2)
	}
}

func TestAnObjectThatIsMissingIsNotLookedOver(t *testing.T) {
	dir, run := repository(t)
	write(t, dir, "a", "something")
	run("add", "a")
	run("commit", "-q", "-m", "one")
	found, err := filepath.Glob(filepath.Join(dir, ".git", "objects", "??", "*"))
	if err != nil || len(found) != 3 {
		t.Fatal(found, err)
	}
	r, err := git.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		kept := path + ".kept"
		if err := os.Rename(path, kept); err != nil {
			t.Fatal(err)
		}
		if n, err := r.History(t.Context(), func(git.Object, io.Reader) error { return nil }); !fault.Is(err, fault.Unavailable) {
			t.Errorf("without %s: %d objects, %v", filepath.Base(path), n, err)
		}
		if err := os.Rename(kept, path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIgnoredAndTracked(t *testing.T) {
	dir, run := repository(t)
	write(t, dir, ".gitignore", ".state.json\n.state.json.bak*\n")
	write(t, dir, ".state.json", "{}")
	write(t, dir, "b", "")
	run("add", "-f", ".gitignore", ".state.json")
	r, err := git.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := r.Ignored(t.Context(), []string{".state.json", ".state.json.bak.1", "b"})
	if err != nil || !slices.Equal(ignored, []string{".state.json", ".state.json.bak.1"}) {
		t.Errorf("ignored are %q, %v", ignored, err)
	}
	if none, err := r.Ignored(t.Context(), []string{"b"}); err != nil || len(none) > 0 {
		t.Errorf("ignored are %q, %v", none, err)
	}
	tracked, err := r.Tracked(t.Context(), []string{".state.json", ".state.json.bak*", "b"})
	if err != nil || !slices.Equal(tracked, []string{".state.json"}) {
		t.Errorf("tracked are %q, %v", tracked, err)
	}
}

func TestNoRepositoryIsToldFromOneThatDoesNotOpen(t *testing.T) {
	if _, err := git.Open(t.Context(), t.TempDir()); !fault.Is(err, fault.NotFound) {
		t.Errorf("no repository: %v", err)
	}
	dir, _ := repository(t)
	write(t, dir, ".git/HEAD", "damaged")
	if _, err := git.Open(t.Context(), dir); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a damaged one: %v", err)
	}
	// Without git, a repository is still one: it may hold the secret.
	below, link := filepath.Join(dir, "a", "b"), filepath.Join(t.TempDir(), "link")
	inside := []string{dir, below}
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(below, link); err == nil {
		inside = append(inside, link)
	} else if runtime.GOOS != "windows" { // not everybody may make links there
		t.Fatal(err)
	}
	none := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	for _, at := range inside {
		if _, err := git.Open(t.Context(), at); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
			t.Errorf("no git in %s: %v", at, err)
		}
	}
	t.Chdir(below)
	if _, err := git.Open(t.Context(), "."); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no git in the working directory: %v", err)
	}
	if _, err := git.Open(t.Context(), none); !fault.Is(err, fault.Unsupported) {
		t.Errorf("no git, and no repository: %v", err)
	}
}

// A repository that somebody else has written may name programs in its configuration.
func TestNothingOfTheRepositoryIsRun(t *testing.T) {
	dir, run := repository(t)
	write(t, dir, "a", "")
	run("add", "a")
	run("commit", "-q", "-m", "one")
	mark := filepath.Join(dir, "it ran")
	write(t, dir, "program", "#!/bin/sh\ntouch '"+mark+"'\n")
	if err := os.Chmod(filepath.Join(dir, "program"), 0o700); err != nil {
		t.Fatal(err)
	}
	run("config", "core.fsmonitor", filepath.Join(dir, "program"))
	run("config", "core.pager", filepath.Join(dir, "program"))
	t.Setenv("GIT_DIR", "/nowhere")
	r, err := git.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Tracked(t.Context(), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Ignored(t.Context(), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	holding(t.Context(), t, r, "x")
	if _, err := os.Stat(mark); err == nil {
		t.Error("a program of the repository's was run")
	}
}
