package job

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Probe is one kind of waiting: what it waits for, how long at the most, and a try that may be repeated.
type Probe struct {
	What     string        // "the new application on every replica"
	Deadline time.Duration // 0 means DefaultDeadline
	Try      func(context.Context) error
	Waiting  func(next time.Duration, err error) // told before each wait; nil is allowed
	Stop     <-chan struct{}                     // ends the waiting, not the try that is under way; nil never does
}

// DefaultDeadline is how long a probe waits where nothing else is said: Entra and ARM have been seen to take minutes to spread a new
// object (Microsoft, "Troubleshoot Azure RBAC": up to 10 minutes).
const DefaultDeadline = 10 * time.Minute

// sameAgain promises nothing of what was done until then: a wait does not know whether anything was.
const sameAgain = "run the same command again"

const (
	firstWait   = 100 * time.Millisecond
	longestWait = 8 * time.Second
)

// Wait repeats the try until it succeeds, fails with a fault that waiting cannot cure, or the deadline or context ends. Between tries
// it waits with decorrelated jitter, or longer where the service said Retry-After.
func Wait(ctx context.Context, p Probe) error {
	if p.Deadline == 0 {
		p.Deadline = DefaultDeadline
	}
	end := time.Now().Add(p.Deadline)
	wait := firstWait
	for {
		err := p.Try(ctx) // bounded by the client's timeout for one request
		if err == nil || !again(err) {
			return err
		}
		wait = min(longestWait, firstWait+rand.N(3*wait-firstWait))
		next := max(wait, fault.RetryAfter(err))
		if time.Now().Add(next).After(end) {
			return &fault.Error{Code: fault.CodeOf(err), Op: fmt.Sprintf("waited %s for %s", p.Deadline, p.What), Err: err,
				Hint: cmp.Or(fault.Hint(err), sameAgain)}
		}
		if p.Waiting != nil {
			p.Waiting(next, err)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("waiting for %s: %w", p.What, context.Cause(ctx))
		case <-p.Stop:
			timer.Stop()
			return fmt.Errorf("waiting for %s: %w", p.What, ErrInterrupted)
		case <-timer.C:
		}
	}
}

// ErrInterrupted says that somebody asked to stop. It is [context.Canceled] to those who ask.
var ErrInterrupted error = interrupted{}

type interrupted struct{}

// Error implements [error].
func (interrupted) Error() string { return "interrupted" }

// Is implements what [errors.Is] looks for.
func (interrupted) Is(target error) bool { return target == context.Canceled }

func again(err error) bool {
	return fault.Is(err, fault.Throttled, fault.Unavailable, fault.NotYet)
}

// Retry is Wait for a read that is worth repeating only while the service is throttled or away.
func Retry[T any](ctx context.Context, what string, read func(context.Context) (T, error)) (T, error) {
	var got T
	err := Wait(ctx, Probe{What: what, Deadline: 3 * time.Minute, Try: func(ctx context.Context) (err error) {
		got, err = read(ctx)
		return err
	}})
	return got, err
}

// Spreading turns "not found" into "not yet": for objects that this plan has just made, whose absence on a replica says only that they
// have not arrived there.
func Spreading(err error) error {
	if fault.Is(err, fault.NotFound) {
		return &fault.Error{Code: fault.NotYet, Service: fault.Service(err), Hint: fault.Hint(err), Err: err}
	}
	return err
}
