package specfile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// Text reads a file as it is, with its SHA-256 in hex; both are empty where there is none.
func Text(path string) (text, sum string, err error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", nil
	case errors.Is(err, fs.ErrPermission):
		return "", "", &fault.Error{Code: fault.Forbidden, Op: "read spec", Err: err}
	case err != nil:
		return "", "", &fault.Error{Code: fault.Unavailable, Op: "read spec", Err: err}
	case len(b) > maxSize:
		return "", "", fault.New(fault.Invalid, path+" is larger than 1 MiB", "that is no spec")
	}
	return string(b), sumOf(b), nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Edit is the text with the change made: comments and the order of fields are kept, what the change does not name stays as it is, and a field
// that becomes empty goes, so that its default holds. An empty text becomes a new file. The result is valid, or the error is an *[Error]; name
// stands in its problems.
func Edit(name, text string, c api.SpecChange, roles role.Catalogue) (string, error) {
	if c.Agent == "" {
		return "", fault.New(fault.Invalid, "the change names no agent", "")
	}
	var out []byte
	var err error
	if text == "" {
		out, err = render(fresh(c))
	} else {
		out, err = edited(name, text, c)
	}
	if err != nil {
		return "", err
	}
	_, err = Parse(name, out, roles)
	return string(out), err
}

// fresh is the spec of a first file.
func fresh(c api.SpecChange) agent.Spec {
	s := agent.Spec{Cloud: agent.Cloud(or(c.Cloud)), Tenant: or(c.Tenant), Subscription: or(c.Subscription), ResourceGroup: or(c.ResourceGroup), Location: or(c.Location), Operator: or(c.Operator)}
	a := &agent.Agent{Kind: agent.Kind(or(c.Kind)), KeyVault: or(c.KeyVault), SessionPool: or(c.SessionPool), ContentSafety: or(c.ContentSafety), EnvFile: or(c.EnvFile), Federated: c.Federated}
	if c.Days != nil {
		a.Certificate.Days = *c.Days
	}
	s.Agents = map[string]*agent.Agent{c.Agent: a}
	return s
}

