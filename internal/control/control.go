// Package control is the door: every face asks it, and nothing else lets a verb work. It identifies the caller, decides, writes the
// ledger and only then acts; without a ledger entry nothing is done.
package control

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
	"github.com/leastkey/leastkey/internal/work/preflight"
	"github.com/leastkey/leastkey/internal/work/provision"
)

// State is the record of agents.
type State interface {
	Agent(ctx context.Context, name string) (agent.Record, error)
	Agents(ctx context.Context) ([]agent.Record, error)
	Update(ctx context.Context, name string, change func(*agent.Record) error) error
}

// Journal is the journal of runs.
type Journal interface {
	job.Journal
	Start(ctx context.Context, run agent.Run) error
	Open(ctx context.Context, agentName string) (*agent.Run, error)
	Finish(ctx context.Context, runID string, status agent.RunStatus) error
	Last(ctx context.Context, agentName string) (*agent.Run, error) // that has ended
	Runs(ctx context.Context, agentName string) ([]agent.Run, error)
}

// Ledger says who asked for what.
type Ledger interface {
	Append(ctx context.Context, e api.LedgerEntry) (api.LedgerEntry, error)
	Head(ctx context.Context) (string, error)
	List(ctx context.Context, limit int) ([]api.LedgerEntry, error)
	Verify(ctx context.Context) (api.LedgerVerdict, error)
	Unguarded(ctx context.Context) ([]string, error) // what protects it and is gone
}

// Adoptable finds an application that is not recorded.
type Adoptable interface {
	ApplicationByAppID(ctx context.Context, appID string) (agent.Application, error)
	Principal(ctx context.Context, appID string) (agent.Principal, error)
	Owners(ctx context.Context, objectID string) ([]agent.Owner, error)
}

// Config is everything behind the door. Every field is needed but Wait.
type Config struct {
	Where     api.Resolved
	Spec      agent.Spec
	SpecError error // why there is no spec: a command that needs one fails with it
	Roles     role.Catalogue
	Actor     string // the person of the operating system
	State     State
	Journal   Journal
	Ledger    Ledger
	Observer  *observe.Observer
	Provision *provision.Provision
	Adopt     Adoptable
	// Caller identifies the operator by the tokens that will be used, for Graph and for ARM.
	Caller func(ctx context.Context) (api.Caller, error)
	// Token asks for a token as the agent.
	Token func(ctx context.Context, appID string, key crypto.Signer, der []byte, scope string) (api.Token, error)
	// LegacyEnv reads the environment file of a runtime that logs in with a client secret: named, or the spec's where that is "". A secret
	// that is not there is empty.
	LegacyEnv func(named, spec string) (agent.Legacy, secret.Value, error)
	// LegacySecret asks the login service whether a client secret still opens an application; said is its code where it does not.
	LegacySecret func(ctx context.Context, appID string, v secret.Value) (works bool, said string, err error)
	// Lock takes the agent's lock, freed by unlock or by death; waiting says who holds it.
	Lock     func(ctx context.Context, agentName string, waiting func(holder string)) (unlock func() error, err error)
	Requests func() int    // outside requests so far
	Lifetime time.Duration // how long a token may live that was issued a moment ago
	// Provisioner opens what the Provisioner's plans act through, its keystore among it; nil means that there is none.
	Provisioner func() (*ProvisionerParts, error)
	// Preflight asks everything of an identity.
	Preflight *preflight.Preflight
	Runs      Runs   // its reports
	Version   string // of leastkey, for reports
	Close     func() error
}

// Door is control for one target.
type Door struct{ c Config }

// New opens the door.
func New(c Config) *Door { return &Door{c} }

// As is the door for somebody else: an admin token's name instead of the person of the operating system. The operator stays.
func (d *Door) As(actor string) *Door {
	c := d.c
	c.Actor = actor
	return &Door{c}
}

// Spec is what is wanted, or why there is none.
func (d *Door) Spec() (agent.Spec, error) { return d.c.Spec, d.c.SpecError }

// Target says where the door leads.
func (d *Door) Target() api.Resolved { return d.c.Where }

// Close lets go of everything.
func (d *Door) Close() error { return d.c.Close() }

// enter writes the ledger: who asks for what, and whether it is allowed. What cannot be written down is not done.
func (d *Door) enter(ctx context.Context, action, subject, detail string, refusal error) error {
	if refusal != nil {
		detail = strings.TrimPrefix(detail+"; "+refusal.Error(), "; ")
	}
	_, err := d.c.Ledger.Append(ctx, api.LedgerEntry{Actor: d.c.Actor, Action: action, Subject: subject, Allowed: refusal == nil, Detail: detail})
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return refusal
}

