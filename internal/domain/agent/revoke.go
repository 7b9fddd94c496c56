package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// RevokeOptions are what the operator decided about a revoke.
type RevokeOptions struct {
	Options
	Purge bool // from the recycle bin too
	All   bool // role assignments that are not ours too
}

// Withdraw is the plan that takes an identity away. The service principal is disabled first, so that from then on no new token is
// issued; then goes what it may do, then what it logs in with, then the objects, and the key last of all, since with it the plan proves
// that it opens nothing any more. Stopped anywhere, it leaves nothing that works.
func Withdraw(s Spec, name string, o Observed, opt RevokeOptions) Plan {
	w := &withdrawal{seen: o.sorted(), rec: o.Record, opt: opt, principal: o.Record.PrincipalID}
	if o.Principal != nil { // somebody may have made it anew
		w.principal = o.Principal.ID
	}
	w.plan = newPlan(Revoke, s, name, o.Record, opt.Options)
	w.plan.AllAssigned = opt.All
	for _, scope := range o.Unread {
		w.plan.Findings = append(w.plan.Findings, finding.Finding{ID: "assignments-unread", Outcome: finding.Warn, Question: "is nothing left behind?",
			Detail: "the role assignments at " + scope + " could not be read: only recorded ones are removed there", Remedy: "somebody who may read them looks: leastkey revoke by an operator with Reader there"})
	}
	if active := o.Record.Active(); active != nil {
		w.plan.Facts[FactGeneration], w.plan.Facts[FactSHA256] = active.ID, active.SHA256
	}
	w.identity()
	w.keys()
	w.here()
	return w.plan
}

type withdrawal struct {
	seen Observed
	rec  Record
	opt  RevokeOptions
	plan Plan

	principal string   // the service principal that is there, or the recorded one
	last      []string // what the next step waits for
}

// step adds a step that waits for the one before it.
func (w *withdrawal) step(s Step) {
	w.beside(s)
	w.last = []string{s.ID}
}

// beside adds a step that the next one does not wait for.
func (w *withdrawal) beside(s Step) {
	s.After = slices.Clone(w.last)
	s.Destroys = s.Action != ProveDead
	w.plan.Steps = append(w.plan.Steps, s)
}

func (w *withdrawal) identity() {
	if !w.rec.Provisioned() {
		return
	}
	if w.rec.Managed() {
		w.managed()
		return
	}
	app := map[string]string{"application": w.rec.ApplicationID, "app_id": w.rec.AppID, "principal": w.principal}
	if w.principal != "" {
		w.step(Step{ID: "disable", Action: DisablePrincipal, Plane: Graph, Title: "disable the service principal", Why: "no new token from here on", With: app})
	}
	w.roles()
	if a := w.seen.Application; a != nil {
		for _, c := range a.Certificates {
			if w.rec.Whose(w.plan.Spec.Agents[w.plan.Agent], c) == Foreign {
				w.plan.Findings = append(w.plan.Findings, finding.Finding{ID: "foreign-certificate", Outcome: finding.Warn, Question: "are the certificates on the application ours?", Detail: "certificate " + describe(c) + " goes with the application"})
			}
		}
		for _, f := range a.Federated {
			if slices.Contains(w.rec.Federated, f.Name) {
				continue
			}
			w.plan.Findings = append(w.plan.Findings, finding.Finding{ID: "federated-credential", Outcome: finding.Warn, Question: "does nobody log in as the identity without its key?", Detail: "federated credential " + f.describe() + " goes with the application"})
		}
	}
	w.principalCredentials(app)
	w.step(Step{ID: "credentials", Action: ClearCertificates, Plane: Graph, Title: "remove every credential of the application", Why: "restored from the recycle bin, it opens nothing", With: app})
	w.step(Step{ID: "delete", Action: DeleteApplication, Plane: Graph, Title: "delete the application and its service principal", With: app})
	if w.opt.Purge {
		w.step(Step{ID: "purge-principal", Action: PurgePrincipal, Plane: Graph, Title: "purge the service principal from the recycle bin", With: app})
		if old := w.rec.PrincipalID; old != "" && !strings.EqualFold(old, w.principal) {
			w.step(Step{ID: "purge-recorded-principal", Action: PurgePrincipal, Plane: Graph, Title: "purge the recorded service principal from the recycle bin", Why: "somebody made it anew", With: map[string]string{"principal": old}})
		}
		w.step(Step{ID: "purge", Action: PurgeApplication, Plane: Graph, Title: "purge the application from the recycle bin", With: app})
	}
	if w.rec.Active() != nil {
		w.step(Step{ID: "prove", Action: ProveDead, Plane: Identity, Title: "prove that the key opens nothing", With: map[string]string{"app_id": w.rec.AppID, "generation": w.rec.Active().ID}})
	}
}

