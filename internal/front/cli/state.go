package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

func (c *command) state() *cobra.Command {
	return c.parent(&cobra.Command{
		Use: "state", Short: "Show or export what is recorded of the agents",
		Long:    "The record holds ids, references to keys and public certificates, and no secret. What the cloud has now is another question: leastkey status.",
		Example: "  leastkey state export --out state.json",
	}, c.stateShow(), c.stateExport())
}

func (c *command) stateShow() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "show", Short: "Show the record",
		Example: "  leastkey state show",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			return c.door(ctx, c.target, true, func(d Door) error {
				all, err := d.State(ctx)
				if err != nil {
					return err
				}
				if f.json {
					return c.out.document(list(all))
				}
				c.showState(all)
				return nil
			})
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) showState(all []agent.Record) {
	if len(all) == 0 {
		c.out.line("No agent is recorded here.")
	}
	for i, r := range all {
		if i > 0 {
			c.out.blank()
		}
		c.out.styled(bold, "%s", r.Agent)
		c.out.record(r)
	}
	c.next("leastkey status%s   (asks the cloud)", c.same())
}

func (c *command) stateExport() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the record as JSON",
		Example: "  leastkey state export --out state.json",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			file, err := beginFile(path, 0o600)
			if err != nil {
				return err
			}
			defer file.discard()
			return c.door(ctx, c.target, true, func(d Door) error {
				all, err := d.State(ctx)
				if err != nil {
					return err
				}
				return c.export(list(all), path, file)
			})
		}),
	}
	cmd.Flags().StringVar(&path, "out", "", "`FILE`, readable by its owner alone (default: stdout)")
	return cmd
}

func (c *command) export(all []agent.Record, path string, file *draft) error {
	if path == "" {
		return c.out.document(all)
	}
	b, err := encode(all)
	if err != nil {
		return err
	}
	if err := file.commit(b); err != nil {
		return err
	}
	c.err.line("wrote %s of %s", path, plural(len(all), "agent", "agents"))
	return nil
}
