package job_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
)

func TestOrderAndParallelism(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// a ── b ── d
		//  └── c ──┘     e alone
		s := newStage(t, step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"), step("e"))
		o, err := s.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.wantTook(3 * time.Second)
		if s.most != 2 || s.did[len(s.did)-1] != "d" {
			t.Errorf("at most %d at a time, %v", s.most, s.did)
		}
		if o.CriticalPath != 3*time.Second {
			t.Errorf("critical path %v", o.CriticalPath)
		}
		if got := statuses(o); got != "a:done b:done c:done d:done e:done" {
			t.Error(got)
		}
		for _, e := range s.paper.entries {
			if e.Ended == nil {
				t.Errorf("%s has no end", e.StepID)
			}
		}
	})
}

func TestTheJournalGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, step("a"))
		s.handler.Remember = func(_ *job.Call, _ agent.Result, rec *agent.Record) { rec.AppID = "remembered" }
		s.do["a"] = func(int, *job.Call) (agent.Result, error) {
			if got := strings.Join(s.paper.log, ","); got != "begin a" {
				t.Errorf("before the effect the journal has %q", got)
			}
			return agent.Result{Detail: "seen"}, nil
		}
		if _, err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.paper.log, ","); got != "begin a,update,end a" || s.paper.rec.AppID != "remembered" || s.paper.entries[0].Result.Detail != "seen" {
			t.Errorf("the journal has %q", got)
		}
	})
}

func TestFactsFlowAlongThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, agent.Step{ID: "a"}, agent.Step{ID: "b", After: []string{"a"}, With: map[string]string{"made": "$principal", "known": "$known", "plain": "x", "none": "$nothing"}})
		s.do["a"] = func(int, *job.Call) (agent.Result, error) {
			return agent.Result{Facts: map[string]string{"principal": "p1"}}, nil
		}
		s.do["b"] = func(_ int, c *job.Call) (agent.Result, error) {
			if got := c.With("made") + "|" + c.With("known") + "|" + c.With("plain") + "|" + c.With("none") + "|" + c.With("missing") + "|" + c.Fact("principal"); got != "p1|from the plan|x|||p1" {
				t.Errorf("parameters %s", got)
			}
			return agent.Result{}, nil
		}
		o, err := s.run(t.Context())
		if err != nil || o.Facts["principal"] != "p1" || o.Facts["known"] != "from the plan" {
			t.Errorf("facts %v, %v", o.Facts, err)
		}
		if s.plan().Plan.Facts["principal"] != "" {
			t.Error("the plan itself was changed")
		}
	})
}

func TestAFailureLetsWhatRunsFinishAndStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, step("bad"), step("slow"), step("next", "bad"), step("later", "slow"))
		s.handler.Atomic = true
		s.failing("bad", fault.New(fault.Forbidden, "assign Reader", "ask somebody with that right"))
		s.do["slow"] = func(int, *job.Call) (agent.Result, error) {
			time.Sleep(time.Minute)
			return agent.Result{}, nil
		}
		o, err := s.run(t.Context())
		if got := statuses(o); got != "bad:failed slow:done next:not-run later:not-run" {
			t.Error(got)
		}
		if !fault.Is(err, fault.Stopped) || !strings.Contains(err.Error(), "stopped after 1 of 4 steps") || !strings.Contains(err.Error(), "do bad: assign Reader") ||
			fault.Hint(err) != "ask somebody with that right; then run leastkey apply bot again: it continues where it stopped" {
			t.Errorf("%v; hint %s", err, fault.Hint(err))
		}
		if s.paper.at("slow").Ended == nil || s.paper.at("bad") != nil {
			t.Error("the journal does not say that one is done and the other had no effect")
		}
	})
}

