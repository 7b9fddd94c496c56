package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/provision"
)

// Apply makes the identity as the spec says. Under the agent's lock it first ends what an earlier process left open: a run of the same
// spec is continued under the approval it has, one of another spec is brought to rest before a new plan takes over.
func (d *Door) Apply(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	r.Verb = agent.Apply
	return d.change(ctx, r, events)
}

// Revoke takes the identity away.
func (d *Door) Revoke(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	r.Verb = agent.Revoke
	return d.change(ctx, r, events)
}

// Rotate replaces the agent's key: a new one is registered and proved, then the old one goes, or stays until its overlap ends. While the old
// certificate is valid the identity does it with its own right, and then it needs no operator ([api.NoOperator]). A rotation that stopped
// midway is continued with the overlap that it began with.
func (d *Door) Rotate(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	r.Verb = agent.Rotate
	return d.change(ctx, r, events)
}

// change is one apply, migrate, rotate or revoke.
type change struct {
	*Door
	agent    *agent.Agent
	req      api.ApplyRequest
	events   func(api.Event)
	who      api.Caller
	began    time.Time
	requests int
	report   api.Report
	seen     agent.Observed    // what the plan rests on
	others   bool              // a rest is applied whose agent is not recorded here
	adopted  func(string) bool // of an adoption: whether the assignment of that name is held; nil for every other change
	removed  bool              // a run that was stopped was to remove credentials, and may have done it
	own      *agent.Spec       // the spec in force here, where a plan file brings its own; nil if there is none
}

func (d *Door) change(ctx context.Context, r api.ApplyRequest, events func(api.Event)) (api.Report, error) {
	own := *d
	own.c.Provision = d.c.Provision.Clone() // what is set for this change is no business of one beside it
	c := &change{Door: &own, req: r, events: events, began: time.Now(), requests: d.c.Requests()}
	a, err := c.subject(ctx)
	if err != nil {
		asked := r.Agent
		if r.Plan != nil {
			asked = r.Plan.Agent
		}
		return api.Report{}, d.enter(ctx, string(r.Verb), asked, "", err)
	}
	c.agent = a
	c.report = api.Report{Agent: a.Name, Kind: a.Kind, Cloud: d.c.Where.Cloud, TenantID: d.c.Where.TenantID}
	unlock, err := d.c.Lock(ctx, a.Name, func(holder string) {
		c.tell(api.Event{At: time.Now(), Agent: a.Name, Status: api.Waiting, Detail: "waiting for " + holder})
	})
	if err != nil {
		return c.report, err
	}
	err = c.underLock(ctx)
	if e := unlock(); err == nil {
		err = e
	}
	return c.finish(ctx, err)
}

func (c *change) tell(e api.Event) {
	if c.events != nil {
		c.events(e)
	}
}

// subject is the agent of the request: of the plan's own spec where a plan file is applied.
func (c *change) subject(ctx context.Context) (*agent.Agent, error) {
	p := c.req.Plan
	if p == nil {
		a, err := c.named(c.req.Agent)
		if err == nil || c.req.Verb != agent.Revoke {
			return a, err
		}
		return c.recordedAgent(ctx, err)
	}
	w := c.c.Where
	switch {
	case p.Version != 1 || p.Spec == nil || p.Spec.Agents[p.Agent] == nil:
		return nil, fault.New(fault.Invalid, "this is not a plan of this version of leastkey", "make it anew: leastkey plan --out FILE")
	case p.Cloud != w.Cloud || p.Instance != w.Instance || !strings.EqualFold(p.Tenant, w.TenantID):
		return nil, fault.New(fault.Refused, fmt.Sprintf("the plan is for cloud %s, tenant %s; this is cloud %s, tenant %s", p.Cloud, p.Tenant, w.Cloud, w.TenantID), "use --cloud and --tenant, or the leastkey.yaml that it was made from")
	}
	if err := p.Sound(); err != nil {
		return nil, &fault.Error{Code: fault.Refused, Err: err, Hint: "make the plan anew"}
	}
	if bad := p.Spec.Validate(c.c.Roles); len(bad) > 0 {
		return nil, fault.New(fault.Refused, "the plan's spec is not valid: "+bad[0].Field+": "+bad[0].Message, "make the plan anew")
	}
	if c.c.SpecError == nil {
		own := c.c.Spec
		c.own = &own
	}
	door := *c.Door
	door.c.Spec, door.c.SpecError = *p.Spec, nil
	c.Door = &door
	c.req.Verb = p.Verb
	a := p.Spec.Agents[p.Agent]
	a.Name = p.Agent
	return a, nil
}

