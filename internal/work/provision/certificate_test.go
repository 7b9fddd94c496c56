package provision_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func registration(expected ...string) agent.Step {
	return agent.Step{Action: agent.RegisterCertificate, With: map[string]string{"application": "$application", "generation": "$generation", "expected": strings.Join(expected, " ")}}
}

func TestRegisterCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*world)
		want   string // certificates at the end
		writes int
	}{
		"beside those of others": {func(w *world) {}, "a b ours", 1},
		"the first readings come from a replica that lags": {func(w *world) {
			w.stale = func(n int) *agent.Application { return lagging(n <= 2, "a") }
		}, "a b ours", 1},
		"a replica that lags agrees with itself three times": {func(w *world) {
			w.stale = func(n int) *agent.Application { return lagging(n <= 4, "a") }
		}, "a b ours", 1},
		"readings differ, and then agree": {func(w *world) {
			w.stale = func(n int) *agent.Application { return lagging(n == 2, "a", "b", "c") }
		}, "a b ours", 1},
		"one of those that were planned with was removed for good": {func(w *world) { w.app.Certificates = []agent.Certificate{cert("a")} }, "a ours", 1},
		"a crossing write removes those of others": {func(w *world) {
			w.hook["read application"] = func(n int) error {
				if n == 5 {
					w.app.Certificates = w.app.Certificates[2:] // ours alone is left
				}
				return nil
			}
		}, "a b ours", 2},
		"a crossing write removes ours": {func(w *world) {
			w.hook["read application"] = func(n int) error {
				if n == 5 {
					w.app.Certificates = w.app.Certificates[:2]
				}
				return nil
			}
		}, "a b ours", 2},
		"the answer is lost after the effect": {func(w *world) {
			w.hook["set certificates"] = func(n int) error {
				if n == 1 {
					w.app.Certificates = append(w.app.Certificates, agent.Certificate{KeyID: w.entries[0].Intent["key_id"], SHA256: w.rec.Generations[0].SHA256})
					return fault.Newf(fault.Unavailable, "cut")
				}
				return nil
			}
		}, "a b ours", 1},
		"the answer is lost before the effect": {func(w *world) {
			w.hook["set certificates"] = first(1, fault.Newf(fault.Unavailable, "cut"))
		}, "a b ours", 2},
		"a replica that lags shows ours as gone for a while": {func(w *world) {
			w.stale = func(n int) *agent.Application { return lagging(n > 3 && n < 9, "a", "b") }
		}, "a b ours", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				g := w.generation("gen1", false)
				w.app.Certificates = []agent.Certificate{cert("a"), cert("b")}
				c.meddle(w)
				r, err := w.do(registration("a", "b"))
				if err != nil {
					t.Fatal(err)
				}
				if got := w.certificates(); got != c.want || w.count["set certificates"] != c.writes {
					t.Errorf("the application has %q after %d writes, want %q after %d", got, w.count["set certificates"], c.want, c.writes)
				}
				if id := r.Facts[agent.FactKeyID]; id == "" || w.rec.Generation(g.ID).KeyID != id || len(r.Evidence) == 0 {
					t.Errorf("result %+v, recorded %q", r, w.rec.Generation(g.ID).KeyID)
				}
			})
		})
	}
}

// lagging is an answer of a replica that shows only those certificates, or nil for the truth.
func lagging(lags bool, ids ...string) *agent.Application {
	if !lags {
		return nil
	}
	app := &agent.Application{ID: appObject, AppID: appID}
	for _, id := range ids {
		app.Certificates = append(app.Certificates, cert(id))
	}
	return app
}

// A run that stopped before its write and goes on days later must not write the list of then: what somebody has removed since would come
// back, and what somebody has added would be gone.
func TestAResumedRegistrationDoesNotWriteAnOldList(t *testing.T) {
	for _, s := range []agent.Step{registration("a", "b"), {Action: agent.RemoveCertificate, With: map[string]string{"application": "$application", "key_id": "a", "expected": "a b"}}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.generation("gen1", false)
			w.entries = []agent.Entry{{StepID: "step", Intent: map[string]string{"key_id": "12345678-0000-0000-0000-000000000000",
				"before": `[{"key_id":"a","der":"YQ=="},{"key_id":"leaked","der":"YQ=="}]`}}}
			w.app.Certificates = []agent.Certificate{cert("a"), cert("b"), cert("new")}
			if _, err := w.do(s); err != nil {
				t.Fatal(err)
			}
			want := "a b new ours"
			if s.Action == agent.RemoveCertificate {
				want = "b new"
			}
			if got := w.certificates(); got != want {
				t.Errorf("%s: the application has %q, want %q", s.Action, got, want)
			}
		})
	}
}

func TestRegistrationOnANewApplicationIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.generation("gen1", false)
		began := time.Now()
		s := registration()
		if _, err := w.doFresh(s); err != nil {
			t.Fatal(err)
		}
		if w.certificates() != "ours" || w.count["read application"] != 0 || time.Since(began) != 0 {
			t.Errorf("%q after %d reads and %v", w.certificates(), w.count["read application"], time.Since(began))
		}
	})
}

func TestRemoveCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*world)
		want   string
	}{
		"others stay":        {func(*world) {}, "b c"},
		"it is gone already": {func(w *world) { w.app.Certificates = w.app.Certificates[1:] }, "b c"},
		"a crossing write brings it back": {func(w *world) {
			w.hook["read application"] = func(n int) error {
				if n == 5 {
					w.app.Certificates = append(w.app.Certificates, cert("a"))
				}
				return nil
			}
		}, "b c"},
		"a crossing write removes another": {func(w *world) {
			w.hook["read application"] = func(n int) error {
				if n == 5 {
					w.app.Certificates = w.app.Certificates[1:]
				}
				return nil
			}
		}, "b c"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.app.Certificates = []agent.Certificate{cert("a"), cert("b"), cert("c")}
				c.meddle(w)
				began := time.Now()
				if _, err := w.do(agent.Step{Action: agent.RemoveCertificate, With: map[string]string{"application": "$application", "key_id": "a", "expected": "a b c"}}); err != nil {
					t.Fatal(err)
				}
				if got := w.certificates(); got != c.want {
					t.Errorf("the application has %q, want %q", got, c.want)
				}
				if time.Since(began) < quiet {
					t.Errorf("it was watched for %v only", time.Since(began))
				}
			})
		})
	}
}

func TestLoginIsSeveralInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.generation("gen1", false)
		w.generation("gen0", true)
		w.facts[agent.FactGeneration] = "gen1"
		// Replicas take turns: two logins work and the third is refused, once.
		w.hook["login"] = func(n int) error {
			if n == 3 {
				return &fault.Error{Code: fault.NotYet, Service: "AADSTS700027"}
			}
			return nil
		}
		r, err := w.do(agent.Step{Action: agent.Login, With: map[string]string{"app_id": "$app_id", "generation": "$generation", "times": "3"}})
		if err != nil || len(r.Evidence) != 3 || w.count["login"] != 6 {
			t.Fatalf("%d logins, %d pieces of evidence: %v", w.count["login"], len(r.Evidence), err)
		}
		if w.count["open key"] != 6 {
			t.Errorf("the key was opened %d times: each login takes it from the keystore anew", w.count["open key"])
		}
		if a := w.rec.Active(); a == nil || a.ID != "gen1" || w.rec.Generation("gen0").Active {
			t.Errorf("active is %+v", a)
		}
	})
}

func TestLoginsThatProveNothing(t *testing.T) {
	for name, meddle := range map[string]func(*world){
		"the token is of another principal": func(w *world) {
			w.logins = func(int) (api.Caller, error) { return api.Caller{ObjectID: other, TenantID: tenant}, nil }
		},
		"the token is of another tenant": func(w *world) {
			w.logins = func(int) (api.Caller, error) { return api.Caller{ObjectID: principal, TenantID: other}, nil }
		},
		"the last token is of another principal": func(w *world) {
			w.logins = func(n int) (api.Caller, error) {
				return api.Caller{ObjectID: map[bool]string{true: other, false: principal}[n == 3], TenantID: tenant}, nil
			}
		},
		"the key is not in the keystore":      func(w *world) { clear(w.keys) },
		"the keystore holds another key":      func(w *world) { w.keys["memory:gen1"] = anotherKey },
		"the generation is not recorded":      func(w *world) { w.rec.Generations = nil },
		"the clock is wrong":                  func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.Invalid, Service: "AADSTS700024"}) },
		"the certificate never reaches Entra": func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.NotYet, Service: "AADSTS700027"}) },
		"the record cannot be read":           func(w *world) { w.hook["record"] = always(fault.Newf(fault.Corrupt, "x")) },
		"one login is refused again and again": func(w *world) {
			w.hook["login"] = func(n int) error { return map[bool]error{true: fault.Newf(fault.NotYet, "x")}[n%3 == 0] }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.generation("gen1", false)
				meddle(w)
				if r, err := w.do(agent.Step{Action: agent.Login, With: map[string]string{"app_id": "$app_id", "generation": "$generation", "times": "3"}}); err == nil {
					t.Errorf("it is proven: %+v", r)
				}
				if w.rec.Active() != nil {
					t.Error("the generation is active, though nothing is proven")
				}
			})
		})
	}
}

func TestProveDead(t *testing.T) {
	const refused = "AADSTS700027"
	for name, c := range map[string]struct {
		meddle   func(*world)
		works    bool
		evidence int
		logins   int
	}{
		"refused three times":                   {func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.NotYet, Service: refused}) }, true, 1, 3},
		"refused since the application is gone": {func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.NotYet, Service: "AADSTS700016"}) }, true, 1, 3},
		"refused since the principal is disabled": {func(w *world) {
			w.hook["login"] = always(&fault.Error{Code: fault.Forbidden, Service: "AADSTS7000112"})
		}, true, 1, 3},
		"a replica still accepts it, for a while": {func(w *world) {
			w.hook["login"] = func(n int) error {
				if n <= 2 || n == 4 {
					return nil
				}
				return &fault.Error{Code: fault.NotYet, Service: refused}
			}
		}, true, 1, 7},
		"it is accepted for ever":            {func(*world) {}, false, 0, -1},
		"the login service is away":          {func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.Unavailable}) }, false, 0, -1},
		"the clock is wrong":                 {func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.Invalid, Service: "AADSTS700024"}) }, false, 0, 1},
		"the tenant is unknown":              {func(w *world) { w.hook["login"] = always(&fault.Error{Code: fault.Invalid, Service: "AADSTS90002"}) }, false, 0, 1},
		"there is no key to prove with":      {func(w *world) { clear(w.keys) }, true, 0, 0},
		"there is another key":               {func(w *world) { w.keys["memory:gen1"] = anotherKey }, true, 0, 0},
		"the keystore cannot be read at all": {func(w *world) { w.hook["open key"] = always(fault.Newf(fault.Forbidden, "locked")) }, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.generation("gen1", true)
				c.meddle(w)
				r, err := w.do(agent.Step{Action: agent.ProveDead, With: map[string]string{"app_id": appID, "generation": "gen1"}})
				if (err == nil) != c.works || len(r.Evidence) != c.evidence || (c.logins >= 0 && w.count["login"] != c.logins) {
					t.Errorf("%v, evidence %v, %d logins", err, r.Evidence, w.count["login"])
				}
			})
		})
	}
}
