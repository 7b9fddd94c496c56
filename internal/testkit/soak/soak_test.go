// Package soak lets several real clients use one local cloud side by side while it is slow, forgetful and unreliable, and looks for what
// only time brings out: an answer 500 that nobody has asked for, a data race, a goroutine that stays, memory that grows.
//
// The cloud is the built program in a process of its own. What is run by hand, by `make soak`, is built with the race detector and used by
// every client that is installed; without flags it is a few seconds of the Go SDK alone, which keeps the package from rotting.
package soak

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud"
)

var (
	seconds  = flag.Int("seconds", 3, "how long the load lasts")
	detect   = flag.Bool("race-build", false, "build the cloud with the race detector, which needs a C compiler")
	programs = flag.Bool("programs", false, "also run curl, az and the JavaScript and Python clients, those that are there")
)

var requests, violations atomic.Int64

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	fmt.Printf("soak: %d requests, %d violations\n", requests.Load(), violations.Load())
	os.Exit(code)
}

func TestSoak(t *testing.T) {
	load := time.Duration(*seconds) * time.Second
	s := &soak{T: t, load: load}
	s.serve(*detect)
	s.watch()
	s.prepare()
	team := s.clients()
	base := s.idle(0)
	s.Logf("at rest: %d goroutines, heap %s", base.Goroutines, mega(base.Heap))

	ctx, cancel := context.WithTimeout(t.Context(), load)
	defer cancel()
	var clients sync.WaitGroup
	for _, c := range team {
		clients.Go(func() { c.run(ctx) })
	}
	clients.Go(func() { s.weather(ctx) })
	samples := s.sample(ctx)
	clients.Wait()

	s.hangUp()
	s.calm()
	s.must(pause(t.Context(), longest)) // until what was written last is seen everywhere
	s.sweep(t.Context(), time.Now())
	s.hangUp()
	end := s.idle(base.Goroutines)
	s.Logf("at rest again: %d goroutines, heap %s, %v", end.Goroutines, mega(end.Heap), end.Objects)
	s.flat(samples)
	s.stop()
	s.report()
}

// soak is one run.
type soak struct {
	*testing.T
	load time.Duration
	place
	seen
	team []*client

	sweeping sync.Mutex
	sweeper  *program
	kept     map[string]bool // what was there before the clients
}

// violate says what must not be, and counts it.
func (s *soak) violate(format string, args ...any) {
	violations.Add(1)
	s.Errorf("VIOLATION: "+format, args...)
}

// client is a program, or one job of one, that does the same again and again.
type client struct {
	s      *soak
	name   string
	turn   func(ctx context.Context) error
	done   int // turns that came to their end
	failed int // turns that did not, as may happen on a bad day
	last   error
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch err := c.turn(ctx); {
		case err == nil:
			c.done++
		case ctx.Err() == nil:
			c.failed++
			c.last = err
			_ = pause(ctx, 50*time.Millisecond)
		}
	}
}

// weather changes the knobs: three bad days, and then a good one.
func (s *soak) weather(ctx context.Context) {
	each := min(max(s.load/12, 2*time.Second), 15*time.Second)
	for day := uint64(1); ctx.Err() == nil; day++ {
		k := localcloud.Knobs{Latency: time.Millisecond}
		if day%4 != 0 {
			k = localcloud.Hostile(day)
			// Clients that wait for minutes are no load.
			for _, lag := range []*time.Duration{&k.Lag.Login, &k.Lag.Graph, &k.Lag.ARM, &k.Lag.Vault} {
				*lag = min(*lag/60, longest)
			}
			k.RetryAfter, k.Latency, k.Jitter = time.Second, 2*time.Millisecond, k.Jitter/20
		}
		s.knobs(k)
		_ = pause(ctx, each)
	}
}

// longest is how long a write takes to spread.
const longest = 2 * time.Second

func (s *soak) calm() { s.knobs(localcloud.Knobs{}) }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *soak) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func mega(bytes uint64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
