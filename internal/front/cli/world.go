// Package cli is the command line: it collects what somebody asks for, hands it to the door and renders the answer. It decides nothing.
//
// stdout is the answer, stderr the story. Whatever came from outside passes [clean] before a terminal sees it.
package cli

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// World is what the command line needs from the rest of the program. A nil member makes the commands that need it fail.
type World struct {
	// Open opens the door for one target; the caller closes it.
	Open func(context.Context, api.Target) (Door, error)
	// Remote opens the door of an admin server; the caller closes it.
	Remote func(context.Context, Remote) (Door, error)
	// Up starts the local cloud and does the main job. It may return a session together with an error: its report then says how far it
	// came, and Close must still be called.
	Up func(context.Context, api.UpRequest, func(api.Event)) (*UpSession, error)
	// Serve runs the admin server until the context ends; ready is called once, when it answers.
	Serve func(ctx context.Context, r api.ServeRequest, ready func(api.ServeInfo)) error
	// Tokens are those of the admin server.
	Tokens AdminTokens
	// Cloud is the local cloud alone.
	Cloud Cloud
	// Init writes a leastkey.yaml and refuses where one exists.
	Init func(context.Context, api.InitRequest) (api.InitAnswer, error)
	// Login logs the operator in and keeps the session in the keystore.
	Login func(context.Context, api.LoginRequest) (api.Caller, error)
	// Doctor checks what has to work before anything else can. A check that fails is a finding; an error means that it could not begin.
	Doctor func(context.Context, api.Target) ([]finding.Finding, error)
	// ProvisionerToken gets a token of the Provisioner with nothing but its state file and its key.
	ProvisionerToken func(ctx context.Context, t api.Target, stateFile, scope string) (api.Token, error)
	// Checks are what the preflight asks, in its order.
	Checks func() []api.PreflightCheck
	// Version says which leastkey this is.
	Version api.Version
}

// Door is control as the command line uses it. Events may be called from several goroutines at once. Approve of a request is called
// before the first change of a plan that is not empty, and never after it.
type Door interface {
	Target() api.Resolved
	// Plan may return an answer together with an error: its blockers then say why it must not go on.
	Plan(context.Context, api.PlanRequest) (api.PlanAnswer, error)
	// Apply, Migrate, Rotate, Revoke and Adopt may return a report together with an error: its steps then say how far they came.
	Apply(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Migrate(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Rotate(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Revoke(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Adopt(context.Context, api.AdoptRequest, func(api.Event)) (api.Report, error)
	// Status is of one agent, or of all for "".
	Status(ctx context.Context, agent string) ([]api.AgentStatus, error)
	// Roles lists what an identity holds beside what it needs; FixRoles repairs that and nothing else, and may return a report together
	// with an error.
	Roles(ctx context.Context, agent string) (api.RolesAnswer, error)
	FixRoles(context.Context, api.FixRequest, func(api.Event)) (api.Report, error)
	Token(context.Context, api.TokenRequest) (api.Token, error)
	// Ledger gives the newest entries, oldest first; a limit of 0 means all.
	Ledger(ctx context.Context, limit int) ([]api.LedgerEntry, error)
	VerifyLedger(context.Context) (api.LedgerVerdict, error)
	// State gives every record, in the order of the agents' names.
	State(context.Context) ([]agent.Record, error)
	// Provisioner carries out one of the Provisioner's plans, and may return a report together with an error.
	Provisioner(context.Context, api.ProvisionerRequest, func(api.Event)) (api.ProvisionerReport, error)
	ProvisionerStatus(context.Context, api.ProvisionerRequest) (api.ProvisionerReport, error)
	ProvisionerVerify(context.Context, api.VerifyRequest) (api.VerifyAnswer, error)
	ProvisionerAdopt(ctx context.Context, r api.ProvisionerRequest, appID string, approve func(agent.Application) (bool, error)) (api.ProvisionerReport, error)
	// Preflight runs every check; events hears each finding. A report that has a digest and comes with an error was not kept.
	Preflight(context.Context, api.PreflightRequest, func(api.Event)) (api.PreflightReport, error)
	// PreflightRuns gives the kept reports, the newest first and without evidence; a limit of 0 means all.
	PreflightRuns(ctx context.Context, agent string, limit int) ([]api.PreflightReport, error)
	PreflightRun(ctx context.Context, agent, id string) (api.PreflightReport, error)
	PreflightVerify(context.Context, api.PreflightReport) (api.PreflightVerdict, error)
	Close() error
}

// UpSession is a local cloud on which the main job is done.
type UpSession struct {
	Report api.Report
	Cloud  api.CloudInfo
	Next   []string // commands to try, as they must be typed to find this cloud; nil means the usual ones
	// Serve runs the admin server until the context ends or something fails; ready is called once, when it answers. It is not called for
	// UpRequest.Once.
	Serve func(ctx context.Context, ready func(api.ServeInfo)) error
	Close func() error // nil means that there is nothing to close
}

// AdminTokens are the tokens of the admin server.
type AdminTokens interface {
	Add(ctx context.Context, name string, level api.Level) (api.NewAdminToken, error)
	List(context.Context) ([]api.AdminToken, error)
	Revoke(ctx context.Context, name string) error
}

// Cloud is the local cloud alone.
type Cloud interface {
	// Serve blocks until the context ends, which is no error. ready is called once, when it answers.
	Serve(ctx context.Context, r api.CloudServeRequest, ready func(api.CloudInfo)) error
	// Reset forgets a local cloud that is not running, with its record and keys, and says which files are gone. An empty state is
	// LEASTKEY_HOME/local.
	Reset(ctx context.Context, state string) ([]string, error)
	// Env says what a client (az, go, js, python, curl) needs to use the running one. With a resource's ARM id it also says how to ask for
	// tokens of that resource's managed identities.
	Env(ctx context.Context, client, resource string) (api.CloudEnv, error)
	// Log gives the requests so far and, with follow, those that come, until the context ends.
	Log(ctx context.Context, follow bool, each func(api.CloudRequest) error) error
}
