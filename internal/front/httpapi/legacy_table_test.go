package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/front/httpapi"
)

// Shapes that several answers have.
const (
	refusal     = `{"status":"error","message":"<text>","hint":"<text>"}`
	notLoggedIn = `{"ok":false,"error":"~Not logged in to Azure: .+","hint":"<text>","steps":[]}`
	noIdentity  = `{"status":"ok","configured":false,"strategy":null,"app_id":"","mi_client_id":"","tenant":"","display_name":"","principal_id":"","principal_type":""}`
	noRuntime   = `{"configured":false,"strategy":null,"app_id":null,"tenant":null,"mi_client_id":null,"mi_resource_id":null}`
	noRoles     = `{"status":"ok","assignments":[],"required":[],"checks":[],"message":"No identity or Azure CLI available"}`
	noRun       = `{"status":"ok","checks":[],"run_at":null,"passed":0,"failed":0,"warnings":0,"skipped":0}`
	aRun        = `{"status":"ok","checks":["*",{"id":"<text>","category":"~identity|rbac|secrets","name":"<text>","status":"~pass|fail|warn|skip","detail":"<text>","evidence":"<string>","command":"<text>"}],
		"run_at":"<time>","passed":"<int>","failed":"<int>","warnings":"<int>","skipped":"<int>"}`
	roleSteps = `{"step":"rbac_azure_bot_service_contributor_role","status":"ok","detail":"~Azure Bot Service Contributor Role on /subscriptions/[^/]+/resourceGroups/polyclaw-rg"},
		{"step":"rbac_reader","status":"ok","detail":"~Reader on /subscriptions/[^/]+/resourceGroups/polyclaw-rg"},
		{"step":"rbac_key_vault_secrets_officer","status":"ok","detail":"~Key Vault Secrets Officer on .*/vaults/kv-polyclaw"},
		{"step":"rbac_azure_containerapps_session_executor","status":"ok","detail":"~Azure ContainerApps Session Executor on .*/sessionPools/polyclaw-pool"},
		{"step":"rbac_cognitive_services_user","status":"ok","detail":"~Cognitive Services User on .*/accounts/polyclaw-safety"}`
	required = `"required":[
		{"feature":"Prompt Shields (Content Safety)","role":"Cognitive Services User","role_id":"a97b65f3-24c7-4388-baec-2e87135dc908","data_action":"Microsoft.CognitiveServices/accounts/ContentSafety/text:shieldprompt/action"},
		{"feature":"Bot Service Management","role":"Azure Bot Service Contributor Role","role_id":"9fc6112f-f48e-4e27-8b09-72a5c94e4ae9","data_action":""},
		{"feature":"Resource Group Visibility","role":"Reader","role_id":"acdd72a7-3385-48ef-bd42-f606fba81ae7","data_action":""},
		{"feature":"Key Vault Secrets","role":"Key Vault Secrets Officer","role_id":"b86a8fe4-44ce-4948-aee5-eccb2c155cd7","data_action":""},
		{"feature":"Sandbox / Code Interpreter","role":"Azure ContainerApps Session Executor","role_id":"0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0","data_action":""}]`
	assignments = `"assignments":["*",{"role":"<text>","scope":"~/subscriptions/.+","condition":null}]`
)

// checks is the rows of /api/identity/roles, with those of the reader and the session pool as given.
func checks(reader, pool string) string {
	return `"checks":[
		{"feature":"Prompt Shields (Content Safety)","role":"Cognitive Services User","present":true,"data_action":"Microsoft.CognitiveServices/accounts/ContentSafety/text:shieldprompt/action"},
		{"feature":"Bot Service Management","role":"Azure Bot Service Contributor Role","present":true,"data_action":""},
		{"feature":"Resource Group Visibility","role":"Reader",` + reader + `,"data_action":""},
		{"feature":"Key Vault Secrets","role":"Key Vault Secrets Officer","present":true,"data_action":""},
		{"feature":"Sandbox / Code Interpreter","role":"Azure ContainerApps Session Executor",` + pool + `,"data_action":"","expected_scope":"~/subscriptions/.*/sessionPools/polyclaw-pool"}]`
}

// fixes is the rows of /api/identity/fix-roles, with that of the reader as given.
func fixes(reader string) string {
	already := `,"status":"ok","detail":"Already assigned"}`
	return `"steps":[{"step":"assign_cognitive_services_user"` + already + `,{"step":"assign_azure_bot_service_contributor_role"` + already + `,{"step":"assign_reader",` + reader +
		`},{"step":"assign_key_vault_secrets_officer"` + already + `,{"step":"assign_azure_containerapps_session_executor"` + already + `]`
}

