package cli

import (
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// effect is what a step does to the world, as a mark and a word: never the mark or its colour alone.
type effect struct {
	mark, word string
	style      style
}

// effectOf classifies a step. An action that this version does not know is shown as the worse of what it can be.
func effectOf(s agent.Step) effect {
	destroy := effect{"-", "destroy", red}
	if s.Destroys {
		return destroy
	}
	switch s.Action {
	case agent.CreateApplication, agent.CreatePrincipal, agent.MintKey, agent.RegisterCertificate, agent.AssignRole,
		provisioner.DeclarePermissions, provisioner.GrantPermission, provisioner.BackUp:
		return effect{"+", "create", green}
	case agent.AdoptApplication, agent.SingleTenant, agent.WriteEnv, agent.ClearEnv, agent.DisablePrincipal, agent.Forget, agent.RetireLater,
		provisioner.PinPermissions, provisioner.WriteState, provisioner.RestoreState, provisioner.PromoteKey, provisioner.RestoreKey, provisioner.ImportKey:
		return effect{"~", "change", amber}
	case agent.Login, agent.Verify, agent.ProveDead, provisioner.NoPasswords, provisioner.SecretDeadProof, provisioner.ScanSecret:
		return effect{"=", "prove", plain}
	}
	return destroy
}

// planes are the groups in which steps are shown, with whose right each needs.
func planes() []struct {
	plane agent.Plane
	title string
} {
	return []struct {
		plane agent.Plane
		title string
	}{
		{agent.Graph, "Entra ID (Microsoft Graph, as the operator)"},
		{agent.ARM, "Azure (Resource Manager, as the operator)"},
		{agent.Identity, "As the identity itself, with its own key"},
		{agent.Here, "On this machine"},
	}
}

// plan writes a plan. Every face and every command shows it with the same words.
func (p *printer) plan(a api.PlanAnswer) {
	pl := a.Plan
	if a.Open != nil {
		p.open(*a.Open)
	}
	if pl.Empty() {
		p.styled(bold, "%s", nothing(pl))
		p.planFindings(pl)
		return
	}
	p.styled(bold, "Plan to %s %s on the %s cloud", pl.Verb, subject(pl), pl.Cloud)
	p.item(2, dim, "tenant", 14, pl.Tenant)
	if pl.Subscription != "" {
		p.item(2, dim, "subscription", 14, pl.Subscription)
	}
	if a.As.Name != "" {
		p.item(2, dim, "as", 14, who(a.As))
	}
	if a.Rest {
		p.item(2, dim, "principal", 14, pl.Facts[agent.FactPrincipal])
		p.item(2, dim, "of app id", 14, pl.Facts[agent.FactAppID])
	}
	shown := 0
	for _, g := range planes() {
		shown += p.group(g.title, pl.Steps, func(s agent.Step) bool { return s.Plane == g.plane })
	}
	if shown < len(pl.Steps) {
		p.group("Elsewhere", pl.Steps, func(s agent.Step) bool { return !known(s.Plane) })
	}
	p.planFindings(pl)
	p.blank()
	p.line("Plan %s: %s", api.ShortDigest(a.Digest), count(pl.Steps))
}

func known(plane agent.Plane) bool {
	for _, g := range planes() {
		if g.plane == plane {
			return true
		}
	}
	return false
}

func (p *printer) planFindings(pl agent.Plan) {
	if len(pl.Findings) > 0 {
		p.blank()
		p.styled(bold, "Findings")
		p.findings(2, pl.Findings)
	}
}

// group writes the steps that belong to it, in the order of the plan, and says how many.
func (p *printer) group(title string, steps []agent.Step, mine func(agent.Step) bool) int {
	n := 0
	for _, s := range steps {
		if !mine(s) {
			continue
		}
		if n == 0 {
			p.blank()
			p.styled(bold, "%s", title)
		}
		n++
		e := effectOf(s)
		p.item(2, e.style, e.mark+" "+e.word, 11, s.Title)
		if s.Why != "" {
			p.item(13, dim, "why:", 0, s.Why)
		}
		if scope := s.With["scope"]; scope != "" {
			p.item(13, dim, "scope:", 0, scope)
		}
		if s.Destroys {
			p.text(13, red, "cannot be undone")
		}
	}
	return n
}

// count says how many steps have which effect.
func count(steps []agent.Step) string {
	n := map[string]int{}
	for _, s := range steps {
		n[effectOf(s).word]++
	}
	return fmt.Sprintf("%d to create, %d to change, %d to destroy, %d to prove", n["create"], n["change"], n["destroy"], n["prove"])
}

func nothing(pl agent.Plan) string {
	if pl.Verb == agent.Revoke {
		return fmt.Sprintf("Nothing to do: %s has no identity left.", pl.Agent)
	}
	if pl.Verb == agent.Migrate && pl.Agent != provisioner.Name {
		return fmt.Sprintf("Nothing to do: %s has its certificate.", pl.Agent)
	}
	return fmt.Sprintf("Nothing to do: %s is as the spec says.", subject(pl))
}

// subject is whom a plan is about.
func subject(pl agent.Plan) string {
	if pl.Agent == provisioner.Name {
		return "the Provisioner"
	}
	return pl.Agent
}

// open tells of a run that has begun and not ended.
func (p *printer) open(r agent.Run) {
	p.item(0, amber, "open:", 0, fmt.Sprintf("%s of %s by %s, begun %s, stopped midway (plan %s); applying that plan continues it",
		r.Verb, r.Agent, orDash(r.Actor), when(r.Started), api.ShortDigest(r.Digest)))
}

// who is the operator in use, by name, id and how they came.
func who(c api.Caller) string {
	s := c.Name
	if c.ObjectID != "" {
		s += ", object " + c.ObjectID
	}
	return s + " (" + orDash(c.Operator) + ")"
}
