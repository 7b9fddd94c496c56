package agefile

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/keystoretest"
)

func TestStoreKeepsTheContract(t *testing.T) {
	for name, source := range map[string]func(t *testing.T) Config{
		"identity file":         func(t *testing.T) Config { return Config{IdentityFile: identityFile(t)} },
		"post-quantum identity": func(t *testing.T) Config { return Config{IdentityFile: hybridFile(t)} },
		"passphrase":            func(*testing.T) Config { return Config{Passphrase: phrase("correct horse"), WorkFactor: 4} },
		"development":           func(*testing.T) Config { return Config{Development: true} },
		"development, file outside": func(t *testing.T) Config {
			return Config{Development: true, IdentityFile: filepath.Join(t.TempDir(), "id")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			keystoretest.Run(t, func(t *testing.T) keystore.Store {
				cfg := source(t)
				cfg.Path = filepath.Join(t.TempDir(), "keys # 1")
				s := open(t, cfg)
				made(t, s)
				return s
			})
			keystoretest.RunReplacer(t, func(t *testing.T) keystoretest.ReplacingStore {
				cfg := source(t)
				cfg.Path = filepath.Join(t.TempDir(), "keys # 1")
				s := open(t, cfg)
				made(t, s)
				return s
			})
			keystoretest.RunSecrets(t, func(t *testing.T) keystoretest.SecretStore {
				cfg := source(t)
				cfg.Path = filepath.Join(t.TempDir(), "keys # 1")
				return open(t, cfg)
			})
		})
	}
}

// made makes the store, which the first key does.
func made(t *testing.T, s *Store) {
	t.Helper()
	ref, err := s.Create(t.Context(), "first", firstKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
}

var firstKey = sync.OnceValue(func() crypto.Signer {
	key, err := keystore.Generate(2048)
	if err != nil {
		panic(err)
	}
	return key
})

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func identityFile(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return writeIdentity(t, id.String())
}

func hybridFile(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return writeIdentity(t, id.String())
}

func writeIdentity(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(path, []byte("# made by a test\n"+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func phrase(text string) func(context.Context) (secret.Value, error) {
	return func(context.Context) (secret.Value, error) { return secret.New([]byte(text)), nil }
}

func newKey(t *testing.T) *keystore.Key {
	t.Helper()
	k, err := keystore.Generate(0)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func want(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("%s: %v (%s), want %s", what, err, fault.CodeOf(err), code)
	}
}

// stored is a store with one key named "k", and the path of its file.
func stored(t *testing.T) (*Store, string) {
	t.Helper()
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "keys"), IdentityFile: identityFile(t)})
	if _, err := s.Create(t.Context(), "k", newKey(t)); err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(s.dir, "k.age")
}

// reopened is the same store as another process sees it.
func reopened(t *testing.T, s *Store) *Store { return open(t, s.cfg) }

func TestConfigWithoutSenseIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		cfg  Config
		code fault.Code
	}{
		"no path":                       {Config{Development: true}, fault.Invalid},
		"nothing to encrypt to":         {Config{Path: "x"}, fault.Refused},
		"passphrase and identity":       {Config{Path: "x", IdentityFile: "y", Passphrase: phrase("p")}, fault.Invalid},
		"passphrase and development":    {Config{Path: "x", Development: true, Passphrase: phrase("p")}, fault.Invalid},
		"work factor out of this world": {Config{Path: "x", Passphrase: phrase("p"), WorkFactor: 40}, fault.Invalid},
	} {
		_, err := New(row.cfg)
		want(t, name, err, row.code)
	}
	if _, err := New(Config{Path: "x"}); !strings.Contains(fault.Hint(err), "--age-identity") {
		t.Errorf("hint %q does not name the flag", fault.Hint(err))
	}
}

func TestFilesArePrivateAndHoldNoPlaintext(t *testing.T) {
	s, file := stored(t)
	for path, mode := range map[string]fs.FileMode{s.dir: 0o700, file: 0o600, s.lock: 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), mode)
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(content, []byte("age-encryption.org/v1\n")) || bytes.Contains(content, []byte("PRIVATE KEY")) {
		t.Error("the entry is not an age file")
	}
}

