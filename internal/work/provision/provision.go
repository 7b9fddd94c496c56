// Package provision makes, proves and takes away an agent's identity: the handlers of the steps that a plan consists of.
//
// Every Do is safe to repeat after a failure whose effect nobody knows: objects are made under names fixed by the journal, and what may
// already be there is looked for first.
package provision

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// Graph is the part of Microsoft Graph that provisioning needs.
type Graph interface {
	observe.Graph
	UpsertApplication(ctx context.Context, uniqueName, displayName string) (app agent.Application, created bool, err error)
	SetSingleTenant(ctx context.Context, objectID string) error
	// SetCertificates replaces the application's key credentials by those kept and those added.
	SetCertificates(ctx context.Context, objectID string, keep []agent.Certificate, add []agent.Certificate) error
	CreatePrincipal(ctx context.Context, appID string) (agent.Principal, error)
	SetEnabled(ctx context.Context, principalID string, enabled bool) error
	RemovePassword(ctx context.Context, collection, objectID, keyID string) error
	// PutFederated makes the federated credential of that name, or changes it in place.
	PutFederated(ctx context.Context, objectID string, f agent.FederatedCredential) error
	RemoveFederated(ctx context.Context, objectID, id string) error
	DeleteApplication(ctx context.Context, objectID string) error
	Deleted(ctx context.Context, objectID string) (bool, error) // in the recycle bin
	DeletedByUniqueName(ctx context.Context, name string) (objectID string, found bool, err error)
	Purge(ctx context.Context, objectID string) error
}

// ARM is the part of Azure Resource Manager that provisioning needs.
type ARM interface {
	observe.ARM
	Assign(ctx context.Context, name string, g role.Grant, principalID string) error
	AssignmentFor(ctx context.Context, g role.Grant, principalID string) (*agent.Assignment, error)
	Unassign(ctx context.Context, scope, name string) error
	// PutIdentity makes a user-assigned managed identity; created is false where one of the id was there.
	PutIdentity(ctx context.Context, id, location string, tags map[string]string) (made *agent.UserAssignedIdentity, created bool, err error)
	DeleteIdentity(ctx context.Context, id string) error
	PutIdentityFederated(ctx context.Context, id string, f agent.FederatedCredential) error
	RemoveIdentityFederated(ctx context.Context, id, name string) error
}

// Keystore keeps private keys.
type Keystore interface {
	observe.Keys
	Ref(name string) secret.Ref
	Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error)
	Delete(ctx context.Context, ref secret.Ref) error
}

// Login asks for a token with a key and its certificate, and tells whose token came back; the token itself goes nowhere.
type Login func(ctx context.Context, appID string, key crypto.Signer, der []byte) (api.Caller, error)

// EnvFile changes the agent's environment file and says in one line what it did.
type EnvFile interface {
	Path(path string) string // absolute; a relative one lies beside leastkey.yaml
	Write(ctx context.Context, path string, set map[string]string) (string, error)
	// Clear removes the keys whose value is still the one given; another value is somebody else's.
	Clear(ctx context.Context, path string, ours map[string]string) (string, error)
}

// Memory is the record of the agent.
type Memory interface {
	Agent(ctx context.Context, name string) (agent.Record, error)
}

// Own is the little that an identity may do to its own application without any permission, by proof of possession: the key that signs the
// proof must have a valid certificate there (Microsoft Graph, "application: addKey" and "application: removeKey").
//
// Of AddKey's failures, fault.Unavailable and fault.Unknown say that the effect is unknown, and any other that there was none. RemoveKey
// answers fault.NotFound where no certificate of that key id is there, or a replica has not heard of it.
type Own interface {
	AddKey(ctx context.Context, objectID string, proofKey crypto.Signer, proofDER []byte, add agent.Certificate) (keyID string, err error)
	RemoveKey(ctx context.Context, objectID, keyID string, proofKey crypto.Signer, proofDER []byte) error
}

// Subject is whose a certificate says it is. It proves nothing.
type Subject struct {
	CommonName   string
	Organization string // "" leaves it out
}

