package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/leastkey/leastkey/internal/record/source"
)

func TestWhatIsAScriptOrAProgram(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"setup.sh": "#!/bin/sh\n", "a/b/run.py": "import os\n", "src/x.ts": "let a\n", "tool": "#!/usr/bin/env python3\n", "Makefile": "all:\n", "ci/pipe.yml": "a: b\n",
		"README.md": "text", "notes.txt": "text", "state.json": "{}", "binary.py": "\x00", "LICENSE": "text", "empty": "",
		"node_modules/m/x.js": "let a\n", ".git/hooks/x.sh": "#!/bin/sh\n", ".venv/lib/x.py": "x\n",
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