func provisioned(w *world) { w.provision() }
func managed(w *world)     { w.managed(); w.provision() }
func nobody(w *world)      { w.as("none") }
func thenNobody(w *world)  { w.provision(); w.as("none") }
func groupMissing(w *world) {
	w.set(func(w *world) { w.spec.ResourceGroup = "not-there-rg"; w.spec.Agents[bot] = bare() })
}
func noApps(w *world)        { w.refuse(http.MethodPatch, `^/v1\.0/applications\(uniqueName=`) }
func noAssignments(w *world) { w.refuse(http.MethodPut, `/roleAssignments/`) }
func noYAML(w *world) {
	w.set(func(w *world) {
		w.specErr = fault.New(fault.NotFound, "no leastkey.yaml here", "leastkey init writes one")
	})
}
func brokenYAML(w *world) {
	w.set(func(w *world) { w.specErr = fault.New(fault.Invalid, "leastkey.yaml:3: unknown key", "correct it") })
}
func severalAgents(w *world) {
	w.set(func(w *world) {
		second := *w.spec.Agents[bot]
		second.Name = "second"
		w.spec.Agents["second"] = &second
	})
}

func bare() *agent.Agent {
	s := agent.Spec{Agents: map[string]*agent.Agent{bot: {}}}
	s.Defaults()
	return s.Agents[bot]
}

const (
	runtimeIdentity = "/api/setup/runtime-identity"
	provisionPath   = runtimeIdentity + "/provision"
	revokePath      = runtimeIdentity + "/revoke"
	infoPath        = "/api/identity/info"
	rolesPath       = "/api/identity/roles"
	fixPath         = "/api/identity/fix-roles"
	preflightPath   = "/api/guardrails/preflight"
	runPath         = preflightPath + "/run"
)

