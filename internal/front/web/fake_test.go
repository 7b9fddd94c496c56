package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

const (
	bot    = "polyclaw-runtime"
	app    = "5d3f6d0e-1c4b-4a63-9a35-0c35a3a7f2b1"
	object = "0d6a0c3a-9b8c-4a7f-8d7d-1f0c2f1b7a11"
	where  = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/polyclaw-rg"
)

// house is a door, and a house, whose answers a test sets. What is nil answers a failure: a page must not invent what nobody said.
type house struct {
	mu       sync.Mutex
	enter    error
	spec     agent.Spec
	specErr  error
	plan     func(api.PlanRequest) (api.PlanAnswer, error)
	act      func(verb string, r api.ApplyRequest, tell func(api.Event)) (api.Report, error)
	status   func(name string) ([]api.AgentStatus, error)
	identity func(name string) (api.IdentityAnswer, error)
	roles    func(name string) (api.RolesAnswer, error)
	runs     []api.PreflightReport
	runsErr  error
	check    func(tell func(api.Event)) (api.PreflightReport, error)
	ledger   []api.LedgerEntry
	ledgErr  error
	verdict  api.LedgerVerdict
	prov     func(api.ProvisionerRequest) (api.ProvisionerReport, error)
	read     api.SpecAnswer
	readErr  error
	write    func(api.SpecChange) (api.SpecAnswer, error)
	choices  api.Choices
	choErr   error

	waits  bool // Roles waits for its context's end
	open   int  // doors that are open
	called []string
}

func down(what string) error {
	return fault.New(fault.Unavailable, "cannot "+what+": the service does not answer", "try again when <it> is back")
}

func (h *house) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.called = append(h.called, what)
}

func (h *house) Target() api.Resolved {
	return api.Resolved{Cloud: agent.Public, Tenant: "contoso.onmicrosoft.com", TenantID: "99999999-1111-1111-1111-111111111111", Subscription: "11111111-1111-1111-1111-111111111111", Operator: "az"}
}
func (h *house) Spec() (agent.Spec, error) { return h.spec, h.specErr }
func (h *house) Plan(_ context.Context, r api.PlanRequest) (api.PlanAnswer, error) {
	if h.plan == nil {
		return api.PlanAnswer{}, down("plan")
	}
	return h.plan(r)
}

func (h *house) do(verb string, r api.ApplyRequest, tell func(api.Event)) (api.Report, error) {
	h.note(verb + " " + r.Digest)
	if h.act == nil {
		return api.Report{Agent: r.Agent}, down(verb)
	}
	return h.act(verb, r, tell)
}
func (h *house) Apply(_ context.Context, r api.ApplyRequest, t func(api.Event)) (api.Report, error) {
	return h.do("apply", r, t)
}
func (h *house) Rotate(_ context.Context, r api.ApplyRequest, t func(api.Event)) (api.Report, error) {
	return h.do("rotate", r, t)
}
func (h *house) Revoke(_ context.Context, r api.ApplyRequest, t func(api.Event)) (api.Report, error) {
	return h.do("revoke", r, t)
}
func (h *house) FixRoles(_ context.Context, r api.FixRequest, t func(api.Event)) (api.Report, error) {
	return h.do("fix-roles", api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: r.Agent}, Digest: r.Digest, Approve: r.Approve}, t)
}
func (h *house) Status(_ context.Context, name string) ([]api.AgentStatus, error) {
	if h.status == nil {
		return nil, down("read the record")
	}
	return h.status(name)
}
func (h *house) Identity(_ context.Context, name string) (api.IdentityAnswer, error) {
	if h.identity == nil {
		return api.IdentityAnswer{}, down("look the identity up")
	}
	return h.identity(name)
}
func (h *house) Roles(ctx context.Context, name string) (api.RolesAnswer, error) {
	if h.waits {
		<-ctx.Done()
		return api.RolesAnswer{}, ctx.Err()
	}
	if h.roles == nil {
		return api.RolesAnswer{}, down("list role assignments")
	}
	return h.roles(name)
}
func (h *house) Preflight(_ context.Context, _ api.PreflightRequest, t func(api.Event)) (api.PreflightReport, error) {
	h.note("preflight")
	if h.check == nil {
		return api.PreflightReport{}, down("check")
	}
	return h.check(t)
}
func (h *house) PreflightRuns(_ context.Context, _ string, limit int) ([]api.PreflightReport, error) {
	return h.runs[:min(limit, len(h.runs))], h.runsErr
}
func (h *house) PreflightRun(_ context.Context, _, id string) (api.PreflightReport, error) {
	if h.runsErr != nil {
		return api.PreflightReport{}, h.runsErr
	}
	for _, r := range h.runs {
		if id == "" || r.ID == id {
			return r, nil
		}
	}
	return api.PreflightReport{}, fault.New(fault.NotFound, "no such run", "leastkey preflight")
}
func (h *house) Ledger(_ context.Context, limit int) ([]api.LedgerEntry, error) {
	if n := len(h.ledger); limit > 0 && n > limit {
		return h.ledger[n-limit:], h.ledgErr
	}
	return h.ledger, h.ledgErr
}
func (h *house) VerifyLedger(context.Context) (api.LedgerVerdict, error) { return h.verdict, h.ledgErr }
func (h *house) Provisioner(_ context.Context, r api.ProvisionerRequest, _ func(api.Event)) (api.ProvisionerReport, error) {
	h.note("provisioner " + string(r.Verb) + " " + r.Digest)
	if h.prov == nil {
		return api.ProvisionerReport{}, down("look at the Provisioner")
	}
	return h.prov(r)
}
func (h *house) ProvisionerStatus(ctx context.Context, r api.ProvisionerRequest) (api.ProvisionerReport, error) {
	r.Verb = "status"
	return h.Provisioner(ctx, r, nil)
}
func (h *house) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	return nil
}
func (h *house) ReadSpec(context.Context) (api.SpecAnswer, error) { return h.read, h.readErr }
func (h *house) WriteSpec(_ context.Context, actor string, c api.SpecChange) (api.SpecAnswer, error) {
	b, _ := json.Marshal(c)
	h.note("write " + actor + " " + string(b))
	if h.write == nil {
		return api.SpecAnswer{}, down("write leastkey.yaml")
	}
	return h.write(c)
}
func (h *house) Choices(_ context.Context, subscription, group string) (api.Choices, error) {
	h.note("choices " + subscription + " " + group)
	return h.choices, h.choErr
}
func (h *house) Refused(context.Context, string, string, string, error) error { return nil }
func (h *house) Version() api.Version                                         { return api.Version{Version: "v1.2.3"} }

