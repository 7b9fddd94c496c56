package api

import (
	"encoding/json"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Level is what an admin token may do. Each includes the ones before.
type Level string

// The levels.
const (
	View    Level = "view"    // look: status, plans, findings, ledger
	Approve Level = "approve" // run the preflight, and carry out a plan that an apply token has released, by its digest
	Full    Level = "apply"   // everything
)

// Includes tells whether the level may do what needs another. An unknown level includes nothing.
func (l Level) Includes(need Level) bool {
	rank := map[Level]int{View: 1, Approve: 2, Full: 3}
	return rank[l] > 0 && rank[need] > 0 && rank[l] >= rank[need]
}

// AdminToken is a token of the admin server as it is kept: its SHA-256 alone.
type AdminToken struct {
	Name    string    `json:"name"`
	Level   Level     `json:"role"`
	Made    time.Time `json:"made"`
	By      string    `json:"by"`
	Used    time.Time `json:"last_used,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// NewAdminToken is shown once.
type NewAdminToken struct {
	AdminToken
	Value secret.Value `json:"-"`
}

// JobStatus is how a job stands.
type JobStatus string

// The job statuses.
const (
	JobRunning JobStatus = "running"
	JobDone    JobStatus = "done"
	JobFailed  JobStatus = "failed"
)

// Job is long work that goes on whoever asked for it: a disconnected client does not end it, and whoever asks for the same again joins it.
type Job struct {
	ID      string          `json:"id"`
	Agent   string          `json:"agent"`
	Verb    string          `json:"verb"` // apply, rotate, revoke, fix-roles, preflight, provisioner-migrate …
	Actor   string          `json:"actor"`
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended,omitzero"`
	Status  JobStatus       `json:"status"`
	Result  json.RawMessage `json:"result,omitempty"` // the report, which a failed job may have too
	Problem *Problem        `json:"problem,omitempty"`
}

// JobEvent is one event of a job. N counts from 1 without a gap. The last one has Done set, and no event.
type JobEvent struct {
	N     int    `json:"n"`
	Event *Event `json:"event,omitempty"`
	Done  *Job   `json:"done,omitempty"`
}

// Problem is an error over HTTP (RFC 9457, application/problem+json).
type Problem struct {
	Type   string `json:"type"`  // about:blank
	Title  string `json:"title"` // of the status
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"` // what failed
	Hint   string `json:"hint,omitempty"`   // what a person can do
	Code   string `json:"code,omitempty"`   // fault code
}

// SpecAnswer is leastkey.yaml as the server uses it.
type SpecAnswer struct {
	File     string     `json:"file"` // "" where there is none: the local cloud's own spec
	Writable bool       `json:"writable"`
	Text     string     `json:"text,omitempty"`
	Spec     agent.Spec `json:"spec"`
	Problem  string     `json:"problem,omitempty"` // why it does not read
	SHA256   string     `json:"sha256,omitempty"`  // of Text: a write names the one that it changes
}

// SpecChange changes one agent's part of leastkey.yaml and the fields above it; comments and unknown order are kept. A nil field is left as
// it is.
type SpecChange struct {
	SHA256        string            `json:"sha256,omitempty"` // of the file that was read; another one now is a conflict
	Cloud         *string           `json:"cloud,omitempty"`
	Tenant        *string           `json:"tenant,omitempty"`
	Subscription  *string           `json:"subscription,omitempty"`
	ResourceGroup *string           `json:"resource_group,omitempty"`
	Location      *string           `json:"location,omitempty"`
	Operator      *string           `json:"operator,omitempty"`
	Agent         string            `json:"agent"`
	Kind          *string           `json:"kind,omitempty"`
	KeyVault      *string           `json:"key_vault,omitempty"`
	SessionPool   *string           `json:"session_pool,omitempty"`
	ContentSafety *string           `json:"content_safety,omitempty"`
	EnvFile       *string           `json:"env_file,omitempty"`
	Days          *int              `json:"certificate_days,omitempty"`
	Federated     []agent.Federated `json:"federated,omitempty"`
}

// Choices are what the operator may choose from in the setup wizard. A list that could not be read is empty, and its error says why.
type Choices struct {
	As            Caller            `json:"as"`
	Subscriptions []Choice          `json:"subscriptions"`
	Groups        []Choice          `json:"resource_groups"`
	Vaults        []Choice          `json:"key_vaults"`
	SessionPools  []Choice          `json:"session_pools"`
	ContentSafety []Choice          `json:"content_safety"`
	Errors        map[string]string `json:"errors,omitempty"` // list → why it could not be read
}

// Choice is one thing to choose.
type Choice struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Location string `json:"location,omitempty"`
	Group    string `json:"resource_group,omitempty"`
}

// DueWork is what serve does on its own.
type DueWork struct {
	Agent string    `json:"agent"`
	What  string    `json:"what"` // renewal, retirement, open-run
	Since time.Time `json:"since"`
}
