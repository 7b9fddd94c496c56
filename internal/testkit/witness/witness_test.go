// Package witness lets az, which nobody here wrote, look at what leastkey has done on the local cloud, and lets leastkey work with the
// session of az.
//
// az is that of the Debian package azure-cli (2.45). Its `az role` commands fail there before they send anything ('RoleDefinitionsOperations'
// object has no attribute 'config', observed 2026-11), so role assignments are read by `az rest`.
package witness

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/azcli"
)

func TestAz(t *testing.T) {
	if !azcli.Present(t) {
		return
	}
	h := up(t)
	printed := h.leastkey(t, t.TempDir(), h.Env, "cloud", "env", "--for", "az")
	if printed.Code != 0 {
		t.Fatalf("leastkey cloud env: exit %d\n%s", printed.Code, printed.Stderr)
	}
	fresh := shell(t, h.Env, printed.Stdout)
	again := shell(t, h.Env, printed.Stdout) // a second terminal, or the same one the next day
	if again.Dir != fresh.Dir {
		t.Errorf("the second time the folder is %s, not %s", again.Dir, fresh.Dir)
	}
	t.Run("sessions", func(t *testing.T) {
		t.Run("a service principal sees what leastkey reports", func(t *testing.T) {
			t.Parallel()
			// The line that says how to log in is there to be copied.
			op := h.operators["sp-operator"]
			if line := "az login --service-principal -u " + op.AppID + " -p '" + op.CertificateFile + "' --tenant " + h.run.TenantID; !strings.Contains(printed.Stdout, line+"\n") {
				t.Errorf("cloud env does not say %q:\n%s", line, printed.Stdout)
			}
			s := fresh.another(t)
			s.application(t, h.run, op, h.run.TenantID)
			h.inspect(t, s, t.TempDir(), h.report)
		})
		t.Run("a user sees the same, and leastkey works with the user's session", func(t *testing.T) {
			t.Parallel()
			s := fresh.another(t)
			s.user(t, h.run, h.operators["admin"])
			var me struct{ ID, UserPrincipalName string }
			s.ask(t, &me, "ad", "signed-in-user", "show")
			if admin := h.operators["admin"]; me.ID != admin.ObjectID || me.UserPrincipalName != admin.UPN {
				t.Errorf("the signed-in user is %+v", me)
			}
			h.inspect(t, s, t.TempDir(), h.report)
			h.operate(t, s)
		})
		t.Run("an application's session of tenant adfs works for leastkey", func(t *testing.T) {
			t.Parallel()
			s, op := fresh.another(t), h.operators["sp-operator"]
			s.application(t, h.run, op, "adfs")
			var plan api.PlanAnswer
			h.says(t, h.spec(t, "planned-only"), s.Env, &plan, "plan", "--operator", "az", "-f", "leastkey.yaml")
			if plan.As.ObjectID != op.ObjectID || plan.As.TenantID != h.run.TenantID || plan.As.Operator != "az" {
				t.Errorf("the plan is made as %+v", plan.As)
			}
		})
		t.Run("a wrong certificate is refused with its code", func(t *testing.T) {
			t.Parallel()
			s := fresh.another(t)
			file, thumbprint := stranger(t)
			said := s.refused(t, "login", "--service-principal", "-u", h.operators["sp-operator"].AppID, "-p", file, "--tenant", h.run.TenantID)
			if !strings.HasPrefix(said, "ERROR: AADSTS700027: ") || !strings.Contains(said, "The key was not found.") || !strings.Contains(said, thumbprint) {
				t.Errorf("az says %s", said)
			}
			if said := s.refused(t, "account", "show"); !strings.Contains(said, "Please run 'az login'") {
				t.Errorf("after it: %s", said)
			}
		})
		t.Run("a reader assigns nothing", func(t *testing.T) {
			t.Parallel()
			s := fresh.another(t)
			s.user(t, h.run, h.operators["reader"])
			h.overreach(t, s)
		})
	})
	// After the others, because nothing may reach the cloud meanwhile.
	t.Run("a session of another tenant is refused before anything is sent", h.wrongTenant)
}

// credential is a key or password credential as az prints it.
type credential struct {
	KeyID      string    `json:"keyId"`
	Identifier string    `json:"customKeyIdentifier"`
	Name       string    `json:"displayName"`
	Type       string    `json:"type"`
	Usage      string    `json:"usage"`
	End        time.Time `json:"endDateTime"`
}

// identity is an application or a service principal as az prints it. The lists are raw, because missing is not empty.
type identity struct {
	ID        string          `json:"id"`
	AppID     string          `json:"appId"`
	Name      string          `json:"displayName"`
	Audience  string          `json:"signInAudience"`
	Enabled   bool            `json:"accountEnabled"`
	Passwords json.RawMessage `json:"passwordCredentials"`
	Keys      json.RawMessage `json:"keyCredentials"`
}

