package api

import (
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// ProvisionerRequest asks for one of the Provisioner's plans, or for carrying it out. Verb is bootstrap, migrate, rotate, retire or
// rollback.
type ProvisionerRequest struct {
	Verb         agent.Verb
	StateFile    string   // "" is LEASTKEY_STATE_FILE, then leastkey.yaml's, then .entraclaw-state.json from the current folder upward
	EnvFile      string   // migrate: the environment file that may hold the secret; "" is .env beside the state file
	Also         []string // migrate: further places to search
	Edit         []string // migrate: other files from which the secret is removed, once their diff was shown
	CreateBeside bool
	SoleHolder   bool
	OthersAccept bool
	NoBackUp     bool
	Issued       []byte // rotate: the DER of a certificate that an authority has issued for the key of a rotation that was stopped
	SHA256       string // retire
	Overlap      time.Duration
	DryRun       bool
	Digest       string // pinned: refuses if the plan now has another
	// Approve shows the plan to a person; nil, or true for an answer, approves.
	Approve func(PlanAnswer) (bool, error)
}

// ProvisionerReport is what the Provisioner's commands answer.
type ProvisionerReport struct {
	Verb          agent.Verb          `json:"verb"`
	Cloud         agent.Cloud         `json:"cloud"`
	TenantID      string              `json:"tenant_id"`
	ApplicationID string              `json:"application_id,omitempty"` // client id
	ObjectID      string              `json:"application_object_id,omitempty"`
	PrincipalID   string              `json:"principal_id,omitempty"`
	StateFile     string              `json:"state_file,omitempty"`
	Key           secret.Ref          `json:"key"`
	SHA256        string              `json:"certificate_sha256,omitempty"`
	NotAfter      time.Time           `json:"certificate_expires,omitzero"`
	Permissions   []string            `json:"permissions,omitempty"`
	Migrated      *Migrated           `json:"migrated,omitempty"`
	Others        []agent.Certificate `json:"other_certificates,omitempty"` // oldest first
	Steps         []StepReport        `json:"steps"`
	Findings      []finding.Finding   `json:"findings,omitempty"`
	Plan          *agent.Plan         `json:"plan,omitempty"` // of a dry run
	Digest        string              `json:"plan_digest,omitempty"`
	LedgerHead    string              `json:"ledger_head,omitempty"`
	Changed       bool                `json:"changed"`
	Requests      int                 `json:"requests"`
	WallMS        int64               `json:"wall_ms"`
}

// Migrated is what a migration has done, as it is told at its end: "migrated N password credentials; secret purged from disk".
type Migrated struct {
	Passwords int                 `json:"passwords_removed"`
	Left      int                 `json:"passwords_left"` // read back
	Purged    []string            `json:"purged"`         // files that held the secret and do not any more
	Places    []provisioner.Place `json:"places_left,omitempty"`
	BackUp    string              `json:"back_up,omitempty"`
	Expires   time.Time           `json:"back_up_expires,omitzero"`
}

// VerifyRequest asks for the checklist.
type VerifyRequest struct {
	StateFile string
	Also      []string // folders and files to search besides the state file's folder
	Runbook   string   // path of the runbook that has to be there; "" is docs/runbooks/cert-auth-migration.md beside the state file
	Helper    string   // the token helper that has to be reachable; "" is provisioner-token on the PATH
}

// VerifyAnswer is the checklist, each item with its evidence.
type VerifyAnswer struct {
	TenantID      string            `json:"tenant_id"`
	ApplicationID string            `json:"application_id"`
	Cloud         agent.Cloud       `json:"cloud"`
	StateFile     string            `json:"state_file"`
	Key           secret.Ref        `json:"key"`
	SHA256        string            `json:"certificate_sha256,omitempty"`
	NotAfter      time.Time         `json:"certificate_expires,omitzero"`
	At            time.Time         `json:"at"`
	Findings      []finding.Finding `json:"findings"`
	Migrated      *Migrated         `json:"migrated,omitempty"` // by all migrations that the journal knows; nil if there was none
	LedgerHead    string            `json:"ledger_head"`
}
