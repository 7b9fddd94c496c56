package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

func (c *command) up() *cobra.Command {
	var r api.UpRequest
	var f form
	cmd := &cobra.Command{
		Use: "up", Short: "Do the main job on a local cloud: start it, provision an agent, prove it, show it",
		Long: `Starts the local cloud, gives the example agent a service principal with a certificate and no secret, assigns
the roles it needs, logs in as it, reads everything back, and prints a summary. Then it serves on until
interrupted, so that status, token and plan of another terminal find it. No Azure account is needed.`,
		Example: "  leastkey up\n  leastkey up --once --json",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if err := c.onlyLocal(); err != nil {
				return err
			}
			r.Keystore, r.AgeIdentity = c.target.Keystore, c.target.AgeIdentity
			return c.runUp(ctx, r, f)
		}),
	}
	cmd.Flags().BoolVar(&r.Once, "once", false, "end when the job is done, instead of serving on")
	cmd.Flags().BoolVar(&r.Fresh, "fresh", false, "forget the local cloud of the last time, with its record and keys")
	cmd.Flags().StringVar(&r.State, "state", "", "`FOLDER` to keep everything in (default: LEASTKEY_HOME/local; with --once a temporary one)")
	cmd.Flags().StringVar(&r.Listen, "listen", "", "`ADDRESS` of the local cloud (default: loopback)")
	cmd.Flags().StringVar(&r.AdminListen, "admin-listen", "", "`ADDRESS` and port of the admin server (default: a free one of loopback)")
	f.flags(cmd)
	return cmd
}

// onlyLocal refuses flags that up could only ignore: it means a local cloud of its own, whatever a yaml says, and somebody who names a
// real tenant must not believe that it was changed.
func (c *command) onlyLocal() error {
	for _, f := range []struct{ name, value string }{
		{"--cloud " + c.cloud, strings.TrimPrefix(c.cloud, string(agent.Local))}, {"--file", c.target.File}, {"--tenant", c.target.Tenant},
		{"--subscription", c.target.Subscription}, {"--operator", c.target.Operator},
	} {
		if f.value != "" {
			return usage("leastkey apply works on what leastkey.yaml names", "%s does not go with up, which always means a local cloud of its own", f.name)
		}
	}
	return nil
}

func (c *command) runUp(ctx context.Context, r api.UpRequest, f form) (err error) {
	if c.world.Up == nil {
		return missing("the local cloud")
	}
	g := c.progress()
	s, err := c.world.Up(ctx, r, g.event)
	g.close()
	if s != nil && s.Close != nil {
		defer func() { err = closed(s.Close, err) }()
	}
	if err != nil {
		if s != nil {
			return c.unfinished(s.Report, f, err)
		}
		return err
	}
	if err := c.answer(s.Report, f); err != nil {
		return err
	}
	c.tryNext(r, s, f)
	if r.Once {
		return end(api.FindingsExit(s.Report.Findings))
	}
	c.cloudServes(s.Cloud)
	ready := false
	err = s.Serve(ctx, func(i api.ServeInfo) {
		ready = true
		if err := c.served(i, f); err != nil {
			c.complain(err.Error(), "")
		}
		c.err.line("This terminal serves the cloud until you press Ctrl-C.")
	})
	// Once it is ready, being told to end is what was asked for, and no failure.
	if ready && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// closed closes, and reports a failure to do so where nothing worse is to be reported.
func closed(closing func() error, err error) error {
	failed := closing()
	var code ended
	if failed != nil && (err == nil || errors.As(err, &code)) {
		return failed
	}
	return err
}

// answer writes a report to stdout.
func (c *command) answer(r api.Report, f form) error {
	if f.json {
		return c.out.document(whole(r))
	}
	c.out.report(r)
	return nil
}

// unfinished writes what there is of a report whose run failed. A program gets it; a person has seen each step go by.
func (c *command) unfinished(r api.Report, f form, err error) error {
	if f.json && len(r.Steps) > 0 {
		return errors.Join(err, c.out.document(whole(r)))
	}
	return err
}

// tryNext names what to try after up.
func (c *command) tryNext(r api.UpRequest, s *UpSession, f form) {
	if f.json {
		return
	}
	commands := s.Next
	switch {
	case commands != nil:
	case r.Once:
		commands = []string{"leastkey up", "leastkey init"}
	default:
		commands = []string{"leastkey status", "leastkey token", "leastkey plan", "leastkey cloud log"}
	}
	c.out.blank()
	if r.Once {
		c.out.styled(bold, "Try next:")
	} else {
		c.out.styled(bold, "Try next, in another terminal:")
	}
	for _, line := range commands {
		c.out.text(2, plain, line)
	}
}

// cloudServes says where the local cloud answers.
func (c *command) cloudServes(i api.CloudInfo) {
	c.err.item(0, dim, "local cloud:", 13, "login "+i.Login+", Graph "+i.Graph+", ARM "+i.ARM)
	if i.Dir != "" {
		c.err.item(0, dim, "", 13, "run folder "+i.Dir+", certificate authority "+i.CA)
	}
	for _, w := range i.Warnings {
		c.err.item(0, amber, "warning:", 13, w)
	}
}
