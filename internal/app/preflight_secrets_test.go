//go:build unix

package app

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/sqlite"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
)

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// examined is an agent on a local cloud of this process, with real files, and what the preflight says of it.
type examined struct {
	*testing.T
	cloud *localcloud.Cloud
	view  *cloudview.Cloud
	app   *App
	env   map[string]string
	dir   string
	spec  agent.Spec
	last  api.PreflightReport
}

func newExamined(t *testing.T) *examined {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := localcloud.New(localcloud.Config{SigningKey: key, OperatorKey: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	root := t.TempDir()
	x := &examined{T: t, cloud: cloud, dir: filepath.Join(root, "lk"), env: map[string]string{"HOME": filepath.Join(root, "home"), "LEASTKEY_HOME": filepath.Join(root, "lk")}, spec: LocalSpec(cloud.Domain(), cloud.SubscriptionID())}
	x.app = &App{Getenv: func(name string) string { return x.env[name] }}
	x.write("home/.azure/msal_token_cache.json", "{}", 0o600)
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			e := cloud.Endpoints()
			x.view = &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(), User: o.UPN, Password: o.Password.Reveal(), HTTP: &http.Client{Transport: cloud.Transport()}}
		}
	}
	d, err := x.app.InProcess(t.Context(), cloud, x.dir, x.spec, "local:admin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(t.Context(), api.ApplyRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return x
}

// write writes a file below the test's folder.
func (x *examined) write(path, content string, mode os.FileMode) string {
	x.Helper()
	at := filepath.Join(filepath.Dir(x.dir), path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		x.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
		x.Fatal(err)
	}
	x.chmod(at, mode)
	return at
}

func (x *examined) chmod(path string, mode os.FileMode) {
	x.Helper()
	if err := os.Chmod(path, mode); err != nil {
		x.Fatal(err)
	}
}

// adds appends lines to the agent's environment file, and takes them back.
func (x *examined) adds(lines string) (undo func()) {
	x.Helper()
	at := filepath.Join(x.dir, ".env")
	was, err := os.ReadFile(at)
	if err != nil {
		x.Fatal(err)
	}
	x.write("lk/.env", string(was)+lines, 0o600)
	return func() { x.write("lk/.env", string(was), 0o600) }
}

func (x *examined) run() {
	x.Helper()
	d, err := x.app.InProcess(x.Context(), x.cloud, x.dir, x.spec, "local:admin")
	if err != nil {
		x.Fatal(err)
	}
	if x.last, err = d.Preflight(x.Context(), api.PreflightRequest{}, nil); err != nil {
		x.Fatal(err)
	}
	if err := d.Close(); err != nil {
		x.Fatal(err)
	}
}

// says runs the preflight and checks what it says of one thing, in outcome and words.
func (x *examined) says(when, id string, outcome finding.Outcome, part string) {
	x.Helper()
	x.run()
	for _, f := range x.last.Findings {
		if f.ID == id {
			if f.Outcome != outcome || !strings.Contains(f.Detail, part) {
				x.Errorf("%s: %s is %s: %s; want %s with %q", when, id, f.Outcome, f.Detail, outcome, part)
			}
			return
		}
	}
	x.Errorf("%s: there is no %s", when, id)
}

func (x *examined) call(method, path string, body any) {
	x.Helper()
	if _, err := x.view.Call(x.Context(), method, path, body, nil); err != nil {
		x.Fatal(err)
	}
}

func TestSecretsOfAHealthyAgentAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExamined(t)
		x.run()
		n := 0
		for _, f := range x.last.Findings {
			if f.Category != finding.Secrets {
				continue
			}
			n++
			if f.Outcome != finding.Pass && (f.Outcome != finding.Skip || f.Cause != "") {
				t.Errorf("%s is %s: %s", f.ID, f.Outcome, f.Detail)
			}
		}
		if n < 17 {
			t.Errorf("only %d checks of secrets", n)
		}
	})
}

