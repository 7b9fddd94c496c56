package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

func TestEnvOwner(t *testing.T) {
	records := []agent.Record{{Agent: "bot", AppID: appID, EnvFile: "/w/.env"}, {Agent: "other", AppID: other, EnvFile: "/w/other.env"}, {Agent: "gone"}}
	for name, c := range map[string]struct {
		path string
		have map[string]string
		want string
	}{
		"nobody's":                             {"/w/new.env", nil, ""},
		"its own":                              {"/w/.env", agent.EnvKeys(appID, tenant), ""},
		"another's by its record":              {"/w/x/../other.env", nil, "other"},
		"another's by what it says":            {"/elsewhere/.env", agent.EnvKeys(strings.ToUpper(other), tenant), "other"},
		"another managed identity's":           {"/w/.env", map[string]string{"ACA_MI_CLIENT_ID": other}, "other"},
		"one that names nobody that we record": {"/w/.env", agent.EnvKeys(principal, tenant), ""},
		"one without a client id":              {"/w/.env", map[string]string{"AZURE_CLIENT_ID": ""}, ""},
	} {
		if got := agent.EnvOwner("bot", c.path, c.have, records); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// An environment file of another agent's stops whoever would write it, and nobody else.
func TestTheEnvironmentFileOfAnotherAgentIsNotWritten(t *testing.T) {
	blocked := func(p agent.Plan) bool {
		return slices.ContainsFunc(p.Blockers, func(f finding.Finding) bool { return f.ID == "env-file-taken" && strings.Contains(f.Detail, "other's") })
	}
	first := untouched()
	first.EnvOwner, first.EnvPath = "other", "/w/.env"
	if p := agent.Diff(wanted(), "bot", first, options()); !blocked(p) || len(p.Steps) > 0 {
		t.Errorf("before anything is made: %+v, %s", p.Blockers, line(p))
	}
	overwritten := inOrder()
	overwritten.EnvOwner, overwritten.EnvPath, overwritten.Env = "other", "/w/.env", agent.EnvKeys(other, tenant)
	if p := agent.Diff(wanted(), "bot", overwritten, options()); !blocked(p) {
		t.Errorf("where it names the other one: %s", line(p))
	}
	if p := agent.Prepare(wanted(), "bot", overwritten, agent.PrepareOptions{Options: options()}); !blocked(p) || len(p.Steps) > 0 {
		t.Errorf("a migration: %s", line(p))
	}
	settled := inOrder()
	settled.EnvOwner, settled.EnvPath = "other", "/w/.env"
	if p := agent.Diff(wanted(), "bot", settled, options()); len(p.Blockers) > 0 {
		t.Errorf("where nothing would be written: %+v", p.Blockers)
	}
}
