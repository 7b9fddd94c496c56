package web

import (
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// card is the Agent Identity card: status, strategy and application id, with what may be done about it.
type card struct {
	Agent    string
	Identity answer[api.IdentityAnswer]
	Running  []api.Job
	Now      time.Time
	From     string // "setup" in the wizard
	May      bool   // whoever asks may change something
}

// State is the word on the card and its class. What nobody could look at is unknown, whatever is recorded.
func (c card) State() [2]string {
	id := c.Identity.V
	switch {
	case len(c.Running) > 0:
		return [2]string{"Busy: " + verbWord(c.Running[0].Verb), "busy"}
	case c.Identity.Problem != nil:
		return [2]string{"Unknown", "bad"}
	case id.Open != nil:
		return [2]string{"Stopped midway", "bad"}
	case !id.Configured:
		return [2]string{"Not provisioned", "quiet"}
	case id.Unread != "":
		return [2]string{"Unknown", "bad"}
	case !id.Found:
		return [2]string{"Recorded, but not in the directory", "bad"}
	case !id.Enabled:
		return [2]string{"Disabled", "bad"}
	case !id.Expires.IsZero() && !id.Expires.After(c.Now):
		return [2]string{"Certificate ended", "bad"}
	}
	return [2]string{"Provisioned", "good"}
}

// Rotates tells whether there is a key to rotate: a managed identity has none.
func (c card) Rotates() bool {
	return c.Identity.V.Configured && c.Identity.V.Kind != agent.ManagedIdentity
}

// agentPage is everything about one agent's identity.
type agentPage struct {
	Agent  string
	Card   card
	Roles  answer[api.RolesAnswer]
	Status answer[*api.AgentStatus] // nil where nothing is recorded
	Last   answer[*api.PreflightReport]
}

func (p agentPage) reload() bool { return len(p.Card.Running) > 0 }

// Generations are the recorded certificates, the newest first.
func (p agentPage) Generations() []agent.Generation {
	if p.Status.V == nil {
		return nil
	}
	all := p.Status.V.Record.Generations
	newest := make([]agent.Generation, 0, len(all))
	for i := len(all) - 1; i >= 0; i-- {
		newest = append(newest, all[i])
	}
	return newest
}

// Missing counts the required roles that are missing.
func (p agentPage) Missing() (n int) {
	for _, r := range p.Roles.V.Required {
		if r.Presence == api.Missing {
			n++
		}
	}
	return n
}

func (v *visit) agent() {
	page := agentPage{Agent: v.r.PathValue("agent")}
	// They ask different services and do not wait for each other.
	var all sync.WaitGroup
	all.Go(func() { page.Card = v.card(page.Agent) })
	all.Go(func() { page.Roles = ask(v.door.Roles(v.ctx(), page.Agent)) })
	all.Go(func() { page.Status = v.recorded(page.Agent) })
	page.Last = v.lastRun(page.Agent)
	all.Wait()
	v.show(statusOf(page.Card.Identity.Problem), "agent", "overview", page.Agent, page)
}

func (v *visit) card(name string) card {
	return card{Agent: name, Identity: ask(v.door.Identity(v.ctx(), name)), Running: v.changing(name), Now: time.Now(), From: v.from(), May: v.level.Includes(api.Full)}
}

// recorded is the agent's record, nil where there is none.
func (v *visit) recorded(name string) answer[*api.AgentStatus] {
	all, err := v.door.Status(v.ctx(), name)
	if fault.Is(err, fault.NotFound) {
		return answer[*api.AgentStatus]{}
	}
	if err != nil || len(all) == 0 {
		return ask[*api.AgentStatus](nil, err)
	}
	return ask(&all[0], nil)
}
