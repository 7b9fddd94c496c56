package api

import (
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Resolved is where a door leads, once flags, leastkey.yaml and the running local cloud have been weighed. It is known before anything
// is asked of the cloud.
type Resolved struct {
	Cloud        agent.Cloud `json:"cloud"`
	Instance     string      `json:"instance,omitempty"` // local cloud
	Tenant       string      `json:"tenant"`             // as written
	TenantID     string      `json:"tenant_id"`          // GUID
	Subscription string      `json:"subscription"`
	File         string      `json:"file,omitempty"`     // the leastkey.yaml in use; "" is the running local cloud's own spec
	Home         string      `json:"home,omitempty"`     // folder of record and keys
	Operator     string      `json:"operator,omitempty"` // az, device-code, …
	Keystore     string      `json:"keystore,omitempty"`
}

// NoOperator is the operator of a rotation that goes without one.
const NoOperator = "none"

// Consent is what a person has to give before a plan is carried out.
type Consent string

// The consents.
const (
	NoConsent   Consent = "none" // carry it out
	YesConsent  Consent = "yes"  // a yes
	NameConsent Consent = "name" // the name of the agent, typed
)

// Consent says what the plan needs. On a real cloud every change is approved; on the local cloud only what cannot be undone, or makes an
// application the agent's that leastkey has not made; a revocation always, by the agent's name, because it ends something that runs.
func (a PlanAnswer) Consent() Consent {
	switch {
	case a.Plan.Empty():
		return NoConsent
	case a.Plan.Verb == agent.Revoke:
		return NameConsent
	case a.Plan.Cloud != agent.Local, a.Rest:
		return YesConsent
	}
	for _, s := range a.Plan.Steps {
		if s.Destroys || s.Action == agent.AdoptApplication || s.With["addition"] != "" { // a permission that the pinned set does not have
			return YesConsent
		}
	}
	return NoConsent
}

// The digits of a digest that people handle. A plan shows ShownDigits; a pin has at least LeastDigits.
const (
	ShownDigits = 16
	LeastDigits = 12
)

// ShortDigest is as much of a digest or hash as a person is shown.
func ShortDigest(digest string) string { return digest[:min(len(digest), ShownDigits)] }

// Pinned tells whether a plan of that digest is the one that the request pins. A pin is at least LeastDigits of the digest's first hex
// digits, without regard to case; a shorter one pins nothing. A request without a pin accepts every plan.
func (r ApplyRequest) Pinned(digest string) bool { return Pins(r.Digest, digest) }

// Pins tells whether a pin is of that digest, as [ApplyRequest.Pinned] has it.
func Pins(pin, digest string) bool {
	pin = strings.ToLower(pin)
	return pin == "" || (len(pin) >= LeastDigits && strings.HasPrefix(strings.ToLower(digest), pin))
}

// FindingsExit is the exit code that findings ask for: one that fails, or that could not be told, is not a success. What may stay
// open is a finding that warns or is skipped, and [agent.NoReader]: a rotation without an operator says so of itself, it is proved by
// other means, and the next run with an operator reads back.
func FindingsExit(all []finding.Finding) int {
	for _, f := range all {
		if f.Outcome == finding.Fail || (f.Outcome == finding.Unknown && f.ID != agent.NoReader) {
			return ExitFindings
		}
	}
	return ExitDone
}

// UpRequest starts the local cloud and does the main job on it.
type UpRequest struct {
	Once        bool   // end when done, instead of serving on
	Fresh       bool   // forget the local cloud of the last time, its record and its keys
	State       string // folder to keep everything in; "" is LEASTKEY_HOME/local, or with Once a temporary one
	Listen      string // address of the local cloud; "" is loopback
	Keystore    string // "" is the age store of the run folder
	AgeIdentity string
	AdminListen string // address of the admin server; "" is a free port of loopback
}

// InitRequest writes a leastkey.yaml from the operator's session.
type InitRequest struct {
	Target
	Agent         string // "" is polyclaw-runtime
	ResourceGroup string // "" is the default
	Location      string
}

// InitAnswer is the spec that was written.
type InitAnswer struct {
	File   string   `json:"file"`
	As     Caller   `json:"as"`
	Cloud  string   `json:"cloud"`
	Agents []string `json:"agents"`
	Notes  []string `json:"notes,omitempty"` // what the operator should look at
}

// DeviceCode is what a person needs to log in from another device (RFC 8628, section 3.2).
type DeviceCode struct {
	URL     string
	Code    string
	Expires time.Time
}

// LoginRequest logs the operator in with a device code. Show is called once the code is known.
type LoginRequest struct {
	Target
	Show func(DeviceCode)
}

// CloudInfo is a running local cloud as other programs reach it. It holds no secret.
type CloudInfo struct {
	Instance     string            `json:"instance"`
	TenantID     string            `json:"tenant_id"`
	Domain       string            `json:"domain,omitempty"`
	Subscription string            `json:"subscription"`
	Login        string            `json:"login"` // URL
	Graph        string            `json:"graph"`
	ARM          string            `json:"arm"`
	Vaults       map[string]string `json:"vaults,omitempty"` // name → URL
	CA           string            `json:"ca"`               // path of the authority's certificate
	Dir          string            `json:"dir"`              // run folder, with the test operators' credentials
	Warnings     []string          `json:"warnings,omitempty"`
}

// CloudServeRequest starts a local cloud alone.
type CloudServeRequest struct {
	Listen string
	SANs   []string
	State  string // folder to keep it in; "" is LEASTKEY_HOME/local
	Memory bool   // forget everything at the end
	Empty  bool   // no resource groups or resources
	Seed   uint64 // 0 is unguessable ids
	Knobs  []byte // JSON document; nil is none

	IssuerCAs [][]byte // PEM: certificate authorities of the issuers that federated credentials name, besides the system's
}

// CloudEnv is what a client program needs to use the local cloud.
type CloudEnv struct {
	For      string   `json:"for"`
	Set      []EnvVar `json:"set"`                // in order
	Commands []string `json:"commands,omitempty"` // to run once, after Set
	Notes    []string `json:"notes,omitempty"`

	// Header is the value of IDENTITY_HEADER, for the code on one resource of the local cloud; the zero value where none was asked for.
	// It is a secret of the local cloud, so it is not among Set until it is printed.
	Header secret.Value `json:"-"`
}

// EnvVar is an environment variable. Its value is not a secret, but for the one that [CloudEnv.Header] becomes when it is printed.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// CloudRequest is one line of the local cloud's request log.
type CloudRequest struct {
	N      uint64    `json:"n"`
	At     time.Time `json:"time"`
	Plane  string    `json:"plane"`
	Vault  string    `json:"vault,omitempty"`
	Method string    `json:"method"`
	URL    string    `json:"url"`
	Status int       `json:"status"` // 0: cut
	MS     float64   `json:"ms"`
	AppID  string    `json:"appid,omitempty"`
	Object string    `json:"oid,omitempty"`
	Fault  string    `json:"fault,omitempty"`
}

// Version says which leastkey this is.
type Version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Built    string `json:"built,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // linux/amd64
}
