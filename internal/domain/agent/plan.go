package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Verb is what a plan is for.
type Verb string

// The verbs.
const (
	Apply  Verb = "apply"
	Revoke Verb = "revoke"
	Rotate Verb = "rotate"
	// Migrate prepares an agent that logs in with a client secret for its certificate; see [Prepare].
	Migrate Verb = "migrate"
)

// Action is what a step does. Each has one handler.
type Action string

// The actions.
const (
	CreateApplication   Action = "application.create"
	AdoptApplication    Action = "application.adopt" // in the record alone
	SingleTenant        Action = "application.single-tenant"
	CreatePrincipal     Action = "principal.create"
	MintKey             Action = "key.mint"
	RegisterCertificate Action = "certificate.register"
	RemoveCertificate   Action = "certificate.remove"
	RemovePassword      Action = "password.remove"
	RemoveFederated     Action = "federated.remove"
	AssignRole          Action = "role.assign"
	RemoveRole          Action = "role.remove"
	Login               Action = "login"
	Verify              Action = "verify"
	WriteEnv            Action = "env.write"
	RetireLater         Action = "certificate.retire-later"

	DisablePrincipal  Action = "principal.disable"
	ClearCertificates Action = "certificate.clear"
	DeleteApplication Action = "application.delete"
	PurgePrincipal    Action = "principal.purge"
	PurgeApplication  Action = "application.purge"
	ProveDead         Action = "login.refused"
	DeleteKey         Action = "key.delete"
	ClearEnv          Action = "env.clear"
	Forget            Action = "record.forget"

	CreateIdentity Action = "identity.create" // a user-assigned managed identity
	AwaitPrincipal Action = "principal.await" // that Azure makes by itself
	DeleteIdentity Action = "identity.delete"
	WriteFederated Action = "federated.write" // makes it, or changes it in place
	SeeFederated   Action = "federated.see"
)

// Plane is whose rights a step needs.
type Plane string

// The planes.
const (
	Graph    Plane = "graph"
	ARM      Plane = "arm"
	Identity Plane = "login" // the agent's own key
	Here     Plane = "here"  // this machine
)

// Names of facts: values that exist once a step has made them. A step's parameter "$principal" stands for the fact of that name.
const (
	FactApplication = "application" // object id
	FactAppID       = "app_id"
	FactPrincipal   = "principal"
	FactResource    = "resource" // ARM id of a managed identity
	FactUniqueName  = "unique_name"
	FactGeneration  = "generation"
	FactKey         = "key" // Ref
	FactSHA256      = "sha256"
	FactKeyID       = "key_id"
)

// WithoutAssignments is the parameter of a read-back by somebody who may not read role assignments.
const WithoutAssignments = "without_assignments"

// Step is one change, or one proof, with what must come before it.
type Step struct {
	ID       string            `json:"id"` // unique within the plan; stable between plans of the same change
	Action   Action            `json:"action"`
	Plane    Plane             `json:"plane"`
	Title    string            `json:"title"`              // what a person reads
	Why      string            `json:"why,omitempty"`      // the drift that it repairs, or the purpose
	With     map[string]string `json:"with,omitempty"`     // parameters; "$name" is a fact
	After    []string          `json:"after,omitempty"`    // ids of steps that must be done first
	Destroys bool              `json:"destroys,omitempty"` // cannot be undone
	Proof    []string          `json:"proof,omitempty"`    // of After, those without whose evidence a destroying step is refused
}

// Plan is the ordered way from what was found to what is wanted. It holds no secret, no time and no key.
type Plan struct {
	Version      int               `json:"version"` // 1
	Verb         Verb              `json:"verb"`
	Cloud        Cloud             `json:"cloud"`
	Instance     string            `json:"instance,omitempty"` // local cloud
	Tenant       string            `json:"tenant"`             // GUID
	Subscription string            `json:"subscription"`
	Agent        string            `json:"agent"`
	Spec         *Spec             `json:"spec"`                      // with this agent alone
	CreateBeside bool              `json:"create_beside,omitempty"`   // another application of the name was seen and accepted
	AllAssigned  bool              `json:"all_assignments,omitempty"` // revoke: assignments that are not ours too
	Facts        map[string]string `json:"facts,omitempty"`           // the facts relied on, known at planning
	Steps        []Step            `json:"steps"`
	Made         time.Time         `json:"made,omitzero"`      // of the half that another person applies: when it was made
	Findings     []finding.Finding `json:"findings,omitempty"` // seen while planning; not part of the digest
	Blockers     []finding.Finding `json:"blockers,omitempty"` // why there are no steps; not part of the digest
	Unmatched    []string          `json:"-"`                  // of what the operator wants removed: what names nothing that could be
}

// Empty tells whether nothing has to change. A plan that would only prove and read back again has nothing to change.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Step is the step of that id.
func (p Plan) Step(id string) (Step, bool) {
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.ID == id })
	if i < 0 {
		return Step{}, false
	}
	return p.Steps[i], true
}

// Sound tells what is wrong with the order of the steps: an id that is there twice, or a step that waits for one that is not before it.
// A plan of ours is sound; one from a file may say anything.
func (p Plan) Sound() error {
	at := map[string]int{}
	for i, s := range p.Steps {
		if _, twice := at[s.ID]; twice {
			return fmt.Errorf("the plan has two steps %q", s.ID)
		}
		at[s.ID] = i
	}
	for i, s := range p.Steps {
		for _, id := range s.After {
			if j, in := at[id]; in && j >= i {
				return fmt.Errorf("step %q of the plan waits for %q, which is not before it", s.ID, id)
			}
		}
	}
	return nil
}

// Digest is the SHA-256, in hex, of the plan's canonical JSON without its findings: what an approver pins. Equal specs and
// observations give equal digests.
func (p Plan) Digest() string {
	p.Findings, p.Blockers = nil, nil
	b, err := json.Marshal(p) // maps are sorted by encoding/json, structs have a fixed order
	if err != nil {
		panic("agent: a plan does not encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Only splits the plan for two people: half is what somebody with rights on that plane (graph or arm) can do, rest is what the other plane
// still needs. What needs no rights (keys, logins) goes with graph: the key is made where the agent's credentials are looked after, never
// on the machine of the person who assigns roles. The read-back comes with the next apply, once both are done.
func (p Plan) Only(plane Plane) (half, rest Plan) {
	half, rest = p, p
	half.Steps, rest.Steps = nil, nil
	out := map[string]bool{}
	for _, s := range p.Steps {
		whose := s.Plane
		if whose != ARM {
			whose = Graph
		}
		if whose == plane && !slices.ContainsFunc(s.After, func(id string) bool { return out[id] }) {
			half.Steps = append(half.Steps, s)
			continue
		}
		out[s.ID] = true
		if whose != plane && s.Action != Verify && s.Action != WriteEnv {
			rest.Steps = append(rest.Steps, s)
		}
	}
	for i := range rest.Steps {
		rest.Steps[i].After = slices.DeleteFunc(slices.Clone(rest.Steps[i].After), func(id string) bool {
			_, in := rest.Step(id)
			return !in
		})
	}
	return half, rest
}

// WithFacts is the plan with facts resolved: the ids that another person needs.
func (p Plan) WithFacts(facts map[string]string) Plan {
	known := maps.Clone(p.Facts)
	for _, name := range []string{FactApplication, FactAppID, FactPrincipal} {
		if v := facts[name]; v != "" {
			known[name] = v
		}
	}
	p.Facts = known
	return p
}
