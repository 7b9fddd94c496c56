package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

func (c *command) adopt() *cobra.Command {
	var r api.AdoptRequest
	var f form
	var yes bool
	cmd := &cobra.Command{
		Use: "adopt --app-id ID [AGENT]", Short: "Bring an existing application under management",
		Long: `Shows the application with its owners and credentials and, once approved, records it as the agent's. Nothing but
this command makes an application that leastkey did not create its own: a display name proves nothing.`,
		Example: "  leastkey adopt --app-id 00000000-0000-0000-0000-000000000000 polyclaw-runtime",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			r.Agent = first(args)
			return c.runAdopt(ctx, r, f, yes)
		}),
	}
	cmd.Flags().StringVar(&r.AppID, "app-id", "", "client `ID` (appId) of the application")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	f.flags(cmd)
	return cmd
}

func (c *command) runAdopt(ctx context.Context, r api.AdoptRequest, f form, yes bool) error {
	if !agent.IsGUID(r.AppID) {
		return usage("az ad app list --display-name NAME --query [].appId shows it", "adopt needs --app-id with the client id (a GUID) of the application")
	}
	if !yes && !c.streams.Terminal {
		return usage("look at the application first, then repeat with --yes", "adopt needs approval, and there is no terminal to ask on")
	}
	a := approval{c: c, ctx: ctx}
	r.Approve = func(app agent.Application) (bool, error) {
		c.err.application(app)
		if yes {
			return true, nil
		}
		ok, err := c.confirm(ctx, "Adopt this application?")
		a.declined, a.err = !ok && err == nil, err
		return ok, err
	}
	return c.door(ctx, c.target, false, func(d Door) error {
		g := c.progress()
		rep, err := d.Adopt(ctx, r, g.event)
		g.close()
		if err := a.result(err); err != nil {
			return c.unfinished(rep, f, err)
		}
		if err := c.answer(rep, f); err != nil {
			return err
		}
		if !f.json {
			c.next("leastkey plan %s%s", rep.Agent, c.same())
		}
		return end(api.FindingsExit(rep.Findings))
	})
}

// application shows what somebody needs to know before they call an application theirs.
func (p *printer) application(a agent.Application) {
	p.styled(bold, "Application %s", a.DisplayName)
	p.field("client id", a.AppID)
	p.field("object id", a.ID)
	p.field("unique name", a.UniqueName)
	p.field("sign-in", a.SignInAudience)
	for _, u := range a.RedirectURIs {
		p.field("redirect", u)
	}
	if len(a.Owners) == 0 {
		p.field("owner", "none")
	}
	for _, o := range a.Owners {
		p.field("owner", orDash(o.DisplayName)+", "+orDash(o.Type)+" "+o.ID)
	}
	for _, k := range a.Certificates {
		p.field("certificate", orDash(k.DisplayName)+", key id "+k.KeyID+", SHA-256 "+orDash(k.SHA256)+", until "+when(k.End))
	}
	for _, k := range a.Passwords {
		p.item(2, red, "PASSWORD", labels, orDash(k.DisplayName)+", key id "+k.KeyID+", begins with "+orDash(k.Hint)+", until "+when(k.End))
	}
	if len(a.Certificates)+len(a.Passwords) == 0 {
		p.field("credentials", "none")
	}
	p.blank()
}
