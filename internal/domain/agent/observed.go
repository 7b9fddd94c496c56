package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Record is what memory keeps of an agent: only ids, references and public certificates. It survives a crash; the world decides what
// of it is still true. The zero Record is an agent nobody has provisioned.
type Record struct {
	Agent         string       `json:"agent"`
	Kind          Kind         `json:"kind,omitempty"`
	Instance      string       `json:"instance,omitempty"` // local cloud only: whose ids these are
	UniqueName    string       `json:"unique_name,omitempty"`
	ApplicationID string       `json:"application_object_id,omitempty"` // object id
	AppID         string       `json:"app_id,omitempty"`                // client id
	PrincipalID   string       `json:"principal_id,omitempty"`
	ResourceID    string       `json:"resource_id,omitempty"` // ARM id of a managed identity, which has no application
	CreatedBy     string       `json:"created_by,omitempty"`  // object id of the operator who created it
	Adopted       bool         `json:"adopted,omitempty"`
	Subscription  string       `json:"subscription,omitempty"`
	Generations   []Generation `json:"generations,omitempty"` // oldest first
	Assignments   []Assigned   `json:"assignments,omitempty"`
	Federated     []string     `json:"federated,omitempty"` // names of the federated credentials that we have written
	EnvFile       string       `json:"env_file,omitempty"`  // absolute path of the file that we wrote

	Permissions []string `json:"permissions,omitempty"` // the Provisioner's: the pinned set of application permissions
	StateFile   string   `json:"state_file,omitempty"`  // the Provisioner's: absolute path
	BackUps     []BackUp `json:"back_ups,omitempty"`    // the Provisioner's: encrypted copies of the state file
}

// BackUp is an encrypted copy of the state file from before a migration.
type BackUp struct {
	Path    string     `json:"path"`
	Made    time.Time  `json:"made"`
	Expires time.Time  `json:"expires"`
	Key     secret.Ref `json:"key"` // of the identity that opens it, in the keystore
}

// Generation is one key with its certificate.
type Generation struct {
	ID        string     `json:"id"` // random, 128 bits in hex
	Ref       secret.Ref `json:"ref"`
	DER       []byte     `json:"certificate"`      // the certificate, public
	SHA256    string     `json:"sha256"`           // of DER, hex
	KeyID     string     `json:"key_id,omitempty"` // of the key credential, once registered
	NotBefore time.Time  `json:"not_before"`
	NotAfter  time.Time  `json:"not_after"`
	Active    bool       `json:"active,omitempty"` // the one that logs in
	// RetireAt is when the certificate of an earlier generation is due to be removed: the end of a rotation's overlap. Zero is at once.
	RetireAt time.Time `json:"retire_at,omitzero"`
}

// Assigned is a role assignment that satisfies the plan. Ours is false where it existed already: revoke leaves such a one.
type Assigned struct {
	role.Grant
	Name string `json:"name"` // GUID
	Ours bool   `json:"ours"`
}

// Active is the generation that logs in, nil if there is none.
func (r Record) Active() *Generation {
	for i := range r.Generations {
		if r.Generations[i].Active {
			return &r.Generations[i]
		}
	}
	return nil
}

// Generation is the generation of that id, nil if there is none.
func (r Record) Generation(id string) *Generation {
	for i := range r.Generations {
		if r.Generations[i].ID == id {
			return &r.Generations[i]
		}
	}
	return nil
}

// Blank tells whether nothing is recorded beyond the name.
func (r Record) Blank() bool {
	return !r.Provisioned() && len(r.Generations) == 0 && len(r.Assignments) == 0 && r.EnvFile == ""
}

// Provisioned tells whether an application or a managed identity of this agent is recorded.
func (r Record) Provisioned() bool { return r.ApplicationID != "" || r.ResourceID != "" }

// Managed tells whether a managed identity is recorded, which has no application.
func (r Record) Managed() bool { return r.ResourceID != "" }

