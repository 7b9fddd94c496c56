package cli

import (
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/outline"
)

// effect is what a step does to the world, as a mark and a word: never the mark or its colour alone.
type effect struct {
	mark, word string
	style      style
}

// effectOf is the effect of a step with its colour.
func effectOf(s agent.Step) effect {
	e := outline.EffectOf(s)
	colour := map[outline.Effect]style{outline.Create: green, outline.Change: amber, outline.Destroy: red, outline.Prove: plain}[e]
	return effect{e.Mark(), string(e), colour}
}

// plan writes a plan. Every face and every command shows it with the same words.
func (p *printer) plan(a api.PlanAnswer) {
	pl := a.Plan
	if a.Open != nil {
		p.open(*a.Open)
	}
	if pl.Empty() {
		p.styled(bold, "%s", outline.Nothing(pl))
		p.planFindings(pl)
		return
	}
	p.styled(bold, "Plan to %s %s on the %s cloud", doing(pl.Verb), outline.Subject(pl), pl.Cloud)
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
	for _, g := range outline.Groups(pl.Steps) {
		p.group(g)
	}
	p.planFindings(pl)
	p.blank()
	p.line("Plan %s: %s", api.ShortDigest(a.Digest), outline.Count(pl.Steps))
}

func (p *printer) planFindings(pl agent.Plan) {
	if len(pl.Findings) > 0 {
		p.blank()
		p.styled(bold, "Findings")
		p.findings(2, pl.Findings)
	}
}

// group writes the steps that need the same right.
func (p *printer) group(g outline.Group) {
	p.blank()
	p.styled(bold, "%s", g.Title)
	for _, s := range g.Steps {
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