// recordedAgent lets a revoke work where there is no spec, or one that no longer has the agent: what is recorded is enough to take it
// away. unspecified is the error where it is not recorded either.
func (c *change) recordedAgent(ctx context.Context, unspecified error) (*agent.Agent, error) {
	name, err := c.recordedName(ctx, c.req.Agent)
	if err != nil {
		return nil, err
	}
	rec, err := c.record(ctx, name)
	if err != nil {
		return nil, err
	}
	open, err := c.c.Journal.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if c.c.SpecError == nil && open == nil && !rec.Provisioned() && len(rec.Generations) == 0 {
		return nil, unspecified
	}
	a := &agent.Agent{Name: name, Kind: rec.Kind}
	door := *c.Door
	door.c.Spec = agent.Spec{Cloud: c.c.Where.Cloud, Tenant: c.c.Where.TenantID, Subscription: rec.Subscription, Agents: map[string]*agent.Agent{name: a}}
	door.c.SpecError = nil
	c.Door = &door
	return a, nil
}

func (c *change) underLock(ctx context.Context) error {
	if err := c.identify(ctx); err != nil {
		return c.enter(ctx, string(c.req.Verb), c.agent.Name, "", err)
	}
	c.c.Provision.Operator, c.c.Provision.Issued = c.who.ObjectID, c.req.Issued
	if c.req.DryRun {
		return c.dryRun(ctx)
	}
	done, err := c.resume(ctx)
	if err != nil || done {
		return err
	}
	if len(c.req.Issued) > 0 {
		return c.refuse(ctx, "", fault.New(fault.Usage, "no rotation of "+c.agent.Name+" waits for a certificate", "rotate without --certificate first: where a policy demands an authority's, it stops once the key is made"))
	}
	plan, err := c.plan(ctx)
	if err != nil {
		return err
	}
	if err := c.learn(ctx); err != nil {
		return err
	}
	c.report.Digest, c.report.Findings = plan.Digest(), plan.Findings
	if slices.ContainsFunc(plan.Steps, func(s agent.Step) bool { return s.Action == agent.MintKey }) {
		if err := c.c.Provision.CheckKeystore(ctx, c.c.Where.TenantID, c.agent.Name); err != nil {
			return c.enter(ctx, string(c.req.Verb), c.agent.Name, plan.Digest(), err)
		}
	}
	if err := c.approve(ctx, plan); err != nil {
		return err
	}
	if plan.Empty() {
		return c.nothing(ctx, plan)
	}
	return c.run(ctx, agent.Run{ID: newID(), Agent: c.agent.Name, Verb: plan.Verb, Digest: plan.Digest(), Actor: c.c.Actor, Plan: plan, Started: time.Now().UTC(), Status: agent.RunOpen}, true)
}

// identify finds out who acts. A rotation may go without an operator; nothing else may.
func (c *change) identify(ctx context.Context) (err error) {
	if c.alone() {
		if c.req.Verb != agent.Rotate {
			return fault.New(fault.Refused, "only a rotation goes without an operator", "name one: --operator az")
		}
		c.who = api.Caller{Operator: api.NoOperator, Name: "the identity itself", TenantID: c.c.Where.TenantID}
		return nil
	}
	c.who, err = c.Caller(ctx)
	return err
}

