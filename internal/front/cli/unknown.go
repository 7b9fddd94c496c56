package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// later lists the commands that documents of ours name and this version lacks.
func later() []string {
	return []string{"exec", "agent-id", "audit", "runtime", "deploy", "tui"}
}

// unknown is the answer to a word that is no command of the parent.
func unknown(parent *cobra.Command, word string) error {
	var names []string
	for _, sub := range parent.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	see := parent.CommandPath() + " --help lists the commands"
	if !parent.HasParent() && slices.Contains(later(), word) {
		return usage(see, "%q is not in this version of leastkey; a later one brings it", word)
	}
	return usage(didYouMean(role.Nearest(word, names), see), "unknown command %q of %s", word, parent.CommandPath())
}

func didYouMean(near, otherwise string) string {
	if near == "" {
		return otherwise
	}
	return "did you mean " + near + "?"
}

// parent makes a command that only holds others: alone it shows its help, and a word it does not know is a usage error.
func (c *command) parent(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subs...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args[0])
		}
		return cmd.Help()
	}
	return cmd
}

// help is cobra's, except that an unknown topic is a usage error.
func (c *command) help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Show the help of a command", Example: "  leastkey help apply",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return unknown(root, first(args))
			}
			if len(rest) > 0 {
				return unknown(cmd, rest[0])
			}
			return cmd.Help()
		},
	}
}

// firstWord finds the word in a command line that stands where a command should: the first that is neither a flag nor a flag's value.
func firstWord(root *cobra.Command, args []string) string {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case !strings.HasPrefix(a, "-") || a == "-":
			return a
		case strings.Contains(a, "="):
		case strings.HasPrefix(a, "--"):
			if root.PersistentFlags().Lookup(a[2:]) != nil {
				i++ // every global flag takes a value
			}
		case len(a) == 2 && root.PersistentFlags().ShorthandLookup(a[1:]) != nil:
			i++
		}
	}
	return first(args)
}

// flagError suggests the nearest flag for one that does not exist.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists the flags"
	if gone, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := role.Nearest(gone.GetSpecifiedName(), names); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return usage(hint, "%s", err)
}
