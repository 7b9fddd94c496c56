// Package observe reads the world once, in parallel, for every verb.
package observe

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Graph is the part of Microsoft Graph that an observation needs. An object that Graph says is not there is a fault of code NotFound.
type Graph interface {
	Namesakes(ctx context.Context, displayName string) ([]agent.Namesake, error)
	Application(ctx context.Context, objectID string) (agent.Application, error)
	Federated(ctx context.Context, objectID string) ([]agent.FederatedCredential, error)
	Owners(ctx context.Context, objectID string) ([]agent.Owner, error)
	Principal(ctx context.Context, appID string) (agent.Principal, error)
}

// ARM is the part of Azure Resource Manager that an observation needs.
type ARM interface {
	GroupExists(ctx context.Context, subscription, group string) (bool, error)
	Vault(ctx context.Context, id string) (*agent.Vault, error)
	Exists(ctx context.Context, id string) (bool, error)
	Assignments(ctx context.Context, scope, principalID string) ([]agent.Assignment, error)
	// Identity is a user-assigned managed identity by its ARM id, nil if ARM answered that there is none; IdentityFederated its federated
	// credentials, which ARM shows to a request of their own.
	Identity(ctx context.Context, id string) (*agent.UserAssignedIdentity, error)
	IdentityFederated(ctx context.Context, id string) ([]agent.FederatedCredential, error)
}

// Keys opens keys by reference.
type Keys interface {
	Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error)
}

// Observer reads.
type Observer struct {
	Graph Graph
	ARM   ARM
	Keys  Keys
	// Env reads an environment file and says where it lies, as an absolute path; one that does not exist is empty.
	Env   func(path string) (at string, set map[string]string, err error)
	Roles role.Catalogue
	// Settle is how long an absence of a recorded object must last before it is believed: replicas lag, and one of them that has not
	// heard of an object yet says 404 as well. 0 believes the first answer.
	Settle time.Duration
}

// Agent reads everything that a plan for the agent rests on. An error means that some of it is unknown, and nothing may be decided.
func (o *Observer) Agent(ctx context.Context, s agent.Spec, a *agent.Agent, rec agent.Record) (agent.Observed, error) {
	seen := agent.Observed{Record: rec, Keys: map[string]agent.KeyState{}, Now: time.Now()}
	err := o.agent(ctx, s, a, rec, &seen)
	return seen, err
}

// GraphHalf is Agent for somebody who does the Graph half alone. If Azure does not let them see even the resource group, nothing is read
// there and the observation says so: whoever does the other half has to look.
func (o *Observer) GraphHalf(ctx context.Context, s agent.Spec, a *agent.Agent, rec agent.Record) (agent.Observed, error) {
	_, err := job.Retry(ctx, "resource group "+s.ResourceGroup, func(ctx context.Context) (bool, error) {
		return o.ARM.GroupExists(ctx, s.Subscription, s.ResourceGroup)
	})
	seen := agent.Observed{Record: rec, Keys: map[string]agent.KeyState{}, Now: time.Now(), AzureUnread: fault.Is(err, fault.Forbidden)}
	err = o.agent(ctx, s, a, rec, &seen)
	return seen, err
}

// Credentials is what a rotation rests on: the application, its service principal, and the keys. Nothing in Azure is asked.
func (o *Observer) Credentials(ctx context.Context, s agent.Spec, a *agent.Agent, rec agent.Record) (agent.Observed, error) {
	seen := agent.Observed{Record: rec, Keys: map[string]agent.KeyState{}, Now: time.Now(), AzureUnread: true}
	err := o.agent(ctx, s, a, rec, &seen)
	return seen, err
}

// OwnKeys is what a rotation without an operator rests on: the keys alone, since the identity may not read even itself.
func (o *Observer) OwnKeys(ctx context.Context, rec agent.Record) (agent.Observed, error) {
	seen := agent.Observed{Record: rec, Keys: map[string]agent.KeyState{}, Now: time.Now()}
	err := o.keys(ctx, rec, &seen)
	return seen, err
}

// Resources reads what the role assignments rest on, and nothing of the identity.
func (o *Observer) Resources(ctx context.Context, s agent.Spec, a *agent.Agent) (agent.Observed, error) {
	var seen agent.Observed
	var g Group
	o.resources(ctx, &g, s, a, &seen)
	err := g.Wait()
	return seen, err
}

