package preflight_test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

const (
	bot           = "polyclaw-runtime"
	authorization = "/providers/Microsoft.Authorization/"
	armVersion    = "?api-version=2022-04-01"
	readerRole    = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	ownerRole     = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
)

var signing = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// tenant is a calm local cloud with a provisioned agent, and the administrator's hands in it.
type tenant struct {
	*testing.T
	cloud *localcloud.Cloud
	dir   string
	spec  agent.Spec
	keys  *memory.Store
	view  *cloudview.Cloud
	sub   string // scope of the subscription
	group string
	who   string // the identity's object id
}

func provisioned(t *testing.T) *tenant {
	t.Helper()
	return provisionedAs(t, agent.ServicePrincipal)
}

func provisionedAs(t *testing.T, kind agent.Kind) *tenant {
	t.Helper()
	key, err := signing()
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
	w := &tenant{T: t, cloud: cloud, dir: t.TempDir(), keys: memory.New(), spec: app.LocalSpec(cloud.Domain(), cloud.SubscriptionID()), sub: "/subscriptions/" + cloud.SubscriptionID()}
	w.group = w.spec.Group()
	w.spec.Agents[bot].Kind = kind
	i := slices.IndexFunc(cloud.Operators(), func(o localcloud.Operator) bool { return o.Name == "admin" })
	o, e := cloud.Operators()[i], cloud.Endpoints()
	w.view = &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(),
		User: o.UPN, Password: o.Password.Reveal(), HTTP: &http.Client{Transport: cloud.Transport()}}
	d := w.door("local:admin")
	if _, err := d.Apply(t.Context(), api.ApplyRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	records, err := d.State(t.Context())
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	w.who = records[0].PrincipalID
	return w
}

func (w *tenant) door(operator string) *control.Door {
	w.Helper()
	a := &app.App{Getenv: func(string) string { return "" }, Hooks: app.Hooks{Keys: func(provision.Keystore) provision.Keystore { return w.keys }}}
	d, err := a.InProcess(w.Context(), w.cloud, w.dir, w.spec, operator)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := d.Close(); err != nil {
			w.Error(err)
		}
	})
	return d
}

// preflight runs every check, and gives the findings by id.
func (w *tenant) preflight(operator string) map[string]finding.Finding {
	w.Helper()
	rep, err := w.door(operator).Preflight(w.Context(), api.PreflightRequest{}, nil)
	if err != nil {
		w.Fatal(err)
	}
	all := map[string]finding.Finding{}
	for _, f := range rep.Findings {
		all[f.ID] = f
	}
	return all
}

