package source_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/record/source"
)

// What a project keeps in folders of these names is code that somebody runs.
func TestNoFolderIsPassedOverForItsName(t *testing.T) {
	for _, name := range []string{"bin", "build", "dist", "env", "obj", "target", "vendor", "venv", ".venv", "site-packages", ".hg"} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "deploy"), []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := source.Read(t.Context(), dir, func(string, source.Language, []byte) error { return nil }); n != 1 || err != nil {
			t.Errorf("below %s: %d files, %v", name, n, err)
		}
	}
}

func TestAFolderMayBeALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "real", "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "real", "a", "x.sh"), []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		if runtime.GOOS == "windows" {
			t.Log("not everybody may make links there")
			return
		}
		t.Fatal(err)
	}
	if n, err := source.Read(t.Context(), link, func(string, source.Language, []byte) error { return nil }); n != 1 || err != nil {
		t.Errorf("%d files, %v", n, err)
	}
	if files, all, err := source.Below(t.Context(), link, source.Most{Files: 9, Bytes: 99}); len(files) != 1 || !all || err != nil {
		t.Errorf("%q, %v, %v", files, all, err)
	}
}

func TestFilesBelowAFolder(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"top.txt", "a/one", "a/b/.env", "b/venv/pyvenv.cfg", "b/venv/x.pem", "a/.git/config", "a/node_modules/m/x.js", ".git/config"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name  string
		most  source.Most
		files int
		all   bool
	}{
		{"all", source.Most{Files: 10, Bytes: 1000}, 4, true},
		{"as many as there may be", source.Most{Files: 4, Bytes: 20}, 4, true},
		{"too many", source.Most{Files: 3, Bytes: 1000}, 3, false},
		{"too much", source.Most{Files: 10, Bytes: 19}, 3, false},
	} {
		files, all, err := source.Below(t.Context(), dir, row.most)
		if err != nil || all != row.all || len(files) != row.files {
			t.Errorf("%s: %q, %v, %v", row.name, files, all, err)
		}
		for _, f := range files {
			if !strings.HasPrefix(f, filepath.Join(dir, "a")) && !strings.HasPrefix(f, filepath.Join(dir, "b")) || strings.Contains(f, ".git") || strings.Contains(f, "node_modules") {
				t.Errorf("%s: %s", row.name, f)
			}
		}
	}
}

func TestWhatIsAScriptOrAProgram(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"setup.sh": "#!/bin/sh\n", "a/b/run.py": "import os\n", "src/x.ts": "let a\n", "tool": "#!/usr/bin/env python3\n", "Makefile": "all:\n", "ci/pipe.yml": "a: b\n",
		"README.md": "text", "notes.txt": "text", "state.json": "{}", "binary.py": "\x00", "LICENSE": "text", "empty": "",
		"node_modules/m/x.js": "let a\n", ".git/hooks/x.sh": "#!/bin/sh\n", "of the tool/pyvenv.cfg": "home = /usr\n", "of the tool/lib/x.py": "x\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	n, err := source.Read(t.Context(), dir, func(path string, l source.Language, _ []byte) error {
		got = append(got, filepath.ToSlash(path)+" "+string(l))
		return nil
	})
	slices.Sort(got)
	want := []string{"Makefile config", "a/b/run.py python", "ci/pipe.yml config", "setup.sh shell", "src/x.ts c", "tool python"}
	if err != nil || n != len(want) || !slices.Equal(got, want) {
		t.Errorf("%d, %v:\n%q\nwant\n%q", n, err, got, want)
	}
}