func (o *Observer) agent(ctx context.Context, s agent.Spec, a *agent.Agent, rec agent.Record, seen *agent.Observed) error {
	var g Group
	managed := rec.Managed() || (!rec.Provisioned() && a.Kind == agent.ManagedIdentity)
	if !managed {
		g.Read(ctx, "applications named "+a.Name, func(ctx context.Context) error {
			all, err := o.Graph.Namesakes(ctx, a.Name)
			seen.Namesakes = nil
			for _, n := range all {
				if n.ID != rec.ApplicationID {
					seen.Namesakes = append(seen.Namesakes, n)
				}
			}
			return err
		})
	}
	if !seen.AzureUnread {
		o.resources(ctx, &g, s, a, seen)
	}
	switch {
	case managed:
		o.managed(ctx, &g, s, a, rec, seen)
	case rec.Provisioned():
		o.identity(ctx, &g, s, a, rec, seen)
	}
	g.Do(func() error { return o.keys(ctx, rec, seen) })
	if o.Env != nil && a.EnvFile != "" {
		g.Do(func() (err error) {
			seen.EnvPath, seen.Env, err = o.Env(a.EnvFile)
			return err
		})
	}
	return g.Wait()
}

// Identity reads the identity alone: what a revocation rests on, which must not fail because a vault is gone.
func (o *Observer) Identity(ctx context.Context, s agent.Spec, a *agent.Agent, rec agent.Record) (agent.Observed, error) {
	seen := agent.Observed{Record: rec, Now: time.Now()}
	arm := &lenient{ARM: o.ARM}
	looking := *o
	looking.ARM = arm
	var g Group
	switch {
	case rec.Managed():
		looking.managed(ctx, &g, s, a, rec, &seen)
	case rec.Provisioned():
		looking.identity(ctx, &g, s, a, rec, &seen)
	}
	err := g.Wait()
	seen.Readable = slices.DeleteFunc(seen.Readable, func(scope string) bool { return slices.Contains(arm.unread, scope) })
	seen.Unread = append(seen.Unread, arm.unread...)
	return seen, err
}

// lenient is ARM for somebody who may not look everywhere: what may not be read, or is not there, is noted and not an error.
type lenient struct {
	ARM
	mu     sync.Mutex
	unread []string
}

// Assignments implements [ARM].
func (l *lenient) Assignments(ctx context.Context, scope, principal string) ([]agent.Assignment, error) {
	found, err := l.ARM.Assignments(ctx, scope, principal)
	if !fault.Is(err, fault.Forbidden, fault.NotFound) {
		return found, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.unread, scope) {
		l.unread = append(l.unread, scope)
	}
	return nil, nil
}

func (o *Observer) resources(ctx context.Context, g *Group, s agent.Spec, a *agent.Agent, seen *agent.Observed) {
	g.Read(ctx, "resource group "+s.ResourceGroup, func(ctx context.Context) (err error) {
		seen.GroupExists, err = o.ARM.GroupExists(ctx, s.Subscription, s.ResourceGroup)
		return err
	})
	if id := s.VaultID(a); id != "" {
		g.Read(ctx, "vault "+id, func(ctx context.Context) (err error) {
			seen.Vault, err = o.ARM.Vault(ctx, id)
			return err
		})
	}
	if id := s.PoolID(a); id != "" {
		g.Read(ctx, "session pool "+id, func(ctx context.Context) (err error) {
			seen.PoolExists, err = o.ARM.Exists(ctx, id)
			return err
		})
	}
	if id := s.SafetyID(a); id != "" {
		g.Read(ctx, "content safety account "+id, func(ctx context.Context) (err error) {
			seen.SafetyFound, err = o.ARM.Exists(ctx, id)
			return err
		})
	}
}

