// Package job runs a plan: each step in its order, independent ones in parallel, every effect between two journal entries.
//
// For each step: write down the intent (Begin), look whether it is done already where an earlier process may have begun it, do it,
// remember what was made, write down what was seen (End). A process that dies anywhere in between leaves an entry without an end, and
// the next run looks at the world before it acts.
package job

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Journal is the part of record/journal that a run needs. Begin returns the entry of an earlier Begin unchanged.
type Journal interface {
	Entries(ctx context.Context, runID string) ([]agent.Entry, error)
	Begin(ctx context.Context, runID, stepID string, intent map[string]string) (agent.Entry, error)
	End(ctx context.Context, runID, stepID string, r agent.Result) error
	// Withdraw takes back the Begin of a step that was refused before it could have any effect.
	Withdraw(ctx context.Context, runID, stepID string) error
}

// Memory is the part of record/state that a run needs.
type Memory interface {
	Update(ctx context.Context, name string, change func(*agent.Record) error) error
}

// Handler carries out one action.
type Handler struct {
	// Intent is written down by the first Begin: random names minted for the step, and what it is about to overwrite. nil means nothing.
	Intent func(context.Context, *Call) (map[string]string, error)
	// Done looks whether the effect is there, without changing anything. It is asked where an earlier attempt may have had an effect; an
	// error means that nobody knows.
	Done func(context.Context, *Call) (agent.Result, bool, error)
	// Do makes the effect. It may be called again after a failure whose effect is unknown, so it must be safe to repeat.
	Do func(context.Context, *Call) (agent.Result, error)
	// Quit finds what an earlier process may have made, so that a revoke can take it away; it makes nothing that was not begun. false means
	// that there is nothing; nil that the revoke finds it without help.
	Quit func(context.Context, *Call) (agent.Result, bool, error)
	// Atomic says that Do is one request, so that a refusal proves that it had no effect.
	Atomic bool
	// Remember changes the record after the effect; nil means that there is nothing to keep.
	Remember func(*Call, agent.Result, *agent.Record)
	// Looks says that Do changes nothing outside: it is a proof or a reading, and a run that is brought to rest can do without it.
	Looks bool
}

// Call is one step as its handler sees it.
type Call struct {
	Run     agent.Run
	Step    agent.Step
	Intent  map[string]string
	Resumed bool // an earlier process began it
	facts   map[string]string
	stop    <-chan struct{}
	patient time.Duration
	tell    func(api.Status, string)
}

// With is a parameter of the step, with "$name" replaced by the fact of that name; "" if it has none.
func (c *Call) With(name string) string {
	v := c.Step.With[name]
	if fact, ok := strings.CutPrefix(v, "$"); ok {
		return c.facts[fact]
	}
	return v
}

// Fact is a value that an earlier step made or the plan knew.
func (c *Call) Fact(name string) string { return c.facts[name] }

// Wait is [Wait], telling the face what it waits for.
func (c *Call) Wait(ctx context.Context, p Probe) error {
	p.Stop = c.stop
	if p.Deadline == 0 {
		p.Deadline = c.patient
	}
	p.Waiting = func(next time.Duration, err error) {
		detail := reason(err) + "; next try in " + next.Round(100*time.Millisecond).String()
		if p.What != c.Step.Title {
			detail = "waiting for " + p.What + ": " + detail
		}
		c.tell(api.Waiting, detail)
	}
	return Wait(ctx, p)
}

// reason says in a few words why a try has to be repeated.
func reason(err error) string {
	switch fault.CodeOf(err) {
	case fault.Throttled:
		return "throttled"
	case fault.Unavailable:
		return "no answer, so the effect is unknown"
	}
	return "not on every replica yet"
}

// Runner runs plans.
type Runner struct {
	Journal  Journal
	Memory   Memory
	Handlers map[agent.Action]Handler
	Events   func(api.Event) // nil tells nobody; calls do not overlap
	Deadline time.Duration   // of each wait; 0 means DefaultDeadline
}