// learn records the key ids that were seen of certificates of ours: the answer that named one may have been lost, and without an operator
// nobody could read it.
func (c *change) learn(ctx context.Context) error {
	app := c.seen.Application
	if app == nil || !slices.ContainsFunc(c.seen.Record.Generations, func(g agent.Generation) bool { return g.KeyID == "" }) {
		return nil
	}
	return c.c.State.Update(ctx, c.agent.Name, func(rec *agent.Record) error {
		for i := range rec.Generations {
			g := &rec.Generations[i]
			at := slices.IndexFunc(app.Certificates, func(have agent.Certificate) bool { return strings.EqualFold(have.SHA256, g.SHA256) })
			if g.KeyID == "" && at >= 0 {
				g.KeyID = app.Certificates[at].KeyID
			}
		}
		return nil
	})
}

// resume ends an open run. It answers true where that was all that was asked.
func (c *change) resume(ctx context.Context) (bool, error) {
	open, err := c.c.Journal.Open(ctx, c.agent.Name)
	if err != nil || open == nil {
		return false, err
	}
	c.removed = len(removals(open.Plan)) > 0
	name, w := c.agent.Name, c.c.Where
	switch {
	case open.Plan.Instance != w.Instance || !strings.EqualFold(open.Plan.Tenant, w.TenantID):
		return true, c.refuse(ctx, open.Digest, fault.New(fault.Refused, "a run of "+name+" stopped midway on another cloud: "+cmp.Or(open.Plan.Instance, open.Plan.Tenant), "go on there; or, for a local cloud, leastkey cloud reset forgets both"))
	case c.first(open.Verb):
		return true, c.refuse(ctx, open.Digest, fault.New(fault.Stopped, open.Verb.Article()+" of "+name+" stopped midway", "finish it first: "+open.Command()))
	case open.Verb == c.req.Verb && !c.req.Pinned(open.Digest):
		return true, c.refuse(ctx, open.Digest, fault.New(fault.Conflict, "a run of another plan stopped midway: "+api.ShortDigest(open.Digest),
			"finish it first: "+open.Command()+" --digest "+api.ShortDigest(open.Digest)))
	}
	same := open.Verb == c.req.Verb && c.sameSpec(*open, c.agent) && c.req.Only == "" && c.sameWish(open.Plan)
	if c.req.Plan != nil {
		same = open.Digest == c.req.Plan.Digest()
	}
	if !same && !c.forgotten(ctx, *open) {
		return false, c.settle(ctx, *open)
	}
	if err := c.enter(ctx, string(open.Verb)+" (continued)", name, open.Digest, nil); err != nil {
		return true, err
	}
	c.report.Digest, c.report.Findings = open.Digest, open.Plan.Findings
	switch err := c.run(ctx, *open, false); {
	case err != nil && c.req.Verb != agent.Revoke && (outdated(err) || c.otherwise(err) || (!c.alone() && unproven(err))):
		// What the run made or relied on has gone meanwhile. The next plan sees what there is, and needs an approval of its own.
		c.report.Steps, c.report.Findings = nil, nil
		return false, c.settle(ctx, *open)
	case err != nil:
		return true, err
	}
	if id := open.Plan.Facts[agent.FactResource]; id != "" && open.Verb == agent.Revoke && c.req.Purge && !c.sameWish(open.Plan) {
		return true, fault.New(fault.Refused, "the revoke is finished, and the managed identity that was adopted is left: "+id, "delete it: az identity delete --ids "+id)
	}
	if open.Verb == agent.Revoke && c.req.Purge && !c.sameWish(open.Plan) {
		return true, fault.New(fault.Refused, "the revoke is finished, and its application lies in the recycle bin: "+open.Plan.Facts[agent.FactApplication],
			"purge it: az rest --method delete --url …/v1.0/directory/deletedItems/"+open.Plan.Facts[agent.FactApplication])
	}
	// What has changed since the plan was made is for the next pass, with an approval of its own: a pinned plan has none for it.
	// A rotation has rotated: a second pass would rotate once more.
	return c.req.Verb != agent.Apply || c.req.Plan != nil || c.req.Digest != "", nil
}