// The vault is asked as the identity: a refusal fails and no answer is unknown, however the operator fares.
func TestTheVaultIsAskedAsTheIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExamined(t)
		x.says("with its role", "secret_kv_reachable", finding.Pass, "0 secrets")
		var asked []string
		for _, r := range x.cloud.Requests() {
			if strings.Contains(r.URL, "/secrets") {
				asked = append(asked, r.Method+" "+r.AppID)
			}
		}
		if len(asked) != 1 || asked[0] != "GET "+x.last.AppID {
			t.Errorf("the vault was asked %v, want once as %s", asked, x.last.AppID)
		}

		undo := x.adds("BOT_APP_PASSWORD=@kv:bot-app-password\n")
		x.says("a reference to what is not there", "secret_kv_references", finding.Fail, "BOT_APP_PASSWORD")
		value := x.plant("bot-app-password")
		x.says("a reference to what is there", "secret_kv_references", finding.Pass, "all 1")
		x.says("with one secret", "secret_kv_reachable", finding.Pass, "1 secrets")
		if b, err := json.Marshal(x.last); err != nil || strings.Contains(string(b), value) {
			t.Errorf("the report holds the value of the vault's secret (%v)", err)
		}
		undo()

		x.app.Hooks.Transport = func(next http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.Path, "/secrets") {
					return nil, errors.New("no route to host")
				}
				return next.RoundTrip(r)
			})
		}
		x.says("unreachable", "secret_kv_reachable", finding.Unknown, "no route to host")
		if x.last.Green {
			t.Error("it is green although the vault could not be reached")
		}
		x.app.Hooks.Transport = nil

		vault := x.spec.VaultID(x.spec.Agents["polyclaw-runtime"])
		officer, _ := role.Builtin().Find("Key Vault Secrets Officer")
		name := role.AssignmentName(role.Grant{Role: officer.Name, RoleID: officer.ID, Scope: vault}, x.last.PrincipalID)
		x.call(http.MethodDelete, vault+"/providers/Microsoft.Authorization/roleAssignments/"+name+"?api-version=2022-04-01", nil)
		x.says("without its role", "secret_kv_reachable", finding.Fail, "ForbiddenByRbac")
		if x.last.Green {
			t.Error("it is green although the vault refuses")
		}
	})
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// plant puts a secret into the vault, as the administrator, and gives its value.
func (x *examined) plant(name string) string {
	x.Helper()
	var me struct {
		ID string `json:"id"`
	}
	if _, err := x.view.Call(x.Context(), http.MethodGet, "/v1.0/me", nil, &me); err != nil {
		x.Fatal(err)
	}
	vault := x.spec.VaultID(x.spec.Agents["polyclaw-runtime"])
	officer, _ := role.Builtin().Find("Key Vault Secrets Officer")
	x.call(http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/subscriptions/" + x.spec.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + officer.ID, "principalId": me.ID, "principalType": "User"}})
	value := "value-" + uuid.NewString()
	if _, err := x.view.Vault(x.Context(), http.MethodPut, x.cloud.Endpoints().Vault[localcloud.DefaultVault]+"/secrets/"+name+"?api-version=7.4", map[string]any{"value": value}, nil); err != nil {
		x.Fatal(err)
	}
	return value
}

// The files are real ones, and so are their modes.
func TestSecretsInFilesAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExamined(t)
		env := filepath.Join(x.dir, ".env")
		x.chmod(env, 0o644)
		x.says("readable by others", "secret_env_file_mode", finding.Fail, "mode 0644")
		x.chmod(env, 0o600)

		const planted = "Hunter22-Hunter22-Hunter22"
		for _, c := range []struct{ line, id string }{
			{"RUNTIME_SP_PASSWORD=", "secret_identity_creds"}, {"BOT_APP_PASSWORD=", "secret_bot_creds"}, {"ADMIN_SECRET=", "secret_admin_secret"}, {"ADMIN_SECRET=@kv:x#", "secret_admin_token"},
			{"GITHUB_TOKEN=", "secret_no_github_runtime"}, {"export ACS_CALLBACK_TOKEN=", "secret_callback_tokens"}, {"ACS_CONNECTION_STRING=endpoint=https://a.example/;access" + "key=", "secret_acs_present"},
			{"AZURE_OPENAI_API_KEY=", "secret_aoai_present"}, {"MY_CONNECTION_STRING=", "secret_connection_strings"}, {"DB_PASSWORD = ", "secret_env_file_content"},
		} {
			undo := x.adds(c.line + planted + "\n")
			x.says(c.line, c.id, finding.Fail, "")
			if b, err := json.Marshal(x.last); err != nil || strings.Contains(string(b), planted) {
				t.Errorf("%s: the report holds the value (%v)", c.line, err)
			}
			undo()
		}
		undo := x.adds("BROKEN='no end\n")
		x.says("a file that does not read", "secret_env_file_mode", finding.Unknown, "")
		undo()

		// A link out of the folder, and a second name.
		moved := filepath.Join(filepath.Dir(x.dir), "elsewhere.env")
		if err := errors.Join(os.Rename(env, moved), os.Symlink(moved, env)); err != nil {
			t.Fatal(err)
		}
		x.says("a link out of its folder", "secret_env_file_mode", finding.Fail, "is a link out of its folder")
		if err := errors.Join(os.Remove(env), os.Rename(moved, env)); err != nil {
			t.Fatal(err)
		}
		x.says("put right", "secret_env_file_mode", finding.Pass, "mode 0600")

		cache := filepath.Join(x.env["HOME"], ".azure", "msal_token_cache.json")
		x.chmod(cache, 0o644)
		x.says("a session that others can open", "secret_admin_cli_isolated", finding.Fail, "mode 0644")
		x.chmod(x.env["HOME"], 0o700)
		x.says("a session in a closed home", "secret_admin_cli_isolated", finding.Pass, "")
		undo = x.adds("HOME=" + x.env["HOME"] + "\n")
		x.says("the agent has the operator's home", "secret_home_separation", finding.Fail, "HOME")
		undo()

		kept := filepath.Join(x.dir, "locks", "polyclaw-runtime.lock")
		x.chmod(kept, 0o666)
		x.says("a file of the record that others may write", "secret_state_files", finding.Fail, "polyclaw-runtime.lock has mode 0666")
		x.chmod(kept, 0o600)
		state := x.write("lk/.entraclaw-state.json", `{"TENANT_ID":"x","PROVISIONER_CLIENT_SECRET":"`+planted+`"}`, 0o600)
		x.says("a secret in the Provisioner's state file", "secret_state_files", finding.Fail, "PROVISIONER_CLIENT_SECRET")
		if err := os.Remove(state); err != nil {
			t.Fatal(err)
		}
		x.env["ADMIN_SECRET"] = planted
		x.says("a secret in the environment of this process", "secret_admin_secret", finding.Fail, "this process")
		delete(x.env, "ADMIN_SECRET")
		x.says("nothing any more", "secret_state_files", finding.Pass, "")
	})
}

