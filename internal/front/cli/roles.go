package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func (c *command) roles() *cobra.Command {
	return c.parent(&cobra.Command{
		Use: "roles", Short: "Show and repair what an agent may do in Azure",
		Example: "  leastkey roles list\n  leastkey roles fix polyclaw-runtime",
	}, c.rolesList(), c.rolesFix())
}

func (c *command) rolesList() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "list [AGENT]", Short: "Show the roles that an agent needs beside those that it holds",
		Long: `Shows each role that leastkey.yaml asks for with whether it is there, by the role's id and at its scope or above it, and every
assignment that reaches the identity, through groups too. Where nobody may read, a role is unknown.

Exit code 0 if each is assigned, 3 if one is missing or unknown.`,
		Args: atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			return c.door(ctx, c.target, false, func(d Door) error {
				r, err := d.Roles(ctx, first(args))
				if err != nil {
					return err
				}
				return c.showRoles(r, f)
			})
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) showRoles(r api.RolesAnswer, f form) error {
	code := api.ExitDone
	if slices.ContainsFunc(r.Required, func(q api.RequiredRole) bool { return q.Presence != api.Assigned }) {
		code = api.ExitFindings
	}
	if f.json {
		if err := c.out.document(r); err != nil {
			return err
		}
		return end(code)
	}
	c.out.roles(r)
	switch {
	case r.PrincipalID == "":
		c.next("leastkey apply %s%s", r.Agent, c.same())
	case len(r.Pending) > 0:
		c.next("leastkey roles fix %s%s", r.Agent, c.same())
	case code != api.ExitDone:
		c.next("leastkey plan %s%s", r.Agent, c.same())
	default:
		c.next("leastkey preflight %s%s", r.Agent, c.same())
	}
	return end(code)
}

// roles writes what is needed beside what is held.
func (p *printer) roles(r api.RolesAnswer) {
	n := 0
	var rows [][]string
	for _, q := range r.Required {
		if q.Presence == api.Assigned {
			n++
		}
		rows = append(rows, []string{presence(q.Presence), q.Role, role.Short(q.Scope), q.Detail})
	}
	p.styled(bold, "%s: %d of %s", r.Agent, n, plural(len(r.Required), "required role is assigned", "required roles are assigned"))
	if len(rows) > 0 {
		p.table([]column{{head: "STANDS"}, {head: "ROLE", bends: true}, {head: "SCOPE", bends: true}, {head: "HOW", bends: true}}, rows)
	}
	if r.PrincipalID == "" {
		return
	}
	p.blank()
	p.styled(bold, "Every assignment that reaches it: %d", len(r.Held))
	rows = nil
	for _, h := range r.Held {
		rows = append(rows, []string{h.Role, role.Short(h.Scope), whose(h), remarks(h)})
	}
	if len(rows) > 0 {
		p.table([]column{{head: "ROLE", bends: true}, {head: "SCOPE", bends: true}, {head: "WHOSE", bends: true}, {head: "REMARKS", bends: true}}, rows)
	}
	p.read("read on", r.Readable)
	p.read("not read", r.Unread)
	for i, title := range r.Pending {
		label := ""
		if i == 0 {
			label = "pending"
		}
		p.item(2, amber, label, labels, title)
	}
	if r.Digest != "" {
		p.field("plan", api.ShortDigest(r.Digest))
	}
}

// read says where assignments were looked for: only there the list is whole.
func (p *printer) read(label string, scopes []string) {
	var short []string
	for _, s := range scopes {
		short = append(short, role.Short(s))
	}
	p.field(label, strings.Join(short, ", "))
}

// presence is whether a role is there, in a word. What needs somebody is in capitals.
func presence(p api.Presence) string {
	switch p {
	case api.Assigned:
		return "assigned"
	case api.Missing:
		return "MISSING"
	}
	return "UNKNOWN"
}

