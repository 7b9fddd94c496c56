// Package legacy makes, on a running local cloud and in a folder, what the original's provisioning has left: a Provisioner that logs in with
// a client secret, and everything that a migration from it has to respect. It also says in which ways such an install is not as it has to
// be, before a migration and after one.
package legacy

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// DisplayName is the Provisioner's, which no migration may change.
const DisplayName = "EntraClaw Agent ID Provisioner"

// graphAppID is Microsoft Graph.
const graphAppID = "00000003-0000-0000-c000-000000000000"

// Installed is what there is.
type Installed struct {
	Tenant      string
	AppID       string // client id
	ObjectID    string // of the application
	PrincipalID string
	// Secrets are the client secrets that work: that of this machine, which lies on its disk; another machine's; and one of the service
	// principal. All three are to be dead and gone after a migration.
	Secrets []string
	// The certificate of another machine, which has to stay, and its key.
	OtherSHA256, OtherKeyID string
	OtherKey                *rsa.PrivateKey
	OtherDER                []byte
	Roles                   []string // the application permissions that are consented
	BlueprintAppID          string
	BlueprintID             string // object id
	BlueprintSHA256         string

	Dir       string
	StateFile string // .entraclaw-state.json, readable by everybody as the original leaves it
	BackUp    string // its .bak copy
	EnvFile   string // .env
	Unknown   map[string]json.RawMessage
}

// keys are those of another machine and of the Blueprint. Nothing depends on which they are, and making them takes its time.
var keys = sync.OnceValues(func() ([2]*rsa.PrivateKey, error) {
	var both [2]*rsa.PrivateKey
	for i := range both {
		var err error
		if both[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return both, err
		}
	}
	return both, nil
})

// Install makes the install, as the administrator and, where Agent ID wants it, with the Provisioner's own secret. The cloud's planes must
// not lag meanwhile.
func Install(ctx context.Context, v *cloudview.Cloud, dir string) (Installed, error) {
	in := Installed{Tenant: v.Tenant, Dir: dir}
	m := maker{ctx, v, &in}
	for _, do := range []func() error{m.application, m.consents, m.passwords, m.otherMachine, m.blueprint, m.files} {
		if err := do(); err != nil {
			return in, err
		}
	}
	return in, nil
}

type maker struct {
	ctx context.Context
	v   *cloudview.Cloud
	in  *Installed
}

// made is the part of any object that is of use here.
type made struct {
	ID         string `json:"id"`
	AppID      string `json:"appId"`
	KeyID      string `json:"keyId"`
	SecretText string `json:"secretText"`
}

func (m maker) post(path string, body any) (made, error) {
	var o made
	_, err := m.v.Call(m.ctx, http.MethodPost, "/v1.0/"+path, body, &o)
	return o, err
}

func (m maker) application() error {
	app, err := m.post("applications", map[string]any{"displayName": DisplayName, "signInAudience": "AzureADMyOrg"})
	if err != nil {
		return err
	}
	sp, err := m.post("servicePrincipals", map[string]any{"appId": app.AppID})
	m.in.AppID, m.in.ObjectID, m.in.PrincipalID = app.AppID, app.ID, sp.ID
	return err
}

// consents declares and grants what the original does: its six base permissions, and all that Graph offers for Agent ID.
func (m maker) consents() error {
	var graph struct {
		ID       string `json:"id"`
		AppRoles []struct {
			ID    string `json:"id"`
			Value string `json:"value"`
		} `json:"appRoles"`
	}
	if _, err := m.v.Call(m.ctx, http.MethodGet, "/v1.0/servicePrincipals(appId='"+graphAppID+"')", nil, &graph); err != nil {
		return err
	}
	base := " Application.ReadWrite.All AppRoleAssignment.ReadWrite.All DelegatedPermissionGrant.ReadWrite.All LicenseAssignment.ReadWrite.All Organization.Read.All User.ReadWrite.All "
	var access []any
	for _, r := range graph.AppRoles {
		if !strings.Contains(base, " "+r.Value+" ") && !strings.Contains(r.Value, "AgentIdentity") && !strings.Contains(r.Value, "AgentIdUser") {
			continue
		}
		access = append(access, map[string]any{"id": r.ID, "type": "Role"})
		m.in.Roles = append(m.in.Roles, r.Value)
		if _, err := m.post("servicePrincipals/"+m.in.PrincipalID+"/appRoleAssignments", map[string]any{"principalId": m.in.PrincipalID, "resourceId": graph.ID, "appRoleId": r.ID}); err != nil {
			return err
		}
	}
	_, err := m.v.Call(m.ctx, http.MethodPatch, "/v1.0/applications/"+m.in.ObjectID, map[string]any{"requiredResourceAccess": []any{map[string]any{"resourceAppId": graphAppID, "resourceAccess": access}}}, nil)
	return err
}

