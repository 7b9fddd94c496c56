package control_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// rotate rotates as an operator, or with nobody but the identity itself.
func (w *world) rotate(alone bool, r api.ApplyRequest) (api.Report, error) {
	defer func(was string) { w.operator = was }(w.operator)
	if alone {
		w.operator = api.NoOperator
	}
	return w.door().Rotate(w.Context(), r, nil)
}

// logsIn fails the test if the agent does not get a token.
func (w *world) logsIn(when string) {
	w.Helper()
	if _, err := w.door().Token(w.Context(), api.TokenRequest{}); err != nil {
		w.Errorf("%s the agent cannot log in: %v", when, err)
	}
}

// oneKey checks that the record has one generation, which is active, and the keystore its key alone.
func (w *world) oneKey() agent.Generation {
	w.Helper()
	rec := w.record()
	if len(rec.Generations) != 1 || !rec.Generations[0].Active || rec.Generations[0].KeyID == "" {
		w.Fatalf("generations %+v", rec.Generations)
	}
	if names, err := w.keys.List(w.Context()); err != nil || len(names) != 1 {
		w.Errorf("the keystore holds %v (%v)", names, err)
	}
	return rec.Generations[0]
}

func TestRotate(t *testing.T) {
	for name, alone := range map[string]bool{"with an operator": false, "without an operator": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provision()
				before := w.oneKey()
				since := len(w.cloud.Requests())
				r, err := w.rotate(alone, api.ApplyRequest{})
				if err != nil {
					t.Fatal(err)
				}
				asked, entry := w.cloud.Requests()[since:], w.ledger(1)[0]
				after := w.oneKey()
				if !r.Rotated || !r.Changed || r.Proof.Logins != 3 || r.Proof.ReadBack == alone || after.SHA256 == before.SHA256 || after.Ref == before.Ref || r.Key != after.Ref || api.FindingsExit(r.Findings) != api.ExitDone {
					t.Errorf("report %+v", r)
				}
				w.inOrder(0)
				w.logsIn("after the rotation")
				for _, q := range asked {
					if q.Method == http.MethodPatch || (alone && q.Plane == "graph" && !strings.HasSuffix(q.URL, "/addKey") && !strings.HasSuffix(q.URL, "/removeKey")) || q.Plane == "arm" {
						t.Errorf("%s %s was not needed", q.Method, q.URL)
					}
				}
				if entry.Action != "rotate" || !entry.Allowed || (alone && !strings.Contains(entry.Detail, "the identity itself")) {
					t.Errorf("ledger %+v", entry)
				}
				if again := w.provision(); again.Changed || w.oneKey().KeyID != after.KeyID {
					t.Errorf("an apply after it has something to do: %+v", again.Steps)
				}
			})
		})
	}
}

func TestTheOverlapOfARotation(t *testing.T) {
	none, hour := time.Duration(0), time.Hour
	for name, c := range map[string]struct {
		spec time.Duration
		ask  *time.Duration
		want time.Duration
	}{
		"neither spec nor request name one": {0, nil, 0},
		"the spec names one":                {2 * time.Hour, nil, 2 * time.Hour},
		"the request names another":         {2 * time.Hour, &hour, time.Hour},
		"the request wants none":            {2 * time.Hour, &none, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.spec.Agents[bot].Certificate.Overlap = c.spec
				w.provision()
				old := w.oneKey()
				r, err := w.rotate(true, api.ApplyRequest{PlanRequest: api.PlanRequest{Overlap: c.ask}})
				if err != nil {
					t.Fatal(err)
				}
				if c.want == 0 {
					w.oneKey()
					return
				}
				if left := time.Until(r.OldUntil); left > c.want || left < c.want-time.Minute {
					t.Errorf("it stays for %s", left)
				}
				time.Sleep(c.want - 2*time.Minute) // in virtual time
				if r, err := w.apply(api.ApplyRequest{}); err != nil || r.Changed || w.record().Generation(old.ID) == nil {
					t.Errorf("within the overlap an apply does something: %+v, %v", r.Steps, err)
				}
				st, err := w.door().Status(t.Context(), bot)
				if err != nil || !slices.ContainsFunc(st[0].Findings, func(f finding.Finding) bool { return f.ID == "overlap" }) || st[0].Renewal.IsZero() {
					t.Errorf("status %+v, %v", st, err)
				}
				time.Sleep(3 * time.Minute)
				if r, err := w.apply(api.ApplyRequest{}); err != nil || !r.Changed {
					t.Errorf("after the overlap: %+v, %v", r.Steps, err)
				}
				w.oneKey()
				w.inOrder(0)
			})
		})
	}
}

