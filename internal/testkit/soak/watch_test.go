package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// seen is what the request log has told.
type seen struct {
	mu       sync.Mutex
	last     uint64
	missed   uint64
	faults   int
	agents   map[string]int // by the first word of the user agent
	statuses map[int]int
	logins   int // that came to their end, with an assertion or not
	strange  map[string]bool
	watching sync.WaitGroup
}

// watch follows the request log until the cloud ends.
func (s *soak) watch() {
	s.agents, s.statuses, s.strange = map[string]int{}, map[int]int{}, map[string]bool{}
	ctx, cancel := context.WithCancel(context.Background())
	s.watching.Go(func() {
		err := s.manage.Requests(ctx, 0, true, func(r localcloud.Request) error { s.note(r); return nil })
		if err != nil && ctx.Err() == nil {
			s.Logf("the request log ended: %v", err) // as it does with the cloud
		}
	})
	s.Cleanup(func() { cancel(); s.watching.Wait() })
}

// note judges a request: no answer of 500 and above may be there that no knob has made.
func (s *soak) note(r localcloud.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests.Add(1)
	if r.N != s.last+1 {
		s.missed += r.N - s.last - 1
	}
	s.last = r.N
	s.statuses[r.Status]++
	if r.Fault != "" {
		s.faults++
	}
	if r.Plane == "login" && r.Status == 200 {
		s.logins++
	}
	agent, _, _ := strings.Cut(r.Agent, "/")
	s.agents[agent]++
	if !unasked(r) {
		return
	}
	violations.Add(1)
	if line := fmt.Sprintf("%s %s: %d", r.Method, r.URL, r.Status); !s.strange[line] && len(s.strange) < 20 {
		s.strange[line] = true
		s.Errorf("VIOLATION: nobody has asked for it: %s, to %s", line, r.Agent)
	}
}

// unasked tells whether a request failed on the cloud's side without a knob's doing.
func unasked(r localcloud.Request) bool { return r.Status >= 500 && r.Fault == "" }

// sample is how much live memory the cloud has at a time, and how many logins it has seen.
type sample struct {
	at     time.Duration
	heap   uint64
	logins int
}

// sample looks at the cloud until the load ends.
func (s *soak) sample(ctx context.Context) []sample {
	every := max(s.load/60, time.Second)
	var all []sample
	for began := time.Now(); pause(ctx, every) == nil; {
		state, err := s.manage.Collected(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			s.violate("the management API: %v", err)
		default:
			s.mu.Lock()
			one := sample{time.Since(began), state.Heap, s.logins}
			if len(all)%10 == 9 {
				s.Logf("after %.0f s: %d requests, %d of them made to fail, heap %s, %d goroutines, %d applications, %d deleted items",
					one.at.Seconds(), s.last, s.faults, mega(state.Heap), state.Goroutines, state.Objects["applications"], state.Objects["deletedItems"])
			}
			s.mu.Unlock()
			all = append(all, one)
		}
	}
	return all
}

// Memory is flat if the median of the last quarter is not above that of the quarter before by more than this. The first half is left out:
// the request log is filling then, which keeps the last 8192 requests. Clients make objects at the rate at which they delete them, but
// each login leaves what a replay of it is known by until its assertion ends, which may be after the run (RFC 7523 §3, item 7).
const (
	slack         = 2 << 20
	slackPerLogin = 256
)

// quarter is the median heap of a quarter of the samples, from 0, and the logins seen by its end.
func quarter(all []sample, n int) (heap uint64, logins int) {
	part := slices.Clone(all[n*len(all)/4 : (n+1)*len(all)/4])
	slices.SortFunc(part, func(a, b sample) int { return cmp.Compare(a.heap, b.heap) })
	return part[len(part)/2].heap, all[(n+1)*len(all)/4-1].logins
}

// growth is by how much the heap has grown in the last quarter, and by how much it may.
func growth(all []sample) (grown, allowed int64) {
	third, before := quarter(all, 2)
	fourth, after := quarter(all, 3)
	return int64(fourth) - int64(third), int64(slack + slackPerLogin*(after-before))
}

// flat judges the samples. Of a short run there is nothing to judge.
func (s *soak) flat(all []sample) {
	if s.load < 30*time.Second {
		return
	}
	if len(all) < 8 {
		s.violate("the cloud was looked at %d times only", len(all))
		return
	}
	var heaps []string
	for n := range 4 {
		heap, _ := quarter(all, n)
		heaps = append(heaps, mega(heap))
	}
	grown, allowed := growth(all)
	s.Logf("heap by quarters: %s; the last has %.1f MB more than the third, %.1f MB would be too much", strings.Join(heaps, ", "), float64(grown)/1e6, float64(allowed)/1e6)
	if grown > allowed {
		s.violate("memory grows: the heap by quarters is %s", strings.Join(heaps, ", "))
	}
}

// report tells who did what. A client that has never come to an end has proved nothing.
func (s *soak) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.team {
		s.Logf("%-18s %6d turns, %d given up, the last for: %.200s", c.name, c.done, c.failed, strings.Join(strings.Fields(fmt.Sprint(c.last)), " "))
		if c.done == 0 && s.load >= time.Minute {
			s.violate("%s never came to the end of a turn: %v", c.name, c.last)
		}
	}
	for _, agent := range slices.Sorted(maps.Keys(s.agents)) {
		s.Logf("%6d requests of %q", s.agents[agent], agent)
	}
	s.Logf("%d requests, %d made to fail, %d lines of the log missed; by status %v", s.last, s.faults, s.missed, s.statuses)
	if s.last == 0 {
		s.violate("%v", errors.New("nothing was asked"))
	}
}
