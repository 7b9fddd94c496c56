package statefile

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

func TestStateIsChangedInPlace(t *testing.T) {
	for _, c := range []struct{ name, before, set, remove, after string }{
		{"a new key goes to the end, in the file's own manner", "{\n  \"A\": \"1\"\n}\n", "v", "", "{\n  \"A\": \"1\",\n  \"KEY\": \"v\"\n}\n"},
		{"into an empty object", "{}\n", "v", "", "{\n  \"KEY\": \"v\"\n}\n"},
		{"into an empty object of two lines", "{\n}", "v", "", "{\n  \"KEY\": \"v\"\n}"},
		{"on one line", `{"A":"1","B":"2"}`, "v", "", `{"A":"1","B":"2","KEY":"v"}`},
		{"on one line with spaces", `{"A": "1", "B": "2"}`, "v", "", `{"A": "1", "B": "2", "KEY": "v"}`},
		{"after a single one", `{ "A": 1 }`, "v", "", `{ "A": 1, "KEY": "v" }`},
		{"with tabs", "{\n\t\"A\": \"1\",\n\t\"B\": \"2\"\n}", "v", "", "{\n\t\"A\": \"1\",\n\t\"B\": \"2\",\n\t\"KEY\": \"v\"\n}"},
		{"with the line ends of the file", "{\r\n  \"A\": \"1\",\r\n  \"B\": \"2\"\r\n}\r\n", "v", "", "{\r\n  \"A\": \"1\",\r\n  \"B\": \"2\",\r\n  \"KEY\": \"v\"\r\n}\r\n"},
		{"where spaces come before the comma", `{"A": 1 , "B": 2 }`, "v", "", `{"A": 1 , "B": 2, "KEY": "v" }`},
		{"where the comma begins the line", "{\"A\": 1\n,\"B\": 2\n}", "v", "", "{\"A\": 1\n,\"B\": 2,\"KEY\": \"v\"\n}"},
		{"in its place", `{"A": 1, "KEY" : "old", "B": 2}`, "v", "", `{"A": 1, "KEY" : "v", "B": 2}`},
		{"over what is no string", `{"KEY": {"x": [1, "}"]}, "B": null}`, "v", "", `{"KEY": "v", "B": null}`},
		{"over a number", `{"KEY": 1}`, "1", "", `{"KEY": "1"}`},
		{"the same value changes nothing", `{"KEY":   "\u0076"}`, "v", "", `{"KEY":   "\u0076"}`},
		{"a key that is written in escapes is that key", `{"\u004bEY": "old"}`, "v", "", `{"\u004bEY": "v"}`},
		{"what needs escapes gets them", `{}`, "a\"\\\n<é>", "", "{\n  \"KEY\": \"a\\\"\\\\\\n<é>\"\n}"},
		{"what is nested is not ours", `{"A": {"KEY": "inner"}}`, "v", "", `{"A": {"KEY": "inner"},"KEY": "v"}`},
		{"the first goes", `{"KEY": "x", "B": 2}`, "", "KEY", `{"B": 2}`},
		{"the middle one goes", "{\n  \"A\": 1,\n  \"KEY\": \"x\",\n  \"B\": 2\n}\n", "", "KEY", "{\n  \"A\": 1,\n  \"B\": 2\n}\n"},
		{"the last goes with the comma before it", "{\n  \"A\": 1,\n  \"KEY\": \"x\"\n}\n", "", "KEY", "{\n  \"A\": 1\n}\n"},
		{"the only one goes", `{"KEY": "x"}`, "", "KEY", `{}`},
		{"what is not there cannot go", `{"A": {"KEY": 1}}`, "", "KEY", `{"A": {"KEY": 1}}`},
		{"a key that holds quotes and colons is not mistaken", `{"a\":\"b": "KEY", "c": ":"}`, "v", "", `{"a\":\"b": "KEY", "c": ":", "KEY": "v"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := parseObject([]byte(c.before))
			if err != nil {
				t.Fatal(err)
			}
			var changed bool
			if c.remove == "" {
				changed, err = o.set("KEY", c.set)
			} else {
				changed, err = o.remove(c.remove)
			}
			if err != nil || string(o.text) != c.after || changed != (c.before != c.after) {
				t.Errorf("%v %v\n got %q\nwant %q", changed, err, o.text, c.after)
			}
			if c.remove == "" && o.get("KEY") != c.set {
				t.Errorf("it is %q then", o.get("KEY"))
			}
		})
	}
}

func TestAStateFileThatDoesNotReadIsLeftAsItIs(t *testing.T) {
	const canary = "CANARY-of-a-secret"
	for name, text := range map[string]string{
		"an empty file": "", "spaces": " \n", "an array": `["` + canary + `"]`, "a string": `"` + canary + `"`, "cut short": `{"A": "` + canary + `"`, "cut in a value": `{"A": "` + canary,
		"a key twice": `{"A": "` + canary + `", "A": "2"}`, "a key twice, once in escapes": `{"A": "` + canary + `", "\u0041": "2"}`, "something behind it": `{"A": "` + canary + `"} x`, "two objects": `{"A":"` + canary + `"}{}`,
		"a comma too many": `{"A": "` + canary + `",}`, "no quotes": `{A: "` + canary + `"}`, "a comment": "{} // " + canary, "a byte order mark": "\uFEFF{\"A\": \"" + canary + "\"}", "not UTF-8": "{\"A\": \"" + canary + "\xff\"}",
		"a literal that is none": `{"A": ` + canary + `}`, "null": "null",
	} {
		path := filepath.Join(folder(t), stateName)
		put(t, path, text, 0o644)
		f, v, err := ReadState(path)
		if !fault.Is(err, fault.Corrupt) || f.Exists || !v.Empty() || fault.Hint(err) == "" || strings.Contains(err.Error(), canary) {
			t.Errorf("%s reads: %+v, %v", name, f, err)
		}
		if _, err := UpdateState(t.Context(), path, map[string]string{"K": "v"}, nil); !fault.Is(err, fault.Corrupt) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s is changed: %v", name, err)
		}
		if _, err := Purge(t.Context(), path, nil, provisioner.StateFile, ""); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%s is purged: %v", name, err)
		}
		if content(t, path) != text {
			t.Errorf("%s became %q", name, content(t, path))
		}
	}
}

func TestReadState(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, stateName)
	if f, v, err := ReadState(path); err != nil || f.Exists || f.Path != path || !v.Empty() {
		t.Error(f, err)
	}
	der := []byte("any bytes")
	both := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + "between\n" + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("more")}))
	text, err := json.Marshal(map[string]any{"TENANT_ID": "t", "PROVISIONER_CLIENT_ID": "c", "PROVISIONER_CERT_THUMBPRINT": "0a", "PROVISIONER_CERT_PEM": both, "PROVISIONER_KEYSTORE": "age:/k#t", "PROVISIONER_CLIENT_SECRET": "s3", "AGENT_ID": 7})
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, string(text), 0o644)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f, v, err := ReadState(link)
	want := provisioner.File{Path: path, Exists: true, Mode: 0o644, Tenant: "t", Client: "c", Thumbprint: "0a", Certs: [][]byte{der, []byte("more")}, Keystore: "age:/k#t", HasSecret: true}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("%+v %v", f, err)
	}
	_ = v.Use(func(b []byte) error {
		if string(b) != "s3" {
			t.Error("another secret")
		}
		return nil
	})
	for _, value := range []string{`""`, "null", "7"} {
		put(t, path, `{"PROVISIONER_CLIENT_SECRET": `+value+`}`, 0o600)
		if f, v, err := ReadState(path); err != nil || f.HasSecret || !v.Empty() {
			t.Errorf("%s is taken for a secret: %v", value, err)
		}
	}
}

