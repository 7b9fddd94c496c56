package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

type planOptions struct {
	planFlags
	form
	agent    string
	out      string
	exitCode bool
	revoke   bool
}

func (c *command) plan() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use: "plan [AGENT]", Short: "Show what apply would change, and change nothing",
		Long: `Reads leastkey.yaml and the cloud and shows the steps between them, each with its reason, and the digest that
approves exactly these. With --out the plan goes to a file, which holds no secret and which somebody else can apply.`,
		Example: "  leastkey plan\n  leastkey plan polyclaw-runtime --out plan.json && leastkey apply plan.json",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			o.agent = first(args)
			return c.runPlan(ctx, o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "write the plan to `FILE`")
	f.BoolVar(&o.exitCode, "exit-code", false, "exit with 5 if changes are pending")
	f.BoolVar(&o.revoke, "revoke", false, "plan the revocation of the agent")
	o.createFlags(cmd)
	o.revokeFlags(cmd)
	o.flags(cmd)
	return cmd
}

// createFlags are the flags that let a plan do what it would else refuse.
func (f *planFlags) createFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.beside, "create-beside", false, "create the application although another has its display name")
	cmd.Flags().StringArrayVar(&f.foreign, "remove-foreign", nil, "remove the foreign certificate of this `SHA256`, or the password of this key id; may be repeated")
}

func (f *planFlags) revokeFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.purge, "purge", false, "revoke: remove it from the recycle bin too; delete also a managed identity that was adopted")
	cmd.Flags().BoolVar(&f.all, "all-assignments", false, "revoke: remove role assignments that are not ours too")
}

func (c *command) runPlan(ctx context.Context, o planOptions) error {
	verb := agent.Apply
	switch {
	case o.revoke && (o.beside || len(o.foreign) > 0):
		return usage("", "--create-beside and --remove-foreign do not go with --revoke")
	case o.revoke:
		verb = agent.Revoke
	case o.purge || o.all:
		return usage("add --revoke", "--purge and --all-assignments are for a revocation")
	}
	file, err := beginFile(o.out, 0o644)
	if err != nil {
		return err
	}
	defer file.discard()
	return c.door(ctx, c.target, false, func(d Door) error {
		ans, err := d.Plan(ctx, o.request(o.agent, verb))
		if err != nil && o.json && len(ans.Plan.Blockers) > 0 {
			return c.both(ans, err)
		}
		if err != nil {
			return err
		}
		if o.out != "" {
			if err := writePlan(file, ans.Plan); err != nil {
				return err
			}
		}
		if err := c.showPlan(ans, o); err != nil {
			return err
		}
		if code := api.FindingsExit(ans.Plan.Findings); code != api.ExitDone {
			return end(code)
		}
		if o.exitCode && !ans.Plan.Empty() {
			return end(api.ExitPending)
		}
		return nil
	})
}

func (c *command) showPlan(ans api.PlanAnswer, o planOptions) error {
	if o.json {
		ans.Plan.Steps = list(ans.Plan.Steps)
		return c.out.document(ans)
	}
	c.out.plan(ans)
	switch {
	case ans.Plan.Empty():
		c.next("leastkey status %s%s", ans.Plan.Agent, c.same())
	case o.out != "":
		c.next("leastkey apply %s   (somebody with the rights can do it elsewhere)", quote(planPath(o.out)))
	default:
		c.next("%s", c.nextApply(ans, o))
	}
	return nil
}

// planPath writes a file's name so that apply takes it for one.
func planPath(path string) string {
	if isPlanFile(path) {
		return path
	}
	return "./" + path
}

// nextApply is the command that carries out exactly this plan.
func (c *command) nextApply(ans api.PlanAnswer, o planOptions) string {
	s := fmt.Sprintf("leastkey %s %s", ans.Plan.Verb, ans.Plan.Agent)
	if ans.Consent() != api.NoConsent {
		s += " --digest " + api.ShortDigest(ans.Digest)
	}
	if o.beside {
		s += " --create-beside"
	}
	for _, f := range o.foreign {
		s += " --remove-foreign " + quote(f)
	}
	if o.purge {
		s += " --purge"
	}
	if o.all {
		s += " --all-assignments"
	}
	return s + c.same()
}
