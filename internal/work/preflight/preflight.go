// Package preflight asks what is true of an agent's identity now, each question with the evidence that its answer rests on. It changes
// nothing: what it tries as the identity is aimed at things that do not exist.
//
// One file holds one check. What several checks need is a [lookup], read once per run by whichever asks first. A lookup that failed makes
// the check that owns it unknown, and the others that need it are skipped, naming the owner: it is never a pass.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Check is one question.
type Check struct {
	ID       string // stable: programs compare runs by it
	Category finding.Category
	Name     string // short title
	Question string
	Severity finding.Severity
	Required bool   // an answer is needed: unknown fails the run
	Remedy   string // what to do where it does not pass
	// Moot says why the question does not arise for the subject; "" or a nil Moot means that it does. It looks at nothing but the subject.
	Moot func(Subject) string
	// Decide answers. It uses what it needs of the Ask; an error of a lookup goes into the verdict as it is.
	Decide func(context.Context, *Ask) Verdict
}

// Verdict is the answer of a check. With Err nothing could be told, and Outcome is not looked at.
type Verdict struct {
	Outcome  finding.Outcome
	Detail   string
	Name     string             // "" is the check's
	Remedy   string             // "" is the check's; none is shown for a pass
	Evidence []finding.Evidence // what decided, before that of the lookups
	Err      error
}

// Subject is whose identity is examined.
type Subject struct {
	Spec   agent.Spec
	Agent  *agent.Agent
	Record agent.Record
	Where  api.Resolved
	Now    time.Time
}

// Config is everything that the checks ask. Every field is needed.
type Config struct {
	Operator   func(context.Context) (api.Caller, error) // who looks, by the tokens in use; refuses another tenant
	Graph      Graph                                     // as the operator
	GraphAt    string                                    // base URL of Graph, for advice
	ARM        ARM                                       // as the operator
	Self       func(Subject) Self                        // as the identity itself
	Host       Host                                      // the machine that this runs on
	Identities Identities                                // as the operator
	Own        Own                                       // what this machine has of the identity: its key, its ids, the time
	Ledger     func(context.Context) (Chain, error)
	Open       func(ctx context.Context, agentName string) (*agent.Run, error) // the run that has begun and not ended; nil: there is none
	Roles      role.Catalogue
	// Tape notes the requests that are made under the context; the second function gives them, redacted.
	Tape func(context.Context) (context.Context, func() []finding.Evidence)
}

// Preflight asks.
type Preflight struct{ Config }

// New checks nothing: a missing field is a fault of the wiring, found by the first test.
func New(c Config) *Preflight { return &Preflight{c} }

// Checks are all checks, in the order in which they are told.
func Checks() []Check {
	var all []Check
	for _, part := range [][]Check{identityChecks(), rbacChecks(), secretsChecks()} {
		all = append(all, part...)
	}
	return all
}

// Docs is where the documentation speaks of a check.
func Docs(id string) string { return "docs/preflight.md#" + id }

// Run asks everything, side by side, and tells each answer as it comes.
func (p *Preflight) Run(ctx context.Context, s Subject, tell func(finding.Finding)) []finding.Finding {
	return p.run(ctx, s, Checks(), tell)
}

func (p *Preflight) run(ctx context.Context, s Subject, checks []Check, tell func(finding.Finding)) []finding.Finding {
	r := newRun(ctx, p, s)
	out := make([]finding.Finding, len(checks))
	var all sync.WaitGroup
	var one sync.Mutex
	for i, c := range checks {
		all.Go(func() {
			out[i] = r.answer(ctx, c)
			if tell != nil {
				one.Lock()
				defer one.Unlock()
				tell(out[i])
			}
		})
	}
	all.Wait()
	r.late.Wait()
	return out
}

// run is one run: the subject and what has been looked up.
type run struct {
	p       *Preflight
	subject Subject
	self    Self            // the subject
	ctx     context.Context // of the whole run: a lookup is shared, and no single check may end it
	late    sync.WaitGroup  // lookups that were begun ahead
	identityLookups
	rbacLookups
	secretsLookups
}

func newRun(ctx context.Context, p *Preflight, s Subject) *run {
	r := &run{p: p, subject: s, self: p.Self(s), ctx: ctx}
	r.identityLookups.wire()
	r.rbacLookups.wire()
	r.secretsLookups.wire()
	return r
}

func (r *run) answer(ctx context.Context, c Check) finding.Finding {
	f := finding.Finding{ID: c.ID, Question: c.Question, Name: c.Name, Category: c.Category, Severity: c.Severity, Required: c.Required, Docs: Docs(c.ID)}
	if c.Moot != nil {
		if why := c.Moot(r.subject); why != "" {
			f.Outcome, f.Detail = finding.Skip, why
			return f
		}
	}
	a := &Ask{Subject: r.subject, run: r, check: c.ID}
	v := c.Decide(ctx, a)
	if v.Name != "" {
		f.Name = v.Name
	}
	f.Outcome, f.Detail, f.Evidence = v.Outcome, v.Detail, append(v.Evidence, a.used...)
	f.Remedy = v.Remedy
	if f.Remedy == "" && v.Outcome != finding.Pass && v.Outcome != finding.Skip {
		f.Remedy = c.Remedy
	}
	if v.Err != nil {
		r.unanswered(&f, c, v.Err)
	}
	return f
}

