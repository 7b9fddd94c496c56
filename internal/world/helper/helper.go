// Package helper runs the program that gives shells a token, as a shell would, and looks at nothing but the shape of what it prints.
package helper

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Patience is how long a helper may take.
const Patience = 30 * time.Second

// Name is what the helper is called unless somebody says otherwise.
const Name = "provisioner-token"

// limit is above the size of any token.
const limit = 256 << 10

// shape is a signed token and a line end, and nothing else.
var shape = regexp.MustCompile(`^[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\n$`)

// Result is what a helper did. The token is not kept.
type Result struct {
	Path  string // of the program
	Token bool   // stdout was a token and a line end
	Bytes int    // of stdout
	Said  string // first line of stderr, without what could be a secret
	Took  time.Duration
}

// Find is the path of the program: named, or of the usual name on the PATH. fault.NotFound if there is none.
func Find(program string) (string, error) {
	if program == "" {
		program = Name
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fault.New(fault.NotFound, program+" is not there", "put it on the PATH, or name it with --helper")
	}
	return filepath.Abs(path)
}

// Run runs the program in a folder, for a state file. That it fails is fault.Unavailable, with its own words.
func Run(ctx context.Context, program, dir, stateFile string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	r := Result{Path: program}
	c := exec.CommandContext(ctx, program)
	out, said := &bounded{}, &bounded{}
	c.Dir, c.Env, c.Stdout, c.Stderr, c.WaitDelay = dir, append(environment(), "LEASTKEY_STATE_FILE="+stateFile), out, said, 2*time.Second
	began := time.Now()
	err := c.Run()
	r.Took = time.Since(began)
	b := out.b.Bytes()
	defer clear(b)
	r.Token, r.Bytes = !out.cut && shape.Match(b), len(b)
	r.Said = fault.Sentence(said.b.String())
	switch {
	case ctx.Err() != nil:
		return r, fault.Newf(fault.Unavailable, "%s did not end within %s", filepath.Base(program), Patience)
	case err != nil:
		if r.Said != "" {
			err = errors.New(r.Said)
		}
		return r, &fault.Error{Code: fault.Unavailable, Op: "run " + filepath.Base(program), Err: err}
	}
	return r, nil
}

// bounded keeps the beginning.
type bounded struct {
	b   bytes.Buffer
	cut bool
}

// Write implements [io.Writer].
func (w *bounded) Write(p []byte) (int, error) {
	if room := limit - w.b.Len(); room >= len(p) {
		w.b.Write(p)
	} else {
		w.b.Write(p[:room])
		w.cut = true
	}
	return len(p), nil
}

// environment is what such a program may need, and nothing else: what lies in ours by accident is none of its business.
func environment() []string {
	var some []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch upper := strings.ToUpper(name); {
		case strings.HasPrefix(upper, "LC_"), strings.HasPrefix(upper, "XDG_"):
			some = append(some, v)
		default:
			switch upper {
			case "PATH", "PATHEXT", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TEMP", "TMP", "DBUS_SESSION_BUS_ADDRESS", "LEASTKEY_HOME",
				"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT":
				some = append(some, v)
			}
		}
	}
	return some
}
