package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// ARM is the part of Azure Resource Manager that the checks ask, as the operator.
type ARM interface {
	observe.Lister
	Vault(ctx context.Context, id string) (*agent.Vault, error)
	RoleDefinition(ctx context.Context, scope, guid string) (role.Definition, error)
	// AssignedAnywhere are the assignments of the principals themselves in the whole tenant, as far as it is shown to the operator. Visible
	// tells how far that is: ids of subscriptions, and names of management groups.
	AssignedAnywhere(ctx context.Context, principals []string) ([]agent.Assignment, error)
	Visible(ctx context.Context) (subscriptions, managementGroups []string, err error)
}

// ownRights are what the identity is told about itself by Azure Resource Manager.
type ownRights interface {
	// Permissions are what it may do at a resource group or a resource: an entry for each role, without its name.
	Permissions(ctx context.Context, scope string) ([]role.Definition, error)
	// ProbeDelete tries to delete a resource of the type that does not exist, under a random name that is drawn below this interface, and
	// tells its id and the status of the answer. Every status but 2xx is an error.
	ProbeDelete(ctx context.Context, group, kind string) (target string, status int, err error)
}

// rbacLookups are what the identity may do: as the operator sees it, and as the identity itself is told.
type rbacLookups struct {
	holdings  lookup[holdings]
	judged    lookup[[]judged]
	elsewhere lookup[tenantWide]
	vault     lookup[*agent.Vault] // nil: not there
	group     lookup[[]effective]
	resources lookup[[]effective]
	probes    lookup[[]probe]
}

// wire says who owns each lookup, and how it is read.
func (l *rbacLookups) wire() {
	l.holdings = lookup[holdings]{owner: "rbac_assignments_list", read: asOperator(holdingsOf)}
	l.judged = lookup[[]judged]{owner: "rbac_no_elevated", read: judge}
	l.elsewhere = lookup[tenantWide]{owner: "rbac_elsewhere", read: asOperator(elsewhereOf)}
	l.vault = lookup[*agent.Vault]{owner: "rbac_vault_mode", read: asOperator(func(ctx context.Context, a *Ask) (*agent.Vault, error) {
		return a.run.p.ARM.Vault(ctx, a.Spec.VaultID(a.Agent))
	})}
	l.group = lookup[[]effective]{owner: "rbac_effective_group", read: func(ctx context.Context, a *Ask) ([]effective, error) {
		return effectiveAt(ctx, a, []string{a.Spec.Group()})
	}}
	l.resources = lookup[[]effective]{owner: "rbac_effective_resources", read: func(ctx context.Context, a *Ask) ([]effective, error) {
		return effectiveAt(ctx, a, configuredResources(a.Subject))
	}}
	l.probes = lookup[[]probe]{owner: "rbac_probe_delete", read: probeDeletes}
}

func rbacChecks() []Check {
	return []Check{
		assignmentsList(), botContributor(), readerRole(), vaultAccess(), sessionPool(), contentSafety(), openAIUser(), requiredRoles(),
		noElevated(), readsSecrets(), scopeContained(), unplannedRoles(), staleRoles(), subscriptionLevel(), elsewhere(), vaultMode(),
		effectiveGroup(), effectiveResources(), probeDelete(),
	}
}

// holdings is every assignment that reaches the identity, and where it was looked for.
type holdings struct {
	agent.Holdings
	subscriptions []string // ids, of those that were looked at
	partial       []string // scopes of which something is not known: recorded ones, and subscriptions that were read only in parts
	dark          bool     // of some subscription nothing at all was read, not even what reaches it from above
}

// holdings are read as the operator. A list at a scope shows what lies at it, above it and below it.
func (a *Ask) holdings() (holdings, error) { return get(a, &a.run.holdings) }

