// Package httpapi is the admin server's HTTP face: it knows who asks, lets nobody else in, hands the request to the door and renders the
// answer. It decides nothing about identities.
package httpapi

import (
	"context"
	"encoding/json"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Door is control as the server uses it, for one caller. It is opened per request and let go of with Close, which ends nothing that runs.
type Door interface {
	Target() api.Resolved
	Spec() (agent.Spec, error)
	Caller(context.Context) (api.Caller, error)
	Plan(context.Context, api.PlanRequest) (api.PlanAnswer, error)
	Apply(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Migrate(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Rotate(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Revoke(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Status(ctx context.Context, agent string) ([]api.AgentStatus, error)
	State(context.Context) ([]agent.Record, error)
	// Identity looks the identity up; Roles lists what it holds beside what it needs; FixRoles repairs that and nothing else.
	Identity(ctx context.Context, agent string) (api.IdentityAnswer, error)
	Roles(ctx context.Context, agent string) (api.RolesAnswer, error)
	FixRoles(context.Context, api.FixRequest, func(api.Event)) (api.Report, error)
	// Preflight runs every check and keeps the report; tell hears each finding as it comes.
	Preflight(ctx context.Context, r api.PreflightRequest, tell func(api.Event)) (api.PreflightReport, error)
	// PreflightRuns gives the kept reports of an agent, the newest first, without their findings' evidence; PreflightRun gives one, whole.
	PreflightRuns(ctx context.Context, agent string, limit int) ([]api.PreflightReport, error)
	PreflightRun(ctx context.Context, agent, id string) (api.PreflightReport, error) // "" or "latest" is the newest; fault.NotFound
	// PreflightVerify tells whether a report is as it was made, and made here.
	PreflightVerify(context.Context, api.PreflightReport) (api.PreflightVerdict, error)
	Ledger(ctx context.Context, limit int) ([]api.LedgerEntry, error)
	VerifyLedger(context.Context) (api.LedgerVerdict, error)
	Provisioner(context.Context, api.ProvisionerRequest, func(api.Event)) (api.ProvisionerReport, error)
	ProvisionerStatus(context.Context, api.ProvisionerRequest) (api.ProvisionerReport, error)
	Close() error
}

// House opens doors, and looks after what belongs to the server rather than to one cloud.
type House interface {
	// Enter opens the door for a caller of that name, as the ledger will have it. leastkey.yaml is read anew where it has changed.
	Enter(ctx context.Context, actor string) (Door, error)
	// Recall opens the door as Enter does or, where none opens, the last one that did: for reading what is kept, which needs no cloud.
	Recall(ctx context.Context, actor string) (Door, error)
	// ReadSpec shows leastkey.yaml; WriteSpec changes it under its lock, and keeps comments. fault.Conflict: it has changed meanwhile.
	// fault.Refused: it cannot be written, and the answer's Text is the whole file as it would be.
	ReadSpec(ctx context.Context) (api.SpecAnswer, error)
	WriteSpec(ctx context.Context, actor string, c api.SpecChange) (api.SpecAnswer, error)
	// Choices are what the operator may choose from; group narrows the resources.
	Choices(ctx context.Context, subscription, group string) (api.Choices, error)
	Version() api.Version
	// Refused enters an attempt to change something that the caller's role does not allow.
	Refused(ctx context.Context, actor, action, subject string, why error) error
	// Ready is nil if the record can be read and written.
	Ready(context.Context) error
}

// Tokens are the admin tokens. Check compares in constant time. Current is the token of a name, for a session that was opened with it. Both
// answer fault.Unauthenticated for one that is not known or was revoked.
type Tokens interface {
	Check(ctx context.Context, presented secret.Value) (api.AdminToken, error)
	Current(ctx context.Context, name string) (api.AdminToken, error)
}

// Jobs is long work that outlives the request.
type Jobs interface {
	Start(agent, verb, actor string, do func(ctx context.Context, events func(api.Event)) (any, error)) (job api.Job, joined bool, err error)
	Job(id string) (api.Job, error)
	List() []api.Job
	Follow(ctx context.Context, id string, after int, each func(api.JobEvent) error) error
	Wait(ctx context.Context, id string) (api.Job, error)
}

// problem is the body of an error.
func problem(err error) json.RawMessage {
	b, e := json.Marshal(api.ProblemOf(err))
	if e != nil {
		return json.RawMessage(`{"type":"about:blank","title":"Internal Server Error","status":500}`)
	}
	return b
}
