// Package outline holds the words in which every face shows the same plan.
package outline

import (
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// Effect is what a step does to the world.
type Effect string

// The effects.
const (
	Create  Effect = "create"
	Change  Effect = "change"
	Destroy Effect = "destroy"
	Prove   Effect = "prove"
)

// Mark is the effect as one character, which stands beside the word and never alone.
func (e Effect) Mark() string {
	switch e {
	case Create:
		return "+"
	case Change:
		return "~"
	case Prove:
		return "="
	}
	return "-"
}

// EffectOf classifies a step. An action that this version does not know is shown as the worst that it can be.
func EffectOf(s agent.Step) Effect {
	if s.Destroys {
		return Destroy
	}
	switch s.Action {
	case agent.CreateApplication, agent.CreatePrincipal, agent.MintKey, agent.RegisterCertificate, agent.AssignRole, agent.CreateIdentity, agent.WriteFederated,
		provisioner.DeclarePermissions, provisioner.GrantPermission, provisioner.BackUp:
		return Create
	case agent.AdoptApplication, agent.SingleTenant, agent.WriteEnv, agent.ClearEnv, agent.DisablePrincipal, agent.Forget, agent.RetireLater,
		provisioner.PinPermissions, provisioner.WriteState, provisioner.RestoreState, provisioner.PromoteKey, provisioner.RestoreKey, provisioner.ImportKey:
		return Change
	case agent.Login, agent.Verify, agent.ProveDead, agent.AwaitPrincipal, agent.SeeFederated, provisioner.NoPasswords, provisioner.SecretDeadProof, provisioner.ScanSecret:
		return Prove
	}
	return Destroy
}

// Group is the steps of a plan that need the same right, in the plan's order.
type Group struct {
	Title string
	Steps []agent.Step
}

// Groups sorts the steps by whose right each needs; a group without steps is left out.
func Groups(steps []agent.Step) []Group {
	all := []Group{{Title: "Entra ID (Microsoft Graph, as the operator)"}, {Title: "Azure (Resource Manager, as the operator)"},
		{Title: "As the identity itself, with its own key"}, {Title: "On this machine"}, {Title: "Elsewhere"}}
	for _, s := range steps {
		at := len(all) - 1
		switch s.Plane {
		case agent.Graph:
			at = 0
		case agent.ARM:
			at = 1
		case agent.Identity:
			at = 2
		case agent.Here:
			at = 3
		}
		all[at].Steps = append(all[at].Steps, s)
	}
	var some []Group
	for _, g := range all {
		if len(g.Steps) > 0 {
			some = append(some, g)
		}
	}
	return some
}

// Count says how many steps have which effect.
func Count(steps []agent.Step) string {
	n := map[Effect]int{}
	for _, s := range steps {
		n[EffectOf(s)]++
	}
	return fmt.Sprintf("%d to create, %d to change, %d to destroy, %d to prove", n[Create], n[Change], n[Destroy], n[Prove])
}

// Subject is whom a plan is about.
func Subject(p agent.Plan) string {
	if p.Agent == provisioner.Name {
		return "the Provisioner"
	}
	return p.Agent
}

// Nothing says that an empty plan has nothing to do, and why.
func Nothing(p agent.Plan) string {
	if p.Verb == agent.Revoke {
		return fmt.Sprintf("Nothing to do: %s has no identity left.", p.Agent)
	}
	if p.Verb == agent.Rotate {
		return fmt.Sprintf("Nothing to rotate: %s has no key.", p.Agent)
	}
	if p.Verb == agent.Migrate && p.Agent != provisioner.Name {
		return fmt.Sprintf("Nothing to do: %s has its certificate.", p.Agent)
	}
	return fmt.Sprintf("Nothing to do: %s is as the spec says.", Subject(p))
}
