package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/work/verify"
)

// ProvisionerParts is what the Provisioner's plans act through: its own keystore, its own record, and the legacy secret's searcher.
type ProvisionerParts struct {
	Provision *provision.Provision // on the Provisioner's keystore, logging in for Graph
	Migrate   *migrate.Migrate
	Verify    *verify.Verify
	// Files resolves the paths of a request: the state file that is meant, the environment file, and what else is searched.
	Files func(r api.ProvisionerRequest) (migrate.Where, error)
}

// Provisioner carries out one of the Provisioner's plans: bootstrap, migrate, rotate, retire or rollback. Under its lock it first ends what
// an earlier process left open. A migration that fails before it has deleted anything is taken back at once.
func (d *Door) Provisioner(ctx context.Context, r api.ProvisionerRequest, events func(api.Event)) (api.ProvisionerReport, error) {
	w := &errand{Door: d, req: r, events: events, began: time.Now(), requests: d.c.Requests()}
	w.report = api.ProvisionerReport{Verb: r.Verb, Cloud: d.c.Where.Cloud, TenantID: d.c.Where.TenantID}
	var err error
	if w.parts, err = d.provisioner(); err != nil {
		return w.report, err
	}
	if w.where, err = w.parts.Files(r); err != nil {
		return w.report, w.enter(ctx, w.action(), provisioner.Name, "", err)
	}
	w.report.StateFile = w.where.State
	unlock, err := d.c.Lock(ctx, provisioner.Name, func(holder string) {
		w.tell(api.Event{At: time.Now(), Agent: provisioner.Name, Status: api.Waiting, Detail: "waiting for " + holder})
	})
	if err != nil {
		return w.report, err
	}
	err = w.underLock(ctx)
	if e := unlock(); err == nil {
		err = e
	}
	return w.finish(ctx, err)
}

// provisioner is the parts, or why there are none.
func (d *Door) provisioner() (*ProvisionerParts, error) {
	if d.c.Provisioner == nil {
		return nil, fault.New(fault.Invalid, "nothing is known of a Provisioner here", "")
	}
	return d.c.Provisioner()
}

// errand is one request about the Provisioner.
type errand struct {
	*Door
	req      api.ProvisionerRequest
	parts    *ProvisionerParts
	where    migrate.Where
	events   func(api.Event)
	who      api.Caller
	began    time.Time
	requests int
	report   api.ProvisionerReport
	seen     provisioner.Observed
	finished bool // the run has come to its end: what is left to say about it is no reason to take it back
}

func (w *errand) action() string { return "provisioner " + string(w.req.Verb) }

func (w *errand) tell(e api.Event) {
	if w.events != nil {
		w.events(e)
	}
}

func (w *errand) refuse(ctx context.Context, detail string, refusal error) error {
	return w.enter(ctx, w.action(), provisioner.Name, detail, refusal)
}

func (w *errand) underLock(ctx context.Context) error {
	if !w.alone() {
		who, err := w.Caller(ctx)
		if err != nil {
			return w.refuse(ctx, "", err)
		}
		w.who = who
		w.parts.Provision.Operator = who.ObjectID
	} else if w.req.Verb != agent.Rotate {
		return w.refuse(ctx, "", fault.New(fault.Refused, "only a rotation goes without an operator", "name one: --operator az"))
	}
	w.parts.Provision.Issued = w.req.Issued
	open, err := w.c.Journal.Open(ctx, provisioner.Name)
	if err != nil {
		return err
	}
	if open == nil && len(w.req.Issued) > 0 {
		return w.refuse(ctx, "", fault.New(fault.Usage, "no rotation of the Provisioner waits for a certificate", "rotate without --certificate first: where a policy demands an authority's, it stops once the key is made"))
	}
	if open != nil && !w.req.DryRun {
		if done, err := w.resume(ctx, *open); err != nil || done {
			return err
		}
	}
	return w.fresh(ctx)
}

