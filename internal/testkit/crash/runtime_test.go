//go:build unix

package crash

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

// unassign takes two of the agent's role assignments away, the same ones every time: their names are random, their scopes are not, and only
// the group has two.
func (w *world) unassign() {
	all := slices.SortedFunc(slices.Values(w.state().Assignments), func(a, b assignment) int { return strings.Compare(b.Scope, a.Scope) })
	for _, a := range all[:2] {
		if _, err := w.view.Call(w.Context(), http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil, nil); err != nil {
			w.Fatal(err)
		}
	}
}

// runtime makes an agent that logs in with a client secret from its environment file, as Polyclaw leaves one.
func (w *world) runtime() {
	call := func(path string, body, into any) {
		w.Helper()
		if _, err := w.view.Call(w.Context(), http.MethodPost, path, body, into); err != nil {
			w.Fatal(err)
		}
	}
	var app struct{ ID, AppID string }
	call("/v1.0/applications", map[string]any{"displayName": bot, "signInAudience": "AzureADMyOrg"}, &app)
	call("/v1.0/servicePrincipals", map[string]any{"appId": app.AppID}, nil)
	var password struct{ SecretText string }
	call("/v1.0/applications/"+app.ID+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "rbac"}}, &password)
	w.in = legacy.Installed{ObjectID: app.ID, AppID: app.AppID, Tenant: w.view.Tenant, Secrets: []string{password.SecretText}, EnvFile: filepath.Join(w.home, "local", ".env")}
	text := "# of polyclaw\nRUNTIME_SP_APP_ID=" + app.AppID + "\nRUNTIME_SP_PASSWORD=\"" + password.SecretText + "\"\nRUNTIME_SP_TENANT=" + w.view.Tenant + "\n"
	if err := os.WriteFile(w.in.EnvFile, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

// runtimeWorks wants the secret to log in wherever the preparation stops, and to be in no file but its own.
func (w *world) runtimeWorks() {
	if _, err := legacy.Token(w.Context(), w.view, w.in.AppID, w.in.Secrets[0]); err != nil {
		w.Errorf("the runtime's secret does not log in any more: %v", err)
	}
	for _, path := range w.holding() {
		if path != w.in.EnvFile {
			w.Errorf("the secret is in %s", path)
		}
	}
}

// prepared is the end of a preparation: beside the password one certificate of ours, whose key is the only one and logs in, and an
// environment file that has what it had and names the application.
func (w *world) prepared() {
	w.runtimeWorks()
	n, err := w.view.Named(w.Context(), bot)
	if err != nil || len(n.Apps) != 1 || len(n.Apps[0].Certificates) != 1 || len(n.Apps[0].Passwords) != 1 || len(n.Principals) != 1 {
		w.Errorf("%+v: %v", n, err)
	}
	if st := w.state(); !strings.EqualFold(st.ApplicationID, w.in.ObjectID) || len(st.Generations) != 1 {
		w.Errorf("recorded %+v", st)
	}
	if keys := w.keyFiles(); len(keys) != 1 {
		w.Errorf("the keystore holds %d keys, want 1: %v", len(keys), keys)
	}
	if out, code := w.child([]string{"token"}); code != 0 || strings.Count(out, ".") != 2 {
		w.Errorf("token: exit %d", code)
	}
	env, err := os.ReadFile(w.in.EnvFile)
	if err != nil || !strings.Contains(string(env), "AZURE_CLIENT_ID="+w.in.AppID) || !strings.HasPrefix(string(env), "# of polyclaw\n") {
		w.Errorf("the environment file is %q: %v", env, err)
	}
	out, _ := w.child([]string{"migrate", bot, "--prepare", "--dry-run", "--json"})
	var rep struct {
		Plan struct{ Steps []struct{ ID string } }
	}
	if err := json.Unmarshal([]byte(out), &rep); err != nil || len(rep.Plan.Steps) > 0 {
		w.Errorf("a second preparation: %v\n%s", err, out)
	}
}
