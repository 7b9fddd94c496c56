package statefile

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// The names of the state file: the seed's, and its successor's, which is read as well.
const (
	stateName       = ".entraclaw-state.json"
	successorsState = ".entrabot-state.json"
)

// object is a JSON object of strings as it stands in the file, so that a change touches the bytes of what it changes and no others. It
// may hold secrets, so nothing prints it.
type object struct {
	text    []byte
	members []member
	open    int // where the brace opens
	close   int // where it closes
}

// member is one member of an object: from, of its key, to the end of its value.
type member struct {
	key             string
	from, value, to int
	text            string // if the value is a string
	plain           bool   // the value is a string
}

// parseObject reads a state file. fault.Corrupt, which never shows content: not one JSON object, or a key that is there twice, of which
// no two readers need take the same.
func parseObject(b []byte) (object, error) {
	bad := func(what string) (object, error) {
		return object{}, fault.New(fault.Corrupt, "the state file does not read: "+what, "it is left as it is: restore it from a backup, or correct it by hand")
	}
	if !utf8.Valid(b) {
		return bad("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	first, err := dec.Token()
	if err != nil || first != json.Delim('{') {
		return bad("it is not a JSON object")
	}
	o := object{text: b, open: int(dec.InputOffset()) - 1}
	for dec.More() {
		token, err := dec.Token()
		key, isKey := token.(string)
		if err != nil || !isKey {
			return bad("it is not a JSON object")
		}
		if o.find(key) >= 0 {
			return bad("key " + key + " is there twice")
		}
		after := int(dec.InputOffset())
		from := start(b, o, after)
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return bad("the value of " + key + " is not JSON")
		}
		m := member{key: key, from: from, to: int(dec.InputOffset())}
		m.value = m.to - len(raw)
		m.plain = json.Unmarshal(raw, &m.text) == nil && len(raw) > 0 && raw[0] == '"'
		o.members = append(o.members, m)
	}
	if _, err := dec.Token(); err != nil {
		return bad("it is cut short")
	}
	o.close = int(dec.InputOffset()) - 1
	if len(bytes.TrimSpace(b[o.close+1:])) > 0 {
		return bad("something follows the object")
	}
	return o, nil
}

// start is where the key that ends at after begins: its opening quote is the first one after the previous member.
func start(b []byte, o object, after int) int {
	from := o.open + 1
	if n := len(o.members); n > 0 {
		from = o.members[n-1].to
	}
	return from + bytes.IndexByte(b[from:after], '"')
}

func (o object) find(key string) int {
	return slices.IndexFunc(o.members, func(m member) bool { return m.key == key })
}

// get is the string of that key; "" if it has none.
func (o object) get(key string) string {
	if i := o.find(key); i >= 0 {
		return o.members[i].text
	}
	return ""
}

// set gives the key a string, in its place or at the end, and tells whether that changed anything.
func (o *object) set(key, value string) (bool, error) {
	quoted, err := quoteJSON(value)
	if err != nil {
		return false, err
	}
	i := o.find(key)
	if i >= 0 {
		m := o.members[i]
		if m.plain && m.text == value {
			return false, nil
		}
		return true, o.splice(m.value, m.to, string(quoted))
	}
	name, err := quoteJSON(key)
	if err != nil {
		return false, err
	}
	indent, separator, end := o.manner()
	if n := len(o.members); n > 0 {
		at := o.members[n-1].to
		return true, o.splice(at, at, ","+indent+string(name)+separator+string(quoted))
	}
	return true, o.splice(o.open+1, o.close, indent+string(name)+separator+string(quoted)+end)
}

// manner is how the file separates its members; the original writes two spaces.
func (o object) manner() (indent, separator, end string) {
	if len(o.members) == 0 {
		return "\n  ", ": ", "\n"
	}
	m := o.members[len(o.members)-1]
	before := o.open + 1
	if n := len(o.members); n > 1 {
		before = o.members[n-2].to
		before += bytes.IndexByte(o.text[before:m.from], ',') + 1
	}
	indent = string(o.text[before:m.from])
	separator = ": "
	if key := bytes.IndexByte(o.text[m.from:m.value], ':'); key >= 0 && m.value > 0 && o.text[m.value-1] == ':' {
		separator = ":"
	}
	return indent, separator, "\n"
}

// remove takes the member with the comma that belongs to it.
func (o *object) remove(key string) (bool, error) {
	i := o.find(key)
	if i < 0 {
		return false, nil
	}
	from, to := o.members[i].from, o.members[i].to
	switch {
	case i+1 < len(o.members):
		to = o.members[i+1].from
	case i > 0:
		from = o.members[i-1].to
	}
	return true, o.splice(from, to, "")
}

func (o *object) splice(from, to int, with string) error {
	next, err := parseObject(slices.Concat(o.text[:from], []byte(with), o.text[to:]))
	if err != nil {
		return err
	}
	*o = next
	return nil
}

func quoteJSON(s string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if !utf8.ValidString(s) {
		return nil, fault.Newf(fault.Invalid, "a value that is not UTF-8 cannot stand in a state file")
	}
	err := enc.Encode(s)
	return bytes.TrimSpace(b.Bytes()), err
}

// ReadState reads the Provisioner's state file, through links, and the secret that it still holds, if any. A file that does not exist is
// no error. fault.Corrupt: it does not read; nobody may take it for empty.
func ReadState(path string) (provisioner.File, secret.Value, error) {
	at, err := resolve(path)
	if err != nil {
		return provisioner.File{Path: path}, secret.Value{}, err
	}
	f := provisioner.File{Path: at}
	have, err := read(at)
	if err != nil || !have.exists() {
		return f, secret.Value{}, err
	}
	o, err := parseObject(have.content)
	if err != nil {
		return f, secret.Value{}, fmt.Errorf("%s: %w", at, err)
	}
	f.Exists, f.Mode, f.Foreign = true, uint32(have.mode()), !trusted(have.info)
	f.Tenant, f.Client = o.get(provisioner.KeyTenant), o.get(provisioner.KeyClient)
	f.Thumbprint, f.Keystore = o.get(provisioner.KeyThumbprint), o.get(provisioner.KeyKeystore)
	for rest := []byte(o.get(provisioner.KeyCert)); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			f.Certs = append(f.Certs, block.Bytes)
		}
	}
	v := o.get(provisioner.KeySecret)
	f.HasSecret = v != ""
	return f, secret.New([]byte(v)), nil
}

