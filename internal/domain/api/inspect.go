package api

import (
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

// IdentityAnswer is an identity as recorded and as the directory shows it. Found is false where the service says that it is not there;
// a lookup that failed is in Unread, and then Found says nothing.
type IdentityAnswer struct {
	Agent         string            `json:"agent"`
	Kind          agent.Kind        `json:"kind"`
	Configured    bool              `json:"configured"` // an identity is recorded here
	Found         bool              `json:"found"`
	Unread        string            `json:"unread,omitempty"` // why nobody could look
	TenantID      string            `json:"tenant_id"`
	AppID         string            `json:"app_id,omitempty"` // client id, of both kinds
	ApplicationID string            `json:"application_object_id,omitempty"`
	ResourceID    string            `json:"resource_id,omitempty"` // of a managed identity
	PrincipalID   string            `json:"principal_id,omitempty"`
	PrincipalType string            `json:"principal_type,omitempty"` // ServicePrincipal
	DisplayName   string            `json:"display_name,omitempty"`
	Enabled       bool              `json:"enabled"`
	Key           string            `json:"key,omitempty"` // reference of the active key
	Expires       time.Time         `json:"certificate_expires,omitzero"`
	Renewal       time.Time         `json:"renewal_due,omitzero"`
	Open          *agent.Run        `json:"open,omitempty"` // a run that stopped midway
	Federated     []agent.Federated `json:"federated,omitempty"`
	LegacySecret  bool              `json:"legacy_secret,omitempty"` // the environment file still has a client secret of the agent
}

// Presence tells whether a required role is there.
type Presence string

// The presences. Unknown means that the scope could not be read; it is never assigned and never missing.
const (
	Assigned        Presence = "assigned"
	Missing         Presence = "missing"
	PresenceUnknown Presence = "unknown"
)

// RolesAnswer is what an identity holds beside what it needs.
type RolesAnswer struct {
	Agent       string         `json:"agent"`
	PrincipalID string         `json:"principal_id,omitempty"` // "" where no identity is configured
	Required    []RequiredRole `json:"required"`
	Held        []HeldRole     `json:"held"`
	Readable    []string       `json:"read_at"`          // scopes whose assignments were read: only of these is the list whole
	Unread      []string       `json:"unread,omitempty"` // scopes that nobody could read
	Pending     []string       `json:"pending"`          // titles of the steps that roles fix would take
	Digest      string         `json:"plan_digest,omitempty"`
}

// RequiredRole is one role that the spec asks for. A role counts as there if an assignment of its id lies at the scope or above it, without a
// condition that narrows it.
type RequiredRole struct {
	Feature    string   `json:"feature"`
	Role       string   `json:"role"`
	RoleID     string   `json:"role_id"`
	Scope      string   `json:"scope"`
	Why        string   `json:"why,omitempty"`
	DataAction string   `json:"data_action,omitempty"`
	Presence   Presence `json:"presence"`
	Detail     string   `json:"detail,omitempty"`
	By         string   `json:"by,omitempty"` // id of the assignment that satisfies it
}

// HeldRole is one role assignment that reaches the identity.
type HeldRole struct {
	ID           string   `json:"id"`
	Role         string   `json:"role"`
	RoleID       string   `json:"role_id"`
	Scope        string   `json:"scope"`
	PrincipalID  string   `json:"principal_id"`
	Through      string   `json:"through,omitempty"`   // the group that it comes by, its name and id; "" is the identity itself
	Inherited    bool     `json:"inherited,omitempty"` // it lies above the scope for which it is needed
	Condition    string   `json:"condition,omitempty"`
	Ours         bool     `json:"ours"`
	Required     bool     `json:"required"` // the spec asks for it
	Elevated     []string `json:"elevated,omitempty"`
	ReadsSecrets []string `json:"reads_secrets,omitempty"`
}

// FixRequest asks to assign every missing role of the spec, and to remove assignments of ours that it does not ask for any more. Nothing else
// of the identity is touched.
type FixRequest struct {
	Agent   string
	Digest  string                         // pinned: refuses if the steps now have another
	Approve func(PlanAnswer) (bool, error) // nil, or true for an answer, approves
}
