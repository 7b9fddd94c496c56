package preflight

import (
	"context"
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// openRun tells of a change that has begun and not ended, because whatever else is found may be half of it. The preflight never goes on with
// one: that takes the approval which the run has, and the agent's lock.
func openRun() Check {
	return Check{
		ID: "identity_open_run", Name: "Nothing Half Done", Severity: finding.Medium,
		Question: "has every change of the identity that was begun also ended?",
		Remedy:   "the command that began it goes on with it; leastkey status names it",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			open, err := get(a, &a.run.open)
			if err != nil {
				return failed(err)
			}
			if open == nil {
				return pass("no run is open")
			}
			return warn("%s that began at %s has not ended: it is at work now, or stopped midway, and other findings may come of that",
				open.Verb.Article(), open.Started.UTC().Format(time.RFC3339)).instead(open.Command() + " goes on with it")
		},
	}
}

func readOpen(ctx context.Context, a *Ask) (*agent.Run, error) {
	open, err := a.run.p.Open(ctx, a.Agent.Name)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	said := "no open run"
	if open != nil {
		said = fmt.Sprintf("run %s, plan %s, begun %s, by %s", open.ID, open.Digest, open.Started.UTC().Format(time.RFC3339), open.Actor)
	}
	a.used = append(a.used, finding.Evidence{Asked: "the journal of " + a.Agent.Name, Answer: said, At: time.Now().UTC()})
	return open, nil
}