func (m maker) passwords() error {
	for _, of := range []struct{ object, name string }{{"applications/" + m.in.ObjectID, "this machine"}, {"applications/" + m.in.ObjectID, "another machine"}, {"servicePrincipals/" + m.in.PrincipalID, "by hand"}} {
		pw, err := m.post(of.object+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": of.name}})
		if err != nil {
			return err
		}
		m.in.Secrets = append(m.in.Secrets, pw.SecretText)
	}
	return nil
}

// certificate makes one such as the original's machines have.
func certificate(key *rsa.PrivateKey, name string) ([]byte, string, error) {
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: name, Days: 365, Now: time.Now().Add(-time.Minute)})
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(cert.Raw)
	return cert.Raw, hex.EncodeToString(sum[:]), nil
}

func keyCredential(der []byte, name string) map[string]any {
	return map[string]any{"keyCredentials": []any{map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": name, "key": der}}}
}

func (m maker) otherMachine() error {
	both, err := keys()
	if err != nil {
		return err
	}
	in := m.in
	in.OtherKey = both[0]
	if in.OtherDER, in.OtherSHA256, err = certificate(in.OtherKey, "entraclaw-provisioner"); err != nil {
		return err
	}
	if _, err := m.v.Call(m.ctx, http.MethodPatch, "/v1.0/applications/"+in.ObjectID, keyCredential(in.OtherDER, "another machine"), nil); err != nil {
		return err
	}
	all, err := certificatesOf(m.ctx, m.v, in.ObjectID)
	for _, c := range all {
		in.OtherKeyID = c.KeyID
	}
	return err
}

// blueprint makes the Blueprint as the original does: with a token of the Provisioner, because those of people are refused.
func (m maker) blueprint() error {
	var me made
	if _, err := m.v.Call(m.ctx, http.MethodGet, "/v1.0/me", nil, &me); err != nil {
		return err
	}
	token, err := Token(m.ctx, m.v, m.in.AppID, m.in.Secrets[0])
	if err != nil {
		return err
	}
	both, err := keys()
	if err != nil {
		return err
	}
	der, sum, err := certificate(both[1], "entraclaw-blueprint")
	if err != nil {
		return err
	}
	const kind = "/microsoft.graph.agentIdentityBlueprint"
	var bp made
	body := map[string]any{"displayName": "EntraClaw Agent", "sponsors@odata.bind": []string{m.v.Graph + "/v1.0/users/" + me.ID}}
	if err := m.v.As(m.ctx, token, http.MethodPost, "/v1.0/applications"+kind, body, &bp); err != nil {
		return err
	}
	m.in.BlueprintAppID, m.in.BlueprintID, m.in.BlueprintSHA256 = bp.AppID, bp.ID, sum
	return m.v.As(m.ctx, token, http.MethodPatch, "/v1.0/applications/"+bp.ID+kind, keyCredential(der, "EntraClaw Device Certificate"), nil)
}

// Token logs in with a client secret. Its error says why the login service refused it.
func Token(ctx context.Context, v *cloudview.Cloud, appID, clientSecret string) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {clientSecret}, "scope": {v.Graph + "/.default"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Login+"/"+v.Tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := v.HTTP.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var got struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		return "", err
	}
	if got.AccessToken == "" {
		return "", fmt.Errorf("login of %s: %d %s", appID, resp.StatusCode, got.Description)
	}
	return got.AccessToken, nil
}

// files writes what lies on the disk: the state file in the original's manner and mode, its .bak copy, and the environment file.
func (m maker) files() error {
	in := m.in
	if err := os.MkdirAll(in.Dir, 0o755); err != nil {
		return err
	}
	in.StateFile = filepath.Join(in.Dir, ".entraclaw-state.json")
	in.BackUp = in.StateFile + ".bak.1735689600"
	in.EnvFile = filepath.Join(in.Dir, ".env")
	state := `{
  "TENANT_ID": "` + in.Tenant + `",
  "PROVISIONER_CLIENT_ID": "` + in.AppID + `",
  "PROVISIONER_CLIENT_SECRET": "` + in.Secrets[0] + `",
  "BLUEPRINT_APP_ID": "` + in.BlueprintAppID + `",
  "BLUEPRINT_OBJECT_ID": "` + in.BlueprintID + `",
  "BLUEPRINT_CERT_THUMBPRINT": "` + in.BlueprintSHA256 + `",
  "AGENT_ID": "7d1c1a58-0f2e-4a51-9f6b-3a51b3a3f3a1",
  "AGENT_USER_UPN": "entraclaw-agent@example.org",
  "OF_NEXT_YEAR": {"kept": [1, 2.50, "as it is"]}
}
`
	env := "# written by hand\nAZURE_LOCATION=westeurope\nPROVISIONER_CLIENT_SECRET=" + in.Secrets[0] + "\nLOG_LEVEL='info' # of the agent\n"
	for _, f := range []struct {
		path, content string
		mode          os.FileMode
	}{{in.StateFile, state, 0o644}, {in.BackUp, state, 0o644}, {in.EnvFile, env, 0o600}} {
		if err := os.WriteFile(f.path, []byte(f.content), f.mode); err != nil {
			return err
		}
		if err := os.Chmod(f.path, f.mode); err != nil { // whatever the umask
			return err
		}
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(state), &all); err != nil {
		return err
	}
	delete(all, "PROVISIONER_CLIENT_SECRET")
	in.Unknown = all
	return nil
}
