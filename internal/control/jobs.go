package control

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Work is what a job does. Its result is told as JSON, also beside an error: a report says how far it came.
type Work = func(ctx context.Context, events func(api.Event)) (result any, err error)

// Jobs runs long work apart from who asked for it. A client that goes away does not end a job; whoever asks for the same work on the same
// agent joins the one that runs; another change of that agent has to wait for its end. Work that only reads runs beside a change: whoever may
// look must not be able to keep a revoke waiting. Safe for use from several goroutines.
type Jobs struct {
	mu      sync.Mutex
	byID    map[string]*task
	order   []string        // oldest first
	running map[slot]string // → id
	ended   sync.WaitGroup
	closing bool
	ctx     context.Context // of all jobs
	stop    context.CancelFunc
}

// keptJobs bounds how many jobs that have ended are remembered: what they did is in journal and ledger.
const keptJobs = 200

// NewJobs makes the desk.
func NewJobs() *Jobs {
	ctx, stop := context.WithCancel(context.Background())
	return &Jobs{byID: map[string]*task{}, running: map[slot]string{}, ctx: ctx, stop: stop}
}

// slot is what one job has at a time: the changes of an agent, or one kind of reading it.
type slot struct{ agent, reads string }

// readVerb is the work that changes nothing.
const readVerb = "preflight"

func slotOf(agentName, verb string) slot {
	if verb == readVerb {
		return slot{agentName, verb}
	}
	return slot{agent: agentName}
}

type task struct {
	job    api.Job
	events []api.JobEvent
	more   chan struct{} // closed and made anew with each event
}

// Start begins the work, or joins the running one of the same verb and agent. fault.Busy: the agent is being changed otherwise.
// fault.Unavailable: the server ends.
func (j *Jobs) Start(agentName, verb, actor string, do Work) (job api.Job, joined bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closing {
		return api.Job{}, false, fault.New(fault.Unavailable, "the server is ending", "ask again once it is back")
	}
	at := slotOf(agentName, verb)
	if id, busy := j.running[at]; busy {
		t := j.byID[id]
		if t.job.Verb == verb {
			return t.job, true, nil
		}
		return t.job, false, fault.New(fault.Busy, "agent "+agentName+" is busy: "+t.job.Verb+", started by "+t.job.Actor, "wait for job "+id)
	}
	t := &task{job: api.Job{ID: newID(), Agent: agentName, Verb: verb, Actor: actor, Started: time.Now().UTC(), Status: api.JobRunning}, more: make(chan struct{})}
	j.byID[t.job.ID], j.running[at] = t, t.job.ID
	j.order = append(j.order, t.job.ID)
	j.forget()
	j.ended.Go(func() { j.run(t, do) })
	return t.job, false, nil
}

// forget drops the oldest jobs that have ended; the caller holds the lock.
func (j *Jobs) forget() {
	for i := 0; len(j.order) > keptJobs && i < len(j.order); {
		if id := j.order[i]; j.byID[id].job.Status != api.JobRunning {
			delete(j.byID, id)
			j.order = slices.Delete(j.order, i, i+1)
			continue
		}
		i++
	}
}

func (j *Jobs) run(t *task, do Work) {
	result, err := do(j.ctx, func(e api.Event) { j.tell(t, api.JobEvent{Event: &e}) })
	j.mu.Lock()
	t.job.Ended, t.job.Status = time.Now().UTC(), api.JobDone
	if b, e := json.Marshal(result); e == nil && result != nil {
		t.job.Result = b
	}
	if err != nil {
		p := api.ProblemOf(err)
		t.job.Status, t.job.Problem = api.JobFailed, &p
	}
	delete(j.running, slotOf(t.job.Agent, t.job.Verb))
	done := t.job
	j.mu.Unlock()
	j.tell(t, api.JobEvent{Done: &done})
}

func (j *Jobs) tell(t *task, e api.JobEvent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.N = len(t.events) + 1
	t.events = append(t.events, e)
	close(t.more)
	t.more = make(chan struct{})
}

// Job is the job of that id. fault.NotFound: there is none, or it ended long ago.
func (j *Jobs) Job(id string) (api.Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t := j.byID[id]; t != nil {
		return t.job, nil
	}
	return api.Job{}, fault.New(fault.NotFound, "no job "+id+" here", "the ledger keeps what was done: leastkey ledger show")
}

// List gives the jobs that are remembered, the newest first.
func (j *Jobs) List() []api.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := []api.Job{}
	for _, id := range slices.Backward(j.order) {
		all = append(all, j.byID[id].job)
	}
	return all
}

// Follow tells every event of the job from number after+1 on, as they come, until the last one, which has Done. It ends early with the
// context, or with each's error.
func (j *Jobs) Follow(ctx context.Context, id string, after int, each func(api.JobEvent) error) error {
	if _, err := j.Job(id); err != nil {
		return err
	}
	for at := max(after, 0); ; {
		j.mu.Lock()
		t := j.byID[id]
		if t == nil { // forgotten meanwhile
			j.mu.Unlock()
			return nil
		}
		news, more := slices.Clone(t.events[min(at, len(t.events)):]), t.more
		over := t.job.Status != api.JobRunning && len(t.events) > 0 && t.events[len(t.events)-1].Done != nil && len(news) == 0
		j.mu.Unlock()
		for _, e := range news {
			if err := each(e); err != nil {
				return err
			}
			at = e.N
			if e.Done != nil {
				return nil
			}
		}
		if over {
			return nil
		}
		if len(news) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Wait waits for the job's end.
func (j *Jobs) Wait(ctx context.Context, id string) (api.Job, error) {
	job, err := j.Job(id)
	if err != nil {
		return job, err
	}
	err = j.Follow(ctx, id, 0, func(e api.JobEvent) error {
		if e.Done != nil {
			job = *e.Done
		}
		return nil
	})
	return job, err
}

// Close takes no more work, waits for what runs, and, once the context ends, interrupts it: a step that has begun is finished or left to the
// journal.
func (j *Jobs) Close(ctx context.Context) {
	j.mu.Lock()
	j.closing = true
	j.mu.Unlock()
	over := make(chan struct{})
	go func() {
		j.ended.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		j.stop()
		<-over
	}
	j.stop()
}
