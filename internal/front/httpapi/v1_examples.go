package httpapi

import (
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// examples completes the document where types alone do not say enough: an example of each body, the errors that an operation usually has, and
// the one map that may be null.
func (v *version1) examples() {
	doc := v.api.OpenAPI()
	if spec := doc.Components.Schemas.Map()["AgentSpec"]; spec != nil && spec.Properties["agents"] != nil {
		spec.Properties["agents"].Nullable = true // the Provisioner's plans have no agents
	}
	asked, answered := requestExamples(), answerExamples()
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			if e, ok := asked[op.OperationID]; ok && op.RequestBody != nil {
				op.RequestBody.Content["application/json"].Example = e
			}
			for status, resp := range op.Responses {
				media := resp.Content["application/json"]
				if e, ok := answered[op.OperationID]; ok && media != nil && status[0] == '2' {
					media.Example = e
				}
			}
			v.errors(op)
		}
	}
}

// errors tells which problems an operation usually answers, each with an example. Those that every operation may have are in default.
func (v *version1) errors(op *huma.Operation) {
	schema := problemSchema(v.api)
	for _, e := range usualErrors(op) {
		p := problemOf(e.err)
		p.Status = e.status
		if op.Responses[strconv.Itoa(e.status)] == nil {
			op.Responses[strconv.Itoa(e.status)] = &huma.Response{Description: e.when, Content: map[string]*huma.MediaType{problemType: {Schema: schema, Example: p}}}
		}
	}
}

type usual struct {
	status int
	when   string
	err    error
}

func usualErrors(op *huma.Operation) []usual {
	all := []usual{{401, "No token, or one that is not valid.", unauthenticated()}}
	if level, ok := op.Metadata[levelKey].(api.Level); ok && level != api.View {
		all = append(all, usual{403, "The token's role is too low, or it is refused for another reason that the problem names.",
			fault.New(fault.Forbidden, "this needs a token of role "+string(level)+", yours is of role view", "leastkey serve token add NAME --role "+string(level))})
	}
	for _, p := range op.Parameters {
		if p.In == "path" {
			all = append(all, usual{404, "There is no such thing.", fault.New(fault.NotFound, "no job 5b1f0c7a9d3e4f20a1b2c3d4e5f60718 here", "")})
			break
		}
	}
	if op.RequestBody != nil {
		all = append(all, usual{400, "The request is not a good one; nothing was done.", fault.New(fault.Invalid, "nothing was approved", "")},
			usual{422, "The request does not fit the schema; nothing was done.", fault.New(fault.Invalid, "validation failed: body.verb: expected required property verb to be present", "")})
	}
	if op.DefaultStatus == 202 {
		all = append(all, usual{409, "The world is not as it was approved, or the agent is busy with something else; nothing was done.",
			fault.New(fault.Conflict, "the world no longer matches the approved plan: now it would be 77b0c1d2e3f40516", "look at it again: leastkey plan polyclaw-runtime")})
	}
	return append(all, usual{503, "The operator is not logged in at the server, or a service does not answer.",
		fault.New(fault.Unauthenticated, "identify operator az: az is not logged in", "az login")})
}

const (
	exampleAgent  = "polyclaw-runtime"
	exampleDigest = "3f9a4c0d21b7e8563f9a4c0d21b7e8563f9a4c0d21b7e8563f9a4c0d21b7e856"
)

func requestExamples() map[string]any {
	return map[string]any{
		"make-plan":          api.PlanOrder{Agent: exampleAgent, Verb: agent.Apply, Release: true},
		"approve-plan":       api.Approval{},
		"rotate-agent":       api.ActionOrder{Digest: exampleDigest[:16], Overlap: "24h"},
		"revoke-agent":       api.ActionOrder{Digest: exampleDigest[:16], Confirm: exampleAgent},
		"migrate-agent":      api.ActionOrder{Digest: exampleDigest[:16]},
		"fix-roles-agent":    api.ActionOrder{Digest: exampleDigest[:16]},
		"plan-provisioner":   api.ProvisionerOrder{Verb: "migrate", SoleHolder: true},
		"change-provisioner": api.ProvisionerOrder{Verb: "migrate", SoleHolder: true, Digest: exampleDigest[:16]},
		"change-spec":        map[string]any{"agent": exampleAgent, "key_vault": "kv-polyclaw"},
		"verify-preflight":   exampleReport(),
		"login":              map[string]any{"code": "the code of a login link"},
	}
}

func exampleReport() api.PreflightReport {
	return api.PreflightReport{ID: "0123456789abcdef0123456789abcdef", Agent: exampleAgent, Kind: agent.ServicePrincipal, Cloud: agent.Public, At: exampleTime(),
		Findings: []finding.Finding{exampleFinding()}, Counts: api.Counts{Passed: 1}, Green: true, Digest: exampleDigest}
}

func exampleFinding() finding.Finding {
	return finding.Finding{ID: "identity_configured", Name: "Runtime Identity Configured", Question: "is an identity recorded for the agent?", Outcome: finding.Pass,
		Category: finding.Identity, Severity: finding.High, Required: true, Detail: "service principal 5b1f0c7a-9d3e-4f20-a1b2-c3d4e5f60718"}
}

func exampleTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// answerExamples are small: the schemas say the rest.
func answerExamples() map[string]any {
	job := api.Job{ID: "5b1f0c7a9d3e4f20a1b2c3d4e5f60718", Agent: exampleAgent, Verb: "apply", Actor: "ci", Started: exampleTime(), Status: api.JobRunning}
	report := exampleReport()
	target := api.Resolved{Cloud: agent.Public, Tenant: "contoso.onmicrosoft.com", TenantID: "1ea57ce1-0000-4000-8000-000000000001", Subscription: "1ea57ce1-0000-4000-8000-000000000002", Operator: "az"}
	status := api.AgentStatus{Record: agent.Record{Agent: exampleAgent, Kind: agent.ServicePrincipal}}
	return map[string]any{
		"whoami":      api.WhoAmI{Name: "ci", Level: api.Approve, Target: target},
		"who-am-i":    SessionAnswer{Name: "ci", Role: api.Approve},
		"login":       SessionAnswer{Name: "ada", Role: api.Full, Session: true},
		"version":     api.Version{Version: "0.1.0", Go: "go1.26", Platform: "linux/amd64"},
		"list-agents": []api.AgentSummary{{Agent: exampleAgent, Kind: agent.ServicePrincipal, Specified: true, Configured: true}},
		"get-agent":   api.AgentSummary{Agent: exampleAgent, Kind: agent.ServicePrincipal, Specified: true, Configured: true},
		"list-status": []api.AgentStatus{status}, "get-status": status, "list-records": []agent.Record{status.Record},
		"get-identity": api.IdentityAnswer{Agent: exampleAgent, Kind: agent.ServicePrincipal, Configured: true, Found: true, Enabled: true, DisplayName: exampleAgent},
		"get-roles": api.RolesAnswer{Agent: exampleAgent, Required: []api.RequiredRole{{Feature: "Resource Group Visibility", Role: "Reader", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7",
			Scope: "/subscriptions/1ea57ce1-0000-4000-8000-000000000002/resourceGroups/polyclaw-rg", Presence: api.Assigned}}, Held: []api.HeldRole{}, Readable: []string{}, Pending: []string{}},
		"list-jobs": []api.Job{job}, "get-job": job, "approve-plan": job, "rotate-agent": job, "revoke-agent": job, "migrate-agent": job, "fix-roles-agent": job, "change-provisioner": job, "run-preflight": job,
		"list-preflight-runs": []api.PreflightReport{report}, "get-preflight-run": report,
		"verify-preflight": api.PreflightVerdict{Report: report, Sealed: true, Recorded: true, Entry: 41, Intact: true},
		"list-findings":    api.AgentFindings{Run: report.ID, At: report.At, Green: true, Findings: report.Findings},
		"list-ledger":      []api.LedgerEntry{{Seq: 1, At: exampleTime(), Actor: "ci (az)", Action: "apply", Subject: exampleAgent, Allowed: true, Hash: exampleDigest}},
		"verify-ledger":    api.LedgerVerdict{Entries: 1, Head: exampleDigest, Intact: true},
		"get-operator":     api.Caller{Operator: "az", Name: "ada@contoso.onmicrosoft.com", TenantID: target.TenantID, Subscription: target.Subscription},
		"make-plan":        examplePlan(), "get-plan": examplePlan(), "release-plan": examplePlan(), "list-plans": []api.KeptPlan{examplePlan()},
		"get-provisioner": exampleProvisioner(), "plan-provisioner": exampleProvisioner(),
		"get-spec": exampleSpec(), "change-spec": exampleSpec(),
		"list-choices": api.Choices{Subscriptions: []api.Choice{{ID: target.Subscription, Name: "Contoso"}}, Groups: []api.Choice{}, Vaults: []api.Choice{}, SessionPools: []api.Choice{}, ContentSafety: []api.Choice{}},
	}
}

func examplePlan() api.KeptPlan {
	spec := agent.Spec{Cloud: agent.Public, Agents: map[string]*agent.Agent{exampleAgent: {}}}
	spec.Defaults()
	return api.KeptPlan{
		PlanAnswer: api.PlanAnswer{Digest: exampleDigest, Plan: agent.Plan{Version: 1, Verb: agent.Apply, Cloud: agent.Public, Agent: exampleAgent, Spec: &spec,
			Steps: []agent.Step{{ID: "role:reader", Action: agent.AssignRole, Plane: agent.ARM, Title: "assign Reader on group polyclaw-rg", Why: "it was removed by somebody"}}}},
		Consent: api.YesConsent, Made: exampleTime(), Expires: exampleTime().Add(planLife), By: "token:ci", Level: api.Full, Release: "token:ci",
	}
}

func exampleProvisioner() api.ProvisionerReport {
	return api.ProvisionerReport{Verb: "status", Cloud: agent.Public, TenantID: "1ea57ce1-0000-4000-8000-000000000001", Steps: []api.StepReport{}}
}

func exampleSpec() api.SpecAnswer {
	spec := agent.Spec{Cloud: agent.Public, Agents: map[string]*agent.Agent{exampleAgent: {}}}
	spec.Defaults()
	return api.SpecAnswer{File: "leastkey.yaml", Writable: true, Spec: spec, SHA256: exampleDigest}
}
