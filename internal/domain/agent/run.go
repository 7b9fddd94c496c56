package agent

import (
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Run is one approved plan on its way. A run without Finished is open: some of its steps may have begun without an end.
type Run struct {
	ID       string     `json:"id"`
	Agent    string     `json:"agent"`
	Verb     Verb       `json:"verb"`
	Digest   string     `json:"digest"`
	Actor    string     `json:"actor"` // who approved it
	Plan     Plan       `json:"plan"`
	Started  time.Time  `json:"started"`
	Finished *time.Time `json:"finished,omitempty"`
	Status   RunStatus  `json:"status"`
}

// Command is what a person types to go on with the run. The Provisioner, whose name no agent can have, has commands of its own.
func (r Run) Command() string {
	if r.Agent == "@provisioner" {
		return "leastkey provisioner " + string(r.Verb)
	}
	if r.Verb == Migrate {
		return "leastkey migrate " + r.Agent + " --prepare"
	}
	if r.Verb == FixRoles {
		return "leastkey roles fix " + r.Agent
	}
	return "leastkey " + string(r.Verb) + " " + r.Agent
}

// Article is the verb as a thing that somebody has begun.
func (v Verb) Article() string {
	if v == Apply {
		return "an apply"
	}
	return "a " + string(v)
}

// Shows is what a person types to see the verb's plan of an agent with its digest, and to change nothing.
func (v Verb) Shows(name string) string {
	switch {
	case name == "@provisioner":
		return "leastkey provisioner " + string(v) + " --dry-run"
	case v == Migrate:
		return strings.TrimSpace("leastkey migrate "+name) + " --prepare --dry-run"
	case v == FixRoles:
		return strings.TrimSpace("leastkey roles list " + name)
	case v == Revoke:
		return strings.TrimSpace("leastkey plan "+name) + " --revoke"
	case v == Rotate: // which is asked for on a terminal, and refused elsewhere, after the plan was shown
		return strings.TrimSpace("leastkey rotate "+name) + " without --digest and --yes"
	}
	return strings.TrimSpace("leastkey plan " + name)
}

// RunStatus is how a run stands.
type RunStatus string

// The run statuses.
const (
	RunOpen       RunStatus = "open"
	RunDone       RunStatus = "done"
	RunSuperseded RunStatus = "superseded" // its open steps were settled, and another plan took over
)

// Entry is the journal of one step: what was intended, written before the effect, and what was seen, written after it.
type Entry struct {
	RunID  string            `json:"run_id"`
	StepID string            `json:"step_id"`
	Intent map[string]string `json:"intent,omitempty"` // random names minted for the step, such as a nonce; fixed by the first Begin
	Begun  time.Time         `json:"begun"`
	Ended  *time.Time        `json:"ended,omitempty"` // nil: look at the world first
	Result Result            `json:"result,omitzero"`
}

// Result is what a step left behind.
type Result struct {
	Detail   string             `json:"detail,omitempty"`  // one line for a person
	Already  bool               `json:"already,omitempty"` // it was found done
	Facts    map[string]string  `json:"facts,omitempty"`
	Evidence []finding.Evidence `json:"evidence,omitempty"`
}
