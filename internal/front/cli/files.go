package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// draft is a file on its way: it is begun before the work, so that a folder that cannot be written is known before anything changes,
// and takes its name only when it is complete.
type draft struct {
	path string
	file *os.File
}

// beginFile begins a file of that mode; an empty path gives a draft that is never written.
func beginFile(path string, mode os.FileMode) (*draft, error) {
	if path == "" {
		return &draft{}, nil
	}
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, usage("name a file", "%s is not a regular file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".leastkey-*")
	if err != nil {
		return nil, fault.New(fault.Invalid, "cannot write "+path+": "+reason(err), "name a file in a folder that exists and that you may write")
	}
	d := &draft{path: path, file: f}
	if err := f.Chmod(mode); err != nil {
		d.discard()
		return nil, fmt.Errorf("begin %s: %w", path, err)
	}
	return d, nil
}

// commit writes the content and gives the file its name.
func (d *draft) commit(content []byte) error {
	_, err := d.file.Write(content)
	if err == nil {
		err = d.file.Sync()
	}
	if closing := d.file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(d.file.Name(), d.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", d.path, err)
	}
	d.file = nil
	return nil
}

// discard removes what was not committed. It may be called at any time.
func (d *draft) discard() {
	if d.file == nil {
		return
	}
	d.file.Close()
	os.Remove(d.file.Name())
	d.file = nil
}

// reason is the cause of a file error without the name of the temporary file.
func reason(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// isPlanFile tells a plan file from an agent by its form alone, so that no file that happens to lie around changes what a command does.
func isPlanFile(arg string) bool {
	return strings.HasSuffix(arg, ".json") || strings.ContainsAny(arg, `/\`)
}

const largestPlan = 4 << 20

// readPlan reads a plan that somebody wrote with plan --out or apply --only --out. Errors do not echo the content.
func readPlan(path string) (*agent.Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.NotFound, "cannot read plan "+path+": "+reason(err), "leastkey plan --out "+quote(path)+" writes one")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, largestPlan+1))
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", path, err)
	}
	p, err := parsePlan(b)
	if err != nil {
		return nil, fault.New(fault.Invalid, path+" is not a plan of leastkey: "+err.Error(), "leastkey plan --out "+quote(path)+" writes one")
	}
	return p, nil
}

// parsePlan is strict: a field that this version does not know would be approved by a person and then ignored.
func parsePlan(b []byte) (*agent.Plan, error) {
	if len(b) > largestPlan {
		return nil, fmt.Errorf("it is larger than %d MiB", largestPlan>>20)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var p agent.Plan
	if err := d.Decode(&p); err != nil {
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("not JSON at byte %d", at.Offset)
		}
		if at, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("field %s is not a %s", at.Field, at.Type)
		}
		return nil, errors.New("it is cut off, or has a field that this version does not know")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the plan")
	}
	switch {
	case p.Version != 1:
		return nil, fmt.Errorf("its version is %d and this leastkey reads version 1", p.Version)
	case p.Agent == "" || p.Tenant == "" || p.Cloud == "" || p.Spec == nil:
		return nil, errors.New("it lacks agent, tenant, cloud or spec")
	case p.Verb != agent.Apply && p.Verb != agent.Revoke:
		return nil, errors.New("its verb is neither apply nor revoke")
	}
	return &p, nil
}

// writePlan commits a plan to its draft, in the form from which its digest can be computed again.
func writePlan(d *draft, p agent.Plan) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	return d.commit(append(cleanJSON(b), '\n'))
}

// quote makes a word that a POSIX shell reads as it is.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:@%+,=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
