package preflight_test

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// record is what the product has recorded of the agent.
func (w *tenant) record() agent.Record {
	w.Helper()
	all, err := w.door("local:admin").State(w.Context())
	if err != nil || len(all) != 1 {
		w.Fatal(all, err)
	}
	return all[0]
}

// graph sends a request to Graph as the administrator, below /v1.0/.
func (w *tenant) graph(method, path string, body, answer any) {
	w.Helper()
	if _, err := w.view.Call(w.Context(), method, "/v1.0/"+path, body, answer); err != nil {
		w.Fatal(err)
	}
}

func (w *tenant) app() string { return "applications/" + w.record().ApplicationID }

// refer is a reference to an object of the directory.
func (w *tenant) refer(id string) map[string]any {
	return map[string]any{"@odata.id": w.view.Graph + "/v1.0/directoryObjects/" + id}
}

// register adds a certificate of somebody's to the application, and keeps what is there.
func (w *tenant) register(days int) {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	from := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: from.AddDate(0, 0, days)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	var have struct {
		Keys []map[string]any `json:"keyCredentials"`
	}
	w.graph("GET", w.app()+"?$select=keyCredentials", nil, &have)
	for _, k := range have.Keys {
		k["key"] = nil
	}
	w.graph("PATCH", w.app(), map[string]any{"keyCredentials": append(have.Keys, map[string]any{
		"type": "AsymmetricX509Cert", "usage": "Verify", "keyId": uuid.NewString(), "displayName": "polyclaw-runtime", "key": base64.StdEncoding.EncodeToString(der),
		"startDateTime": from, "endDateTime": tmpl.NotAfter})}, nil)
}

// user is the object id of one of the cloud's people.
func (w *tenant) user(name string) string {
	w.Helper()
	var u struct {
		ID string `json:"id"`
	}
	w.graph("GET", "users/"+name+"@"+w.cloud.Domain(), nil, &u)
	return u.ID
}

// consent lets the identity act in the name of people, by Graph.
func (w *tenant) consent(body map[string]any) {
	w.Helper()
	var graph struct {
		ID string `json:"id"`
	}
	w.graph("GET", "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')", nil, &graph)
	body["clientId"], body["resourceId"] = w.who, graph.ID
	w.graph("POST", "oauth2PermissionGrants", body, nil)
}

// permit gives the identity an application permission of Graph.
func (w *tenant) permit(value string) {
	w.Helper()
	var graph struct {
		ID    string `json:"id"`
		Roles []struct {
			ID    string `json:"id"`
			Value string `json:"value"`
		} `json:"appRoles"`
	}
	w.graph("GET", "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')", nil, &graph)
	for _, r := range graph.Roles {
		if r.Value == value {
			w.graph("POST", "servicePrincipals/"+w.who+"/appRoleAssignments", map[string]any{"principalId": w.who, "resourceId": graph.ID, "appRoleId": r.ID}, nil)
			return
		}
	}
	w.Fatalf("Graph offers no %s", value)
}

