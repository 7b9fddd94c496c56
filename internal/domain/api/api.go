// Package api holds the requests, answers and events that the door (control), its clients and its faces share, and the one table
// between error codes, HTTP statuses and exit codes.
package api

import (
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Target says where and as whom a command works. Zero fields are taken from leastkey.yaml, or from the running local cloud where no
// yaml is found.
type Target struct {
	File         string      // path of leastkey.yaml; "" looks in the working directory
	Cloud        agent.Cloud //
	Tenant       string
	Subscription string
	Operator     string
	Keystore     string // auto, keychain, age:PATH, memory
	AgeIdentity  string // path of an age identity file
}

// PlanRequest asks what would change.
type PlanRequest struct {
	Agent         string   // "" means the only agent of the spec
	CreateBeside  bool     // create although another application has the display name
	RemoveForeign []string // SHA-256 of certificates, or key ids of passwords, to be removed
	Verb          agent.Verb
	Purge         bool           // revoke: from the recycle bin too
	AllAssigned   bool           // revoke: assignments that are not ours too
	Overlap       *time.Duration // rotate: how long the old certificate stays; nil is the spec's
	EnvFile       string         // migrate: the environment file with the client secret; "" is the agent's env_file
}

// PlanAnswer is the plan, and the open run that apply would continue.
type PlanAnswer struct {
	Plan   agent.Plan `json:"plan"`
	Digest string     `json:"digest"`
	Open   *agent.Run `json:"open,omitempty"`
	As     Caller     `json:"as"`
	Rest   bool       `json:"rest,omitempty"` // it is the half that another person left, for a principal that only the file names

	Adopts *agent.Application `json:"adopts,omitempty"` // the application that would be recorded: shown with its owners and credentials
}

// ApplyRequest asks to carry a plan out. Either Plan (a file that somebody approved) or the fields of PlanRequest decide which.
type ApplyRequest struct {
	PlanRequest
	Plan   *agent.Plan // pinned
	Digest string      // pinned: apply refuses if the plan now has another
	Only   agent.Plane // graph or arm; "" is both
	DryRun bool        // migrate: only look
	Issued []byte      // rotate: the DER of a certificate that an authority has issued for the key of a rotation that was stopped
	// Approve shows the plan to a person; nil, or true for an answer, approves.
	Approve func(PlanAnswer) (bool, error)
}

// Report is what apply, up, migrate, rotate and revoke answer.
type Report struct {
	Agent         string             `json:"agent"`
	Kind          agent.Kind         `json:"kind"`
	Cloud         agent.Cloud        `json:"cloud"`
	TenantID      string             `json:"tenant_id"`
	ApplicationID string             `json:"application_id"` // client id (appId)
	ObjectID      string             `json:"application_object_id,omitempty"`
	PrincipalID   string             `json:"principal_id"`
	ResourceID    string             `json:"resource_id,omitempty"` // of a managed identity, which has no application object
	LogsIn        string             `json:"logs_in,omitempty"`     // who can log in as an identity that has no key; "" of one that has
	Key           secret.Ref         `json:"key"`
	NotAfter      time.Time          `json:"certificate_expires,omitzero"`
	Roles         []Granted          `json:"roles"`
	Proof         Proof              `json:"proof"`
	Steps         []StepReport       `json:"steps"`
	Findings      []finding.Finding  `json:"findings,omitempty"`
	Digest        string             `json:"plan_digest"`
	LedgerHead    string             `json:"ledger_head"`
	EnvFile       string             `json:"env_file,omitempty"`
	Changed       bool               `json:"changed"`
	Rest          *agent.Plan        `json:"rest,omitempty"` // what --only left
	Revoked       bool               `json:"revoked,omitempty"`
	TokensUntil   time.Time          `json:"tokens_until,omitzero"` // revoke: until when an issued token may live
	Rotated       bool               `json:"rotated,omitempty"`
	OldUntil      time.Time          `json:"old_certificate_until,omitzero"` // rotate: until when certificates that were rotated out stay
	Prepared      bool               `json:"prepared,omitempty"`             // migrate: a certificate works, beside what was there
	Plan          *agent.Plan        `json:"plan,omitempty"`                 // dry run
	Adopts        *agent.Application `json:"adopts,omitempty"`               // dry run: the application that would be recorded
	Requests      int                `json:"requests"`
	CriticalPath  int64              `json:"critical_path_ms"`
	WallMS        int64              `json:"wall_ms"`
}

// Granted is a role of the report.
type Granted struct {
	Role   string `json:"role"`
	RoleID string `json:"role_id"`
	Scope  string `json:"scope"`
	Ours   bool   `json:"ours"`
	Why    string `json:"why,omitempty"`
}

// Proof is what was read back. Where ReadBack is false nothing was, and its counts say nothing.
type Proof struct {
	ReadBack            bool     `json:"read_back"`
	Logins              int      `json:"logins"`
	PasswordCredentials int      `json:"password_credentials"`
	ForeignCredentials  int      `json:"foreign_credentials"`
	Readable            []string `json:"assignments_read_at,omitempty"`
}

// StepReport is one step of the report.
type StepReport struct {
	Step   string `json:"step"`
	Title  string `json:"title"`
	Status Status `json:"status"`
	Detail string `json:"detail,omitempty"`
	MS     int64  `json:"ms"`
}

// Status is how a step stands.
type Status string

// The statuses.
const (
	Begun   Status = "begun"
	Waiting Status = "waiting"
	Done    Status = "done"
	Already Status = "already"
	Failed  Status = "failed"
	NotRun  Status = "not-run"
)

// Event tells progress.
type Event struct {
	At     time.Time `json:"at"`
	Agent  string    `json:"agent,omitempty"`
	Step   string    `json:"step,omitempty"`
	Title  string    `json:"title,omitempty"`
	Status Status    `json:"status"`
	Detail string    `json:"detail,omitempty"`
	MS     int64     `json:"ms,omitempty"`

	Finding *finding.Finding `json:"finding,omitempty"` // of the preflight: the answer of a check, whose id is Step
}

// Caller is the operator in use.
type Caller struct {
	Operator     string `json:"operator"` // az, device-code, …
	Name         string `json:"name"`     // user principal name or app id
	ObjectID     string `json:"object_id"`
	TenantID     string `json:"tenant_id"` // the tid of the token in use
	Subscription string `json:"subscription"`

	// What the token says of an application: its client id, the application permissions and how it logged in (appidacr: 1 is a client
	// secret, 2 a certificate or assertion).
	AppID    string   `json:"app_id,omitempty"`
	Roles    []string `json:"roles,omitempty"`
	AppIDACR string   `json:"appidacr,omitempty"`
}

// AgentStatus is one agent as recorded and as found.
type AgentStatus struct {
	Record   agent.Record      `json:"record"`
	Open     *agent.Run        `json:"open,omitempty"`
	Key      agent.KeyState    `json:"key,omitempty"`
	Expires  time.Time         `json:"expires,omitzero"`
	Renewal  time.Time         `json:"renewal_due,omitzero"` // by the spec's renew_at
	Findings []finding.Finding `json:"findings,omitempty"`
}

// TokenRequest asks for a token of the agent itself.
type TokenRequest struct {
	Agent string
	Scope string // "" means Azure Resource Manager's /.default
}

// Token is an access token. It is the answer itself; it is never logged.
type Token struct {
	Value   secret.Value
	Expires time.Time
	Scope   string
}

// AdoptRequest brings an existing application under management.
type AdoptRequest struct {
	Agent   string
	AppID   string
	Approve func(agent.Application) (bool, error) // shown its owners and credentials first; nil refuses

	ResourceID string // instead of AppID: the ARM id of a managed identity
	// ApproveIdentity is Approve of a managed identity, with the roles that it holds.
	ApproveIdentity func(agent.UserAssignedIdentity, []agent.Assignment) (bool, error)
}

// LedgerEntry is one line of the ledger.
type LedgerEntry struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Action  string    `json:"action"`
	Subject string    `json:"subject"` // agent
	Allowed bool      `json:"allowed"`
	Detail  string    `json:"detail,omitempty"` // digest, reason
	Prev    string    `json:"prev"`             // hash of the entry before, "" for the first
	Hash    string    `json:"hash"`
}

// LedgerVerdict is the answer of ledger verify.
type LedgerVerdict struct {
	Entries int64  `json:"entries"`
	Head    string `json:"head"`
	Intact  bool   `json:"intact"`
	Broken  int64  `json:"broken_at,omitempty"` // the first entry that does not chain
}
