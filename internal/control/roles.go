package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// Roles lists what the identity holds beside what the spec asks for, and the steps that [Door.FixRoles] would take. A scope that the operator
// may not read is in Unread, and what is wanted there is unknown. Of an agent without an identity everything is missing.
func (d *Door) Roles(ctx context.Context, name string) (api.RolesAnswer, error) {
	a, err := d.named(name)
	if err != nil {
		return api.RolesAnswer{}, err
	}
	rec, err := d.record(ctx, a.Name)
	if err := d.enter(ctx, "roles", a.Name, "", err); err != nil {
		return api.RolesAnswer{}, err
	}
	ans := api.RolesAnswer{Agent: a.Name, PrincipalID: rec.PrincipalID, Required: []api.RequiredRole{}, Held: []api.HeldRole{}, Readable: []string{}, Pending: []string{}}
	grants := d.c.Spec.Grants(a, d.c.Roles)
	if rec.PrincipalID == "" {
		for _, g := range grants {
			ans.Required = append(ans.Required, d.required(a, g, agent.Present{Standing: agent.Missing, Detail: "there is no identity yet"}))
		}
		return ans, nil
	}
	if _, err := d.Caller(ctx); err != nil {
		return ans, err
	}
	seen, err := d.holdings(ctx, a, rec)
	if err != nil {
		return ans, err
	}
	ans.Readable, ans.Unread = append(ans.Readable, seen.Readable...), seen.Unread
	holds := agent.Holdings{PrincipalID: rec.PrincipalID, Assignments: seen.Assignments, Readable: seen.Readable}
	for _, g := range grants {
		ans.Required = append(ans.Required, d.required(a, g, agent.Presence(holds, g)))
	}
	ans.Held = append(ans.Held, d.held(ctx, rec, holds, grants)...)
	if !seen.AzureUnread {
		plan := agent.Repair(d.c.Spec, a.Name, seen, d.options())
		for _, s := range plan.Steps {
			ans.Pending = append(ans.Pending, s.Title)
		}
		if !plan.Empty() {
			ans.Digest = plan.Digest()
		}
	}
	return ans, nil
}

// FixRoles assigns every role of the spec that is missing and removes those of ours that it does not ask for any more, and touches nothing
// else. It is a plan like every other: shown, approved, journalled, and continued by the same command where it was stopped.
func (d *Door) FixRoles(ctx context.Context, r api.FixRequest, events func(api.Event)) (api.Report, error) {
	rep, err := d.change(ctx, api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: r.Agent, Verb: agent.FixRoles}, Digest: r.Digest, Approve: r.Approve}, events)
	if err != nil || !rep.Changed {
		return rep, err
	}
	return d.settledRoles(ctx, rep)
}

func (d *Door) options() agent.Options {
	return agent.Options{Roles: d.c.Roles, Tenant: d.c.Where.TenantID, Instance: d.c.Where.Instance}
}

// repair decides about a repair of the roles.
func (d *Door) repair(ctx context.Context, a *agent.Agent, rec agent.Record, opt agent.Options) (agent.Plan, agent.Observed, error) {
	seen := agent.Observed{Record: rec, Now: time.Now()}
	if rec.PrincipalID != "" {
		var err error
		if seen, err = d.holdings(ctx, a, rec); err != nil {
			return agent.Plan{}, seen, err
		}
		if seen.AzureUnread {
			return agent.Plan{}, seen, fault.New(fault.Forbidden, "you may not read resource group "+d.c.Spec.ResourceGroup+", so nothing is known of it", "somebody with Reader there runs: leastkey roles fix "+a.Name)
		}
	}
	return agent.Repair(d.c.Spec, a.Name, seen, opt), seen, nil
}

