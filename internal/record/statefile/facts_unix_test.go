//go:build unix

package statefile

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheFactsOfAFile(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "f"), "content", 0o640)
	f, err := Look(file)
	if err != nil || !f.Exists || f.Folder || f.Mode != 0o640 || f.UID != os.Geteuid() || f.Size != 7 || f.Names != 1 || f.Link != "" {
		t.Errorf("%+v %v", f, err)
	}
	if f, err := Look(filepath.Join(dir, "none")); err != nil || f.Exists || f.Path != filepath.Join(dir, "none") {
		t.Errorf("%+v %v", f, err)
	}
	if err := os.Symlink(file, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "second")); err != nil {
		t.Fatal(err)
	}
	if f, err := Look(filepath.Join(dir, "link")); err != nil || f.Link != file || f.Mode != 0o640 || f.Names != 2 {
		t.Errorf("%+v %v", f, err)
	}
	for name, to := range map[string]string{"nowhere": "none", "circle": "circle"} {
		at := filepath.Join(dir, name)
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
		if f, err := Look(at); err != nil || f.Exists {
			t.Errorf("%s: %+v %v", name, f, err)
		}
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if f, err := Look(dir); err != nil || !f.Folder || f.Mode != 0o1777 {
		t.Errorf("%+v %v", f, err)
	}
}

func TestAnEnvironmentFileIsReadWithItsFacts(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, ".env"), "A='x y'\nexport B=z\nA=last\n", 0o600)
	f, set, _, err := Environment(file)
	if err != nil || !f.Exists || len(set) != 2 || f.SHA256 == "" {
		t.Fatalf("%+v %v %v", f, set, err)
	}
	for key, want := range map[string]string{"A": "last", "B": "z"} {
		_ = set[key].Use(func(b []byte) error {
			if string(b) != want {
				t.Errorf("%s is %q", key, b)
			}
			return nil
		})
	}
	if f, set, _, err := Environment(filepath.Join(dir, "none")); err != nil || f.Exists || set != nil {
		t.Errorf("%+v %v %v", f, set, err)
	}
	if _, _, _, err := Environment(dir); !fault.Is(err, fault.Refused) {
		t.Error(err)
	}
	broken := write(t, filepath.Join(dir, "broken"), "PASSWORD='hunter22\n", 0o600)
	if _, _, _, err := Environment(broken); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
}

// No byte of the file is left out because a reader would not get it.
func TestEverySecretOfAnEnvironmentFileIsFound(t *testing.T) {
	const planted = "hunter22hunter22"
	at := filepath.Join(t.TempDir(), ".env")
	for content, want := range map[string]string{
		"DB_PASSWORD=" + planted + "\nDB_PASSWORD=\n":        "DB_PASSWORD (a password)",
		"# DB_PASSWORD=" + planted + "\n":                    "DB_PASSWORD (a password)",
		"set DB_PASSWORD=" + planted + "\n":                  "DB_PASSWORD (a password)",
		"DB_PASSWORD+=" + planted + "\n":                     "DB_PASSWORD (a password)",
		"DB_PASSWORD: " + planted + "\n":                     "DB_PASSWORD (a password)",
		"NOTE='one\nDB_PASSWORD=" + planted + "\n'\n":        "DB_PASSWORD (a password)",
		"\n\n# -----BEGIN PRIVATE" + " KEY-----\n":           "line 3 (a private key)",
		"NOTE=\"-----BEGIN PRIVATE" + " KEY-----\nMII\n\"\n": "NOTE (a private key)",
		"DB_PASSWORD=" + at + "\n":                           "",
		"DB_PASSWORD=/k3yAbcd/EFGH0123\n":                    "DB_PASSWORD (a password)",
		"azure_Client_Secret = \"" + planted + "\"":          "azure_Client_Secret (a secret)",
		"A=@kv:x\nA=1\n":                                     "A",
	} {
		_, _, finds, err := Environment(write(t, at, content, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range finds {
			got = append(got, f.String())
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%q: %q, want %q", content, s, want)
		}
	}
}

func TestWhatAStateFileIsGiven(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "s.json"), `{"TENANT_ID":"x","PROVISIONER_CLIENT_SECRET":"hunter22","more":{"list":[{"api_key":"hunter22"}],"n":1}}`, 0o600)
	all, err := GivenIn(file)
	if err != nil || !slices.Equal(all, []Given{{"PROVISIONER_CLIENT_SECRET", "a secret"}, {"api_key", "an API key"}}) {
		t.Errorf("%v %v", all, err)
	}
	if _, err := GivenIn(write(t, file, `{"PROVISIONER_CLIENT_SECRET":"hunter22"`, 0o600)); !fault.Is(err, fault.Corrupt) || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
	if _, err := GivenIn(filepath.Join(dir, "none")); !fault.Is(err, fault.Corrupt) && !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestAMarkedSecretIsFoundWhereverItLies(t *testing.T) {
	dir := t.TempDir()
	mark := "-----BEGIN PRIVATE" + " KEY-----"
	for name, at := range map[string]int{"at the beginning": 0, "across two pieces": piece - 5, "across the next two": 2*piece - 5, "at the end": 3*piece + 7} {
		content := bytes.Repeat([]byte{0, 'x'}, (at+1)/2)[:at]
		file := write(t, filepath.Join(dir, name), string(content)+mark, 0o600)
		if kind, err := MarkedIn(file); err != nil || kind != "a private key" {
			t.Errorf("%s: %q %v", name, kind, err)
		}
	}
	clean := write(t, filepath.Join(dir, "clean"), strings.Repeat("x", 2*piece), 0o600)
	if kind, err := MarkedIn(clean); err != nil || kind != "" {
		t.Errorf("%q %v", kind, err)
	}
}

// Each hop of a chain of links is told, with the folders that it lies in, and so is every folder above.
func TestTheWayToAFile(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"a/b", "open"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := write(t, filepath.Join(root, "a/b/real.env"), "", 0o600)
	for at, to := range map[string]string{"a/b/.env": "../../open/hop", "open/hop": filepath.Join(root, "l", "real.env"), "l": "a/./b", "round": "round"} {
		if err := os.Symlink(to, filepath.Join(root, at)); err != nil {
			t.Fatal(err)
		}
	}
	told := func(path string) (names []string) {
		way, err := Way(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range way {
			if rest, below := strings.CutPrefix(f.Path, root); below {
				names = append(names, rest)
			}
			if f.UID < 0 || f.Link == "" && !f.Folder {
				t.Errorf("%+v", f)
			}
		}
		return names
	}
	if got := told(file); !slices.Equal(got, []string{"", "/a", "/a/b"}) {
		t.Error(got)
	}
	if got := told(filepath.Join(root, "a/b/.env")); !slices.Equal(got, []string{"", "/a", "/a/b", "/a/b/.env", "/open", "/open/hop", "/l"}) {
		t.Error(got)
	}
	if got := told(filepath.Join(root, "a/none/x")); !slices.Equal(got, []string{"", "/a"}) {
		t.Error(got)
	}
	if _, err := Way(filepath.Join(root, "round")); !fault.Is(err, fault.Refused) {
		t.Error(err)
	}
	one, err1 := Look(filepath.Join(root, "l"))
	other, err2 := Look(filepath.Join(root, "a/b"))
	if err1 != nil || err2 != nil || one.ID == "" || one.ID != other.ID {
		t.Errorf("%q %q %v %v", one.ID, other.ID, err1, err2)
	}
}