func TestPermissionsThatLetOthersInAreRefused(t *testing.T) {
	s, file := stored(t)
	check := func(what, path string, wide, right fs.FileMode) {
		t.Helper()
		if err := os.Chmod(path, wide); err != nil {
			t.Fatal(err)
		}
		_, err := reopened(t, s).Open(t.Context(), s.Ref("k"))
		want(t, what, err, fault.Refused)
		if !strings.Contains(fault.Hint(err), "chmod") {
			t.Errorf("%s: hint %q", what, fault.Hint(err))
		}
		if err := os.Chmod(path, right); err != nil {
			t.Fatal(err)
		}
	}
	check("entry", file, 0o640, 0o600)
	check("folder", s.dir, 0o755, 0o700)
	check("identity", s.cfg.IdentityFile, 0o644, 0o600)
	if _, err := reopened(t, s).Open(t.Context(), s.Ref("k")); err != nil {
		t.Error(err)
	}
	if checkIdentityMode("/run/secrets/age", 0o444) != nil || checkIdentityMode("/run/credentials/leastkey.service/age", 0o440) != nil {
		t.Error("mounted secrets are refused")
	}
	want(t, "mounted secret that others may write", checkIdentityMode("/run/secrets/age", 0o666), fault.Refused)
}

func TestEntryThatIsALinkIsRefused(t *testing.T) {
	s, file := stored(t)
	if err := os.Symlink(file, filepath.Join(s.dir, "other.age")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(t.Context(), s.Ref("other"))
	want(t, "symbolic link", err, fault.Refused)
}

func TestIdentityInTheKeyFolderIsRefused(t *testing.T) {
	s, _ := stored(t)
	text, err := os.ReadFile(s.cfg.IdentityFile)
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(s.dir, "identity")
	if err := os.WriteFile(inside, text, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(inside, link); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{"directly": inside, "through a link": link} {
		other := open(t, Config{Path: s.dir, IdentityFile: path})
		_, err := other.Open(t.Context(), s.Ref("k"))
		want(t, "open "+what, err, fault.Refused)
		_, err = other.Create(t.Context(), "new", newKey(t))
		want(t, "create "+what, err, fault.Refused)
	}
}

func TestOtherIdentityIsNotAnAbsentKey(t *testing.T) {
	s, _ := stored(t)
	for what, cfg := range map[string]Config{
		"other identity": {IdentityFile: identityFile(t)}, "post-quantum": {IdentityFile: hybridFile(t)}, "passphrase": {Passphrase: phrase("x")},
	} {
		cfg.Path = s.dir
		_, err := open(t, cfg).Open(t.Context(), s.Ref("k"))
		want(t, what, err, fault.Unauthenticated)
		if fault.Hint(err) == "" {
			t.Errorf("%s: no hint", what)
		}
	}
	missing := open(t, Config{Path: s.dir, IdentityFile: filepath.Join(t.TempDir(), "none")})
	_, err := missing.Open(t.Context(), s.Ref("k"))
	want(t, "identity file that is not there", err, fault.Unavailable)
	_, err = missing.Create(t.Context(), "n", newKey(t))
	want(t, "create without identity", err, fault.Unavailable)
}

func TestWrongPassphraseMakesNoKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	right := open(t, Config{Path: dir, Passphrase: phrase("right"), WorkFactor: 4})
	if _, err := right.Create(t.Context(), "k", newKey(t)); err != nil {
		t.Fatal(err)
	}
	wrong := open(t, Config{Path: dir, Passphrase: phrase("wrong"), WorkFactor: 4})
	_, err := wrong.Create(t.Context(), "new", newKey(t))
	want(t, "create", err, fault.Unauthenticated)
	_, err = wrong.Open(t.Context(), right.Ref("k"))
	want(t, "open", err, fault.Unauthenticated)
	_, err = right.Open(t.Context(), right.Ref("new"))
	want(t, "open what was refused", err, fault.NotFound)
	_, err = open(t, Config{Path: dir, Passphrase: phrase("")}).Open(t.Context(), right.Ref("k"))
	want(t, "empty passphrase", err, fault.Invalid)
	gone := errors.New("no terminal")
	_, err = open(t, Config{Path: dir, Passphrase: func(context.Context) (secret.Value, error) { return secret.Value{}, gone }}).
		Open(t.Context(), right.Ref("k"))
	if !errors.Is(err, gone) {
		t.Errorf("failed question: %v", err)
	}
}

func TestIdentityFileThatDoesNotReadShowsNothing(t *testing.T) {
	x, _ := age.GenerateX25519Identity()
	pq, _ := age.GenerateHybridIdentity()
	for what, lines := range map[string][]string{
		"words": {"canary"}, "a damaged identity": {x.String()[:40] + "canary"}, "nothing": nil,
		"classic and post-quantum": {x.String(), pq.String()},
	} {
		s := open(t, Config{Path: filepath.Join(t.TempDir(), "keys"), IdentityFile: writeIdentity(t, lines...)})
		_, err := s.Create(t.Context(), "k", newKey(t))
		want(t, what, err, fault.Invalid)
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(strings.ToUpper(err.Error()), "SECRET-KEY-1")) {
			t.Errorf("%s: the error shows the input: %v", what, err)
		}
	}
}

