//go:build unix

package statefile

import (
	"bytes"
	"context"
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

// live is a login service that knows every secret of the form of [legacyValue].
func live(_ context.Context, v secret.Value) (yes bool, err error) {
	err = v.Use(func(b []byte) error { yes = bytes.HasPrefix(b, []byte("CAN")); return nil })
	return yes, err
}

// look is what a search gives: places as "kind:path:line", sorted.
func look(t *testing.T, dir string, w Where, known ...secret.Value) ([]secret.Value, string) {
	t.Helper()
	got, places, err := Legacy(t.Context(), w, known, live)
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
		if (p.Why != "") != (p.Kind == provisioner.Other) || ((p.Diff != "") != (p.Kind == provisioner.Edit) || (p.SHA256 != "") != (p.Kind == provisioner.Edit)) {
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
	if _, places := look(t, dir, w); !strings.Contains(places, "environment:.env:2") || strings.Contains(places, "edit:.env") || !strings.Contains(places, "state:.entraclaw-state.json:3") {
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
	// The state file's key is removed whatever it says. What a placeholder says stands under other keys as well.
	dir, w := install(t, map[string]string{stateName: `{"PROVISIONER_CLIENT_SECRET": "none"}`, ".env": "PROVISIONER_CLIENT_SECRET=none\nLOG_FORMAT=none\n", "README": "none"})
	w.Edit = []string{filepath.Join(dir, "README")}
	got, places := look(t, dir, w)
	if len(got) != 1 || places != "state:.entraclaw-state.json:1" {
		t.Errorf("%d values, %s", len(got), places)
	}
	if c, err := Purge(t.Context(), w.Env, got, provisioner.EnvFile, ""); err != nil || !c.Unchanged {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := Purge(t.Context(), w.State, got, provisioner.StateFile, ""); err != nil || content(t, w.State) != "{}" {
		t.Errorf("%s %v", content(t, w.State), err)
	}
}

func TestWhatNobodyCouldLookIntoIsNotClean(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string, w *Where)
	}{
		{"a folder that is not there", func(t *testing.T, dir string, w *Where) { w.Also = []string{filepath.Join(dir, "none")} }},
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
					if _, places, err := Legacy(t.Context(), w, nil, nil); !fault.Is(err, fault.Forbidden) {
						t.Errorf("%+v %v", places, err)
					}
				})
				return
			}
			if _, places, err := Legacy(t.Context(), w, nil, nil); err == nil {
				t.Errorf("%+v", places)
			}
		})
	}
	dir, w := install(t, map[string]string{stateName: legacyState("")})
	for name, to := range map[string]string{"dangling": "nowhere", "circle": "circle"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
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
		{"and any key with the value", provisioner.StateFile, legacyState(`, "COPY": ` + string(quoted) + `, "ALIKE": "` + legacyValue + `x"`), "{\n  \"TENANT_ID\": \"t\",\n  \"AGENT_ID\": \"stays\", \"ALIKE\": \"x\"\n}\n"},
		{"and what is nested or embedded", provisioner.StateFile, `{"A": {"B": "` + legacyValue + `", "C": [1, "x ` + legacyValue + ` y"]}}`, `{"A": {"B": "", "C": [1, "x  y"]}}`},
		{"the environment file loses the assignment", provisioner.EnvFile, "# c\nA=1\nexport PROVISIONER_CLIENT_SECRET='" + legacyValue + "' # why\nB=2\n", "# c\nA=1\nB=2\n"},
		{"under whatever name", provisioner.EnvFile, "OTHER=\"" + legacyValue + "\"\nPROVISIONER_CLIENT_SECRET=\n", "PROVISIONER_CLIENT_SECRET=\n"},
		{"each of several, and not one with another value", provisioner.EnvFile, "S='" + legacyValue + "'\nS=mine\nS=\"" + legacyValue + "-longer\"\n", "S=mine\n"},
		{"a comment is left, and only a named file loses it", provisioner.EnvFile, "#S=" + legacyValue + "\n", "#S=" + legacyValue + "\n"},
		{"a named file loses each occurrence, the longer value as a whole", provisioner.Edit, "a " + legacyValue + "-longer b " + legacyValue + "\nx" + url.QueryEscape(legacyValue) + "\n", "a  b \nx\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(folder(t), "f")
			put(t, path, c.before, 0o664)
			change, err := Purge(t.Context(), path, all, c.kind, "")
			if err != nil || content(t, path) != c.after || change.Unchanged != (c.before == c.after) {
				t.Fatalf("%+v %v\n got %q\nwant %q", change, err, content(t, path), c.after)
			}
			if info, err := os.Stat(path); err != nil || (!change.Unchanged && info.Mode().Perm() != 0o600) {
				t.Error(info.Mode(), err)
			}
			if text := fmt.Sprintf("%+v", change); strings.Contains(text, "8Q~") {
				t.Error(text)
			}
			if again, err := Purge(t.Context(), path, all, c.kind, ""); err != nil || !again.Unchanged {
				t.Errorf("again: %+v %v", again, err)
			}
		})
	}
	path := filepath.Join(folder(t), "f")
	put(t, path, legacyValue, 0o600)
	if _, err := Purge(t.Context(), path, all, provisioner.Other, ""); !fault.Is(err, fault.Refused) || content(t, path) != legacyValue {
		t.Errorf("a file that is not ours: %v", err)
	}
	put(t, path, "S=a\\\nT="+legacyValue+"\n", 0o600)
	if _, err := Purge(t.Context(), path, all, provisioner.EnvFile, ""); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "8Q~") {
		t.Errorf("behind a backslash: %v", err)
	}
	if c, err := Purge(t.Context(), path+".none", all, provisioner.EnvFile, ""); err != nil || !c.Unchanged {
		t.Errorf("a file that is not there: %+v %v", c, err)
	}
}