// TestTheSeedsEndpoints is the table of every endpoint of the original, in success and in every failure: the whole shape, key by key.
func TestTheSeedsEndpoints(t *testing.T) {
	spEnds := `{"step":"write_env","status":"ok"},{"step":"login","status":"ok","detail":"<text>"},{"step":"verify","status":"ok","detail":"<text>"}`
	for _, row := range []struct {
		sentence     string
		before       func(*world)
		method, path string
		body         string
		status       int
		shape        string
	}{
		{"health", nil, "GET", "/health", "", 200, `{"status":"ok","version":"1.2.3","mode":"admin"}`},

		{"runtime identity of nothing", nil, "GET", runtimeIdentity, "", 200, noRuntime},
		{"runtime identity without a leastkey.yaml", noYAML, "GET", runtimeIdentity, "", 200, noRuntime},
		{"runtime identity with a broken leastkey.yaml", brokenYAML, "GET", runtimeIdentity, "", 400, refusal},
		{"runtime identity of a service principal", provisioned, "GET", runtimeIdentity, "", 200,
			`{"configured":true,"strategy":"sp","app_id":"<guid>","tenant":"<guid>","mi_client_id":null,"mi_resource_id":null}`},
		{"runtime identity of a managed identity", managed, "GET", runtimeIdentity, "", 200,
			`{"configured":true,"strategy":"managed_identity","app_id":null,"tenant":"<guid>","mi_client_id":"<guid>","mi_resource_id":"~/subscriptions/.*/userAssignedIdentities/polyclaw-runtime-mi"}`},
		{"runtime identity asks nothing of the cloud", thenNobody, "GET", runtimeIdentity, "", 200,
			`{"configured":true,"strategy":"sp","app_id":"<guid>","tenant":"<guid>","mi_client_id":null,"mi_resource_id":null}`},
		{"runtime identity of several agents", severalAgents, "GET", runtimeIdentity, "", 409, refusal},

		{"provision a service principal", nil, "POST", provisionPath, `{"resource_group":"polyclaw-rg"}`, 200,
			`{"ok":true,"app_id":"<guid>","tenant":"<guid>","resource_group":"polyclaw-rg","steps":[{"step":"check_rg","status":"ok"},{"step":"create_sp","status":"ok","detail":"<guid>"},{"step":"rotate_creds","status":"ok"},` + roleSteps + `,` + spEnds + `]}`},
		{"provision again rotates", provisioned, "POST", provisionPath, `{"resource_group":null,"other":1}`, 200,
			`{"ok":true,"app_id":"<guid>","tenant":"<guid>","resource_group":"polyclaw-rg","steps":[{"step":"check_rg","status":"ok"},{"step":"find_sp","status":"ok","detail":"~Reusing [0-9a-f-]{36}"},{"step":"rotate_creds","status":"ok"},` + roleSteps + `,{"step":"write_env","status":"ok"}]}`},
		{"provision a managed identity", func(w *world) { w.managed() }, "POST", provisionPath, `{}`, 200,
			`{"ok":true,"app_id":"<guid>","tenant":"<guid>","resource_group":"polyclaw-rg","steps":["*",{"step":"<text>","status":"ok","detail?":"<text>"}]}`},
		{"provision while nobody is logged in", nobody, "POST", provisionPath, `{}`, 500, notLoggedIn},
		{"provision in a group that is missing", groupMissing, "POST", provisionPath, `{}`, 500,
			`{"ok":false,"error":"Resource group 'not-there-rg' does not exist","hint":"<text>","steps":[{"step":"check_rg","status":"failed"}]}`},
		{"provision where the application is refused", noApps, "POST", provisionPath, `{}`, 500,
			`{"ok":false,"error":"~App registration failed: .+","hint":"<text>","steps":[{"step":"check_rg","status":"ok"},{"step":"create_app","status":"failed","detail":"<text>"}]}`},
		{"provision where assignments are refused", noAssignments, "POST", provisionPath, `{}`, 500,
			`{"ok":false,"error":"~Role assignment failed: .+","hint":"<text>","steps":["*",{"step":"<text>","status":"~ok|failed","detail?":"<text>"}]}`},
		{"provision in another group", nil, "POST", provisionPath, `{"resource_group":"other-rg"}`, 409, refusal},
		{"provision of several agents", severalAgents, "POST", provisionPath, `{}`, 409, refusal},
		{"provision without a leastkey.yaml", noYAML, "POST", provisionPath, `{}`, 409, refusal},
		{"provision without a body", nil, "POST", provisionPath, "", 400, refusal},
		{"provision with an empty string", nil, "POST", provisionPath, `""`, 400, refusal},
		{"provision with a list", nil, "POST", provisionPath, `[]`, 400, refusal},
		{"provision with half an object", nil, "POST", provisionPath, `{`, 400, refusal},
		{"provision with two objects", nil, "POST", provisionPath, `{}{}`, 400, refusal},
		{"provision with a number for a group", nil, "POST", provisionPath, `{"resource_group":5}`, 400, `{"status":"error","message":"<text>"}`},

		{"revoke of nothing", nil, "POST", revokePath, `not looked at`, 200, `{"ok":true,"steps":[{"step":"revoke","status":"skip","detail":"No runtime SP configured"}]}`},
		{"revoke without a leastkey.yaml", noYAML, "POST", revokePath, "", 200, `{"ok":true,"steps":[{"step":"revoke","status":"skip","detail":"No runtime SP configured"}]}`},
		{"revoke while nobody is logged in", thenNobody, "POST", revokePath, "", 500, notLoggedIn},
		{"revoke of several agents", severalAgents, "POST", revokePath, "", 409, refusal},

		{"info of nothing", nil, "GET", infoPath, "", 200, noIdentity},
		{"info without a leastkey.yaml", noYAML, "GET", infoPath, "", 200, noIdentity},
		{"info of a service principal", provisioned, "GET", infoPath, "", 200,
			`{"status":"ok","configured":true,"strategy":"service_principal","app_id":"<guid>","mi_client_id":"","tenant":"<guid>","display_name":"polyclaw-runtime","principal_id":"<guid>","principal_type":"ServicePrincipal"}`},
		{"info of a managed identity", managed, "GET", infoPath, "", 200,
			`{"status":"ok","configured":true,"strategy":"managed_identity","app_id":"","mi_client_id":"<guid>","tenant":"<guid>","display_name":"polyclaw-runtime-mi","principal_id":"<guid>","principal_type":"ServicePrincipal"}`},
		{"info of both identities is of the managed one", both, "GET", infoPath, "", 200,
			`{"status":"ok","configured":true,"strategy":"managed_identity","app_id":"","mi_client_id":"<guid>","tenant":"<guid>","display_name":"polyclaw-runtime-mi","principal_id":"<guid>","principal_type":"ServicePrincipal"}`},
		{"info while nobody is logged in", thenNobody, "GET", infoPath, "", 500,
			`{"status":"error","configured":true,"strategy":"service_principal","app_id":"<guid>","mi_client_id":"","tenant":"<guid>","display_name":"","principal_id":"<guid>","principal_type":"ServicePrincipal","message":"<text>"}`},
		{"info of an application that somebody deleted", deleted, "GET", infoPath, "", 200,
			`{"status":"ok","configured":true,"strategy":"service_principal","app_id":"<guid>","mi_client_id":"","tenant":"<guid>","display_name":"<string>","principal_id":"<guid>","principal_type":"ServicePrincipal","message":"<text>","hint":"<text>"}`},
		{"info of several agents", severalAgents, "GET", infoPath, "", 409, refusal},

		{"roles of nothing", nil, "GET", rolesPath, "", 200, noRoles},
		{"roles of a service principal", provisioned, "GET", rolesPath, "", 200, `{"status":"ok",` + assignments + `,` + required + `,` + checks(`"present":true`, `"present":true`) + `}`},
		{"roles of a managed identity", managed, "GET", rolesPath, "", 200, `{"status":"ok",` + assignments + `,` + required + `,` + checks(`"present":true`, `"present":true`) + `}`},
		{"roles of which one was removed", readerGone, "GET", rolesPath, "", 200,
			`{"status":"ok",` + assignments + `,` + required + `,` + checks(`"present":false,"detail":"~Role not assigned to this identity.*"`, `"present":true`) + `}`},
		{"roles while nobody is logged in", thenNobody, "GET", rolesPath, "", 500, `{"status":"error","message":"Failed to list role assignments","detail":"<text>","hint":"<text>"}`},
		{"roles whose list fails", listFails, "GET", rolesPath, "", 500, `{"status":"error","message":"Failed to list role assignments","detail":"<text>"}`},

		{"fix roles of nothing", nil, "POST", fixPath, "", 400, `{"status":"error","message":"Cannot determine runtime principal","hint":"<text>"}`},
		{"fix roles where none is missing", provisioned, "POST", fixPath, "", 200, `{"status":"ok",` + fixes(`"status":"ok","detail":"Already assigned"`) + `}`},
		{"fix a role that was removed", readerGone, "POST", fixPath, "", 200, `{"status":"ok",` + fixes(`"status":"ok","detail":"~Reader assigned to [0-9a-f-]{36}"`) + `}`},
		{"fix a role where assignments are refused", func(w *world) { readerGone(w); noAssignments(w) }, "POST", fixPath, "", 500,
			`{"status":"error","message":"<text>","hint":"<text>",` + fixes(`"status":"failed","detail":"~Assignment failed: .+"`) + `}`},
		{"fix roles while nobody is logged in", thenNobody, "POST", fixPath, "", 400, `{"status":"error","message":"Azure CLI not available","detail":"<text>","hint":"<text>"}`},
		{"fix roles whose list fails", listFails, "POST", fixPath, "", 500,
			`{"status":"error","message":"<text>","steps":["*",{"step":"~assign_.+","status":"failed","detail":"~Assignment failed: .+"}]}`},

		{"preflight that has not run", nil, "GET", preflightPath, "", 200, noRun},
		{"preflight without a leastkey.yaml", noYAML, "GET", preflightPath, "", 200, noRun},
		{"preflight runs of nothing", nil, "POST", runPath, "", 200, aRun},
		{"preflight runs of a good identity", provisioned, "POST", runPath, "", 200, aRun},
		{"preflight runs while nobody is logged in", thenNobody, "POST", runPath, "", 200, aRun},
		{"preflight that has run", func(w *world) { w.provision(); w.ask(applying, "POST", runPath, "") }, "GET", preflightPath, "", 200, aRun},
		{"preflight runs without a leastkey.yaml", noYAML, "POST", runPath, "", 409, refusal},
		{"preflight of several agents", severalAgents, "POST", runPath, "", 409, refusal},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			if row.before != nil {
				row.before(w)
			}
			w.like(w.ask(applying, row.method, row.path, row.body), row.status, row.shape)
		})
	}
}

