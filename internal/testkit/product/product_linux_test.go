package product

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A test that panics ends the process, in which others then run no cleanup. What they have started must not go on serving.
func TestWhatIsServedEndsWithTheTest(t *testing.T) {
	const serves = "LEASTKEY_TEST_SERVES"
	if dir := os.Getenv(serves); dir != "" { // the test that panics
		var said struct{}
		House{Binary: filepath.Join(dir, "serve"), Home: dir, Env: []string{"PATH=" + os.Getenv("PATH")}}.Serve(t, &said, "")
		go panic("as a test beside this one does that follows a nil pointer")
		<-t.Context().Done()
	}
	dir := t.TempDir()
	program := "#!/bin/sh\necho $$ >pid\necho {}\nexec sleep 600\n"
	must(t, os.WriteFile(filepath.Join(dir, "serve"), []byte(program), 0o700))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), serves+"="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("follows a nil pointer")) {
		t.Fatalf("the test was to panic: %v\n%s", err, out)
	}
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	must(t, err)
	id, err := strconv.Atoi(string(bytes.TrimSpace(pid)))
	must(t, err)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		// One that has ended is gone, or waits to be reaped by whoever inherits it.
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(id), "stat"))
		if _, state, found := strings.Cut(string(stat), ") "); err != nil || found && strings.HasPrefix(state, "Z") {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	if p, err := os.FindProcess(id); err == nil {
		_ = p.Kill()
	}
	t.Errorf("process %d goes on after the test that started it", id)
}
