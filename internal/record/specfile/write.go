package specfile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Write makes a file of the spec, with comments for who reads it next. It appears whole or not at all. fault.Conflict if anything is there
// already: a spec is somebody's work.
func Write(path string, s agent.Spec) error {
	b, err := render(s)
	if err != nil {
		return err
	}
	temp := path + ".new-" + rand.Text()
	if err := writeNew(temp, b); err != nil {
		return errors.Join(err, remove(temp))
	}
	if err := reveal(temp, path); err != nil {
		return errors.Join(err, remove(temp))
	}
	return syncFolder(filepath.Dir(path))
}

// writeNew writes a file that nobody else has. It holds no secret: its mode is what the umask leaves, as for any source file.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write spec", Err: err}
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write spec", Err: err}
	}
	return nil
}

// reveal gives the file its name. A link never replaces what is there; where the file system has no links, a look before the rename has to
// do.
func reveal(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil {
		return remove(temp)
	}
	if _, look := os.Lstat(path); !errors.Is(look, fs.ErrNotExist) {
		return fault.New(fault.Conflict, path+" exists already", "it was not changed; move it away, or write to another file with -f")
	}
	if err := os.Rename(temp, path); err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write spec", Err: err}
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Code: fault.Unavailable, Op: "remove unfinished spec", Err: err}
	}
	return nil
}

// syncFolder flushes the folder, so that the name survives a power cut. Windows has no such call.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write spec", Err: err}
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "write spec", Err: err}
	}
	return nil
}

func render(s agent.Spec) ([]byte, error) {
	top := &fields{}
	top.text("cloud", string(s.Cloud), "local | public | usgov | china")
	top.text("tenant", s.Tenant, "GUID or domain name")
	top.text("subscription", s.Subscription, "")
	top.text("resource_group", s.ResourceGroup, "the agent's roles are given here and below, never wider")
	top.text("location", s.Location, "")
	top.text("operator", s.Operator, "whose rights are used: az | azd | device-code | workload | managed-identity")
	top.add("provisioner", provisioner(s.Provisioner), "")
	agents := &fields{}
	for _, name := range slices.Sorted(maps.Keys(s.Agents)) {
		a := s.Agents[name]
		if a == nil {
			a = &agent.Agent{}
		}
		agents.add(name, orEmpty(one(a)), "")
	}
	top.add("agents", orEmpty(agents.node()), "\nEach key is the name of an agent and the display name of its identity.")
	doc := &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{top.node()}, // never empty: it has agents

		HeadComment: "What leastkey gives each agent. No secret belongs in this file; unknown keys are errors.\nleastkey plan shows what would change, leastkey apply does it.\n"}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	return b.Bytes(), nil
}

func provisioner(p agent.Provisioner) *yaml.Node {
	f := &fields{}
	f.text("display_name", p.DisplayName, "")
	f.text("keystore", p.Keystore, "auto is the keychain of the operating system")
	f.text("state_file", p.StateFile, "")
	f.text("permissions", p.Permissions, "seed | agent-id-only")
	return f.node()
}

func one(a *agent.Agent) *yaml.Node {
	f := &fields{}
	f.text("kind", string(a.Kind), "")
	f.add("certificate", certificate(a.Certificate), "")
	f.list("certificates", a.Certificates, "SHA-256 of known certificates of other machines")
	f.list("owners", a.Owners, "object ids, besides who creates it")
	f.text("env_file", a.EnvFile, "gets the ids, never a secret")
	f.add("roles", roles(a.Roles), rolesComment(a.Roles))
	f.text("key_vault", a.KeyVault, "adds Key Vault Secrets Officer on it")
	f.text("key_vault_access", string(a.KeyVaultAccess), "officer | user, who only reads")
	f.text("session_pool", a.SessionPool, "adds Azure ContainerApps Session Executor on it")
	f.text("content_safety", a.ContentSafety, "adds Cognitive Services User on it")
	f.add("federated", federated(a.Federated), "tokens of other issuers that stand for the agent")
	f.add("broker", broker(a.Broker), "")
	f.add("runtime", run(a.Runtime), "")
	f.text("image", a.Image, "")
	return f.node()
}

func certificate(p agent.CertificatePolicy) *yaml.Node {
	f := &fields{flow: true}
	if p.Days != 0 {
		f.add("days", plain("!!int", strconv.Itoa(p.Days)), "")
	}
	if p != (agent.CertificatePolicy{}) {
		f.text("overlap", brief(p.Overlap), "")
	}
	if p.RenewAt != 0 {
		f.add("renew_at", plain("!!float", strconv.FormatFloat(p.RenewAt, 'g', -1, 64)), "")
	}
	return f.node()
}

func roles(r agent.Roles) *yaml.Node {
	if r.Set != "" {
		return str(r.Set)
	}
	if r.List == nil {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if len(r.List) == 0 {
		n.Style = yaml.FlowStyle
	}
	for _, at := range r.List {
		f := &fields{}
		f.text("role", at.Role, "")
		f.text("scope", at.Scope, "")
		n.Content = append(n.Content, f.node())
	}
	return n
}

func rolesComment(r agent.Roles) string {
	if r.Set != "" {
		return "a set, or a list of {role, scope}"
	}
	return ""
}

func federated(all []agent.Federated) *yaml.Node {
	if len(all) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, x := range all {
		f := &fields{}
		f.text("issuer", x.Issuer, "")
		f.text("subject", x.Subject, "")
		f.text("audience", x.Audience, "")
		n.Content = append(n.Content, f.node())
	}
	return n
}

func broker(b agent.Broker) *yaml.Node {
	f := &fields{}
	f.list("audiences", b.Audiences, "")
	f.text("rate", b.Rate, "")
	return f.node()
}

func run(r agent.Runtime) *yaml.Node {
	f := &fields{}
	if r.UID != 0 {
		f.add("uid", plain("!!int", strconv.Itoa(r.UID)), "")
	}
	f.list("env", r.Env, "")
	f.list("vault_refs", r.VaultRefs, "")
	return f.node()
}

// fields is a mapping being written. What is empty is left out: its default holds.
type fields struct {
	content []*yaml.Node
	flow    bool
}

func (f *fields) add(key string, value *yaml.Node, comment string) {
	if value == nil {
		return
	}
	k := str(key)
	if comment != "" {
		if value.Kind == yaml.ScalarNode {
			value.LineComment = comment
		} else {
			k.HeadComment = comment
		}
	}
	f.content = append(f.content, k, value)
}

func (f *fields) text(key, value, comment string) {
	if value != "" {
		f.add(key, str(value), comment)
	}
}

func (f *fields) list(key string, values []string, comment string) {
	if len(values) == 0 {
		return
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range values {
		n.Content = append(n.Content, str(v))
	}
	f.add(key, n, comment)
}

// node is nil if there is no field.
func (f *fields) node() *yaml.Node {
	if len(f.content) == 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Content: f.content}
	if f.flow {
		n.Style = yaml.FlowStyle
	}
	return n
}

func orEmpty(n *yaml.Node) *yaml.Node {
	if n == nil {
		return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	}
	return n
}

// brief is a duration without the zero minutes and seconds that its String has: 36h, not 36h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// str is text; the encoder quotes it where it would read as something else.
func str(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if strings.ContainsAny(s, "\r\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func plain(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}
