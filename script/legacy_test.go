//go:build unix

package script_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

// install makes a legacy install in a folder. Its secrets are the local cloud's, whose memory may hold them; nothing that the program shows
// may at any time, and no file at the end of the story: it has to end with a migration.
func install(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 1, "legacy DIR | legacy migrated|untouched")
	switch args[0] {
	case "migrated":
		s.settled(ts, "it is not as a migration leaves it", func() ([]string, error) { return s.legacy.Migrated(s.ctx, s.attachedTo(ts).view) })
	case "untouched":
		s.settled(ts, "it was touched", func() ([]string, error) { return s.legacy.Untouched(s.ctx, s.attachedTo(ts).view) })
	default:
		s.installLegacy(ts, ts.MkAbs(args[0]))
	}
}

func (s *story) installLegacy(ts *testscript.TestScript, dir string) {
	s.undelayed(ts, func() error {
		in, err := legacy.Install(s.ctx, s.attachedTo(ts).view, dir)
		for i, secret := range in.Secrets {
			if e := s.watch.Text(canary.LocalCloud, "legacy secret "+string(rune('0'+i)), []byte(secret)); e != nil {
				return e
			}
		}
		s.legacy = in
		return err
	})
	ts.Check(s.watch.Key(canary.PrivateKey, "another machine's key", s.legacy.OtherKey))
	for name, value := range map[string]string{"CLIENT_ID": s.legacy.AppID, "APPLICATION": s.legacy.ObjectID, "PRINCIPAL": s.legacy.PrincipalID, "OTHER": s.legacy.OtherSHA256,
		"STATE": s.legacy.StateFile, "COPY": s.legacy.BackUp} {
		ts.Setenv(name, value)
	}
}

// undelayed does something while no plane lags, so that it is seen at once.
func (s *story) undelayed(ts *testscript.TestScript, do func() error) {
	s.managed(ts, func(m *localcloud.Management) error {
		before, err := m.Knobs(s.ctx)
		if err != nil {
			return err
		}
		if _, err := m.PatchKnobs(s.ctx, []byte(`{"lag":{"login":"0s","graph":"0s","arm":"0s","vault":"0s"}}`)); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		again, err := json.Marshal(before)
		if err != nil {
			return err
		}
		_, err = m.PatchKnobs(s.ctx, again)
		return err
	})
}

// leak writes the secret, which is dead by now, where somebody could have left it.
func leak(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 1, "leak FILE")
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	ts.Check(os.WriteFile(path, []byte("PROVISIONER_CLIENT_SECRET='"+s.legacy.Secrets[0]+"'\n"), 0o600))
}

// isTokenCommand tells whether the program's stdout is a token, by the product's promise.
func isTokenCommand(args []string) bool {
	for args[0] == "env" || strings.Contains(args[0], "=") { // a variable for this one program
		args = args[1:]
	}
	line := strings.Join(args, " ")
	return args[0] == "provisioner-token" || strings.HasPrefix(line, "leastkey token") || strings.HasPrefix(line, "leastkey provisioner token")
}

// squatter makes an application of a name that is not ours.
func squatter(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "squatter NAME VAR")
	var made struct {
		ID    string `json:"id"`
		AppID string `json:"appId"`
	}
	s.undelayed(ts, func() error {
		v := s.attachedTo(ts).view
		if _, err := v.Call(s.ctx, "POST", "/v1.0/applications", map[string]any{"displayName": args[0]}, &made); err != nil {
			return err
		}
		_, err := v.Call(s.ctx, "POST", "/v1.0/servicePrincipals", map[string]any{"appId": made.AppID}, nil)
		return err
	})
	ts.Setenv(args[1], made.AppID)
}
