package agent

import (
	"cmp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// FixRoles is the verb of [Repair].
const FixRoles Verb = "fix-roles"

// Repair is the plan that gives a provisioned identity every role of the spec that it lacks, and takes away those that we have assigned and
// the spec does not ask for any more. Of the observation it needs the record, the resources, the principal, and what the principal holds.
//
// Unlike [Diff] it leaves what it did not make: a role that comes from above or through a group is there, and an assignment of somebody
// else's is named and stays. Where nobody could look, a role is neither missing nor there.
func Repair(s Spec, name string, o Observed, opt Options) Plan {
	d := &differ{spec: s, agent: s.Agents[name], seen: o.sorted(), opt: opt, rec: o.Record}
	d.plan = newPlan(FixRoles, s, name, o.Record, opt)
	d.repairable()
	if len(d.plan.Blockers) > 0 {
		return d.plan
	}
	grants := s.Grants(d.agent, opt.Roles)
	want := map[string]bool{}
	for _, g := range grants {
		want[g.Key()] = true
	}
	stale := d.stale(want)
	holds := Holdings{PrincipalID: d.rec.PrincipalID, Readable: d.seen.Readable, Assignments: slices.DeleteFunc(slices.Clone(d.seen.Assignments), func(as Assignment) bool {
		return named(stale, as.Name) // what goes satisfies nothing
	})}
	for _, g := range grants {
		d.give(g, Presence(holds, g))
	}
	var given []string
	for _, step := range d.plan.Steps {
		given = append(given, step.ID)
	}
	for _, a := range stale {
		d.removeRole(a.Name, a.Grant, "it is ours, and the spec does not ask for it any more")
		d.plan.Steps[len(d.plan.Steps)-1].After = slices.Clone(given)
	}
	d.left(want, stale)
	return d.plan
}

func named(all []Assigned, name string) bool {
	return slices.ContainsFunc(all, func(a Assigned) bool { return strings.EqualFold(a.Name, name) })
}

// repairable stops a repair that has nobody to repair, or roles that would do nothing.
func (d *differ) repairable() {
	name := d.agent.Name
	switch {
	case !d.rec.Provisioned() || d.rec.PrincipalID == "":
		d.block("not-provisioned", "is there anybody to assign roles to?", "agent "+name+" is not provisioned", "leastkey apply "+name)
		return
	case d.seen.Principal != nil && !strings.EqualFold(d.seen.Principal.ID, d.rec.PrincipalID):
		d.block("principal-replaced", "is the service principal the recorded one?", "the service principal is "+d.seen.Principal.ID+", recorded is "+d.rec.PrincipalID, "leastkey plan "+name+" says what to do")
		return
	}
	d.resources()
}

func (d *differ) give(g role.Grant, p Present) {
	const question = "does the identity hold the planned roles?"
	switch p.Standing {
	case Held:
		return
	case NotSeen:
		d.find(finding.Unknown, "assignment-unread", question, g.Role+" on "+role.Short(g.Scope)+": "+p.Detail, "somebody who may read there: leastkey roles list "+d.agent.Name)
		return
	}
	if d.conditionalOf(g) {
		return
	}
	why := d.spec.Why(d.agent, g)
	if slices.ContainsFunc(d.rec.Assignments, func(a Assigned) bool { return a.Key() == g.Key() }) {
		why = WhyRemoved
	}
	with := grantWith(g)
	d.step(Step{ID: d.unique("role:" + slug(g)), Action: AssignRole, Plane: ARM, Title: grantTitle(g), Why: why, With: with})
}

// conditionalOf names an assignment of the grant itself that carries a condition and is not under our own name: ARM allows no second one
// beside it (RoleAssignmentExists).
func (d *differ) conditionalOf(g role.Grant) bool {
	i := slices.IndexFunc(d.seen.Assignments, func(a Assignment) bool {
		return a.Grant().Key() == g.Key() && a.Condition != "" && strings.EqualFold(a.PrincipalID, d.rec.PrincipalID) && !strings.EqualFold(a.Name, role.AssignmentName(g, a.PrincipalID))
	})
	if i < 0 {
		return false
	}
	a := d.seen.Assignments[i]
	d.find(finding.Fail, "conditional-assignment", "does the identity hold the planned roles?", g.Role+" on "+g.Scope+" is assigned under a condition: "+a.Condition,
		"if the condition is meant, take the role out of the spec; if not, remove the assignment: az role assignment delete --ids "+a.ID)
	return true
}

// stale are the assignments of ours that the spec does not ask for, whether they were listed or not: to remove one that is gone changes
// nothing. One that is recorded as found there was never ours to remove.
func (d *differ) stale(want map[string]bool) (all []Assigned) {
	for _, a := range d.rec.Assignments {
		if a.Ours && !want[a.Key()] {
			all = append(all, a)
		}
	}
	return all
}

// left names what reaches the identity, is not asked for, and is not ours.
func (d *differ) left(want map[string]bool, stale []Assigned) {
	for _, as := range d.seen.Assignments {
		if named(stale, as.Name) || want[as.Grant().Key()] {
			continue
		}
		how := ""
		remedy := "if it is not meant: leastkey plan " + d.agent.Name + " shows the step that removes it"
		if !strings.EqualFold(as.PrincipalID, d.rec.PrincipalID) {
			how, remedy = " through group "+as.PrincipalID, "if it is not meant, take the identity out of the group"
		}
		d.find(finding.Warn, "assignment-left", "does the identity hold only the planned roles?", cmp.Or(as.Role, as.RoleID)+" on "+as.Scope+" reaches it"+how+"; it is not ours and stays", remedy)
	}
}