// named is the agent that the request means: the only one of the spec where none is named.
func (d *Door) named(name string) (*agent.Agent, error) {
	if d.c.SpecError != nil {
		return nil, d.c.SpecError
	}
	var names []string
	for n := range d.c.Spec.Agents {
		names = append(names, n)
	}
	slices.Sort(names)
	if name == "" {
		if len(names) == 1 {
			return d.c.Spec.Agents[names[0]], nil
		}
		return nil, fault.New(fault.Usage, "which agent?", "name one of "+strings.Join(names, ", "))
	}
	if a, ok := d.c.Spec.Agents[name]; ok {
		return a, nil
	}
	hint := "the spec has " + strings.Join(names, ", ")
	if near := role.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return nil, fault.New(fault.Usage, fmt.Sprintf("no agent %q in the spec", name), hint)
}

// Caller identifies the operator, and refuses one of another tenant than the spec's.
func (d *Door) Caller(ctx context.Context) (api.Caller, error) {
	who, err := d.c.Caller(ctx)
	if err != nil {
		return who, err
	}
	if !strings.EqualFold(who.TenantID, d.c.Where.TenantID) {
		return who, fault.New(fault.Refused, fmt.Sprintf("the operator's token is of tenant %s, the spec's tenant is %s", who.TenantID, d.c.Where.TenantID),
			"log in to the right tenant (az login --tenant "+d.c.Where.TenantID+"), or correct tenant")
	}
	return who, nil
}

// record is what memory knows of the agent. A record of another local cloud is refused: its ids mean nothing here.
func (d *Door) record(ctx context.Context, name string) (agent.Record, error) {
	rec, err := d.c.State.Agent(ctx, name)
	if err != nil {
		return rec, err
	}
	if rec.Provisioned() && rec.Instance != d.c.Where.Instance {
		return rec, fault.New(fault.Refused, fmt.Sprintf("the record of %s is of local cloud %s, not of %s", name, rec.Instance, d.c.Where.Instance), "leastkey cloud reset forgets both")
	}
	return rec, nil
}

// Ledger lists the newest entries, oldest first; 0 is all.
func (d *Door) Ledger(ctx context.Context, limit int) ([]api.LedgerEntry, error) {
	return d.c.Ledger.List(ctx, limit)
}

// VerifyLedger recomputes the chain.
func (d *Door) VerifyLedger(ctx context.Context) (api.LedgerVerdict, error) {
	return d.c.Ledger.Verify(ctx)
}

// State lists the record of every agent; the Provisioner is none. An agent that was revoked has left only its name, and is not one any more.
func (d *Door) State(ctx context.Context) ([]agent.Record, error) {
	all, err := d.c.State.Agents(ctx)
	return slices.DeleteFunc(all, func(r agent.Record) bool { return r.Blank() || r.Agent == provisioner.Name }), err
}

// Token asks for a token as the agent, with its own key: no operator is involved.
func (d *Door) Token(ctx context.Context, r api.TokenRequest) (api.Token, error) {
	name, err := d.recordedName(ctx, r.Agent)
	if err != nil {
		return api.Token{}, err
	}
	rec, err := d.record(ctx, name)
	if err != nil {
		return api.Token{}, err
	}
	active := rec.Active()
	if _, err := d.named(name); err != nil && rec.Blank() {
		return api.Token{}, fault.New(fault.Usage, "no agent "+name+" here", "leastkey status lists them")
	}
	if a, err := d.named(name); active == nil && (rec.Managed() || (err == nil && a.Keyless())) {
		return api.Token{}, d.enter(ctx, "token", name, r.Scope, noKey(rec))
	}
	if active == nil {
		return api.Token{}, fault.New(fault.NotFound, "agent "+name+" has no active key here", "leastkey apply "+name)
	}
	if err := d.enter(ctx, "token", name, r.Scope, nil); err != nil {
		return api.Token{}, err
	}
	key, err := d.c.Provision.Keys.Open(ctx, active.Ref)
	if err != nil {
		return api.Token{}, fmt.Errorf("open key %s: %w", active.Ref, err)
	}
	return job.Retry(ctx, "a token for "+name, func(ctx context.Context) (api.Token, error) {
		return d.c.Token(ctx, rec.AppID, key, active.DER, r.Scope)
	})
}

// noKey refuses a token of an identity that has no key: whoever could ask for one here could be it anywhere.
func noKey(rec agent.Record) error {
	who, hint := "the workload whose issuer it trusts", "there, the SDK exchanges the workload's own token (AZURE_FEDERATED_TOKEN_FILE); "
	if rec.Managed() {
		who, hint = "code on a resource that it is assigned to", "there, the SDK asks the managed-identity endpoint; "
	}
	return fault.New(fault.Refused, "agent "+rec.Agent+" has no key: only "+who+" can log in as it", hint+"AZURE_CLIENT_ID is "+rec.AppID)
}

// recordedName is the agent that is meant where the spec may be missing: the only recorded one.
func (d *Door) recordedName(ctx context.Context, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	if a, err := d.named(""); err == nil {
		return a.Name, nil
	}
	all, err := d.State(ctx)
	if err != nil {
		return "", err
	}
	if len(all) == 1 {
		return all[0].Agent, nil
	}
	return "", fault.New(fault.Usage, "which agent?", "name one: leastkey status lists them")
}