// first tells whether an open run has to be finished before what is asked now. An apply takes a rotation and a repair of roles over, and a
// revoke everything. A repair of roles takes nothing over: it knows too little of the identity.
func (c *change) first(open agent.Verb) bool {
	switch asked := c.req.Verb; {
	case open == asked, asked == agent.Revoke:
		return false
	case open == agent.Revoke, open == agent.Migrate, asked == agent.Migrate, asked == agent.FixRoles:
		return true
	default:
		return open == agent.Apply && asked == agent.Rotate
	}
}

// outdated tells whether a continued run stopped because the world has changed under it, and not because somebody may not or cannot.
func outdated(err error) bool {
	stopped, ok := errors.AsType[*fault.Error](err)
	if ok && stopped.Code == fault.Stopped {
		return fault.Is(stopped.Err, fault.NotYet, fault.NotFound, fault.Conflict)
	}
	return fault.Is(err, fault.Conflict) // before anything of it was done: what it would have made is somebody else's now
}

// otherwise tells whether the application that a migration was approved for is not as it was shown: then nothing of it has begun.
func (c *change) otherwise(err error) bool {
	return c.req.Verb == agent.Migrate && fault.Is(err, fault.Conflict, fault.NotFound, fault.NotYet)
}

// unproven tells whether the identity's own right was not enough: its certificate has gone, so that it proves nothing any more. With an
// operator the next plan goes another way.
func unproven(err error) bool {
	return slices.Contains([]string{"AADSTS700027", "Authentication_Unauthorized"}, fault.Service(err))
}

// forgotten tells whether an open revoke has come so far that only its journal knows what it was about.
func (c *change) forgotten(ctx context.Context, open agent.Run) bool {
	rec, err := c.c.State.Agent(ctx, c.agent.Name)
	return err == nil && open.Verb == agent.Revoke && rec.Blank()
}

// settle brings an open run to rest, so that another plan can take over.
func (c *change) settle(ctx context.Context, open agent.Run) error {
	if err := c.enter(ctx, "settle", c.agent.Name, open.Digest, nil); err != nil {
		return err
	}
	c.tell(api.Event{At: time.Now(), Agent: c.agent.Name, Status: api.Waiting, Detail: "bringing the run that was stopped to rest"})
	r := c.runner()
	r.Deadline = c.patience()
	err := r.Settle(ctx, open, c.req.Verb == agent.Revoke)
	switch {
	case fault.Is(err, fault.Corrupt):
		return err
	case err != nil:
		return &fault.Error{Code: fault.Stopped, Op: "an earlier run is still open", Err: err, Hint: fault.Hint(err)}
	}
	return c.c.Journal.Finish(ctx, open.ID, agent.RunSuperseded)
}

// patience is how long a run that goes on waits for what should have arrived long ago.
func (c *change) patience() time.Duration {
	return min(job.DefaultDeadline, max(4*c.c.Provision.Settle, time.Minute))
}

// refuse writes a refusal into the ledger and returns it.
func (c *change) refuse(ctx context.Context, detail string, refusal error) error {
	return c.enter(ctx, string(c.req.Verb), c.agent.Name, detail, refusal)
}

// sameWish tells whether the flags ask for what the open plan does.
func (c *change) sameWish(p agent.Plan) bool {
	switch c.req.Verb {
	case agent.Migrate:
		l, _, err := c.legacy()
		return err == nil && strings.EqualFold(l.AppID, p.Facts[agent.FactAppID])
	case agent.Revoke:
	default:
		return true
	}
	return (c.req.Purge == p.Purges() || (c.req.Purge && !p.Leaves())) && c.req.AllAssigned == p.AllAssigned
}