func (o *Observer) identity(ctx context.Context, g *Group, s agent.Spec, a *agent.Agent, rec agent.Record, seen *agent.Observed) {
	g.Do(func() error {
		app, err := Present(ctx, o.Settle, "application "+rec.ApplicationID, func(ctx context.Context) (agent.Application, error) {
			return application(ctx, o.Graph, rec.ApplicationID, true)
		})
		seen.Application = app
		return err
	})
	// The roles of the recorded principal are read beside everything else; those of one that somebody made anew, once it is known.
	var held [2]Held
	var inner Group
	if rec.PrincipalID != "" && !seen.AzureUnread {
		inner.Do(func() (err error) {
			held[0], err = HeldBy(ctx, o.ARM, o.Roles, s, a, rec, rec.PrincipalID)
			return err
		})
	}
	inner.Do(func() error {
		p, err := Present(ctx, o.Settle, "service principal of "+rec.AppID, func(ctx context.Context) (agent.Principal, error) {
			return o.Graph.Principal(ctx, rec.AppID)
		})
		seen.Principal = p
		if err == nil && p != nil && !strings.EqualFold(p.ID, rec.PrincipalID) && !seen.AzureUnread {
			held[1], err = HeldBy(ctx, o.ARM, o.Roles, s, a, rec, p.ID)
		}
		return err
	})
	g.Do(func() error {
		err := inner.Wait()
		both := held[0].and(held[1])
		seen.Assignments, seen.Readable, seen.Unread = both.Assignments, both.Readable, both.Unread
		return err
	})
}

// Application reads an application with its federated credentials, which Graph shows to a request of their own only.
func Application(ctx context.Context, g Graph, id string) (agent.Application, error) {
	return application(ctx, g, id, false)
}

func application(ctx context.Context, g Graph, id string, owners bool) (agent.Application, error) {
	var (
		app  agent.Application
		rest [2]error
		err  error
		wg   sync.WaitGroup
	)
	var federated []agent.FederatedCredential
	var owned []agent.Owner
	wg.Go(func() { app, err = g.Application(ctx, id) })
	wg.Go(func() { federated, rest[0] = g.Federated(ctx, id) })
	if owners {
		wg.Go(func() { owned, rest[1] = g.Owners(ctx, id) })
	}
	wg.Wait()
	if err != nil {
		return app, err
	}
	app.Federated, app.Owners = federated, owned
	for _, e := range rest {
		if e != nil {
			return app, job.Spreading(e) // one replica knows the application and another does not
		}
	}
	return app, nil
}

// keys opens every recorded key and compares it with its certificate. Only the store's own "there is none" is absent.
func (o *Observer) keys(ctx context.Context, rec agent.Record, seen *agent.Observed) error {
	for _, gen := range rec.Generations {
		signer, err := o.Keys.Open(ctx, gen.Ref)
		switch {
		case fault.Is(err, fault.NotFound):
			seen.Keys[gen.ID] = agent.KeyAbsent
		case err != nil:
			return fmt.Errorf("open key %s: %w", gen.Ref, err)
		case Belongs(signer, gen.DER):
			seen.Keys[gen.ID] = agent.KeyPresent
		default:
			seen.Keys[gen.ID] = agent.KeyMismatched
		}
	}
	return nil
}

// Belongs tells whether the key is that of the certificate.
func Belongs(signer crypto.Signer, der []byte) bool {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return false
	}
	pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(signer.Public())
}

// Present is nil where the object is gone for as long as settle.
func Present[T any](ctx context.Context, settle time.Duration, what string, read func(context.Context) (T, error)) (*T, error) {
	var got *T
	since := time.Now()
	err := job.Wait(ctx, job.Probe{What: what, Deadline: settle + 3*time.Minute, Try: func(ctx context.Context) error {
		v, err := read(ctx)
		switch {
		case err == nil:
			got = &v
			return nil
		case !fault.Is(err, fault.NotFound):
			return err
		case time.Since(since) >= settle:
			return nil
		}
		return job.Spreading(err)
	}})
	return got, err
}

// Group runs reads side by side and joins what failed.
type Group struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

// Do runs f beside the others.
func (g *Group) Do(f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.errs = append(g.errs, err)
		}
	})
}

// Read runs f beside the others, again while the answer may still come.
func (g *Group) Read(ctx context.Context, what string, f func(context.Context) error) {
	g.Do(func() error {
		_, err := job.Retry(ctx, what, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
		if err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		return nil
	})
}

// Wait waits for all, and gives everything that failed.
func (g *Group) Wait() error {
	g.wg.Wait()
	return errors.Join(g.errs...)
}
