//go:build unix

package statefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// legacyValue has the form that Entra gives, and characters that JSON and URLs write in another way.
const legacyValue = "CAN8Q~aRy/of+a.secret_0123456789&abcdefgh"

func legacyState(extra string) string {
	return "{\n  \"TENANT_ID\": \"t\",\n  \"PROVISIONER_CLIENT_SECRET\": \"" + legacyValue + "\",\n  \"AGENT_ID\": \"stays\"" + extra + "\n}\n"
}

func texts(all []secret.Value) (out []string) {
	for _, v := range all {
		_ = v.Use(func(b []byte) error { out = append(out, string(b)); return nil })
	}
	return out
}

// install is a folder with a state file, in it whatever files are given.
func install(t *testing.T, files map[string]string) (dir string, w Where) {
	t.Helper()
	dir = folder(t)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, path, text, 0o600)
	}
	return dir, Where{State: filepath.Join(dir, stateName), Env: filepath.Join(dir, ".env")}
}

// look is what a search gives: places as "kind:path:line", sorted.
func look(t *testing.T, dir string, w Where, known ...secret.Value) ([]secret.Value, string) {
	t.Helper()
	got, places, err := Legacy(t.Context(), w, known)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range places {
		rel, err := filepath.Rel(dir, p.Path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s:%s:%d", p.Kind, rel, p.Line))
		if (p.Why != "") != (p.Kind == provisioner.Other) || (p.Diff != "") != (p.Kind == provisioner.Edit) {
			t.Errorf("%+v", p)
		}
	}
	text, err := json.Marshal(places)
	if err != nil || bytes.Contains(text, []byte("8Q~aRy")) {
		t.Errorf("a value is in the places: %s (%v)", text, err)
	}
	slices.Sort(out)
	return got, strings.Join(out, " ")
}

func TestTheSecretIsFoundUnderItsKeyAndByItsValue(t *testing.T) {
	const value = legacyValue
	quoted, _ := json.Marshal(value)
	for _, c := range []struct{ name, text, found string }{
		{"in JSON", `{"x": {"PROVISIONER_CLIENT_SECRET": "` + value + `"}}`, "other:f:1"},
		{"in JSON with escapes", "\n{\"a\": " + string(quoted) + "}", "other:f:2"},
		{"in an environment file", "A=1\nPROVISIONER_CLIENT_SECRET=" + value + "\n", "other:f:2"},
		{"in a shell script", "export PROVISIONER_CLIENT_SECRET='" + value + "'; run", "other:f:1"},
		{"in YAML", "PROVISIONER_CLIENT_SECRET: " + value, "other:f:1"},
		{"under another key", "SOMETHING=" + value, "other:f:1"},
		{"in a form", "client_secret=" + url.QueryEscape(value) + "&grant_type=x", "other:f:1"},
		{"in the path of a URL", "/x/" + url.PathEscape(value), "other:f:1"},
		{"in prose", "one\ntwo\nthe secret is " + value + ", keep it", "other:f:3"},
		{"twice, at its first line", "\n" + value + "\n" + value, "other:f:2"},
		{"not where it only begins alike", value[:len(value)-1], ""},
		{"not in an empty file", "", ""},
		{"across the border of two pieces", strings.Repeat("x", 64<<10-7) + value, "other:f:1"},
		{"at the end of a large file", strings.Repeat(strings.Repeat("x", 99)+"\n", 3<<15) + value, fmt.Sprint("other:f:", 3<<15+1)},
		{"exactly behind a piece", strings.Repeat("\n", 64<<10) + value, fmt.Sprint("other:f:", 64<<10+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, w := install(t, map[string]string{stateName: legacyState(""), "f": c.text})
			got, places := look(t, dir, w)
			if want := strings.TrimSpace(c.found + " state:" + stateName + ":3"); places != want {
				t.Errorf("%s, want %s", places, want)
			}
			if !slices.Equal(texts(got), []string{value}) {
				t.Errorf("%d values", len(got))
			}
		})
	}
}

func TestEveryKnownKindOfPlace(t *testing.T) {
	dir, w := install(t, map[string]string{stateName: legacyState(""), ".env": "X=1\nPROVISIONER_CLIENT_SECRET=" + legacyValue + "\n", stateName + ".bak.1": strings.ReplaceAll(legacyState(""), "8Q~", "7Q~"),
		"notes": legacyValue, "deep/below": legacyValue, "also/one/two": legacyValue, "also/.git/objects/x": legacyValue, "tmp/EntraClaw-state.backup": legacyValue, "tmp/my-entrabot/log": legacyValue, "tmp/unrelated": legacyValue,
		stateName + ".leastkey-new": legacyValue, "edit": "a " + legacyValue + "\n"})
	link := filepath.Join(dir, "linked")
	if err := os.Symlink(filepath.Join(dir, "also"), link); err != nil {
		t.Fatal(err)
	}
	w.Temp, w.Also, w.Edit = []string{filepath.Join(dir, "tmp"), filepath.Join(dir, "none")}, []string{link}, []string{filepath.Join(dir, "edit")}
	got, places := look(t, dir, w)
	want := "edit:edit:1 environment:.env:2 other:.entraclaw-state.json.bak.1:3 other:.entraclaw-state.json.leastkey-new:1 other:also/one/two:1 other:notes:1 other:tmp/EntraClaw-state.backup:1 other:tmp/my-entrabot/log:1 state:.entraclaw-state.json:3"
	if places != want || len(got) != 2 {
		t.Errorf("%d values,\n got %s\nwant %s", len(got), places, want)
	}
	w.Edit = []string{w.Env, w.State}
	if _, places := look(t, dir, w); !strings.Contains(places, "edit:.env:2") || !strings.Contains(places, "state:.entraclaw-state.json:3") {
		t.Errorf("named files: %s", places)
	}
	// The value is known, though no file has its key any more.
	for _, name := range []string{stateName, ".env", stateName + ".bak.1"} {
		put(t, filepath.Join(dir, name), "{}", 0o600)
	}
	w.Edit = nil
	if got, places := look(t, dir, w, values(legacyValue)...); len(got) != 1 || strings.Count(places, "other:") != 6 || strings.Contains(places, "state:") {
		t.Errorf("by a known value: %d values, %s", len(got), places)
	}
	if got, places := look(t, dir, w); len(got)+len(places) != 0 {
		t.Errorf("without one: %d values, %s", len(got), places)
	}
}

func TestTheCopiesBesideALinkedStateFileAreFound(t *testing.T) {
	dir, w := install(t, map[string]string{"real/" + stateName: legacyState(""), "real/" + stateName + ".bak": legacyState(""), "here/x": "x"})
	w.State = filepath.Join(dir, "here", stateName)
	if err := os.Symlink(filepath.Join(dir, "real", stateName), w.State); err != nil {
		t.Fatal(err)
	}
	if _, places := look(t, dir, w); places != "other:real/.entraclaw-state.json.bak:3 state:real/.entraclaw-state.json:3" {
		t.Error(places)
	}
}

func TestWordsWhereASecretWouldStandAreNone(t *testing.T) {
	for _, text := range []string{"PROVISIONER_CLIENT_SECRET=", "PROVISIONER_CLIENT_SECRET=<your secret here please>", "PROVISIONER_CLIENT_SECRET=your-client-secret-goes-here", "PROVISIONER_CLIENT_SECRET=YOUR_CLIENT_SECRET_1",
		"PROVISIONER_CLIENT_SECRET=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "PROVISIONER_CLIENT_SECRET=$(get-secret Provisioner1)", "PROVISIONER_CLIENT_SECRET=${SOMETHING_Else1}", `"PROVISIONER_CLIENT_SECRET": ""`,
		`secret = state["PROVISIONER_CLIENT_SECRET"]`, `os.environ["PROVISIONER_CLIENT_SECRET"] = value`, "PROVISIONER_CLIENT_SECRET = provisioning.read_client_secret(state)", "PROVISIONER_CLIENT_SECRET is gone since 2026-08-01T00:00:00Z"} {
		dir, w := install(t, map[string]string{"README": text, stateName: "{}"})
		if got, places := look(t, dir, w); len(got)+len(places) != 0 {
			t.Errorf("%s: %d values, %s", text, len(got), places)
		}
	}
	// A state file and an environment file are taken at their word.
	dir, w := install(t, map[string]string{stateName: `{"PROVISIONER_CLIENT_SECRET": "words only"}`, ".env": "PROVISIONER_CLIENT_SECRET=\"short\"\n"})
	if got, places := look(t, dir, w); len(got) != 2 || places != "environment:.env:1 state:.entraclaw-state.json:1" {
		t.Errorf("%d values, %s", len(got), places)
	}
}

func TestWhatNobodyCouldLookIntoIsNotClean(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string, w *Where)
	}{
		{"a folder that is not there", func(t *testing.T, dir string, w *Where) { w.Also = []string{filepath.Join(dir, "none")} }},
		{"a link that leads in a circle", func(t *testing.T, dir string, w *Where) {
			if err := os.Symlink("circle", filepath.Join(dir, "circle")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a file that nobody lets us read", func(t *testing.T, dir string, w *Where) { put(t, filepath.Join(dir, "closed"), "x", 0) }},
		{"a folder that nobody lets us read", func(t *testing.T, dir string, w *Where) {
			if err := os.MkdirAll(filepath.Join(dir, "also", "closed"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, "also", "closed"), 0); err != nil {
				t.Fatal(err)
			}
			w.Also = []string{filepath.Join(dir, "also")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, w := install(t, map[string]string{stateName: legacyState("")})
			c.make(t, dir, &w)
			if os.Geteuid() == 0 && strings.Contains(c.name, "nobody lets us") {
				asNobody(t, dir, func() {
					if _, places, err := Legacy(t.Context(), w, nil); !fault.Is(err, fault.Forbidden) {
						t.Errorf("%+v %v", places, err)
					}
				})
				return
			}
			if _, places, err := Legacy(t.Context(), w, nil); err == nil {
				t.Errorf("%+v", places)
			}
		})
	}
	dir, w := install(t, map[string]string{stateName: legacyState("")})
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	if _, places := look(t, dir, w); places != "state:.entraclaw-state.json:3" {
		t.Error(places)
	}
}

func TestOtherPeoplesTemporaryFilesAreNotRead(t *testing.T) {
	dir, w := install(t, map[string]string{stateName: legacyState(""), "tmp/entraclaw-mine": legacyValue, "tmp/entraclaw-theirs": legacyValue})
	w.Temp = []string{filepath.Join(dir, "tmp")}
	if err := os.Symlink(filepath.Join(dir, "tmp", "entraclaw-mine"), filepath.Join(dir, "tmp", "entraclaw-link")); err != nil {
		t.Fatal(err)
	}
	want := "other:tmp/entraclaw-mine:1 other:tmp/entraclaw-theirs:1 state:.entraclaw-state.json:3"
	if os.Geteuid() == 0 { // another user's file can only be had by root; for others this shows that the own ones are read
		if err := os.Lchown(filepath.Join(dir, "tmp", "entraclaw-theirs"), 12345, 12345); err != nil {
			t.Fatal(err)
		}
		want = "other:tmp/entraclaw-mine:1 state:.entraclaw-state.json:3"
	}
	if _, places := look(t, dir, w); places != want {
		t.Errorf("%s, want %s", places, want)
	}
}

func TestPurgeTakesExactlyTheValue(t *testing.T) {
	all := values(legacyValue, legacyValue+"-longer")
	quoted, _ := json.Marshal(legacyValue)
	for _, c := range []struct {
		name          string
		kind          provisioner.Kind
		before, after string
	}{
		{"the state file loses its key", provisioner.StateFile, legacyState(""), "{\n  \"TENANT_ID\": \"t\",\n  \"AGENT_ID\": \"stays\"\n}\n"},
		{"and any key with the value", provisioner.StateFile, legacyState(`, "COPY": ` + string(quoted) + `, "ALIKE": "` + legacyValue + `x"`), "{\n  \"TENANT_ID\": \"t\",\n  \"AGENT_ID\": \"stays\", \"ALIKE\": \"" + legacyValue + "x\"\n}\n"},
		{"but not what is nested", provisioner.StateFile, `{"A": {"B": "` + legacyValue + `"}}`, `{"A": {"B": "` + legacyValue + `"}}`},
		{"the environment file loses the assignment", provisioner.EnvFile, "# c\nA=1\nexport PROVISIONER_CLIENT_SECRET='" + legacyValue + "' # why\nB=2\n", "# c\nA=1\nB=2\n"},
		{"under whatever name", provisioner.EnvFile, "OTHER=\"" + legacyValue + "\"\nPROVISIONER_CLIENT_SECRET=\n", "PROVISIONER_CLIENT_SECRET=\n"},
		{"each of several, and not one with another value", provisioner.EnvFile, "S='" + legacyValue + "'\nS=mine\nS=\"" + legacyValue + "-longer\"\n", "S=mine\n"},
		{"a comment is left, and only a named file loses it", provisioner.EnvFile, "#S=" + legacyValue + "\n", "#S=" + legacyValue + "\n"},
		{"a named file loses each occurrence, the longer value as a whole", provisioner.Edit, "a " + legacyValue + "-longer b " + legacyValue + "\nx" + url.QueryEscape(legacyValue) + "\n", "a  b \nx\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(folder(t), "f")
			put(t, path, c.before, 0o664)
			change, err := Purge(t.Context(), path, all, c.kind)
			if err != nil || content(t, path) != c.after || change.Unchanged != (c.before == c.after) {
				t.Fatalf("%+v %v\n got %q\nwant %q", change, err, content(t, path), c.after)
			}
			if info, err := os.Stat(path); err != nil || (!change.Unchanged && info.Mode().Perm() != 0o600) {
				t.Error(info.Mode(), err)
			}
			if text := fmt.Sprintf("%+v", change); strings.Contains(text, "8Q~") {
				t.Error(text)
			}
			if again, err := Purge(t.Context(), path, all, c.kind); err != nil || !again.Unchanged {
				t.Errorf("again: %+v %v", again, err)
			}
		})
	}
	path := filepath.Join(folder(t), "f")
	put(t, path, legacyValue, 0o600)
	if _, err := Purge(t.Context(), path, all, provisioner.Other); !fault.Is(err, fault.Refused) || content(t, path) != legacyValue {
		t.Errorf("a file that is not ours: %v", err)
	}
	put(t, path, "S=a\\\nT="+legacyValue+"\n", 0o600)
	if _, err := Purge(t.Context(), path, all, provisioner.EnvFile); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "8Q~") {
		t.Errorf("behind a backslash: %v", err)
	}
	if c, err := Purge(t.Context(), path+".none", all, provisioner.EnvFile); err != nil || !c.Unchanged {
		t.Errorf("a file that is not there: %+v %v", c, err)
	}
}

func TestADiffHidesTheValue(t *testing.T) {
	path := filepath.Join(folder(t), "f")
	put(t, path, "one\nsecret: "+legacyValue+"-longer;\r\nthree "+url.QueryEscape(legacyValue)+" "+legacyValue+"\nfour", 0o600)
	diff, err := PurgeDiff(path, values(legacyValue, legacyValue+"-longer"))
	if err != nil || diff != "line 2\n-secret: [secret];\n+secret: ;\nline 3\n-three [secret] [secret]\n+three  \n" {
		t.Errorf("%q %v", diff, err)
	}
	if _, err := PurgeDiff(path+".none", nil); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}
