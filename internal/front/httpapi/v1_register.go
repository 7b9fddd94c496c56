package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// registerV1 registers the operations of /api/v1. The frame's own, of sessions, are registered elsewhere.
func registerV1(s *Server, a huma.API) {
	v := &version1{Server: s, api: a, plans: newPlanBook(s.c.Now), desk: newDesk(s.c.House, s.c.Jobs)}
	v.about()
	v.agents()
	v.planning()
	v.jobs()
	v.actions()
	v.preflight()
	v.ledger()
	v.provisioner()
	v.specification()
	v.examples()
}

// version1 is /api/v1.
type version1 struct {
	*Server
	api   huma.API
	plans *planBook
	desk  *desk
}

// operation is what every operation says of itself.
func operation(method, path, id, tag, summary, description string) huma.Operation {
	return huma.Operation{Method: method, Path: path, OperationID: id, Tags: []string{tag}, Summary: summary, Description: description}
}

// accepted is an operation that begins a job.
func accepted(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusAccepted
	op.Description += "\n\nThe answer is the job, once its work has begun; a refusal, such as a plan that is not the pinned one any more, is told at once. " +
		"Follow it at /jobs/{id}/events. A client that goes away does not end it, and whoever asks for the same joins it."
	return op
}

// body is an answer whose body is a T.
type body[T any] struct{ Body T }

// jobAnswer is a job, and where it is.
type jobAnswer struct {
	Location string `header:"Location" doc:"Where the job is."`
	Body     api.Job
}

func answerJob(j api.Job, err error) (*jobAnswer, error) {
	if err != nil {
		return nil, outside(err)
	}
	return &jobAnswer{Location: v1 + "/jobs/" + j.ID, Body: j}, nil
}

// AgentPath names the agent in the path.
type AgentPath struct {
	Agent string `path:"agent" doc:"Name of the agent in leastkey.yaml." example:"polyclaw-runtime" maxLength:"128"`
}

// ask opens the door as the caller for the length of do.
func ask[T any](ctx context.Context, s *Server, do func(Door) (T, error)) (*body[T], error) {
	return through(ctx, s.enter, do)
}

// kept is ask for what needs no cloud: it is answered while there is none.
func kept[T any](ctx context.Context, s *Server, do func(Door) (T, error)) (*body[T], error) {
	return through(ctx, s.recall, do)
}

func through[T any](ctx context.Context, open func(context.Context) (Door, error), do func(Door) (T, error)) (*body[T], error) {
	d, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer leave(d)
	got, err := do(d)
	if err != nil {
		return nil, outside(err)
	}
	return &body[T]{got}, nil
}

// outside tells an operator who is not logged in from a caller who is not: 401 would say that the caller's own token is wrong, and lead a
// browser to the login. The code stays.
func outside(err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	p := problemOf(err)
	p.Status, p.Title = http.StatusServiceUnavailable, http.StatusText(http.StatusServiceUnavailable)
	return &fullerError{p, p, err}
}

// leave lets go of a door. It stays open for others, so there is nothing that closing it could lose.
func leave(d Door) { _ = d.Close() }

// list makes an empty list of a nil one: JSON's null is no list.
func list[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}

// desk starts jobs for callers.
type desk struct {
	house House
	jobs  Jobs

	mu   sync.Mutex
	pins map[string]string // job id → digest that it was approved by
}

func newDesk(h House, j Jobs) *desk { return &desk{house: h, jobs: j, pins: map[string]string{}} }

// longestStart is how long an answer waits for the work to begin: looking at a slow cloud takes its time, and the job goes on meanwhile.
const longestStart = 20 * time.Second

// assignment is work for the desk. It does its work through the door that it is given, tells its events, and calls approved once it is clear
// that it will be done as it was pinned.
type assignment struct {
	agent, verb, pin string
	do               func(ctx context.Context, d Door, approved func(), events func(api.Event)) (any, error)
}

