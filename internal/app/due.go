package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// How often the server looks for work that is due. Between, it sleeps until the next time that the record names; leastkey.yaml may change that,
// and another process may have left a run open, so it never sleeps longer than an hour.
const (
	longestSleep  = time.Hour
	shortestSleep = time.Second
	firstRetry    = time.Minute
	longestRetry  = 6 * time.Hour
)

// selfActor is the server in the ledger, where it does what is due.
const selfActor = "leastkey serve"

// due is what is due now.
func (h *house) due(ctx context.Context) ([]api.DueWork, error) {
	all, _, err := h.dueAt(ctx, time.Now())
	return all, err
}

func (h *house) dueAt(ctx context.Context, now time.Time) ([]api.DueWork, time.Time, error) {
	l, err := h.enter(ctx, selfActor)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer l.Close()
	return l.Due(ctx, now)
}

// worker does what is due, one thing after the other.
type worker struct {
	house *house
	jobs  *control.Jobs
	log   *slog.Logger
	later map[api.DueWork]retry
	quiet string // why there was no cloud the last time
}

// retry is when something that failed is tried again.
type retry struct {
	at   time.Time
	wait time.Duration
}

// work does what is due, now and whenever more is, until the context ends.
func (h *house) work(ctx context.Context, jobs *control.Jobs, log *slog.Logger) {
	w := &worker{house: h, jobs: jobs, log: log, later: map[api.DueWork]retry{}}
	for {
		timer := time.NewTimer(w.round(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// round does what is due now, and tells how long to sleep.
func (w *worker) round(ctx context.Context) time.Duration {
	now := time.Now()
	all, next, err := w.house.dueAt(ctx, now)
	if err != nil {
		switch {
		case ctx.Err() != nil:
		case fault.Is(err, fault.NotFound): // a cloud that is not there yet is no failure, and is told once
			if w.quiet != err.Error() {
				w.log.Info("due work waits for a cloud", "error", err.Error())
			}
			w.quiet = err.Error()
		default:
			w.log.Warn("due work", "error", err.Error())
		}
		return firstRetry
	}
	w.quiet = ""
	still := map[api.DueWork]retry{}
	for _, d := range all {
		r, failed := w.later[d]
		if !failed || !now.Before(r.at) {
			r = w.one(ctx, d, r)
		}
		if r.wait > 0 {
			still[d] = r
			if next.IsZero() || r.at.Before(next) {
				next = r.at
			}
		} else {
			next = now // what follows from it is looked for at once
		}
		if ctx.Err() != nil {
			break
		}
	}
	w.later = still
	if next.IsZero() {
		return longestSleep
	}
	return min(max(time.Until(next), shortestSleep), longestSleep)
}

// one does one thing, and tells when it is to be tried again: never, for the zero retry.
func (w *worker) one(ctx context.Context, d api.DueWork, before retry) retry {
	log := w.log.With("agent", d.Agent, "what", d.What, "since", d.Since)
	job, _, err := w.jobs.Start(d.Agent, d.What, selfActor, func(ctx context.Context, events func(api.Event)) (any, error) {
		l, err := w.house.enter(ctx, selfActor)
		if err != nil {
			return nil, err
		}
		defer l.Close()
		return l.RunDue(ctx, d, events)
	})
	if err == nil {
		job, err = w.jobs.Wait(ctx, job.ID)
	}
	switch {
	case ctx.Err() != nil:
		return before // it is in the journal
	case err == nil && job.Problem == nil:
		log.Info("due work done", "job", job.ID)
		return retry{}
	case err == nil && job.Problem.Code == string(fault.Conflict):
		return retry{} // somebody was faster, or the world has changed: the next look says
	}
	if fault.Is(err, fault.Busy) || (err == nil && job.Problem.Code == string(fault.Busy)) { // the agent is being changed: nothing has failed, so the wait does not grow
		before = retry{}
	}
	if err == nil {
		log.Warn("due work failed", "job", job.ID, "error", job.Problem.Detail, "hint", job.Problem.Hint)
	} else {
		log.Info("due work waits", "error", err.Error())
	}
	wait := min(max(2*before.wait, firstRetry), longestRetry)
	return retry{at: time.Now().Add(wait), wait: wait}
}
