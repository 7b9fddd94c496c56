package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/role"
)

func (c *command) version() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "version", Short: "Show which leastkey this is",
		Example: "  leastkey version --json",
		Args:    none,
		RunE: c.run(func(context.Context, []string) error {
			v := c.world.Version
			if f.json {
				return c.out.document(v)
			}
			c.out.line("leastkey %s", v.Version)
			c.out.field("commit", v.Commit)
			c.out.field("built", v.Built)
			c.out.field("with", strings.TrimSpace(v.Go+" "+v.Platform))
			return nil
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "Print a completion script for bash, zsh, fish or powershell",
		Example:   "  source <(leastkey completion bash)",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usage(didYouMean(role.Nearest(first(args), shells), ""), "completion needs one of %s", strings.Join(shells, ", "))
			}
			return nil
		},
	}
	cmd.RunE = c.run(func(_ context.Context, args []string) error {
		root := cmd.Root()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(c.out, true)
		case "zsh":
			return root.GenZshCompletion(c.out)
		case "fish":
			return root.GenFishCompletion(c.out, true)
		}
		return root.GenPowerShellCompletionWithDesc(c.out)
	})
	return cmd
}
