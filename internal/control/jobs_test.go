package control_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// held is work that ends when it is let go.
func held(result any, err error) (control.Work, func()) {
	let := make(chan struct{})
	return func(ctx context.Context, events func(api.Event)) (any, error) {
		events(api.Event{Title: "begun"})
		select {
		case <-let:
		case <-ctx.Done():
			return result, context.Cause(ctx)
		}
		events(api.Event{Title: "ended"})
		return result, err
	}, sync.OnceFunc(func() { close(let) })
}

func TestJobsJoinTheSameAndRefuseOtherWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := control.NewJobs()
		work, let := held(map[string]string{"agent": "a"}, nil)
		first, joined, err := jobs.Start("a", "apply", "ann", work)
		if err != nil || joined {
			t.Fatalf("Start = joined %v, %v", joined, err)
		}
		second, joined, err := jobs.Start("a", "apply", "bob", func(context.Context, func(api.Event)) (any, error) {
			t.Error("the second caller's work ran beside the first's")
			return nil, nil
		})
		if err != nil || !joined || second.ID != first.ID {
			t.Errorf("the second caller got job %s, joined %v, %v; want job %s", second.ID, joined, err, first.ID)
		}
		if _, _, err := jobs.Start("a", "revoke", "bob", work); !fault.Is(err, fault.Busy) || !strings.Contains(err.Error(), "apply, started by ann") {
			t.Errorf("other work beside it: %v", err)
		}
		other, letOther := held(nil, errors.New("no luck"))
		failed, _, err := jobs.Start("b", "revoke", "bob", other)
		if err != nil {
			t.Errorf("another agent's work: %v", err)
		}
		let()
		letOther()
		done, err := jobs.Wait(t.Context(), first.ID)
		if err != nil || done.Status != api.JobDone || string(done.Result) != `{"agent":"a"}` {
			t.Errorf("Wait = %+v, %v", done, err)
		}
		if done, _ = jobs.Wait(t.Context(), failed.ID); done.Status != api.JobFailed || done.Problem == nil || done.Problem.Detail != "no luck" {
			t.Errorf("a job that failed: %+v", done)
		}
		again, joined, err := jobs.Start("a", "apply", "ann", func(context.Context, func(api.Event)) (any, error) { return nil, nil })
		if err != nil || joined || again.ID == first.ID {
			t.Errorf("after its end: job %s, joined %v, %v", again.ID, joined, err)
		}
		jobs.Close(t.Context())
		if _, _, err := jobs.Start("c", "apply", "ann", work); !fault.Is(err, fault.Unavailable) {
			t.Errorf("after Close: %v", err)
		}
		if list := jobs.List(); len(list) != 3 || list[0].ID != again.ID || list[2].ID != first.ID {
			t.Errorf("List = %+v, want the newest first", list)
		}
	})
}

func TestReadingDoesNotKeepAChangeWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := control.NewJobs()
		work, let := held(nil, nil)
		look, _, err := jobs.Start("a", "preflight", "viewer", work)
		if err != nil {
			t.Fatal(err)
		}
		if again, joined, err := jobs.Start("a", "preflight", "bob", work); err != nil || !joined || again.ID != look.ID {
			t.Errorf("a second preflight: joined %v, %v", joined, err)
		}
		change, letChange := held(nil, nil)
		revoke, joined, err := jobs.Start("a", "revoke", "ann", change)
		if err != nil || joined {
			t.Fatalf("a revoke beside a preflight: joined %v, %v", joined, err)
		}
		if _, _, err := jobs.Start("a", "rotate", "ann", change); !fault.Is(err, fault.Busy) {
			t.Errorf("two changes at once: %v", err)
		}
		let()
		if _, err := jobs.Wait(t.Context(), look.ID); err != nil {
			t.Error(err)
		}
		if _, _, err := jobs.Start("a", "rotate", "ann", change); !fault.Is(err, fault.Busy) {
			t.Errorf("the end of the preflight has freed the change's place: %v", err)
		}
		letChange()
		if done, err := jobs.Wait(t.Context(), revoke.ID); err != nil || done.Status != api.JobDone {
			t.Errorf("%+v %v", done, err)
		}
		jobs.Close(t.Context())
	})
}

func TestAJobOutlivesWhoFollowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := control.NewJobs()
		work, let := held("done", nil)
		job, _, _ := jobs.Start("a", "apply", "ann", work)
		ctx, leave := context.WithCancel(t.Context())
		var seen []int
		err := jobs.Follow(ctx, job.ID, 0, func(e api.JobEvent) error {
			seen = append(seen, e.N)
			leave()
			return nil
		})
		if !errors.Is(err, context.Canceled) || len(seen) != 1 {
			t.Fatalf("Follow = %v after %v", err, seen)
		}
		if j, _ := jobs.Job(job.ID); j.Status != api.JobRunning {
			t.Fatalf("the job is %s after its follower left", j.Status)
		}
		let()
		// Whoever comes back goes on behind what they have seen, and sees each event once, in order.
		var titles []string
		if err := jobs.Follow(t.Context(), job.ID, seen[0], func(e api.JobEvent) error {
			if e.N != seen[len(seen)-1]+1 {
				t.Errorf("event %d follows %d", e.N, seen[len(seen)-1])
			}
			seen = append(seen, e.N)
			if e.Event != nil {
				titles = append(titles, e.Event.Title)
			}
			return nil
		}); err != nil || strings.Join(titles, " ") != "ended" || len(seen) != 3 {
			t.Errorf("Follow = %v, events %v, titles %v", err, seen, titles)
		}
		if err := jobs.Follow(t.Context(), job.ID, 99, func(api.JobEvent) error { return nil }); err != nil {
			t.Errorf("following behind the end: %v", err)
		}
		if err := jobs.Follow(t.Context(), "none", 0, nil); !fault.Is(err, fault.NotFound) {
			t.Errorf("a job that is none: %v", err)
		}
		jobs.Close(t.Context())
	})
}

func TestCloseWaitsAndThenInterrupts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := control.NewJobs()
		work, _ := held(nil, nil)
		job, _, _ := jobs.Start("a", "apply", "ann", work)
		began := time.Now()
		patience, done := context.WithTimeout(t.Context(), 30*time.Second)
		defer done()
		jobs.Close(patience)
		if waited := time.Since(began); waited != 30*time.Second {
			t.Errorf("Close took %v", waited)
		}
		if j, _ := jobs.Job(job.ID); j.Status != api.JobFailed {
			t.Errorf("an interrupted job is %s", j.Status)
		}
	})
}
