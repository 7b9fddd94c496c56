package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func (c *command) status() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "status [AGENT]", Short: "Show the agents, their keys and how they stand",
		Example: "  leastkey status\n  leastkey status polyclaw-runtime --json",
		Args:    atMostOne,
		RunE:    c.run(func(ctx context.Context, args []string) error { return c.runStatus(ctx, first(args), f) }),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) runStatus(ctx context.Context, name string, f form) error {
	return c.door(ctx, c.target, false, func(d Door) error {
		all, err := d.Status(ctx, name)
		if err != nil {
			return err
		}
		code := api.ExitDone
		for _, s := range all {
			code = max(code, api.FindingsExit(s.Findings))
		}
		if f.json {
			if err := c.out.document(list(all)); err != nil {
				return err
			}
			return end(code)
		}
		c.showStatus(all)
		return end(code)
	})
}

func (c *command) showStatus(all []api.AgentStatus) {
	switch len(all) {
	case 0:
		c.out.line("No agent is recorded here.")
		c.next("leastkey plan%s", c.same())
		return
	case 1:
		c.out.agent(all[0])
	default:
		c.out.agents(all)
	}
	for _, s := range all {
		if s.Open != nil {
			c.next("%s%s   (continues the open run)", s.Open.Command(), c.same())
			return
		}
	}
	c.next("leastkey plan%s", c.same())
}

// standing is how an agent stands, in a word.
func standing(s api.AgentStatus) string {
	switch {
	case s.Open != nil:
		return "stopped midway (" + string(s.Open.Verb) + ")"
	case !s.Record.Provisioned():
		return "not provisioned"
	case s.Key != "" && s.Key != agent.KeyPresent:
		return "key " + string(s.Key)
	case api.FindingsExit(s.Findings) != api.ExitDone:
		return "findings"
	}
	return "provisioned"
}

func (p *printer) agents(all []api.AgentStatus) {
	var rows [][]string
	for _, s := range all {
		rows = append(rows, []string{s.Record.Agent, standing(s), orDash(s.Record.AppID), when(s.Expires)})
	}
	p.table([]column{{head: "AGENT"}, {head: "STANDS", bends: true}, {head: "CLIENT ID"}, {head: "CERTIFICATE UNTIL"}}, rows)
	for _, s := range all {
		if s.Open != nil || len(s.Findings) > 0 {
			p.blank()
			p.styled(bold, "%s", s.Record.Agent)
		}
		if s.Open != nil {
			p.open(*s.Open)
		}
		p.findings(2, s.Findings)
	}
}

// agent shows one agent whole.
func (p *printer) agent(s api.AgentStatus) {
	r := s.Record
	p.styled(bold, "%s: %s", r.Agent, standing(s))
	p.record(r)
	if !s.Expires.IsZero() {
		p.field("certificate", "valid until "+when(s.Expires))
	}
	if !s.Renewal.IsZero() {
		p.field("renewal", "due on "+when(s.Renewal)+": leastkey rotate "+r.Agent)
	}
	if s.Open != nil {
		p.open(*s.Open)
	}
	if len(s.Findings) > 0 {
		p.blank()
		p.styled(bold, "Findings: %s", tally(s.Findings))
		p.findings(2, s.Findings)
	}
}

// record shows what memory keeps of an agent.
func (p *printer) record(r agent.Record) {
	p.field("kind", string(r.Kind))
	p.field("client id", r.AppID)
	p.field("application", r.ApplicationID)
	p.field("principal", r.PrincipalID)
	p.field("resource id", r.ResourceID)
	p.field("unique name", r.UniqueName)
	if r.Adopted {
		p.field("origin", "adopted")
	}
	for _, g := range r.Generations {
		label := "older key"
		if g.Active {
			label = "key"
		}
		text := fmt.Sprintf("%s, certificate SHA-256 %s until %s", g.Ref, strings.ToLower(orDash(g.SHA256)), when(g.NotAfter))
		if !g.Active && !g.RetireAt.IsZero() {
			text += "; rotated out, to be removed after " + when(g.RetireAt)
		}
		p.field(label, text)
	}
	for i, name := range r.Federated {
		label := ""
		if i == 0 {
			label = "federated"
		}
		p.item(2, dim, label, labels, name)
	}
	for i, a := range r.Assignments {
		label := ""
		if i == 0 {
			label = "roles"
		}
		text := a.Role + " on " + role.Short(a.Scope)
		if !a.Ours {
			text += " (found, not ours)"
		}
		p.item(2, dim, label, labels, text)
	}
	p.field("env file", r.EnvFile)
}