func or(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func edited(name, text string, c api.SpecChange) ([]byte, error) {
	doc, problem := document([]byte(text)) // what stands in a second one would be lost
	if problem != nil {
		problem.File = name
		return nil, &Error{[]Problem{*problem}}
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, &Error{[]Problem{{File: name, Line: 1, Message: "this is no spec", Hint: "move the file away, then a new one can be written"}}}
	}
	e := editor{}
	e.top(doc.Content[0], c)
	if e.err != nil {
		return nil, e.err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(indent(doc.Content[0]))
	if err := errors.Join(enc.Encode(doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	return b.Bytes(), nil
}

// indent is how far the file itself indents.
func indent(root *yaml.Node) int {
	for i := 1; i < len(root.Content); i += 2 {
		if v := root.Content[i]; v.Kind == yaml.MappingNode && v.Style&yaml.FlowStyle == 0 && len(v.Content) > 0 {
			return min(max(v.Content[0].Column-root.Column, 2), 8)
		}
	}
	return 2
}

// editor changes nodes, until something is in its way.
type editor struct{ err error }

func (e *editor) top(root *yaml.Node, c api.SpecChange) {
	e.text(root, "cloud", c.Cloud)
	e.text(root, "tenant", c.Tenant)
	e.text(root, "subscription", c.Subscription)
	e.text(root, "resource_group", c.ResourceGroup)
	e.text(root, "location", c.Location)
	e.text(root, "operator", c.Operator)
	a := e.mapping(e.mapping(root, "agents"), c.Agent)
	e.text(a, "kind", c.Kind)
	if c.Days != nil {
		days := plain("!!int", strconv.Itoa(*c.Days))
		if *c.Days == 0 {
			days = nil
		}
		e.set(e.mapping(a, "certificate"), "days", days)
	}
	e.text(a, "env_file", c.EnvFile)
	e.text(a, "key_vault", c.KeyVault)
	e.text(a, "session_pool", c.SessionPool)
	e.text(a, "content_safety", c.ContentSafety)
	if c.Federated != nil {
		e.set(a, "federated", federated(c.Federated))
	}
}

func (e *editor) text(m *yaml.Node, key string, value *string) {
	switch {
	case value == nil:
	case *value == "":
		e.set(m, key, nil)
	default:
		e.set(m, key, str(*value))
	}
}

// find is where the key's value is in the mapping, -1 if it is not.
func find(m *yaml.Node, key string) int {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i + 1
		}
	}
	return -1
}

// set gives the key a value, or removes it for nil. The comment beside a value stays; one that is not plainly written here is left to a person.
func (e *editor) set(m *yaml.Node, key string, value *yaml.Node) {
	if e.err != nil || m == nil {
		return
	}
	at := find(m, key)
	switch {
	case at < 0 && value == nil:
	case at < 0:
		m.Content = append(m.Content, str(key), value)
		if len(m.Content) == 2 {
			m.Style &^= yaml.FlowStyle // of an agent that was written {}
		}
	case aliased(m.Content[at]):
		e.refuse(key)
	case value == nil:
		// The comment above a field may be about more than the field.
		if above := m.Content[at-1].HeadComment; above != "" && at+1 < len(m.Content) {
			next := m.Content[at+1]
			next.HeadComment = strings.TrimSpace(above + "\n" + next.HeadComment)
		}
		m.Content = append(m.Content[:at-1], m.Content[at+1:]...)
	case value.Kind == yaml.ScalarNode && m.Content[at].Kind == yaml.ScalarNode && m.Content[at].Value == value.Value:
		// as it is, in the quotes that it has
	default:
		was := m.Content[at]
		value.HeadComment, value.LineComment, value.FootComment = was.HeadComment, was.LineComment, was.FootComment
		m.Content[at] = value
	}
}

// mapping is the mapping under the key, made where it is missing or empty.
func (e *editor) mapping(m *yaml.Node, key string) *yaml.Node {
	if e.err != nil || m == nil {
		return nil
	}
	at := find(m, key)
	if at < 0 {
		n := &yaml.Node{Kind: yaml.MappingNode}
		e.set(m, key, n)
		return n
	}
	n := m.Content[at]
	switch {
	case aliased(n):
		e.refuse(key)
		return nil
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		made := &yaml.Node{Kind: yaml.MappingNode, HeadComment: n.HeadComment, LineComment: n.LineComment, FootComment: n.FootComment}
		m.Content[at] = made
		return made
	case n.Kind != yaml.MappingNode:
		e.err = fault.New(fault.Invalid, key+" is not what a spec has there", "correct the file by hand first")
		return nil
	}
	return n
}

// aliased tells whether the value is shared with another place: to change it here would change it there.
func aliased(n *yaml.Node) bool { return n.Kind == yaml.AliasNode || n.Anchor != "" }

func (e *editor) refuse(key string) {
	e.err = fault.New(fault.Conflict, key+" is shared with another part of the file (an anchor or alias)", "change it by hand")
}

// Replace gives the file a new text in one step: a reader sees the old one or the new one. sum is the SHA-256 of the text that is replaced, "" for
// none: what has changed meanwhile is fault.Conflict. fault.Refused: file or folder cannot be written. The caller holds a lock.
func Replace(path, sum, text string) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	_, have, err := Text(path)
	if err != nil {
		return err
	}
	if have != sum {
		return fault.New(fault.Conflict, path+" has changed meanwhile", "read it again")
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if !info.Mode().IsRegular() {
			return fault.New(fault.Refused, path+" is not a regular file", "")
		}
		// A rename would replace a file that its owner has made read-only.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return unwritable(path, err)
		}
		if err := f.Close(); err != nil {
			return &fault.Error{Code: fault.Unavailable, Op: "write spec", Err: err}
		}
	}
	temp := path + ".new-" + rand.Text()
	if err := writeNew(temp, []byte(text)); err != nil {
		return errors.Join(unwritable(path, err), remove(temp))
	}
	if sum == "" {
		if err := reveal(temp, path); err != nil {
			return errors.Join(err, remove(temp))
		}
		return syncFolder(filepath.Dir(path))
	}
	if err := errors.Join(os.Chmod(temp, mode), os.Rename(temp, path)); err != nil {
		return errors.Join(unwritable(path, err), remove(temp))
	}
	return syncFolder(filepath.Dir(path))
}

func unwritable(path string, err error) error {
	return &fault.Error{Code: fault.Refused, Op: path + " cannot be written here", Err: err, Hint: "put the text there yourself"}
}

// Writable tells whether Replace could write the file, as far as can be told without doing so.
func Writable(path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if _, err := os.Lstat(path); err == nil {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return false
		}
		_ = f.Close()
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".leastkey-*")
	if err != nil {
		return false
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name())) == nil
}