// Outcome is what became of a plan.
type Outcome struct {
	Steps        []api.StepReport
	Facts        map[string]string
	Results      map[string]agent.Result // by step id
	CriticalPath time.Duration           // the longest chain of steps that waited for each other, of those run now
}

// Run carries out the run's plan, from the start or from where an earlier process left it. An error leaves the run open: the same call
// continues it.
func (r *Runner) Run(ctx context.Context, run agent.Run) (Outcome, error) {
	x, err := r.prepare(ctx, run)
	if err != nil {
		return Outcome{}, err
	}
	err = x.all(ctx)
	return x.outcome(), err
}

// Settle brings every step that was begun and has no end to one, and starts nothing else: what an open run needs before another plan may
// take over. A step of which the world says that it is not, and cannot be, done has had no effect; one whose effect stays unknown is an
// error. That we may not look (or not any more) says nothing about what an earlier process has done.
//
// Two kinds are not repeated. A proof or reading has no effect, and it may be impossible by now; a run that could not be settled for
// that would block even a revoke. What destroys on a proof is left to the next plan, which sees what is still there and proves anew.
//
// With quit, for a revoke, nothing is made: a step is brought to rest by Handler.Quit alone, and what has none is left to the revoke, which
// takes away whatever there is. Somebody who stops an identity must not first complete it.
func (r *Runner) Settle(ctx context.Context, run agent.Run, quit bool) error {
	x, err := r.prepare(ctx, run)
	if err != nil {
		return err
	}
	x.stop = ctx.Done()
	ctx = context.WithoutCancel(ctx) // as in all
	for _, s := range run.Plan.Steps {
		e, begun := x.entries[s.ID]
		if !begun || e.Ended != nil {
			continue
		}
		without := ""
		if x.Handlers[s.Action].Looks || (s.Destroys && len(s.Proof) > 0) {
			without = "not repeated: the next plan does without it, or on a proof of its own"
		} else if quit {
			found, err := x.quit(ctx, s)
			if err != nil {
				return fmt.Errorf("settle %q of the run that was stopped: %w", s.Title, err)
			}
			if !found {
				without = "not repeated: it is left to the revoke"
			}
		} else {
			result, err := x.carryOut(ctx, s)
			switch {
			case err == nil:
				maps.Copy(x.facts, result.Facts)
				x.results[s.ID] = result
			case settled(err):
				without = "settled without effect: " + err.Error()
			default:
				return fmt.Errorf("settle %q of the run that was stopped: %w", s.Title, err)
			}
		}
		if without == "" {
			continue
		}
		if err := r.Journal.End(ctx, run.ID, s.ID, agent.Result{Detail: without}); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
	}
	return nil
}

// quit brings a step to rest without making anything, and tells whether that ended it.
func (x *execution) quit(ctx context.Context, s agent.Step) (bool, error) {
	h := x.Handlers[s.Action]
	if h.Quit == nil {
		return false, nil
	}
	call := x.call(s)
	var result agent.Result
	found := false
	err := call.Wait(ctx, Probe{What: s.Title, Try: func(ctx context.Context) (err error) {
		result, found, err = h.Quit(ctx, call)
		return err
	}})
	if err != nil || !found {
		return false, err
	}
	maps.Copy(x.facts, result.Facts)
	x.results[s.ID] = result
	if h.Remember != nil {
		if err := x.Memory.Update(ctx, x.run.Agent, func(rec *agent.Record) error { h.Remember(call, result, rec); return nil }); err != nil {
			return false, fmt.Errorf("write the state: %w", err)
		}
	}
	return true, x.Journal.End(ctx, x.run.ID, s.ID, result)
}

// settled tells whether the error says that an earlier try had no effect either.
func settled(err error) bool {
	return fault.Is(err, fault.Invalid, fault.Refused, fault.NotFound, fault.Conflict, fault.NotYet)
}

