//go:build unix

package app

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestOnlyAFileCanBeNamedForEditing(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &App{Getenv: func(string) string { return "" }}
	for name, r := range map[string]api.ProvisionerRequest{
		"edit a folder": {Edit: []string{dir}}, "edit a pipe": {Edit: []string{pipe}}, "search a pipe": {Also: []string{pipe}}, "edit nothing": {Edit: []string{file + ".none"}},
	} {
		r.StateFile = filepath.Join(dir, "state.json")
		if w, err := a.whereLegacy(nil, r); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %+v %v", name, w, err)
		}
	}
	w, err := a.whereLegacy(nil, api.ProvisionerRequest{StateFile: filepath.Join(dir, "state.json"), Edit: []string{file}, Also: []string{dir, file}})
	if err != nil || len(w.Edit) != 1 || len(w.Also) != 2 {
		t.Errorf("%+v %v", w, err)
	}
}