func holdingsOf(ctx context.Context, a *Ask) (holdings, error) {
	if a.Record.PrincipalID == "" {
		return holdings{}, missing("identity_configured", "no service principal is recorded, so nothing can be assigned to it")
	}
	held, err := observe.HeldBy(ctx, a.run.p.ARM, a.run.p.Roles, a.Spec, a.Agent, a.Record, a.Record.PrincipalID)
	if err != nil {
		return holdings{}, err
	}
	h := holdings{Holdings: agent.Holdings{PrincipalID: a.Record.PrincipalID, Assignments: held.Assignments, Readable: held.Readable}, partial: slices.Clone(held.Unread)}
	slices.SortFunc(h.Assignments, func(x, y agent.Assignment) int {
		return cmp.Or(strings.Compare(strings.ToLower(x.Scope), strings.ToLower(y.Scope)), strings.Compare(x.RoleID, y.RoleID), strings.Compare(x.ID, y.ID))
	})
	for _, scope := range append(slices.Clone(held.Readable), held.Unread...) {
		s, err := role.ParseScope(scope)
		if err != nil || slices.ContainsFunc(h.subscriptions, func(id string) bool { return strings.EqualFold(id, s.SubscriptionID) }) {
			continue
		}
		h.subscriptions = append(h.subscriptions, s.SubscriptionID)
		whole := "/subscriptions/" + s.SubscriptionID
		if !slices.ContainsFunc(held.Readable, func(r string) bool { return strings.EqualFold(strings.TrimRight(r, "/"), whole) }) {
			h.partial = append(h.partial, whole)
		}
	}
	slices.Sort(h.partial)
	h.partial = slices.Compact(h.partial)
	h.dark = slices.ContainsFunc(h.subscriptions, func(id string) bool {
		return !slices.ContainsFunc(held.Readable, func(r string) bool { return role.Contains("/subscriptions/"+id, r) })
	})
	if len(held.Readable) == 0 { // an empty list would pass for an identity that holds nothing
		return holdings{}, cmp.Or(h.unread(), error(fault.New(fault.Unknown, "read the role assignments: the spec names no subscription", "")))
	}
	return h, nil
}

// unread is the error of a question about everything that the identity holds, where not everything could be read; nil where it could.
func (h holdings) unread() error {
	if len(h.partial) == 0 {
		return nil
	}
	return &Unanswered{Owner: "rbac_assignments_list", Err: &fault.Error{
		Code: fault.Forbidden, Op: "read the role assignments of " + places(h.partial) + " as a whole: you may not",
		Hint: "ask somebody who may read there (Reader on the subscription is enough) to run the preflight",
	}}
}

// through says by which group an assignment comes, with the group's name where the directory told it; "" for the identity's own.
func (a *Ask) through(h holdings, as agent.Assignment) string {
	if !h.Through(as) {
		return ""
	}
	name := as.PrincipalID
	if m, err := get(a.unheard(), &a.run.memberships); err == nil {
		for _, g := range m.Groups {
			if strings.EqualFold(g.ID, as.PrincipalID) && g.Name != "" {
				name = g.Name + " (" + g.ID + ")"
			}
		}
	}
	return ", through group " + name
}

// told is an assignment as a finding names it.
func (a *Ask) told(h holdings, as agent.Assignment, name string) string {
	text := cmp.Or(name, as.Role, as.RoleID) + " on " + role.Short(as.Scope) + a.through(h, as)
	if as.Condition != "" {
		text += ", under a condition"
	}
	return text
}

// judged is an assignment with what its role does; err says why that could not be read.
type judged struct {
	agent.Assignment
	does role.Definition
	err  error
}

// judged are all assignments that reach the identity, with what their roles do. A role that the catalogue lacks is read, so that a custom
// role is judged by what it does.
func (a *Ask) judged() (holdings, []judged, error) {
	h, err := a.holdings()
	if err != nil {
		return h, nil, err
	}
	all, err := get(a, &a.run.judged)
	return h, all, err
}

func judge(ctx context.Context, a *Ask) ([]judged, error) {
	h, err := get(a.unheard(), &a.run.holdings)
	if err != nil {
		return nil, err
	}
	return defined(ctx, a, h.Assignments), nil
}