// resume ends an open run: the same verb goes on with it, a rollback takes it back, anything else is refused. It answers true where that
// was all that was asked.
func (w *errand) resume(ctx context.Context, open agent.Run) (bool, error) {
	at := w.c.Where
	switch {
	case open.Plan.Instance != at.Instance || !strings.EqualFold(open.Plan.Tenant, at.TenantID):
		return true, w.refuse(ctx, open.Digest, fault.New(fault.Refused, "a run about the Provisioner stopped midway on another cloud: "+cmp.Or(open.Plan.Instance, open.Plan.Tenant), "go on there; or, for a local cloud, leastkey cloud reset forgets both"))
	case w.req.Verb == provisioner.Rollback && open.Verb == provisioner.Migrate:
		return true, w.takeBack(ctx, open, true)
	case open.Verb != w.req.Verb:
		return true, w.refuse(ctx, open.Digest, fault.New(fault.Stopped, "a "+string(open.Verb)+" of the Provisioner stopped midway", unfinished(open.Verb)))
	case !api.Pins(w.req.Digest, open.Digest):
		return true, w.refuse(ctx, open.Digest, fault.New(fault.Conflict, "a run of another plan stopped midway: "+api.ShortDigest(open.Digest), "finish it first: "+open.Command()+" --digest "+api.ShortDigest(open.Digest)))
	}
	if err := w.enter(ctx, w.action()+" (continued)", provisioner.Name, open.Digest, nil); err != nil {
		return true, err
	}
	w.report.Digest, w.report.Findings = open.Digest, open.Plan.Findings
	err := w.run(ctx, open, false)
	if open.Verb == provisioner.Migrate && err != nil && !outdated(err) {
		return true, w.unlessDeleted(ctx, open, err)
	}
	if err != nil && (outdated(err) || (open.Verb == agent.Rotate && !w.alone() && unproven(err))) {
		// What it relied on has changed meanwhile. The next plan sees what there is, and needs an approval of its own.
		w.report.Steps, w.report.Findings = nil, nil
		return false, w.settle(ctx, open)
	}
	return true, err
}

func unfinished(v agent.Verb) string {
	hint := "finish it first: leastkey provisioner " + string(v)
	if v == provisioner.Migrate {
		hint += "; or take it back: leastkey provisioner rollback"
	}
	return hint
}

// fresh looks, decides and acts.
func (w *errand) fresh(ctx context.Context) error {
	plan, err := w.plan(ctx)
	if err != nil {
		return w.refuse(ctx, "", err)
	}
	digest := plan.Digest()
	w.report.Digest, w.report.Findings = digest, plan.Findings
	if w.req.DryRun {
		if err := w.tellOpen(ctx, &plan); err != nil {
			return err
		}
		w.report.Plan = &plan
		w.report.Findings = append(plan.Findings, plan.Blockers...)
		if err := w.enter(ctx, w.action()+" (dry run)", provisioner.Name, digest, nil); err != nil {
			return err
		}
		return blocked(plan.Blockers)
	}
	if err := blocked(plan.Blockers); err != nil {
		w.report.Findings = append(plan.Findings, plan.Blockers...)
		return w.refuse(ctx, digest, err)
	}
	if !api.Pins(w.req.Digest, digest) {
		return w.refuse(ctx, digest, fault.New(fault.Conflict, "the world no longer matches the approved plan: now it would be "+api.ShortDigest(digest), "look at it again: leastkey provisioner "+string(w.req.Verb)+" --dry-run"))
	}
	if err := w.holders(plan); err != nil {
		return w.refuse(ctx, digest, err)
	}
	if slices.ContainsFunc(plan.Steps, func(s agent.Step) bool { return s.Action == agent.MintKey }) {
		if err := w.parts.Provision.CheckKeystore(ctx, w.c.Where.TenantID, provisioner.Name); err != nil {
			return w.refuse(ctx, digest, err)
		}
	}
	if err := w.approve(ctx, plan); err != nil {
		return err
	}
	if plan.Empty() {
		return w.nothing(ctx, plan)
	}
	return w.carryOut(ctx, plan)
}

