package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

func (c *command) initialise() *cobra.Command {
	var r api.InitRequest
	var f form
	cmd := &cobra.Command{
		Use: "init", Short: "Write a leastkey.yaml from the operator's session",
		Long: `Reads tenant and subscription from the operator's session and writes a leastkey.yaml with one agent, to look at and
change. It never overwrites one.`,
		Example: "  leastkey init --operator az --resource-group rg-bots",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Init == nil {
				return missing("init")
			}
			r.Target = c.target
			a, err := c.world.Init(ctx, r)
			if err != nil {
				return err
			}
			return c.initialised(a, f)
		}),
	}
	cmd.Flags().StringVar(&r.Agent, "agent", "", "`NAME` of the agent (default: polyclaw-runtime)")
	cmd.Flags().StringVar(&r.ResourceGroup, "resource-group", "", "`GROUP` in which the agent works (default: polyclaw-rg)")
	cmd.Flags().StringVar(&r.Location, "location", "", "`REGION` of the group (default: eastus)")
	f.flags(cmd)
	return cmd
}

func (c *command) initialised(a api.InitAnswer, f form) error {
	if f.json {
		a.Agents = list(a.Agents)
		return c.out.document(a)
	}
	c.out.styled(bold, "Wrote %s", a.File)
	c.out.field("cloud", a.Cloud)
	c.out.caller(a.As)
	for _, name := range a.Agents {
		c.out.field("agent", name)
	}
	for _, n := range a.Notes {
		c.out.field("note", n)
	}
	c.next("look at %s, then: leastkey plan%s", a.File, c.same())
	return nil
}

// caller shows whose session acts, and where: the tenant of the token in use, not what somebody's tool believes.
func (p *printer) caller(a api.Caller) {
	p.field("as", who(a))
	p.field("tenant", a.TenantID)
	p.field("subscription", a.Subscription)
}

func (c *command) login() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "login", Short: "Log in as the operator with a device code",
		Long: `Shows a code to enter on another device and keeps the session in the keystore. It is only for --operator device-code;
the other operators bring a session of their own.`,
		Example: "  leastkey login --tenant contoso.onmicrosoft.com",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Login == nil {
				return missing("login")
			}
			who, err := c.world.Login(ctx, api.LoginRequest{Target: c.target, Show: c.deviceCode})
			if err != nil {
				return err
			}
			if f.json {
				return c.out.document(who)
			}
			c.out.styled(bold, "Logged in")
			c.out.caller(who)
			c.next("leastkey plan --operator device-code")
			return nil
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) deviceCode(d api.DeviceCode) {
	c.err.line("Open %s and enter the code %s", d.URL, d.Code)
	if !d.Expires.IsZero() {
		c.err.styled(dim, "The code is good until %s. Enter it only if you began this login yourself.", when(d.Expires))
	}
}

func (c *command) doctor() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check keystore, operator, clock and reachability",
		Example: "  leastkey doctor --operator azd",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Doctor == nil {
				return missing("doctor")
			}
			all, err := c.world.Doctor(ctx, c.target)
			if err != nil {
				return err
			}
			return c.examined(all, f)
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) examined(all []finding.Finding, f form) error {
	code := api.FindingsExit(all)
	if f.json {
		if err := c.out.document(list(all)); err != nil {
			return err
		}
		return end(code)
	}
	c.out.findings(0, all)
	c.out.blank()
	c.out.line("%s", tally(all))
	if code == api.ExitDone {
		c.next("leastkey plan%s", c.same())
	} else {
		c.next("do what the failing checks say, then: leastkey doctor%s", c.same())
	}
	return end(code)
}