// defined adds to each assignment what its role does. A role that the catalogue lacks is read once.
func defined(ctx context.Context, a *Ask, held []agent.Assignment) []judged {
	type definition struct {
		once sync.Once
		role.Definition
		err error
	}
	custom := map[string]*definition{}
	all := make([]judged, len(held))
	var reading sync.WaitGroup
	for i, as := range held {
		all[i].Assignment = as
		if d, known := a.run.p.Roles.Find(as.RoleID); known {
			all[i].does = d
			continue
		}
		id := strings.ToLower(as.RoleID)
		if custom[id] == nil {
			custom[id] = &definition{}
		}
		d := custom[id]
		reading.Go(func() {
			d.once.Do(func() {
				d.Definition, d.err = patiently(ctx, "role "+id, func(ctx context.Context) (role.Definition, error) {
					return a.run.p.ARM.RoleDefinition(ctx, definedAt(a.Spec, as), id)
				})
			})
			all[i].does, all[i].err = d.Definition, d.err
		})
	}
	reading.Wait()
	return all
}

// definedAt is where a role is read: in the group or subscription of its assignment, or in the spec's subscription for one above those.
func definedAt(s agent.Spec, as agent.Assignment) string {
	at, err := role.ParseScope(as.Scope)
	switch {
	case err != nil || at.SubscriptionID == "":
		return "/subscriptions/" + s.Subscription
	case at.Group != "":
		return role.GroupScope(at.SubscriptionID, at.Group)
	}
	return "/subscriptions/" + at.SubscriptionID
}

// undefined are the assignments whose role could not be read, and the first reason.
func undefined(all []judged) (roles []string, why error) {
	for _, j := range all {
		if j.err != nil {
			roles = append(roles, fmt.Sprintf("role %s on %s", j.RoleID, role.Short(j.Scope)))
			if why == nil {
				why = j.err
			}
		}
	}
	return roles, why
}

// unjudged is the error of a question about what the roles do, where one of them could not be read; nil where all could.
func unjudged(all []judged) error {
	roles, why := undefined(all)
	if why == nil {
		return nil
	}
	return &Unanswered{Owner: "rbac_no_elevated", Err: fmt.Errorf("what %s allows could not be read: %w", strings.Join(roles, ", "), why)}
}

// patiently repeats a read of several that one lookup makes: a failure of one is no failure of the others.
func patiently[T any](ctx context.Context, what string, read func(context.Context) (T, error)) (T, error) {
	var got T
	err := job.Wait(ctx, job.Probe{What: what, Deadline: patience, Try: func(ctx context.Context) (err error) {
		got, err = read(ctx)
		return err
	}})
	return got, err
}

// reasons are why a role is elevated, or what it reads: the first two, which is enough to see it, and how many more. The whole list of a role
// with * would bury the assignment's name.
func reasons(all []string) string {
	if len(all) <= 2 {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(all[:2], ", "), len(all)-2)
}

// places are scopes as a person reads them.
func places(scopes []string) string {
	short := make([]string, len(scopes))
	for i, s := range scopes {
		short[i] = role.Short(s)
	}
	return cmp.Or(strings.Join(short, ", "), "nowhere")
}

// noOwnToken says why the identity cannot be asked itself, from here.
func noOwnToken(s Subject) string {
	switch {
	case s.Agent.Kind == agent.ManagedIdentity:
		return "a managed identity gets tokens only on the resource that it is assigned to, so it cannot be asked from here"
	case len(s.Agent.Federated) > 0:
		return "the identity has no key here: its tokens come from the issuer that it is federated with"
	}
	return ""
}

// loggedIn waits for the identity's token, which every question by the identity itself needs.
func (a *Ask) loggedIn() error {
	if _, err := a.recorded(); err != nil {
		return err
	}
	_, err := get(a.unheard(), &a.run.login)
	return err
}

// first is the error that decides where several questions failed: one of another lookup before one of this.
func first(errs ...error) error {
	var u *Unanswered
	for _, err := range errs {
		if errors.As(err, &u) {
			return err
		}
	}
	return cmp.Or(errs...)
}