// tellOpen says, to somebody who only looks, that a run stopped midway: it goes on before anything else does.
func (w *errand) tellOpen(ctx context.Context, plan *agent.Plan) error {
	open, err := w.c.Journal.Open(ctx, provisioner.Name)
	if err != nil || open == nil {
		return err
	}
	plan.Findings = append(plan.Findings, finding.Finding{ID: "open-run", Question: "is nothing left half done?", Outcome: finding.Warn,
		Detail: "a " + string(open.Verb) + " stopped midway, with plan " + api.ShortDigest(open.Digest) + ": that one goes on first, and this is what would come after it", Remedy: open.Command()})
	return nil
}

// plan reads the world and decides.
func (w *errand) plan(ctx context.Context) (agent.Plan, error) {
	rec, err := w.record(ctx, provisioner.Name)
	if err != nil {
		return agent.Plan{}, err
	}
	verb := w.req.Verb
	var last *agent.Run
	if verb == provisioner.Rollback {
		if last, err = w.lastMigration(ctx); err != nil {
			return agent.Plan{}, err
		}
		if err := w.useStateOf(*last); err != nil {
			return agent.Plan{}, err
		}
	} else if err := w.recordedState(ctx, rec); err != nil {
		return agent.Plan{}, err
	}
	w.seen, err = w.parts.Migrate.Observe(ctx, w.spec(), rec, migrate.Ask{StateFile: w.where.State, Where: w.where, Alone: w.alone(),
		Permissions: verb == provisioner.Bootstrap || verb == provisioner.Migrate, Secret: verb == provisioner.Migrate, Rights: verb == provisioner.Migrate})
	if err != nil {
		return agent.Plan{}, err
	}
	opt := w.options()
	switch verb {
	case provisioner.Bootstrap:
		return provisioner.BootstrapPlan(w.spec(), w.seen, opt), nil
	case provisioner.Migrate:
		return provisioner.MigratePlan(w.spec(), w.seen, opt), nil
	case agent.Rotate:
		return provisioner.RotatePlan(w.spec(), w.seen, opt), nil
	case provisioner.Retire:
		return provisioner.RetirePlan(w.spec(), w.seen, opt), nil
	case provisioner.Rollback:
		entries, err := w.c.Journal.Entries(ctx, last.ID)
		if err != nil {
			return agent.Plan{}, err
		}
		return provisioner.RollbackPlan(w.spec(), w.seen, opt, *last, entries), nil
	}
	return agent.Plan{}, fault.Newf(fault.Invalid, "no plan of verb %q", verb)
}

// lastMigration is the migration that was the last thing done.
func (w *errand) lastMigration(ctx context.Context) (*agent.Run, error) {
	last, err := w.c.Journal.Last(ctx, provisioner.Name)
	if err == nil && (last == nil || last.Verb != provisioner.Migrate) {
		err = fault.New(fault.NotFound, "no migration of this machine is recorded as the last thing that was done", "leastkey provisioner status")
	}
	return last, err
}

// useStateOf makes the state file of a run the one that is meant, wherever the command is typed.
func (w *errand) useStateOf(run agent.Run) error {
	i := slices.IndexFunc(run.Plan.Steps, func(s agent.Step) bool { return s.Action == provisioner.WriteState })
	if i < 0 {
		return nil
	}
	file := run.Plan.Steps[i].With["file"]
	if w.req.StateFile != "" && w.where.State != file {
		return fault.New(fault.Refused, "the run is about "+file+", not about "+w.where.State, "leave --state-file out")
	}
	w.where.State, w.report.StateFile = file, file
	return nil
}

// recordedState takes the recorded state file where none is found from the current folder upward: a second one would only disagree.
func (w *errand) recordedState(ctx context.Context, rec agent.Record) error {
	if rec.StateFile == "" || rec.StateFile == w.where.State || w.req.StateFile != "" {
		return nil
	}
	here, err := w.parts.Migrate.Files.State(ctx, w.where.State)
	if err != nil || here.Exists {
		return err
	}
	there, err := w.parts.Migrate.Files.State(ctx, rec.StateFile)
	if err != nil || !there.Exists {
		return err
	}
	if filepath.Dir(w.where.Env) == filepath.Dir(w.where.State) {
		w.where.Env = filepath.Join(filepath.Dir(rec.StateFile), filepath.Base(w.where.Env))
	}
	w.where.State, w.report.StateFile = rec.StateFile, rec.StateFile
	return nil
}