// unanswered tells the check that owns the failed lookup from those that only needed it.
func (r *run) unanswered(f *finding.Finding, c Check, err error) {
	var u *Unanswered
	if errors.As(err, &u) && u.Owner != c.ID {
		f.Outcome, f.Cause = finding.Skip, u.Owner
		f.Detail = fmt.Sprintf("left open: %s: %s", u.Owner, u.Err)
		f.Remedy = ""
		return
	}
	if u != nil {
		err = u.Err
	}
	f.Outcome, f.Detail, f.Remedy = finding.Unknown, err.Error(), fault.Hint(err)
}

// Ask is one check on its way: whom it asks about, and what it may look up. What it has used becomes its evidence.
type Ask struct {
	Subject
	run   *run
	check string
	used  []finding.Evidence
	seen  map[any]bool // lookups whose evidence is in used
}

// Unanswered is the error of a lookup that failed, or of one whose premise is missing. Owner is the check that tells of it.
type Unanswered struct {
	Owner string
	Err   error
}

func (u *Unanswered) Error() string { return u.Err.Error() }
func (u *Unanswered) Unwrap() error { return u.Err }

// lookup is one thing that is read once per run.
type lookup[T any] struct {
	owner string // id of the check that tells whether it could be read
	read  func(context.Context, *Ask) (T, error)

	mu       sync.Mutex
	done     chan struct{} // nil: nobody reads it yet; closed: it has been read
	value    T
	err      error
	evidence []finding.Evidence
}

// patience is how long a service that is away, or has had enough of us, is asked again.
const patience = 15 * time.Second

// get reads the lookup, or waits for whoever reads it already. Another lookup's failure keeps its owner.
func get[T any](a *Ask, l *lookup[T]) (T, error) {
	l.mu.Lock()
	first := l.done == nil
	if first {
		l.done = make(chan struct{})
	}
	l.mu.Unlock()
	if first {
		l.fill(a)
	}
	<-l.done // the reader ends with the context of the run
	if a.seen == nil {
		a.seen = map[any]bool{}
	}
	if !a.seen[l] {
		a.seen[l] = true
		a.used = append(a.used, l.evidence...)
	}
	return l.value, l.err
}

// fill reads the lookup; only one does.
func (l *lookup[T]) fill(a *Ask) {
	defer close(l.done)
	ctx, heard := a.run.p.Tape(a.run.ctx)
	inner := &Ask{Subject: a.Subject, run: a.run, check: l.owner}
	l.value, l.err = retried(ctx, inner, l.read)
	l.evidence = append(inner.used, heard()...)
	var u *Unanswered
	if l.err != nil && !errors.As(l.err, &u) {
		l.err = &Unanswered{Owner: l.owner, Err: l.err}
	}
}

// retried reads until there is an answer. The failure of another lookup is final: that one has been patient already.
func retried[T any](ctx context.Context, a *Ask, read func(context.Context, *Ask) (T, error)) (T, error) {
	var (
		value T
		final *Unanswered
	)
	err := job.Wait(ctx, job.Probe{What: "an answer to " + a.check, Deadline: patience, Try: func(ctx context.Context) (err error) {
		if value, err = read(ctx, a); errors.As(err, &final) {
			return nil
		}
		return err
	}})
	if final != nil {
		return value, final
	}
	return value, err
}

// unheard is the same question by somebody whose evidence is not asked for: what was found out on the way is another check's to show.
func (a *Ask) unheard() *Ask { return &Ask{Subject: a.Subject, run: a.run, check: a.check} }

// soon begins a lookup that the check will need after another one, so that both are read at once.
func (a *Ask) soon(read func(*Ask)) { a.run.late.Go(func() { read(a.unheard()) }) }

// missing is the error of a question whose premise another check has found not to hold.
func missing(owner, format string, args ...any) error {
	return &Unanswered{Owner: owner, Err: fmt.Errorf(format, args...)}
}

// The verdicts, as checks write them.
func pass(format string, args ...any) Verdict {
	return Verdict{Outcome: finding.Pass, Detail: fmt.Sprintf(format, args...)}
}

func fail(format string, args ...any) Verdict {
	return Verdict{Outcome: finding.Fail, Detail: fmt.Sprintf(format, args...)}
}

func warn(format string, args ...any) Verdict {
	return Verdict{Outcome: finding.Warn, Detail: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) Verdict {
	return Verdict{Outcome: finding.Skip, Detail: fmt.Sprintf(format, args...)}
}

func failed(err error) Verdict { return Verdict{Err: err} }

// because adds what decided.
func (v Verdict) because(asked, format string, args ...any) Verdict {
	v.Evidence = append(v.Evidence, finding.Evidence{Asked: asked, Answer: fmt.Sprintf(format, args...), At: time.Now().UTC()})
	return v
}

// instead replaces the remedy.
func (v Verdict) instead(remedy string) Verdict {
	v.Remedy = remedy
	return v
}
