package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// planning is making, showing and approving plans.
func (v *version1) planning() {
	op := operation(http.MethodPost, "/plans", "make-plan", "plans", "Make a plan", "Looks at the cloud, decides what would change, and keeps the plan for an hour, to be approved by its digest. Changes nothing. "+
		"With `release`, which needs role apply, an approve token can carry it out.")
	op.Responses = v.fuller(http.StatusForbidden, "The plan must not go on; its blockers say why.", api.BlockedPlan{})
	route(v.api, api.View, op, func(ctx context.Context, in *struct{ Body api.PlanOrder }) (*body[api.KeptPlan], error) {
		return v.makePlan(ctx, in.Body)
	})
	route(v.api, api.View, operation(http.MethodGet, "/plans", "list-plans", "plans", "List the plans that wait for approval", "The newest first."),
		func(context.Context, *struct{}) (*body[[]api.KeptPlan], error) {
			return &body[[]api.KeptPlan]{v.plans.list()}, nil
		})
	route(v.api, api.View, operation(http.MethodGet, "/plans/{digest}", "get-plan", "plans", "Show a plan", ""),
		func(_ context.Context, in *DigestPath) (*body[api.KeptPlan], error) {
			p, err := v.plans.find(in.Digest)
			if err != nil {
				return nil, err
			}
			return &body[api.KeptPlan]{p.KeptPlan}, nil
		})
	route(v.api, api.Full, operation(http.MethodPost, "/plans/{digest}/release", "release-plan", "plans", "Let approve tokens carry a plan out", "A plan that was made is only looked at; this says that it is meant."),
		func(ctx context.Context, in *DigestPath) (*body[api.KeptPlan], error) {
			who, _ := WhoOf(ctx)
			p, err := v.plans.release(in.Digest, who)
			return &body[api.KeptPlan]{p}, err
		})
	drop := operation(http.MethodDelete, "/plans/{digest}", "drop-plan", "plans", "Drop a plan", "It cannot be approved any more. Below role apply only a plan of one's own can be dropped.")
	drop.DefaultStatus = http.StatusNoContent
	route(v.api, api.View, drop, func(ctx context.Context, in *DigestPath) (*struct{}, error) {
		who, _ := WhoOf(ctx)
		return nil, v.plans.drop(in.Digest, who)
	})
	route(v.api, api.Approve, accepted(operation(http.MethodPost, "/plans/{digest}/approve", "approve-plan", "plans", "Approve a plan and carry it out",
		"The cloud is looked at once more: if the plan would now be another one, nothing is changed and the answer is 409. With an approve token only a plan that an apply token has released can be approved. "+
			"A plan is carried out once; one that stopped midway is continued by approving it again.")),
		func(ctx context.Context, in *struct {
			DigestPath
			Body *api.Approval
		}) (*jobAnswer, error) {
			confirm := ""
			if in.Body != nil {
				confirm = in.Body.Confirm
			}
			return answerJob(v.approve(ctx, in.Digest, confirm))
		})
}

type DigestPath struct {
	Digest string `path:"digest" doc:"At least the first 12 hex digits of the plan's digest." minLength:"12" maxLength:"64" pattern:"^[0-9a-fA-F]+$" example:"3f9a4c0d21b7e856"`
}

// makePlan plans as the caller and keeps the plan.
func (v *version1) makePlan(ctx context.Context, o api.PlanOrder) (*body[api.KeptPlan], error) {
	who, _ := WhoOf(ctx)
	if !slices.Contains(o.Verbs(), o.Verb) {
		return nil, fault.New(fault.Invalid, "no plans are made for "+string(o.Verb)+" here", "apply, rotate, revoke, migrate or fix-roles")
	}
	if o.Release {
		if err := may(ctx, api.Full); err != nil {
			v.tried(ctx, o.Agent, err)
			return nil, err
		}
	}
	d, err := overlap(o.Overlap)
	if err != nil {
		return nil, err
	}
	return ask(ctx, v.Server, func(door Door) (api.KeptPlan, error) {
		req := api.PlanRequest{Agent: o.Agent, Verb: o.Verb, CreateBeside: o.CreateBeside, RemoveForeign: o.RemoveForeign, Purge: o.Purge, AllAssigned: o.AllAssigned, Overlap: d}
		ans, err := lookAhead(ctx, door, req)
		if err != nil {
			return api.KeptPlan{}, blockedBy(ans, err)
		}
		req.Agent = ans.Plan.Agent
		return v.plans.keep(who, req, ans, o.Release), nil
	})
}