// Wherever a rotation stops, a key of the agent's logs in, and the next rotate or apply ends in order, with or without an operator.
func TestARotationThatStopsGoesOn(t *testing.T) {
	killed := errors.New("killed")
	steps := []string{"key", "certificate", "login", "remove", "dead", "delete-key"}
	for _, alone := range []bool{false, true} {
		for _, then := range []string{"rotate", "rotate alone", "apply", "revoke"} {
			for _, at := range steps {
				name := at + " of one with an operator, then " + then
				if alone {
					name = at + " of one without an operator, then " + then
				}
				if at != "certificate" && (then == "revoke" || (then == "rotate alone" && !alone)) {
					continue // the others say no more, and making keys takes time
				}
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						w.provision()
						old := w.oneKey()
						step := map[string]string{"remove": "remove-certificate:" + old.KeyID, "dead": "dead:" + old.ID, "delete-key": "delete-key:" + old.ID}[at]
						if step == "" {
							step = at
						}
						w.stopAt(step, killed)
						if _, err := w.rotate(alone, api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
							t.Fatalf("stopped with %v", err)
						}
						w.logsIn("stopped after " + at)
						w.goOn()
						var err error
						switch then {
						case "apply":
							_, err = w.apply(api.ApplyRequest{})
						case "revoke":
							_, err = w.revoke(api.ApplyRequest{})
						default:
							// A rotation that began with an operator may end with reading back, for which nobody is there.
							if _, err = w.rotate(then == "rotate alone", api.ApplyRequest{}); then == "rotate alone" && !alone && err != nil {
								w.logsIn("continued without its operator")
								_, err = w.rotate(false, api.ApplyRequest{})
							}
						}
						if err != nil {
							t.Fatal(err)
						}
						if then == "revoke" {
							if left := w.record(); !left.Blank() {
								t.Errorf("left %+v", left)
							}
							return
						}
						if g := w.oneKey(); then != "apply" && g.ID == old.ID {
							t.Error("it is the old key still")
						}
						w.inOrder(0)
						w.logsIn("in the end")
						if r := w.provision(); r.Changed {
							t.Errorf("there is something left to do: %+v", r.Steps)
						}
					})
				})
			}
		}
	}
}

// cut loses answers to addKey: before or after their effect.
type cut struct {
	next  http.RoundTripper
	after bool
	times *int
}

func (c cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if *c.times == 0 || !strings.HasSuffix(r.URL.Path, "/addKey") {
		return c.next.RoundTrip(r)
	}
	*c.times--
	if c.after {
		if resp, err := c.next.RoundTrip(r); err == nil {
			_ = resp.Body.Close()
		}
	}
	return nil, errors.New("connection reset")
}

// forgetful is a state whose next change is lost: the process dies between effect and record.
type forgetful struct {
	control.State
	lose func(*agent.Record) bool
}

func (f forgetful) Update(ctx context.Context, name string, change func(*agent.Record) error) error {
	return f.State.Update(ctx, name, func(rec *agent.Record) error {
		if err := change(rec); err != nil || !f.lose(rec) {
			return err
		}
		return errors.New("killed")
	})
}

