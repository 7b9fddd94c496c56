package agent

import (
	"cmp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// roles assigns what is missing and removes what is too much. Where the caller may not read, nothing is taken for missing.
func (d *differ) roles() {
	want := map[string]bool{}
	for _, g := range d.spec.Grants(d.agent, d.opt.Roles) {
		want[g.Key()] = true
		if d.assigned(g) || d.conditional(g) || d.unread(g) {
			continue
		}
		why := d.spec.Why(d.agent, g)
		if i := slices.IndexFunc(d.rec.Assignments, func(a Assigned) bool { return a.Key() == g.Key() }); i >= 0 {
			why = "it was removed by somebody"
		}
		d.step(Step{ID: d.unique("role:" + slug(g)), Action: AssignRole, Plane: ARM, Title: "assign " + g.Role + " on " + role.Short(g.Scope), Why: why,
			With: map[string]string{"role": g.Role, "role_id": g.RoleID, "scope": g.Scope, "principal": "$principal"}, After: d.after(stepPrincipal)})
	}
	removed := d.surplus(want)
	d.unseen(want, removed)
}

// surplus removes what the identity was seen to hold and shall not, and gives the names of what goes and what stays.
func (d *differ) surplus(want map[string]bool) (dealt map[string]bool) {
	dealt = map[string]bool{}
	for _, as := range d.seen.Assignments {
		holds := d.seen.Principal != nil && strings.EqualFold(as.PrincipalID, d.seen.Principal.ID)
		gone := !holds && strings.EqualFold(as.PrincipalID, d.rec.PrincipalID)
		if want[as.Grant().Key()] && !gone {
			dealt[strings.ToLower(as.Name)] = true
			continue
		}
		if !holds && !gone {
			d.find(finding.Fail, "group-assignment", "does the identity hold only the planned roles?", as.Role+" on "+as.Scope+" reaches it through group "+as.PrincipalID, "remove it from the group")
			continue
		}
		why := "the spec does not ask for it"
		if gone {
			why = "its service principal is gone"
		}
		dealt[strings.ToLower(as.Name)] = true
		d.removeRole(as.Name, as.Grant(), why)
	}
	return dealt
}

// unseen removes, by its recorded name, each assignment of ours that the spec no longer asks for and that was not listed: the caller may
// not list it there, or a replica has not heard of it. To remove one that is gone changes nothing; to forget one that is there would leave
// the identity a role that nobody knows of.
func (d *differ) unseen(want, dealt map[string]bool) {
	stays := d.seen.Principal != nil && strings.EqualFold(d.seen.Principal.ID, d.rec.PrincipalID)
	for _, a := range d.rec.Assignments {
		blind := d.blind(a.Scope)
		if dealt[strings.ToLower(a.Name)] || (want[a.Key()] && (stays || !blind)) {
			continue
		}
		dealt[strings.ToLower(a.Name)] = true
		switch {
		case a.Ours && !stays:
			d.removeRole(a.Name, a.Grant, "its service principal is gone")
		case a.Ours:
			d.removeRole(a.Name, a.Grant, "the spec does not ask for it, and it is recorded as ours")
		case blind:
			d.find(finding.Unknown, "assignment-unread", "does the identity hold only the planned roles?", cmp.Or(a.Role, a.RoleID)+" on "+a.Scope+" was found there once, and you may not read there", "ask somebody who may: leastkey plan "+d.agent.Name)
		}
	}
}

func (d *differ) removeRole(name string, g role.Grant, why string) {
	d.step(Step{ID: d.unique("remove-role:" + slug(g)), Action: RemoveRole, Plane: ARM, Title: "remove " + cmp.Or(g.Role, g.RoleID) + " on " + role.Short(g.Scope), Why: why, Destroys: true,
		With: map[string]string{"name": name, "scope": g.Scope, "role_id": g.RoleID}})
}

// unread tells whether the grant is recorded as assigned where the caller may not look: it is neither missing nor there, and said to be
// unknown. One of a service principal that is gone is assigned to the new one.
func (d *differ) unread(g role.Grant) bool {
	if !d.blind(g.Scope) || d.seen.Principal == nil || !strings.EqualFold(d.seen.Principal.ID, d.rec.PrincipalID) ||
		!slices.ContainsFunc(d.rec.Assignments, func(a Assigned) bool { return a.Key() == g.Key() }) {
		return false
	}
	d.find(finding.Unknown, "assignment-unread", "does the identity hold the planned roles?", g.Role+" on "+g.Scope+" is recorded as assigned, and you may not read there", "ask somebody who may: leastkey plan "+d.agent.Name)
	return true
}

// blind tells whether the scope could not be read.
func (d *differ) blind(scope string) bool {
	return slices.ContainsFunc(d.seen.Unread, func(u string) bool {
		return strings.EqualFold(strings.TrimRight(u, "/"), strings.TrimRight(scope, "/"))
	})
}

func (d *differ) assigned(g role.Grant) bool {
	if d.seen.AzureUnread { // the Graph half leaves them as they were left
		return d.seen.Principal != nil && d.seen.Principal.ID == d.rec.PrincipalID && slices.ContainsFunc(d.rec.Assignments, func(a Assigned) bool { return a.Key() == g.Key() })
	}
	return d.seen.Principal != nil && slices.ContainsFunc(d.seen.Assignments, func(a Assignment) bool {
		return a.Grant().Key() == g.Key() && strings.EqualFold(a.PrincipalID, d.seen.Principal.ID) && a.Condition == ""
	})
}

// conditional tells whether somebody else's assignment of the grant carries a condition. ARM allows one assignment of a role at a scope,
// so ours cannot be made beside it; one under our own name is written again without the condition.
func (d *differ) conditional(g role.Grant) bool {
	i := slices.IndexFunc(d.seen.Assignments, func(a Assignment) bool {
		return a.Grant().Key() == g.Key() && a.Condition != "" && strings.EqualFold(a.PrincipalID, d.rec.PrincipalID) && !strings.EqualFold(a.Name, role.AssignmentName(g, a.PrincipalID))
	})
	if i < 0 || d.seen.Principal == nil {
		return false
	}
	a := d.seen.Assignments[i]
	d.find(finding.Fail, "conditional-assignment", "does the identity hold the planned roles?", g.Role+" on "+g.Scope+" is assigned under a condition: "+a.Condition,
		"if the condition is meant, take the role out of the spec; if not, remove the assignment: az role assignment delete --ids "+a.ID)
	return true
}

func slug(g role.Grant) string {
	last := g.Scope[strings.LastIndex(g.Scope, "/")+1:]
	return strings.ToLower(strings.ReplaceAll(cmp.Or(g.Role, g.RoleID), " ", "-") + "@" + last)
}