// spec is the spec in force; without a yaml the seed's defaults are meant.
func (w *errand) spec() agent.Spec {
	s := w.c.Spec
	s.Defaults()
	s.Cloud, s.Tenant = w.c.Where.Cloud, cmp.Or(s.Tenant, w.c.Where.TenantID)
	return s
}

func (w *errand) options() provisioner.Options {
	r := w.req
	return provisioner.Options{Tenant: w.c.Where.TenantID, Instance: w.c.Where.Instance, CreateBeside: r.CreateBeside, SoleHolder: r.SoleHolder, OthersAccept: r.OthersAccept,
		NoBackUp: r.NoBackUp, SHA256: r.SHA256, Overlap: r.Overlap, EnvFile: w.where.Env, Also: w.where.Also, Edit: w.where.Edit, Alone: w.alone()}
}

// holders wants to hear that whoever runs it knows who else loses the secret. A person at a terminal is asked by the plan.
func (w *errand) holders(plan agent.Plan) error {
	removes := slices.ContainsFunc(plan.Steps, func(s agent.Step) bool { return s.Action == agent.RemovePassword })
	if removes && w.req.Approve == nil && !w.req.SoleHolder && !w.req.OthersAccept {
		return fault.New(fault.Usage, "every other holder of the secret stops working now", "say that you know: --sole-holder if there is none, --others-accept if they know")
	}
	return nil
}

// approve shows the plan, and writes down what was said.
func (w *errand) approve(ctx context.Context, plan agent.Plan) error {
	digest := plan.Digest()
	if w.req.Approve != nil && !plan.Empty() {
		yes, err := w.req.Approve(api.PlanAnswer{Plan: plan, Digest: digest, As: w.who})
		if err == nil && !yes {
			err = fault.New(fault.Refused, "not approved: nothing was changed", "")
		}
		if err != nil {
			return w.refuse(ctx, digest, err)
		}
	}
	return w.enter(ctx, w.action(), provisioner.Name, fmt.Sprintf("plan %s as %s", digest, cmp.Or(w.who.Name, "the Provisioner itself")), nil)
}

// nothing ends a run that has nothing to do: the key still has to log in.
func (w *errand) nothing(ctx context.Context, plan agent.Plan) error {
	if w.req.Verb == provisioner.Rollback || w.req.Verb == provisioner.Retire {
		return nil
	}
	rec, err := w.record(ctx, provisioner.Name)
	if err != nil || rec.Active() == nil {
		return err
	}
	_, err = w.parts.Provision.ProveActive(ctx, rec, 3)
	return err
}

// carryOut starts a plan and follows it to its end, or back.
func (w *errand) carryOut(ctx context.Context, plan agent.Plan) error {
	if err := w.known(ctx); err != nil {
		return err
	}
	run := agent.Run{ID: newID(), Agent: provisioner.Name, Verb: plan.Verb, Digest: plan.Digest(), Actor: w.c.Actor, Plan: plan, Started: time.Now().UTC(), Status: agent.RunOpen}
	err := w.run(ctx, run, true)
	if err == nil || plan.Verb != provisioner.Migrate {
		return err
	}
	return w.unlessDeleted(ctx, run, err)
}

// unlessDeleted takes a migration that has failed back, unless it has begun to delete: then the only way is forward. One that a person has
// interrupted, or that has nothing more to do than to be looked after (a place left over), is left as it is.
func (w *errand) unlessDeleted(ctx context.Context, run agent.Run, err error) error {
	if w.finished || errors.Is(err, job.ErrInterrupted) || ctx.Err() != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	entries, jerr := w.c.Journal.Entries(ctx, run.ID)
	if jerr != nil || provisioner.Deleted(run, entries) {
		return errors.Join(err, jerr)
	}
	if back := w.takeBack(ctx, run, false); back != nil {
		return fmt.Errorf("%w; and it could not be taken back yet: %w", err, back)
	}
	// The advice is the cause's own: there is nothing left to continue.
	return &fault.Error{Code: fault.Refused, Op: "nothing was deleted, and everything was put back", Err: cause(err),
		Hint: cmp.Or(fault.Hint(cause(err)), "once the cause is gone, leastkey provisioner migrate begins anew")}
}