func TestARefusalBeforeAnythingIsDoneIsNotMidway(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		stopped bool
	}{
		"a definite refusal":                {fault.Newf(fault.Forbidden, "x"), false},
		"wrong input":                       {fault.Newf(fault.Invalid, "x"), false},
		"an answer that nobody understands": {errors.New("x"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, step("a"), step("b", "a"))
				s.failing("a", c.err)
				if _, err := s.run(t.Context()); fault.Is(err, fault.Stopped) != c.stopped || !errors.Is(err, c.err) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, step("done"), step("begun", "done"), step("open", "begun"))
		s.paper.entries = []agent.Entry{done("done", agent.Result{Detail: "seen then", Facts: map[string]string{"principal": "p1"}}), begun("begun", map[string]string{"nonce": "first"})}
		minted := 0
		s.handler.Intent = func(context.Context, *job.Call) (map[string]string, error) {
			minted++
			return map[string]string{"nonce": fmt.Sprint("new ", minted)}, nil
		}
		s.do["begun"] = func(_ int, c *job.Call) (agent.Result, error) {
			if c.Intent["nonce"] != "first" || !c.Resumed || c.Fact("principal") != "p1" {
				t.Errorf("intent %v, resumed %v, facts %v", c.Intent, c.Resumed, c.Fact("principal"))
			}
			return agent.Result{}, nil
		}
		s.do["open"] = func(_ int, c *job.Call) (agent.Result, error) {
			if c.Intent["nonce"] != "new 1" || c.Resumed {
				t.Errorf("intent %v, resumed %v", c.Intent, c.Resumed)
			}
			return agent.Result{}, nil
		}
		o, err := s.run(t.Context())
		if err != nil || statuses(o) != "done:already begun:done open:done" || o.Steps[0].Detail != "seen then" {
			t.Errorf("%s %v", statuses(o), err)
		}
		s.wantDid("begun open")
	})
}

func TestResumeLooksFirst(t *testing.T) {
	for name, c := range map[string]struct {
		there  bool
		status string
		did    string
	}{
		"the effect is there":     {true, "a:already", ""},
		"the effect is not there": {false, "a:done", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, step("a"))
				s.paper.entries = []agent.Entry{begun("a", nil)}
				looked := 0
				s.handler.Done = func(context.Context, *job.Call) (agent.Result, bool, error) {
					if looked++; looked == 1 {
						return agent.Result{}, false, fault.Newf(fault.Unavailable, "cut") // nobody knows: look again
					}
					return agent.Result{Detail: "found"}, c.there, nil
				}
				o, err := s.run(t.Context())
				if err != nil || statuses(o) != c.status || looked != 2 {
					t.Errorf("%s %v, looked %d times", statuses(o), err, looked)
				}
				s.wantDid(c.did)
				if c.there && (!s.paper.entries[0].Result.Already || o.Steps[0].Detail != "found") {
					t.Errorf("the journal has %+v", s.paper.entries[0].Result)
				}
			})
		})
	}
}

// A try whose answer was lost is followed by a look; a first try is not preceded by one.
func TestALostAnswerIsFollowedByALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, step("a"))
		s.failing("a", fault.Newf(fault.Unavailable, "cut after the effect"))
		var looked []int
		s.handler.Done = func(context.Context, *job.Call) (agent.Result, bool, error) {
			looked = append(looked, s.tries["a"])
			return agent.Result{Detail: "found"}, true, nil
		}
		o, err := s.run(t.Context())
		if err != nil || statuses(o) != "a:done" || fmt.Sprint(looked) != "[1]" || s.tries["a"] != 1 {
			t.Errorf("%s %v; looked after tries %v; %d tries", statuses(o), err, looked, s.tries["a"])
		}
	})
}