func TestALostAnswerOfAddKeyIsNotRepeated(t *testing.T) {
	addKeys := func(w *world) int {
		n := 0
		for _, q := range w.cloud.Requests() {
			if strings.HasSuffix(q.URL, "/addKey") {
				n++
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		alone, after bool // the effect has happened
		limit        string
		ends         bool // the rotation ends without anybody's help
	}{
		"after its effect, without an operator":                               {alone: true, after: true, ends: true},
		"after its effect, with an operator":                                  {after: true, ends: true},
		"before its effect, without an operator":                              {alone: true},
		"before its effect, with an operator":                                 {ends: true},
		"after its effect, without an operator, and a policy caps its life":   {alone: true, after: true, limit: "P40D", ends: true},
		"before its effect, with an operator, and a policy caps its life too": {limit: "P7D", ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provision()
				old, times := w.oneKey(), 1
				if c.limit != "" {
					w.capLife(c.limit)
					times = 0
				}
				w.hooks.Transport = func(rt http.RoundTripper) http.RoundTripper {
					if c.limit != "" {
						return losing{rt, c.after}
					}
					return cut{rt, c.after, &times}
				}
				r, err := w.rotate(c.alone, api.ApplyRequest{})
				w.hooks.Transport = nil
				if (err == nil) != c.ends {
					t.Fatalf("ended with %v", err)
				}
				w.logsIn("with the answer lost")
				if !c.ends {
					if !fault.Is(err, fault.Stopped) || !strings.Contains(fault.Hint(err), "operator") || w.record().Active().ID != old.ID {
						t.Errorf("stopped with %v (%s)", err, fault.Hint(err))
					}
					sent := addKeys(w)
					if _, err := w.rotate(true, api.ApplyRequest{}); !fault.Is(err, fault.Stopped) || addKeys(w) != sent {
						t.Errorf("without an operator again: %v after %d requests more", err, addKeys(w)-sent)
					}
					if r, err = w.rotate(false, api.ApplyRequest{}); err != nil || addKeys(w) != sent {
						t.Errorf("with an operator: %v after %d requests more", err, addKeys(w)-sent)
					}
				}
				if c.alone && c.ends {
					if g := w.record().Active(); g.KeyID != "" || g.ID == old.ID {
						t.Errorf("nobody has read a key id, and it is %q", g.KeyID)
					}
					w.provision() // somebody who may read
				}
				if w.oneKey().ID == old.ID || !r.Rotated {
					t.Errorf("it is the old key still: %+v", r)
				}
				w.inOrder(0)
			})
		})
	}
}

// losing loses every answer to addKey that is not a refusal.
type losing struct {
	next  http.RoundTripper
	after bool
}

func (l losing) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/addKey") {
		return l.next.RoundTrip(r)
	}
	resp, err := l.next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, errors.New("connection reset")
}

func TestAKilledRotationFindsWhatItHasRegistered(t *testing.T) {
	for name, c := range map[string]struct {
		alone bool
		limit string
		days  int
	}{
		"without an operator": {true, "", 365},
		"with an operator":    {false, "", 365},
		"without an operator, and a policy caps its life": {true, "P100D", 90},
		"with an operator, and a policy caps its life":    {false, "P100D", 90},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provision()
				old := w.oneKey()
				if c.limit != "" {
					w.capLife(c.limit)
				}
				w.hooks.State = func(s control.State) control.State {
					return forgetful{s, func(rec *agent.Record) bool {
						return len(rec.Generations) == 2 && rec.Generations[1].KeyID != "" && !rec.Generations[1].Active
					}}
				}
				if _, err := w.rotate(c.alone, api.ApplyRequest{}); !fault.Is(err, fault.Stopped) {
					t.Fatalf("stopped with %v", err)
				}
				w.hooks.State = nil
				w.logsIn("killed")
				if _, err := w.rotate(c.alone, api.ApplyRequest{}); err != nil {
					t.Fatal(err)
				}
				w.provision()
				g := w.oneKey()
				if life := g.NotAfter.Sub(g.NotBefore); g.ID == old.ID || life != time.Duration(c.days)*24*time.Hour {
					t.Errorf("the new certificate lives %s", life)
				}
				w.inOrder(0)
			})
		})
	}
}

// capLife sets the tenant's policy about the life of certificates.
func (w *world) capLife(longest string) {
	w.Helper()
	w.call(http.MethodPatch, "/v1.0/policies/defaultAppManagementPolicy", map[string]any{"isEnabled": true,
		"applicationRestrictions": map[string]any{"keyCredentials": []any{map[string]any{"restrictionType": "asymmetricKeyLifetime", "state": "enabled", "maxLifetime": longest}}}}, nil)
}