// Somebody with the file can drop what guards the table; the chain still tells.
func TestALedgerThatSomebodyChangedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExamined(t)
		x.says("untouched", "ledger_intact", finding.Pass, "")
		db, err := sqlite.Open(t.Context(), filepath.Join(x.dir, dbName))
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.ExecContext(t.Context(), "DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET entry = replace(entry, 'local:admin', 'local:eve') WHERE seq = 1")
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		x.says("changed", "ledger_intact", finding.Fail, "entry 1")
		if x.last.Green {
			t.Error("it is green")
		}
	})
}

// The end of a ledger is cut off without a break in its chain. The report before remembers what it held, and the guards are gone.
func TestALedgerThatSomebodyCutOffFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newExamined(t)
		x.says("untouched", "ledger_intact", finding.Pass, "")
		change := func(statements string) {
			db, err := sqlite.Open(t.Context(), filepath.Join(x.dir, dbName))
			if err != nil {
				t.Fatal(err)
			}
			_, err = db.ExecContext(t.Context(), statements)
			if err = errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
		}
		var guard string
		db, err := sqlite.Open(t.Context(), filepath.Join(x.dir, dbName))
		if err != nil {
			t.Fatal(err)
		}
		err = db.QueryRowContext(t.Context(), "SELECT sql FROM sqlite_master WHERE name = 'ledger_is_not_deleted'").Scan(&guard)
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		change("DROP TRIGGER ledger_is_not_deleted")
		x.says("without a guard", "ledger_intact", finding.Fail, "ledger_is_not_deleted")
		change(guard)
		x.says("with the guard again", "ledger_intact", finding.Pass, "")
		was := x.last.ID
		change("DROP TRIGGER ledger_is_not_deleted; DELETE FROM ledger WHERE seq > (SELECT max(seq) - 1 FROM ledger); " + guard)
		x.says("cut off, and guarded again", "ledger_intact", finding.Fail, was)
		x.says("once more, when the newest report is of after the cut", "ledger_intact", finding.Fail, was)
		if x.last.Green {
			t.Error("it is green")
		}
	})
}