// WithoutEffect says of a refusal that the step has had no effect at all, although its Do is more than one request: as after the refusal of
// an atomic one, the next run may begin it anew instead of looking for what an earlier try has left.
func WithoutEffect(err error) error {
	if err == nil {
		return nil
	}
	return withoutEffect{err}
}

type withoutEffect struct{ error }

// Unwrap gives the refusal.
func (e withoutEffect) Unwrap() error { return e.error }

func without(err error) bool {
	_, ok := errors.AsType[withoutEffect](err)
	return ok
}

// definite tells whether the error says that this try had no effect.
func definite(err error) bool {
	return fault.Is(err, fault.Forbidden, fault.Invalid, fault.Refused, fault.NotFound, fault.Conflict, fault.Unauthenticated, fault.Unsupported)
}

// execution is one Run on its way.
type execution struct {
	*Runner
	run     agent.Run
	stop    <-chan struct{}
	entries map[string]agent.Entry

	mu      sync.Mutex
	events  sync.Mutex
	facts   map[string]string
	results map[string]agent.Result
	took    map[string]time.Duration
	status  map[string]api.StepReport
	faults  []error
	unsure  bool // a step failed and may have had its effect

	proving sync.Mutex
	old     map[string]bool // steps that an earlier process did
}

func (r *Runner) prepare(ctx context.Context, run agent.Run) (*execution, error) {
	entries, err := r.Journal.Entries(ctx, run.ID)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	x := &execution{Runner: r, run: run, entries: map[string]agent.Entry{}, facts: maps.Clone(run.Plan.Facts),
		results: map[string]agent.Result{}, took: map[string]time.Duration{}, status: map[string]api.StepReport{}, old: map[string]bool{}}
	if x.facts == nil {
		x.facts = map[string]string{}
	}
	for _, e := range entries {
		x.entries[e.StepID] = e
		if e.Ended != nil {
			maps.Copy(x.facts, e.Result.Facts)
			x.results[e.StepID] = e.Result
			x.old[e.StepID] = true
		}
	}
	return x, x.sensible()
}

// sensible refuses a plan that cannot be run: one that comes from a file may say anything.
func (x *execution) sensible() error {
	if err := x.run.Plan.Sound(); err != nil {
		return &fault.Error{Code: fault.Invalid, Err: err}
	}
	for _, s := range x.run.Plan.Steps {
		if _, ok := x.Handlers[s.Action]; !ok {
			return fault.Newf(fault.Invalid, "the plan has a step that this version does not know: %s", s.Action)
		}
	}
	return nil
}

// all starts each step once the steps it waits for are done. After a failure nothing new starts, and what is running is let finish:
// cancelling a request would only make its effect unknown.
func (x *execution) all(ctx context.Context) error {
	x.stop = ctx.Done()
	work := context.WithoutCancel(ctx)
	finished := make(chan string)
	waiting := slices.Clone(x.run.Plan.Steps)
	running := 0
	for {
		waiting = slices.DeleteFunc(waiting, func(s agent.Step) bool {
			if x.failed() || ctx.Err() != nil || !x.ready(s) {
				return false
			}
			running++
			go func() {
				x.step(work, s)
				finished <- s.ID
			}()
			return true
		})
		if running == 0 {
			break
		}
		<-finished
		running--
	}
	switch {
	case len(x.faults) > 0:
		return x.stopped()
	case ctx.Err() != nil && len(waiting) > 0:
		return x.stoppedBy(ErrInterrupted)
	}
	return nil
}

func (x *execution) failed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.faults) > 0
}

// ready tells whether everything that the step waits for is done.
func (x *execution) ready(s agent.Step) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range s.After {
		if _, inPlan := x.run.Plan.Step(id); !inPlan {
			continue // done before, by the half that another person applied
		}
		if _, done := x.results[id]; !done {
			return false
		}
	}
	return true
}