func TestDestroyingNeedsItsProof(t *testing.T) {
	evidence := agent.Result{Evidence: nil}
	for name, c := range map[string]struct {
		steps   []agent.Step
		prepare func(*stage)
		did     string
		refused bool
	}{
		"the proof is made":                     {[]agent.Step{step("proof"), destroying("old", "proof")}, nil, "proof old", false},
		"the proof shows nothing":               {[]agent.Step{step("proof"), destroying("old", "proof")}, func(s *stage) { s.do["proof"] = func(int, *job.Call) (agent.Result, error) { return evidence, nil } }, "proof", true},
		"the proof is not in the plan":          {[]agent.Step{{ID: "old", Destroys: true, Proof: []string{"proof"}}}, nil, "", true},
		"the proof is of a step not waited for": {[]agent.Step{{ID: "old", Destroys: true, Proof: []string{"proof"}}, step("proof")}, nil, "proof", true},
		"no proof is asked for":                 {[]agent.Step{destroying("old")}, nil, "old", false},
		"the proof of an earlier process is redone": {[]agent.Step{step("proof"), destroying("old", "proof")}, func(s *stage) {
			s.paper.entries = []agent.Entry{done("proof", proofResult())}
		}, "proof old", false},
		"an earlier proof that showed nothing": {[]agent.Step{step("proof"), destroying("old", "proof")}, func(s *stage) {
			s.paper.entries = []agent.Entry{done("proof", agent.Result{})}
		}, "", true},
		"an earlier proof that no longer holds": {[]agent.Step{step("proof"), destroying("old", "proof")}, func(s *stage) {
			s.paper.entries = []agent.Entry{done("proof", proofResult())}
			s.failing("proof", fault.Newf(fault.Conflict, "the token is of another"))
		}, "", true},
		"an earlier proof that shows nothing now": {[]agent.Step{step("proof"), destroying("old", "proof")}, func(s *stage) {
			s.paper.entries = []agent.Entry{done("proof", proofResult())}
			s.do["proof"] = func(int, *job.Call) (agent.Result, error) { return evidence, nil }
		}, "proof", true},
		"an earlier proof is redone once for all": {[]agent.Step{step("proof"), destroying("x", "proof"), destroying("y", "proof", "x")}, func(s *stage) {
			s.paper.entries = []agent.Entry{done("proof", proofResult())}
			s.steps[2].Proof = []string{"proof"}
		}, "proof x y", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, c.steps...)
				if c.prepare != nil {
					c.prepare(s)
				}
				_, err := s.run(t.Context())
				if (err != nil) != c.refused {
					t.Errorf("got %v", err)
				}
				s.wantDid(c.did)
				if e := s.paper.at("old"); c.refused && e != nil {
					t.Error("the step was begun without its proof")
				}
			})
		})
	}
}

func TestWhatCannotBeWrittenDownIsNotDone(t *testing.T) {
	broken := fault.Newf(fault.Corrupt, "disk full")
	for name, c := range map[string]struct {
		fail      string
		did       string
		stopped   bool
		unstarted bool
	}{
		"the journal cannot be read":      {"entries", "", false, true},
		"a begin cannot be written":       {"begin a", "", false, false},
		"the state cannot be written":     {"update", "a", true, false},
		"an end cannot be written":        {"end a", "a", true, false},
		"the second begin is not written": {"begin b", "a", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, step("a"), step("b", "a"))
				s.handler.Remember = func(*job.Call, agent.Result, *agent.Record) {}
				s.paper.fail[c.fail] = broken
				o, err := s.run(t.Context())
				if !errors.Is(err, broken) || fault.Is(err, fault.Stopped) != c.stopped {
					t.Errorf("got %v", err)
				}
				if (len(o.Steps) == 0) != c.unstarted {
					t.Errorf("reports %v", o.Steps)
				}
				s.wantDid(c.did)
			})
		})
	}
}