// inspect compares what az sees of an agent with what leastkey reports, and both with what the spec asks for, which lies in dir if it is
// not the local cloud's own.
func (h *house) inspect(t *testing.T, s session, dir string, report api.Report) {
	t.Helper()
	var app identity
	s.ask(t, &app, "ad", "app", "show", "--id", report.ApplicationID)
	if app.AppID != report.ApplicationID || app.ID != report.ObjectID || app.Name != report.Agent || app.Audience != "AzureADMyOrg" || string(app.Passwords) != "[]" {
		t.Errorf("az ad app show: %+v", app)
	}
	h.certificate(t, dir, report.Agent, app.Keys)

	var apps []identity
	s.ask(t, &apps, "ad", "app", "list", "--display-name", report.Agent)
	if len(apps) != 1 || apps[0].AppID != report.ApplicationID {
		t.Errorf("az ad app list: %+v", apps)
	}
	var passwords, keys json.RawMessage
	s.ask(t, &passwords, "ad", "app", "credential", "list", "--id", report.ApplicationID)
	if strings.TrimSpace(string(passwords)) != "[]" {
		t.Errorf("az ad app credential list shows passwords: %s", passwords)
	}
	s.ask(t, &keys, "ad", "app", "credential", "list", "--id", report.ApplicationID, "--cert")
	h.certificate(t, dir, report.Agent, keys)

	var sp identity
	s.ask(t, &sp, "ad", "sp", "show", "--id", report.ApplicationID)
	if sp.ID != report.PrincipalID || sp.AppID != report.ApplicationID || !sp.Enabled || string(sp.Passwords) != "[]" || string(sp.Keys) != "[]" {
		t.Errorf("az ad sp show: %+v", sp)
	}
	h.assigned(t, s, report)
}

// certificate checks that the credentials are the one certificate that leastkey has recorded.
func (h *house) certificate(t *testing.T, dir, agent string, keys json.RawMessage) {
	t.Helper()
	var shown []credential
	decode(t, "key credentials", string(keys), &shown)
	var all []api.AgentStatus
	h.says(t, dir, h.Env, &all, "status", agent)
	if len(all) != 1 || all[0].Record.Agent != agent || len(all[0].Record.Generations) != 1 {
		t.Fatalf("leastkey status does not show one key of %s: %+v", agent, all)
	}
	g := all[0].Record.Generations[0]
	sum := sha1.Sum(g.DER)
	want := credential{KeyID: g.KeyID, Identifier: base64.StdEncoding.EncodeToString(sum[:]), Name: "leastkey " + agent, Type: "AsymmetricX509Cert", Usage: "Verify", End: g.NotAfter}
	if len(shown) != 1 || !shown[0].End.Equal(want.End) {
		t.Fatalf("az shows the certificates %+v, want %+v", shown, want)
	}
	if shown[0].End = want.End; shown[0] != want {
		t.Errorf("az shows the certificate %+v, want %+v", shown[0], want)
	}
}

// planned are the roles of the set polyclaw with everything configured, by the GUIDs of Microsoft's "Azure built-in roles".
func (h *house) planned() map[string]string {
	group := "/subscriptions/" + h.run.SubscriptionID + "/resourceGroups/polyclaw-rg"
	return map[string]string{
		"9fc6112f-f48e-4e27-8b09-72a5c94e4ae9": group, // Azure Bot Service Contributor Role
		"acdd72a7-3385-48ef-bd42-f606fba81ae7": group, // Reader
		"b86a8fe4-44ce-4948-aee5-eccb2c155cd7": group + "/providers/Microsoft.KeyVault/vaults/kv-polyclaw",
		"0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0": group + "/providers/Microsoft.App/sessionPools/polyclaw-pool",
		"a97b65f3-24c7-4388-baec-2e87135dc908": group + "/providers/Microsoft.CognitiveServices/accounts/polyclaw-safety",
	}
}