// The administrator breaks one thing after the other behind the product's back, and the check that is about it says so.
func TestTheIdentityOnTheLocalCloud(t *testing.T) {
	const pass, fail, warn, skip, unknown = finding.Pass, finding.Fail, finding.Warn, finding.Skip, finding.Unknown
	const reader = "f2ef992c-3afb-46b9-b7cf-a126ee74c451" // Global Reader
	type want struct {
		id      string
		outcome finding.Outcome
		detail  string
	}
	for _, c := range []struct {
		name     string
		change   func(*tenant)
		operator string
		want     []want
	}{
		{"an identity as provisioned", nil, "", []want{
			{"azure_logged_in", pass, ""}, {"identity_configured", pass, ".env agrees"}, {"identity_valid", pass, "enabled"}, {"identity_credential_expiry", pass, "until"}, {"identity_login", pass, "by certificate"},
			{"identity_key_class", fail, "memory"}, // the keystore of this test
			{"identity_no_password", pass, "none"}, {"identity_certificates_known", pass, "1 current"}, {"identity_certificate_strength", pass, "1 of 1"}, {"identity_federated", pass, "0"},
			{"identity_owners", warn, "who created it"}, {"identity_single_tenant", pass, ""}, {"identity_namesakes", pass, ""}, {"identity_app_management_policy", warn, "passwords may be added"},
			{"identity_directory_roles", pass, "none"}, {"identity_scoped_directory_roles", pass, "none"}, {"identity_graph_permissions", pass, "none"}, {"identity_delegated_permissions", pass, "none"}, {"identity_takeover", skip, "application"}, {"identity_attached", skip, ""}, {"clock", pass, "login service"},
		}},
		{"a client secret", func(w *tenant) { w.graph("POST", w.app()+"/addPassword", map[string]any{}, nil) }, "", []want{{"identity_no_password", fail, "the application has key id"}}},
		{"a client secret on the service principal", func(w *tenant) {
			w.graph("POST", "servicePrincipals/"+w.who+"/addPassword", map[string]any{}, nil)
		}, "", []want{{"identity_no_password", fail, "the service principal has key id"}}},
		{"somebody's certificate, named like the agent", func(w *tenant) { w.register(365) }, "", []want{{"identity_certificates_known", fail, "whoever"}, {"identity_certificate_strength", pass, "2 of 2"}, {"identity_login", pass, ""}}},
		{"a certificate of ten years", func(w *tenant) { w.register(3650) }, "", []want{{"identity_certificates_known", fail, ""}, {"identity_certificate_strength", fail, "3650 days"}}},
		{"our certificate was taken off", func(w *tenant) { w.graph("PATCH", w.app(), map[string]any{"keyCredentials": []any{}}, nil) }, "", []want{
			{"identity_credential_expiry", fail, "not registered"}, {"identity_login", fail, "AADSTS700027"}, {"identity_certificates_known", pass, "0 current"}, {"identity_certificate_strength", fail, "no certificate"}, {"identity_valid", pass, ""}}},
		{"the service principal was disabled", func(w *tenant) {
			w.graph("PATCH", "servicePrincipals/"+w.who, map[string]any{"accountEnabled": false}, nil)
		}, "", []want{
			{"identity_valid", fail, "disabled"}, {"identity_login", fail, "AADSTS7000112"}}},
		{"the application was deleted", func(w *tenant) { w.graph("DELETE", w.app(), nil, nil) }, "", []want{
			{"identity_valid", fail, "not in the directory"}, {"identity_login", fail, "AADSTS700016"}, {"identity_no_password", skip, "identity_valid"}, {"identity_certificates_known", skip, "identity_valid"}, {"identity_single_tenant", skip, "identity_valid"},
			{"identity_federated", skip, "identity_valid"}, {"identity_owners", skip, "identity_valid"}, {"identity_app_management_policy", skip, "identity_valid"}, {"identity_directory_roles", skip, "identity_valid"}}},
		{"a federated credential", func(w *tenant) {
			w.graph("POST", w.app()+"/federatedIdentityCredentials", map[string]any{"name": "evil", "issuer": "https://token.example", "subject": "repo:evil", "audiences": []string{agent.TokenExchange}}, nil)
		}, "", []want{{"identity_federated", fail, "repo:evil"}}},
		{"another owner", func(w *tenant) { w.graph("POST", w.app()+"/owners/$ref", w.refer(w.user("nobody")), nil) }, "", []want{{"identity_owners", fail, "owns the application"}}},
		{"another owner of the service principal", func(w *tenant) {
			w.graph("POST", "servicePrincipals/"+w.who+"/owners/$ref", w.refer(w.user("nobody")), nil)
		}, "", []want{{"identity_owners", fail, "owns the service principal"}}},
		{"open to other tenants, with a redirect and the implicit grant", func(w *tenant) {
			w.graph("PATCH", w.app(), map[string]any{"signInAudience": "AzureADMultipleOrgs", "web": map[string]any{"redirectUris": []string{"https://evil.example/x"}, "implicitGrantSettings": map[string]any{"enableIdTokenIssuance": true}}}, nil)
		}, "", []want{{"identity_single_tenant", fail, "its audience is AzureADMultipleOrgs; it redirects to https://evil.example/x; the implicit grant is on"}}},
		{"a public client", func(w *tenant) { w.graph("PATCH", w.app(), map[string]any{"isFallbackPublicClient": true}, nil) }, "", []want{{"identity_single_tenant", fail, "public client"}}},
		{"a consent for everybody", func(w *tenant) { w.consent(map[string]any{"consentType": "AllPrincipals", "scope": "User.Read"}) }, "", []want{{"identity_delegated_permissions", fail, "User.Read of"}}},
		{"a consent of one person", func(w *tenant) {
			w.consent(map[string]any{"consentType": "Principal", "principalId": w.user("nobody"), "scope": "User.Read"})
		}, "", []want{{"identity_delegated_permissions", warn, "in the name of person"}}},
		{"another application of the name", func(w *tenant) { w.graph("POST", "applications", map[string]any{"displayName": bot}, nil) }, "", []want{{"identity_namesakes", warn, "0 certificates"}}},
		{"a policy", func(w *tenant) {
			w.graph("PATCH", "policies/defaultAppManagementPolicy", map[string]any{"isEnabled": true, "applicationRestrictions": map[string]any{
				"passwordCredentials": []any{map[string]any{"restrictionType": "passwordAddition", "state": "enabled"}},
				"keyCredentials":      []any{map[string]any{"restrictionType": "asymmetricKeyLifetime", "state": "enabled", "maxLifetime": "P400D"}}}}, nil)
		}, "", []want{{"identity_app_management_policy", pass, "400 days"}}},
		{"a policy of the application's own, which caps nothing", func(w *tenant) {
			w.graph("PATCH", "policies/defaultAppManagementPolicy", map[string]any{"isEnabled": true, "applicationRestrictions": map[string]any{
				"passwordCredentials": []any{map[string]any{"restrictionType": "passwordAddition", "state": "enabled"}}}}, nil)
			var made struct {
				ID string `json:"id"`
			}
			w.graph("POST", "policies/appManagementPolicies", map[string]any{"displayName": "lenient", "isEnabled": true}, &made)
			w.graph("POST", w.app()+"/appManagementPolicies/$ref", map[string]any{"@odata.id": w.view.Graph + "/v1.0/policies/appManagementPolicies/" + made.ID}, nil)
		}, "", []want{{"identity_app_management_policy", warn, "passwords may be added; certificates may live for ever"}}},
		{"a directory role", func(w *tenant) {
			w.graph("POST", "directoryRoles(roleTemplateId='"+reader+"')/members/$ref", w.refer(w.who), nil)
		}, "", []want{{"identity_directory_roles", fail, "Global Reader"}, {"identity_scoped_directory_roles", fail, reader}}},
		{"a directory role by a group", func(w *tenant) {
			var g struct {
				ID string `json:"id"`
			}
			w.graph("POST", "groups", map[string]any{"displayName": "Readers", "mailEnabled": false, "mailNickname": "readers", "securityEnabled": true, "isAssignableToRole": true,
				"members@odata.bind": []string{w.view.Graph + "/v1.0/directoryObjects/" + w.who}}, &g)
			w.graph("POST", "directoryRoles(roleTemplateId='"+reader+"')/members/$ref", w.refer(g.ID), nil)
		}, "", []want{{"identity_directory_roles", fail, "Global Reader"}, {"identity_scoped_directory_roles", pass, ""}}},
		{"a group without a role", func(w *tenant) { w.people("Bot people") }, "", []want{{"identity_directory_roles", pass, "Bot people"}}},
		{"an application permission", func(w *tenant) { w.permit("Application.Read.All") }, "", []want{{"identity_graph_permissions", fail, "Application.Read.All of Microsoft Graph"}}},
		{"the environment file was changed", func(w *tenant) {
			path := filepath.Join(w.dir, ".env")
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, []byte(strings.ReplaceAll(string(b), w.record().AppID, uuid.NewString())), 0o600)
			}
			if err != nil {
				w.Fatal(err)
			}
		}, "", []want{{"identity_configured", fail, "AZURE_CLIENT_ID"}}},
		{"the cloud's clock is ten minutes ahead", func(w *tenant) {
			k := w.cloud.Knobs()
			k.ClockOffset = 10 * time.Minute
			if err := w.cloud.SetKnobs(k); err != nil {
				w.Fatal(err)
			}
		}, "", []want{{"clock", fail, "ahead of this machine"}}},
		{"somebody without rights looks", nil, "local:nobody", []want{
			{"azure_logged_in", pass, "nobody"}, {"identity_app_management_policy", unknown, "read the tenant's app management policy"}, {"identity_valid", pass, ""}, {"identity_no_password", pass, ""}, {"identity_owners", warn, ""}, {"identity_login", pass, ""}}},
		{"nobody looks", nil, "none", []want{
			{"azure_logged_in", fail, ""}, {"identity_valid", skip, "azure_logged_in"}, {"identity_no_password", skip, "azure_logged_in"}, {"identity_graph_permissions", skip, "azure_logged_in"}, {"identity_login", pass, ""}, {"identity_configured", pass, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := provisioned(t)
			if c.change != nil {
				c.change(w)
			}
			all := w.preflight(cmp.Or(c.operator, "local:admin"))
			for _, e := range c.want {
				w.said(all, e.id, e.outcome, e.detail)
			}
			if f := all["identity_app_management_policy"]; f.Outcome == unknown && !strings.Contains(f.Remedy, "Policy.Read.All") {
				t.Errorf("it does not name the right that is missing: %q", f.Remedy)
			}
		})
	}
}

