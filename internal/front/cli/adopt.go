package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func (c *command) adopt() *cobra.Command {
	var r api.AdoptRequest
	var f form
	var yes bool
	cmd := &cobra.Command{
		Use: "adopt --app-id ID | --resource-id ID [AGENT]", Short: "Bring an existing application or managed identity under management",
		Long: `Shows the application with its owners and credentials, or the managed identity with its federated credentials, tags and
roles, and, once approved, records it as the agent's. Nothing but this command makes an identity that leastkey did not
create its own: a name proves nothing.`,
		Example: "  leastkey adopt --app-id 00000000-0000-0000-0000-000000000000 polyclaw-runtime\n  leastkey adopt --resource-id /subscriptions/…/userAssignedIdentities/polyclaw-runtime-mi polyclaw-runtime",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			r.Agent = first(args)
			return c.runAdopt(ctx, r, f, yes)
		}),
	}
	cmd.Flags().StringVar(&r.AppID, "app-id", "", "client `ID` (appId) of the application")
	cmd.Flags().StringVar(&r.ResourceID, "resource-id", "", "ARM `ID` of the managed identity, which is the one that the spec would make")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	f.flags(cmd)
	return cmd
}

func (c *command) runAdopt(ctx context.Context, r api.AdoptRequest, f form, yes bool) error {
	if r.AppID != "" && r.ResourceID != "" {
		return usage("", "adopt takes --app-id or --resource-id, not both")
	}
	if r.ResourceID == "" && !agent.IsGUID(r.AppID) {
		return usage("az ad app list --display-name NAME --query [].appId shows it", "adopt needs --app-id with the client id (a GUID) of the application")
	}
	if !yes && !c.streams.Terminal {
		return usage("look at it first, then repeat with --yes", "adopt needs approval, and there is no terminal to ask on")
	}
	a := approval{c: c, ctx: ctx}
	ask := func(question string) (bool, error) {
		if yes {
			return true, nil
		}
		ok, err := c.confirm(ctx, question)
		a.declined, a.err = !ok && err == nil, err
		return ok, err
	}
	r.Approve = func(app agent.Application) (bool, error) {
		c.err.application(app)
		return ask("Adopt this application?")
	}
	r.ApproveIdentity = func(i agent.UserAssignedIdentity, held []agent.Assignment) (bool, error) {
		c.err.managedIdentity(i, held)
		return ask("Adopt this managed identity?")
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

// managedIdentity shows what somebody needs to know before they call a managed identity theirs.
func (p *printer) managedIdentity(i agent.UserAssignedIdentity, held []agent.Assignment) {
	p.styled(bold, "Managed identity %s", i.Name)
	p.field("resource id", i.ID)
	p.field("client id", i.ClientID)
	p.field("principal", i.PrincipalID)
	p.field("location", i.Location)
	for _, key := range slices.Sorted(maps.Keys(i.Tags)) {
		p.field("tag", key+"="+i.Tags[key])
	}
	if len(i.Federated) == 0 {
		p.field("federated", "none")
	}
	for _, f := range i.Federated {
		p.item(2, red, "FEDERATED", labels, f.Name+": "+f.Subject+" of "+f.Issuer+" logs in as it")
	}
	if len(held) == 0 {
		p.field("role", "none that could be read")
	}
	for _, a := range held {
		p.field("role", orDash(a.Role)+" on "+role.Short(a.Scope))
	}
	p.blank()
}