// lookAhead plans. A migration's plan is what its dry run shows.
func lookAhead(ctx context.Context, d Door, r api.PlanRequest) (api.PlanAnswer, error) {
	if r.Verb != agent.Migrate {
		return d.Plan(ctx, r)
	}
	rep, err := d.Migrate(ctx, api.ApplyRequest{PlanRequest: r, DryRun: true}, func(api.Event) {})
	if err != nil {
		return api.PlanAnswer{}, err
	}
	who, err := d.Caller(ctx)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	ans := api.PlanAnswer{Digest: rep.Digest, As: who, Adopts: rep.Adopts}
	if rep.Plan != nil {
		ans.Plan, ans.Digest = *rep.Plan, rep.Plan.Digest()
	}
	return ans, nil
}

func blockedBy(ans api.PlanAnswer, err error) error {
	if len(ans.Plan.Blockers) == 0 || ans.Plan.Spec == nil {
		return err
	}
	p := problemOf(err)
	return &fullerError{p, api.BlockedPlan{Problem: p, Plan: &ans}, err}
}

// fullerError is an error that comes with an answer: its body is the problem with one member more (RFC 9457, section 3.2).
type fullerError struct {
	problem api.Problem
	body    any
	cause   error
}

func (e *fullerError) Error() string                { return e.problem.Detail }
func (e *fullerError) Unwrap() error                { return e.cause }
func (e *fullerError) GetStatus() int               { return e.problem.Status }
func (*fullerError) ContentType(string) string      { return problemType }
func (e *fullerError) MarshalJSON() ([]byte, error) { return json.Marshal(e.body) }

// fuller is the answer of a status whose problem has a member more.
func (v *version1) fuller(status int, description string, body any) map[string]*huma.Response {
	return map[string]*huma.Response{strconv.Itoa(status): {Description: description, Content: map[string]*huma.MediaType{
		problemType: {Schema: v.api.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(body), true, "")}}}}
}

// approve carries a kept plan out as the caller.
func (v *version1) approve(ctx context.Context, digest, confirm string) (api.Job, error) {
	who, _ := WhoOf(ctx)
	p, err := v.plans.find(digest)
	switch {
	case err != nil:
		return api.Job{}, err
	case p.Done:
		return api.Job{}, fault.New(fault.Conflict, "plan "+api.ShortDigest(p.Digest)+" was carried out already", "make another one at "+v1+"/plans")
	case who.Level != api.Full && p.Release == "":
		err := fault.New(fault.Forbidden, "plan "+api.ShortDigest(p.Digest)+" was not released", "with an approve token only a plan that an apply token has released can be approved: POST "+v1+"/plans/{digest}/release")
		v.tried(ctx, p.request.Agent, err)
		return api.Job{}, err
	}
	if err := confirmed(p.request.Verb, p.request.Agent, confirm); err != nil {
		return api.Job{}, err
	}
	return v.desk.begin(ctx, assignment{agent: p.request.Agent, verb: string(p.request.Verb), pin: p.Digest,
		do: func(ctx context.Context, d Door, approved func(), events func(api.Event)) (any, error) {
			rep, err := carryOut(ctx, d, api.ApplyRequest{PlanRequest: p.request, Digest: p.Digest, Approve: consent(approved)}, events)
			if err == nil {
				v.plans.done(p.Digest)
			}
			return rep, err
		}})
}

// confirmed refuses a revoke without the agent's name: what it ends is running.
func confirmed(verb agent.Verb, name, confirm string) error {
	if verb == agent.Revoke && confirm != name {
		return fault.New(fault.Invalid, "a revoke ends something that runs", `send "confirm": "`+name+`"`)
	}
	return nil
}

// carryOut does what the request's verb says.
func carryOut(ctx context.Context, d Door, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	switch r.Verb {
	case agent.Rotate:
		return d.Rotate(ctx, r, events)
	case agent.Revoke:
		return d.Revoke(ctx, r, events)
	case agent.Migrate:
		return d.Migrate(ctx, r, events)
	case agent.FixRoles:
		return d.FixRoles(ctx, api.FixRequest{Agent: r.Agent, Digest: r.Digest, Approve: r.Approve}, events)
	}
	return d.Apply(ctx, r, events)
}

// The bounds of the plans that are kept.
const (
	planLife  = time.Hour
	keptPlans = 100
)

// planBook keeps plans for approval, in memory: a plan is cheap to make anew, and what was approved is in the journal.
type planBook struct {
	now func() time.Time

	mu    sync.Mutex
	plans []bookedPlan // oldest first
}

type bookedPlan struct {
	api.KeptPlan
	request api.PlanRequest
}

func newPlanBook(now func() time.Time) *planBook { return &planBook{now: now} }