func TestSeveralIdentitiesEachOpen(t *testing.T) {
	a, _ := age.GenerateX25519Identity()
	b, _ := age.GenerateX25519Identity()
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "keys"), IdentityFile: writeIdentity(t, a.String(), b.String())})
	ref, err := s.Create(t.Context(), "k", newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []*age.X25519Identity{a, b} {
		if _, err := open(t, Config{Path: s.dir, IdentityFile: writeIdentity(t, one.String())}).Open(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedFileIsNeverAnAbsentKey(t *testing.T) {
	s, file := stored(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opened := func(content []byte) error {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Open(t.Context(), s.Ref("k"))
		return err
	}
	for n := 0; n < len(whole); n += 1 + n%7 {
		want(t, fmt.Sprintf("cut to %d bytes", n), opened(whole[:n]), fault.Corrupt)
	}
	header := bytes.Index(whole, []byte("\n--- ")) // what age cannot tell from another's file comes before
	for i := header; i < len(whole); i += 1 + i%11 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		want(t, fmt.Sprintf("byte %d changed", i), opened(damaged), fault.Corrupt)
	}
	for i := range header {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		if err := opened(damaged); !fault.Is(err, fault.Corrupt, fault.Unauthenticated) {
			t.Errorf("byte %d of the header changed: %v", i, err)
		}
	}
	want(t, "trailing bytes", opened(append(bytes.Clone(whole), 'x')), fault.Corrupt)
	want(t, "endless file", opened(bytes.Repeat([]byte("x"), maxFile+1)), fault.Corrupt)
	if err := opened(whole); err != nil {
		t.Error(err)
	}
	// A damaged entry is still an entry: it blocks its name, and it can be deleted.
	_ = opened(nil)
	_, err = s.Create(t.Context(), "k", newKey(t))
	want(t, "create over a damaged entry", err, fault.Conflict)
	if err := s.Delete(t.Context(), s.Ref("k")); err != nil {
		t.Error(err)
	}
}

func TestMissingDiskIsNotAnAbsentKey(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	s := open(t, Config{Path: filepath.Join(disk, "keys"), IdentityFile: identityFile(t)})
	_, err := s.Open(t.Context(), s.Ref("k"))
	want(t, "open", err, fault.Unavailable)
	_, err = s.Create(t.Context(), "k", newKey(t))
	want(t, "create", err, fault.Unavailable)
	want(t, "delete", s.Delete(t.Context(), s.Ref("k")), fault.Unavailable)
	_, err = s.List(t.Context())
	want(t, "list", err, fault.Unavailable)
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(t.Context(), s.Ref("k"))
	want(t, "open with the disk there", err, fault.Unavailable)
	if unmade := isUnmade(err); !unmade {
		t.Errorf("the error does not tell that the store is not there: %v", err)
	}
	made(t, s)
	_, err = s.Open(t.Context(), s.Ref("k"))
	want(t, "open in a store that is there", err, fault.NotFound)
}

func isUnmade(err error) bool {
	u, ok := errors.AsType[interface {
		error
		Unmade() bool
	}](err)
	return ok && u.Unmade()
}

// A key that was made is never said to be absent because its folder, or what opens it, was moved away: a plan would make a second one.
func TestAStoreThatWasMovedAwayIsNotAnAbsentKey(t *testing.T) {
	for name, development := range map[string]bool{"an identity elsewhere": false, "development": true} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Path: filepath.Join(t.TempDir(), "keys"), Development: development}
			if !development {
				cfg.IdentityFile = identityFile(t)
			}
			s := open(t, cfg)
			ref, err := s.Create(t.Context(), "k", newKey(t))
			if err != nil {
				t.Fatal(err)
			}
			away := func(path string, keep ...string) {
				if err := os.Rename(path, path+".away"); err != nil {
					t.Fatal(err)
				}
				for _, dir := range keep {
					if err := os.Mkdir(dir, 0o700); err != nil {
						t.Fatal(err)
					}
				}
				_, err = reopened(t, s).Open(t.Context(), ref)
				want(t, "open", err, fault.Unavailable)
				for _, dir := range keep {
					if err := os.Remove(dir); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.Rename(path+".away", path); err != nil {
					t.Fatal(err)
				}
				if _, err := reopened(t, s).Open(t.Context(), ref); err != nil {
					t.Error(err)
				}
			}
			away(s.dir)
			if development {
				away(s.dir, s.dir) // an empty folder in its place
			}
			away(s.cfg.IdentityFile)
			if err := os.Remove(filepath.Join(s.dir, "k.age")); err != nil {
				t.Fatal(err)
			}
			_, err = reopened(t, s).Open(t.Context(), ref)
			want(t, "the file alone is gone", err, fault.NotFound)
		})
	}
}

