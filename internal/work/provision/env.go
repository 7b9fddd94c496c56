package provision

import (
	"context"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/work/job"
)

func (p *Provision) writeEnv() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			did, err := p.Env.Write(ctx, c.With("file"), agent.EnvOf(c.With("resource"), c.With("app_id"), c.Run.Plan.Tenant))
			return agent.Result{Detail: did, Facts: map[string]string{"env_file": p.Env.Path(c.With("file"))}}, err
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			if old := rec.EnvFile; old != "" && clears(c.Run.Plan, old) {
				return // until the old one is cleared, it is the one to remember: nothing else would find it again
			}
			rec.EnvFile = r.Facts["env_file"]
		},
	}
}

func clears(plan agent.Plan, file string) bool {
	return slices.ContainsFunc(plan.Steps, func(s agent.Step) bool { return s.Action == agent.ClearEnv && s.With["file"] == file })
}

// clearEnv removes our keys from a file: that of a revoked agent, or one that the spec has left for another, which this plan has written.
func (p *Provision) clearEnv() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			did, err := p.Env.Clear(ctx, c.With("file"), agent.EnvOf(c.With("resource"), c.With("app_id"), c.Run.Plan.Tenant))
			return agent.Result{Detail: did}, err
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) { rec.EnvFile = c.Fact("env_file") },
	}
}

func (p *Provision) forget() job.Handler {
	return job.Handler{
		Do: func(context.Context, *job.Call) (agent.Result, error) {
			return agent.Result{Detail: "the ledger and the journal keep its history"}, nil
		},
		// A key that could not be looked for stays recorded, and with it the instance that it is of.
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			*rec = agent.Record{Agent: c.Run.Agent, Instance: rec.Instance, Subscription: rec.Subscription, Generations: rec.Generations}
			if len(rec.Generations) == 0 {
				*rec = agent.Record{Agent: c.Run.Agent}
			}
			for i := range rec.Generations {
				rec.Generations[i].Active = false
			}
		},
	}
}
