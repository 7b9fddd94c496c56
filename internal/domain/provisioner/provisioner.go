// Package provisioner holds what is wanted of the Provisioner, the privileged application that creates Agent ID objects, what was found of
// it, and the plans between the two: bootstrap, migrate, rotate, retire and roll back.
//
// As in package agent everything is a value or a pure function: the same observation always gives the same plan, which can be printed,
// tested and approved by its digest before anything acts. The steps are those of package agent and some of their own.
package provisioner

import (
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

// Name is the name under which record, journal and lock know the Provisioner. No agent can have it.
const Name = "@provisioner"

// The keychain entry of the active key, by the seed's names: service and account, which is the tenant's GUID.
const (
	Service       = "entraclaw-provisioner-cert"
	LegacyService = "entrabot-provisioner-cert" // of the successor, read only
	CommonName    = "entraclaw-provisioner"
	Organization  = "EntraClaw"
)

// The keys of the state file that are ours to read or write. Every other key stays as it is.
const (
	KeyTenant     = "TENANT_ID"
	KeyClient     = "PROVISIONER_CLIENT_ID"
	KeyThumbprint = "PROVISIONER_CERT_THUMBPRINT" // SHA-1 of the DER, lower-case hex, as the original has it
	KeyCert       = "PROVISIONER_CERT_PEM"
	KeyKeystore   = "PROVISIONER_KEYSTORE" // reference of the active key, where it is not the keychain's usual entry
	KeySecret     = "PROVISIONER_CLIENT_SECRET"
)

// Graph is the application id of Microsoft Graph, whose application permissions the Provisioner needs.
const Graph = "00000003-0000-0000-c000-000000000000"

// BaseRoles are the application permissions that the original declares beside those of Agent ID, in its order.
func BaseRoles() []string {
	return []string{"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All",
		"LicenseAssignment.ReadWrite.All", "Organization.Read.All", "User.ReadWrite.All"}
}

// TierZero tells whether whoever holds the permission can make himself owner of the tenant: by a credential on any application, by any
// permission, by a delegated grant in anybody's name, or by any user.
func TierZero(role string) bool {
	return slices.Contains([]string{"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All", "User.ReadWrite.All"}, role)
}

// AppRole is an application permission that Microsoft Graph offers in the tenant.
type AppRole struct {
	ID      string `json:"id"`
	Value   string `json:"value"`
	Enabled bool   `json:"enabled"`
}

// Grant is an application permission that the service principal holds.
type Grant struct {
	ID     string `json:"id"` // of the app role assignment
	RoleID string `json:"role_id"`
}

// File is the state file as it was read, without its secret.
type File struct {
	Path       string   `json:"path"` // absolute; "" if no file is meant
	Exists     bool     `json:"exists"`
	Mode       uint32   `json:"mode,omitempty"`    // permission bits
	Foreign    bool     `json:"foreign,omitempty"` // neither the caller nor root owns it
	Tenant     string   `json:"tenant,omitempty"`
	Client     string   `json:"client,omitempty"` // app id
	Thumbprint string   `json:"thumbprint,omitempty"`
	Certs      [][]byte `json:"certificates,omitempty"` // DER of each in PROVISIONER_CERT_PEM
	Keystore   string   `json:"keystore,omitempty"`
	HasSecret  bool     `json:"has_secret,omitempty"`
}

// SecretState is what the login service says of the secret that the state file holds.
type SecretState string

// The states of the legacy secret.
const (
	NoSecret      SecretState = ""        // nothing holds one
	SecretLive    SecretState = "live"    // a token was issued for it, and thrown away
	SecretDead    SecretState = "dead"    // AADSTS7000215 or AADSTS7000222
	SecretUnknown SecretState = "unknown" // the login service gave no clear answer
)

// Place is somewhere on this machine where the secret was found. It never holds the secret.
type Place struct {
	Path string `json:"path"`
	Line int    `json:"line,omitempty"` // of the first occurrence, from 1
	Kind Kind   `json:"kind"`
	Why  string `json:"why,omitempty"`  // why it cannot be purged, for Other
	Diff string `json:"diff,omitempty"` // what would be cut out, without any content, for Edit
	// Foreign: it assigns a value to the legacy key that nothing shows to be our application's. It is never purged.
	Foreign bool   `json:"foreign,omitempty"`
	Stuck   string `json:"stuck,omitempty"`  // why the file cannot be changed, for those that are ours to change
	SHA256  string `json:"sha256,omitempty"` // of the content that would be cut, for Edit
}

// Kind says what may be done to a place.
type Kind string

// The kinds of places. Only the first two are purged without being asked; Other is changed by --edit alone.
const (
	StateFile Kind = "state"       // the state file itself
	EnvFile   Kind = "environment" // the environment file
	Edit      Kind = "edit"        // a file named by --edit
	Other     Kind = "other"
)

// Slot is what the keystore's active entry holds.
type Slot struct {
	State agent.KeyState `json:"state,omitempty"` // present, absent; "" if nobody has looked
	// Certificate is what the key in the slot belongs to: a recorded generation, the certificate of the state file, that of a bundle, or
	// one on the application; nil if nobody knows it.
	Certificate *agent.Certificate `json:"certificate,omitempty"`
}

// Rights is whether the operator may delete credentials of the application, as far as can be seen beforehand.
type Rights struct {
	Known  bool   `json:"known"`
	Enough bool   `json:"enough"`
	Detail string `json:"detail,omitempty"` // what was looked at: directory roles, ownership, application permissions
}

// Observed is what was found, read in one go. What could not be read is an error of the observation, never a nil here.
type Observed struct {
	Record      agent.Record
	File        File
	Application *agent.Application // the recorded one, or that of the state file
	Principal   *agent.Principal
	Namesakes   []agent.Namesake // other applications of the display name
	Offered     []AppRole        // what Graph offers in this tenant
	Declared    []string         // role ids of Graph that the application declares (requiredResourceAccess)
	Granted     []Grant          // what the service principal holds on Graph
	GraphID     string           // object id of Graph's service principal
	Keys        map[string]agent.KeyState
	Slot        Slot
	Secret      SecretState
	Places      []Place // every place that holds the secret, the state file among them
	Rights      Rights
	Now         time.Time
}

// sorted is the observation with its lists in a fixed order: services answer in any, and the same world must give the same plan.
func (o Observed) sorted() Observed {
	passwords := func(all []agent.Password) []agent.Password {
		return slices.SortedFunc(slices.Values(all), func(a, b agent.Password) int { return strings.Compare(a.KeyID, b.KeyID) })
	}
	if o.Application != nil {
		app := *o.Application
		app.Certificates = slices.SortedFunc(slices.Values(app.Certificates), func(a, b agent.Certificate) int { return strings.Compare(a.KeyID, b.KeyID) })
		app.Passwords = passwords(app.Passwords)
		o.Application = &app
	}
	if o.Principal != nil {
		sp := *o.Principal
		sp.Passwords = passwords(sp.Passwords)
		o.Principal = &sp
	}
	o.Granted = slices.SortedFunc(slices.Values(o.Granted), func(a, b Grant) int { return strings.Compare(a.ID, b.ID) })
	o.Namesakes = slices.SortedFunc(slices.Values(o.Namesakes), func(a, b agent.Namesake) int { return strings.Compare(a.ID, b.ID) })
	return o
}

// Actions of steps that only the Provisioner's plans have.
const (
	DeclarePermissions agent.Action = "permissions.declare"
	GrantPermission    agent.Action = "permission.grant"
	PinPermissions     agent.Action = "permissions.pin"
	BackUp             agent.Action = "state.back-up"
	WriteState         agent.Action = "state.write"
	RestoreState       agent.Action = "state.restore"
	PromoteKey         agent.Action = "key.promote"
	NoPasswords        agent.Action = "passwords.none"
	SecretDeadProof    agent.Action = "secret.dead"
	PurgeSecret        agent.Action = "secret.purge"
	ScanSecret         agent.Action = "secret.scan"
)

// Verbs of the Provisioner's plans.
const (
	Bootstrap agent.Verb = "bootstrap"
	Migrate   agent.Verb = "migrate"
	Rollback  agent.Verb = "rollback"
	Retire    agent.Verb = "retire"
)

// Facts of the Provisioner's plans.
const (
	FactBackUp    = "back_up"   // path of the encrypted backup
	FactLeft      = "left"      // places that still hold the secret, one to a line
	FactPermitted = "permitted" // permissions seen in the token, space-separated
)

// Whose classifies a certificate on the application: ours by the record, or another machine's, which is foreign and stays.
func (o Observed) Whose(c agent.Certificate) agent.Ownership {
	return o.Record.Whose(&agent.Agent{}, c)
}

// Others are the certificates that are not ours: other machines have one each.
func (o Observed) Others() []agent.Certificate {
	if o.Application == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(o.Application.Certificates), func(c agent.Certificate) bool { return o.Whose(c) != agent.Foreign })
}

// Required are the values of the permissions that the Provisioner shall hold, in a fixed order: the base ones first, then what Graph
// offers for Agent ID, sorted. pinned is the set of the record; nil before the first bootstrap. added are those of the answer that are
// offered and not pinned, missing those that are wanted and not offered.
func Required(offered []AppRole, pinned []string, only string) (all, added, missing []string) {
	have := map[string]bool{}
	var discovered []string
	for _, r := range offered {
		if !r.Enabled {
			continue
		}
		have[r.Value] = true
		if strings.Contains(r.Value, "AgentIdentity") || strings.Contains(r.Value, "AgentIdUser") {
			discovered = append(discovered, r.Value)
		}
	}
	slices.Sort(discovered)
	for _, v := range slices.Concat(BaseRoles(), discovered, pinned) {
		if slices.Contains(all, v) || (only == "agent-id-only" && TierZero(v)) {
			continue
		}
		all = append(all, v)
		if !have[v] {
			missing = append(missing, v)
		} else if pinned != nil && !slices.Contains(pinned, v) {
			added = append(added, v)
		}
	}
	return all, added, missing
}
