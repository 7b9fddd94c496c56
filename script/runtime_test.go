//go:build unix

package script_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

// runtimeInstall is an agent's identity as Polyclaw leaves it: an application with client secrets, one of them in an environment file.
type runtimeInstall struct {
	appID   string
	secrets []string
	file    string
	lines   []string // of the file
}

// agentRuntime makes one, as the administrator, or tells whether it still works. Its secrets may be in no output and no file but its own, which
// the story has to remove at its end.
func agentRuntime(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 3, "runtime DIR | runtime works | runtime FILE KEY VALUE")
	switch {
	case args[0] == "works":
		s.settled(ts, "the runtime does not work any more", s.runtimeWorks(ts))
		return
	case len(args) == 3:
		s.runtimeCopy(ts, ts.MkAbs(args[0]), args[1], args[2])
		return
	}
	dir := ts.MkAbs(args[0])
	var app struct {
		ID    string `json:"id"`
		AppID string `json:"appId"`
	}
	in := runtimeInstall{file: filepath.Join(dir, ".env")}
	s.undelayed(ts, func() error {
		v := s.attachedTo(ts).view
		if _, err := v.Call(s.ctx, http.MethodPost, "/v1.0/applications", map[string]any{"displayName": "polyclaw-runtime", "signInAudience": "AzureADMyOrg"}, &app); err != nil {
			return err
		}
		if _, err := v.Call(s.ctx, http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": app.AppID}, nil); err != nil {
			return err
		}
		for _, name := range []string{"rbac", "another machine"} {
			var pw struct {
				KeyID      string `json:"keyId"`
				SecretText string `json:"secretText"`
			}
			if _, err := v.Call(s.ctx, http.MethodPost, "/v1.0/applications/"+app.ID+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": name}}, &pw); err != nil {
				return err
			}
			in.secrets = append(in.secrets, pw.SecretText)
			ts.Setenv("KEY"+fmt.Sprint(len(in.secrets)), pw.KeyID)
		}
		return nil
	})
	for _, v := range in.secrets {
		ts.Check(s.watch.Text(canary.LocalCloud, "a client secret of the runtime", []byte(v)))
	}
	in.appID = app.AppID
	tenant := s.attachedTo(ts).view.Tenant
	in.lines = []string{"# of polyclaw", "BOT_RESOURCE_GROUP=polyclaw-rg", "RUNTIME_SP_APP_ID=" + app.AppID, `RUNTIME_SP_PASSWORD="` + in.secrets[0] + `"`, "RUNTIME_SP_TENANT=" + tenant, "LOG_LEVEL='info' # of the bot"}
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(os.WriteFile(in.file, []byte(strings.Join(in.lines, "\n")+"\n"), 0o600))
	s.runtime = in
	for name, value := range map[string]string{"APP": app.AppID, "OBJECT": app.ID, "TENANT": tenant} {
		ts.Setenv(name, value)
	}
}

// runtimeCopy writes another environment file, which has another value for a key.
func (s *story) runtimeCopy(ts *testscript.TestScript, path, key, value string) {
	var b strings.Builder
	for _, l := range s.runtime.lines {
		if strings.HasPrefix(l, key+"=") {
			l = key + "=" + value
		}
		b.WriteString(l + "\n")
	}
	ts.Check(os.WriteFile(path, []byte(b.String()), 0o600))
}

// runtimeWorks logs in with every password, and looks that the file begins with the lines that it had.
func (s *story) runtimeWorks(ts *testscript.TestScript) func() ([]string, error) {
	in := s.runtime
	return func() (bad []string, err error) {
		for i, v := range in.secrets {
			if _, err := legacy.Token(s.ctx, s.attachedTo(ts).view, in.appID, v); err != nil {
				bad = append(bad, fmt.Sprintf("password %d: %v", i+1, err))
			}
		}
		b, err := os.ReadFile(in.file)
		if !strings.HasPrefix(string(b), strings.Join(in.lines, "\n")+"\n") {
			bad = append(bad, "the environment file lost or changed a line")
		}
		return bad, err
	}
}