// Observed is what was found, all of it read in one go. A pointer that is nil means that the service answered "not there"; a lookup
// that failed is an error of the observation, never a nil here.
type Observed struct {
	Record      Record                `json:"record"`
	GroupExists bool                  `json:"group_exists"`
	Vault       *Vault                `json:"vault,omitempty"` // nil also if the spec has none
	PoolExists  bool                  `json:"pool_exists"`
	SafetyFound bool                  `json:"safety_found"`
	Application *Application          `json:"application,omitempty"`  // the recorded one
	Identity    *UserAssignedIdentity `json:"identity,omitempty"`     // the managed identity of the spec's name, recorded or not
	Principal   *Principal            `json:"principal,omitempty"`    // the recorded application's
	Namesakes   []Namesake            `json:"namesakes,omitempty"`    // other applications of the display name
	Assignments []Assignment          `json:"assignments,omitempty"`  // all of the principal that could be read
	Readable    []string              `json:"readable,omitempty"`     // the scopes whose assignments could be read: "exactly" is said of these only
	Unread      []string              `json:"unread,omitempty"`       // scopes of recorded assignments that could not be read: nothing is known of those
	AzureUnread bool                  `json:"azure_unread,omitempty"` // the caller may read nothing in Azure and does the Graph half: of what lies there nothing is known
	Keys        map[string]KeyState   `json:"keys,omitempty"`         // generation id → what the keystore answered
	Env         map[string]string     `json:"env,omitempty"`          // our keys as the environment file has them
	EnvPath     string                `json:"env_path,omitempty"`     // absolute path of the environment file that was read
	EnvOwner    string                `json:"env_owner,omitempty"`    // the other agent that the environment file is recorded as; see [EnvOwner]
	Now         time.Time             `json:"-"`
}

// sorted is the observation with its lists in a fixed order: services answer in any, and the same world must give the same plan.
func (o Observed) sorted() Observed {
	if o.Application != nil {
		a := *o.Application
		a.Certificates, a.Passwords = byKeyID(a.Certificates, a.Passwords)
		a.Federated = slices.SortedFunc(slices.Values(a.Federated), func(x, y FederatedCredential) int { return strings.Compare(x.ID, y.ID) })
		a.Owners = slices.SortedFunc(slices.Values(a.Owners), func(x, y Owner) int { return strings.Compare(x.ID, y.ID) })
		o.Application = &a
	}
	if o.Identity != nil {
		i := *o.Identity
		i.Federated = slices.SortedFunc(slices.Values(i.Federated), func(x, y FederatedCredential) int { return strings.Compare(x.Name, y.Name) })
		o.Identity = &i
	}
	if o.Principal != nil {
		p := *o.Principal
		p.Certificates, p.Passwords = byKeyID(p.Certificates, p.Passwords)
		o.Principal = &p
	}
	o.Assignments = slices.SortedFunc(slices.Values(o.Assignments), func(a, b Assignment) int {
		return cmp.Or(strings.Compare(a.Grant().Key(), b.Grant().Key()), strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)))
	})
	o.Namesakes = slices.SortedFunc(slices.Values(o.Namesakes), func(a, b Namesake) int { return strings.Compare(a.ID, b.ID) })
	return o
}

func byKeyID(certificates []Certificate, passwords []Password) ([]Certificate, []Password) {
	return slices.SortedFunc(slices.Values(certificates), func(a, b Certificate) int { return strings.Compare(a.KeyID, b.KeyID) }),
		slices.SortedFunc(slices.Values(passwords), func(a, b Password) int { return strings.Compare(a.KeyID, b.KeyID) })
}

// Vault is the agent's vault as ARM shows it.
type Vault struct {
	ID   string `json:"id"`
	RBAC bool   `json:"rbac"` // false: access-policy mode, in which role assignments do nothing
	URI  string `json:"uri"`
}

// Application is an app registration as Graph shows it.
type Application struct {
	ID             string                `json:"id"`
	AppID          string                `json:"app_id"`
	DisplayName    string                `json:"display_name"`
	UniqueName     string                `json:"unique_name,omitempty"`
	SignInAudience string                `json:"sign_in_audience"`
	RedirectURIs   []string              `json:"redirect_uris,omitempty"`
	Implicit       bool                  `json:"implicit_grant,omitempty"` // tokens are given out in a browser's address line
	Public         bool                  `json:"public_client,omitempty"`  // anybody who knows the client id may begin a login in its name
	Certificates   []Certificate         `json:"certificates"`
	Passwords      []Password            `json:"passwords"`
	Federated      []FederatedCredential `json:"federated,omitempty"`
	Owners         []Owner               `json:"owners,omitempty"`
}

// Principal is a service principal as Graph shows it.
type Principal struct {
	ID           string        `json:"id"`
	AppID        string        `json:"app_id"`
	Enabled      bool          `json:"enabled"`
	Certificates []Certificate `json:"certificates"`
	Passwords    []Password    `json:"passwords"`
}

