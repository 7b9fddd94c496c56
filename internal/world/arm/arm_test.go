package arm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const (
	base         = "https://arm.leastkey.test"
	subscription = "00000000-0000-4000-8000-0000000000aa"
	group        = "/subscriptions/" + subscription + "/resourceGroups/polyclaw-rg"
	vault        = group + "/providers/Microsoft.KeyVault/vaults/kv-polyclaw"
	principal    = "11111111-0000-4000-8000-000000000001"
	other        = "22222222-0000-4000-8000-000000000002"
	name         = "33333333-0000-4000-8000-000000000003"
	reader       = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	bearer       = "CANARY-token"
)

// manager answers each request with the next reply and remembers what it was asked.
type manager struct {
	t       *testing.T
	replies []reply
	asked   []asked
}

type reply struct {
	status int
	body   string
	header http.Header
	err    error
}

type asked struct{ line, body string }

func (m *manager) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a := asked{line: r.Method + " " + r.URL.String()}
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		a.body = string(b)
	}
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		m.t.Errorf("%s carries no token", a.line)
	}
	m.asked = append(m.asked, a)
	if len(m.replies) == 0 {
		m.t.Errorf("unexpected %s", a.line)
		return nil, errors.New("unexpected")
	}
	out := m.replies[0]
	m.replies = m.replies[1:]
	if out.err != nil {
		return nil, out.err
	}
	if out.header == nil {
		out.header = http.Header{"Content-Type": {"application/json"}}
	}
	return &http.Response{StatusCode: out.status, Header: out.header, Body: io.NopCloser(strings.NewReader(out.body)), Request: r}, nil
}

func (m *manager) expect(t *testing.T, lines ...string) {
	t.Helper()
	for i, want := range lines {
		if i < len(m.asked) && m.asked[i].line != want {
			t.Errorf("request %d:\n got %s\nwant %s", i+1, m.asked[i].line, want)
		}
	}
	if len(m.asked) != len(lines) {
		t.Errorf("%d requests, want %d", len(m.asked), len(lines))
	}
}

type fixed struct{ err error }

func (f fixed) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://management.test/.default" {
		return azcore.AccessToken{}, errors.New("wrong scope")
	}
	return azcore.AccessToken{Token: bearer, ExpiresOn: time.Now().Add(time.Hour)}, f.err
}

