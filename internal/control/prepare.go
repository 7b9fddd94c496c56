package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Migrate prepares the migration of an agent that logs in with Polyclaw's client secret: its certificate is registered and proved beside
// the secret, and nothing is removed. An application that is not recorded yet is the one that the environment file names, and enters under
// the same approval. As long as a password is left, the report has a finding that fails ([agent.FindLegacy]).
func (d *Door) Migrate(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	r.Verb, r.Plan, r.Only, r.Issued = agent.Migrate, nil, "", nil
	return d.change(ctx, r, events)
}

// preparation looks and decides.
func (c *change) preparation(ctx context.Context) (agent.Plan, agent.Observed, error) {
	rec, err := c.record(ctx, c.agent.Name)
	if err != nil {
		return agent.Plan{}, agent.Observed{}, err
	}
	opt := agent.PrepareOptions{Options: agent.Options{Roles: c.c.Roles, Tenant: c.c.Where.TenantID, Instance: c.c.Where.Instance}, Adopt: !rec.Provisioned()}
	if c.agent.Keyless() { // whose plan says so, whatever an environment file says
		seen := agent.Observed{Record: rec}
		return agent.Prepare(c.c.Spec, c.agent.Name, seen, opt), seen, nil
	}
	legacy, v, err := c.legacy()
	if err != nil {
		return agent.Plan{}, agent.Observed{}, err
	}
	if opt.Adopt {
		if err := c.taken(ctx, legacy.AppID); err != nil {
			return agent.Plan{}, agent.Observed{}, err
		}
		app, principal, err := c.adoptable(ctx, legacy.AppID)
		if err != nil {
			return agent.Plan{}, agent.Observed{}, err
		}
		rec.Adopt(app, principal.ID, nil, c.who.ObjectID) // as it will be; the plan's first step writes it down
	} else if !strings.EqualFold(rec.AppID, legacy.AppID) {
		return agent.Plan{}, agent.Observed{}, fault.New(fault.Conflict, fmt.Sprintf("agent %s has application %s, and %s of %s is %s", c.agent.Name, rec.AppID, agent.LegacyAppID, legacy.File, legacy.AppID),
			"name the file of this agent's runtime with --env-file")
	}
	opt.Legacy = c.works(ctx, legacy, v)
	seen, err := c.c.Observer.Credentials(ctx, c.c.Spec, c.agent, rec)
	if err == nil {
		err = c.envOwner(ctx, &seen)
	}
	if err != nil {
		return agent.Plan{}, seen, err
	}
	plan := agent.Prepare(c.c.Spec, c.agent.Name, seen, opt)
	if seen.EnvPath != "" && seen.EnvPath != legacy.File {
		plan.Findings = append(plan.Findings, finding.Finding{ID: "other-env-file", Question: "will whatever reads the secret find the new keys?", Outcome: finding.Warn,
			Detail: legacy.File + " is only read: the agent's keys go to " + seen.EnvPath, Remedy: "if the runtime reads the first, name it as env_file in leastkey.yaml and run it again"})
	}
	return plan, seen, nil
}

// legacy reads the environment file, and refuses one that is not about an application of this tenant.
func (c *change) legacy() (agent.Legacy, secret.Value, error) {
	if c.agent.Kind != agent.ServicePrincipal {
		return agent.Legacy{}, secret.Value{}, fault.New(fault.Refused, fmt.Sprintf("agent %s is of kind %s, which has no certificate", c.agent.Name, c.agent.Kind), "")
	}
	l, v, err := c.c.LegacyEnv(c.req.EnvFile, c.agent.EnvFile)
	switch {
	case err != nil:
	case v.Empty():
		err = fault.New(fault.NotFound, "no "+agent.LegacyPassword+" in "+l.File, "name the runtime's environment file with --env-file; an agent without a secret needs no migration: leastkey apply "+c.agent.Name)
	case !agent.IsGUID(l.AppID):
		err = fault.New(fault.Refused, agent.LegacyAppID+" of "+l.File+" is missing, or no client id", "without it nobody knows whose secret that is: a display name proves nothing")
	case !strings.EqualFold(l.Tenant, c.c.Where.TenantID):
		said := l.Tenant
		if !agent.IsGUID(said) {
			said = "no tenant id"
		}
		err = fault.New(fault.Refused, fmt.Sprintf("%s of %s is %s, and this is tenant %s", agent.LegacyTenant, l.File, said, c.c.Where.TenantID), "work on that tenant, or name another file with --env-file")
	}
	return l, v, err
}

// works asks the login service, once it answers at all. Only its own word makes a secret dead.
func (c *change) works(ctx context.Context, l agent.Legacy, v secret.Value) agent.Legacy {
	type answer struct {
		works bool
		said  string
	}
	a, err := job.Retry(ctx, "whether the old secret still works", func(ctx context.Context) (a answer, err error) {
		a.works, a.said, err = c.c.LegacySecret(ctx, l.AppID, v)
		return a, err
	})
	switch {
	case err != nil:
		l.Works, l.Said = agent.WorksUnknown, err.Error()
	case a.works:
		l.Works = agent.Alive
	default:
		l.Works, l.Said = agent.Dead, a.said
	}
	return l
}

// dryRun shows the plan, and changes nothing.
func (c *change) dryRun(ctx context.Context) error {
	plan, err := c.plan(ctx)
	if err != nil {
		return err
	}
	open, err := c.c.Journal.Open(ctx, c.agent.Name)
	if err != nil {
		return err
	}
	if open != nil {
		plan.Findings = append(plan.Findings, finding.Finding{ID: "open-run", Question: "is nothing left half done?", Outcome: finding.Warn,
			Detail: fmt.Sprintf("a %s that began on %s stopped midway", open.Verb, open.Started.Format(time.DateTime)), Remedy: open.Command() + " goes on with it"})
	}
	c.report.Plan, c.report.Digest, c.report.Findings, c.report.Adopts = &plan, plan.Digest(), plan.Findings, c.adopts(plan)
	return c.enter(ctx, string(c.req.Verb)+" (dry run)", c.agent.Name, plan.Digest(), nil)
}

// adopts is the application that the plan would record, which somebody has to have seen.
func (c *change) adopts(plan agent.Plan) *agent.Application {
	if !slices.ContainsFunc(plan.Steps, func(s agent.Step) bool { return s.Action == agent.AdoptApplication }) {
		return nil
	}
	return c.seen.Application
}