// arm sends a request to Azure Resource Manager as the administrator.
func (w *tenant) arm(method, path string, body any) []byte {
	w.Helper()
	token, err := w.view.AzureToken(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			w.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(w.Context(), method, w.view.ARM+path, in)
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := w.view.HTTP.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := cmp.Or(err, resp.Body.Close()); err != nil || resp.StatusCode >= 300 {
		w.Fatalf("%s %s: %d %s, %v", method, path, resp.StatusCode, b, err)
	}
	return b
}

// assign gives a role to somebody, behind the product's back.
func (w *tenant) assign(role, scope, to, kind string) {
	w.Helper()
	w.arm("PUT", strings.TrimSuffix(scope, "/")+authorization+"roleAssignments/"+uuid.NewString()+armVersion, map[string]any{"properties": map[string]any{
		"roleDefinitionId": w.sub + authorization + "roleDefinitions/" + role, "principalId": to, "principalType": kind}})
}

// custom makes a role.
func (w *tenant) custom(name string, actions ...string) (id string) {
	w.Helper()
	id = uuid.NewString()
	w.arm("PUT", w.sub+authorization+"roleDefinitions/"+id+armVersion, map[string]any{"properties": map[string]any{
		"roleName": name, "type": "CustomRole", "assignableScopes": []string{w.sub}, "permissions": []any{map[string]any{"actions": actions}}}})
	return id
}

// people makes a group of the directory with the identity in it.
func (w *tenant) people(name string) (id string) {
	w.Helper()
	var made struct {
		ID string `json:"id"`
	}
	if _, err := w.view.Call(w.Context(), "POST", "/v1.0/groups", map[string]any{"displayName": name, "mailEnabled": false, "mailNickname": "people", "securityEnabled": true}, &made); err != nil {
		w.Fatal(err)
	}
	if _, err := w.view.Call(w.Context(), "POST", "/v1.0/groups/"+made.ID+"/members/$ref", map[string]any{"@odata.id": w.view.Graph + "/v1.0/directoryObjects/" + w.who}, nil); err != nil {
		w.Fatal(err)
	}
	return made.ID
}

// said checks an outcome and a part of the detail.
func (w *tenant) said(all map[string]finding.Finding, id string, outcome finding.Outcome, detail string) {
	w.Helper()
	f, ok := all[id]
	if !ok || f.Outcome != outcome || !strings.Contains(f.Detail, detail) {
		w.Errorf("%s: %s: %s (want %s: %s)", id, f.Outcome, f.Detail, outcome, detail)
	}
	if len(f.Evidence) == 0 && outcome != finding.Skip {
		w.Errorf("%s has no evidence", id)
	}
}

func TestRolesOnTheLocalCloud(t *testing.T) {
	const pass, fail, warn, skip = finding.Pass, finding.Fail, finding.Warn, finding.Skip
	type want struct {
		id      string
		outcome finding.Outcome
		detail  string
	}
	for _, c := range []struct {
		name     string
		change   func(*tenant)
		operator string // "" is the administrator
		want     []want
	}{
		{"an identity as provisioned", nil, "", []want{
			{"rbac_assignments_list", pass, "5 role assignments"}, {"rbac_bot_contributor", pass, ""}, {"rbac_reader", pass, ""}, {"rbac_kv_access", pass, ""}, {"rbac_session_pool", pass, ""},
			{"rbac_content_safety", pass, ""}, {"rbac_aoai_user", skip, ""}, {"rbac_required_roles", skip, ""}, {"rbac_no_elevated", pass, ""}, {"rbac_reads_secrets", warn, "listkeys"},
			{"rbac_scope_contained", pass, ""}, {"rbac_unplanned", pass, ""}, {"rbac_stale", pass, ""}, {"rbac_subscription", pass, ""}, {"rbac_vault_mode", pass, ""}, {"rbac_elsewhere", pass, "subscriptions"},
			{"rbac_effective_group", pass, "no way to more rights"}, {"rbac_effective_resources", pass, ""}, {"rbac_probe_delete", pass, "userAssignedIdentities: 403 AuthorizationFailed; DELETE of a Microsoft.KeyVault/vaults: 403"},
		}},
		{"a custom role with * under a harmless name", func(w *tenant) {
			w.assign(w.custom("Harmless reader", "*"), w.group, w.who, "ServicePrincipal")
		}, "", []want{
			{"rbac_no_elevated", fail, "Harmless reader on group polyclaw-rg"}, {"rbac_unplanned", fail, ""}, {"rbac_scope_contained", pass, ""}, {"rbac_subscription", pass, ""},
			{"rbac_effective_group", fail, "actions include *"}, {"rbac_effective_resources", fail, ""}, {"rbac_probe_delete", fail, "was answered 204"}, {"rbac_reader", pass, ""},
		}},
		{"Owner of the group by a group of people", func(w *tenant) { w.assign(ownerRole, w.group, w.people("Bot people"), "Group") }, "", []want{
			{"rbac_assignments_list", pass, "through group Bot people ("}, {"rbac_no_elevated", fail, "through group Bot people ("}, {"rbac_unplanned", fail, ""}, {"rbac_effective_group", fail, ""}, {"rbac_probe_delete", fail, ""},
		}},
		{"Reader of the subscription, and not of the group", func(w *tenant) {
			w.take(readerRole)
			w.assign(readerRole, w.sub, w.who, "ServicePrincipal")
		}, "", []want{
			{"rbac_reader", pass, "inherited from subscription"}, {"rbac_scope_contained", fail, "Reader on subscription"}, {"rbac_unplanned", fail, ""}, {"rbac_subscription", pass, "Reader on subscription"},
			{"rbac_no_elevated", pass, ""}, {"rbac_effective_group", pass, ""}, {"rbac_probe_delete", pass, ""},
		}},
		{"Owner of a management group above", func(w *tenant) {
			w.arm("PUT", "/providers/Microsoft.Management/managementGroups/platform?api-version=2023-04-01", map[string]any{"properties": map[string]any{"displayName": "Platform"}})
			w.arm("PUT", "/providers/Microsoft.Management/managementGroups/platform"+w.sub+"?api-version=2023-04-01", nil)
			w.assign(ownerRole, "/providers/Microsoft.Management/managementGroups/platform", w.who, "ServicePrincipal")
		}, "", []want{
			{"rbac_no_elevated", fail, "management group platform"}, {"rbac_subscription", fail, "management group platform"}, {"rbac_scope_contained", fail, "management group platform"},
			{"rbac_effective_group", fail, ""}, {"rbac_probe_delete", fail, ""},
		}},
		{"Owner of a management group beside the subscription's", func(w *tenant) {
			w.arm("PUT", "/providers/Microsoft.Management/managementGroups/sibling?api-version=2023-04-01", map[string]any{"properties": map[string]any{"displayName": "Sibling"}})
			w.assign(ownerRole, "/providers/Microsoft.Management/managementGroups/sibling", w.who, "ServicePrincipal")
		}, "", []want{
			{"rbac_elsewhere", fail, "Owner on management group sibling"}, {"rbac_no_elevated", pass, "rbac_elsewhere"}, {"rbac_subscription", pass, "rbac_elsewhere"}, {"rbac_effective_group", pass, ""},
		}},
		{"a role was taken away", func(w *tenant) { w.take(readerRole) }, "", []want{{"rbac_reader", fail, "missing on group polyclaw-rg"}, {"rbac_bot_contributor", pass, ""}}},
		{"the vault was switched to access policies", func(w *tenant) {
			w.arm("PATCH", w.spec.VaultID(w.spec.Agents[bot])+"?api-version=2024-11-01", map[string]any{"properties": map[string]any{"enableRbacAuthorization": false}})
		}, "", []want{{"rbac_vault_mode", fail, "access policies"}}},
		{"the group is locked and the identity is its owner", func(w *tenant) {
			w.assign(ownerRole, w.group, w.who, "ServicePrincipal")
			w.arm("PUT", w.group+authorization+"locks/keep?api-version=2020-05-01", map[string]any{"properties": map[string]any{"level": "CanNotDelete"}})
		}, "", []want{{"rbac_probe_delete", finding.Unknown, "ScopeLocked"}, {"rbac_effective_group", fail, ""}}},
		{"somebody without rights looks", nil, "local:nobody", []want{
			{"rbac_assignments_list", finding.Unknown, "you may not"}, {"rbac_no_elevated", skip, "rbac_assignments_list"}, {"rbac_reader", skip, ""}, {"rbac_vault_mode", finding.Unknown, ""},
			{"rbac_effective_group", pass, ""}, {"rbac_probe_delete", pass, ""},
		}},
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
		})
	}
}

