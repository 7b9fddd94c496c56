package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

type applyOptions struct {
	planFlags
	form
	agent  string
	file   string
	yes    bool
	only   string
	out    string
	digest string
}

func (c *command) apply() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use: "apply [AGENT | PLANFILE]", Short: "Make the cloud as leastkey.yaml says, or carry out an approved plan",
		Long: `Shows the plan and carries it out: creates what is missing, repairs what has drifted, then logs in as the agent, if
it has a key, and reads everything back. It may be interrupted at any time and run again. On a real cloud it asks, or
needs --yes, --digest or a plan file (an argument that ends in .json or holds a slash). Where the rights in Entra and
Azure sit with different people, each applies a half with --only.`,
		Example: "  leastkey apply polyclaw-runtime\n  leastkey apply --only graph --out rest.json     # then, by somebody else:\n  leastkey apply rest.json",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			o.agent = first(args)
			if isPlanFile(o.agent) {
				o.agent, o.file = "", o.agent
			}
			return c.runApply(ctx, o)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.StringVar(&o.only, "only", "", "do one `HALF`, graph or arm")
	f.StringVar(&o.out, "out", "", "with --only: write the other half to `FILE`, as a plan")
	f.StringVar(&o.digest, "digest", "", "carry out only the plan of this digest, in at least 12 `HEX` digits")
	o.createFlags(cmd)
	o.flags(cmd)
	return cmd
}

func (o applyOptions) check() error {
	switch {
	case o.only != "" && o.only != string(agent.Graph) && o.only != string(agent.ARM):
		return usage("", "--only %q is not one of graph, arm", o.only)
	case o.out != "" && o.only == "":
		return usage("add --only graph or --only arm", "--out takes what --only leaves")
	case o.file != "" && (o.beside || len(o.foreign) > 0):
		return usage("make another plan with leastkey plan --out", "--create-beside and --remove-foreign do not go with a plan file")
	}
	return checkPin(o.digest, agent.Apply.Shows(o.agent))
}

func (c *command) runApply(ctx context.Context, o applyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	req := api.ApplyRequest{PlanRequest: o.request(o.agent, agent.Apply), Digest: o.digest, Only: agent.Plane(o.only)}
	target := c.target
	if o.file != "" {
		p, err := readPlan(o.file)
		if err != nil {
			return err
		}
		if o.beside, o.foreign = false, nil; !req.Pinned(p.Digest()) {
			return usage("leastkey plan shows the digest", "%s holds plan %s, not %s", o.file, api.ShortDigest(p.Digest()), o.digest)
		}
		req.Plan, req.Agent, req.Verb = p, p.Agent, p.Verb
		target = aim(target, p)
	}
	rest, err := beginFile(o.out, 0o644)
	if err != nil {
		return err
	}
	defer rest.discard()
	return c.door(ctx, target, false, func(d Door) error {
		carry := d.Apply
		if req.Verb == agent.Revoke {
			carry = d.Revoke
		}
		rep, err := c.carryOut(ctx, carry, req, approval{yes: o.yes, pin: o.digest, file: o.file != ""})
		if err != nil {
			return c.unfinished(rep, o.form, err)
		}
		return c.applied(rep, rest, o)
	})
}

// aim fills what the flags leave open of a target from the plan: who applies a plan file need not have the yaml.
func aim(t api.Target, p *agent.Plan) api.Target {
	if t.File != "" {
		return t
	}
	if t.Cloud == "" {
		t.Cloud = p.Cloud
	}
	if t.Tenant == "" {
		t.Tenant = p.Tenant
	}
	if t.Subscription == "" {
		t.Subscription = p.Subscription
	}
	return t
}

// carryOut runs a request with approval and progress.
func (c *command) carryOut(ctx context.Context, do func(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error), req api.ApplyRequest, a approval) (api.Report, error) {
	a.c, a.ctx = c, ctx
	req.Approve = a.approve
	g := c.progress()
	rep, err := do(ctx, req, g.event)
	g.close()
	return rep, a.result(err)
}

func (c *command) applied(rep api.Report, rest *draft, o applyOptions) error {
	left := rep.Rest != nil && !rep.Rest.Empty()
	if left && o.out != "" {
		if err := writePlan(rest, *rep.Rest); err != nil {
			return err
		}
	}
	if err := c.answer(rep, o.form); err != nil {
		return err
	}
	switch {
	case o.json:
	case left && o.out != "":
		c.next("somebody with the other rights runs: leastkey apply %s", quote(planPath(o.out)))
	case left:
		c.next("leastkey plan %s%s   (shows the other half)", rep.Agent, c.same())
	case rep.Revoked:
		c.next("leastkey status%s", c.same())
	case rep.LogsIn != "": // and that is not here
		c.next("leastkey status %s%s", rep.Agent, c.same())
	default:
		c.next("leastkey token %s%s   or: leastkey status %s%s", rep.Agent, c.same(), rep.Agent, c.same())
	}
	return end(api.FindingsExit(rep.Findings))
}
