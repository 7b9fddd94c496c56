package control_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/lock"
)

// due is the one thing that is due now, "" for nothing.
func (w *world) due() (api.DueWork, time.Time) {
	w.Helper()
	all, next, err := w.door().Due(w.Context(), time.Now())
	if err != nil || len(all) > 1 {
		w.Fatalf("due %+v %v", all, err)
	}
	if len(all) == 0 {
		return api.DueWork{}, next
	}
	return all[0], next
}

func TestARenewalAndItsRetirementAreDoneWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.spec.Agents[bot].Certificate = agent.CertificatePolicy{Days: 90, RenewAt: 0.5, Overlap: 48 * time.Hour}
		w.provision()
		before := w.oneKey()
		got, next := w.due()
		if got.What != "" || time.Until(next).Round(24*time.Hour) != 45*24*time.Hour {
			t.Fatalf("due %+v, next in %s", got, time.Until(next))
		}
		if _, err := w.door().RunDue(t.Context(), api.DueWork{Agent: bot, What: control.DueRenewal}, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("a renewal that is not due: %v", err)
		}

		time.Sleep(time.Until(next))
		got, _ = w.due()
		if got.What != control.DueRenewal || got.Agent != bot {
			t.Fatalf("due %+v", got)
		}
		r, err := w.door().RunDue(t.Context(), got, nil)
		if err != nil || !r.Rotated {
			t.Fatalf("%+v %v", r, err)
		}
		if now := w.record().Active(); now == nil || now.SHA256 == before.SHA256 {
			t.Fatalf("active %+v", now)
		}

		got, next = w.due()
		if got.What != "" || time.Until(next).Round(time.Hour) != 48*time.Hour {
			t.Fatalf("due %+v, next in %s", got, time.Until(next))
		}
		time.Sleep(time.Until(next))
		if got, _ = w.due(); got.What != control.DueRetirement {
			t.Fatalf("due %+v", got)
		}
		if r, err = w.door().RunDue(t.Context(), got, nil); err != nil || !r.Changed {
			t.Fatalf("%+v %v", r, err)
		}
		w.oneKey()
		w.logsIn("after the retirement")
		if got, _ = w.due(); got.What != "" {
			t.Errorf("still due: %+v", got)
		}
	})
}

// What leastkey does on its own is what somebody has approved, and no more: a drift that shows up on the way is a person's.
func TestARetirementApprovesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.spec.Agents[bot].Certificate.Overlap = time.Hour
		w.provision()
		if _, err := w.rotate(false, api.ApplyRequest{}); err != nil {
			t.Fatal(err)
		}
		w.spec.Agents[bot].KeyVault = "" // one role less is wanted
		time.Sleep(2 * time.Hour)
		got, _ := w.due()
		if got.What != control.DueRetirement {
			t.Fatalf("due %+v", got)
		}
		since := len(w.cloud.Requests())
		if r, err := w.door().RunDue(t.Context(), got, nil); !fault.Is(err, fault.Refused) || r.Changed {
			t.Errorf("%+v %v", r, err)
		}
		for _, q := range w.cloud.Requests()[since:] {
			if q.Plane != "login" && q.Method != "GET" {
				t.Errorf("%s %s", q.Method, q.URL)
			}
		}
		if n := len(w.record().Generations); n != 2 {
			t.Errorf("%d generations", n)
		}
	})
}

func TestAnOpenRunIsContinuedUnderItsOwnApproval(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*agent.Spec)
		goes   bool
	}{
		"of the spec as it is":         {func(*agent.Spec) {}, true},
		"of a spec that changed since": {func(s *agent.Spec) { s.Agents[bot].KeyVault = "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.stopAt("certificate", errors.New("cut"))
				if _, err := w.apply(api.ApplyRequest{}); err == nil {
					t.Fatal("it was not cut")
				}
				w.goOn()
				row.change(&w.spec)
				got, _ := w.due()
				if (got.What == control.DueOpenRun) != row.goes {
					t.Fatalf("due %+v", got)
				}
				if !row.goes {
					return
				}
				r, err := w.door().RunDue(t.Context(), got, nil)
				if err != nil || !r.Changed {
					t.Fatalf("%+v %v", r, err)
				}
				w.oneKey()
				w.logsIn("after it was continued")
				entries := w.ledger(1)
				for _, e := range entries {
					if e.Action == "apply" {
						t.Errorf("a new approval: %+v", e)
					}
				}
				if got, _ = w.due(); got.What != "" {
					t.Errorf("still due: %+v", got)
				}
			})
		})
	}
}

func TestWorkThatSomebodyDoesIsNotDoneTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		_, next := w.due()
		time.Sleep(time.Until(next))
		got, _ := w.due()
		unlock, err := lock.Acquire(t.Context(), filepath.Join(w.dir, "locks", bot+".lock"), "a test", false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.door().RunDue(t.Context(), got, nil); !fault.Is(err, fault.Busy) {
			t.Errorf("%v", err)
		}
		if err := unlock.Release(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.rotate(false, api.ApplyRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.door().RunDue(t.Context(), got, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("rotated already: %v", err)
		}
	})
}

// hastyState lets somebody else do the work between the look at what is due and the lock.
type hastyState struct {
	control.State
	meanwhile func()
}

func (s hastyState) Agents(ctx context.Context) ([]agent.Record, error) {
	all, err := s.State.Agents(ctx)
	s.meanwhile()
	return all, err
}

// Two servers look, and both find the renewal due: the one that gets the lock later finds it done.
func TestTwoServersDoNotRenewTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		_, next := w.due()
		time.Sleep(time.Until(next))
		got, _ := w.due()
		other, faster := w.door(), sync.Once{}
		w.hooks.State = func(s control.State) control.State {
			return hastyState{s, func() {
				faster.Do(func() {
					if r, err := other.RunDue(t.Context(), got, nil); err != nil || !r.Rotated {
						t.Errorf("the faster one: %+v %v", r, err)
					}
				})
			}}
		}
		late := w.door()
		w.hooks.State = nil
		if r, err := late.RunDue(t.Context(), got, nil); !fault.Is(err, fault.Conflict) || r.Rotated {
			t.Errorf("the later one: %+v %v", r, err)
		}
		if n := len(w.record().Generations); n != 1 {
			t.Errorf("%d generations", n)
		}
	})
}

// Whatever the policy says, and whoever let it pass: a certificate that has just been made is not renewed.
func TestAFreshCertificateIsNotDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.spec.Agents[bot].Certificate.RenewAt = 1e-7
		w.provision()
		if got, next := w.due(); got.What != "" || time.Until(next) < 59*time.Minute {
			t.Errorf("due %+v, next in %s", got, time.Until(next))
		}
	})
}