// browser asks a site made of a house.
type browser struct {
	*testing.T
	*house
	jobs  *control.Jobs
	web   http.Handler
	level api.Level
	out   bool // nobody is signed in
}

func visitor(t *testing.T, h *house) *browser {
	t.Helper()
	b := &browser{T: t, house: h, jobs: control.NewJobs(), level: api.Full}
	enter := func(*http.Request) (Door, error) {
		if h.enter != nil {
			return nil, h.enter
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open++
		return h, nil
	}
	b.web = New(Config{
		Enter: enter, Recall: enter,
		Who: func(r *http.Request) (string, api.Level, bool) {
			if other := r.Header.Get("X-Who"); other != "" {
				return other, b.level, true
			}
			if b.out {
				return "", "", false
			}
			return "alice", b.level, true
		},
		House: h, Jobs: b.jobs,
	})
	t.Cleanup(func() {
		b.jobs.Close(context.Background())
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.open != 0 {
			t.Errorf("%d doors were left open", h.open)
		}
	})
	return b
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.Helper()
	w := httptest.NewRecorder()
	b.web.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), "GET", path, nil))
	return w
}

func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), "POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.web.ServeHTTP(w, r)
	return w
}

// ended waits for the job to which an answer leads.
func (b *browser) ended(w *httptest.ResponseRecorder) (api.Job, string) {
	b.Helper()
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/jobs/") {
		b.Fatalf("no job began: %d %s\n%s", w.Code, to, w.Body)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(to, "/jobs/"), "?")
	job, err := b.jobs.Wait(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return job, to
}

func (b *browser) shows(w *httptest.ResponseRecorder, status int, wants ...string) string {
	b.Helper()
	text := w.Body.String()
	if w.Code != status {
		b.Errorf("status %d, want %d", w.Code, status)
	}
	for _, want := range wants {
		if not, ok := strings.CutPrefix(want, "!"); ok {
			if strings.Contains(text, not) {
				b.Errorf("the page says %q", not)
			}
		} else if !strings.Contains(text, want) {
			b.Errorf("the page does not say %q", want)
		}
	}
	if b.Failed() {
		b.Logf("the page:\n%s", text)
	}
	return text
}

