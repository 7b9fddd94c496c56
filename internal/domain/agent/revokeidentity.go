package agent

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// managed takes a managed identity away: first what it may do, then who may log in as it, then the identity itself, which has no recycle
// bin. One that was adopted is somebody else's work, and may be assigned to resources that nobody here knows of: it stays unless the
// operator purges it.
func (w *withdrawal) managed() {
	w.roles()
	id, i := w.rec.ResourceID, w.seen.Identity
	if i != nil && !strings.EqualFold(i.PrincipalID, w.rec.PrincipalID) {
		w.find("identity-replaced", "is the managed identity the recorded one?", "principal of "+i.ID+" is "+i.PrincipalID+", recorded is "+w.rec.PrincipalID+": somebody made it anew, so it stays as it is", "")
		return
	}
	deletes := !w.rec.Adopted || w.opt.Purge
	names := slices.Clone(w.rec.Federated)
	if i != nil {
		for _, f := range i.Federated {
			ours := slices.Contains(w.rec.Federated, f.Name)
			switch {
			case deletes && !ours:
				names = append(names, f.Name)
				w.find("federated-credential", "does nobody log in as the identity without its key?", "federated credential "+f.describe()+" goes with the identity", "")
			case !ours:
				w.find("federated-left", "is nothing left behind?", "federated credential "+f.describe()+" is not ours and stays", "")
			}
		}
	}
	for _, name := range names {
		w.step(Step{ID: "remove-federated:" + name, Action: RemoveFederated, Plane: ARM, Title: "remove federated credential " + name, With: map[string]string{"resource": id, "key_id": name, "name": name}})
	}
	if !deletes {
		w.find("identity-left", "is nothing left behind?", "managed identity "+id+" was adopted and stays", "leastkey revoke "+w.plan.Agent+" --purge deletes it, for good")
		return
	}
	with := map[string]string{"resource": id, "app_id": w.rec.AppID, "principal": w.rec.PrincipalID}
	if w.rec.Adopted {
		with["adopted"] = "true"
	}
	w.step(Step{ID: "delete", Action: DeleteIdentity, Plane: ARM, Title: "delete managed identity " + role.Short(id), Why: "it has no recycle bin", With: with})
}

func (w *withdrawal) find(id, question, detail, remedy string) {
	w.plan.Findings = append(w.plan.Findings, finding.Finding{ID: id, Outcome: finding.Warn, Question: question, Detail: detail, Remedy: remedy})
}

// Purges tells whether the plan takes away for good what it would leave without being told to.
func (p Plan) Purges() bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		return s.Action == PurgeApplication || (s.Action == DeleteIdentity && s.With["adopted"] != "")
	})
}

// Leaves tells whether there is something that a purge would take away and the plan does not. Where leastkey made a managed identity,
// there is no difference.
func (p Plan) Leaves() bool {
	return !p.Purges() && !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action == DeleteIdentity })
}
