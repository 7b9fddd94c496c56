// Package git asks the program git about the repository that a folder belongs to: what it tracks and ignores, and everything that its
// history holds. It changes nothing, and lets nothing that the repository says be run.
package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Repository is the work tree that a folder lies in.
type Repository struct {
	Top     string // its folder
	Shallow bool   // earlier commits were not fetched
	program string
}

// Open finds the repository of a folder. fault.NotFound: there is none. fault.Unsupported: there is none to be seen, and no git on this
// machine to ask. Where there is a repository that nobody can look into, that is fault.Unavailable.
func Open(ctx context.Context, dir string) (*Repository, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		if within(dir) {
			return nil, fault.New(fault.Unavailable, dir+" is in a git repository, and git is not on the PATH: nobody has looked into it", "install git, or put it on the PATH")
		}
		return nil, fault.New(fault.Unsupported, "git is not on the PATH", "")
	}
	r := &Repository{Top: dir, program: program}
	out, err := r.run(ctx, nil, "rev-parse", "--show-toplevel", "--is-shallow-repository")
	if err != nil {
		if !within(dir) {
			return nil, fault.Newf(fault.NotFound, "%s is in no git repository", dir)
		}
		return nil, err
	}
	top, shallow, _ := strings.Cut(strings.TrimRight(string(out), "\n"), "\n")
	r.Top, r.Shallow = top, shallow == "true"
	return r, nil
}

// within tells whether the folder or one above it is a repository: what git refuses there, because it belongs to somebody else or is
// damaged, is not "there is none". The folder is where its links lead, as git sees it.
func within(dir string) bool {
	if at, err := filepath.Abs(dir); err == nil {
		dir = at
	}
	if at, err := filepath.EvalSymlinks(dir); err == nil {
		dir = at
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// Tracked are those of the paths that the index holds, and of the patterns that match something in it.
func (r *Repository) Tracked(ctx context.Context, paths []string) ([]string, error) {
	out, err := r.run(ctx, nil, append([]string{"ls-files", "-z", "--"}, paths...)...)
	return list(out), err
}

// Ignored are those of the paths that the repository's rules keep out, whether they are there or not.
func (r *Repository) Ignored(ctx context.Context, paths []string) ([]string, error) {
	out, err := r.run(ctx, strings.NewReader(strings.Join(paths, "\x00")+"\x00"), "check-ignore", "-z", "--stdin", "--no-index")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 { // none is ignored
		return nil, nil
	}
	return list(out), err
}

func list(out []byte) []string {
	var all []string
	for line := range strings.SplitSeq(string(out), "\x00") {
		if line != "" {
			all = append(all, line)
		}
	}
	return all
}

// Object is a thing that the history keeps: a file as it once was, or a commit or tag with its message.
type Object struct {
	ID   string
	Kind string // blob, commit, tag
	Path string // of a file, as some commit has it
}

// History shows every object that a branch, a tag, a note, the stash, the reflog or the index reaches, with its content, and tells how many
// there were. What look leaves unread is skipped; an error of it stops. An object that is missing is an error: nobody has looked at it.
func (r *Repository) History(ctx context.Context, look func(o Object, content io.Reader) error) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	names, contents := r.command(ctx, "rev-list", "--objects", "--all", "--reflog", "--indexed-objects"), r.command(ctx, "cat-file", "--batch")
	listed, err := names.StdoutPipe()
	if err != nil {
		return 0, failed("list the history", err)
	}
	ask, err := contents.StdinPipe()
	if err != nil {
		return 0, failed("read the history", err)
	}
	answers, err := contents.StdoutPipe()
	if err != nil {
		return 0, failed("read the history", err)
	}
	var said [2]bytes.Buffer
	names.Stderr, contents.Stderr = &said[0], &said[1]
	if err := names.Start(); err != nil {
		return 0, failed("run git", err)
	}
	if err := contents.Start(); err != nil {
		cancel()
		return 0, failed("run git", errors.Join(err, names.Wait()))
	}
	paths := make(chan string, 256)
	asked := make(chan error, 1)
	go func() {
		defer close(paths)
		asked <- errors.Join(request(ctx, listed, ask, paths), names.Wait())
	}()
	n, err := read(answers, paths, look)
	if err != nil {
		cancel()
	}
	for range paths { // what was asked for after an error
	}
	_, drained := io.Copy(io.Discard, answers)
	err = errors.Join(err, <-asked, drained, contents.Wait())
	if err != nil {
		return n, failed("read the history of "+r.Top, errors.Join(err, complaint(said[0].Bytes()), complaint(said[1].Bytes())))
	}
	return n, nil
}

// request asks for the content of each listed object.
func request(ctx context.Context, listed io.Reader, ask io.WriteCloser, paths chan<- string) error {
	defer ask.Close()
	lines := bufio.NewScanner(listed)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		id, path, _ := strings.Cut(lines.Text(), " ")
		select {
		case paths <- path:
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := io.WriteString(ask, id+"\n"); err != nil {
			return err
		}
	}
	return lines.Err()
}

// read takes the answers one by one: a line with id, kind and size, the content, and a line end.
func read(answers io.Reader, paths <-chan string, look func(Object, io.Reader) error) (int, error) {
	in := bufio.NewReaderSize(answers, 64<<10)
	n := 0
	for path := range paths {
		head, err := in.ReadString('\n')
		if err != nil {
			return n, err
		}
		f := strings.Fields(head)
		if len(f) != 3 {
			return n, fmt.Errorf("object %s is missing", strings.TrimSpace(head))
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return n, fmt.Errorf("object %s: %w", f[0], err)
		}
		content := &io.LimitedReader{R: in, N: size}
		if f[1] != "tree" { // its entries are listed themselves
			n++
			if err := look(Object{f[0], f[1], path}, content); err != nil {
				return n, err
			}
		}
		if _, err := io.CopyN(io.Discard, in, content.N+1); err != nil {
			return n, err
		}
	}
	return n, nil
}

// command is git in that repository. Nothing of the environment points it elsewhere, nothing in the repository's configuration is run, and
// nothing is fetched.
func (r *Repository) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, r.program, append([]string{"--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull, "-c", "protocol.allow=never"}, args...)...)
	c.Dir, c.WaitDelay = r.Top, 5*time.Second
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch strings.ToUpper(name) {
		case "PATH", "HOME", "USERPROFILE", "XDG_CONFIG_HOME", "SYSTEMROOT", "TMPDIR", "TEMP":
			c.Env = append(c.Env, v)
		}
	}
	c.Env = append(c.Env, "LC_ALL=C", "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1")
	return c
}

func (r *Repository) run(ctx context.Context, in io.Reader, args ...string) ([]byte, error) {
	c := r.command(ctx, args...)
	var said bytes.Buffer
	c.Stdin, c.Stderr = in, &said
	out, err := c.Output()
	if err != nil {
		return nil, failed("git "+args[0], errors.Join(err, complaint(said.Bytes())))
	}
	return out, nil
}

func failed(op string, err error) error {
	return &fault.Error{Code: fault.Unavailable, Op: op, Err: err}
}

// complaint is the first line of what git says.
func complaint(said []byte) error {
	line, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	if line == "" {
		return nil
	}
	return errors.New(fault.Sentence(line))
}
