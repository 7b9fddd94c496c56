package canary_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/canary"
)

func TestExcusesForgiveTheirExceptionAndNothingElse(t *testing.T) {
	kinds := []canary.Kind{canary.PrivateKey, canary.ClientSecret, canary.VaultValue, canary.HeaderValue, canary.LocalCloud, canary.AccessToken, canary.AdminToken}
	for exception, forgiven := range map[canary.Exception]canary.Kind{
		canary.ForAgentEnvironment: canary.VaultValue,
		canary.ForEndpointHeader:   canary.HeaderValue,
		canary.ForRunFolder:        canary.LocalCloud,
		canary.ForTokenAnswer:      canary.AccessToken,
		canary.ForAdminOnce:        canary.AdminToken,
		canary.Exception("z"):      "",
	} {
		for _, kind := range kinds {
			t.Run(string(exception)+" and a "+string(kind), func(t *testing.T) {
				var w canary.Watch
				secret := w.Plant(kind, "it")
				s := w.Story("the story", canary.Excuse{Story: "the story", Stream: "stdout", Exception: exception})
				s.Bytes("stdout", []byte(secret))
				if got, want := len(s.Leaks()) == 0, kind == forgiven; got != want {
					t.Errorf("forgiven: %v, want %v; leaks %v", got, want, s.Leaks())
				}
				if got, want := len(s.Unused()) == 0, kind == forgiven; got != want {
					t.Errorf("excuse used: %v, want %v", got, want)
				}
			})
		}
	}
}

func TestAnExcuseHoldsForItsStoryAndStreamOnly(t *testing.T) {
	for name, excuse := range map[string]canary.Excuse{
		"another story":            {Story: "token-of-all", Stream: "stdout", Exception: canary.ForTokenAnswer},
		"a beginning of the story": {Story: "tok", Stream: "stdout", Exception: canary.ForTokenAnswer},
		"another stream":           {Story: "token", Stream: "stderr", Exception: canary.ForTokenAnswer},
		"a pattern":                {Story: "token", Stream: "std*", Exception: canary.ForTokenAnswer},
		"no names":                 {Exception: canary.ForTokenAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			var w canary.Watch
			secret := w.Plant(canary.AccessToken, "a token")
			s := w.Story("token", excuse)
			s.Bytes("stdout", []byte(secret))
			if len(s.Leaks()) != 1 {
				t.Errorf("leaks are %v, want one", s.Leaks())
			}
		})
	}
}

func TestFilesAreSweptWithTheirNames(t *testing.T) {
	var w canary.Watch
	secret := w.Plant(canary.VaultValue, "a vault value")
	for name, plant := range map[string]func(t *testing.T, dir string){
		"deep/down/file.log": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "deep/down/file.log"), "x "+secret, 0o600) },
		"state.db-wal": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "state.db-wal"), "\x00\x01\x02"+secret+"\x00", 0o600)
		},
		".hidden":     func(t *testing.T, dir string) { write(t, filepath.Join(dir, ".hidden"), secret, 0o600) },
		secret + ".d": func(t *testing.T, dir string) { write(t, filepath.Join(dir, secret+".d"), "", 0o600) },
		"link": func(t *testing.T, dir string) {
			if err := os.Symlink("/nowhere/"+secret, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, secret, "a file with a telling name"), func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir)
			s := w.Story("a story")
			if err := s.Files(dir); err != nil {
				t.Fatal(err)
			}
			if leaks := s.Leaks(); len(leaks) != 1 || leaks[0].Stream != name {
				t.Errorf("leaks are %v, want one", leaks)
			}
		})
	}
}

func TestAnExcusedFileIsForItsOwnerAlone(t *testing.T) {
	var w canary.Watch
	secret := w.Plant(canary.LocalCloud, "the management token")
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o640: 1, 0o604: 1} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "cloud.json"), secret, mode)
		s := w.Story("up", canary.RunFolder("up", "")...)
		if err := s.Files(dir); err != nil {
			t.Fatal(err)
		}
		if len(s.Leaks()) != want {
			t.Errorf("mode %v: leaks are %v, want %d", mode, s.Leaks(), want)
		}
	}
}

func TestTheRunFolderHoldsKeysOfTheCloudButNotTheAgents(t *testing.T) {
	var w canary.Watch
	key := newKey(t)
	text := string(pemOf("PRIVATE KEY", pkcs8(t, key)))
	sweep := func() []canary.Leak {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "ca-key.pem"), text, 0o600)
		s := w.Story("up", canary.RunFolder("up", "")...)
		if err := s.Files(dir); err != nil {
			t.Fatal(err)
		}
		return s.Leaks()
	}
	if leaks := sweep(); len(leaks) != 0 {
		t.Errorf("a key of the cloud: leaks are %v, want none", leaks)
	}
	if err := w.Key(canary.PrivateKey, "the agent's key", key); err != nil {
		t.Fatal(err)
	}
	if leaks := sweep(); !slices.ContainsFunc(leaks, func(l canary.Leak) bool { return l.Secret == "the agent's key" }) {
		t.Errorf("the agent's key: leaks are %v", leaks)
	}
}