// Certificate is a key credential. SHA256 is of the DER where Graph showed it, "" where it did not.
type Certificate struct {
	KeyID       string    `json:"key_id"`
	DisplayName string    `json:"display_name,omitempty"`
	SHA256      string    `json:"sha256,omitempty"`
	DER         []byte    `json:"-"`
	Custom      string    `json:"custom_key_identifier,omitempty"`
	Type        string    `json:"type"`
	Usage       string    `json:"usage"`
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
}

// Password is a password credential as every later read shows it: without its value.
type Password struct {
	KeyID       string    `json:"key_id"`
	DisplayName string    `json:"display_name,omitempty"`
	Hint        string    `json:"hint,omitempty"` // its first three characters
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
}

// FederatedCredential lets whoever holds a token of that issuer and subject log in as the application, without any key.
type FederatedCredential struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	// Audiences is what Graph and ARM show; Entra takes exactly one.
	Audiences []string `json:"audiences,omitempty"`
}

// UserAssignedIdentity is a user-assigned managed identity as ARM shows it.
type UserAssignedIdentity struct {
	ID          string                `json:"id"` // ARM id
	Name        string                `json:"name"`
	Location    string                `json:"location"`
	TenantID    string                `json:"tenant_id"`
	ClientID    string                `json:"client_id"`
	PrincipalID string                `json:"principal_id"` // object id of its service principal
	Tags        map[string]string     `json:"tags,omitempty"`
	Federated   []FederatedCredential `json:"federated,omitempty"`
}

// Owner is an owner of an application.
type Owner struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name,omitempty"`
	Type        string `json:"type,omitempty"`
}

// Namesake is an application of the same display name that is not the recorded one: somebody else's, an earlier one, or a squatter's.
type Namesake struct {
	Application
	Created time.Time `json:"created"`
}

// Assignment is a role assignment as ARM shows it.
type Assignment struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	RoleID      string `json:"role_id"` // GUID
	Role        string `json:"role"`    // display name if known
	Scope       string `json:"scope"`
	PrincipalID string `json:"principal_id"`
	Condition   string `json:"condition,omitempty"`
}

// Grant is the assignment without its name.
func (a Assignment) Grant() role.Grant {
	return role.Grant{Role: a.Role, RoleID: a.RoleID, Scope: a.Scope}
}

// KeyState is what the keystore answered for a generation.
type KeyState string

// The key states.
const (
	KeyPresent    KeyState = "present"    // opens and matches its certificate
	KeyAbsent     KeyState = "absent"     // the store answered that there is none
	KeyMismatched KeyState = "mismatched" // opens, but belongs to another certificate
)

// Ownership is whose a certificate on an application is.
type Ownership string

// The ownerships.
const (
	Current   Ownership = "current"    // the active generation's
	OursOlder Ownership = "ours-older" // of another recorded generation
	Known     Ownership = "known"      // listed in the spec
	Foreign   Ownership = "foreign"    // nobody's that we know
)

// Whose classifies a certificate. A display name proves nothing; only the hash of the certificate and our record do. One whose hash
// Graph did not show is matched by the key id that we recorded when we registered it.
func (r Record) Whose(a *Agent, c Certificate) Ownership {
	for _, g := range r.Generations {
		if g.is(c) {
			if g.Active {
				return Current
			}
			return OursOlder
		}
	}
	for _, known := range a.Certificates {
		if c.SHA256 != "" && strings.EqualFold(known, c.SHA256) {
			return Known
		}
	}
	return Foreign
}

// Unproven tells whether a certificate is of a generation that was made after the active one and has not taken over: it is registered, and
// nothing has logged in with it as far as is recorded. Generations are recorded in the order in which their keys are made.
func (r Record) Unproven(c Certificate) bool {
	active := slices.IndexFunc(r.Generations, func(g Generation) bool { return g.Active })
	return slices.ContainsFunc(r.Generations[active+1:], func(g Generation) bool { return g.RetireAt.IsZero() && g.is(c) })
}

// is tells whether a certificate is the generation's: by its hash, or by the key id where Graph did not show it.
func (g Generation) is(c Certificate) bool {
	return (c.SHA256 != "" && strings.EqualFold(c.SHA256, g.SHA256)) || (c.SHA256 == "" && c.KeyID != "" && c.KeyID == g.KeyID)
}