// A plan file may say anything; what cannot be run is refused before anything is.
func TestPlansThatCannotBeRun(t *testing.T) {
	for name, steps := range map[string][]agent.Step{
		"steps that wait for each other":   {step("a", "b"), step("b", "a")},
		"a step that waits for itself":     {step("a", "a")},
		"a step before what it waits for":  {step("b", "a"), step("a")},
		"two steps of one id":              {step("a"), step("a")},
		"an action that nobody knows":      {step("a"), {ID: "b", Action: "teleport"}},
		"a step that comes from elsewhere": {step("a"), {ID: "b", Action: agent.Forget}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, steps...)
			if _, err := s.run(t.Context()); !fault.Is(err, fault.Invalid) || len(s.paper.log) > 0 {
				t.Errorf("got %v, journal %v", err, s.paper.log)
			}
		})
	}
}

func TestAStepOfTheOtherHalfIsNotWaitedFor(t *testing.T) {
	s := newStage(t, step("b", "done by somebody else"))
	synctest.Test(t, func(t *testing.T) {
		if _, err := s.run(t.Context()); err != nil {
			t.Errorf("a step that the plan lacks is waited for: %v", err)
		}
	})
}

func TestInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newStage(t, step("a"), step("b", "a"))
		s.do["a"] = func(int, *job.Call) (agent.Result, error) {
			cancel() // the request is under way: it is let finish
			time.Sleep(time.Second)
			return agent.Result{}, nil
		}
		o, err := s.run(ctx)
		if !fault.Is(err, fault.Stopped) || !errors.Is(err, job.ErrInterrupted) || statuses(o) != "a:done b:not-run" || s.paper.at("a").Ended == nil {
			t.Errorf("%s: %v", statuses(o), err)
		}
	})
}

func TestInterruptionOfAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newStage(t, step("a"))
		s.do["a"] = func(int, *job.Call) (agent.Result, error) {
			return agent.Result{}, &fault.Error{Code: fault.Throttled, RetryAfter: 5 * time.Minute}
		}
		go func() {
			time.Sleep(30 * time.Second)
			cancel()
		}()
		_, err := s.run(ctx)
		if !fault.Is(err, fault.Stopped) || !errors.Is(err, job.ErrInterrupted) {
			t.Errorf("a step that may have had its effect is pending: %v", err)
		}
		s.wantTook(30 * time.Second)
	})
}

func TestInterruptionBeforeAnythingIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newStage(t, step("a"))
	_, err := s.run(ctx)
	if fault.Is(err, fault.Stopped) || !errors.Is(err, job.ErrInterrupted) || !errors.Is(err, context.Canceled) || len(s.paper.log) > 0 {
		t.Errorf("nothing is pending: %v", err)
	}
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, step("a"))
		s.failing("a", fault.Newf(fault.Throttled, "x"))
		if _, err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range s.events {
			if e.Agent != "bot" || e.Step != "a" || e.Title != "do a" || e.At.IsZero() {
				t.Errorf("event %+v", e)
			}
			got = append(got, string(e.Status))
		}
		if strings.Join(got, " ") != "begun waiting done" || s.events[1].Detail == "" || s.events[2].MS < 2000 {
			t.Errorf("events %v: %+v", got, s.events)
		}
	})
}

