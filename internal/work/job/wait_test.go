package job_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/work/job"
)

func evidenceOf(asked string) []finding.Evidence { return []finding.Evidence{{Asked: asked}} }

func TestWaitRepeatsOnlyWhatMayPass(t *testing.T) {
	for code, again := range map[fault.Code]bool{
		fault.Throttled: true, fault.Unavailable: true, fault.NotYet: true,
		fault.Unknown: false, fault.Invalid: false, fault.NotFound: false, fault.Conflict: false, fault.Forbidden: false, fault.Unauthenticated: false, fault.Corrupt: false, fault.Busy: false, fault.Refused: false,
	} {
		t.Run(string(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				err := job.Wait(t.Context(), job.Probe{What: "x", Try: func(context.Context) error {
					if n++; n < 3 {
						return fault.Newf(code, "x")
					}
					return nil
				}})
				if (err == nil) != again || (again && n != 3) || (!again && n != 1) {
					t.Errorf("%d tries, %v", n, err)
				}
			})
		})
	}
}

func TestWaitHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, n := time.Now(), 0
		var told time.Duration
		err := job.Wait(t.Context(), job.Probe{What: "x", Waiting: func(next time.Duration, _ error) { told = next }, Try: func(context.Context) error {
			if n++; n == 1 {
				return &fault.Error{Code: fault.Unavailable, Err: &fault.Error{Code: fault.Throttled, RetryAfter: 42 * time.Second}}
			}
			return nil
		}})
		if err != nil || time.Since(began) != 42*time.Second || told != 42*time.Second {
			t.Errorf("waited %v, told %v: %v", time.Since(began), told, err)
		}
	})
}

func TestWaitBacksOffWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		began := time.Now()
		err := job.Wait(t.Context(), job.Probe{What: "the new application", Deadline: 5 * time.Minute, Waiting: func(next time.Duration, _ error) { waits = append(waits, next) },
			Try: func(context.Context) error { return fault.New(fault.NotYet, "not there", "") }})
		if !fault.Is(err, fault.NotYet) || !strings.Contains(err.Error(), "waited 5m0s for the new application") || fault.Hint(err) == "" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 5*time.Minute || took < 5*time.Minute-8*time.Second {
			t.Errorf("waited %v", took)
		}
		if len(waits) < 30 || len(waits) > 200 {
			t.Errorf("%d tries in five minutes", len(waits))
		}
		for _, w := range waits {
			if w < 100*time.Millisecond || w > 8*time.Second {
				t.Errorf("a wait of %v", w)
			}
		}
	})
}

// A wait that would end after the deadline is not begun.
func TestWaitDoesNotOutliveItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := job.Wait(t.Context(), job.Probe{What: "x", Try: func(context.Context) error {
			return &fault.Error{Code: fault.Throttled, RetryAfter: time.Hour, Hint: "ask for a higher limit"}
		}})
		if !fault.Is(err, fault.Throttled) || time.Since(began) != 0 || fault.Hint(err) != "ask for a higher limit" {
			t.Errorf("after %v: %v (%s)", time.Since(began), err, fault.Hint(err))
		}
	})
}

func TestWaitEndsWithItsContextOrWhenStopped(t *testing.T) {
	never := func(context.Context) error { return fault.Newf(fault.NotYet, "x") }
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := job.Wait(ctx, job.Probe{What: "x", Try: never}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		go func() { time.Sleep(time.Minute); close(stop) }()
		if err := job.Wait(t.Context(), job.Probe{What: "x", Try: never, Stop: stop}); !errors.Is(err, job.ErrInterrupted) || fault.Is(err, fault.NotYet) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		got, err := job.Retry(t.Context(), "x", func(context.Context) (int, error) {
			if n++; n == 1 {
				return 0, fault.Newf(fault.Unavailable, "x")
			}
			return n, nil
		})
		if got != 2 || err != nil {
			t.Errorf("got %d %v", got, err)
		}
		if _, err := job.Retry(t.Context(), "x", func(context.Context) (int, error) { return 0, fault.Newf(fault.NotFound, "x") }); !fault.Is(err, fault.NotFound) {
			t.Errorf("an answer is asked for again: %v", err)
		}
	})
}

func TestSpreading(t *testing.T) {
	gone := &fault.Error{Code: fault.NotFound, Service: "Request_ResourceNotFound", Hint: "h", RetryAfter: time.Second}
	if got := job.Spreading(gone); !fault.Is(got, fault.NotYet) || fault.Service(got) != gone.Service || fault.Hint(got) != "h" || fault.RetryAfter(got) != time.Second || !errors.Is(got, gone) {
		t.Errorf("got %+v", got)
	}
	for _, err := range []error{nil, errors.New("x"), fault.Newf(fault.Forbidden, "x"), fault.Newf(fault.NotYet, "x")} {
		if got := job.Spreading(err); got != err {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}