// holdings reads what a repair of the roles rests on, and nothing of the identity's credentials: the resources, the service principal, and
// every assignment that reaches it. A place that the operator may not read is unread; where that is the resource group, so is Azure.
func (d *Door) holdings(ctx context.Context, a *agent.Agent, rec agent.Record) (agent.Observed, error) {
	arm := &noting{ARM: d.c.Observer.ARM}
	var (
		resources agent.Observed
		principal *agent.Principal
		held      observe.Held
		all       observe.Group
		unread    bool
	)
	all.Do(func() (err error) {
		if resources, err = d.c.Observer.Resources(ctx, d.c.Spec, a); fault.Is(err, fault.Forbidden) {
			unread, err = true, nil
		}
		return err
	})
	all.Do(func() error {
		var err error
		held, err = observe.HeldBy(ctx, arm, d.c.Roles, d.c.Spec, a, rec, rec.PrincipalID)
		if fault.Is(err, fault.Forbidden, fault.NotFound) { // a whole subscription, of which nothing narrower is named
			held.Unread, err = append(held.Unread, "/subscriptions/"+d.c.Spec.Subscription), nil
		}
		return err
	})
	all.Do(func() (err error) {
		principal, err = observe.Present(ctx, d.c.Observer.Settle, "service principal of "+rec.AppID, func(ctx context.Context) (agent.Principal, error) {
			return d.c.Observer.Graph.Principal(ctx, rec.AppID)
		})
		switch {
		case fault.Is(err, fault.Forbidden): // somebody with rights in Azure alone; then the recorded id is what there is
			return nil
		case err == nil && principal == nil:
			return fault.New(fault.NotFound, "the service principal "+rec.PrincipalID+" of "+a.Name+" is gone", "leastkey plan "+a.Name+" says what to do")
		}
		return err
	})
	err := all.Wait()
	seen := resources
	seen.Record, seen.Principal, seen.AzureUnread, seen.Now = rec, principal, unread, time.Now()
	seen.Assignments = held.Assignments
	for _, scope := range held.Readable {
		if !arm.missed(scope) {
			seen.Readable = append(seen.Readable, scope)
		}
	}
	seen.Unread = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(held.Unread), arm.unread...))))
	return seen, err
}

// noting is ARM for somebody who may not look everywhere: what may not be read is noted, and not an error. That of a whole subscription
// stays one, so that what lies in it is read instead.
type noting struct {
	observe.ARM
	mu     sync.Mutex
	unread []string
}