// begin starts the work as the caller and waits until it has begun, has ended, or is refused, which is the error; or until it has taken long.
// Whoever asks for the same work joins it; with another plan pinned that is fault.Busy.
func (k *desk) begin(ctx context.Context, w assignment) (api.Job, error) {
	who, ok := WhoOf(ctx)
	if !ok {
		return api.Job{}, unauthenticated()
	}
	start := newStart()
	job, joined, err := k.start(w, who, start)
	if err != nil || joined {
		return job, err
	}
	late := time.NewTimer(longestStart)
	defer late.Stop()
	select {
	case <-start.begun:
	case <-ctx.Done():
		return job, nil
	case <-late.C:
		return job, nil
	}
	refusal, over := start.outcome()
	switch {
	case refusal != nil:
		return job, refusal
	case over: // the result follows within the same breath
		return k.jobs.Wait(ctx, job.ID)
	}
	return k.jobs.Job(job.ID)
}

// start hands the work over under the lock of the pins, so that whoever joins sees what it was approved by.
func (k *desk) start(w assignment, who Who, s *start) (api.Job, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	job, joined, err := k.jobs.Start(w.agent, w.verb, who.Actor(), func(ctx context.Context, events func(api.Event)) (any, error) {
		d, err := k.house.Enter(ctx, who.Actor())
		if err != nil {
			s.end(err)
			return nil, err
		}
		defer leave(d)
		result, err := w.do(ctx, d, s.begin, func(e api.Event) {
			s.begin()
			events(e)
		})
		s.end(err)
		return result, err
	})
	if err != nil {
		return job, false, err
	}
	if joined {
		if pinned := k.pins[job.ID]; w.pin != "" && pinned != w.pin {
			return job, true, fault.New(fault.Busy, "agent "+w.agent+" is busy with another plan: "+w.verb+", started by "+job.Actor, "wait for job "+job.ID)
		}
		return job, true, nil
	}
	k.forget()
	k.pins[job.ID] = w.pin
	return job, false, nil
}

// forget drops the pins of jobs that nobody remembers.
func (k *desk) forget() {
	known := map[string]bool{}
	for _, j := range k.jobs.List() {
		known[j.ID] = true
	}
	for id := range k.pins {
		if !known[id] {
			delete(k.pins, id)
		}
	}
}

// start is how a job begins: what its first answer waits for.
type start struct {
	begun chan struct{}
	once  sync.Once

	mu      sync.Mutex
	working bool // something was approved or done before the end
	over    bool
	err     error
}

func newStart() *start { return &start{begun: make(chan struct{})} }

func (s *start) begin() {
	s.mu.Lock()
	s.working = s.working || !s.over
	s.mu.Unlock()
	s.once.Do(func() { close(s.begun) })
}

func (s *start) end(err error) {
	s.mu.Lock()
	s.over, s.err = true, err
	s.mu.Unlock()
	s.once.Do(func() { close(s.begun) })
}

// outcome is the refusal of work that never began, and whether the work is over.
func (s *start) outcome() (refusal error, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working {
		return nil, s.over
	}
	return s.err, s.over
}

// consent is the approval of work that was pinned by its digest or approved unseen: it tells that the work begins.
func consent(approved func()) func(api.PlanAnswer) (bool, error) {
	return func(api.PlanAnswer) (bool, error) {
		approved()
		return true, nil
	}
}

// pinned refuses a change that nobody has seen: on a real cloud it needs the digest of its plan, on the local one a word.
func pinned(where api.Resolved, digest string, approve bool) error {
	if digest != "" {
		return digits(digest)
	}
	if where.Cloud != agent.Local {
		return fault.New(fault.Invalid, "a change on the "+string(where.Cloud)+" cloud needs the digest of its plan", "make one at "+v1+"/plans, look at it, and send its digest")
	}
	if !approve {
		return fault.New(fault.Invalid, "nothing was approved", `send "digest" of a plan, or, on the local cloud, "approve": true`)
	}
	return nil
}

// digits refuses a pin that could fit by accident.
func digits(pin string) error {
	for _, r := range pin {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') && (r < 'A' || r > 'F') {
			return fault.New(fault.Invalid, "a digest is of hex digits", "")
		}
	}
	if len(pin) < api.LeastDigits || len(pin) > 64 {
		return fault.Newf(fault.Invalid, "a pin has %d to 64 digits of the plan's digest", api.LeastDigits)
	}
	return nil
}

// overlap is the duration of a rotation's overlap; nil is the spec's.
func overlap(text string) (*time.Duration, error) {
	if text == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return nil, fault.New(fault.Invalid, "overlap is a duration of 0s or more, such as 24h", "")
	}
	return &d, nil
}
