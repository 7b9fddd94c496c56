//go:build linux

package faults

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// sampler looks, again and again while a process runs, at what it and its children show, and at every file below some folders.
type sampler struct {
	needles [][]byte
	folders []string
	seen    map[string]bool // where a needle was: a path, or "environ" or "cmdline" of a program
	samples int
}

func newSampler(secrets []string, folders ...string) *sampler {
	s := &sampler{folders: folders, seen: map[string]bool{}}
	for _, v := range secrets {
		quoted, _ := json.Marshal(v) // a string
		s.needles = append(s.needles, []byte(v), quoted[1:len(quoted)-1], []byte(url.QueryEscape(v)), []byte(hex.EncodeToString([]byte(v))))
		for skip := range 3 { // wherever in a group of three the value begins
			text := base64.StdEncoding.EncodeToString([]byte(v[skip : len(v)-(len(v)-skip)%3]))
			s.needles = append(s.needles, []byte(text), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text)))
		}
	}
	return s
}

func (s *sampler) look(where string, b []byte) {
	if slices.ContainsFunc(s.needles, func(n []byte) bool { return bytes.Contains(b, n) }) {
		s.seen[where] = true
	}
}

// sample looks once. A file or process that goes away meanwhile is none that could be looked at.
func (s *sampler) sample(pid int) error {
	s.samples++
	for _, p := range family(pid) {
		for _, what := range []string{"environ", "cmdline"} {
			if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), what)); err == nil {
				s.look(what+" of a process", b)
			}
		}
	}
	for _, dir := range s.folders {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			s.look(path, b)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// family is a process with all below it.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(all[i]) + "/task/*/children") // the pattern is well formed
		for _, t := range tasks {
			b, err := os.ReadFile(t)
			if err != nil {
				continue // it has ended
			}
			for _, f := range strings.Fields(string(b)) {
				if child, err := strconv.Atoi(f); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}

func TestNoSecretIsSeenOutsideOfItsOwnPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.turn(localcloud.Knobs{Latency: 30 * time.Millisecond}) // so that there is time to look
	temp := t.TempDir()
	for i, v := range w.env {
		if strings.HasPrefix(v, "TMPDIR=") {
			w.env[i] = "TMPDIR=" + temp
		}
	}
	s := newSampler(w.in.Secrets, w.home, temp)
	c := exec.Command(binary, w.migration()...)
	var out bytes.Buffer
	c.Dir, c.Env, c.Stdout, c.Stderr = w.repo, w.env, &out, &out
	w.must(c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			running = false
		default:
			w.must(s.sample(c.Process.Pid))
		}
	}
	s.look("what it has printed", out.Bytes())
	own := []string{w.in.StateFile, w.in.BackUp, w.in.EnvFile}
	for where := range s.seen {
		// A file is changed by way of its successor in the same folder, which is readable by its owner alone and takes its place whole.
		if !slices.Contains(own, strings.TrimSuffix(where, ".leastkey-new")) {
			t.Errorf("a secret was seen in %s", where)
		}
	}
	for _, path := range own {
		if !s.seen[path] {
			t.Errorf("the sampler has not seen the secret in %s, where it was: it does not look", path)
		}
	}
	if s.samples < 50 {
		t.Errorf("only %d samples were taken", s.samples)
	}
	t.Logf("%d samples", s.samples)
	s.seen = map[string]bool{}
	w.must(s.sample(os.Getpid()))
	for where := range s.seen {
		if !strings.HasSuffix(where, "of a process") { // this one
			t.Errorf("in the end a secret is in %s", where)
		}
	}
	w.migrated()
}

// A sampler that sees nothing proves nothing until it has seen something.
func TestTheSamplerSees(t *testing.T) {
	t.Parallel()
	const secret = "GH1~not.a-real_secret8Q~abcdefghij0123456"
	for name, text := range map[string]string{
		"as it is":              "x" + secret + "y",
		"in base64":             base64.StdEncoding.EncodeToString([]byte("{'a': '" + secret + "'}")),
		"in base64, shifted":    base64.RawURLEncoding.EncodeToString([]byte("ab" + secret)),
		"in base64, once more":  base64.StdEncoding.EncodeToString([]byte("a" + secret + "z")),
		"in hexadecimal digits": hex.EncodeToString([]byte(secret)),
		"in a form":             url.Values{"client_secret": {secret}}.Encode(),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSampler([]string{secret}, dir)
		if err := s.sample(os.Getpid()); err != nil || !s.seen[filepath.Join(dir, "file")] {
			t.Errorf("%s: it sees %v, %v", name, s.seen, err)
		}
	}
	c := exec.Command("/bin/sh", "-c", "echo ready; read -r line", "x", secret)
	c.Env = []string{"TOKEN=" + secret}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	s := newSampler([]string{secret})
	if err := s.sample(os.Getpid()); err != nil || !s.seen["environ of a process"] || !s.seen["cmdline of a process"] {
		t.Errorf("of a child it sees %v, %v", s.seen, err)
	}
	_ = in.Close()
	_ = c.Wait()
}
