package agent

import (
	"slices"
	"strings"
)

// Adopt makes the record that of an existing application. principal is its service principal, "" if it has none; held is what that one was
// seen to hold, and by the object id of who adopts: other owners are reported until the spec names them.
//
// What we have assigned stays ours, also where an earlier principal held it, so that a revoke takes it away; what else is held is not.
func (r *Record) Adopt(app Application, principal string, held []Assignment, by string) {
	r.Adopted, r.CreatedBy = true, by
	r.ApplicationID, r.AppID, r.UniqueName, r.PrincipalID = app.ID, app.AppID, app.UniqueName, principal
	r.Assignments = slices.DeleteFunc(slices.Clone(r.Assignments), func(a Assigned) bool { return !a.Ours })
	for _, h := range held {
		known := slices.ContainsFunc(r.Assignments, func(a Assigned) bool { return strings.EqualFold(a.Name, h.Name) })
		if !known && strings.EqualFold(h.PrincipalID, principal) {
			r.Assignments = append(r.Assignments, Assigned{Grant: h.Grant(), Name: h.Name})
		}
	}
}