// principalCredentials removes the passwords of the service principal, which come back with it from the recycle bin as the application's
// do. Certificates of its own, which nothing of ours ever gives it, are named.
func (w *withdrawal) principalCredentials(app map[string]string) {
	if w.seen.Principal == nil {
		return
	}
	for _, p := range w.seen.Principal.Passwords {
		with := maps.Clone(app)
		with["collection"], with["key_id"] = "servicePrincipals", p.KeyID
		w.step(Step{ID: "remove-password:" + p.KeyID, Action: RemovePassword, Plane: Graph, Title: "remove password " + p.KeyID + " of the service principal", Why: "restored from the recycle bin, it opens nothing", With: with})
	}
	for _, c := range w.seen.Principal.Certificates {
		w.plan.Findings = append(w.plan.Findings, finding.Finding{ID: "foreign-principal-certificate", Outcome: finding.Warn, Question: "has the service principal no certificate of its own?",
			Detail: "certificate " + describe(c) + " goes with the service principal, and would come back with it from the recycle bin", Remedy: "purge it: leastkey revoke " + w.plan.Agent + " --purge"})
	}
}

// roles removes assignments side by side, after the principal is disabled.
func (w *withdrawal) roles() {
	var ids []string
	remove := func(name string, g role.Grant, why string) {
		id := "remove-role:" + slug(g)
		for n, base := 2, id; slices.Contains(ids, id); n++ {
			id = fmt.Sprintf("%s-%d", base, n)
		}
		ids = append(ids, id)
		w.beside(Step{ID: id, Action: RemoveRole, Plane: ARM, Title: "remove " + cmp.Or(g.Role, g.RoleID) + " on " + role.Short(g.Scope), Why: why,
			With: map[string]string{"name": name, "scope": g.Scope, "role_id": g.RoleID}})
	}
	done := map[string]bool{}
	for _, a := range w.rec.Assignments {
		if (a.Ours || w.opt.All) && !done[strings.ToLower(a.Name)] {
			done[strings.ToLower(a.Name)] = true
			remove(a.Name, a.Grant, "")
		}
	}
	for _, a := range w.seen.Assignments {
		if done[strings.ToLower(a.Name)] || !(strings.EqualFold(a.PrincipalID, w.rec.PrincipalID) || strings.EqualFold(a.PrincipalID, w.principal)) {
			continue // through a group, which it leaves with the principal
		}
		if w.opt.All {
			remove(a.Name, a.Grant(), "it is not ours, and you asked for all")
			continue
		}
		w.plan.Findings = append(w.plan.Findings, finding.Finding{ID: "assignment-left", Outcome: finding.Warn, Question: "is nothing left behind?",
			Detail: a.Role + " on " + a.Scope + " is not ours and stays, for a principal that will be gone", Remedy: "leastkey revoke " + w.plan.Agent + " --all-assignments"})
	}
	if len(ids) > 0 {
		w.last = ids
	}
}

func (w *withdrawal) keys() {
	for _, g := range w.rec.Generations {
		w.step(Step{ID: "delete-key:" + g.ID, Action: DeleteKey, Plane: Here, Title: "delete key " + short(g.ID) + " from the keystore", With: map[string]string{"generation": g.ID, "key": g.Ref.String()}})
	}
}

func (w *withdrawal) here() {
	if w.rec.EnvFile != "" {
		with := map[string]string{"file": w.rec.EnvFile, "app_id": w.rec.AppID}
		if w.rec.Managed() {
			with["resource"] = w.rec.ResourceID
		}
		w.step(Step{ID: "environment", Action: ClearEnv, Plane: Here, Title: "remove its keys from the environment file " + w.rec.EnvFile, With: with})
	}
	if w.rec.Provisioned() || len(w.rec.Generations) > 0 || w.rec.EnvFile != "" {
		w.step(Step{ID: "forget", Action: Forget, Plane: Here, Title: "forget the agent"})
	}
}