// assigned checks that the principal holds exactly the planned roles, in az's eyes and in leastkey's report.
func (h *house) assigned(t *testing.T, s session, report api.Report) {
	t.Helper()
	var list struct {
		Value []struct {
			Properties struct{ PrincipalID, PrincipalType, RoleDefinitionID, Scope string }
		}
		NextLink string
	}
	// az puts its own subscription in.
	s.ask(t, &list, "rest", "--url", "/subscriptions/{subscriptionId}/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter=assignedTo('"+report.PrincipalID+"')")
	seen, told := map[string]string{}, map[string]string{}
	for _, a := range list.Value {
		p := a.Properties
		if p.PrincipalID != report.PrincipalID || p.PrincipalType != "ServicePrincipal" {
			t.Errorf("an assignment of somebody else: %+v", p)
		}
		seen[p.RoleDefinitionID[strings.LastIndexByte(p.RoleDefinitionID, '/')+1:]] = p.Scope
	}
	for _, g := range report.Roles {
		told[g.RoleID] = g.Scope
	}
	for who, have := range map[string]map[string]string{"az": seen, "leastkey": told} {
		if want := h.planned(); !sameGrants(have, want) {
			t.Errorf("%s shows the roles %v, want %v", who, have, want)
		}
	}
	if len(list.Value) != len(seen) || list.NextLink != "" {
		t.Errorf("az shows %d assignments of %d roles", len(list.Value), len(seen))
	}
}

// sameGrants compares scopes as ARM does, without regard to case.
func sameGrants(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for role, scope := range a {
		if !strings.EqualFold(scope, b[role]) {
			return false
		}
	}
	return true
}

// spec writes a leastkey.yaml with an agent of that name, and gives its folder.
func (h *house) spec(t *testing.T, agent string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "leastkey.yaml"), []byte(`cloud: local
tenant: contoso.onmicrosoft.com
subscription: `+h.run.SubscriptionID+`
resource_group: polyclaw-rg
agents:
  `+agent+`:
    kind: service-principal
    roles: polyclaw
    key_vault: kv-polyclaw
    session_pool: polyclaw-pool
    content_safety: polyclaw-safety
`), 0o600))
	return dir
}

// operate is the story of a person who is logged in with az and lets leastkey work with that.
func (h *house) operate(t *testing.T, s session) {
	t.Helper()
	const agent = "witnessed"
	admin, dir := h.operators["admin"], h.spec(t, agent)
	for _, resource := range []string{h.run.Endpoints.Graph, h.run.Endpoints.ARM} {
		var got struct{ AccessToken, TokenType string }
		s.ask(t, &got, "account", "get-access-token", "--resource", resource, "--tenant", h.run.TenantID)
		c := claims(t, got.AccessToken)
		if c.Tenant != h.run.TenantID || c.Object != admin.ObjectID || c.Audience != resource {
			t.Errorf("az's token for %s is %+v", resource, c)
		}
	}
	var plan api.PlanAnswer
	h.says(t, dir, s.Env, &plan, "plan", "--operator", "az", "-f", "leastkey.yaml")
	if plan.As.Operator != "az" || plan.As.ObjectID != admin.ObjectID || plan.As.TenantID != h.run.TenantID || plan.Plan.Empty() {
		t.Errorf("the plan: as %+v, %d steps", plan.As, len(plan.Plan.Steps))
	}
	var report api.Report
	h.says(t, dir, s.Env, &report, "apply", "--operator", "az", "-f", "leastkey.yaml")
	if report.Agent != agent || report.Digest != plan.Digest || report.Proof.Logins != 3 || report.Proof.PasswordCredentials+report.Proof.ForeignCredentials != 0 {
		t.Errorf("the report: %+v", report)
	}
	again := h.leastkey(t, dir, s.Env, "plan", "--operator", "az", "-f", "leastkey.yaml", "--exit-code")
	if again.Code != 0 {
		t.Errorf("a plan after apply: exit %d\n%s%s", again.Code, again.Stdout, again.Stderr)
	}
	var owners []identity
	s.ask(t, &owners, "ad", "app", "owner", "list", "--id", report.ApplicationID)
	if len(owners) != 1 || owners[0].ID != admin.ObjectID {
		t.Errorf("the owners: %+v", owners)
	}
	h.inspect(t, s, dir, report)
}

// overreach is somebody without the rights.
func (h *house) overreach(t *testing.T, s session) {
	t.Helper()
	reader := h.operators["reader"]
	id := "/subscriptions/" + h.run.SubscriptionID + "/resourceGroups/polyclaw-rg/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	body, err := json.Marshal(map[string]any{"properties": map[string]string{
		"roleDefinitionId": "/subscriptions/" + h.run.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
		"principalId":      reader.ObjectID, "principalType": "User",
	}})
	must(t, err)
	said := s.refused(t, "rest", "--method", "put", "--url", id+"?api-version=2022-04-01", "--body", string(body))
	for _, part := range []string{"AuthorizationFailed", reader.ObjectID, "Microsoft.Authorization/roleAssignments/write", id} {
		if !strings.Contains(said, part) {
			t.Errorf("az says nothing of %s: %s", part, said)
		}
	}
	if said := s.refused(t, "rest", "--url", id+"?api-version=2022-04-01"); !strings.Contains(said, "RoleAssignmentNotFound") {
		t.Errorf("afterwards the assignment is there: %s", said)
	}
	said = s.refused(t, "ad", "app", "update", "--id", h.report.ApplicationID, "--display-name", "mine")
	if !strings.Contains(said, "Insufficient privileges to complete the operation.") {
		t.Errorf("az ad app update: %s", said)
	}
	denied := h.leastkey(t, h.spec(t, "denied"), s.Env, "apply", "--operator", "az", "-f", "leastkey.yaml")
	if denied.Code != 4 || !strings.Contains(denied.Stderr, "Authorization_RequestDenied") || !strings.Contains(denied.Stderr, "leastkey: hint: a person needs the directory role Application Administrator") {
		t.Errorf("leastkey apply as a reader: exit %d\n%s", denied.Code, denied.Stderr)
	}
	var apps []identity
	if s.ask(t, &apps, "ad", "app", "list", "--display-name", "denied"); len(apps) != 0 {
		t.Errorf("it has made %+v", apps)
	}
}