// plan decides, or takes the approved plan if the world still calls for it.
func (c *change) plan(ctx context.Context) (agent.Plan, error) {
	pinned := c.req.Plan
	ask := c.req.PlanRequest
	if pinned != nil {
		if c.isRest(*pinned) {
			return *pinned, c.checkRest(ctx, *pinned)
		}
		ask.CreateBeside, ask.RemoveForeign = pinned.CreateBeside, removals(*pinned)
		ask.Purge = pinned.Purges()
		ask.AllAssigned = pinned.AllAssigned
	}
	var plan agent.Plan
	var err error
	if c.req.Verb == agent.Migrate {
		plan, c.seen, err = c.preparation(ctx)
	} else {
		plan, c.seen, err = c.decide(ctx, c.agent, ask, c.req.Only)
	}
	if err == nil && pinned == nil && !c.removed {
		err = unmatched(plan)
	}
	if err != nil {
		return plan, c.enter(ctx, string(c.req.Verb), c.agent.Name, "", err)
	}
	if err := blocked(plan.Blockers); err != nil {
		c.report.Findings = append(plan.Findings, plan.Blockers...)
		return plan, c.enter(ctx, string(c.req.Verb), c.agent.Name, plan.Digest(), err)
	}
	digest := plan.Digest()
	if (pinned != nil && pinned.Digest() != digest) || !c.req.Pinned(digest) {
		was := "the world no longer matches the approved plan"
		if pinned == nil { // the digits alone do not say what they are of
			was += ", or that was another command's"
		}
		err := fault.New(fault.Conflict, was+": now it would be "+api.ShortDigest(digest), "look at it again: "+c.req.Verb.Shows(c.agent.Name))
		return plan, c.enter(ctx, string(c.req.Verb), c.agent.Name, digest, err)
	}
	if c.req.Only != "" {
		half, rest := plan.Only(c.req.Only)
		if len(half.Steps) == 0 && len(rest.Steps) > 0 {
			err := fault.New(fault.Refused, "nothing of the plan can be done with rights on "+string(c.req.Only)+" alone yet", "the other half comes first")
			return plan, c.enter(ctx, string(c.req.Verb), c.agent.Name, digest, err)
		}
		c.report.Rest = &rest
		return half, nil
	}
	return plan, nil
}