// UpdateState sets and removes keys of a state file; every other byte stays. It works as [UpdateEnv] does, and a new file is 0600.
func UpdateState(ctx context.Context, path string, set map[string]string, remove []string) (Change, error) {
	return rewrite(ctx, path, func(have found, at string) (content []byte, done, removed []string, err error) {
		if !have.exists() {
			have.content = []byte("{}\n")
		}
		o, err := parseObject(have.content)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", at, err)
		}
		for _, key := range slices.Sorted(maps.Keys(set)) {
			changed, err := o.set(key, set[key])
			if err != nil {
				return nil, nil, nil, err
			}
			if changed {
				done = append(done, key)
			}
		}
		for _, key := range slices.Compact(slices.Sorted(slices.Values(remove))) {
			if _, both := set[key]; both {
				return nil, nil, nil, fault.Newf(fault.Invalid, "%s is to be both set and removed", key)
			}
			gone, err := o.remove(key)
			if err != nil {
				return nil, nil, nil, err
			}
			if gone {
				removed = append(removed, key)
			}
		}
		return o.text, done, removed, nil
	})
}

// FindState looks for a state file in the folder and in those above it; false if there is none.
func FindState(dir string) (string, bool, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return "", false, unavailable("find "+dir, err)
	}
	for {
		for _, name := range []string{stateName, successorsState} {
			path := filepath.Join(at, name)
			_, err := os.Stat(path)
			if err == nil {
				return path, true, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return "", false, unavailable("look at "+path, err)
			}
		}
		up := filepath.Dir(at)
		if up == at {
			return "", false, nil
		}
		at = up
	}
}
