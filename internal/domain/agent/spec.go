// Package agent holds what is wanted ([Spec]), what was found ([Observed]) and the ordered way between them ([Plan]).
//
// Everything here is a value or a pure function: the same spec and the same observation always give the same plan, which can be
// printed, tested and approved by its digest before anything acts.
package agent

import (
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// Kind is what sort of identity an agent gets.
type Kind string

// The kinds.
const (
	ServicePrincipal Kind = "service-principal" // application, service principal and certificate
	ManagedIdentity  Kind = "managed-identity"  // user-assigned managed identity
	AgentIdentity    Kind = "agent-identity"    // Entra Agent ID
)

// VaultAccess is what the agent may do with the secrets of its vault.
type VaultAccess string

// The accesses.
const (
	VaultOfficer VaultAccess = "officer" // read and write
	VaultUser    VaultAccess = "user"    // read
)

// Cloud names a cloud.
type Cloud string

// The clouds.
const (
	Local  Cloud = "local"
	Public Cloud = "public"
	USGov  Cloud = "usgov"
	China  Cloud = "china"
)

// Spec is leastkey.yaml. Zero fields have been replaced by their defaults ([Defaults]).
type Spec struct {
	Cloud         Cloud             `json:"cloud" yaml:"cloud"`
	Tenant        string            `json:"tenant" yaml:"tenant"`             // GUID or domain name
	Subscription  string            `json:"subscription" yaml:"subscription"` // GUID
	ResourceGroup string            `json:"resource_group" yaml:"resource_group"`
	Location      string            `json:"location" yaml:"location"`
	Operator      string            `json:"operator" yaml:"operator"`
	Provisioner   Provisioner       `json:"provisioner" yaml:"provisioner"`
	Agents        map[string]*Agent `json:"agents" yaml:"agents"`
}

// Provisioner is the privileged application that creates Agent ID objects.
type Provisioner struct {
	DisplayName string `json:"display_name,omitempty" yaml:"display_name"`
	Keystore    string `json:"keystore,omitempty" yaml:"keystore"`
	StateFile   string `json:"state_file,omitempty" yaml:"state_file"`
	Permissions string `json:"permissions,omitempty" yaml:"permissions"` // seed or agent-id-only
}

// Agent is one agent's part of the spec.
type Agent struct {
	Name         string            `json:"name" yaml:"-"` // the key in the yaml; the application's display name
	Kind         Kind              `json:"kind" yaml:"kind"`
	Certificate  CertificatePolicy `json:"certificate" yaml:"certificate"`
	Certificates []string          `json:"certificates,omitempty" yaml:"certificates"` // SHA-256, hex, of known ones of other machines
	Owners       []string          `json:"owners,omitempty" yaml:"owners"`             // object ids, besides the operator who created it; of a managed identity, who may hold a role on its resource
	EnvFile      string            `json:"env_file,omitempty" yaml:"env_file"`         // as written; relative to the yaml's folder
	Roles        Roles             `json:"roles" yaml:"roles"`
	KeyVault     string            `json:"key_vault,omitempty" yaml:"key_vault"` // name or id
	// KeyVaultAccess is officer, which reads and writes secrets, or user, which reads them; "" is officer.
	KeyVaultAccess VaultAccess `json:"key_vault_access,omitempty" yaml:"key_vault_access"`
	SessionPool    string      `json:"session_pool,omitempty" yaml:"session_pool"`     // name or id
	ContentSafety  string      `json:"content_safety,omitempty" yaml:"content_safety"` // name or id
	Federated      []Federated `json:"federated,omitempty" yaml:"federated"`
	Broker         Broker      `json:"broker,omitzero" yaml:"broker"`
	Runtime        Runtime     `json:"runtime,omitzero" yaml:"runtime"`
	Image          string      `json:"image,omitempty" yaml:"image"`
}

// CertificatePolicy is how long a certificate lives. RenewAt is the part of its life after which it is renewed (0.66).
type CertificatePolicy struct {
	Days    int           `json:"days" yaml:"days"`
	Overlap time.Duration `json:"overlap" yaml:"overlap"`
	RenewAt float64       `json:"renew_at" yaml:"renew_at"`
}

// Roles is either a named set ("polyclaw") or a list.
type Roles struct {
	Set  string   `json:"set,omitempty"`
	List []RoleAt `json:"list,omitempty"`
}

// RoleAt is a role by name or GUID at a scope.
type RoleAt struct {
	Role  string `json:"role" yaml:"role"`
	Scope string `json:"scope" yaml:"scope"`
}

// Federated lets tokens of another issuer stand for the agent.
type Federated struct {
	Issuer   string `json:"issuer" yaml:"issuer"`
	Subject  string `json:"subject" yaml:"subject"`
	Audience string `json:"audience" yaml:"audience"`
}

// Broker says which tokens the agent may ask for, and how often.
type Broker struct {
	Audiences []string `json:"audiences,omitempty" yaml:"audiences"`
	Rate      string   `json:"rate,omitempty" yaml:"rate"`
}

// Runtime is how the agent's process runs.
type Runtime struct {
	UID       int      `json:"uid,omitempty" yaml:"uid"`
	Env       []string `json:"env,omitempty" yaml:"env"`
	VaultRefs []string `json:"vault_refs,omitempty" yaml:"vault_refs"`
}

// The resource types that the role set knows.
const (
	vaultProvider, vaultType   = "Microsoft.KeyVault", "vaults"
	poolProvider, poolType     = "Microsoft.App", "sessionPools"
	safetyProvider, safetyType = "Microsoft.CognitiveServices", "accounts"
)

// Group is the ARM id of the spec's resource group.
func (s Spec) Group() string { return role.GroupScope(s.Subscription, s.ResourceGroup) }

// VaultID is the ARM id of the agent's vault, "" if it has none.
func (s Spec) VaultID(a *Agent) string { return s.resource(vaultProvider, vaultType, a.KeyVault) }

// PoolID is the ARM id of the agent's session pool, "" if it has none.
func (s Spec) PoolID(a *Agent) string { return s.resource(poolProvider, poolType, a.SessionPool) }

// SafetyID is the ARM id of the agent's content safety account, "" if it has none.
func (s Spec) SafetyID(a *Agent) string {
	return s.resource(safetyProvider, safetyType, a.ContentSafety)
}

// IdentityID is the ARM id of the agent's managed identity: its name with -mi behind it, in the spec's resource group.
func (s Spec) IdentityID(a *Agent) string {
	return s.resource("Microsoft.ManagedIdentity", "userAssignedIdentities", strings.TrimSuffix(a.Name, "-mi")+"-mi")
}

func (s Spec) resource(provider, kind, nameOrID string) string {
	if nameOrID == "" {
		return ""
	}
	return role.ResourceScope(s.Subscription, s.ResourceGroup, provider, kind, nameOrID)
}

// DefaultEnvFile is the env_file of an agent that names none.
const DefaultEnvFile = ".env"

// Defaults fills what the yaml left out.
func (s *Spec) Defaults() {
	def(&s.Cloud, Local)
	def(&s.ResourceGroup, "polyclaw-rg")
	def(&s.Location, "eastus")
	def(&s.Provisioner.DisplayName, "EntraClaw Agent ID Provisioner")
	def(&s.Provisioner.Keystore, "auto")
	def(&s.Provisioner.StateFile, ".entraclaw-state.json")
	def(&s.Provisioner.Permissions, "seed")
	for name, a := range s.Agents {
		if a == nil {
			a = &Agent{}
			s.Agents[name] = a
		}
		a.Name = name
		def(&a.Kind, ServicePrincipal)
		def(&a.Certificate.Days, 365)
		def(&a.Certificate.RenewAt, 0.66)
		def(&a.EnvFile, DefaultEnvFile)
		if a.Roles.Set == "" && a.Roles.List == nil {
			a.Roles.Set = "polyclaw"
		}
		for i := range a.Federated {
			def(&a.Federated[i].Audience, TokenExchange)
		}
	}
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// polyclaw is the seed's role set: what the agent needs at which of the spec's scopes, and why.
func polyclaw(s Spec, a *Agent) []need {
	secrets := need{"Key Vault Secrets Officer", s.VaultID(a), "read and write its secrets"}
	if a.KeyVaultAccess == VaultUser {
		secrets = need{"Key Vault Secrets User", s.VaultID(a), "read its secrets"}
	}
	return []need{
		{"Azure Bot Service Contributor Role", s.Group(), "create, update and delete bot registrations"},
		{"Reader", s.Group(), "see the resources of the group"},
		secrets,
		{"Azure ContainerApps Session Executor", s.PoolID(a), "run code in sandbox sessions"},
		{"Cognitive Services User", s.SafetyID(a), "call Prompt Shields and content moderation"},
	}
}

type need struct{ role, scope, why string }

// needs are the set or the list, and what a configured vault, pool or content safety account adds.
func (s Spec) needs(a *Agent) []need {
	if a.Roles.Set == "polyclaw" {
		return polyclaw(s, a)
	}
	var all []need
	for _, r := range a.Roles.List {
		all = append(all, need{role: r.Role, scope: r.Scope})
	}
	return append(all, polyclaw(s, a)[2:]...)
}

// Grants are the roles that the spec asks for, in a fixed order: the set or the list, and the roles that a configured vault, pool or
// content safety account adds. The spec must be valid.
func (s Spec) Grants(a *Agent, c role.Catalogue) []role.Grant {
	seen := map[string]bool{}
	var grants []role.Grant
	for _, n := range s.needs(a) {
		d, ok := c.Find(n.role)
		if n.scope == "" || !ok {
			continue
		}
		g := role.Grant{Role: d.Name, RoleID: d.ID, Scope: n.scope}
		if !seen[g.Key()] {
			seen[g.Key()] = true
			grants = append(grants, g)
		}
	}
	return grants
}

// Why says what a role of the set is for, "" for a role that the spec lists itself.
func (s Spec) Why(a *Agent, g role.Grant) string {
	for _, n := range s.needs(a) {
		if strings.EqualFold(n.role, g.Role) && strings.EqualFold(strings.TrimRight(n.scope, "/"), strings.TrimRight(g.Scope, "/")) {
			return n.why
		}
	}
	return ""
}