func (x *execution) step(ctx context.Context, s agent.Step) {
	began := time.Now()
	if e, ok := x.entries[s.ID]; ok && e.Ended != nil {
		x.report(s, api.Already, e.Result.Detail, 0)
		return
	}
	x.report(s, api.Begun, "", 0)
	result, err := x.carryOut(ctx, s)
	took := time.Since(began)
	x.mu.Lock()
	x.took[s.ID] = took
	if err != nil {
		x.faults = append(x.faults, fmt.Errorf("%s: %w", s.Title, err))
	} else {
		maps.Copy(x.facts, result.Facts)
		x.results[s.ID] = result
	}
	x.mu.Unlock()
	switch {
	case err != nil:
		x.report(s, api.Failed, err.Error(), took)
	case result.Already:
		x.report(s, api.Already, result.Detail, took)
	default:
		x.report(s, api.Done, result.Detail, took)
	}
}

// carryOut is the crash story of one step.
func (x *execution) carryOut(ctx context.Context, s agent.Step) (agent.Result, error) {
	h := x.Handlers[s.Action]
	if err := x.proven(ctx, s); err != nil {
		return agent.Result{}, err
	}
	call := x.call(s)
	var intent map[string]string
	if h.Intent != nil && !call.Resumed {
		err := call.Wait(ctx, Probe{What: s.Title, Try: func(ctx context.Context) (err error) {
			intent, err = h.Intent(ctx, call)
			return err
		}})
		if err != nil {
			return agent.Result{}, err
		}
	}
	entry, err := x.Journal.Begin(ctx, x.run.ID, s.ID, intent)
	if err != nil {
		return agent.Result{}, fmt.Errorf("write the journal: %w", err)
	}
	call.Intent = entry.Intent
	result, unknown, err := x.effect(ctx, h, call)
	if err != nil {
		x.doubt(!h.Looks && (unknown || !definite(err)))
		if (h.Atomic || without(err)) && !call.Resumed && !unknown && definite(err) {
			if err := x.Journal.Withdraw(ctx, x.run.ID, s.ID); err != nil {
				return result, fmt.Errorf("write the journal: %w", err)
			}
		}
		return result, err
	}
	if h.Remember != nil {
		err := x.Memory.Update(ctx, x.run.Agent, func(rec *agent.Record) error {
			h.Remember(call, result, rec)
			return nil
		})
		if err != nil {
			x.doubt(true)
			return result, fmt.Errorf("write the state: %w", err)
		}
	}
	if err := x.Journal.End(ctx, x.run.ID, s.ID, result); err != nil {
		x.doubt(true)
		return result, fmt.Errorf("write the journal: %w", err)
	}
	return result, nil
}

func (x *execution) call(s agent.Step) *Call {
	entry, resumed := x.entries[s.ID]
	return &Call{Run: x.run, Step: s, Intent: entry.Intent, Resumed: resumed, facts: x.factsNow(), stop: x.stop, patient: x.Deadline, tell: func(st api.Status, detail string) { x.report(s, st, detail, 0) }}
}

func (x *execution) doubt(unsure bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unsure = x.unsure || unsure
}

// effect looks where somebody may have acted before, and otherwise does; a try whose effect is unknown is followed by a look, and unknown
// tells that there was one.
func (x *execution) effect(ctx context.Context, h Handler, call *Call) (result agent.Result, unknown bool, err error) {
	look := call.Resumed
	err = call.Wait(ctx, Probe{What: call.Step.Title, Try: func(ctx context.Context) error {
		if look && h.Done != nil {
			found, done, err := h.Done(ctx, call)
			if err != nil {
				return err
			}
			if done {
				result, result.Already = found, call.Resumed
				return nil
			}
		}
		var err error
		result, err = h.Do(ctx, call)
		look = err != nil
		unknown = unknown || (err != nil && !definite(err) && !fault.Is(err, fault.Throttled, fault.NotYet))
		return err
	}})
	return result, unknown, err
}

