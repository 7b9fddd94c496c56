package arm

import (
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Permission is one permissions entry of a role definition.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// allows tells whether the entry grants the operation, which is in lower case.
func (p Permission) allows(operation string, data bool) bool {
	grant, except := p.Actions, p.NotActions
	if data {
		grant, except = p.DataActions, p.NotDataActions
	}
	return anyMatches(grant, operation) && !anyMatches(except, operation)
}

func anyMatches(patterns []string, operation string) bool {
	for _, p := range patterns {
		if matches(strings.ToLower(p), operation) {
			return true
		}
	}
	return false
}

// matches tells whether the pattern, in which * stands for any text including '/', is the whole operation. Both are in lower case.
//
// A whole segment /*/ may also stand for nothing: Microsoft's own roles count on it. Managed Identity Operator has only
// userAssignedIdentities/*/assign/action for the operation userAssignedIdentities/assign/action, Container Apps Contributor writes
// container apps with only containerApps/*/write, and Key Vault Reader reads vaults with only vaults/*/read.
func matches(pattern, operation string) bool {
	if glob(pattern, operation) {
		return true
	}
	head, tail, found := strings.Cut(pattern, "/*/")
	return found && matches(head+"/"+tail, operation)
}

func glob(pattern, operation string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == operation
	}
	operation, ok := strings.CutPrefix(operation, head)
	if !ok {
		return false
	}
	for {
		var middle string
		if middle, tail, star = strings.Cut(tail, "*"); !star {
			return strings.HasSuffix(operation, middle)
		}
		i := strings.Index(operation, middle)
		if i < 0 {
			return false
		}
		operation = operation[i+len(middle):]
	}
}

// Allowed tells whether the principal may perform the operation at the scope, as far as the view shows: through an assignment to it or
// to a group that it belongs to, directly or through other groups, at the scope or above. data asks about data actions. An assignment
// whose condition does not hold grants nothing.
func (s *Service) Allowed(v replica.View, principalID, scope, operation string, data bool) bool {
	id, err := ParseID(scope)
	if err != nil {
		return false
	}
	return s.allowed(v, principalID, id, operation, data)
}

func (s *Service) allowed(v replica.View, principal string, at ID, operation string, data bool) bool {
	granted, _ := s.rightsOf(v, principal).granted(at, question{operation: strings.ToLower(operation)}, data)
	return granted
}

// unrestricted tells whether an assignment without a condition allows the operation.
func (s *Service) unrestricted(v replica.View, principal string, at ID, operation string) bool {
	operation = strings.ToLower(operation)
	for a, r := range s.rolesAt(v, principal, at) {
		if a.Condition == "" && slices.ContainsFunc(r.Permissions, func(p Permission) bool { return p.allows(operation, false) }) {
			return true
		}
	}
	return false
}

// rolesAt lends the principal's assignments in force at a scope, with their roles.
func (s *Service) rolesAt(v replica.View, principal string, at ID) iter.Seq2[Assignment, *role] {
	return func(yield func(Assignment, *role) bool) {
		scopes := map[string]bool{}
		for _, key := range s.chain(v, at) {
			scopes[key] = true
		}
		for a := range s.assignmentsOf(v, principal) {
			if !scopes[strings.ToLower(a.Scope)] {
				continue
			}
			if r := s.role(v, a.RoleID); r != nil && !yield(a, r) {
				return
			}
		}
	}
}

// assignmentsOf lends the assignments to the principal and to every group that it belongs to.
func (s *Service) assignmentsOf(v replica.View, principal string) iter.Seq[Assignment] {
	return func(yield func(Assignment) bool) {
		for _, who := range append([]string{principal}, s.env.Dir.GroupsOf(v, principal)...) {
			for _, a := range s.assignments.By(v, "principal", strings.ToLower(who)) {
				if !yield(a) {
					return
				}
			}
		}
	}
}

// may is nil if the caller may perform the operation at the scope; otherwise the refusal, which names the place that the caller asked
// about: shown, or the scope itself if that is empty.
func (s *Service) may(v replica.View, c *call, at ID, operation, shown string) *reply {
	return s.mayDelegate(v, c, at, operation, shown, nil, nil)
}

// mayDelegate is may for an operation on a role assignment, which conditions ask about: the one in the request and the one that is there.
func (s *Service) mayDelegate(v replica.View, c *call, at ID, operation, shown string, request, resource *delegated) *reply {
	granted, unfulfilled := s.rightsOf(v, c.who.ObjectID).granted(at, question{operation: strings.ToLower(operation), request: request, resource: resource}, false)
	if granted {
		return nil
	}
	if shown == "" {
		shown = at.String()
	}
	lacks := "authorization"
	if unfulfilled {
		lacks = "authorization or an ABAC condition not fulfilled"
	}
	r := fail(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have %s to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		clientName(c.who), c.who.ObjectID, lacks, operation, shown)
	return &r
}

func clientName(who authority.Claims) string {
	if who.UPN != "" {
		return who.UPN
	}
	return who.Client()
}

// mayLinked is nil if the caller may perform the operation on another resource that the request would bind to this one.
func (s *Service) mayLinked(v replica.View, c *call, action string, linked ID, operation string) *reply {
	if s.allowed(v, c.who.ObjectID, linked, operation, false) {
		return nil
	}
	r := fail(http.StatusForbidden, "LinkedAuthorizationFailed",
		"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
		clientName(c.who), c.who.ObjectID, action, c.id, operation, linked)
	return &r
}

// sees tells whether the principal has any assignment at, above or below the scope (see [rights.sees]).
func (s *Service) sees(v replica.View, principal string, at ID) bool {
	return s.rightsOf(v, principal).sees(at)
}

// permissions answers what the caller may do at a subscription, resource group or resource (Permissions - List For Resource Group; the
// portal asks for a subscription's in the same way).
func (s *Service) permissions(v replica.View, c *call, scope ID) reply {
	if c.method != http.MethodGet || scope.Subscription == "" {
		return c.unknown()
	}
	if r := s.may(v, c, scope, "Microsoft.Authorization/permissions/read", scope.String()+"/providers/"+authorization); r != nil {
		return *r
	}
	if _, r := s.find(v, scope); r != nil {
		return *r
	}
	var all []Permission
	for a, r := range s.rolesAt(v, c.who.ObjectID, scope) {
		if a.Condition == "" { // what holds under a condition is no answer to what the caller may do
			all = append(all, r.Permissions...)
		}
	}
	return list(all)
}