// both is an install that has been moved to a managed identity and whose environment file still has the secret of before.
func both(w *world) {
	managed(w)
	w.envFile("RUNTIME_SP_APP_ID=\"11111111-2222-3333-4444-555555555555\"\nRUNTIME_SP_PASSWORD=\"old\"\n")
}

func readerGone(w *world) {
	w.provision()
	w.removeRole("Reader")
}

func deleted(w *world) {
	w.provision()
	w.call(http.MethodDelete, "/v1.0/applications/"+w.record().ApplicationID, nil, nil)
}

func listFails(w *world) {
	w.provision()
	w.refuse(http.MethodGet, `/roleAssignments$`)
}

func TestRevokeEndsAnIdentityOfEitherKind(t *testing.T) {
	t.Parallel()
	t.Run("a service principal", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.provision()
		r := w.ask(applying, "POST", revokePath, "")
		w.like(r, 200, `{"ok":true,"steps":["*",{"step":"<text>","status":"ok","detail?":"<text>"}]}`)
		for _, name := range []string{"delete_app", "clear_env"} {
			if !strings.Contains(string(r.body), `"step":"`+name+`","status":"ok"`) {
				t.Errorf("no step %s:\n%s", name, r.body)
			}
		}
		w.like(w.ask(viewing, "GET", runtimeIdentity, ""), 200, noRuntime)
	})
	t.Run("a managed identity", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		managed(w)
		r := w.ask(applying, "POST", revokePath, "")
		w.like(r, 200, `{"ok":true,"steps":["*",{"step":"<text>","status":"ok","detail?":"<text>"}]}`)
		w.like(w.ask(viewing, "GET", runtimeIdentity, ""), 200, noRuntime)
	})
	t.Run("one that cannot be deleted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nil)
		w.provision()
		w.refuse(http.MethodDelete, `^/v1\.0/applications/`)
		r := w.ask(applying, "POST", revokePath, "")
		w.like(r, 500, `{"ok":false,"error":"<text>","hint":"<text>","steps":["*",{"step":"<text>","status":"~ok|failed","detail?":"<text>"}]}`)
		if !strings.Contains(string(r.body), `"step":"delete_app","status":"failed"`) || strings.Contains(string(r.body), "clear_env") {
			t.Errorf("the environment was cleared although the application is there:\n%s", r.body)
		}
	})
}

func TestWrongMethodsOfTheSeedsEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for path, allowed := range map[string]string{"/health": "GET", "/api/auth/check": "POST", runtimeIdentity: "GET", provisionPath: "POST", revokePath: "POST", infoPath: "GET", rolesPath: "GET",
		fixPath: "POST", preflightPath: "GET", runPath: "POST"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if method == allowed {
				continue
			}
			r := w.ask(applying, method, path, "")
			w.like(r, 405, `{"status":"error","message":"<text>","hint":"<text>"}`)
			if !strings.Contains(r.header.Get("Allow"), allowed) {
				t.Errorf("%s %s: Allow is %q", method, path, r.header.Get("Allow"))
			}
		}
	}
}

func TestWhoMayUseTheSeedsEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, row := range []struct {
		token, method, path string
		status              int
	}{
		{viewing, "GET", runtimeIdentity, 200}, {viewing, "GET", infoPath, 200}, {viewing, "GET", rolesPath, 200}, {viewing, "GET", preflightPath, 200},
		{viewing, "POST", runPath, 403}, {approving, "POST", runPath, 200},
		{approving, "POST", provisionPath, 403}, {approving, "POST", revokePath, 403}, {approving, "POST", fixPath, 403},
	} {
		if r := w.ask(row.token, row.method, row.path, ""); r.status != row.status {
			t.Errorf("%s %s with %s: %d, want %d\n%s", row.method, row.path, row.token, r.status, row.status, r.body)
		}
	}
	for _, path := range []string{runtimeIdentity, infoPath, rolesPath, preflightPath} {
		w.like(w.ask("", "GET", path, ""), 401, `{"status":"unauthorized","message":"Invalid or missing admin secret","hint":"<text>"}`)
	}
	w.like(w.ask("", "POST", "/api/auth/check", ""), 200, `{"authenticated":false}`)
	w.like(w.ask("wrong", "POST", "/api/auth/check", ""), 200, `{"authenticated":false}`)
	w.like(w.ask(viewing, "POST", "/api/auth/check", ""), 200, `{"authenticated":true}`)
}

func TestTheSeedsEndpointsSpeakOfTheNamedAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.LegacyAgent = "second" })
	w.like(w.ask(viewing, "GET", runtimeIdentity, ""), 409, refusal)
	severalAgents(w)
	w.provision()
	if w.record().Provisioned() {
		t.Error("another agent than the named one was provisioned")
	}
	w.like(w.ask(viewing, "GET", infoPath, ""), 200,
		`{"status":"ok","configured":true,"strategy":"service_principal","app_id":"<guid>","mi_client_id":"","tenant":"<guid>","display_name":"second","principal_id":"<guid>","principal_type":"ServicePrincipal"}`)
}
