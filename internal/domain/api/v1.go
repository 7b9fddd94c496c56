package api

import (
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// What the HTTP API and its client say to each other beside the requests and answers of the door.

// WhoAmI is the caller as the server knows it, and where the server's work goes.
type WhoAmI struct {
	Name    string   `json:"name"`
	Level   Level    `json:"role"`
	Session bool     `json:"session"` // a browser's session, not a token
	Target  Resolved `json:"target"`
}

// AgentSummary is one agent, as leastkey.yaml and the record have it; nothing is asked of the cloud.
type AgentSummary struct {
	Agent       string     `json:"agent"`
	Kind        agent.Kind `json:"kind"`
	Specified   bool       `json:"specified"` // leastkey.yaml has it
	Configured  bool       `json:"configured"`
	AppID       string     `json:"app_id,omitempty"`
	PrincipalID string     `json:"principal_id,omitempty"`
	ResourceID  string     `json:"resource_id,omitempty"`
	Expires     time.Time  `json:"certificate_expires,omitzero"`
}

// PlanOrder asks the server to make a plan and to keep it for approval.
type PlanOrder struct {
	Agent         string     `json:"agent,omitempty"` // "" means the only agent
	Verb          agent.Verb `json:"verb"`            // apply, rotate, revoke, migrate or fix-roles
	CreateBeside  bool       `json:"create_beside,omitempty"`
	RemoveForeign []string   `json:"remove_foreign,omitempty"`
	Purge         bool       `json:"purge,omitempty"`           // revoke
	AllAssigned   bool       `json:"all_assignments,omitempty"` // revoke
	Overlap       string     `json:"overlap,omitempty"`         // rotate: a duration such as 24h; "" is the spec's
	Release       bool       `json:"release,omitempty"`         // let approve tokens carry it out; needs an apply token
}

// Verbs are the verbs that plans are made for.
func (PlanOrder) Verbs() []agent.Verb {
	return []agent.Verb{agent.Apply, agent.Rotate, agent.Revoke, agent.Migrate, agent.FixRoles}
}

// KeptPlan is a plan that can be approved by its digest until it expires.
type KeptPlan struct {
	PlanAnswer
	Consent Consent   `json:"consent"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by"`
	Level   Level     `json:"role"`                  // of who made it
	Release string    `json:"released_by,omitempty"` // who let approve tokens carry it out; "" is nobody: it was only looked at
	Done    bool      `json:"done,omitempty"`        // it was carried out: another change needs another plan
}

// BlockedPlan is why a plan must not go on: an error that comes with the plan, whose blockers say more.
type BlockedPlan struct {
	Problem
	Plan *PlanAnswer `json:"plan,omitempty"`
}

// UnwrittenSpec is a change that could not be written, with the file as it would be: whoever may write it does.
type UnwrittenSpec struct {
	Problem
	Spec *SpecAnswer `json:"spec,omitempty"`
}

// Approval approves a plan.
type Approval struct {
	Confirm string `json:"confirm,omitempty"` // the agent's name: what a revoke needs
}

// ActionOrder asks for a change without a plan that is kept: pinned by a digest, or, on the local cloud alone, approved unseen.
type ActionOrder struct {
	Digest        string   `json:"digest,omitempty"` // at least 12 hex digits
	Approve       bool     `json:"approve,omitempty"`
	Confirm       string   `json:"confirm,omitempty"`         // revoke: the agent's name
	Overlap       string   `json:"overlap,omitempty"`         // rotate
	Purge         bool     `json:"purge,omitempty"`           // revoke
	AllAssigned   bool     `json:"all_assignments,omitempty"` // revoke
	CreateBeside  bool     `json:"create_beside,omitempty"`   // of the Provisioner
	RemoveForeign []string `json:"remove_foreign,omitempty"`  // as the plan was made with
}

// ProvisionerOrder asks for one of the Provisioner's plans, or, with a digest, for carrying it out.
type ProvisionerOrder struct {
	Verb         agent.Verb `json:"verb"` // bootstrap, migrate, rotate, retire or rollback
	CreateBeside bool       `json:"create_beside,omitempty"`
	SoleHolder   bool       `json:"sole_holder,omitempty"`
	OthersAccept bool       `json:"others_accept,omitempty"`
	NoBackUp     bool       `json:"no_backup,omitempty"`
	SHA256       string     `json:"sha256,omitempty"`  // retire
	Overlap      string     `json:"overlap,omitempty"` // rotate
	Digest       string     `json:"digest,omitempty"`
	Approve      bool       `json:"approve,omitempty"`
}

// AgentFindings are the findings of the newest preflight run of an agent.
type AgentFindings struct {
	Run      string            `json:"run"`
	At       time.Time         `json:"at"`
	Green    bool              `json:"green"`
	Findings []finding.Finding `json:"findings"`
}
