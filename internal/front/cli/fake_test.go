package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

const (
	tenantID = "1ea57ce1-0000-4000-8000-000000000001"
	subID    = "1ea57ce1-0000-4000-8000-000000000002"
	clientID = "aaaaaaaa-0000-4000-8000-000000000003"
	groupID  = "/subscriptions/" + subID + "/resourceGroups/polyclaw-rg"
	vaultID  = groupID + "/providers/Microsoft.KeyVault/vaults/kv-polyclaw"
	readerID = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
)

func at(hour int) time.Time { return time.Date(2026, 8, 12, hour, 30, 0, 0, time.UTC) }

func samplePlan(cloud agent.Cloud, verb agent.Verb) agent.Plan {
	p := agent.Plan{Version: 1, Verb: verb, Cloud: cloud, Tenant: tenantID, Subscription: subID, Agent: "bot", Spec: &agent.Spec{Cloud: cloud}}
	if verb == agent.Revoke {
		p.Steps = []agent.Step{
			{ID: "disable", Action: agent.DisablePrincipal, Plane: agent.Graph, Title: "disable service principal bot"},
			{ID: "delete", Action: agent.DeleteApplication, Plane: agent.Graph, Title: "delete application bot", Destroys: true},
		}
		return p
	}
	p.Steps = []agent.Step{
		{ID: "app", Action: agent.CreateApplication, Plane: agent.Graph, Title: "create application bot", Why: "none is recorded"},
		{ID: "role", Action: agent.AssignRole, Plane: agent.ARM, Title: "assign Reader on group polyclaw-rg", Why: "see the resources of the group", With: map[string]string{"scope": groupID}},
		{ID: "login", Action: agent.Login, Plane: agent.Identity, Title: "log in with the certificate"},
		{ID: "env", Action: agent.WriteEnv, Plane: agent.Here, Title: "write .env"},
	}
	return p
}

func sampleReport() api.Report {
	return api.Report{
		Agent: "bot", Kind: agent.ServicePrincipal, Cloud: agent.Local, TenantID: tenantID, ApplicationID: clientID, PrincipalID: clientID,
		Key: secret.Ref{Backend: "age", Store: "/run/keys", Name: "t/bot#1"}, NotAfter: at(9), Changed: true,
		Roles: []api.Granted{{Role: "Reader", RoleID: readerID, Scope: groupID, Ours: true, Why: "see the resources of the group"}, {Role: "Key Vault Secrets Officer", Scope: vaultID}},
		Proof: api.Proof{ReadBack: true, Logins: 3, Readable: []string{"/subscriptions/" + subID}},
		Steps: []api.StepReport{{Step: "app", Title: "create application bot", Status: api.Done, MS: 12}}, LedgerHead: strings.Repeat("ab", 32), Requests: 24, WallMS: 412,
	}
}

func sampleRecord(name string) agent.Record {
	return agent.Record{
		Agent: name, Kind: agent.ServicePrincipal, ApplicationID: clientID, AppID: clientID, PrincipalID: clientID,
		Generations: []agent.Generation{{ID: "1", Ref: secret.Ref{Backend: "memory", Name: "bot#1"}, SHA256: strings.Repeat("cd", 32), NotAfter: at(9), Active: true}},
		Assignments: []agent.Assigned{{Grant: role.Grant{Role: "Reader", RoleID: readerID, Scope: groupID}, Ours: true}},
	}
}

// fakeDoor answers from its fields and remembers what it was asked.
type fakeDoor struct {
	plan     agent.Plan
	open     *agent.Run
	report   api.Report
	err      error
	token    string
	statuses []api.AgentStatus
	records  []agent.Record
	entries  []api.LedgerEntry
	verdict  api.LedgerVerdict
	app      agent.Application
	events   []api.Event
	verified api.VerifyAnswer
	examined api.PreflightReport
	kept     []api.PreflightReport
	judged   api.PreflightVerdict
	keptErr  error
	listed   api.RolesAnswer

	target    api.Target
	planned   api.PlanRequest
	applied   []api.ApplyRequest
	revoked   []api.ApplyRequest
	migrated  []api.ApplyRequest
	rotated   []api.ApplyRequest
	repaired  []api.FixRequest
	adopted   api.AdoptRequest
	tokenFor  api.TokenRequest
	limit     int
	approvals int
	closed    bool
}

