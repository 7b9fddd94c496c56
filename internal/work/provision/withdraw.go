package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// unlessGone acts on a recorded object. "Not found" has three reasons: the object lies in the recycle bin, which is an answer; a replica
// has not heard of it yet, which passes; or somebody purged it, which is believed only once it has lasted.
func (p *Provision) unlessGone(object string, act func(ctx context.Context, c *job.Call) error) func(context.Context, *job.Call) (agent.Result, error) {
	return func(ctx context.Context, c *job.Call) (agent.Result, error) {
		id := c.With(object)
		since := time.Now()
		var r agent.Result
		err := c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
			err := act(ctx, c)
			if !fault.Is(err, fault.NotFound) {
				r = agent.Result{Evidence: evidence(string(c.Step.Action)+" "+id, "done")}
				return err
			}
			deleted, binErr := p.Graph.Deleted(ctx, id)
			switch {
			case binErr != nil:
				return binErr
			case deleted:
				r = agent.Result{Detail: "it is in the recycle bin already", Already: true, Evidence: evidence("GET deletedItems/"+id, "found")}
				return nil
			case time.Since(since) >= p.Settle:
				r = agent.Result{Detail: "it is gone already", Already: true, Evidence: evidence(string(c.Step.Action)+" "+id, fmt.Sprintf("not found for %s", p.Settle))}
				return nil
			}
			return job.Spreading(err)
		}})
		return r, err
	}
}

func (p *Provision) disablePrincipal() job.Handler {
	return job.Handler{Do: p.unlessGone("principal", func(ctx context.Context, c *job.Call) error {
		return p.Graph.SetEnabled(ctx, c.With("principal"), false)
	})}
}

// clearCredentials removes every certificate, password and federated credential of the application, foreign ones too: it is about to be deleted, and whoever
// restores it shall find nothing that opens it. Passwords of the service principal have steps of their own.
func (p *Provision) clearCredentials() job.Handler {
	return job.Handler{Do: p.unlessGone("application", func(ctx context.Context, c *job.Call) error {
		app, err := observe.Application(ctx, p.Graph, c.With("application"))
		if err != nil {
			return err
		}
		for _, f := range app.Federated {
			if err := p.Graph.RemoveFederated(ctx, app.ID, f.ID); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		for _, pw := range app.Passwords {
			if err := p.Graph.RemovePassword(ctx, "applications", app.ID, pw.KeyID); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		return p.Graph.SetCertificates(ctx, app.ID, nil, nil)
	})}
}

func (p *Provision) deleteApplication() job.Handler {
	return job.Handler{Do: p.unlessGone("application", func(ctx context.Context, c *job.Call) error {
		return p.Graph.DeleteApplication(ctx, c.With("application"))
	})}
}

// purge takes a deleted object out of the recycle bin. "Not found" there means that it has not arrived in the bin on this replica, or
// that an earlier try purged it; the first passes, so the second is believed once it has lasted.
func (p *Provision) purge(object string) job.Handler {
	return job.Handler{Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		id := c.With(object)
		if id == "" {
			return agent.Result{Detail: "there is none"}, nil
		}
		since := time.Now()
		r := agent.Result{Evidence: evidence("DELETE deletedItems/"+id, "done")}
		err := c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
			err := p.Graph.Purge(ctx, id)
			if fault.Is(err, fault.NotFound) && time.Since(since) >= p.Settle {
				r = agent.Result{Detail: "it is gone already", Already: true, Evidence: evidence("DELETE deletedItems/"+id, "not found")}
				return nil
			}
			return job.Spreading(err)
		}})
		return r, err
	}}
}