// cause is what stopped a run, without the advice to go on with it.
func cause(err error) error {
	if stopped, ok := errors.AsType[*fault.Error](err); ok && stopped.Code == fault.Stopped && stopped.Err != nil {
		return stopped.Err
	}
	return err
}

// known records the application that the state file names, so that steps and later runs find it by its object id.
func (w *errand) known(ctx context.Context) error {
	app, sp := w.seen.Application, w.seen.Principal
	if app == nil {
		return nil
	}
	return w.c.State.Update(ctx, provisioner.Name, func(rec *agent.Record) error {
		rec.Kind, rec.Instance, rec.Subscription = agent.ServicePrincipal, w.c.Where.Instance, w.c.Where.Subscription
		rec.ApplicationID, rec.AppID, rec.UniqueName = app.ID, app.AppID, app.UniqueName
		if sp != nil {
			rec.PrincipalID = sp.ID
		}
		return nil
	})
}

func (w *errand) runner() *job.Runner {
	h := w.parts.Provision.Handlers()
	maps.Copy(h, w.parts.Migrate.Handlers())
	return &job.Runner{Journal: w.c.Journal, Memory: w.c.State, Handlers: h, Events: w.events}
}

func (w *errand) run(ctx context.Context, run agent.Run, start bool) error {
	if start {
		if err := w.c.Journal.Start(ctx, run); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	w.report.Changed = true
	r := w.runner()
	if !start {
		r.Deadline = min(job.DefaultDeadline, max(4*w.parts.Migrate.Settle, time.Minute))
	}
	out, err := r.Run(ctx, run)
	w.report.Steps = append(w.report.Steps, out.Steps...)
	if run.Verb == provisioner.Migrate {
		w.migrated(run, out)
	}
	if err != nil {
		return err
	}
	if err := w.c.Journal.Finish(ctx, run.ID, agent.RunDone); err != nil {
		return err
	}
	w.finished = true
	if m := w.report.Migrated; m != nil && len(m.Places) > 0 {
		return fault.New(fault.Stopped, fmt.Sprintf("the secret is still in %d place(s) on this machine", len(m.Places)), "look at each, then run leastkey provisioner migrate again with --edit FILE; the secret itself is dead")
	}
	return nil
}

// migrated gathers what a migration has done.
func (w *errand) migrated(run agent.Run, out job.Outcome) {
	m := &api.Migrated{Purged: []string{}}
	for _, s := range run.Plan.Steps {
		r, done := out.Results[s.ID]
		if !done {
			continue
		}
		switch s.Action {
		case agent.RemovePassword:
			m.Passwords++
		case provisioner.PurgeSecret:
			m.Purged = append(m.Purged, s.With["file"])
		case provisioner.NoPasswords:
			m.Left, _ = strconv.Atoi(r.Facts["passwords_left"])
		case provisioner.ScanSecret:
			for line := range strings.Lines(r.Facts[provisioner.FactLeft]) {
				m.Places = append(m.Places, provisioner.Place{Path: strings.TrimSpace(line), Kind: provisioner.Other})
			}
		case provisioner.BackUp:
			m.BackUp = r.Facts[provisioner.FactBackUp]
		}
	}
	for _, p := range m.Places {
		w.report.Findings = append(w.report.Findings, finding.Finding{ID: "secret-left", Question: "is the secret off this machine?", Outcome: finding.Fail,
			Detail: p.Path + " still holds it", Remedy: "look at it, then run again with --edit " + p.Path})
	}
	w.report.Migrated = m
}

// takeBack unwinds a migration that has deleted nothing, or explains what cannot come back.
// ask shows the plan to a person first: a failure of the migration itself is taken back under the migration's own approval.
func (w *errand) takeBack(ctx context.Context, run agent.Run, ask bool) error {
	if err := w.settle(ctx, run); err != nil {
		return err
	}
	rec, err := w.record(ctx, provisioner.Name)
	if err != nil {
		return err
	}
	if err := w.useStateOf(run); err != nil {
		return err
	}
	if w.seen, err = w.parts.Migrate.Observe(ctx, w.spec(), rec, migrate.Ask{StateFile: w.where.State}); err != nil {
		return err
	}
	entries, err := w.c.Journal.Entries(ctx, run.ID) // settling has ended some
	if err != nil {
		return err
	}
	plan := provisioner.RollbackPlan(w.spec(), w.seen, w.options(), run, entries)
	w.report.Findings = append(w.report.Findings, plan.Findings...)
	if err := blocked(plan.Blockers); err != nil {
		return err
	}
	if ask {
		if !api.Pins(w.req.Digest, plan.Digest()) {
			return w.refuse(ctx, plan.Digest(), fault.New(fault.Conflict, "the plan to take it back is now "+api.ShortDigest(plan.Digest()), "look at it again: leastkey provisioner rollback"))
		}
		if err := w.approve(ctx, plan); err != nil {
			return err
		}
	} else if err := w.enter(ctx, "provisioner rollback", provisioner.Name, fmt.Sprintf("of run %s: plan %s", api.ShortDigest(run.ID), plan.Digest()), nil); err != nil {
		return err
	}
	if plan.Empty() {
		return nil
	}
	return w.run(ctx, agent.Run{ID: newID(), Agent: provisioner.Name, Verb: plan.Verb, Digest: plan.Digest(), Actor: w.c.Actor, Plan: plan, Started: time.Now().UTC(), Status: agent.RunOpen}, true)
}

// settle brings an open run to rest, so that another plan can take over.
func (w *errand) settle(ctx context.Context, open agent.Run) error {
	if err := w.enter(ctx, "settle", provisioner.Name, open.Digest, nil); err != nil {
		return err
	}
	w.tell(api.Event{At: time.Now(), Agent: provisioner.Name, Status: api.Waiting, Detail: "bringing the run that was stopped to rest"})
	r := w.runner()
	r.Deadline = min(job.DefaultDeadline, max(4*w.parts.Migrate.Settle, time.Minute))
	err := r.Settle(ctx, open, false)
	switch {
	case fault.Is(err, fault.Corrupt):
		return err
	case err != nil:
		return &fault.Error{Code: fault.Stopped, Op: "an earlier run is still open", Err: err, Hint: fault.Hint(err)}
	}
	return w.c.Journal.Finish(ctx, open.ID, agent.RunSuperseded)
}

// finish fills the report from memory.
func (w *errand) finish(ctx context.Context, err error) (api.ProvisionerReport, error) {
	ctx = context.WithoutCancel(ctx)
	rec, recErr := w.c.State.Agent(ctx, provisioner.Name)
	if recErr == nil {
		w.fill(rec)
	}
	w.report.Others = w.seen.Others()
	slices.SortFunc(w.report.Others, func(a, b agent.Certificate) int { return a.Start.Compare(b.Start) })
	if head, headErr := w.c.Ledger.Head(ctx); headErr == nil {
		w.report.LedgerHead = head
	}
	w.report.Requests = w.c.Requests() - w.requests
	w.report.WallMS = time.Since(w.began).Milliseconds()
	if w.report.Steps == nil {
		w.report.Steps = []api.StepReport{}
	}
	return w.report, err
}

func (w *errand) fill(rec agent.Record) {
	w.report.ApplicationID, w.report.ObjectID, w.report.PrincipalID = cmp.Or(rec.AppID, w.seen.File.Client), rec.ApplicationID, rec.PrincipalID
	w.report.Permissions = rec.Permissions
	if g := rec.Active(); g != nil {
		w.report.Key, w.report.SHA256, w.report.NotAfter = g.Ref, g.SHA256, g.NotAfter
	}
	if m := w.report.Migrated; m != nil {
		for _, b := range rec.BackUps {
			if b.Path == m.BackUp {
				m.Expires = b.Expires
			}
		}
	}
}
