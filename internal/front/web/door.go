package web

import (
	"context"
	"net/http"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

// Door is the slice of control that the pages use. It is opened for one caller, and Close ends nothing that runs.
type Door interface {
	Target() api.Resolved
	Spec() (agent.Spec, error)
	Plan(context.Context, api.PlanRequest) (api.PlanAnswer, error)
	Apply(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Rotate(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Revoke(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Status(ctx context.Context, agent string) ([]api.AgentStatus, error)
	Identity(ctx context.Context, agent string) (api.IdentityAnswer, error)
	Roles(ctx context.Context, agent string) (api.RolesAnswer, error)
	FixRoles(context.Context, api.FixRequest, func(api.Event)) (api.Report, error)
	Preflight(ctx context.Context, r api.PreflightRequest, tell func(api.Event)) (api.PreflightReport, error)
	PreflightRuns(ctx context.Context, agent string, limit int) ([]api.PreflightReport, error)
	PreflightRun(ctx context.Context, agent, id string) (api.PreflightReport, error)
	Ledger(ctx context.Context, limit int) ([]api.LedgerEntry, error)
	VerifyLedger(context.Context) (api.LedgerVerdict, error)
	Provisioner(context.Context, api.ProvisionerRequest, func(api.Event)) (api.ProvisionerReport, error)
	ProvisionerStatus(context.Context, api.ProvisionerRequest) (api.ProvisionerReport, error)
	Close() error
}

// House is what belongs to the server rather than to one cloud: leastkey.yaml, and what an operator may choose from.
type House interface {
	ReadSpec(ctx context.Context) (api.SpecAnswer, error)
	// WriteSpec answers fault.Conflict where the file has changed meanwhile, and fault.Refused where it cannot be written: then the
	// answer's Text is the whole file as it would be.
	WriteSpec(ctx context.Context, actor string, c api.SpecChange) (api.SpecAnswer, error)
	Choices(ctx context.Context, subscription, group string) (api.Choices, error)
	Version() api.Version
	// Refused enters an attempt to change something that the caller's role does not allow.
	Refused(ctx context.Context, actor, action, subject string, why error) error
}

// Jobs is long work that outlives the request.
type Jobs interface {
	Start(agent, verb, actor string, do func(ctx context.Context, events func(api.Event)) (any, error)) (job api.Job, joined bool, err error)
	Job(id string) (api.Job, error)
	List() []api.Job
	Follow(ctx context.Context, id string, after int, each func(api.JobEvent) error) error
}

// Config is everything that the pages need. Every field is needed.
type Config struct {
	// Enter opens the door as whoever asks. It is called once per page, and once more for a job, which may outlive the request.
	Enter func(*http.Request) (Door, error)
	// Recall opens the door as Enter does or, where none opens, the last one that did: for reading what is kept.
	Recall func(*http.Request) (Door, error)
	// Who is whoever asks, as the server's session knows it; ok is false for nobody.
	Who   func(*http.Request) (name string, level api.Level, ok bool)
	House House
	Jobs  Jobs
}
