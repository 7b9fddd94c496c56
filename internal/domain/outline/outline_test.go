package outline_test

import (
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/outline"
)

func TestEffectOf(t *testing.T) {
	for action, want := range map[agent.Action]outline.Effect{
		agent.CreateApplication:   outline.Create,
		agent.CreateIdentity:      outline.Create,
		agent.RegisterCertificate: outline.Create,
		agent.AssignRole:          outline.Create,
		agent.SingleTenant:        outline.Change,
		agent.WriteEnv:            outline.Change,
		agent.Login:               outline.Prove,
		agent.Verify:              outline.Prove,
		agent.ProveDead:           outline.Prove,
		agent.AwaitPrincipal:      outline.Prove,
		agent.SeeFederated:        outline.Prove,
		agent.RemoveRole:          outline.Destroy,
		agent.DeleteIdentity:      outline.Destroy,
		agent.DeleteKey:           outline.Destroy,
		"something.new":           outline.Destroy, // what is not known is shown as the worst that it can be
	} {
		if got := outline.EffectOf(agent.Step{Action: action}); got != want {
			t.Errorf("%s is shown as %s, want %s", action, got, want)
		}
		if got := outline.EffectOf(agent.Step{Action: action, Destroys: true}); got != outline.Destroy {
			t.Errorf("%s that destroys is shown as %s", action, got)
		}
	}
}

func TestGroupsLoseNoStepAndKeepTheirOrder(t *testing.T) {
	steps := []agent.Step{{ID: "a", Plane: agent.ARM}, {ID: "b", Plane: agent.Graph}, {ID: "c", Plane: agent.ARM}, {ID: "d", Plane: "a plane of tomorrow"}, {ID: "e", Plane: agent.Here}}
	var got string
	for _, g := range outline.Groups(steps) {
		if g.Title == "" || len(g.Steps) == 0 {
			t.Errorf("a group without a title or a step: %+v", g)
		}
		for _, s := range g.Steps {
			got += s.ID
		}
	}
	if got != "baced" {
		t.Errorf("the steps come as %q, want %q", got, "baced")
	}
}
