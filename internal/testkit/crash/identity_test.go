//go:build unix

package crash

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const (
	reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	shared = `cloud: local
tenant: contoso.onmicrosoft.com
subscription: 1ea57ce1-0000-4000-8000-000000000002
agents:
  polyclaw-runtime:
    roles: [{role: Reader, scope: /subscriptions/1ea57ce1-0000-4000-8000-000000000002/resourceGroups/polyclaw-rg}]
    federated:
    - {issuer: https://oidc.example/cluster/, subject: "system:serviceaccount:bots:a"}
`
	managedSpec   = shared + "    kind: managed-identity\n"
	federatedSpec = shared + "    - {issuer: https://oidc.example/cluster/, subject: \"system:serviceaccount:bots:b\"}\n"
)

type federatedList struct {
	Value []struct{ Name string }
}

// identities are the ARM ids of all managed identities.
func (w *world) identities() []string {
	var all struct{ Value []struct{ ID string } }
	if _, err := w.view.Call(w.Context(), http.MethodGet, "/subscriptions/"+w.cloud.SubscriptionID()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2023-01-31", nil, &all); err != nil {
		w.Fatal(err)
	}
	var ids []string
	for _, i := range all.Value {
		ids = append(ids, i.ID)
	}
	return ids
}

// withoutKey checks an identity that logs in without a key of ours: it is there once, with the federated credentials that are recorded as
// ours, its one role and nothing else.
func (w *world) withoutKey() {
	st := w.state()
	path, version := "/v1.0/applications/"+st.ApplicationID, ""
	if st.ResourceID != "" {
		path, version = st.ResourceID, "?api-version=2023-01-31"
		if ids := w.identities(); len(ids) != 1 || ids[0] != st.ResourceID {
			w.Errorf("managed identities %v, recorded is %s", ids, st.ResourceID)
		}
	} else if n, err := w.view.Named(w.Context(), bot); err != nil || len(n.Apps) != 1 || len(n.Apps[0].Certificates)+len(n.Apps[0].Passwords) > 0 || len(n.Principals) != 1 {
		w.Errorf("%+v: %v", n, err)
	}
	var found federatedList
	if _, err := w.view.Call(w.Context(), http.MethodGet, path+"/federatedIdentityCredentials"+version, nil, &found); err != nil {
		w.Fatal(err)
	}
	want := 2
	if st.ResourceID != "" {
		want = 1
	}
	if len(found.Value) != want || len(st.Federated) != want {
		w.Errorf("federated credentials %+v, recorded %v, want %d", found.Value, st.Federated, want)
	}
	if held, err := w.view.Assignments(w.Context(), st.PrincipalID); err != nil || len(held) != 1 || !strings.EqualFold(held[0].RoleID, reader) || len(st.Assignments) != 1 {
		w.Errorf("assignments %+v, recorded %v: %v", held, st.Assignments, err)
	}
	if out, code := w.child([]string{"plan", "--exit-code"}); code != 0 {
		w.Errorf("plan: exit %d, want nothing to do\n%s", code, out)
	}
	if env, err := os.ReadFile(filepath.Join(w.home, ".env")); err != nil || !strings.Contains(string(env), st.AppID) {
		w.Errorf("the environment file does not name the identity: %v", err)
	}
	if keys := w.keyFiles(); len(keys) > 0 {
		w.Errorf("the keystore holds %v", keys)
	}
}

// withoutIdentity checks that nothing of a managed identity is left.
func (w *world) withoutIdentity() {
	if ids := w.identities(); len(ids) > 0 {
		w.Errorf("managed identities are left: %v", ids)
	}
	if held, err := w.view.Assignments(w.Context(), w.principal()); err != nil || len(held) > 0 {
		w.Errorf("assignments are left: %+v, %v", held, err)
	}
	if st := w.state(); st.ResourceID != "" || len(st.Federated) > 0 {
		w.Errorf("the record still has %+v", st)
	}
	if env, err := os.ReadFile(filepath.Join(w.home, ".env")); err == nil && strings.Contains(string(env), "ACA_MI") {
		w.Error("the environment file still names the identity")
	}
}