func (d *fakeDoor) Target() api.Resolved {
	return api.Resolved{Cloud: d.plan.Cloud, Tenant: "contoso.onmicrosoft.com", TenantID: tenantID, Subscription: subID, File: "leastkey.yaml"}
}

func (d *fakeDoor) answer() api.PlanAnswer {
	return api.PlanAnswer{Plan: d.plan, Digest: d.plan.Digest(), Open: d.open, As: api.Caller{Operator: "az", Name: "admin@contoso.onmicrosoft.com", ObjectID: clientID, TenantID: tenantID}}
}

func (d *fakeDoor) Plan(_ context.Context, r api.PlanRequest) (api.PlanAnswer, error) {
	d.planned = r
	return d.answer(), d.err
}

func (d *fakeDoor) carry(r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	if d.err != nil {
		return d.report, d.err
	}
	d.approvals++
	if ok, err := r.Approve(d.answer()); err != nil {
		return api.Report{}, errors.New("the door hides the cause")
	} else if !ok {
		return api.Report{}, errors.New("refused at the door")
	}
	for _, e := range d.events {
		events(e)
	}
	return d.report, nil
}

func (d *fakeDoor) Apply(_ context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	d.applied = append(d.applied, r)
	return d.carry(r, events)
}

func (d *fakeDoor) Rotate(_ context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	d.rotated = append(d.rotated, r)
	return d.carry(r, events)
}

func (d *fakeDoor) Migrate(_ context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	d.migrated = append(d.migrated, r)
	return d.carry(r, events)
}

func (d *fakeDoor) Revoke(_ context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	d.revoked = append(d.revoked, r)
	return d.carry(r, events)
}

func (d *fakeDoor) Adopt(_ context.Context, r api.AdoptRequest, events func(api.Event)) (api.Report, error) {
	d.adopted = r
	if d.err != nil {
		return api.Report{}, d.err
	}
	if ok, err := r.Approve(d.app); err != nil || !ok {
		return api.Report{}, errors.New("refused at the door")
	}
	return d.report, nil
}

func (d *fakeDoor) Status(context.Context, string) ([]api.AgentStatus, error) {
	return d.statuses, d.err
}

func (d *fakeDoor) Token(_ context.Context, r api.TokenRequest) (api.Token, error) {
	d.tokenFor = r
	if d.err != nil {
		return api.Token{}, d.err
	}
	return api.Token{Value: secret.New([]byte(d.token))}, nil
}

func (d *fakeDoor) Ledger(_ context.Context, limit int) ([]api.LedgerEntry, error) {
	d.limit = limit
	return d.entries, d.err
}
func (d *fakeDoor) VerifyLedger(context.Context) (api.LedgerVerdict, error) { return d.verdict, d.err }
func (d *fakeDoor) Provisioner(_ context.Context, r api.ProvisionerRequest, _ func(api.Event)) (api.ProvisionerReport, error) {
	return api.ProvisionerReport{Verb: r.Verb}, d.err
}
func (d *fakeDoor) ProvisionerStatus(context.Context, api.ProvisionerRequest) (api.ProvisionerReport, error) {
	return api.ProvisionerReport{Verb: "status"}, d.err
}
func (d *fakeDoor) ProvisionerVerify(context.Context, api.VerifyRequest) (api.VerifyAnswer, error) {
	return d.verified, d.err
}
func (d *fakeDoor) ProvisionerAdopt(context.Context, api.ProvisionerRequest, string, func(agent.Application) (bool, error)) (api.ProvisionerReport, error) {
	return api.ProvisionerReport{Verb: "adopt"}, d.err
}
func (d *fakeDoor) State(context.Context) ([]agent.Record, error) { return d.records, d.err }
func (d *fakeDoor) Close() error                                  { d.closed = true; return nil }

// fakeCloud is a local cloud that is always ready at once.
type fakeCloud struct {
	served   api.CloudServeRequest
	env      api.CloudEnv
	resource string
	log      []api.CloudRequest
	gone     []string
	err      error
	cancel   context.CancelFunc // Serve and a followed log call it, as Ctrl-C would
}

