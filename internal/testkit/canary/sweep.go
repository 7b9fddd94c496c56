package canary

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Sweep looks through what one story left and showed.
type Sweep struct {
	watch   *Watch
	story   string
	excuses []Excuse
	used    map[Excuse]bool
	swept   int
	leaks   []Leak
}

// Story begins the sweep of a story. Excuses of other stories are allowed and ignored, so that one list can serve all.
func (w *Watch) Story(name string, excuses ...Excuse) *Sweep {
	s := &Sweep{watch: w, story: name, used: map[Excuse]bool{}}
	for _, e := range excuses {
		if e.Story == name {
			s.excuses = append(s.excuses, e)
		}
	}
	return s
}

// Leaks is what was found so far.
func (s *Sweep) Leaks() []Leak { return slices.Clone(s.leaks) }

// Swept is how many streams were looked through: a story that swept nothing has proved nothing.
func (s *Sweep) Swept() int { return s.swept }

// Unused are the story's excuses that forgave nothing: either the secret is gone, or the sweep does not see it.
func (s *Sweep) Unused() []Excuse {
	return slices.DeleteFunc(slices.Clone(s.excuses), func(e Excuse) bool { return s.used[e] })
}

// Bytes sweeps a stream, such as "stdout" or "stderr".
func (s *Sweep) Bytes(stream string, b []byte) { s.bytes(stream, b, "") }

// bytes sweeps a stream; void is a reason for which no excuse holds.
func (s *Sweep) bytes(stream string, b []byte, void string) {
	s.swept++
	for _, h := range s.watch.search(b) {
		s.report(stream, h, void)
	}
}

func (s *Sweep) report(stream string, h hit, void string) {
	l := Leak{Story: s.story, Stream: stream, Offset: h.offset, Secret: h.secret, Kind: h.kind, Form: h.form}
	for _, e := range s.excuses {
		if e.Stream != stream {
			continue
		}
		if !e.Exception.forgives(h.kind, h.unknown) {
			l.Why = fmt.Sprintf("exception (%s) is not about such a secret", e.Exception)
			continue
		}
		s.used[e] = true
		if void == "" {
			return
		}
		l.Why = void
	}
	s.leaks = append(s.leaks, l)
}

// Files sweeps every file below a folder, with its name. A file that is excused must be readable by its owner alone.
func (s *Sweep) Files(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		for _, h := range s.watch.search([]byte(name)) {
			h.offset = -1
			s.report(name, h, "")
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			s.Bytes(name, []byte(target))
		case d.Type().IsRegular():
			return s.file(name, path)
		}
		return nil
	})
}

func (s *Sweep) file(name, path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a temporary file of a living process has gone
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	void := ""
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		void = fmt.Sprintf("its mode is %v, so others can read it", info.Mode().Perm())
	}
	s.bytes(name, b, void)
	return nil
}

// Proc sweeps arguments and environment of a running process, as /proc shows them: the streams are "argv", and "environ:NAME" for each
// variable. The error says that the process cannot be seen, as on systems without /proc.
func (s *Sweep) Proc(pid int) error {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	argv, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return err
	}
	if len(argv) == 0 {
		return fmt.Errorf("process %d has ended", pid)
	}
	environ, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		return err
	}
	s.Bytes("argv", bytes.ReplaceAll(argv, []byte{0}, []byte{' '}))
	for _, v := range bytes.Split(bytes.TrimRight(environ, "\x00"), []byte{0}) {
		name, _, _ := bytes.Cut(v, []byte("="))
		s.Bytes("environ:"+string(name), v)
	}
	return nil
}

// ProcTree sweeps a process and its descendants. Those that end meanwhile are passed over, but the first must be there.
func (s *Sweep) ProcTree(pid int) error {
	if err := s.Proc(pid); err != nil {
		return err
	}
	children, err := children()
	if err != nil {
		return err
	}
	for todo := slices.Clone(children[pid]); len(todo) > 0; todo = todo[1:] {
		_ = s.Proc(todo[0]) // it may have ended
		todo = append(todo, children[todo[0]]...)
	}
	return nil
}

// children lists the processes of the machine by their parents (proc(5): the fourth field of stat, counted behind the name, which may
// contain anything).
func children() (map[int][]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int][]int{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		pid, err1 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) < 2 || err1 != nil {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			all[parent] = append(all[parent], pid)
		}
	}
	return all, nil
}
