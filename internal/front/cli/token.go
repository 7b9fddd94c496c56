package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func (c *command) token() *cobra.Command {
	var r api.TokenRequest
	cmd := &cobra.Command{
		Use: "token [AGENT]", Short: "Print an access token of the agent, alone on stdout",
		Long: `Logs in as the agent with its own key and prints the access token and a line end, nothing else. The token is a
secret for about an hour: pipe it, do not paste it. An identity without a key gets its tokens where it runs, not here.`,
		Example: "  leastkey token polyclaw-runtime --scope https://vault.azure.net/.default",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			r.Agent = first(args)
			return c.door(ctx, c.target, true, func(d Door) error { return c.printToken(ctx, d, r) })
		}),
	}
	cmd.Flags().StringVar(&r.Scope, "scope", "", "`SCOPE` of the token (default: Azure Resource Manager)")
	return cmd
}

func (c *command) printToken(ctx context.Context, d Door, r api.TokenRequest) error {
	t, err := d.Token(ctx, r)
	if err != nil {
		return err
	}
	return c.writeToken(t)
}

// writeToken writes a token and a line end, and nothing else.
func (c *command) writeToken(t api.Token) error {
	if t.Value.Empty() {
		return fault.New(fault.Unknown, "the answer holds no token", "")
	}
	return t.Value.Use(func(b []byte) error {
		// One write, so that a reader never takes half a token for a whole one. A token is visible ASCII (RFC 6750, section 2.1);
		// anything else would reach the terminal uncleaned.
		for _, ch := range b {
			if ch <= ' ' || ch > '~' {
				return fault.New(fault.Unknown, "the answer is not a token: it holds characters that none has", "")
			}
		}
		line := append(b[:len(b):len(b)], '\n')
		defer clear(line)
		if _, err := c.out.Write(line); err != nil {
			return fmt.Errorf("write the token: %w", err)
		}
		return nil
	})
}