// Assignments implements [observe.ARM].
func (n *noting) Assignments(ctx context.Context, scope, principal string) ([]agent.Assignment, error) {
	found, err := n.ARM.Assignments(ctx, scope, principal)
	if s, bad := role.ParseScope(scope); bad != nil || s.Level == role.Subscription || !fault.Is(err, fault.Forbidden, fault.NotFound) {
		return found, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unread = append(n.unread, scope)
	return nil, nil
}

func (n *noting) missed(scope string) bool {
	return slices.ContainsFunc(n.unread, func(u string) bool { return strings.EqualFold(u, scope) })
}

// feature is what a role of the set is for, in Polyclaw's words; "" of any other.
func feature(roleID string) (name, dataAction string) {
	switch strings.ToLower(roleID) {
	case "a97b65f3-24c7-4388-baec-2e87135dc908":
		return "Prompt Shields (Content Safety)", "Microsoft.CognitiveServices/accounts/ContentSafety/text:shieldprompt/action"
	case "9fc6112f-f48e-4e27-8b09-72a5c94e4ae9":
		return "Bot Service Management", ""
	case "acdd72a7-3385-48ef-bd42-f606fba81ae7":
		return "Resource Group Visibility", ""
	case "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "4633458b-17de-408a-b874-0445c86b69e6":
		return "Key Vault Secrets", ""
	case "0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0":
		return "Sandbox / Code Interpreter", ""
	}
	return "", ""
}

func (d *Door) required(a *agent.Agent, g role.Grant, p agent.Present) api.RequiredRole {
	r := api.RequiredRole{Role: g.Role, RoleID: g.RoleID, Scope: g.Scope, Why: d.c.Spec.Why(a, g), Detail: p.Detail, By: p.By.ID}
	r.Feature, r.DataAction = feature(g.RoleID)
	r.Feature = cmp.Or(r.Feature, g.Role)
	switch p.Standing {
	case agent.Held:
		r.Presence = api.Assigned
	case agent.Missing:
		r.Presence = api.Missing
	default:
		r.Presence = api.PresenceUnknown
	}
	return r
}

// held describes every assignment that reaches the identity, the narrowest last.
func (d *Door) held(ctx context.Context, rec agent.Record, h agent.Holdings, grants []role.Grant) []api.HeldRole {
	groups := d.groups(ctx, h)
	var all []api.HeldRole
	for _, as := range h.Assignments {
		r := api.HeldRole{ID: as.ID, Role: as.Role, RoleID: as.RoleID, Scope: as.Scope, PrincipalID: as.PrincipalID, Condition: as.Condition}
		if h.Through(as) {
			r.Through = cmp.Or(groups[strings.ToLower(as.PrincipalID)], as.PrincipalID)
		}
		r.Ours = slices.ContainsFunc(rec.Assignments, func(a agent.Assigned) bool { return a.Ours && strings.EqualFold(a.Name, as.Name) })
		for _, g := range grants {
			switch {
			case g.Key() == as.Grant().Key():
				r.Required = true
			case strings.EqualFold(g.RoleID, as.RoleID) && role.Contains(as.Scope, g.Scope):
				r.Inherited = true
			}
		}
		r.Inherited = r.Inherited && !r.Required
		d.judge(ctx, &r)
		all = append(all, r)
	}
	slices.SortFunc(all, func(x, y api.HeldRole) int {
		return cmp.Or(cmp.Compare(strings.ToLower(x.Scope), strings.ToLower(y.Scope)), cmp.Compare(x.Role, y.Role), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// judge says whether the role is an elevated one, or reads secrets, by what it allows. One that neither the catalogue nor ARM describes may
// be anything, and is said to be.
func (d *Door) judge(ctx context.Context, r *api.HeldRole) {
	does, known := d.c.Roles.Find(r.RoleID)
	if !known {
		var err error
		if does, err = d.definition(ctx, *r); err != nil {
			r.Role = cmp.Or(r.Role, "role "+r.RoleID)
			r.Elevated = []string{"unknown: " + err.Error()}
			return
		}
		r.Role = cmp.Or(does.Name, r.Role)
	}
	r.Elevated, r.ReadsSecrets = does.Elevated(), does.ReadsSecrets()
}

// definition reads a role that the catalogue lacks.
func (d *Door) definition(ctx context.Context, r api.HeldRole) (role.Definition, error) {
	at := "/subscriptions/" + d.c.Spec.Subscription
	if s, err := role.ParseScope(r.Scope); err == nil && s.SubscriptionID != "" {
		at = "/subscriptions/" + s.SubscriptionID
	}
	return job.Retry(ctx, "role "+r.RoleID, func(ctx context.Context) (role.Definition, error) {
		return d.c.Preflight.ARM.RoleDefinition(ctx, at, r.RoleID)
	})
}

// groups are the names of the groups by which assignments come, by object id in lower case. Where the directory does not say, there is none.
func (d *Door) groups(ctx context.Context, h agent.Holdings) map[string]string {
	names := map[string]string{}
	if !slices.ContainsFunc(h.Assignments, h.Through) {
		return names
	}
	m, err := d.c.Preflight.Graph.Memberships(ctx, h.PrincipalID)
	if err != nil {
		return names // the id says enough
	}
	for _, g := range m.Groups {
		if g.Name != "" {
			names[strings.ToLower(g.ID)] = g.Name + " (" + g.ID + ")"
		}
	}
	return names
}

// settledRoles reads the roles back until the list shows them: an assignment takes a while to reach every replica (Microsoft, "Troubleshoot
// Azure RBAC"). One that does not show is said to be unknown; ARM has answered that it made it.
func (d *Door) settledRoles(ctx context.Context, rep api.Report) (api.Report, error) {
	a, err := d.named(rep.Agent)
	if err != nil {
		return rep, err
	}
	rec, err := d.record(ctx, a.Name)
	if err != nil {
		return rep, err
	}
	var missing []string
	err = job.Wait(ctx, job.Probe{What: "the roles of " + a.Name + " to be listed", Deadline: max(4*d.c.Observer.Settle, time.Minute), Try: func(ctx context.Context) error {
		seen, err := d.holdings(ctx, a, rec)
		if err != nil {
			return err
		}
		rep.Proof.Readable, missing = seen.Readable, nil
		holds := agent.Holdings{PrincipalID: rec.PrincipalID, Assignments: seen.Assignments, Readable: seen.Readable}
		for _, g := range d.c.Spec.Grants(a, d.c.Roles) {
			mine := slices.ContainsFunc(rec.Assignments, func(r agent.Assigned) bool { return r.Key() == g.Key() })
			if mine && agent.Presence(holds, g).Standing == agent.Missing {
				missing = append(missing, g.Role+" on "+role.Short(g.Scope))
			}
		}
		if len(missing) > 0 {
			return fault.Newf(fault.NotYet, "not listed yet: %s", strings.Join(missing, ", "))
		}
		return nil
	}})
	if err == nil || ctx.Err() != nil {
		return rep, err
	}
	rep.Findings = append(rep.Findings, finding.Finding{ID: "roles-read-back", Question: "are the roles there?", Outcome: finding.Unknown,
		Detail: fmt.Sprintf("assigned, and not seen: %s", err), Remedy: "leastkey roles list " + a.Name})
	return rep, nil
}