// proven refuses a destroying step whose proof is not in the journal: the old is destroyed only after the new was seen to work. A proof of
// an earlier process is made again, since nobody knows how long ago that was and what has happened to the new one meanwhile.
func (x *execution) proven(ctx context.Context, s agent.Step) error {
	if !s.Destroys {
		return nil
	}
	for _, id := range s.Proof {
		x.mu.Lock()
		r, ok := x.results[id]
		x.mu.Unlock()
		if !ok || len(r.Evidence) == 0 {
			return missing(s, id)
		}
		if err := x.proveAgain(ctx, s, id); err != nil {
			return err
		}
	}
	return nil
}

func missing(s agent.Step, proof string) error {
	return fault.Newf(fault.Refused, "step %s destroys something and its proof %q is missing", s.ID, proof)
}

func (x *execution) proveAgain(ctx context.Context, s agent.Step, id string) error {
	x.proving.Lock()
	defer x.proving.Unlock()
	if !x.old[id] {
		return nil
	}
	proof, ok := x.run.Plan.Step(id)
	if !ok {
		return missing(s, id)
	}
	call := x.call(proof)
	err := call.Wait(ctx, Probe{What: proof.Title, Try: func(ctx context.Context) error {
		r, err := x.Handlers[proof.Action].Do(ctx, call)
		if err == nil && len(r.Evidence) == 0 {
			err = missing(s, id)
		}
		return err
	}})
	if err != nil {
		return fmt.Errorf("%s, once more before %s: %w", proof.Title, s.Title, err)
	}
	delete(x.old, id)
	return nil
}

func (x *execution) factsNow() map[string]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.facts)
}

func (x *execution) report(s agent.Step, status api.Status, detail string, took time.Duration) {
	x.mu.Lock()
	if status != api.Begun && status != api.Waiting {
		x.status[s.ID] = api.StepReport{Step: s.ID, Title: s.Title, Status: status, Detail: detail, MS: took.Milliseconds()}
	}
	x.mu.Unlock()
	if x.Events == nil {
		return
	}
	x.events.Lock()
	defer x.events.Unlock()
	x.Events(api.Event{At: time.Now(), Agent: x.run.Agent, Step: s.ID, Title: s.Title, Status: status, Detail: detail, MS: took.Milliseconds()})
}

// stopped is the error of a run that stopped: midway if anything was done or may have been, and then resumable; plainly failed otherwise.
func (x *execution) stopped() error { return x.stoppedBy(errors.Join(x.faults...)) }

func (x *execution) stoppedBy(cause error) error {
	if len(x.results) == 0 && !x.unsure {
		return cause
	}
	again := fmt.Sprintf("run %s again: it continues where it stopped", x.run.Command())
	if hint := fault.Hint(cause); hint != "" && hint != sameAgain {
		again = hint + "; then " + again
	}
	return &fault.Error{Code: fault.Stopped, Op: fmt.Sprintf("stopped after %d of %d steps", len(x.results), len(x.run.Plan.Steps)), Hint: again, Err: cause}
}

func (x *execution) outcome() Outcome {
	o := Outcome{Facts: x.facts, Results: x.results}
	for _, s := range x.run.Plan.Steps {
		st, ok := x.status[s.ID]
		if !ok {
			st = api.StepReport{Step: s.ID, Title: s.Title, Status: api.NotRun}
		}
		o.Steps = append(o.Steps, st)
	}
	path := map[string]time.Duration{}
	var longest func(id string) time.Duration
	longest = func(id string) time.Duration {
		if d, ok := path[id]; ok {
			return d
		}
		s, ok := x.run.Plan.Step(id)
		if !ok {
			return 0
		}
		var before time.Duration
		for _, a := range s.After {
			before = max(before, longest(a))
		}
		path[id] = before + x.took[id]
		return path[id]
	}
	for _, s := range x.run.Plan.Steps {
		o.CriticalPath = max(o.CriticalPath, longest(s.ID))
	}
	return o
}