func TestSettle(t *testing.T) {
	for name, c := range map[string]struct {
		step    agent.Step
		fail    []error
		did     string
		ended   string // part of the result's detail; "-" for an entry without end
		updated bool
	}{
		"what was begun is brought to its end":   {step("a"), nil, "a", "", true},
		"that it conflicts says it is not done":  {step("a"), []error{fault.Newf(fault.Conflict, "no")}, "", "settled without effect", false},
		"that we may not look says nothing":      {step("a"), []error{fault.Newf(fault.Forbidden, "no")}, "", "-", false},
		"nor does a sign-in that has expired":    {step("a"), []error{fault.Newf(fault.Unauthenticated, "no")}, "", "-", false},
		"an object that never appeared":          {step("a"), repeat(fault.Newf(fault.NotYet, "no such application"), 500), "", "settled without effect", false},
		"an unknown effect stays open":           {step("a"), repeat(fault.Newf(fault.Unavailable, "cut"), 500), "", "-", false},
		"an answer that nobody understands":      {step("a"), []error{errors.New("x")}, "", "-", false},
		"a proof is not repeated":                {agent.Step{ID: "a", Action: agent.Login}, nil, "", "not repeated", false},
		"destruction on a proof is not repeated": {destroying("a", "proof"), nil, "", "not repeated", false},
		"destruction without proof is":           {destroying("a"), nil, "a", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, step("proof"), c.step, step("never begun", "a"))
				s.handler.Remember = func(_ *job.Call, _ agent.Result, rec *agent.Record) { rec.AppID = "x" }
				s.paper.entries = []agent.Entry{done("proof", proofResult()), begun("a", nil)}
				s.failing("a", c.fail...)
				err := s.runner().Settle(t.Context(), s.plan(), false)
				s.wantDid(c.did)
				e := s.paper.at("a")
				if open := e.Ended == nil; open != (c.ended == "-") || open != (err != nil) || (!open && !strings.Contains(e.Result.Detail, c.ended)) {
					t.Errorf("entry %+v, error %v", e, err)
				}
				if (s.paper.rec.AppID != "") != c.updated {
					t.Errorf("the record was updated: %v", s.paper.rec.AppID != "")
				}
				if s.paper.at("never begun") != nil {
					t.Error("settling began something new")
				}
			})
		})
	}
}

func TestSettleCanBeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newStage(t, step("a"))
		s.paper.entries = []agent.Entry{begun("a", nil)}
		s.failing("a", repeat(fault.Newf(fault.NotYet, "x"), 500)...)
		go func() { time.Sleep(time.Minute); cancel() }()
		if err := s.runner().Settle(ctx, s.plan(), false); !errors.Is(err, job.ErrInterrupted) || s.paper.at("a").Ended != nil {
			t.Errorf("got %v, entry %+v", err, s.paper.at("a"))
		}
	})
}

func repeat(err error, n int) []error {
	all := make([]error, n)
	for i := range all {
		all[i] = err
	}
	return all
}

func proofResult() agent.Result {
	r := agent.Result{Evidence: evidenceOf("login 1")}
	return r
}

func TestTheCriticalPathCountsOnlyWhatRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, step("old"), step("a", "old"), step("b", "a"), step("side"))
		s.paper.entries = []agent.Entry{done("old", agent.Result{})}
		s.do["side"] = func(int, *job.Call) (agent.Result, error) {
			time.Sleep(500 * time.Millisecond)
			return agent.Result{}, nil
		}
		o, err := s.run(t.Context())
		if err != nil || o.CriticalPath != 2*time.Second {
			t.Errorf("critical path %v, %v", o.CriticalPath, err)
		}
		if o.Steps[0].Status != api.Already || o.Steps[0].MS != 0 || o.Steps[3].MS != 1500 {
			t.Errorf("%+v", o.Steps)
		}
	})
}

// A refused step leaves nothing to settle: otherwise a plan that its operator may not carry out could never be replaced by another.
func TestARefusalBeforeAnyEffectIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		fail []error
		left bool
	}{
		"refused at once":                      {[]error{fault.Newf(fault.Forbidden, "no")}, false},
		"refused after it was throttled":       {[]error{fault.Newf(fault.Throttled, "wait"), fault.Newf(fault.Forbidden, "no")}, false},
		"refused after an answer was cut off":  {[]error{fault.Newf(fault.Unavailable, "cut"), fault.Newf(fault.Forbidden, "no")}, true},
		"an answer that nobody can understand": {[]error{errors.New("x")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, step("a"))
				s.handler.Atomic = true
				s.failing("a", c.fail...)
				if _, err := s.run(t.Context()); err == nil {
					t.Fatal("it was not refused")
				}
				if left := s.paper.at("a") != nil; left != c.left {
					t.Errorf("the journal holds the step: %v, want %v", left, c.left)
				}
			})
		})
	}
}