// Everything that was asked is in the evidence, with its time and digest, and no secret is.
func TestEvidenceOfARun(t *testing.T) {
	w := provisioned(t)
	all := w.preflight("local:admin")
	var requests, digests, tokens int
	for _, f := range all {
		for _, e := range f.Evidence {
			if !strings.HasPrefix(e.Asked, "GET https://") && !strings.HasPrefix(e.Asked, "POST https://") {
				continue
			}
			requests++
			if e.At.IsZero() || e.Took <= 0 || e.Status == 0 {
				t.Errorf("%s: %+v", f.ID, e)
			}
			if e.Digest != "" {
				digests++
			}
			if strings.Contains(e.Answer, "eyJ") || strings.Contains(e.Asked, "eyJ") {
				t.Errorf("%s: a token is in %+v", f.ID, e)
			}
			if strings.Contains(e.Asked, "/oauth2/") {
				tokens++
				if e.Digest != "" || e.Status == http.StatusOK && !strings.Contains(e.Answer, "(redacted)") {
					t.Errorf("%s: %+v", f.ID, e)
				}
			}
		}
	}
	if requests < 15 || digests < 15 || tokens < 1 {
		t.Errorf("%d requests, %d digests, %d tokens are in the evidence", requests, digests, tokens)
	}
}