func serve(t *testing.T, replies ...reply) (*Client, *manager) {
	t.Helper()
	m := &manager{t: t, replies: replies}
	c, err := New(Config{Endpoint: base + "/", Audience: "https://management.test", Credential: fixed{}, HTTP: m})
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

func ok(body string) reply { return reply{status: 200, body: body} }
func problem(status int, code, message string) reply {
	b, _ := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": message}})
	return reply{status: status, body: string(b)}
}

func TestWhatExists(t *testing.T) {
	const pool = group + "/providers/Microsoft.App/sessionPools/pool"
	const safety = group + "/providers/Microsoft.CognitiveServices/accounts/safety"
	missing := problem(404, "ResourceNotFound", "The Resource 'x' under resource group 'polyclaw-rg' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix")
	client, m := serve(t,
		ok(`{"id":"x","name":"polyclaw-rg"}`), problem(404, "ResourceGroupNotFound", "Resource group 'polyclaw-rg' could not be found."),
		ok(`{"id":"x"}`), missing, ok(`{"id":"x"}`), missing)
	for i, want := range []bool{true, false} {
		if got, err := client.GroupExists(t.Context(), subscription, "polyclaw-rg"); got != want || err != nil {
			t.Errorf("group %d: %v, %v", i, got, err)
		}
	}
	for _, id := range []string{pool, safety} {
		for i, want := range []bool{true, false} {
			if got, err := client.Exists(t.Context(), id); got != want || err != nil {
				t.Errorf("%s %d: %v, %v", id, i, got, err)
			}
		}
	}
	rg := "GET " + base + "/subscriptions/" + subscription + "/resourcegroups/polyclaw-rg?api-version=2025-04-01"
	at := func(id, version string) string { return "GET " + base + id + "?api-version=" + version }
	m.expect(t, rg, rg, at(pool, "2024-10-02-preview"), at(pool, "2024-10-02-preview"), at(safety, "2023-05-01"), at(safety, "2023-05-01"))
}

func TestAbsenceIsOnlyWhatARMSaysOfTheThing(t *testing.T) {
	for name, c := range map[string]struct {
		reply reply
		code  fault.Code
	}{
		"a missing subscription":  {problem(404, "SubscriptionNotFound", "The subscription 'x' could not be found."), fault.NotFound},
		"an unknown type":         {problem(404, "InvalidResourceType", "The resource type could not be found."), fault.NotFound},
		"a stranger's 404":        {reply{status: 404, body: "<html>"}, fault.Unknown},
		"a refusal":               {problem(403, "AuthorizationFailed", "no"), fault.Forbidden},
		"an outage":               {reply{status: 502, body: ""}, fault.Unavailable},
		"a page that is not JSON": {ok("<html>"), fault.Unknown},
		"a redirect":              {reply{status: 302, header: http.Header{"Location": {"https://evil.test/"}}}, fault.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := serve(t, c.reply, c.reply, c.reply)
			if got, err := client.GroupExists(t.Context(), subscription, "polyclaw-rg"); got || !fault.Is(err, c.code) {
				t.Errorf("group: %v, %v", got, err)
			}
			if got, err := client.Vault(t.Context(), vault); got != nil || !fault.Is(err, c.code) {
				t.Errorf("vault: %v, %v", got, err)
			}
			if got, err := client.Exists(t.Context(), vault); got || !fault.Is(err, c.code) {
				t.Errorf("resource: %v, %v", got, err)
			}
		})
	}
}