func TestUpdateState(t *testing.T) {
	path := filepath.Join(folder(t), stateName)
	c, err := UpdateState(t.Context(), path, map[string]string{"B": "2", "A": "1"}, []string{"GONE"})
	if err != nil || !reflect.DeepEqual(c, Change{Path: path, Set: []string{"A", "B"}, Created: true, ModeAfter: 0o600}) || content(t, path) != "{\n  \"A\": \"1\",\n  \"B\": \"2\"\n}\n" {
		t.Fatalf("%+v %v %q", c, err, content(t, path))
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = UpdateState(t.Context(), path, map[string]string{"A": "1"}, []string{"GONE"}); err != nil || !c.Unchanged {
		t.Fatalf("%+v %v", c, err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Fatal("a file in which nothing changes was written")
	}
	put(t, path, "{\n  \"A\": \"0\",\n  \"MINE\": [1,  2],\n  \"OLD\": \"x\"\n}", 0o664)
	c, err = UpdateState(t.Context(), path, map[string]string{"A": "1"}, []string{"OLD", "OLD"})
	if err != nil || !reflect.DeepEqual(c, Change{Path: path, Set: []string{"A"}, Removed: []string{"OLD"}, ModeBefore: 0o664, ModeAfter: 0o600}) || !c.Tightened() || content(t, path) != "{\n  \"A\": \"1\",\n  \"MINE\": [1,  2]\n}" {
		t.Fatalf("%+v %v %q", c, err, content(t, path))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 2 { // the file and its lock
		t.Fatal(entries, err)
	}
	for _, bad := range []struct {
		set    map[string]string
		remove []string
	}{{map[string]string{"A": "\xff"}, nil}, {map[string]string{"\xff": "1"}, nil}, {map[string]string{"A": "2"}, []string{"A"}}} {
		if _, err := UpdateState(t.Context(), path, bad.set, bad.remove); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q %q: %v", bad.set, bad.remove, err)
		}
	}
}

func TestUpdateStateWhereFilesAreNotPlain(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir, path string)
		code fault.Code // "": it is changed
	}{
		{"a link", func(t *testing.T, dir, path string) {
			put(t, filepath.Join(dir, "real"), `{"B":"1"}`, 0o600)
			if err := os.Symlink("real", path); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a file that its owner may only read", func(t *testing.T, dir, path string) { put(t, path, `{"B":"1"}`, 0o400) }, ""},
		{"a link to nowhere", func(t *testing.T, dir, path string) {
			if err := os.Symlink("nowhere", path); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"a file with two names", func(t *testing.T, dir, path string) {
			put(t, path, `{"B":"1"}`, 0o600)
			if err := os.Link(path, path+".second"); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"a folder", func(t *testing.T, dir, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"more than 1 MiB", func(t *testing.T, dir, path string) { put(t, path, `{"B":"`+strings.Repeat("x", 1<<20)+`"}`, 0o600) }, fault.Invalid},
		{"what a killed process left beside it", func(t *testing.T, dir, path string) {
			put(t, path, `{"B":"1"}`, 0o600)
			put(t, path+".leastkey-new", `{"B":`, 0o600)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			path := filepath.Join(dir, stateName)
			c.make(t, dir, path)
			before, _ := os.ReadFile(path)
			link, _ := os.Readlink(path)
			_, err := UpdateState(t.Context(), path, map[string]string{"A": "1"}, nil)
			if fault.CodeOf(err) != c.code || (err != nil && fault.Hint(err) == "") {
				t.Fatalf("%v (%s)", err, fault.CodeOf(err))
			}
			after, _ := os.ReadFile(path)
			if c.code != "" && !bytes.Equal(before, after) {
				t.Error("it was changed")
			}
			if c.code == "" && string(after) != `{"B":"1","A":"1"}` {
				t.Errorf("%q", after)
			}
			if now, _ := os.Readlink(path); now != link {
				t.Error("the link was replaced")
			}
			if _, err := os.Lstat(path + ".leastkey-new"); !errors.Is(err, os.ErrNotExist) {
				t.Error("a temporary file is left")
			}
		})
	}
}

func TestFindState(t *testing.T) {
	dir := folder(t)
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if path, found, err := FindState(deep); err != nil || (found && strings.HasPrefix(path, dir)) {
		t.Error(path, found, err)
	}
	put(t, filepath.Join(dir, successorsState), "{}", 0o600)
	if path, found, err := FindState(deep); err != nil || !found || path != filepath.Join(dir, successorsState) {
		t.Error(path, found, err)
	}
	put(t, filepath.Join(dir, stateName), "{}", 0o600)
	put(t, filepath.Join(dir, "a", successorsState), "{}", 0o600)
	for at, want := range map[string]string{dir: stateName, deep: filepath.Join("a", successorsState)} {
		if path, found, err := FindState(at); err != nil || !found || path != filepath.Join(dir, want) {
			t.Error(path, found, err)
		}
	}
}

// Every other member and every other byte stays, whatever the file looks like.
func FuzzState(f *testing.F) {
	for _, seed := range []string{"{}", "{\n  \"A\": \"1\",\n  \"K\": \"v\"\n}\n", `{"A":{"K":[1,2.5e3,null,true,"\ud83e\udd80"]},"K":"x"}`, "{\r\n\t\"A\" : 1 ,\r\n\t\"B\" : \"\\u00e9\"\r\n}", `{"":"","K":-0}`, `{ "a\\\"" : "b" , "K" : {} } `} {
		f.Add([]byte(seed), "K", "v")
	}
	f.Fuzz(func(t *testing.T, text []byte, key, value string) {
		o, err := parseObject(text)
		if err != nil {
			if !fault.Is(err, fault.Corrupt) {
				t.Fatal(err)
			}
			return
		}
		var std map[string]json.RawMessage
		if err := json.Unmarshal(text, &std); err != nil || len(std) != len(o.members) {
			t.Fatalf("it reads here, and to the standard library: %v", err)
		}
		for _, m := range o.members {
			if raw := text[m.value:m.to]; !bytes.Equal(raw, std[m.key]) {
				t.Fatalf("%q is %q, and %q to the standard library", m.key, raw, std[m.key])
			}
		}
		others := func(o object) []string {
			var out []string
			for _, m := range o.members {
				if m.key != key {
					out = append(out, string(o.text[m.from:m.to]))
				}
			}
			return out
		}
		before := others(o)
		gone, err := o.remove(key)
		if _, had := std[key]; err != nil || gone != had || o.find(key) >= 0 || !slices.Equal(others(o), before) {
			t.Fatalf("remove: %v %v: %q", gone, err, o.text)
		}
		if !gone && !bytes.Equal(o.text, text) {
			t.Fatal("nothing was removed, and the file is another")
		}
		if o, err = parseObject(text); err != nil {
			t.Fatal(err)
		}
		if _, err = o.set(key, value); err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if o.get(key) != value || !slices.Equal(others(o), before) {
			t.Fatalf("set: %q", o.text)
		}
		if m := o.members[o.find(key)]; !bytes.HasPrefix(text, o.text[:min(m.from, len(text))]) && len(before) > 0 && m.from < len(text) && std[key] != nil {
			t.Fatalf("what is before it changed: %q", o.text)
		}
		delete(std, key)
		var now map[string]json.RawMessage
		if err := json.Unmarshal(o.text, &now); err != nil {
			t.Fatal(err)
		}
		delete(now, key)
		if !maps.EqualFunc(std, now, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q", o.text)
		}
	})
}