func TestDevelopmentIdentityIsLabelledAndRefusedElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	s := open(t, Config{Path: dir, Development: true})
	_, err := s.Open(t.Context(), s.Ref("k"))
	want(t, "open before anything was made", err, fault.Unavailable)
	if _, err := os.Stat(s.cfg.IdentityFile); err == nil {
		t.Error("open made an identity")
	}
	ref, err := s.Create(t.Context(), "k", newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.cfg.IdentityFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("identity: %v, %v", info, err)
	}
	if _, err := reopened(t, s).Open(t.Context(), ref); err != nil {
		t.Errorf("second process: %v", err)
	}
	text, _ := os.ReadFile(s.cfg.IdentityFile)
	if !bytes.Contains(text, []byte("development grade")) {
		t.Error("the identity has no label")
	}
	elsewhere := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(elsewhere, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, Config{Path: dir, IdentityFile: elsewhere}).Open(t.Context(), ref)
	want(t, "outside development", err, fault.Refused)

	if err := os.Remove(s.cfg.IdentityFile); err != nil {
		t.Fatal(err)
	}
	_, err = reopened(t, s).Create(t.Context(), "new", newKey(t))
	want(t, "create with the identity gone", err, fault.Corrupt)
	_, err = reopened(t, s).Open(t.Context(), ref)
	want(t, "open with the identity gone", err, fault.Unavailable)
}

func TestLeftoversAreNoEntriesAndAreSwept(t *testing.T) {
	s, _ := stored(t)
	left := []string{tempPrefix + "A", tempPrefix + "B.age", "README", "x%2.age", "x%2f.age", "X.age", "%41%zz.age", ".age", "%00.age"}
	for _, f := range left {
		if err := os.WriteFile(filepath.Join(s.dir, f), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.List(t.Context())
	if err != nil || len(names) != 1 || names[0] != "k" {
		t.Errorf("list: %q, %v", names, err)
	}
	if _, err := s.Create(t.Context(), "n", newKey(t)); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(filepath.Join(s.dir, tempPrefix+"*")); len(found) != 0 {
		t.Errorf("left over: %q", found)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "README")); err != nil {
		t.Error("a file of somebody else was removed")
	}
}

func TestNameTooLongForAFile(t *testing.T) {
	s := open(t, Config{Path: filepath.Join(t.TempDir(), "keys"), Development: true})
	_, err := s.Create(t.Context(), strings.Repeat("ß", 60), newKey(t))
	want(t, "create", err, fault.Invalid)
}

// FuzzName: every name that can be kept comes back from its file name, and no two spellings of a file are one name.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"tenant/agent#1", "..", ".x", "A", "ß", "%41", "a.age"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if keystore.CheckName(in) == nil {
			base := escape(in) + extension
			if strings.ContainsAny(base, "/\\:\x00") || strings.HasPrefix(base, ".") || strings.ToLower(in) != in && base == escape(strings.ToLower(in))+extension {
				t.Fatalf("%q is kept as %q", in, base)
			}
			if got, ok := entryName(base); !ok || got != in {
				t.Fatalf("%q comes back as %q (%v)", in, got, ok)
			}
		}
		if entry, err := keystore.SecretEntry(in); err == nil {
			if got, ok := entryName(escape(entry) + extension); !ok || got != entry || keystore.CheckName(got) == nil {
				t.Fatalf("secret %q comes back as %q (%v)", in, got, ok)
			}
			if got, ok := keystore.SecretName(entry); !ok || got != in {
				t.Fatalf("secret %q is called %q (%v)", in, got, ok)
			}
		}
		if name, ok := entryName(in); ok && escape(name)+extension != in {
			t.Fatalf("%q is a second spelling of %q", in, name)
		}
	})
}