// good is a house in which all is well.
func good() *house {
	now := time.Now()
	ends := now.Add(300 * 24 * time.Hour)
	h := &house{
		spec: agent.Spec{Cloud: agent.Public, ResourceGroup: "polyclaw-rg", Subscription: "11111111-1111-1111-1111-111111111111", Location: "eastus",
			Agents: map[string]*agent.Agent{bot: {Name: bot, Kind: agent.ServicePrincipal, KeyVault: "kv-polyclaw"}}},
		status: func(string) ([]api.AgentStatus, error) {
			return []api.AgentStatus{{Record: agent.Record{Agent: bot, Kind: agent.ServicePrincipal, ApplicationID: object, AppID: app, PrincipalID: object,
				Generations: []agent.Generation{{ID: "g1", SHA256: strings.Repeat("ab", 32), NotAfter: ends, Active: true}}}, Expires: ends}}, nil
		},
		identity: func(string) (api.IdentityAnswer, error) {
			return api.IdentityAnswer{Agent: bot, Kind: agent.ServicePrincipal, Configured: true, Found: true, Enabled: true, AppID: app, PrincipalID: object, PrincipalType: "ServicePrincipal", DisplayName: bot, Expires: ends}, nil
		},
		roles: func(string) (api.RolesAnswer, error) {
			return api.RolesAnswer{Agent: bot, PrincipalID: object, Readable: []string{where},
				Required: []api.RequiredRole{{Role: "Reader", Scope: where, Presence: api.Assigned}},
				Held:     []api.HeldRole{{Role: "Reader", Scope: where, Ours: true, Required: true}}}, nil
		},
		plan: func(r api.PlanRequest) (api.PlanAnswer, error) {
			p := agent.Plan{Version: 1, Verb: r.Verb, Cloud: agent.Public, Agent: r.Agent, Steps: []agent.Step{
				{ID: "a", Action: agent.AssignRole, Plane: agent.ARM, Title: "assign Reader on polyclaw-rg", Why: "it is missing", With: map[string]string{"scope": where}},
				{ID: "b", Action: agent.RemoveCertificate, Plane: agent.Graph, Title: "remove certificate cd", Destroys: true}}}
			return api.PlanAnswer{Plan: p, Digest: p.Digest(), As: api.Caller{Name: "op@contoso.com", Operator: "az"}}, nil
		},
		ledger: []api.LedgerEntry{{Seq: 1, At: now, Actor: "alice", Action: "plan", Subject: bot, Allowed: true, Hash: strings.Repeat("1f", 32)},
			{Seq: 2, At: now, Actor: "mallory", Action: "revoke", Subject: bot, Detail: "not approved", Hash: strings.Repeat("2e", 32)}},
		verdict: api.LedgerVerdict{Entries: 2, Head: strings.Repeat("2e", 32), Intact: true},
		read:    api.SpecAnswer{File: "/srv/leastkey.yaml", Writable: true, Text: "cloud: public\n", SHA256: sum("cloud: public\n")},
		choices: api.Choices{As: api.Caller{Name: "op@contoso.com", Operator: "az"}, Subscriptions: []api.Choice{{ID: "11111111-1111-1111-1111-111111111111", Name: "Production"}},
			Groups: []api.Choice{{ID: where, Name: "polyclaw-rg", Location: "eastus"}}, Vaults: []api.Choice{{ID: where + "/v", Name: "kv-polyclaw", Group: "polyclaw-rg"}}},
	}
	h.read.Spec = h.spec
	h.runs = []api.PreflightReport{report(2, finding.Pass), report(1, finding.Fail)}
	h.runs[0].Before, h.runs[0].Changes = h.runs[1].ID, []api.PreflightChange{{ID: "no-secret", Was: finding.Fail, Now: finding.Pass}}
	return h
}

func sum(s string) string {
	b := sha256.Sum256([]byte(s))
	return hex.EncodeToString(b[:])
}

// report is a run with one check of each outcome, and one of the outcome that is named.
func report(n int, o finding.Outcome) api.PreflightReport {
	all := []finding.Finding{
		{ID: "no-secret", Name: "No client secret", Question: "has it no password credential?", Category: finding.Identity, Severity: finding.Critical, Required: true, Outcome: o, Detail: "passwordCredentials is empty", Remedy: "leastkey apply",
			Evidence: []finding.Evidence{{Asked: "GET https://graph.example/v1.0/applications/x", Answer: `{"passwordCredentials":[]}`, Status: 200, At: time.Now(), Took: time.Millisecond, Digest: strings.Repeat("aa", 32)}}},
		{ID: "warned", Question: "is it wise?", Category: finding.RBAC, Outcome: finding.Warn, Detail: "not quite"},
		{ID: "policy", Question: "is there a policy?", Category: finding.RBAC, Outcome: finding.Unknown, Detail: "403 <script>alert(1)</script>"},
		{ID: "after", Question: "what follows?", Category: finding.Secrets, Outcome: finding.Skip, Cause: "policy"},
	}
	return api.PreflightReport{ID: strings.Repeat("0", 31) + string(rune('0'+n)), Agent: bot, At: time.Now(), Findings: all, Counts: api.Count(all), Green: finding.Green(all), Digest: strings.Repeat("bb", 32)}
}

// onDisk is this folder, with what is not embedded.
func onDisk() fs.FS { return os.DirFS(".") }