// Config is everything that provisioning acts through. Every field but Entry, Own and Issued is needed.
type Config struct {
	Graph    Graph
	ARM      ARM
	Keys     Keystore
	Login    Login
	Env      EnvFile
	Memory   Memory
	Roles    role.Catalogue
	Generate func(bits int) (crypto.Signer, error)
	Certify  func(key crypto.Signer, s Subject, days int) (der []byte, err error)
	// Entry names a generation's key in the keystore; nil is tenant/agent#generation.
	Entry func(tenant, agent, generation string) string
	// Own is Graph as the identity itself, logged in with that key and certificate. Needed where a plan rotates by the identity's right.
	Own func(appID string, key crypto.Signer, der []byte) Own
	// Issued is the DER of a certificate that an authority has issued for the key of a rotation that waits for it; nil: leastkey makes it.
	Issued   []byte
	Operator string        // object id, recorded as the creator; "" if there is no operator, so that nobody may read an application
	Settle   time.Duration // how long an absence must last before it is believed
	Quiet    time.Duration // how long the key credentials of an existing application must stay equal after a change; 10 s on real clouds
}

// Provision holds the handlers.
type Provision struct{ Config }

// New checks nothing: a missing field is a fault of the wiring, found by the first test.
func New(c Config) *Provision { return &Provision{c} }

// Clone is a copy, so that changes side by side can each have their own operator.
func (p *Provision) Clone() *Provision {
	c := *p
	return &c
}

// Handlers are the handlers of every action.
func (p *Provision) Handlers() map[agent.Action]job.Handler {
	return map[agent.Action]job.Handler{
		agent.CreateApplication:   p.createApplication(),
		agent.AdoptApplication:    p.adopt(),
		agent.SingleTenant:        p.singleTenant(),
		agent.CreatePrincipal:     p.createPrincipal(),
		agent.MintKey:             p.mintKey(),
		agent.RegisterCertificate: p.registerCertificate(),
		agent.RemoveCertificate:   p.removeCertificate(),
		agent.RetireLater:         p.retireLater(),
		agent.RemovePassword:      p.removePassword(),
		agent.RemoveFederated:     p.removeFederated(),
		agent.AssignRole:          p.assignRole(),
		agent.RemoveRole:          p.removeRole(),
		agent.Login:               p.login(),
		agent.Verify:              p.verify(),
		agent.WriteEnv:            p.writeEnv(),
		agent.DisablePrincipal:    p.disablePrincipal(),
		agent.ClearCertificates:   p.clearCredentials(),
		agent.DeleteApplication:   p.deleteApplication(),
		agent.PurgePrincipal:      p.purge("principal"),
		agent.PurgeApplication:    p.purge("application"),
		agent.ProveDead:           p.proveDead(),
		agent.DeleteKey:           p.deleteKey(),
		agent.ClearEnv:            p.clearEnv(),
		agent.Forget:              p.forget(),
		agent.CreateIdentity:      p.createIdentity(),
		agent.AwaitPrincipal:      p.awaitPrincipal(),
		agent.DeleteIdentity:      p.deleteIdentity(),
		agent.WriteFederated:      p.writeFederated(),
		agent.SeeFederated:        p.seeFederated(),
	}
}

// nonce is 128 random bits in hex.
func nonce() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return hex.EncodeToString(b)
}

func evidence(asked, answer string) []finding.Evidence {
	return []finding.Evidence{{Asked: asked, Answer: answer, At: time.Now().UTC()}}
}

func (p *Provision) createApplication() job.Handler {
	h := job.Handler{
		Atomic: true,
		Intent: func(context.Context, *job.Call) (map[string]string, error) {
			return map[string]string{"unique_name": "leastkey-" + nonce()}, nil
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			name := c.Intent["unique_name"]
			app, created, err := p.Graph.UpsertApplication(ctx, name, c.With("display_name"))
			if fault.Is(err, fault.NotFound) {
				return agent.Result{}, p.taken(ctx, name, err)
			}
			if err != nil {
				return agent.Result{}, err
			}
			answer := "204: it was there"
			if created {
				answer = "201: created"
			}
			return agent.Result{
				Detail:   "app id " + app.AppID,
				Facts:    map[string]string{agent.FactApplication: app.ID, agent.FactAppID: app.AppID, agent.FactUniqueName: name},
				Evidence: evidence("PATCH applications(uniqueName='"+name+"')", answer),
			}, nil
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			rec.Kind, rec.Instance, rec.Subscription = agent.ServicePrincipal, c.Run.Plan.Instance, c.Run.Plan.Subscription
			rec.ApplicationID, rec.AppID, rec.UniqueName = r.Facts[agent.FactApplication], r.Facts[agent.FactAppID], r.Facts[agent.FactUniqueName]
			rec.CreatedBy = p.Operator
		},
	}
	// The upsert is the one look that no replica can deceive: what it makes where there was nothing, the revoke deletes.
	h.Quit = func(ctx context.Context, c *job.Call) (agent.Result, bool, error) {
		r, err := h.Do(ctx, c)
		if fault.Is(err, fault.Conflict) { // somebody has deleted it
			return r, false, nil
		}
		return r, err == nil, err
	}
	return h
}

