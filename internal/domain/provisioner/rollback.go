package provisioner

import (
	"fmt"
	"slices"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// RollbackPlan takes a migration back, by its journal. Before the first password was deleted everything goes back: certificate and key of
// the migration go, the active slot and the state file are as they were. After it the passwords cannot come back, and an earlier
// certificate, if there is one that still works, can.
func RollbackPlan(s agent.Spec, o Observed, opt Options, run agent.Run, entries []agent.Entry) agent.Plan {
	p := newPlanner(Rollback, s, o, opt)
	p.identity()
	if len(p.plan.Blockers) > 0 {
		return p.plan
	}
	by := map[string]agent.Entry{}
	for _, e := range entries {
		by[e.StepID] = e
	}
	if gone := deleted(run, by); len(gone) > 0 || run.Status == agent.RunDone {
		p.forward(len(gone))
		return p.plan
	}
	p.unwind(run, by)
	return p.plan
}

// Deleted tells whether a run has begun to delete passwords, or the secret from this machine, from where only forward is possible.
func Deleted(run agent.Run, entries []agent.Entry) bool {
	by := map[string]agent.Entry{}
	for _, e := range entries {
		by[e.StepID] = e
	}
	return len(deleted(run, by)) > 0
}

func deleted(run agent.Run, by map[string]agent.Entry) (titles []string) {
	for _, s := range run.Plan.Steps {
		if _, begun := by[s.ID]; begun && (s.Action == agent.RemovePassword || s.Action == PurgeSecret) {
			titles = append(titles, s.Title)
		}
	}
	return titles
}

// unwind takes back what the run has done, newest first.
func (p *planner) unwind(run agent.Run, by map[string]agent.Entry) {
	var last []string
	step := func(s agent.Step) {
		s.After, s.Why = slices.Clone(last), "the migration stopped before it deleted anything"
		p.step(s)
		last = []string{s.ID}
	}
	if e, begun := firstOf(by, stepBoth, stepState); begun {
		step(agent.Step{ID: "restore-state", Action: RestoreState, Plane: agent.Here, Title: "write the earlier values into " + stateOf(run), With: map[string]string{"file": stateOf(run), "before": e.Intent["before"]}})
	}
	if e, begun := by[stepPromote]; begun {
		step(agent.Step{ID: "restore-slot", Action: RestoreKey, Plane: agent.Here, Title: "put the earlier key back into the active slot", Destroys: true,
			With: map[string]string{"generation": e.Intent["generation"], "displaced": e.Intent["displaced"], "promoted": by[stepKey].Intent["generation"]}})
	}
	key, minted := by[stepKey]
	if minted && imported(run) {
		minted = false
	}
	if !minted {
		return
	}
	id := key.Intent["generation"]
	if g := p.seen.Record.Generation(id); g != nil && p.seen.Application != nil {
		ids := p.keyIDs(*g)
		// What the journal has seen registered and this observation lacks is on its way to a replica, and would stay for ever.
		if known := by[stepCertificate].Result.Facts[agent.FactKeyID]; known != "" && len(ids) == 0 {
			ids = []string{known}
		}
		for _, keyID := range ids {
			step(agent.Step{ID: "remove-certificate:" + keyID, Action: agent.RemoveCertificate, Plane: agent.Graph, Title: "remove the certificate of the migration", Destroys: true,
				With: map[string]string{"application": "$application", "app_id": "$app_id", "key_id": keyID, "sha256": g.SHA256, "expected": p.expected(), "via": agent.ViaOperator}})
		}
	}
	step(agent.Step{ID: "delete-key:" + id, Action: agent.DeleteKey, Plane: agent.Here, Title: "delete key " + short(id) + " from the keystore", Destroys: true,
		With: map[string]string{"generation": id, "key": key.Intent["key"]}})
}

// stateOf is the state file that the run is about, whichever the request of the rollback has found.
func stateOf(run agent.Run) string {
	for _, s := range run.Plan.Steps {
		if s.Action == WriteState {
			return s.With["file"]
		}
	}
	return ""
}

// firstOf is the entry of the first of those steps that has begun.
func firstOf(by map[string]agent.Entry, ids ...string) (agent.Entry, bool) {
	for _, id := range ids {
		if e, ok := by[id]; ok {
			return e, true
		}
	}
	return agent.Entry{}, false
}

func imported(run agent.Run) bool {
	return slices.ContainsFunc(run.Plan.Steps, func(s agent.Step) bool { return s.Action == ImportKey })
}

// RestoreKey puts back what the active slot held before a promotion.
const RestoreKey agent.Action = "key.restore"

// forward explains what cannot come back, and goes back to an earlier certificate of ours where there is one.
func (p *planner) forward(gone int) {
	detail := fmt.Sprintf("no: %d password(s) or copies of it were deleted, and nobody can make the same again", gone)
	if gone == 0 {
		detail = "the last migration on record is finished and found no secret to delete"
	}
	p.find(finding.Warn, "passwords-gone", "can the secret come back?", detail,
		"you do not need it: work as yourself (az login), and the certificate goes on working")
	if p.noPasswords(); len(p.plan.Blockers) > 0 {
		return // only forward is possible: nothing may end with passwords beside a certificate
	}
	var earlier *agent.Generation
	for i, g := range p.seen.Record.Generations {
		if !g.Active && p.seen.Keys[g.ID] == agent.KeyPresent && p.seen.Now.Before(g.NotAfter) {
			earlier = &p.seen.Record.Generations[i]
		}
	}
	if earlier == nil {
		p.find(finding.Skip, "no-earlier", "is there an earlier certificate?", "none whose key is still in the keystore: nothing is changed", "")
		return
	}
	p.use(earlier)
	if !p.registered(*earlier) {
		p.step(agent.Step{ID: stepCertificate, Action: agent.RegisterCertificate, Plane: agent.Graph, Title: "register the earlier certificate again, until " + earlier.NotAfter.Format(time.DateOnly),
			With: map[string]string{"application": "$application", "app_id": "$app_id", "generation": "$generation", "via": agent.ViaOperator, "expected": p.expected()}})
	}
	p.login("$generation", nil)
	p.promote()
	p.state()
	p.readBack()
}