func TestVault(t *testing.T) {
	body := func(properties string) reply { return ok(`{"id":"` + vault + `","properties":` + properties + `}`) }
	client, m := serve(t,
		body(`{"enableRbacAuthorization":true,"vaultUri":"https://kv-polyclaw.vault.azure.net/","tenantId":"x","sku":{"family":"A","name":"standard"}}`),
		body(`{"vaultUri":"https://kv-polyclaw.vault.azure.net/"}`),
		problem(404, "ResourceNotFound", "not found"), ok(`{}`))
	v, err := client.Vault(t.Context(), vault)
	if err != nil || *v != (agent.Vault{ID: vault, RBAC: true, URI: "https://kv-polyclaw.vault.azure.net/"}) {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err = client.Vault(t.Context(), vault); err != nil || v.RBAC {
		t.Errorf("a vault with access policies: %+v, %v", v, err)
	}
	if v, err = client.Vault(t.Context(), vault); err != nil || v != nil {
		t.Errorf("no vault: %+v, %v", v, err)
	}
	if v, err = client.Vault(t.Context(), vault); !fault.Is(err, fault.Unknown) || v != nil {
		t.Errorf("an empty answer: %+v, %v", v, err)
	}
	line := "GET " + base + vault + "?api-version=2024-11-01"
	m.expect(t, line, line, line, line)
	if _, err := client.Vault(t.Context(), group); !fault.Is(err, fault.Invalid) {
		t.Errorf("a group is no vault: %v", err)
	}
}

func TestSubscription(t *testing.T) {
	client, m := serve(t, ok(`{"id":"/subscriptions/x","subscriptionId":"`+subscription+`","tenantId":"`+strings.ToUpper(other)+`","displayName":"Pay-As-You-Go"}`))
	tenant, display, err := client.Subscription(t.Context(), subscription)
	if err != nil || tenant != other || display != "Pay-As-You-Go" {
		t.Errorf("%q, %q, %v", tenant, display, err)
	}
	m.expect(t, "GET "+base+"/subscriptions/"+subscription+"?api-version=2022-12-01")
}

func assignmentJSON(scope, who, roleID string) string {
	return `{"id":"` + scope + `/providers/Microsoft.Authorization/roleAssignments/` + name + `","name":"` + name + `","type":"Microsoft.Authorization/roleAssignments","properties":{"roleDefinitionId":"/subscriptions/` + subscription + `/providers/Microsoft.Authorization/roleDefinitions/` + strings.ToUpper(roleID) + `","principalId":"` + who + `","principalType":"ServicePrincipal","scope":"` + scope + `","condition":null,"createdOn":"2026-05-06T23:11:54.6014390Z"}}`
}

func TestAssignmentsAreAllRead(t *testing.T) {
	next := base + "/next?$skiptoken=a%20b"
	client, m := serve(t, ok(`{"value":[`+assignmentJSON(group, principal, reader)+`],"nextLink":"`+next+`"}`), ok(`{"value":[`+assignmentJSON(vault, other, reader)+`]}`))
	found, err := client.Assignments(t.Context(), group, principal)
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	if want := (agent.Assignment{ID: group + "/providers/Microsoft.Authorization/roleAssignments/" + name, Name: name, RoleID: reader, Scope: group, PrincipalID: principal}); found[0] != want {
		t.Errorf("%+v", found[0])
	}
	m.expect(t, "GET "+base+group+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter=assignedTo%28%27"+principal+"%27%29", "GET "+base+"/next?%24skiptoken=a+b")
}

// The SDK writes the filter as it is. A server over HTTP/1.1 must get a request line that it can read.
func TestTheFilterSurvivesHTTP1(t *testing.T) {
	var filter string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		filter = r.URL.Query().Get("$filter")
		_, _ = io.WriteString(w, `{"value":[]}`)
	}))
	defer server.Close()
	c, err := New(Config{Endpoint: server.URL, Audience: "https://management.test", Credential: fixed{}, HTTP: server.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Assignments(t.Context(), group, principal); err != nil || filter != "assignedTo('"+principal+"')" {
		t.Errorf("filter %q, %v", filter, err)
	}
}

func TestAListThatHidesSomethingIsNoList(t *testing.T) {
	for name, value := range map[string]string{
		"null":          `null`,
		"no properties": `{"id":"x","name":"` + name + `"}`,
		"no role":       assignmentJSON(group, principal, "x"),
		"no principal":  assignmentJSON(group, "", reader),
	} {
		client, _ := serve(t, ok(`{"value":[`+assignmentJSON(group, principal, reader)+`,`+value+`]}`))
		if found, err := client.Assignments(t.Context(), group, principal); !fault.Is(err, fault.Unknown) || found != nil {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
	client, m := serve(t, ok(`{"value":[],"nextLink":"https://evil.test/x"}`))
	if _, err := client.Assignments(t.Context(), group, principal); !fault.Is(err, fault.Refused) || len(m.asked) != 1 {
		t.Errorf("a page elsewhere: %v", err)
	}
}

func TestAssignmentForWantsTheExactTriple(t *testing.T) {
	g := role.Grant{Role: "Reader", RoleID: reader, Scope: group}
	list := func(items ...string) reply { return ok(`{"value":[` + strings.Join(items, ",") + `]}`) }
	for name, c := range map[string]struct {
		reply reply
		found bool
	}{
		"there":                     {list(assignmentJSON(vault, principal, reader), assignmentJSON(group, principal, reader)), true},
		"there in another case":     {list(assignmentJSON(strings.Replace(group, "resourceGroups", "resourcegroups", 1), strings.ToUpper(principal), reader)), true},
		"at a wider scope":          {list(assignmentJSON("/subscriptions/"+subscription, principal, reader)), false},
		"through a group of people": {list(assignmentJSON(group, other, reader)), false},
		"another role":              {list(assignmentJSON(group, principal, other)), false},
		"nothing":                   {list(), false},
	} {
		client, _ := serve(t, c.reply)
		a, err := client.AssignmentFor(t.Context(), g, principal)
		if err != nil || (a != nil) != c.found || (a != nil && a.Role != "Reader") {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

func TestAssign(t *testing.T) {
	g := role.Grant{Role: "Reader", RoleID: reader, Scope: group}
	for _, status := range []int{200, 201} {
		client, m := serve(t, reply{status: status, body: assignmentJSON(group, principal, reader)})
		if err := client.Assign(t.Context(), name, g, principal); err != nil {
			t.Error(err)
		}
		m.expect(t, "PUT "+base+group+"/providers/Microsoft.Authorization/roleAssignments/"+name+"?api-version=2022-04-01")
		want := `{"properties":{"principalId":"` + principal + `","principalType":"ServicePrincipal","roleDefinitionId":"/subscriptions/` + subscription + `/providers/Microsoft.Authorization/roleDefinitions/` + reader + `"}}`
		if m.asked[0].body != want {
			t.Errorf("sent %s", m.asked[0].body)
		}
	}
	client, m := serve(t)
	for _, scope := range []string{"/", "", "/subscriptions/x/../y", group + "?x", "/providers/Microsoft.Management/managementGroups/root", "/subscriptions/" + subscription + "/resourceGroups/.."} {
		if err := client.Assign(t.Context(), name, role.Grant{RoleID: reader, Scope: scope}, principal); !fault.Is(err, fault.Invalid) {
			t.Errorf("scope %q: %v", scope, err)
		}
	}
	m.expect(t)
}

func TestUnassign(t *testing.T) {
	client, m := serve(t, ok(assignmentJSON(group, principal, reader)), reply{status: 204})
	for range 2 {
		if err := client.Unassign(t.Context(), group, name); err != nil {
			t.Error(err)
		}
	}
	line := "DELETE " + base + group + "/providers/Microsoft.Authorization/roleAssignments/" + name + "?api-version=2022-04-01"
	m.expect(t, line, line)
}

func TestRoleDefinition(t *testing.T) {
	body := func(permissions string) reply {
		return ok(`{"name":"` + reader + `","properties":{"roleName":"Custom","type":"CustomRole","description":"d","permissions":` + permissions + `}}`)
	}
	client, m := serve(t,
		body(`[{"actions":["*"],"notActions":["Microsoft.Authorization/*/write"],"dataActions":[],"notDataActions":[]}]`),
		body(`[{"actions":["a/*"],"notActions":["a/write","a/read"]},{"actions":["b/*"],"notActions":["A/READ"],"dataActions":["c/*"]}]`),
		body(`[]`))
	d, err := client.RoleDefinition(t.Context(), group, reader)
	if err != nil || d.Name != "Custom" || d.ID != reader || len(d.Elevated()) == 0 || d.Allows("Microsoft.Authorization/roleAssignments/write") {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = client.RoleDefinition(t.Context(), group, reader)
	if err != nil || !d.Allows("a/write") || d.Allows("a/read") || !d.Allows("b/write") || !d.AllowsData("c/d") {
		t.Errorf("two permissions: %+v, %v", d, err)
	}
	if _, err := client.RoleDefinition(t.Context(), group, reader); !fault.Is(err, fault.Unknown) {
		t.Errorf("a role that shows no permission must not pass for harmless: %v", err)
	}
	line := "GET " + base + group + "/providers/Microsoft.Authorization/roleDefinitions/" + reader + "?api-version=2022-04-01"
	m.expect(t, line, line, line)
}

func TestRefusals(t *testing.T) {
	const denied = "The client 'ann@contoso.com' with object id 'x' does not have authorization to perform action 'Microsoft.Authorization/roleAssignments/write' over scope '" + vault + "/providers/Microsoft.Authorization/roleAssignments/" + name + "' or the scope is invalid. If access was recently granted, please refresh your credentials."
	for name, c := range map[string]struct {
		reply   reply
		code    fault.Code
		service string
		hint    string
	}{
		"a missing right is named with its scope": {problem(403, "AuthorizationFailed", denied), fault.Forbidden, "AuthorizationFailed", "the caller lacks Microsoft.Authorization/roleAssignments/write on vaults kv-polyclaw, which"},
		"and with a role that has it":             {problem(403, "AuthorizationFailed", denied), fault.Forbidden, "AuthorizationFailed", "which Role Based Access Control Administrator has; a PIM role may need activating"},
		"other words fall back to what we know":   {problem(403, "AuthorizationFailed", "No."), fault.Forbidden, "AuthorizationFailed", "the caller lacks a right on group polyclaw-rg; a PIM role may need activating"},
		"a principal not yet seen is not found":   {problem(400, "PrincipalNotFound", "Principal 1 does not exist in the directory 2."), fault.NotFound, "PrincipalNotFound", ""},
		"an assignment of another name conflicts": {problem(409, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is 0123."), fault.Conflict, "RoleAssignmentExists", ""},
		"a name in use for another role is input": {problem(400, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."), fault.Invalid, "RoleAssignmentUpdateNotPermitted", ""},
		"an unknown role is input":                {problem(400, "RoleDefinitionDoesNotExist", "The specified role definition with ID 'x' does not exist."), fault.Invalid, "RoleDefinitionDoesNotExist", ""},
		"a full subscription is explained":        {problem(400, "RoleAssignmentLimitExceeded", "No more role assignments can be created."), fault.Invalid, "RoleAssignmentLimitExceeded", "deleted principals"},
		"a token of another tenant is told":       {problem(401, "InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer."), fault.Unauthenticated, "InvalidAuthenticationTokenTenant", "another tenant"},
		"an expired token is unauthenticated":     {problem(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier."), fault.Unauthenticated, "ExpiredAuthenticationToken", "sign in again"},
		"429 is throttled":                        {reply{status: 429, body: `{"error":{"code":"SubscriptionRequestsThrottled","message":"x"}}`, header: http.Header{"Retry-After": {"11"}}}, fault.Throttled, "SubscriptionRequestsThrottled", ""},
		"503 is unavailable":                      {reply{status: 503, body: "busy"}, fault.Unavailable, "", ""},
		"a cut connection is unavailable":         {reply{err: io.ErrUnexpectedEOF}, fault.Unavailable, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, m := serve(t, c.reply)
			err := client.Assign(t.Context(), "33333333-0000-4000-8000-000000000003", role.Grant{Role: "Reader", RoleID: reader, Scope: group}, principal)
			f, isFault := errors.AsType[*fault.Error](err)
			if !isFault {
				t.Fatalf("%v is no fault", err)
			}
			if f.Code != c.code || fault.Service(err) != c.service || !strings.Contains(fault.Hint(err), c.hint) {
				t.Errorf("%s %q, hint %q", f.Code, fault.Service(err), fault.Hint(err))
			}
			if !strings.HasPrefix(f.Error(), "assign Reader on group polyclaw-rg: ") || strings.Contains(f.Error(), "CANARY") {
				t.Errorf("%v", f)
			}
			if c.reply.status == 429 && fault.RetryAfter(err) != 11*time.Second {
				t.Errorf("RetryAfter %v", fault.RetryAfter(err))
			}
			if len(m.asked) != 1 {
				t.Errorf("%d requests: nothing is retried here", len(m.asked))
			}
		})
	}
}

func TestATokenThatCannotBeHadIsNoAnswerOfARM(t *testing.T) {
	c, err := New(Config{Endpoint: base, Audience: "https://management.test", Credential: fixed{fault.New(fault.NotFound, "get token", "do this")}, HTTP: &manager{t: t}})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := c.Vault(t.Context(), vault); v != nil || !fault.Is(err, fault.Unauthenticated) || fault.Hint(err) != "do this" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestTheEndOfTheCallersContextPassesThrough(t *testing.T) {
	client, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Vault(ctx, vault); err != context.Canceled {
		t.Errorf("%v, want context.Canceled itself", err)
	}
}

func TestNewWantsTLSAndACredential(t *testing.T) {
	for _, cfg := range []Config{{Endpoint: base}, {Endpoint: "http://arm.test", Credential: fixed{}}, {Endpoint: "https://a@arm.test", Credential: fixed{}}} {
		if _, err := New(cfg); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", cfg.Endpoint, err)
		}
	}
}
