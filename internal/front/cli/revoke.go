package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

type revokeOptions struct {
	planFlags
	form
	agent  string
	every  bool
	yes    bool
	digest string
}

func (c *command) revoke() *cobra.Command {
	var o revokeOptions
	cmd := &cobra.Command{
		Use: "revoke AGENT | --all", Short: "End an agent's identity: disable, unassign, delete, and prove it dead",
		Long: `Disables the service principal, removes its role assignments, its credentials and the application, deletes the key and
clears the environment file, in an order that never leaves a usable orphan. It says until when a token that was issued
before may still be accepted. Of a managed identity it removes role assignments, federated credentials and the identity
itself, which has no recycle bin; an adopted one stays unless purged. It asks for the agent's name, or needs --yes or
--digest.`,
		Example: "  leastkey revoke polyclaw-runtime --purge",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			o.agent = first(args)
			return c.runRevoke(ctx, o)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.every, "all", false, "revoke every recorded agent")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.StringVar(&o.digest, "digest", "", "carry out only the plan of this digest, in at least 12 `HEX` digits")
	o.revokeFlags(cmd)
	o.flags(cmd)
	return cmd
}

func (c *command) runRevoke(ctx context.Context, o revokeOptions) error {
	switch {
	case o.agent == "" && !o.every:
		return usage("leastkey status lists the agents", "revoke needs the name of an agent, or --all")
	case o.agent != "" && o.every:
		return usage("", "revoke takes the name of an agent or --all, not both")
	case o.every && o.digest != "":
		return usage("revoke the agents one by one", "--digest pins the plan of one agent and does not go with --all")
	}
	if err := checkPin(o.digest, agent.Revoke.Shows(o.agent)); err != nil {
		return err
	}
	if !o.yes && o.digest == "" && !c.streams.Terminal {
		return unasked("revoke", "")
	}
	return c.door(ctx, c.target, false, func(d Door) error {
		if o.every {
			return c.revokeAll(ctx, d, o)
		}
		rep, err := c.revokeOne(ctx, d, o, o.agent)
		if err != nil {
			return c.unfinished(rep, o.form, err)
		}
		if err := c.answer(rep, o.form); err != nil {
			return err
		}
		if !o.json {
			c.next("leastkey status%s", c.same())
		}
		return end(api.FindingsExit(rep.Findings))
	})
}

func (c *command) revokeOne(ctx context.Context, d Door, o revokeOptions, name string) (api.Report, error) {
	req := api.ApplyRequest{PlanRequest: o.request(name, agent.Revoke), Digest: o.digest}
	return c.carryOut(ctx, d.Revoke, req, approval{yes: o.yes, pin: o.digest})
}

// revokeAll revokes one after the other and stops at the first that fails; those before it stay revoked and are reported.
func (c *command) revokeAll(ctx context.Context, d Door, o revokeOptions) error {
	records, err := d.State(ctx)
	if err != nil {
		return err
	}
	reports := []api.Report{}
	code := api.ExitDone
	for i, r := range records {
		rep, err := c.revokeOne(ctx, d, o, r.Agent)
		if err != nil {
			err = fmt.Errorf("revoke %s (%s of %d before it are revoked): %w", r.Agent, plural(i, "agent", "agents"), len(records), err)
			if o.json {
				return c.both(reports, err)
			}
			return err
		}
		reports = append(reports, whole(rep))
		if !o.json {
			c.out.report(rep)
		}
		code = max(code, api.FindingsExit(rep.Findings))
	}
	if o.json {
		if err := c.out.document(reports); err != nil {
			return err
		}
		return end(code)
	}
	if len(records) == 0 {
		c.out.line("Nothing to do: no agent is recorded.")
	}
	c.next("leastkey status%s", c.same())
	return end(code)
}

// both answers with what there is and then fails.
func (c *command) both(v any, err error) error {
	if failed := c.out.document(v); failed != nil {
		c.complain(failed.Error(), "")
	}
	return err
}