// taken tells why a name that is taken shows no application: a replica has not heard of the one that an earlier try made, or somebody has
// deleted that one before we could record it. Its name stays reserved then, so that no try under it can ever succeed.
func (p *Provision) taken(ctx context.Context, name string, answer error) error {
	id, found, err := p.Graph.DeletedByUniqueName(ctx, name)
	switch {
	case err != nil:
		return err
	case found:
		return fault.New(fault.Conflict, "application "+id+" ("+name+") was deleted by somebody before it was recorded", "apply again: a new one gets a new name")
	}
	return job.Spreading(answer)
}

func (p *Provision) singleTenant() job.Handler {
	return job.Handler{Atomic: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		return agent.Result{Detail: "sign-in audience AzureADMyOrg"}, job.Spreading(p.Graph.SetSingleTenant(ctx, c.With("application")))
	}}
}

func (p *Provision) createPrincipal() job.Handler {
	return job.Handler{
		Atomic: true,
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			sp, err := p.Graph.CreatePrincipal(ctx, c.With("app_id"))
			if fault.Is(err, fault.Conflict) { // an earlier try had its effect
				sp, err = p.Graph.Principal(ctx, c.With("app_id"))
			}
			if err != nil {
				return agent.Result{}, job.Spreading(err) // its application is on its way to the replicas
			}
			return agent.Result{
				Detail:   "principal id " + sp.ID,
				Facts:    map[string]string{agent.FactPrincipal: sp.ID},
				Evidence: evidence("POST servicePrincipals", "id "+sp.ID),
			}, nil
		},
		Remember: func(_ *job.Call, r agent.Result, rec *agent.Record) { rec.PrincipalID = r.Facts[agent.FactPrincipal] },
	}
}

func (p *Provision) assignRole() job.Handler {
	return job.Handler{
		Atomic: true,
		// Whether it is there or not, its name is known, and removing what is not there does no harm.
		Quit: func(_ context.Context, c *job.Call) (agent.Result, bool, error) {
			name := role.AssignmentName(grant(c), c.With("principal"))
			return agent.Result{Detail: "assignment " + name + ", if it was made", Facts: map[string]string{"assignment:" + c.Step.ID: name, "ours:" + c.Step.ID: "true"}}, true, nil
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			g, principal := grant(c), c.With("principal")
			name := role.AssignmentName(g, principal)
			ours := "true"
			err := p.ARM.Assign(ctx, name, g, principal)
			if fault.Is(err, fault.Conflict) { // the triple exists under another name: it satisfies the plan and is not ours
				var found *agent.Assignment
				if found, err = p.ARM.AssignmentFor(ctx, g, principal); err == nil && found == nil {
					err = fault.Newf(fault.NotYet, "the existing assignment is not listed yet")
				} else if err == nil {
					if !strings.EqualFold(found.Name, name) { // else an earlier try of ours made it
						ours = "false"
					}
					name = found.Name
				}
			}
			if err != nil {
				return agent.Result{}, job.Spreading(err) // PrincipalNotFound: the principal is on its way to ARM
			}
			return agent.Result{
				Detail:   "assignment " + name,
				Facts:    map[string]string{"assignment:" + c.Step.ID: name, "ours:" + c.Step.ID: ours},
				Evidence: evidence("PUT "+g.Scope+"/…/roleAssignments/"+name, g.Role),
			}, nil
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			a := agent.Assigned{Grant: grant(c), Name: r.Facts["assignment:"+c.Step.ID], Ours: r.Facts["ours:"+c.Step.ID] == "true"}
			forget(rec, a.Name)
			rec.Assignments = append(rec.Assignments, a)
		},
	}
}

func grant(c *job.Call) role.Grant {
	return role.Grant{Role: c.With("role"), RoleID: c.With("role_id"), Scope: c.With("scope")}
}

func forget(rec *agent.Record, name string) {
	kept := rec.Assignments[:0:0]
	for _, a := range rec.Assignments {
		if a.Name != name {
			kept = append(kept, a)
		}
	}
	rec.Assignments = kept
}

func (p *Provision) removeRole() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			err := p.ARM.Unassign(ctx, c.With("scope"), c.With("name"))
			if fault.Is(err, fault.NotFound) {
				err = nil
			}
			return agent.Result{Detail: role.Short(c.With("scope"))}, err
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) { forget(rec, c.With("name")) },
	}
}
