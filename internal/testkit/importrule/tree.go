// Package importrule enforces the rules of the house that a compiler does not know: which folder may import which, where an outside
// library may be used, and what no file may contain. Its own tests run every rule over this repository, and over trees in which a
// violation is planted, so that a rule cannot pass by looking at nothing.
package importrule

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Tree is a module as it lies on disk, for every operating system at once: build constraints are not looked at.
type Tree struct {
	Module string // path of go.mod's module line
	Go     []GoFile
	Text   []TextFile // every file that is not binary, Go or not
}

// GoFile is a parsed Go file.
type GoFile struct {
	Path   string // from the root, with slashes
	Syntax *ast.File
	set    *token.FileSet
}

// TextFile is a file's content.
type TextFile struct {
	Path    string
	Content []byte
}

// Violation is one place that breaks a rule.
type Violation struct {
	Path string
	Line int
	What string // "imports internal/world/token"
	Why  string // the rule, with its reason
}

// String is one line, as compilers write it.
func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", v.Path, v.Line, v.What, v.Why)
}

// Root is the folder of the go.mod at or above dir.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod at or above the working directory")
		}
		dir = up
	}
}

// Read reads the module below root. It leaves out .git, the folder bin, which holds what was built, and node_modules, which holds what others wrote.
func Read(root string) (Tree, error) {
	var t Tree
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return t, err
	}
	if t.Module = modulePath(mod); t.Module == "" {
		return t, fmt.Errorf("go.mod has no module line")
	}
	set := token.NewFileSet()
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && (rel == ".git" || rel == "bin" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return t.add(set, name, rel)
	})
	return t, err
}

func (t *Tree) add(set *token.FileSet, name, rel string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if binary(b) {
		return nil
	}
	t.Text = append(t.Text, TextFile{rel, b})
	if path.Ext(rel) != ".go" || strings.Contains("/"+rel, "/testdata/") {
		return nil
	}
	f, err := parser.ParseFile(set, rel, b, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.Go = append(t.Go, GoFile{rel, f, set})
	return nil
}

// binary tells content that no rule about text is meant for, as git does: by a NUL near its beginning.
func binary(b []byte) bool {
	return bytes.IndexByte(b[:min(len(b), 8000)], 0) >= 0
}

func modulePath(mod []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(mod))
	for lines.Scan() {
		if p, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "module "); ok {
			return strings.Trim(strings.TrimSpace(p), `"`)
		}
	}
	return ""
}

func (f GoFile) line(n ast.Node) int { return f.set.Position(n.Pos()).Line }

// folder is where the file's package lies: "cmd/leastkey", or "world/token" for what is below internal.
func (f GoFile) folder() string {
	return strings.TrimPrefix(path.Dir(f.Path), "internal/")
}

// forTests tells files that no build of the product contains: tests, testkit, and packages that are named for their tests, such as
// world/keystore/keystoretest.
func forTests(file string) bool {
	folder := strings.TrimPrefix(path.Dir(file), "internal/")
	return strings.HasSuffix(file, "_test.go") || testFolder(folder)
}

func testFolder(folder string) bool {
	return within(folder, "testkit") || (strings.HasSuffix(folder, "test") && strings.Contains(folder, "/"))
}

// within tells whether the folder is parent or lies below it.
func within(folder, parent string) bool {
	return folder == parent || strings.HasPrefix(folder, parent+"/")
}
