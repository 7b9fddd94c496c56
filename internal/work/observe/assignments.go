package observe

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Lister is the part of Azure Resource Manager that a list of role assignments needs.
type Lister interface {
	Assignments(ctx context.Context, scope, principalID string) ([]agent.Assignment, error)
}

// Held is what a principal was seen to hold, and where that was looked for.
type Held struct {
	Assignments []agent.Assignment
	Readable    []string // scopes that were read
	Unread      []string // scopes of recorded assignments that could not be read
}

// and is what two readings have seen together. What one of them could not read is unread.
func (h Held) and(other Held) Held {
	h.Assignments = append(slices.Clone(h.Assignments), slices.DeleteFunc(slices.Clone(other.Assignments), func(a agent.Assignment) bool {
		return slices.ContainsFunc(h.Assignments, func(b agent.Assignment) bool { return strings.EqualFold(a.ID, b.ID) })
	})...)
	union := func(a, b []string) []string {
		all := append(slices.Clone(a), b...)
		slices.Sort(all)
		return slices.Compact(all)
	}
	h.Readable, h.Unread = union(h.Readable, other.Readable), union(h.Unread, other.Unread)
	return h
}

// Assignments lists every role assignment of a principal of which nothing is recorded, and where it could look.
func Assignments(ctx context.Context, arm Lister, roles role.Catalogue, s agent.Spec, a *agent.Agent, principal string) ([]agent.Assignment, []string, error) {
	held, err := HeldBy(ctx, arm, roles, s, a, agent.Record{}, principal)
	return held.Assignments, held.Readable, err
}

// HeldBy lists every role assignment of the principal that can be read: in each subscription that the spec or the record touches, or,
// where the caller may not list a whole subscription, at the scopes of spec and record in it. A place that only the record knows, because
// the spec has dropped it, is read as well: what we have assigned there is still there.
//
// A scope that the caller may not read is an error, unless something is recorded there: then it is unread, and the plan decides what to do
// about what nobody can see.
func HeldBy(ctx context.Context, arm Lister, roles role.Catalogue, s agent.Spec, a *agent.Agent, rec agent.Record, principal string) (Held, error) {
	l := &lister{arm: arm, roles: roles, principal: principal, recorded: map[string]bool{}, seen: map[string]bool{}}
	places := l.places(s, a, rec)
	var g Group
	for sub, inside := range places {
		g.Do(func() error { return l.subscription(ctx, sub, inside) })
	}
	err := g.Wait()
	slices.Sort(l.held.Readable)
	slices.Sort(l.held.Unread)
	return l.held, err
}

type lister struct {
	arm       Lister
	roles     role.Catalogue
	principal string
	recorded  map[string]bool // scopes, in lower case

	mu   sync.Mutex
	held Held
	seen map[string]bool // assignment ids
}

// places are the scopes to look at, by the subscription that they lie in; each once.
func (l *lister) places(s agent.Spec, a *agent.Agent, rec agent.Record) map[string][]string {
	places, known := map[string][]string{}, map[string]bool{}
	spelt := map[string]string{} // subscription in lower case, as it was first written
	add := func(scope string) {
		scope = strings.TrimRight(scope, "/")
		sc, err := role.ParseScope(scope)
		if err != nil || sc.SubscriptionID == "" {
			return
		}
		sub := "/subscriptions/" + sc.SubscriptionID
		if spelt[strings.ToLower(sub)] == "" {
			spelt[strings.ToLower(sub)] = sub
		}
		sub = spelt[strings.ToLower(sub)]
		if !known[strings.ToLower(scope)] {
			known[strings.ToLower(scope)] = true
			places[sub] = append(places[sub], scope)
		}
	}
	if s.Subscription != "" {
		add("/subscriptions/" + s.Subscription)
		if s.ResourceGroup != "" {
			add(s.Group())
		}
	}
	for _, g := range s.Grants(a, l.roles) {
		add(g.Scope)
	}
	for _, r := range rec.Assignments {
		add(r.Scope)
		l.recorded[strings.ToLower(strings.TrimRight(r.Scope, "/"))] = true
	}
	return places
}

func (l *lister) subscription(ctx context.Context, sub string, inside []string) error {
	err := l.list(ctx, sub)
	if !fault.Is(err, fault.Forbidden, fault.NotFound) {
		return err
	}
	for _, scope := range inside {
		if len(inside) > 1 && strings.EqualFold(scope, sub) && !l.recorded[strings.ToLower(sub)] {
			continue // what lies in it is read instead
		}
		err := err
		if !strings.EqualFold(scope, sub) {
			err = l.list(ctx, scope)
		}
		switch {
		case err == nil:
		case l.recorded[strings.ToLower(scope)] && fault.Is(err, fault.Forbidden, fault.NotFound):
			l.unread(scope)
		default:
			return err
		}
	}
	return nil
}

func (l *lister) unread(scope string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held.Unread = append(l.held.Unread, scope)
}

func (l *lister) list(ctx context.Context, scope string) error {
	found, err := job.Retry(ctx, "the role assignments at "+scope, func(ctx context.Context) ([]agent.Assignment, error) {
		return l.arm.Assignments(ctx, scope, l.principal)
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held.Readable = append(l.held.Readable, scope)
	for _, as := range found {
		if as.Role == "" {
			as.Role = l.roles.Name(as.RoleID)
		}
		if id := strings.ToLower(as.ID); !l.seen[id] {
			l.seen[id] = true
			l.held.Assignments = append(l.held.Assignments, as)
		}
	}
	return nil
}