func whose(h api.HeldRole) string {
	who := "somebody else's"
	if h.Ours {
		who = "ours"
	}
	if h.Through != "" {
		who += ", through group " + h.Through
	}
	return who
}

// remarks are what is worth knowing of an assignment beside its scope.
func remarks(h api.HeldRole) string {
	var all []string
	switch {
	case h.Inherited:
		all = append(all, "lies above where it is needed")
	case !h.Required:
		all = append(all, "not asked for")
	}
	if len(h.Elevated) > 0 {
		all = append(all, "ELEVATED: "+strings.Join(h.Elevated, ", "))
	}
	if len(h.ReadsSecrets) > 0 {
		all = append(all, "reads secrets: "+strings.Join(h.ReadsSecrets, ", "))
	}
	if h.Condition != "" {
		all = append(all, "under a condition: "+h.Condition)
	}
	return strings.Join(all, "; ")
}

func (c *command) rolesFix() *cobra.Command {
	var f form
	var yes bool
	var digest string
	cmd := &cobra.Command{
		Use: "fix [AGENT]", Short: "Assign every missing role, and remove what is ours and no longer asked for",
		Long: `Shows the steps and carries them out: each role of leastkey.yaml that is missing is assigned, each assignment that leastkey has
made and the yaml does not ask for any more is removed. Nothing else of the identity is touched, and what somebody else has
assigned stays and is named. It may be interrupted at any time and run again.`,
		Example: "  leastkey roles fix polyclaw-runtime\n  leastkey roles fix polyclaw-runtime --digest 0123456789abcdef",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			if err := checkPin(digest, agent.FixRoles.Shows(first(args))); err != nil {
				return err
			}
			req := api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: first(args), Verb: agent.FixRoles}, Digest: digest}
			return c.door(ctx, c.target, false, func(d Door) error {
				fix := func(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
					return d.FixRoles(ctx, api.FixRequest{Agent: r.Agent, Digest: r.Digest, Approve: r.Approve}, events)
				}
				rep, err := c.carryOut(ctx, fix, req, approval{yes: yes, pin: digest})
				if err != nil {
					return c.unfinished(rep, f, err)
				}
				return c.fixed(rep, f)
			})
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&digest, "digest", "", "carry out only the plan of this digest, in at least 12 `HEX` digits")
	f.flags(cmd)
	return cmd
}

// doing is what a plan of the verb does to its subject.
func doing(v agent.Verb) string {
	if v == agent.FixRoles {
		return "fix the roles of"
	}
	return string(v)
}

func (c *command) fixed(r api.Report, f form) error {
	if f.json {
		if err := c.out.document(whole(r)); err != nil {
			return err
		}
		return end(api.FindingsExit(r.Findings))
	}
	c.out.repaired(r)
	c.next("leastkey roles list %s%s", r.Agent, c.same())
	return end(api.FindingsExit(r.Findings))
}

// repaired writes what a repair of the roles has done.
func (p *printer) repaired(r api.Report) {
	switch {
	case r.Changed:
		p.styled(bold, "%s: %s.", r.Agent, plural(len(r.Steps), "step is done", "steps are done"))
	case api.FindingsExit(r.Findings) != api.ExitDone:
		p.styled(bold, "%s: nothing could be repaired; the findings below say why.", r.Agent)
	default:
		p.styled(bold, "Nothing to do: %s has every role that it needs, and none of ours beyond.", r.Agent)
	}
	for _, s := range r.Steps {
		word, st := statusWord(s.Status)
		p.item(2, st, word, labels, sentence(s.Title, s.Detail))
	}
	p.read("read on", r.Proof.Readable)
	p.field("work", fmt.Sprintf("%s, %s", plural(r.Requests, "request", "requests"), took(r.WallMS)))
	if r.LedgerHead != "" {
		p.field("ledger head", api.ShortDigest(r.LedgerHead))
	}
	p.reportFindings(r)
}