func sampleCloud() api.CloudInfo {
	return api.CloudInfo{Instance: "i-1", TenantID: tenantID, Domain: "contoso.onmicrosoft.com", Subscription: subID, Login: "https://localhost:1", Graph: "https://localhost:2",
		ARM: "https://localhost:3", Vaults: map[string]string{"kv-b": "https://localhost:5", "kv-a": "https://localhost:4"}, CA: "/run/ca.pem", Dir: "/run", Warnings: []string{"not on loopback"}}
}

func (f *fakeCloud) Serve(ctx context.Context, r api.CloudServeRequest, ready func(api.CloudInfo)) error {
	f.served = r
	if f.err != nil {
		return f.err
	}
	ready(sampleCloud())
	f.cancel()
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeCloud) Reset(context.Context, string) ([]string, error) { return f.gone, f.err }

func (f *fakeCloud) Env(_ context.Context, client, resource string) (api.CloudEnv, error) {
	f.env.For, f.resource = client, resource
	return f.env, f.err
}

func (f *fakeCloud) Log(ctx context.Context, follow bool, each func(api.CloudRequest) error) error {
	for _, r := range f.log {
		if err := each(r); err != nil {
			return err
		}
	}
	if follow {
		f.cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

// run is one invocation in a test.
type run struct {
	door     *fakeDoor
	cloud    *fakeCloud
	world    World
	stdin    string
	terminal bool
	live     bool
	color    bool
	width    int
	ctx      context.Context
	cancel   context.CancelFunc
}

func newRun(t *testing.T) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r := &run{ctx: ctx, cancel: cancel}
	r.door = &fakeDoor{plan: samplePlan(agent.Local, agent.Apply), report: sampleReport(), token: "eyJ.abc.def", app: agent.Application{ID: "o", AppID: clientID, DisplayName: "bot"}}
	r.cloud = &fakeCloud{cancel: cancel}
	r.world = World{
		Open: func(_ context.Context, t api.Target) (Door, error) { r.door.target = t; return r.door, nil },
		Up: func(_ context.Context, _ api.UpRequest, events func(api.Event)) (*UpSession, error) {
			for _, e := range r.door.events {
				events(e)
			}
			return &UpSession{Report: r.door.report, Cloud: sampleCloud(), Serve: func(ctx context.Context, ready func(api.ServeInfo)) error {
				ready(api.ServeInfo{URL: "http://127.0.0.1:9"})
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}}, nil
		},
		Cloud: r.cloud,
		Init: func(_ context.Context, q api.InitRequest) (api.InitAnswer, error) {
			return api.InitAnswer{File: "leastkey.yaml", Cloud: "public", Agents: []string{"bot"}, As: api.Caller{Operator: q.Operator, Name: "ann"}}, nil
		},
		Login: func(_ context.Context, q api.LoginRequest) (api.Caller, error) {
			q.Show(api.DeviceCode{URL: "https://microsoft.com/devicelogin", Code: "ABCD-EFGH", Expires: at(1)})
			return api.Caller{Operator: "device-code", Name: "ann", TenantID: tenantID}, nil
		},
		Doctor: func(context.Context, api.Target) ([]finding.Finding, error) {
			return []finding.Finding{{ID: "clock", Question: "Is the clock right", Outcome: finding.Pass, Detail: "off by 20 ms"}}, nil
		},
		Version: api.Version{Version: "0.1.0", Go: "go1.26", Platform: "linux/amd64"},
	}
	return r
}

// do runs the command line and gives exit code, stdout and stderr.
func (r *run) do(args ...string) (int, string, string) {
	var out, story bytes.Buffer
	s := Streams{In: strings.NewReader(r.stdin), Out: &out, Err: &story, Terminal: r.terminal, Live: r.live, Color: r.color, Width: r.width, ErrWidth: r.width}
	code := Run(r.ctx, args, s, r.world)
	return code, out.String(), story.String()
}

// want checks an invocation: its exit code, and texts that stdout and stderr must hold.
func want(t *testing.T, r *run, code int, out, story []string, args ...string) (string, string) {
	t.Helper()
	got, o, e := r.do(args...)
	if got != code {
		t.Errorf("%q: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", args, got, code, o, e)
	}
	for _, w := range out {
		if !strings.Contains(o, w) {
			t.Errorf("%q: stdout lacks %q:\n%s", args, w, o)
		}
	}
	for _, w := range story {
		if !strings.Contains(e, w) {
			t.Errorf("%q: stderr lacks %q:\n%s", args, w, e)
		}
	}
	return o, e
}
