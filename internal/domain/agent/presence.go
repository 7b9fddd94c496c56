package agent

import (
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// Holdings is what a principal was seen to hold, and where that was looked for. A list at a scope shows what lies at it, above it and below
// it (Microsoft, "List Azure role assignments using the REST API": assignedTo() with no atScope()).
type Holdings struct {
	PrincipalID string
	Assignments []Assignment
	Readable    []string // scopes that were read
}

// Standing is whether a wanted role is there.
type Standing string

// The standings. NotSeen is neither of the others: nobody could look, or what was seen does not settle it.
const (
	Held    Standing = "assigned"
	Missing Standing = "missing"
	NotSeen Standing = "unknown"
)

// Present is the answer of [Presence].
type Present struct {
	Standing  Standing
	By        Assignment // what satisfies the grant, the identity's own at its very scope before others; zero unless it is held
	Inherited bool       // By lies above the wanted scope
	Group     string     // object id of the group that By comes by; "" is the identity itself
	Detail    string     // for a person
}

// Presence tells whether the principal holds a role: by the role's id, at the scope or above it, itself or through a group, and without a
// condition that may narrow it. Names decide nothing.
func Presence(h Holdings, want role.Grant) Present {
	var best *Assignment
	var near string // of the role and not enough
	unsure := false
	for i := range h.Assignments {
		a := &h.Assignments[i]
		if !strings.EqualFold(a.RoleID, want.RoleID) {
			continue
		}
		reaches, known := h.reaches(*a, want.Scope)
		switch {
		case !known:
			unsure, near = true, fmt.Sprintf("%s holds it, and which subscriptions lie below that cannot be told from here", role.Short(a.Scope))
		case !reaches:
			near = near + fmt.Sprintf("; it is assigned on %s, which does not reach that far", role.Short(a.Scope))
		case a.Condition != "":
			near = near + fmt.Sprintf("; on %s it is assigned only under a condition: %s", role.Short(a.Scope), a.Condition)
		case best == nil || h.rank(*a, want) < h.rank(*best, want):
			best = a
		}
	}
	if best != nil {
		return h.held(*best, want)
	}
	near = strings.TrimPrefix(near, "; ")
	switch {
	case unsure:
		return Present{Standing: NotSeen, Detail: near}
	case !h.read(want.Scope):
		return Present{Standing: NotSeen, Detail: "nobody could read the role assignments of " + role.Short(want.Scope)}
	case near != "":
		return Present{Standing: Missing, Detail: "missing on " + role.Short(want.Scope) + ": " + near}
	}
	return Present{Standing: Missing, Detail: fmt.Sprintf("missing on %s: not among the %d role assignments seen", role.Short(want.Scope), len(h.Assignments))}
}

// held describes what satisfies a grant.
func (h Holdings) held(a Assignment, want role.Grant) Present {
	p := Present{Standing: Held, By: a, Inherited: !same(a.Scope, want.Scope)}
	p.Detail = "assigned on " + role.Short(a.Scope)
	if p.Inherited {
		p.Detail = "inherited from " + role.Short(a.Scope)
	}
	if h.Through(a) {
		p.Group = a.PrincipalID
		p.Detail += ", through group " + a.PrincipalID
	}
	return p
}

// rank prefers the identity's own assignment at the very scope, then its own above it, then a group's.
func (h Holdings) rank(a Assignment, want role.Grant) int {
	n := 0
	if h.Through(a) {
		n += 2
	}
	if !same(a.Scope, want.Scope) {
		n++
	}
	return n
}

// Through tells whether the assignment reaches the principal through a group, and not by itself.
func (h Holdings) Through(a Assignment) bool { return !strings.EqualFold(a.PrincipalID, h.PrincipalID) }

// reaches tells whether an assignment is in force at a scope. Which subscriptions a management group holds is not in its name; but a list
// at a subscription shows only those above it, so while all that was read lies in one subscription, it is that one's.
func (h Holdings) reaches(a Assignment, scope string) (reaches, known bool) {
	at, err := role.ParseScope(a.Scope)
	if err != nil || at.Level != role.ManagementGroup {
		return role.Contains(a.Scope, scope), true
	}
	want, err := role.ParseScope(scope)
	if err != nil {
		return false, true
	}
	if want.SubscriptionID == "" {
		return same(a.Scope, scope), true
	}
	for _, r := range h.Readable {
		if s, err := role.ParseScope(r); err != nil || !strings.EqualFold(s.SubscriptionID, want.SubscriptionID) {
			return false, false
		}
	}
	return len(h.Readable) > 0, len(h.Readable) > 0
}

// read tells whether some list would have shown an assignment in force at the scope.
func (h Holdings) read(scope string) bool {
	for _, r := range h.Readable {
		if role.Contains(r, scope) || role.Contains(scope, r) {
			return true
		}
	}
	return false
}

func same(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}