// wrongTenant: az is logged in to another local cloud. There az pins no tenant, so that the tid of the tokens is all that tells, and an
// application with the right cloud's names makes it hand out tokens for these names.
func (h *house) wrongTenant(t *testing.T) {
	const tenant = "0defaced-0000-4000-8000-000000000001"
	// Its domain is the host of the right cloud, or it could not give its application that cloud's names.
	right, err := url.Parse(h.run.Endpoints.Graph)
	must(t, err)
	other, err := localcloud.New(localcloud.Config{TenantID: tenant, Domain: right.Hostname(), RunDir: filepath.Join(t.TempDir(), "other")})
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	must(t, other.Listen(t.Context()))
	printed, err := other.Run().EnvFor("az")
	must(t, err)
	s := shell(t, h.Env, printed)
	s.application(t, other.Run(), operators(t, other.Run())["sp-operator"], tenant)

	dir, before := h.spec(t, "misdirected"), h.requests(t)
	apply := func(want, hint string) {
		t.Helper()
		r := h.leastkey(t, dir, s.Env, "apply", "--operator", "az", "-f", "leastkey.yaml", "--yes")
		if r.Code != 1 || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, "leastkey: hint: "+hint) || !strings.Contains(r.Stderr, h.run.TenantID) {
			t.Errorf("leastkey apply: exit %d, without %q or %q\n%s", r.Code, want, hint, r.Stderr)
		}
	}
	apply("AADSTS500011", `in this shell: eval "$(leastkey cloud env --for az)"`) // the other tenant knows nothing of that name

	var app, sp identity
	s.ask(t, &app, "ad", "app", "create", "--display-name", "squatter", "--identifier-uris", h.run.Endpoints.Graph, h.run.Endpoints.ARM)
	s.ask(t, &sp, "ad", "sp", "create", "--id", app.AppID)
	var got struct{ AccessToken string }
	s.ask(t, &got, "account", "get-access-token", "--resource", h.run.Endpoints.Graph, "--tenant", tenant)
	if c := claims(t, got.AccessToken); c.Tenant != tenant || c.Audience != h.run.Endpoints.Graph {
		t.Fatalf("the squatter's token is %+v", c)
	}
	apply("the operator's token is of tenant "+tenant, "log in to the right tenant")

	if after := h.requests(t); len(after) != len(before) {
		t.Errorf("requests have reached Graph or ARM: %v", after[len(before):])
	}
	var ledger []api.LedgerEntry
	h.says(t, t.TempDir(), h.Env, &ledger, "ledger", "show")
	if last := ledger[len(ledger)-1]; last.Allowed || last.Subject != "misdirected" || !strings.Contains(last.Detail, tenant) {
		t.Errorf("the ledger ends with %+v", last)
	}
}

// requests are what Graph and ARM of the cloud were asked so far.
func (h *house) requests(t *testing.T) []localcloud.Request {
	t.Helper()
	m, err := h.run.Manage()
	must(t, err)
	defer m.Close()
	var all []localcloud.Request
	must(t, m.Requests(t.Context(), 0, false, func(r localcloud.Request) error {
		if r.Plane != "login" {
			all = append(all, r)
		}
		return nil
	}))
	return all
}

type tokenClaims struct {
	Tenant   string `json:"tid"`
	Object   string `json:"oid"`
	Audience string `json:"aud"`
}

func claims(t *testing.T, token string) tokenClaims {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("az's token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var c tokenClaims
	decode(t, "claims", string(payload), &c)
	return c
}

// stranger makes a certificate that no application has.
func stranger(t *testing.T) (file, thumbprint string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	file = filepath.Join(t.TempDir(), "stranger.pem")
	must(t, os.WriteFile(file, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), 0o600))
	sum := sha1.Sum(der)
	return file, fmt.Sprintf("%X", sum)
}
