package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// fakeRBAC is what Azure Resource Manager knows, and what it lets the identity do.
type fakeRBAC struct {
	held      []agent.Assignment
	blind     map[string]bool    // scopes whose assignments the operator may not list, in lower case
	tenant    []agent.Assignment // what Azure Resource Graph shows beside held
	shown     []string           // management groups that it shows
	custom    map[string]role.Definition
	vault     *agent.Vault
	own       map[string][]role.Definition // by scope, in lower case; of others, what the assignments say
	ownError  map[string]error             // by scope, in lower case
	spreading int                          // so many questions of the identity about itself are refused at first
	deletes   map[string]int               // by type: status of an answer of 2xx
	deleteErr map[string]error             // by type; of others, the refusal
}

func healthyRBAC(f *fake) fakeRBAC {
	s := f.subject
	r := fakeRBAC{
		vault: &agent.Vault{ID: s.Spec.VaultID(s.Agent), RBAC: true, URI: "https://kv-bot.vault.azure.net/"},
		blind: map[string]bool{}, custom: map[string]role.Definition{}, own: map[string][]role.Definition{}, ownError: map[string]error{},
		deletes: map[string]int{}, deleteErr: map[string]error{},
	}
	for _, g := range s.Spec.Grants(s.Agent, role.Builtin()) {
		r.held = append(r.held, assigned(g, principalID))
		f.subject.Record.Assignments = append(f.subject.Record.Assignments, agent.Assigned{Grant: g, Name: role.AssignmentName(g, principalID), Ours: true})
	}
	return r
}

// assigned is an assignment of the grant as Azure Resource Manager lists it: without the role's name.
func assigned(g role.Grant, to string) agent.Assignment {
	name := role.AssignmentName(g, to)
	return agent.Assignment{ID: g.Scope + "/providers/Microsoft.Authorization/roleAssignments/" + name, Name: name, RoleID: g.RoleID, Scope: g.Scope, PrincipalID: to}
}

type fakeARM struct{ *fake }

func (f fakeARM) Assignments(ctx context.Context, scope, principal string) ([]agent.Assignment, error) {
	if err := f.ask(ctx, "Assignments"); err != nil {
		return nil, err
	}
	if principal != principalID {
		return nil, fault.Newf(fault.Invalid, "asked about %s", principal)
	}
	if f.blind[strings.ToLower(scope)] {
		return nil, refusal()
	}
	return slices.DeleteFunc(slices.Clone(f.held), func(a agent.Assignment) bool {
		above, _ := role.ParseScope(a.Scope)
		return above.Level > role.ManagementGroup && !role.Contains(scope, a.Scope) && !role.Contains(a.Scope, scope)
	}), nil
}

func (f fakeARM) RoleDefinition(ctx context.Context, scope, guid string) (role.Definition, error) {
	d, known := f.custom[guid]
	if err := f.ask(ctx, "RoleDefinition"); err != nil {
		return role.Definition{}, err
	}
	if s, err := role.ParseScope(scope); err != nil || s.SubscriptionID == "" || !known {
		return role.Definition{}, fault.Newf(fault.NotFound, "no role %s at %s", guid, scope)
	}
	return d, nil
}

func (f fakeARM) AssignedAnywhere(ctx context.Context, principals []string) ([]agent.Assignment, error) {
	return slices.DeleteFunc(slices.Concat(f.held, f.tenant), func(a agent.Assignment) bool { return !slices.Contains(principals, a.PrincipalID) }), f.ask(ctx, "AssignedAnywhere")
}

func (f fakeARM) Visible(ctx context.Context) (subscriptions, managementGroups []string, err error) {
	return []string{subscription}, f.shown, f.ask(ctx, "Visible")
}

func (f fakeARM) Vault(ctx context.Context, _ string) (*agent.Vault, error) {
	return f.vault, f.ask(ctx, "Vault")
}

func (f fakeSelf) Permissions(ctx context.Context, scope string) ([]role.Definition, error) {
	if err := f.ask(ctx, "Permissions"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	early := f.asked["Permissions"] <= f.spreading
	f.mu.Unlock()
	if early {
		return nil, refusal()
	}
	at := strings.ToLower(scope)
	if err := f.ownError[at]; err != nil {
		return nil, err
	}
	if own, told := f.own[at]; told {
		return own, nil
	}
	var all []role.Definition
	for _, a := range f.held {
		if d, known := role.Builtin().Find(a.RoleID); known && role.Contains(a.Scope, scope) {
			all = append(all, role.Definition{Actions: d.Actions, NotActions: d.NotActions, DataActions: d.DataActions, NotDataActions: d.NotDataActions})
		}
	}
	return all, nil
}

func (f fakeSelf) ProbeDelete(ctx context.Context, group, kind string) (string, int, error) {
	target := group + "/providers/" + kind + "/random"
	if err := f.ask(ctx, "ProbeDelete"); err != nil {
		return target, statusOf(err), err
	}
	if status := f.deletes[kind]; status != 0 {
		return target, status, nil
	}
	err := f.deleteErr[kind]
	if err == nil {
		err = refusal()
	}
	return target, statusOf(err), err
}

// refusal is how Azure Resource Manager says that a right is missing.
func refusal() error { return answer(403, "AuthorizationFailed") }

// answer is an error answer of Azure Resource Manager.
func answer(status int, service string) error {
	return &fault.Error{Code: fault.OfStatus(status), Op: "ask", Status: status, Service: service, Err: fmt.Errorf("as told")}
}

func statusOf(err error) int {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Status
	}
	return 0
}

// repeatedRBAC are methods that are asked once per scope.
func repeatedRBAC(method string) bool { return method == "Permissions" || method == "ProbeDelete" }
