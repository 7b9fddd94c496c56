package arm

import (
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// rights is what a principal may do, read once for many questions of one request: a listing asks for each of its rows. It is good as
// long as its view is.
type rights struct {
	s       *Service
	v       replica.View
	held    map[string][]holding // by key of the scope
	near    map[string]bool      // keys of every scope at or above a holding; nil until somebody asks
	decided map[string]bool      // by scope and operation
}

type holding struct {
	Assignment
	*role
}

func (s *Service) rightsOf(v replica.View, principal string) *rights {
	r := &rights{s: s, v: v, held: map[string][]holding{}, decided: map[string]bool{}}
	for a := range s.assignmentsOf(v, principal) {
		if d := s.role(v, a.RoleID); d != nil {
			key := strings.ToLower(a.Scope)
			r.held[key] = append(r.held[key], holding{a, d})
		}
	}
	return r
}

// allow tells whether the principal may perform the operation, which is none on data, at the scope.
func (r *rights) allow(at ID, operation string) bool {
	operation = strings.ToLower(operation)
	key := at.Key() + "|" + operation
	if known, asked := r.decided[key]; asked {
		return known
	}
	r.decided[key] = r.decide(at, operation)
	return r.decided[key]
}

func (r *rights) decide(at ID, operation string) bool {
	granted, _ := r.granted(at, question{operation: operation}, false)
	return granted
}

// granted tells whether an assignment allows what is asked, or else whether one would but for its condition. What is asked of a condition
// is one thing, whether a resource is asked for alone, in a list or in Azure Resource Graph.
func (r *rights) granted(at ID, q question, data bool) (granted, unfulfilled bool) {
	q.now = r.s.env.Now()
	for _, key := range r.s.chain(r.v, at) {
		for _, h := range r.held[key] {
			for _, p := range h.Permissions {
				if !p.allows(q.operation, data) {
					continue
				}
				if holds(h.Condition, q) {
					return true, false
				}
				unfulfilled = true
			}
		}
	}
	return false, unfulfilled
}

// sees tells whether the principal has any assignment at, above or below the scope: such a caller gets a listing of what it may read
// instead of a refusal.
func (r *rights) sees(at ID) bool {
	if r.near == nil {
		r.near = map[string]bool{}
		for scope := range r.held {
			if id, err := ParseID(scope); err == nil {
				for _, key := range r.s.chain(r.v, id) {
					r.near[key] = true
				}
			}
		}
	}
	if r.near[at.Key()] {
		return true
	}
	for _, key := range r.s.chain(r.v, at) {
		if len(r.held[key]) > 0 {
			return true
		}
	}
	return false
}
