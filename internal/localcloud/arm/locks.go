package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// authorization answers for the objects of Microsoft.Authorization at a scope. Deny assignments are made by deployment stacks and
// managed applications only, and nobody here has an eligible role, so those listings are empty.
func (s *Service) authorization(v replica.View, c *call, scope ID, kind, name string) (reply, effect) {
	switch strings.ToLower(kind) {
	case "roleassignments":
		return s.roleAssignments(v, c, scope, name)
	case "roledefinitions":
		return s.roleDefinitions(v, c, scope, name)
	case "permissions":
		return s.permissions(v, c, scope), nil
	case "locks":
		return s.managementLocks(v, c, scope, name)
	case "classicadministrators":
		// Only a subscription has them, and since their retirement (31 August 2024) none has any.
		if c.method != http.MethodGet || name != "" || scope.Subscription == "" || scope.Group != "" || len(scope.Parts) > 0 {
			return c.unknown(), nil
		}
		fallthrough
	case "denyassignments", "roleeligibilityschedules", "roleeligibilityscheduleinstances", "roleassignmentschedules", "roleassignmentscheduleinstances":
		if c.method != http.MethodGet || name != "" {
			return c.unknown(), nil
		}
		if r := s.may(v, c, scope, authorization+"/"+kind+"/read", shownList(scope)); r != nil {
			return *r, nil
		}
		if _, missing := s.find(v, scope); missing != nil {
			return *missing, nil
		}
		return list[object](nil), nil
	}
	return c.unknown(), nil
}

func (l Lock) key() string { return strings.ToLower(l.Scope + "|" + l.Name) }

func (l Lock) json() object {
	p := object{"level": l.Level}
	if l.Notes != "" {
		p["notes"] = l.Notes
	}
	return object{"id": l.Scope + "/providers/Microsoft.Authorization/locks/" + l.Name, "name": l.Name, "type": "Microsoft.Authorization/locks", "properties": p}
}

// managementLocks answers for Microsoft.Authorization/locks at a scope (Microsoft, "Lock your Azure resources to protect your
// infrastructure").
func (s *Service) managementLocks(v replica.View, c *call, scope ID, name string) (reply, effect) {
	verb := map[string]string{http.MethodGet: "read", http.MethodPut: "write", http.MethodDelete: "delete"}[c.method]
	if verb == "" || name == "" && verb != "read" || scope.Subscription == "" {
		return c.unknown(), nil
	}
	if r := s.may(v, c, scope, "Microsoft.Authorization/locks/"+verb, shownList(scope)); r != nil {
		return *r, nil
	}
	at, missing := s.find(v, scope)
	if missing != nil {
		return *missing, nil
	}
	l := Lock{Scope: at.String(), Name: name}
	switch {
	case name == "":
		var items []object
		for _, l := range s.locks.By(v, "under", at.Key()) {
			items = append(items, l.json())
		}
		return list(items), nil
	case verb == "read":
		if l, found := s.locks.Get(v, l.key()); found {
			return ok(l.json()), nil
		}
		return fail(http.StatusNotFound, "LockNotFound", "The lock '%s' could not be found.", name), nil
	case verb == "delete":
		return reply{}, func(tx replica.Tx) reply {
			if _, found := s.locks.Get(tx.View, l.key()); !found {
				return reply{status: http.StatusNoContent}
			}
			s.locks.Delete(tx, l.key())
			return reply{status: http.StatusOK}
		}
	}
	var body struct{ Properties struct{ Level, Notes string } }
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	levels := []string{"CanNotDelete", "ReadOnly"}
	i := slices.IndexFunc(levels, func(k string) bool { return strings.EqualFold(k, body.Properties.Level) })
	if i < 0 {
		return fail(http.StatusBadRequest, "InvalidLockLevel", "The lock level '%s' is not valid: use CanNotDelete or ReadOnly.", body.Properties.Level), nil
	}
	l.Level, l.Notes = levels[i], body.Properties.Notes
	return reply{}, func(tx replica.Tx) reply {
		status := http.StatusCreated
		if _, found := s.locks.Get(tx.View, l.key()); found {
			status = http.StatusOK
		}
		s.locks.Put(tx, l.key(), l)
		return reply{status: status, body: l.json()}
	}
}

// lockedWrite refuses a change where a read-only lock is in force.
func (s *Service) lockedWrite(v replica.View, at ID) *reply {
	return locked(at, "write", slices.DeleteFunc(s.locksAbove(v, at), func(l Lock) bool { return l.Level != "ReadOnly" }))
}

// lockedDelete refuses a deletion where any lock is in force; inside tells to look for locks below as well, as what is deleted takes
// everything below with it.
func (s *Service) lockedDelete(v replica.View, at ID, inside bool) *reply {
	found := s.locksAbove(v, at)
	if inside {
		found = append(found, s.locks.By(v, "under", at.Key())...)
	}
	return locked(at, "delete", found)
}

// locksAbove is the locks at the scope and above it.
func (s *Service) locksAbove(v replica.View, at ID) []Lock {
	var found []Lock
	for _, key := range s.chain(v, at) {
		found = append(found, s.locks.By(v, "scope", key)...)
	}
	return found
}

func locked(at ID, verb string, by []Lock) *reply {
	if len(by) == 0 {
		return nil
	}
	var scopes []string
	for _, l := range by {
		if !slices.Contains(scopes, l.Scope) {
			scopes = append(scopes, l.Scope)
		}
	}
	r := fail(http.StatusConflict, "ScopeLocked", "The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. Please remove the lock and try again.", at, verb, strings.Join(scopes, "', '"))
	return &r
}