// take removes the identity's own assignment of a role, behind the product's back.
func (w *tenant) take(role string) {
	w.Helper()
	var list struct {
		Value []struct {
			ID         string `json:"id"`
			Properties struct {
				RoleDefinitionID string `json:"roleDefinitionId"`
				PrincipalID      string `json:"principalId"`
			} `json:"properties"`
		} `json:"value"`
	}
	if err := json.Unmarshal(w.arm("GET", w.group+authorization+"roleAssignments"+armVersion, nil), &list); err != nil {
		w.Fatal(err)
	}
	for _, a := range list.Value {
		if strings.HasSuffix(a.Properties.RoleDefinitionID, role) && a.Properties.PrincipalID == w.who {
			w.arm("DELETE", a.ID+armVersion, nil)
			return
		}
	}
	w.Fatalf("the identity has no role %s", role)
}

// An agent that owns the subscription could delete everything in it. The probes find that out, and nothing is lost or made.
func TestTheProbesOfAnOwnerLoseNothing(t *testing.T) {
	w := provisioned(t)
	w.assign(ownerRole, w.sub, w.who, "ServicePrincipal")
	before, since := w.inventory(), len(w.cloud.Requests())
	all := w.preflight("local:admin")
	for _, id := range []string{"rbac_no_elevated", "rbac_subscription", "rbac_scope_contained", "rbac_unplanned", "rbac_effective_group", "rbac_effective_resources"} {
		w.said(all, id, finding.Fail, "")
	}
	w.said(all, "rbac_probe_delete", finding.Fail, "was answered 204")

	var deletes int
	harmless := regexp.MustCompile(`^` + regexp.QuoteMeta(w.group) + `/providers/(Microsoft\.ManagedIdentity/userAssignedIdentities/leastkey-probe-[a-z2-7]{26}|Microsoft\.KeyVault/vaults/lk[a-z2-7]{22})\?`)
	for _, r := range w.cloud.Requests()[since:] {
		switch {
		case r.Method == "GET", r.Plane == "login" && r.Method == "POST":
		case r.Method == "POST" && strings.HasPrefix(r.URL, "/providers/Microsoft.ResourceGraph/resources?"): // a question
		case r.Method == "DELETE" && r.Object == w.who && harmless.MatchString(r.URL) && r.Status == http.StatusNoContent:
			deletes++
		default:
			t.Errorf("%s %s %s as %s: %d", r.Plane, r.Method, r.URL, r.Object, r.Status)
		}
	}
	if deletes != 2 {
		t.Errorf("%d requests to delete, want 2", deletes)
	}
	for i, after := range w.inventory() {
		if after != before[i] {
			t.Errorf("there was\n%s\nthere is\n%s", before[i], after)
		}
	}
}

// inventory is everything that the administrator can list.
func (w *tenant) inventory() (all []string) {
	w.Helper()
	for _, path := range []string{
		w.sub + "/resources?api-version=2021-04-01", w.sub + "/resourcegroups?api-version=2021-04-01", w.sub + "/providers/Microsoft.KeyVault/deletedVaults?api-version=2024-11-01",
		w.sub + "/providers/Microsoft.KeyVault/vaults?api-version=2024-11-01", w.sub + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2023-01-31",
		w.sub + authorization + "roleAssignments" + armVersion, w.sub + authorization + "roleDefinitions" + armVersion + "&$filter=type%20eq%20%27CustomRole%27",
	} {
		all = append(all, string(w.arm("GET", path, nil)))
	}
	for _, path := range []string{"/v1.0/applications", "/v1.0/servicePrincipals", "/v1.0/groups", "/v1.0/directory/deletedItems/microsoft.graph.application"} {
		var got json.RawMessage
		if _, err := w.view.Call(w.Context(), "GET", path, nil, &got); err != nil {
			w.Fatal(err)
		}
		all = append(all, string(got))
	}
	return all
}