// keep keeps the plan; one of the same digest is made anew, keeps the higher level of the two that made it, and stays released. An open run of the
// same verb can be approved by its own digest too: that continues it.
func (b *planBook) keep(who Who, r api.PlanRequest, ans api.PlanAnswer, release bool) api.KeptPlan {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	if open := ans.Open; open != nil && open.Verb == r.Verb && open.Digest != ans.Digest {
		b.put(who, r, api.PlanAnswer{Plan: open.Plan, Digest: open.Digest, As: ans.As, Open: open}, release)
	}
	return b.put(who, r, ans, release).KeptPlan
}

func (b *planBook) put(who Who, r api.PlanRequest, ans api.PlanAnswer, release bool) bookedPlan {
	now := b.now().UTC()
	p := bookedPlan{request: r, KeptPlan: api.KeptPlan{PlanAnswer: ans, Consent: ans.Consent(), Made: now, Expires: now.Add(planLife), By: who.Actor(), Level: who.Level}}
	if release {
		p.Release = p.By
	}
	if i := b.index(ans.Digest); i >= 0 {
		old := b.plans[i]
		if !old.Done && (old.Release != "" && !release || old.Level.Includes(who.Level) && old.Level != who.Level) {
			p.By, p.Level, p.Release, p.Made, p.Expires = old.By, old.Level, old.Release, old.Made, old.Expires
			p.request = old.request // what was released is what was asked for then
		}
		b.plans = slices.Delete(b.plans, i, i+1)
	}
	b.plans = append(b.plans, p)
	if len(b.plans) > keptPlans {
		// A token that may only look must not be able to push out what waits for approval.
		old := b.plans[:len(b.plans)-1]
		i := slices.IndexFunc(old, func(p bookedPlan) bool { return p.Level != api.Full })
		if i < 0 {
			i = max(slices.IndexFunc(old, func(p bookedPlan) bool { return p.Release == "" }), 0)
		}
		b.plans = slices.Delete(b.plans, i, i+1)
	}
	return p
}

func (b *planBook) expire() {
	now := b.now()
	b.plans = slices.DeleteFunc(b.plans, func(p bookedPlan) bool { return !now.Before(p.Expires) })
}

func (b *planBook) index(digest string) int {
	return slices.IndexFunc(b.plans, func(p bookedPlan) bool { return strings.EqualFold(p.Digest, digest) })
}

// find is the plan that a pin means. fault.NotFound: none, or it has expired.
func (b *planBook) find(pin string) (bookedPlan, error) {
	if err := digits(pin); err != nil {
		return bookedPlan{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pinned(pin)
}

// pinned is find; the caller holds the lock.
func (b *planBook) pinned(pin string) (bookedPlan, error) {
	b.expire()
	var found []bookedPlan
	for _, p := range b.plans {
		if api.Pins(pin, p.Digest) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return bookedPlan{}, fault.New(fault.NotFound, "no plan "+strings.ToLower(api.ShortDigest(pin))+" waits here", "a plan waits for an hour; make it anew at "+v1+"/plans")
	case 1:
		return found[0], nil
	}
	return bookedPlan{}, fault.New(fault.Conflict, "several plans begin with "+strings.ToLower(pin), "send the whole digest")
}

// release lets approve tokens carry the plan out.
func (b *planBook) release(pin string, who Who) (api.KeptPlan, error) {
	if err := digits(pin); err != nil {
		return api.KeptPlan{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.pinned(pin)
	switch {
	case err != nil:
		return api.KeptPlan{}, err
	case p.Done:
		return api.KeptPlan{}, fault.New(fault.Conflict, "plan "+api.ShortDigest(p.Digest)+" was carried out already", "make another one at "+v1+"/plans")
	}
	p.Release = who.Actor()
	b.plans[b.index(p.Digest)] = p
	return p.KeptPlan, nil
}

// drop forgets the plan.
func (b *planBook) drop(pin string, who Who) error {
	if err := digits(pin); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.pinned(pin)
	switch {
	case err != nil:
		return err
	case who.Level != api.Full && (p.By != who.Actor() || p.Release != ""):
		return fault.New(fault.Forbidden, "plan "+api.ShortDigest(p.Digest)+" is of "+p.By, "a token of role apply can drop it")
	}
	i := b.index(p.Digest)
	b.plans = slices.Delete(b.plans, i, i+1)
	return nil
}

func (b *planBook) list() []api.KeptPlan {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire()
	all := []api.KeptPlan{}
	for _, p := range slices.Backward(b.plans) {
		all = append(all, p.KeptPlan)
	}
	return all
}

func (b *planBook) done(digest string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.index(digest); i >= 0 {
		b.plans[i].Done = true
	}
}
