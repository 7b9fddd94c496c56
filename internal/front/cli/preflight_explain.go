package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/report"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func (c *command) preflightExplain() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "explain [CHECK]", Short: "Say what a check asks, and what to do where it does not pass",
		Long:    "Explains one check, or lists all of them. It asks nothing of any cloud.",
		Example: "  leastkey preflight explain\n  leastkey preflight explain clock",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("", "name one check")
			}
			return nil
		},
		RunE: c.run(func(_ context.Context, args []string) error { return c.explain(first(args), f) }),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) explain(id string, f form) error {
	if c.world.Checks == nil {
		return missing("the preflight")
	}
	all := c.world.Checks()
	if id == "" {
		if f.json {
			return c.out.document(list(all))
		}
		c.out.checks(all)
		c.next("leastkey preflight explain CHECK")
		return nil
	}
	i := slices.IndexFunc(all, func(k api.PreflightCheck) bool { return k.ID == id })
	if i < 0 {
		var ids []string
		for _, k := range all {
			ids = append(ids, k.ID)
		}
		return usage(didYouMean(role.Nearest(id, ids), "leastkey preflight explain lists them"), "there is no check %q", id)
	}
	if f.json {
		return c.out.document(all[i])
	}
	c.out.check(all[i])
	return nil
}

func (p *printer) checks(all []api.PreflightCheck) {
	var rows [][]string
	for _, k := range all {
		rows = append(rows, []string{k.ID, string(k.Category), string(k.Severity), need(k), k.Question})
	}
	p.table([]column{{head: "CHECK"}, {head: "CATEGORY"}, {head: "SEVERITY"}, {head: "NEED"}, {head: "QUESTION", bends: true}}, rows)
}

func (p *printer) check(k api.PreflightCheck) {
	p.styled(bold, "%s (%s)", k.Name, k.ID)
	p.field("asks", k.Question)
	p.field("category", string(k.Category))
	p.field("severity", string(k.Severity))
	p.field("need", need(k)+map[bool]string{true: ": where nobody could tell, the preflight is not green", false: ": where nobody could tell, it is counted and no more"}[k.Required])
	p.field("to do", k.Remedy)
	p.field("more", report.Website(k.Docs))
}

func need(k api.PreflightCheck) string {
	if k.Required {
		return "required"
	}
	return "advisory"
}