func TestADiffShowsNothingOfTheLines(t *testing.T) {
	dir, w := install(t, map[string]string{stateName: legacyState(""), "f": "one\nOTHER=hers; secret: " + legacyValue + ";\r\nthree " + url.QueryEscape(legacyValue) + " " + legacyValue + "\nfour"})
	w.Edit = []string{filepath.Join(dir, "f")}
	_, places, err := Legacy(t.Context(), w, nil, nil)
	if err != nil || len(places) != 2 || places[1].Diff != "line 2: 1 occurrence is cut out\nline 3: 2 occurrences are cut out" {
		t.Errorf("%+v %v", places, err)
	}
}

// escaped is the value with every character as JSON may write it.
func escaped(value string) string {
	var b strings.Builder
	for _, c := range []byte(value) {
		fmt.Fprintf(&b, `\u%04X`, c)
	}
	return b.String()
}

func utf16(text string) string {
	b := []byte{0xff, 0xfe}
	for _, c := range []byte(text) {
		b = append(b, c, 0)
	}
	return string(b)
}

func TestEverySpellingIsFoundAndCut(t *testing.T) {
	for name, spelling := range map[string]string{
		"a tilde as JSON may write it": strings.ReplaceAll(legacyValue, "~", `\u007e`),
		"a slash as PHP writes it":     strings.ReplaceAll(legacyValue, "/", `\/`),
		"every character":              escaped(legacyValue),
		"JSON within JSON":             strings.ReplaceAll(escaped(legacyValue), `\`, `\\`),
		"some characters of a URL":     strings.ReplaceAll(legacyValue, "~", "%7e"),
	} {
		dir, w := install(t, map[string]string{stateName: legacyState(""), "f": "a\n\"" + spelling + "\"\n"})
		w.Edit = []string{filepath.Join(dir, "f")}
		got, places := look(t, dir, w)
		if places != "edit:f:2 state:.entraclaw-state.json:3" {
			t.Errorf("%s: %s", name, places)
		}
		if _, err := Purge(t.Context(), filepath.Join(dir, "f"), got, provisioner.Edit, ""); err != nil || content(t, filepath.Join(dir, "f")) != "a\n\"\"\n" {
			t.Errorf("%s: %q %v", name, content(t, filepath.Join(dir, "f")), err)
		}
		put(t, w.State, strings.Replace(legacyState(""), legacyValue, spelling, 1), 0o600)
		if _, places := look(t, dir, w); name != "JSON within JSON" && !strings.Contains(name, "URL") && places != "state:.entraclaw-state.json:3" {
			t.Errorf("%s in the state file: %s", name, places)
		}
	}
	dir, w := install(t, map[string]string{stateName: legacyState(""), "f": utf16("a\nb " + legacyValue + " c\n")})
	w.Edit = []string{filepath.Join(dir, "f")}
	got, places := look(t, dir, w)
	if places != "edit:f:2 state:.entraclaw-state.json:3" {
		t.Error(places)
	}
	if _, err := Purge(t.Context(), w.Edit[0], got, provisioner.Edit, ""); err != nil || content(t, w.Edit[0]) != utf16("a\nb  c\n") {
		t.Errorf("%q %v", content(t, w.Edit[0]), err)
	}
	w.Edit = nil
	put(t, filepath.Join(dir, "f"), utf16(strings.Repeat("x\n", 1<<20)+legacyValue), 0o600)
	if _, places := look(t, dir, w); places != fmt.Sprintf("other:f:%d state:.entraclaw-state.json:3", 1<<20+1) {
		t.Error(places)
	}
}

func TestAnotherApplicationsSecretIsLeftAlone(t *testing.T) {
	const hers = "Hrs8Q~0123456789abcdefghijABCDEFGHIJ"
	dir, w := install(t, map[string]string{stateName: legacyState(""), ".env": "PROVISIONER_CLIENT_ID=hers\nPROVISIONER_CLIENT_SECRET=" + hers + "\nMINE=" + legacyValue + "\n", "copy": hers})
	w.Edit = []string{w.Env, filepath.Join(dir, "copy")}
	got, places := look(t, dir, w)
	if places != "environment:.env:3 other:.env:2 state:.entraclaw-state.json:3" || len(got) != 1 {
		t.Errorf("%d values, %s", len(got), places)
	}
	if _, err := Purge(t.Context(), w.Env, got, provisioner.EnvFile, ""); err != nil || content(t, w.Env) != "PROVISIONER_CLIENT_ID=hers\nPROVISIONER_CLIENT_SECRET="+hers+"\n" {
		t.Errorf("%q %v", content(t, w.Env), err)
	}
}

func TestProseDoesNotHideTheValue(t *testing.T) {
	for _, sign := range []string{".", ",", ":", "!", "..."} {
		dir, w := install(t, map[string]string{stateName: legacyState(""), "f": "PROVISIONER_CLIENT_SECRET=" + legacyValue + sign})
		if got, places := look(t, dir, w); !slices.Equal(texts(got), []string{legacyValue}) || places != "other:f:1 state:.entraclaw-state.json:3" {
			t.Errorf("%s: %d values, %s", sign, len(got), places)
		}
		put(t, w.State, "{}", 0o600)
		exact := func(_ context.Context, v secret.Value) (bool, error) { return v.Equal(values(legacyValue)[0]), nil }
		if got, places, err := Legacy(t.Context(), w, nil, exact); err != nil || !slices.Equal(texts(got), []string{legacyValue}) || len(places) != 1 || places[0].Foreign {
			t.Errorf("%s without a state file: %d values, %+v %v", sign, len(got), places, err)
		}
	}
	// A value is searched for although another begins with it.
	all := values(legacyValue, legacyValue+"-longer")
	dir, w := install(t, map[string]string{"f": legacyValue})
	if got, places := look(t, dir, w, all...); len(got) != 2 || places != "other:f:1" {
		t.Errorf("%d values, %s", len(got), places)
	}
}

func TestAnEnvironmentFileMayBeNamedToo(t *testing.T) {
	text := "A=1\nPROVISIONER_CLIENT_SECRET=" + legacyValue + "\n# old " + legacyValue + "\nMULTI=\"a\n" + legacyValue + "\nb\"\n"
	dir, w := install(t, map[string]string{stateName: legacyState(""), ".env": text})
	if _, places := look(t, dir, w); places != "environment:.env:2 other:.env:3 state:.entraclaw-state.json:3" {
		t.Error(places)
	}
	w.Edit = []string{w.Env}
	if _, places := look(t, dir, w); places != "edit:.env:3 environment:.env:2 state:.entraclaw-state.json:3" {
		t.Error(places)
	}
	got, places, err := Legacy(t.Context(), w, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a step that was cut off is carried out again
		for _, p := range places {
			if _, err := Purge(t.Context(), p.Path, got, p.Kind, p.SHA256); err != nil {
				t.Fatalf("%+v: %v", p, err)
			}
		}
	}
	if content(t, w.Env) != "A=1\n# old \nMULTI=\"a\n\nb\"\n" {
		t.Errorf("%q", content(t, w.Env))
	}
}

func TestWhatWasNotShownIsNotCut(t *testing.T) {
	dir, w := install(t, map[string]string{stateName: legacyState(""), "f": legacyValue})
	w.Edit = []string{filepath.Join(dir, "f")}
	got, places, err := Legacy(t.Context(), w, nil, nil)
	if err != nil || len(places) != 2 || places[1].SHA256 == "" {
		t.Fatalf("%+v %v", places, err)
	}
	put(t, w.Edit[0], "more "+legacyValue, 0o600)
	if _, err := Purge(t.Context(), w.Edit[0], got, provisioner.Edit, places[1].SHA256); !fault.Is(err, fault.Conflict) || content(t, w.Edit[0]) != "more "+legacyValue {
		t.Errorf("%q %v", content(t, w.Edit[0]), err)
	}
}

func TestWhatCannotBeChangedIsKnownBefore(t *testing.T) {
	for _, c := range []struct {
		name, stuck string
		make        func(t *testing.T, dir string)
	}{
		{"too large", "larger", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "f"), strings.Repeat("x", maxSize)+legacyValue, 0o600)
		}},
		{"two names", "hard links", func(t *testing.T, dir string) {
			if err := os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "..", filepath.Base(dir)+"-second")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		dir, w := install(t, map[string]string{"below/" + stateName: legacyState(""), "below/f": legacyValue})
		dir = filepath.Join(dir, "below")
		w.State, w.Env, w.Edit = filepath.Join(dir, stateName), "", []string{filepath.Join(dir, "f")}
		c.make(t, dir)
		_, places, err := Legacy(t.Context(), w, nil, nil)
		if err != nil || len(places) != 2 || !strings.Contains(places[1].Stuck, c.stuck) || places[0].Stuck != "" {
			t.Errorf("%s: %+v %v", c.name, places, err)
		}
	}
	dir, w := install(t, map[string]string{stateName: legacyState(""), ".env": "A=b\\\nS=" + legacyValue + "\n"})
	if _, places, err := Legacy(t.Context(), w, nil, nil); err != nil || len(places) != 2 || !strings.Contains(places[1].Stuck, "backslash") {
		t.Errorf("%s: %+v %v", dir, places, err)
	}
}

// Closing a database that SQLite has open drops the locks on it, so that none is ever opened by its path: a search passes it by, and
// everything else refuses it.
func TestADatabaseOfOursIsNotOpened(t *testing.T) {
	dir, w := install(t, map[string]string{stateName: legacyState(""), "leastkey.db": legacyValue, "leastkey.db-wal": legacyValue, "leastkey.db-shm": legacyValue, "server.db": legacyValue, "copy": legacyValue})
	if err := os.Symlink(filepath.Join(dir, "leastkey.db"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	w.Also = []string{dir}
	if _, got := look(t, dir, w); strings.Contains(got, ".db") || !strings.Contains(got, "copy") {
		t.Errorf("found %s", got)
	}
	for _, name := range []string{"leastkey.db", "leastkey.db-shm", "link"} {
		path := filepath.Join(dir, name)
		if _, err := MarkedIn(path); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: searched: %v", name, err)
		}
		if _, err := GivenIn(path); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: read as a state file: %v", name, err)
		}
		if _, err := read(path); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: read: %v", name, err)
		}
	}
}
