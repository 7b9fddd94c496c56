package cli

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func (c *command) serve() *cobra.Command {
	r := api.ServeRequest{}
	var f form
	cmd := c.parent(&cobra.Command{
		Use: "serve", Short: "Serve the HTTP API and the web, and do what is due",
		Long: `Serves until interrupted: the HTTP API, the web, and, on its own, rotation by renew_at, the removal of certificates
whose overlap has ended, and runs that stopped midway. It prints a login link once; programs use admin tokens.

It works on what leastkey.yaml names, or on the running local cloud where there is none.`,
		Example: "  leastkey serve\n  leastkey serve --listen 0.0.0.0:9443 --tls-cert server.pem --tls-key server.key",
	}, c.serveToken())
	bare := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return bare(cmd, args)
		}
		return c.run(func(ctx context.Context, _ []string) error { return c.runServe(ctx, r, f) })(cmd, args)
	}
	fl := cmd.Flags()
	fl.StringVar(&r.Listen, "listen", "127.0.0.1:9090", "`ADDRESS` and port; others than loopback need TLS")
	fl.StringVar(&r.TLSCert, "tls-cert", "", "`FILE` with the server's certificate and its chain, in PEM")
	fl.StringVar(&r.TLSKey, "tls-key", "", "`FILE` with its key")
	fl.StringVar(&r.BehindProxy, "behind-proxy", "", "public `HOST[:PORT]` of a reverse proxy of yours that speaks TLS before this server")
	fl.StringVar(&r.LegacyAgent, "legacy-agent", "", "`NAME` of the agent of polyclaw's endpoints (default: the only one)")
	fl.StringVar(&r.SecretFile, "admin-secret-file", "", "`FILE` with polyclaw's ADMIN_SECRET (default: the systemd credential admin-secret)")
	fl.BoolVar(&r.MetricsOpen, "metrics-open", false, "let anybody on this machine read /metrics")
	fl.BoolVar(&r.NoLink, "no-login-link", false, "print no login link, as where stdout is kept")
	fl.BoolVar(&r.Idle, "no-schedule", false, "do nothing that is due")
	fl.StringVar(&r.Trace, "trace", "", "`FILE` that gets a trace of each request and outside call, as JSON")
	f.flags(cmd)
	return cmd
}

func (c *command) runServe(ctx context.Context, r api.ServeRequest, f form) error {
	if c.world.Serve == nil {
		return missing("the admin server")
	}
	if _, _, err := net.SplitHostPort(r.Listen); err != nil {
		return usage("write it as 127.0.0.1:9090", "--listen %q is not an address and a port", r.Listen)
	}
	r.Target = c.target
	ready := false
	err := c.world.Serve(ctx, r, func(i api.ServeInfo) {
		ready = true
		if err := c.served(i, f); err != nil {
			c.complain(err.Error(), "")
		}
		c.err.line("The admin server answers until you press Ctrl-C.")
	})
	if ready && err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // being told to end is what it waits for
	}
	return err
}

// served says where the admin server answers. The login link is a secret that is meant for who sits here: it is written once, to stdout.
func (c *command) served(i api.ServeInfo, f form) error {
	for _, n := range i.Notes {
		c.err.item(0, amber, "warning:", 0, n)
	}
	if f.json {
		out := struct {
			api.ServeInfo
			Login string `json:"login,omitempty"`
		}{ServeInfo: i, Login: opened(i.Login)}
		return c.out.document(out)
	}
	c.out.blank()
	c.out.item(0, bold, "Admin server:", 0, i.URL)
	if !i.Login.Empty() {
		// As one word on one line: it is to be copied or clicked.
		c.out.raw("Log in (once, within five minutes): " + opened(i.Login) + "\n")
	}
	return nil
}

// opened opens a secret that is about to be written to stdout.
func opened(v secret.Value) (text string) {
	_ = v.Use(func(b []byte) error {
		text = string(b)
		return nil
	})
	return text
}

func (c *command) serveToken() *cobra.Command {
	return c.parent(&cobra.Command{
		Use: "token", Short: "Make, list and revoke the tokens of the admin server",
		Example: "  leastkey serve token add ci --role approve",
	}, c.tokenAdd(), c.tokenList(), c.tokenRevoke())
}

// oneName is the argument check of commands that take the name of a token.
func oneName(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("", "name one token")
	}
	return nil
}

func (c *command) tokenAdd() *cobra.Command {
	var level string
	var f form
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a token, and show it this once",
		Long: `Makes a token of 256 random bits. It is shown now and never again: only its SHA-256 is kept.

Roles: view looks; approve also runs the preflight and carries out a plan that somebody of role apply has released; apply does everything.`,
		Example: "  leastkey serve token add ci --role approve",
		Args:    oneName,
		RunE: c.run(func(ctx context.Context, args []string) error {
			if c.world.Tokens == nil {
				return missing("the admin server")
			}
			levels := []string{string(api.View), string(api.Approve), string(api.Full)}
			if !api.Level(level).Includes(api.View) {
				return usage(didYouMean(role.Nearest(level, levels), ""), "--role %q is not one of view, approve, apply", level)
			}
			made, err := c.world.Tokens.Add(ctx, args[0], api.Level(level))
			if err != nil {
				return err
			}
			if f.json {
				return c.out.document(struct {
					api.AdminToken
					Token string `json:"token"`
				}{made.AdminToken, opened(made.Value)})
			}
			c.out.raw(opened(made.Value) + "\n")
			c.err.line("This is the only time that it is shown. Send it as a header: Authorization: Bearer TOKEN")
			c.next("leastkey serve token list")
			return nil
		}),
	}
	cmd.Flags().StringVar(&level, "role", "", "`ROLE`: view, approve or apply")
	f.flags(cmd)
	return cmd
}

func (c *command) tokenList() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "list", Short: "List the tokens, the revoked ones too",
		Example: "  leastkey serve token list",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Tokens == nil {
				return missing("the admin server")
			}
			all, err := c.world.Tokens.List(ctx)
			if err != nil {
				return err
			}
			if f.json {
				return c.out.document(list(all))
			}
			if len(all) == 0 {
				c.out.line("There is no token.")
				c.next("leastkey serve token add NAME --role view")
				return nil
			}
			day := func(t time.Time) string {
				if t.IsZero() {
					return "-"
				}
				return t.UTC().Format("2006-01-02 15:04")
			}
			var rows [][]string
			for _, t := range all {
				rows = append(rows, []string{t.Name, string(t.Level), day(t.Made), orDash(t.By), day(t.Used), day(t.Revoked)})
			}
			c.out.table([]column{{head: "NAME"}, {head: "ROLE"}, {head: "MADE (UTC)"}, {head: "BY", bends: true}, {head: "LAST USED"}, {head: "REVOKED"}}, rows)
			return nil
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "End a token, and the sessions that were opened with it",
		Example: "  leastkey serve token revoke ci",
		Args:    oneName,
		RunE: c.run(func(ctx context.Context, args []string) error {
			if c.world.Tokens == nil {
				return missing("the admin server")
			}
			if err := c.world.Tokens.Revoke(ctx, args[0]); err != nil {
				return err
			}
			c.out.line("Token %s is revoked; a running server knows at its next request.", args[0])
			return nil
		}),
	}
}
