package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
)

// credentials lists the federated credentials of what the step is about.
func (p *Provision) credentials(ctx context.Context, c *job.Call) ([]agent.FederatedCredential, error) {
	if id := c.With("resource"); id != "" {
		return p.ARM.IdentityFederated(ctx, id)
	}
	return p.Graph.Federated(ctx, c.With("application"))
}

// writeFederated makes a federated credential or changes it in place. Its name is known beforehand, so that a second try cannot make a
// second one, and a revoke knows it without asking.
func (p *Provision) writeFederated() job.Handler {
	return job.Handler{
		Atomic: true,
		Quit: func(_ context.Context, c *job.Call) (agent.Result, bool, error) {
			return agent.Result{Detail: c.With("name") + ", if it was made"}, true, nil
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			f := agent.FederatedCredential{Name: c.With("name"), Issuer: c.With("issuer"), Subject: c.With("subject"), Audiences: []string{c.With("audience")}}
			if err := p.putFederated(ctx, c, f); err != nil {
				return agent.Result{}, job.Spreading(err) // application or identity is on its way to the replicas
			}
			return agent.Result{Detail: f.Name, Evidence: evidence("write federatedIdentityCredentials/"+f.Name, "written")}, nil
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			if name := c.With("name"); !slices.Contains(rec.Federated, name) {
				rec.Federated = append(rec.Federated, name)
			}
		},
	}
}

func (p *Provision) putFederated(ctx context.Context, c *job.Call, f agent.FederatedCredential) error {
	if id := c.With("resource"); id != "" {
		return p.ARM.PutIdentityFederated(ctx, id, f)
	}
	err := p.Graph.PutFederated(ctx, c.With("application"), f)
	if !fault.Is(err, fault.Conflict) {
		return err
	}
	// A replica that does not know the name yet tries to create, which the uniqueness of names, enforced without lag, forbids.
	have, listErr := p.Graph.Federated(ctx, c.With("application"))
	switch {
	case listErr != nil:
		return listErr
	case slices.ContainsFunc(have, func(h agent.FederatedCredential) bool { return h.Name == f.Name && h.Stands(f) }):
		return nil
	}
	return &fault.Error{Code: fault.NotYet, Service: fault.Service(err), Err: err}
}

// seeFederated reads until each of the named federated credentials of the spec was there in three readings in a row: a replica may lag.
func (p *Provision) seeFederated() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		a, names := c.Run.Plan.Spec.Agents[c.Run.Plan.Agent], strings.Fields(c.With("names"))
		since := time.Now()
		err := c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
			for range equalAnswers {
				have, err := p.credentials(ctx, c)
				if err == nil {
					err = missingFederated(a, names, have)
				}
				if err != nil {
					return p.spreading(c, since, err, agent.CreateApplication, agent.CreateIdentity, agent.WriteFederated)
				}
			}
			return nil
		}})
		said := fmt.Sprintf("%d there, in %d readings", len(names), equalAnswers)
		return agent.Result{Detail: said, Evidence: evidence("GET federatedIdentityCredentials", said)}, err
	}}
}

// missingFederated tells of the first of the named credentials of the spec that a reading does not show.
func missingFederated(a *agent.Agent, names []string, have []agent.FederatedCredential) error {
	for _, w := range a.Federated {
		want := w.Credential()
		if slices.Contains(names, want.Name) && !slices.ContainsFunc(have, func(f agent.FederatedCredential) bool { return f.Stands(want) }) {
			return fault.Newf(fault.NotYet, "the federated credential for %s of %s is not listed", w.Subject, w.Issuer)
		}
	}
	return nil
}

// removeFederated removes a federated credential. "Not found" is believed once it has lasted: a replica may not have heard of it yet.
func (p *Provision) removeFederated() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			id, since := c.With("key_id"), time.Now()
			r := agent.Result{Detail: "id " + id, Evidence: evidence("DELETE federatedIdentityCredentials/"+id, "removed")}
			err := c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
				var err error
				if resource := c.With("resource"); resource != "" {
					err = p.ARM.RemoveIdentityFederated(ctx, resource, id)
				} else {
					err = p.Graph.RemoveFederated(ctx, c.With("application"), id)
				}
				if fault.Is(err, fault.NotFound) && time.Since(since) >= p.Settle {
					r.Evidence = evidence("DELETE federatedIdentityCredentials/"+id, "not found")
					return nil
				}
				return job.Spreading(err)
			}})
			return r, err
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			if name := c.With("name"); name != "" {
				rec.Federated = slices.DeleteFunc(slices.Clone(rec.Federated), func(n string) bool { return strings.EqualFold(n, name) })
			}
		},
	}
}
