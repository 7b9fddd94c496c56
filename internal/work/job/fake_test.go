package job_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/work/job"
)

// paper is a journal and a record in memory, strict as the real one. fail names what is to fail: "begin a", "end a", "update".
type paper struct {
	mu      sync.Mutex
	entries []agent.Entry
	rec     agent.Record
	fail    map[string]error
	log     []string
}

func (p *paper) at(id string) *agent.Entry {
	for i := range p.entries {
		if p.entries[i].StepID == id {
			return &p.entries[i]
		}
	}
	return nil
}

func (p *paper) Entries(context.Context, string) ([]agent.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.entries), p.fail["entries"]
}

func (p *paper) Begin(_ context.Context, run, id string, intent map[string]string) (agent.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["begin "+id]; err != nil {
		return agent.Entry{}, err
	}
	p.log = append(p.log, "begin "+id)
	if e := p.at(id); e != nil {
		return *e, nil
	}
	p.entries = append(p.entries, agent.Entry{RunID: run, StepID: id, Intent: maps.Clone(intent), Begun: time.Now()})
	return p.entries[len(p.entries)-1], nil
}

func (p *paper) Withdraw(_ context.Context, _, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, "withdraw "+id)
	p.entries = slices.DeleteFunc(p.entries, func(e agent.Entry) bool { return e.StepID == id && e.Ended == nil })
	return nil
}

func (p *paper) End(_ context.Context, _, id string, r agent.Result) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["end "+id]; err != nil {
		return err
	}
	p.log = append(p.log, "end "+id)
	e := p.at(id)
	switch {
	case e == nil:
		return fault.Newf(fault.Conflict, "ended without begin")
	case e.Ended != nil && !reflect.DeepEqual(e.Result, r):
		return fault.Newf(fault.Conflict, "ended with another result")
	}
	now := time.Now()
	e.Ended, e.Result = &now, r
	return nil
}

func (p *paper) Update(_ context.Context, _ string, change func(*agent.Record) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fail["update"]; err != nil {
		return err
	}
	p.log = append(p.log, "update")
	return change(&p.rec)
}

// begun and done are entries of an earlier process.
func begun(id string, intent map[string]string) agent.Entry {
	return agent.Entry{StepID: id, Intent: intent}
}

func done(id string, r agent.Result) agent.Entry {
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return agent.Entry{StepID: id, Ended: &at, Result: r}
}

// stage is a world of steps that each take a second.
type stage struct {
	*testing.T
	paper  *paper
	events []api.Event

	mu      sync.Mutex
	running int
	most    int
	did     []string
	do      map[string]func(n int, c *job.Call) (agent.Result, error) // by step id; n counts from 1
	tries   map[string]int
	handler job.Handler // Do is the stage's
	started time.Time
	steps   []agent.Step
}

func newStage(t *testing.T, steps ...agent.Step) *stage {
	s := &stage{T: t, paper: &paper{fail: map[string]error{}}, do: map[string]func(int, *job.Call) (agent.Result, error){}, tries: map[string]int{}, started: time.Now(), steps: steps}
	return s
}

func (s *stage) run(ctx context.Context) (job.Outcome, error) {
	return s.runner().Run(ctx, s.plan())
}

func (s *stage) plan() agent.Run {
	return agent.Run{ID: "r", Agent: "bot", Verb: agent.Apply, Plan: agent.Plan{Steps: s.steps, Facts: map[string]string{"known": "from the plan"}}}
}

func (s *stage) runner() *job.Runner {
	h := s.handler
	h.Do = s.act
	looks := h
	looks.Looks = true
	return &job.Runner{Journal: s.paper, Memory: s.paper, Handlers: map[agent.Action]job.Handler{"": h, agent.Login: looks}, Events: func(e api.Event) { s.events = append(s.events, e) }}
}

func (s *stage) act(_ context.Context, c *job.Call) (agent.Result, error) {
	s.mu.Lock()
	s.running++
	s.most = max(s.most, s.running)
	s.tries[c.Step.ID]++
	n := s.tries[c.Step.ID]
	do := s.do[c.Step.ID]
	s.mu.Unlock()
	time.Sleep(time.Second) // virtual
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	r := agent.Result{Evidence: []finding.Evidence{{Asked: "x"}}}
	if do != nil {
		var err error
		if r, err = do(n, c); err != nil {
			return r, err
		}
	}
	s.mu.Lock()
	s.did = append(s.did, c.Step.ID)
	s.mu.Unlock()
	return r, nil
}

func (s *stage) failing(id string, errs ...error) {
	s.do[id] = func(n int, _ *job.Call) (agent.Result, error) {
		if n <= len(errs) {
			return agent.Result{}, errs[n-1]
		}
		return agent.Result{Evidence: []finding.Evidence{{Asked: "x"}}}, nil
	}
}

func (s *stage) wantDid(want string) {
	s.Helper()
	if got := strings.Join(s.did, " "); got != want {
		s.Errorf("did %q, want %q", got, want)
	}
}

func (s *stage) wantTook(want time.Duration) {
	s.Helper()
	if got := time.Since(s.started); got != want {
		s.Errorf("took %v, want %v", got, want)
	}
}

// statuses are the reports as one line.
func statuses(o job.Outcome) string {
	var all []string
	for _, s := range o.Steps {
		all = append(all, fmt.Sprintf("%s:%s", s.Step, s.Status))
	}
	return strings.Join(all, " ")
}

func step(id string, after ...string) agent.Step {
	return agent.Step{ID: id, Title: "do " + id, After: after}
}

func destroying(id string, proof ...string) agent.Step {
	return agent.Step{ID: id, Title: "destroy " + id, After: proof, Destroys: true, Proof: proof}
}
