// Package source reads the scripts and programs of a folder, as a reviewer would: no documentation, nothing that a tool has put there, and
// nothing that is no text.
package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Language is how a file writes its comments.
type Language string

// The languages.
const (
	Shell  Language = "shell"  // # to the end of the line
	Python Language = "python" // #, and """ … """ that stand alone
	C      Language = "c"      // // and /* … */: JavaScript, TypeScript, Go, C#, Java
	Config Language = "config" // YAML and its like: #
)

// limit is the size above which a file is data, whatever its name says.
const limit = 2 << 20

func languages() map[string]Language {
	return map[string]Language{
		".sh": Shell, ".bash": Shell, ".zsh": Shell, ".ksh": Shell, ".ps1": Shell, ".psm1": Shell,
		".py": Python, ".pyw": Python, ".rb": Shell, ".pl": Shell,
		".js": C, ".mjs": C, ".cjs": C, ".ts": C, ".tsx": C, ".jsx": C, ".go": C, ".cs": C, ".java": C, ".kt": C, ".rs": C, ".swift": C, ".php": C,
		".yml": Config, ".yaml": Config, ".tf": Config, ".mk": Config,
	}
}

// passed tells whether a folder is one that a tool has filled: git's objects, installed packages, or a virtual environment of Python, which is
// known by its pyvenv.cfg (PEP 405). What a folder is called says nothing else: people keep their scripts in bin, build and env.
func passed(at, name string) bool {
	if name == ".git" || name == "node_modules" {
		return true
	}
	info, err := os.Lstat(filepath.Join(at, "pyvenv.cfg"))
	return err == nil && info.Mode().IsRegular()
}

// Read shows every script and program below a folder, with its path relative to it, and tells how many there were. A folder or a file that
// cannot be read is an error: nobody has looked at it.
func Read(ctx context.Context, dir string, look func(path string, l Language, content []byte) error) (int, error) {
	known, n := languages(), 0
	dir, err := walkable(dir)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return unavailable("look into "+at, err)
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir() && at != dir && passed(at, e.Name()):
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		content, l, err := one(at, known)
		if err != nil || l == "" {
			return err
		}
		rel, err := filepath.Rel(dir, at)
		if err != nil {
			return unavailable("name "+at, err)
		}
		n++
		return look(rel, l, content)
	})
	return n, err
}

// one is the content of a file that is a script or a program.
func one(path string, known map[string]Language) ([]byte, Language, error) {
	name := strings.ToLower(filepath.Base(path))
	l, ok := known[filepath.Ext(name)]
	switch {
	case ok:
	case name == "makefile" || name == "dockerfile" || strings.HasPrefix(name, "dockerfile."):
		l = Config
	case filepath.Ext(name) != "":
		return nil, "", nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", unavailable("read "+path, err)
	}
	defer f.Close()
	if l == "" { // without an extension only a script that says so
		first := make([]byte, 64)
		n, err := io.ReadFull(f, first)
		if err != nil && n < 2 {
			return nil, "", nil
		}
		if l = interpreter(first[:n]); l == "" {
			return nil, "", nil
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, "", unavailable("read "+path, err)
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, "", unavailable("read "+path, err)
	}
	if len(b) > limit || bytes.IndexByte(b, 0) >= 0 {
		return nil, "", nil
	}
	return b, l, nil
}

func interpreter(first []byte) Language {
	line, _, _ := bytes.Cut(first, []byte("\n"))
	if !bytes.HasPrefix(line, []byte("#!")) {
		return ""
	}
	switch {
	case bytes.Contains(line, []byte("python")):
		return Python
	case bytes.Contains(line, []byte("node")), bytes.Contains(line, []byte("deno")), bytes.Contains(line, []byte("bun")):
		return C
	}
	return Shell
}

func unavailable(op string, err error) error {
	return &fault.Error{Code: fault.Unavailable, Op: op, Err: err}
}