func removals(p agent.Plan) []string {
	var ids []string
	for _, s := range p.Steps {
		switch s.Action {
		case agent.RemoveCertificate, agent.RemovePassword, agent.RemoveFederated:
			ids = append(ids, s.With["key_id"])
		case agent.WriteFederated:
			if id := s.With["replaces"]; id != "" {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// isRest tells whether the plan is the half that another person left: role steps alone, for a principal that is named.
func (c *change) isRest(p agent.Plan) bool {
	return p.Verb == agent.Apply && p.Facts[agent.FactPrincipal] != "" && len(p.Steps) > 0 && !slices.ContainsFunc(p.Steps, func(s agent.Step) bool { return s.Plane != agent.ARM })
}

// restLife is how long a rest may lie around: what it grants was right when it was made.
const restLife = 7 * 24 * time.Hour

// checkRest refuses a rest that is not exactly what its spec asks for: the file has been in other hands, and its titles are what an
// approver reads. Where the agent is recorded, the principal must be the recorded one and the spec in force must still ask for each role.
func (c *change) checkRest(ctx context.Context, p agent.Plan) error {
	err := c.unchanged(ctx, p)
	if err == nil {
		// Who made the other half may not have been able to look.
		var seen agent.Observed
		if seen, err = c.c.Observer.Resources(ctx, *p.Spec, c.agent); err == nil {
			err = blocked(agent.ResourceBlockers(*p.Spec, p.Agent, seen))
		}
	}
	if err == nil && !c.req.Pinned(p.Digest()) {
		err = fault.New(fault.Conflict, "the file's plan is "+api.ShortDigest(p.Digest())+", which is not the one that was approved", "look at it again")
	}
	if err != nil {
		return c.enter(ctx, "apply", c.agent.Name, p.Digest(), err)
	}
	return nil
}

// unchanged makes the rest anew from its spec and compares.
func (c *change) unchanged(ctx context.Context, p agent.Plan) error {
	const again = "make it anew: leastkey apply --only graph --out rest.json"
	if p.Made.IsZero() || time.Since(p.Made) > restLife || time.Until(p.Made) > time.Hour {
		return fault.New(fault.Refused, "the rest is not of the last seven days", again)
	}
	rec, err := c.record(ctx, c.agent.Name)
	if err != nil {
		return err
	}
	c.others = !rec.Provisioned()
	if named := p.Facts[agent.FactPrincipal]; rec.PrincipalID != "" && !strings.EqualFold(rec.PrincipalID, named) {
		return fault.New(fault.Refused, "the plan is for principal "+named+", the recorded one is "+rec.PrincipalID, again)
	}
	if err := c.isOf(ctx, p); err != nil {
		return err
	}
	inForce := c.inForce(rec)
	steps := agent.GrantSteps(*p.Spec, c.agent, c.c.Roles)
	for _, s := range p.Steps {
		i := slices.IndexFunc(steps, func(w agent.Step) bool { return maps.Equal(w.With, s.With) })
		if i < 0 || !asMade(s, steps[i]) || (inForce != nil && !inForce(s)) {
			return fault.New(fault.Refused, "the plan has a step that the spec does not ask for: "+s.Title, again)
		}
	}
	return nil
}

// asMade tells whether a step says no more and no less than the one that we would make.
func asMade(s, ours agent.Step) bool {
	why := s.Why == ours.Why || s.Why == agent.WhyRemoved
	return why && s.Action == ours.Action && s.Plane == ours.Plane && s.Title == ours.Title && !s.Destroys && len(s.After)+len(s.Proof) == 0
}

// isOf asks Graph whether the principal of the file is the application's of the file. Somebody with rights in Azure alone may not be let
// read it; then the approver has the ids to go by.
func (c *change) isOf(ctx context.Context, p agent.Plan) error {
	sp, err := job.Retry(ctx, "the service principal", func(ctx context.Context) (agent.Principal, error) {
		return c.c.Provision.Graph.Principal(ctx, p.Facts[agent.FactAppID])
	})
	switch {
	case fault.Is(err, fault.Forbidden):
		return nil
	case err != nil:
		return err
	case !strings.EqualFold(sp.ID, p.Facts[agent.FactPrincipal]):
		return fault.New(fault.Refused, "the plan's principal "+p.Facts[agent.FactPrincipal]+" is not that of its application "+p.Facts[agent.FactAppID], "make it anew: leastkey apply --only graph --out rest.json")
	}
	return nil
}

// inForce tells whether the spec in force here asks for what a step grants; nil where the agent is not recorded here or there is no spec,
// so that only the file can say.
func (c *change) inForce(rec agent.Record) func(agent.Step) bool {
	if !rec.Provisioned() || c.own == nil || c.own.Agents[c.agent.Name] == nil {
		return nil
	}
	wanted := agent.GrantSteps(*c.own, c.own.Agents[c.agent.Name], c.c.Roles)
	return func(s agent.Step) bool {
		return slices.ContainsFunc(wanted, func(w agent.Step) bool { return maps.Equal(w.With, s.With) })
	}
}

// withoutRemovals leaves the removal of roles out of a rest: on another machine nothing says that they are ours to remove.
func (c *change) withoutRemovals(rest agent.Plan) agent.Plan {
	left := 0
	rest.Steps = slices.DeleteFunc(slices.Clone(rest.Steps), func(s agent.Step) bool {
		if s.Action == agent.RemoveRole {
			left++
			return true
		}
		return false
	})
	if left > 0 {
		c.report.Findings = append(c.report.Findings, finding.Finding{ID: "removals-left", Question: "can the rest remove what is too much?", Outcome: finding.Warn,
			Detail: fmt.Sprintf("%d role assignments are to be removed, which only this machine knows to be the agent's", left), Remedy: "somebody with the rights runs here: leastkey apply " + c.agent.Name + " --only arm"})
	}
	return rest
}

// approve shows the plan, and writes down what was said.
func (c *change) approve(ctx context.Context, plan agent.Plan) error {
	digest := plan.Digest()
	if c.req.Approve != nil && !plan.Empty() {
		yes, err := c.req.Approve(api.PlanAnswer{Plan: plan, Digest: digest, As: c.who, Rest: c.req.Plan != nil && c.isRest(plan), Adopts: c.adopts(plan)})
		if err == nil && !yes {
			err = fault.New(fault.Refused, "not approved: nothing was changed", "")
		}
		if err != nil {
			return c.enter(ctx, string(c.req.Verb), c.agent.Name, digest, err)
		}
	}
	return c.enter(ctx, string(c.req.Verb), c.agent.Name, fmt.Sprintf("plan %s as %s", digest, c.who.Name), nil)
}

func (c *change) runner() *job.Runner {
	var mem job.Memory = c.c.State
	if c.others {
		mem = elsewhere{}
	}
	return &job.Runner{Journal: c.c.Journal, Memory: mem, Handlers: c.c.Provision.Handlers(), Events: c.events}
}

// elsewhere keeps nothing: the roles that a rest assigns belong to the record of whoever made the other half. Kept here, they would pass
// for ours, and a revoke of an agent of the same name would take them away.
type elsewhere struct{}

// Update implements [job.Memory].
func (elsewhere) Update(context.Context, string, func(*agent.Record) error) error { return nil }

func (c *change) run(ctx context.Context, run agent.Run, start bool) error {
	if start {
		if err := c.c.Journal.Start(ctx, run); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	c.report.Changed = true
	r := c.runner()
	if !start {
		r.Deadline = c.patience()
	}
	out, err := r.Run(ctx, run)
	c.report.Steps = append(c.report.Steps, out.Steps...)
	c.report.CriticalPath += out.CriticalPath.Milliseconds()
	c.proof(out)
	if err != nil {
		return err
	}
	if c.report.Rest != nil {
		rest := c.report.Rest.WithFacts(out.Facts)
		rest.Made = time.Now().UTC().Truncate(time.Second)
		if rest = c.withoutRemovals(rest); len(rest.Steps) > 0 {
			c.report.Rest = &rest
		} else {
			c.report.Rest = nil
		}
	}
	if run.Verb == agent.Revoke {
		c.report.Revoked = true
		life := c.c.Lifetime
		if run.Plan.Facts[agent.FactResource] != "" && run.Plan.Cloud != agent.Local { // whose lifetimes are a knob
			life = max(life, agent.ManagedTokenLife)
		}
		c.report.TokensUntil = time.Now().UTC().Add(life).Truncate(time.Second)
		c.report.ApplicationID, c.report.PrincipalID = run.Plan.Facts[agent.FactAppID], run.Plan.Facts[agent.FactPrincipal]
	}
	c.report.Rotated, c.report.Prepared = run.Verb == agent.Rotate, run.Verb == agent.Migrate
	return c.c.Journal.Finish(ctx, run.ID, agent.RunDone)
}

func (c *change) proof(out job.Outcome) {
	for _, r := range out.Results {
		if n, err := strconv.Atoi(r.Facts["logins"]); err == nil {
			c.report.Proof.Logins = n
		}
		if ref := r.Facts[provision.FactKeyLeft]; ref != "" {
			c.report.Findings = append(c.report.Findings, finding.Finding{ID: "key-left", Question: "is the private key gone?", Outcome: finding.Warn,
				Detail: "the keystore of " + ref + " is not there, so nobody can tell", Remedy: "once it is back: leastkey revoke " + c.agent.Name})
		}
		if r.Facts[provision.FactPasswords] == "" {
			continue
		}
		c.report.Proof.ReadBack = true
		c.report.Proof.PasswordCredentials, _ = strconv.Atoi(r.Facts[provision.FactPasswords])
		c.report.Proof.ForeignCredentials, _ = strconv.Atoi(r.Facts[provision.FactForeign])
		c.report.Proof.Readable = strings.Fields(r.Facts[provision.FactReadable])
		for line := range strings.Lines(r.Facts[provision.FactUnplanned]) {
			c.report.Findings = append(c.report.Findings, finding.Finding{ID: "unplanned-assignment", Question: "are the roles exactly the planned ones?", Outcome: finding.Fail,
				Detail: strings.TrimSpace(line) + " is not planned", Remedy: "leastkey plan " + c.agent.Name + " shows the step that removes it"})
		}
	}
}

// nothing ends an apply that has nothing to do: the observation has read everything back, and the key still has to log in.
func (c *change) nothing(ctx context.Context, plan agent.Plan) error {
	if plan.Verb == agent.Revoke {
		return fault.New(fault.NotFound, "agent "+c.agent.Name+" is not recorded here: there is nothing to revoke", "leastkey status")
	}
	if plan.Verb == agent.FixRoles { // the observation has read the roles, and nothing else was asked
		c.report.Proof.Readable = c.seen.Readable
		return nil
	}
	rec, err := c.record(ctx, c.agent.Name)
	if err != nil {
		return err
	}
	seen := c.seen
	if seen.Application != nil && seen.Principal != nil {
		c.report.Proof.ReadBack = true
		c.report.Proof.PasswordCredentials = len(seen.Application.Passwords) + len(seen.Principal.Passwords)
		c.report.Proof.ForeignCredentials = provision.ForeignCredentials(rec, c.agent, *seen.Application, *seen.Principal)
		c.report.Proof.Readable = seen.Readable
	}
	if seen.Identity != nil && seen.Principal != nil {
		c.report.Proof.ReadBack = true
		c.report.Proof.PasswordCredentials = len(seen.Principal.Passwords)
		c.report.Proof.ForeignCredentials = provision.ForeignOfIdentity(c.agent, *seen.Identity)
		c.report.Proof.Readable = seen.Readable
	}
	if c.agent.Keyless() {
		return nil // only the resource or workload itself can log in
	}
	c.report.Proof.Logins, err = c.c.Provision.ProveActive(ctx, rec, 3)
	c.report.Prepared = err == nil && plan.Verb == agent.Migrate
	return err
}

// finish fills the report from memory.
func (c *change) finish(ctx context.Context, err error) (api.Report, error) {
	ctx = context.WithoutCancel(ctx)
	rec, recErr := c.c.State.Agent(ctx, c.agent.Name)
	if recErr == nil && rec.Provisioned() {
		c.report.ApplicationID, c.report.ObjectID, c.report.PrincipalID, c.report.EnvFile = rec.AppID, rec.ApplicationID, rec.PrincipalID, rec.EnvFile
		c.report.ResourceID = rec.ResourceID
		if a := c.c.Spec.Agents[c.agent.Name]; a != nil {
			c.report.LogsIn = a.LogsIn()
		}
		if g := rec.Active(); g != nil {
			c.report.Key, c.report.NotAfter = g.Ref, g.NotAfter
		}
		for _, g := range rec.Generations {
			if g.Overlapping(time.Now()) && g.RetireAt.After(c.report.OldUntil) {
				c.report.OldUntil = g.RetireAt
			}
		}
		c.report.Roles = c.roles(rec)
	}
	if head, headErr := c.c.Ledger.Head(ctx); headErr == nil {
		c.report.LedgerHead = head
	}
	c.report.Requests = c.c.Requests() - c.requests
	c.report.WallMS = time.Since(c.began).Milliseconds()
	if c.report.Steps == nil {
		c.report.Steps = []api.StepReport{}
	}
	if c.report.Roles == nil {
		c.report.Roles = []api.Granted{}
	}
	if c.report.Proof.ForeignCredentials+c.report.Proof.PasswordCredentials > 0 && !finding.Failed(c.report.Findings) {
		c.report.Findings = append(c.report.Findings, finding.Finding{ID: "credentials", Question: "are all credentials ours?", Outcome: finding.Fail,
			Detail: fmt.Sprintf("read back: %d passwords, %d foreign certificates", c.report.Proof.PasswordCredentials, c.report.Proof.ForeignCredentials), Remedy: "leastkey plan " + c.agent.Name})
	}
	return c.report, err
}

// roles are the spec's grants that are recorded as assigned.
func (c *change) roles(rec agent.Record) []api.Granted {
	out := []api.Granted{}
	for _, g := range c.c.Spec.Grants(c.agent, c.c.Roles) {
		for _, a := range rec.Assignments {
			if a.Key() == g.Key() && (c.adopted == nil || c.adopted(a.Name)) {
				out = append(out, api.Granted{Role: g.Role, RoleID: g.RoleID, Scope: g.Scope, Ours: a.Ours, Why: c.c.Spec.Why(c.agent, g)})
				break
			}
		}
	}
	return out
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails, by its documentation
	return hex.EncodeToString(b)
}