// A managed identity has no owners in the directory: roles on its resource, and the resources that have it, say who can be it.
func TestWhoMayTakeAManagedIdentityOnTheLocalCloud(t *testing.T) {
	const operator = "f1a07417-d97a-45cb-824c-7a7467783830" // Managed Identity Operator
	w := provisionedAs(t, agent.ManagedIdentity)
	all := w.preflight("local:admin")
	w.said(all, "identity_configured", finding.Pass, "managed-identity")
	w.said(all, "identity_takeover", finding.Warn, "on subscription")
	w.said(all, "identity_attached", finding.Pass, "nowhere")
	w.said(all, "identity_owners", finding.Skip, "identity_takeover")
	w.said(all, "rbac_elsewhere", finding.Pass, "")

	rec := w.record()
	w.assign(operator, rec.ResourceID, w.user("nobody"), "User")
	w.arm("PUT", w.group+"/providers/Microsoft.App/containerApps/strange?api-version=2024-03-01", map[string]any{"location": "eastus",
		"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{rec.ResourceID: map[string]any{}}}, "properties": map[string]any{}})
	all = w.preflight("local:admin")
	w.said(all, "identity_takeover", finding.Fail, "Managed Identity Operator on userAssignedIdentities")
	w.said(all, "identity_attached", finding.Warn, "containerApps strange")

	// The spec is changed behind the identity's back.
	w.spec.Agents[bot].Kind = agent.ServicePrincipal
	w.said(w.preflight("local:admin"), "identity_configured", finding.Fail, "the spec says service-principal")
}