func TestAPolicyThatCapsTheLifeOfCertificates(t *testing.T) {
	for longest, days := range map[string]int{"P365D": 365, "P364D": 180, "P90D": 90, "P31D": 30, "P7D": 7, "P6D": 0} {
		t.Run(longest, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.capLife(longest)
				_, err := w.apply(api.ApplyRequest{})
				if (err == nil) != (days > 0) {
					t.Fatalf("applied: %v", err)
				}
				if days == 0 {
					if !strings.Contains(fault.Hint(err), "app management policies") {
						t.Errorf("hint %q of %v", fault.Hint(err), err)
					}
					w.capLife("P7D")
					w.provision()
					days = 7
				}
				for _, alone := range []bool{false, true} {
					if g := w.oneKey(); g.NotAfter.Sub(g.NotBefore) != time.Duration(days)*24*time.Hour {
						t.Errorf("it lives %s", g.NotAfter.Sub(g.NotBefore))
					}
					if r, err := w.rotate(alone, api.ApplyRequest{}); err != nil || api.FindingsExit(r.Findings) != api.ExitDone {
						t.Fatal(r.Findings, err)
					}
				}
				w.inOrder(0)
				st, err := w.door().Status(t.Context(), bot)
				if err != nil || api.FindingsExit(st[0].Findings) != api.ExitDone {
					t.Errorf("status of a certificate that lives as long as it may: %+v, %v", st, err)
				}
			})
		})
	}
}

func TestWhatARotationRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*world)
		req    api.ApplyRequest
		alone  bool
		code   fault.Code
		says   string
	}{
		"an agent that is not provisioned": {func(*world) {}, api.ApplyRequest{}, false, fault.Refused, "not provisioned"},
		"one whose apply stopped midway": {func(w *world) {
			w.stopAt("principal", errors.New("killed"))
			if _, err := w.apply(api.ApplyRequest{}); err == nil {
				w.Error("it did not stop")
			}
			w.goOn()
		}, api.ApplyRequest{}, true, fault.Stopped, "an apply of polyclaw-runtime stopped midway"},
		"one whose revoke stopped midway": {func(w *world) {
			w.provision()
			w.stopAt("disable", errors.New("killed"))
			if _, err := w.revoke(api.ApplyRequest{}); err == nil {
				w.Error("it did not stop")
			}
			w.goOn()
		}, api.ApplyRequest{}, false, fault.Stopped, "a revoke of polyclaw-runtime stopped midway"},
		"a certificate that nobody waits for": {func(w *world) { w.provision() }, api.ApplyRequest{Issued: []byte("der")}, false, fault.Usage, "no rotation of polyclaw-runtime waits"},
		"another plan than the one approved":  {func(w *world) { w.provision() }, api.ApplyRequest{Digest: "0123456789ab"}, false, fault.Conflict, "no longer matches"},
		"somebody who says no":                {func(w *world) { w.provision() }, api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { return false, nil }}, true, fault.Refused, "not approved"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c.before(w)
				since, rec := len(w.cloud.Requests()), w.record()
				_, err := w.rotate(c.alone, c.req)
				if !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("refused with %v", err)
				}
				if n := w.writes(since); n > 0 || len(w.record().Generations) != len(rec.Generations) {
					t.Errorf("%d writes", n)
				}
				if last := w.ledger(1)[0]; last.Allowed || last.Action != "rotate" {
					t.Errorf("ledger %+v", last)
				}
			})
		})
	}
}

func TestNothingButARotationGoesWithoutAnOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		w.operator = api.NoOperator
		since := len(w.cloud.Requests())
		for name, do := range map[string]func() error{
			"apply":  func() error { _, err := w.apply(api.ApplyRequest{}); return err },
			"revoke": func() error { _, err := w.revoke(api.ApplyRequest{}); return err },
			"plan":   func() error { _, err := w.door().Plan(t.Context(), api.PlanRequest{}); return err },
		} {
			if err := do(); !fault.Is(err, fault.Refused, fault.Unauthenticated) || fault.Hint(err) == "" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := len(w.cloud.Requests()) - since; n > 0 {
			t.Errorf("%d requests", n)
		}
		w.logsIn("without an operator")
	})
}
