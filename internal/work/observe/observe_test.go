package observe_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/observe"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

const (
	sub    = "22222222-0000-0000-0000-000000000002"
	sub2   = "33333333-0000-0000-0000-000000000003"
	group  = "/subscriptions/" + sub + "/resourceGroups/polyclaw-rg"
	group2 = "/subscriptions/" + sub2 + "/resourceGroups/far"
	sub3   = "44444444-0000-0000-0000-000000000004"
	group3 = "/subscriptions/" + sub3 + "/resourceGroups/dropped"
	settle = time.Minute
)

// world answers; hooks by operation may answer in its place, n counts from 1.
type world struct {
	*testing.T
	mu    sync.Mutex
	hook  map[string]func(n int) error
	count map[string]int
	rec   agent.Record
	spec  agent.Spec
	keys  map[string]crypto.Signer
	at    map[string][]agent.Assignment // by scope
	mi    *agent.UserAssignedIdentity
}

func (w *world) ask(op string) error {
	w.mu.Lock()
	w.count[op]++
	n, hook := w.count[op], w.hook[op]
	w.mu.Unlock()
	time.Sleep(time.Second) // virtual: everything is read side by side
	if hook != nil {
		return hook(n)
	}
	return nil
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, hook: map[string]func(int) error{}, count: map[string]int{}, keys: map[string]crypto.Signer{}, at: map[string][]agent.Assignment{}}
	w.rec = agent.Record{Agent: "bot", ApplicationID: "app", AppID: "appid", PrincipalID: "sp"}
	w.spec = agent.Spec{Subscription: sub, Agents: map[string]*agent.Agent{"bot": {KeyVault: "kv", SessionPool: "pool", ContentSafety: "safe"}}}
	w.spec.Defaults()
	return w
}

func (w *world) look() (agent.Observed, error) {
	o := &observe.Observer{Graph: w, ARM: w, Keys: w, Roles: role.Builtin(), Settle: settle, Env: func(path string) (string, map[string]string, error) {
		return "/w/" + path, map[string]string{"read": path}, w.ask("env")
	}}
	return o.Agent(w.Context(), w.spec, w.spec.Agents["bot"], w.rec)
}

func (w *world) Namesakes(_ context.Context, name string) ([]agent.Namesake, error) {
	return []agent.Namesake{{Application: agent.Application{ID: "app", DisplayName: name}}, {Application: agent.Application{ID: "other", DisplayName: name}}}, w.ask("namesakes")
}

func (w *world) Application(context.Context, string) (agent.Application, error) {
	return agent.Application{ID: "app"}, w.ask("application")
}

func (w *world) Federated(context.Context, string) ([]agent.FederatedCredential, error) {
	return []agent.FederatedCredential{{ID: "fic"}}, w.ask("federated")
}

func (w *world) Owners(context.Context, string) ([]agent.Owner, error) {
	return []agent.Owner{{ID: "owner"}}, w.ask("owners")
}

func (w *world) Principal(context.Context, string) (agent.Principal, error) {
	return agent.Principal{ID: "sp", Enabled: true}, w.ask("principal")
}

func (w *world) GroupExists(context.Context, string, string) (bool, error) {
	return true, w.ask("group")
}

func (w *world) Vault(_ context.Context, id string) (*agent.Vault, error) {
	return &agent.Vault{ID: id, RBAC: true}, w.ask("vault")
}

func (w *world) Exists(_ context.Context, id string) (bool, error) {
	return true, w.ask("exists " + id[strings.LastIndex(id, "/")+1:])
}

func (w *world) Assignments(_ context.Context, scope, _ string) ([]agent.Assignment, error) {
	return w.at[scope], w.ask("assignments " + scope)
}

func (w *world) Identity(_ context.Context, id string) (*agent.UserAssignedIdentity, error) {
	return w.mi, w.ask("identity " + id[strings.LastIndex(id, "/")+1:])
}

func (w *world) IdentityFederated(context.Context, string) ([]agent.FederatedCredential, error) {
	return []agent.FederatedCredential{{Name: "fic"}}, w.ask("identity federated")
}

func (w *world) Open(_ context.Context, ref secret.Ref) (crypto.Signer, error) {
	if err := w.ask("open " + ref.Name); err != nil {
		return nil, err
	}
	if k, ok := w.keys[ref.Name]; ok {
		return k, nil
	}
	return nil, fault.Newf(fault.NotFound, "no such key")
}

// recorded lets the record hold an assignment at the scope.
func (w *world) recorded(scope string) {
	w.rec.Assignments = append(w.rec.Assignments, agent.Assigned{Grant: role.Grant{RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: scope}, Name: "n", Ours: true})
}

func always(err error) func(int) error { return func(int) error { return err } }

func firstly(k int, err error) func(int) error {
	return func(n int) error {
		if n <= k {
			return err
		}
		return nil
	}
}

func notFound() error { return fault.Newf(fault.NotFound, "not there") }

func TestEverythingIsReadSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		o, err := w.look()
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v, want as long as one read", took)
		}
		if !o.GroupExists || o.Vault == nil || !o.PoolExists || !o.SafetyFound || o.Application == nil || o.Principal == nil || len(o.Namesakes) != 1 || o.Namesakes[0].ID != "other" || o.Env["read"] != ".env" || o.EnvPath != "/w/.env" || len(o.Application.Federated) != 1 || len(o.Application.Owners) != 1 || o.Now != began || o.AzureUnread {
			t.Errorf("%+v", o)
		}
	})
}

func TestAnAgentThatIsNotRecordedHasNoIdentityToRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rec = agent.Record{Agent: "bot"}
		o, err := w.look()
		if err != nil || o.Application != nil || o.Principal != nil || len(o.Namesakes) != 2 || w.count["application"]+w.count["principal"]+w.count["assignments /subscriptions/"+sub] > 0 {
			t.Errorf("%+v, asked %v: %v", o, w.count, err)
		}
	})
}

// A lookup that failed is unknown: it is an error, and neither absent nor there.
func TestWhatIsUnknownIsAnError(t *testing.T) {
	for _, op := range []string{"namesakes", "application", "federated", "owners", "principal", "group", "vault", "exists pool", "exists safe", "assignments /subscriptions/" + sub, "open key", "env"} {
		for _, c := range []fault.Code{fault.Unknown, fault.Forbidden, fault.Unauthenticated, fault.Unavailable, fault.Invalid} {
			t.Run(op+" "+string(c), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.rec.Generations = []agent.Generation{{ID: "g", Ref: secret.Ref{Backend: "memory", Name: "key"}}}
					broken := fault.Newf(c, "the reason")
					w.hook[op] = always(broken)
					if c == fault.Forbidden && strings.HasPrefix(op, "assignments") { // then scope by scope, and those refuse as well
						w.hook["assignments "+group] = always(broken)
					}
					if _, err := w.look(); err == nil || !errors.Is(err, broken) {
						t.Errorf("got %v", err)
					}
				})
			})
		}
	}
}

func TestAbsenceOfARecordedObjectMustLast(t *testing.T) {
	for _, op := range []string{"application", "principal"} {
		for name, c := range map[string]struct {
			hook  func(int) error
			there bool
			least time.Duration
		}{
			"it is there":                       {nil, true, 0},
			"a replica has not heard of it":     {firstly(5, notFound()), true, time.Second},
			"it is gone":                        {always(notFound()), false, settle},
			"it is gone, says a replica in two": {func(n int) error { return map[bool]error{true: notFound()}[n%2 == 1] }, true, 0},
			"throttled, then there":             {firstly(2, fault.Newf(fault.Throttled, "x")), true, time.Second},
			"away for a while, then gone for good": {func(n int) error {
				return map[bool]error{true: fault.Newf(fault.Unavailable, "x"), false: notFound()}[n < 3]
			}, false, settle},
		} {
			t.Run(op+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.hook[op] = c.hook
					began := time.Now()
					o, err := w.look()
					if err != nil {
						t.Fatal(err)
					}
					there := o.Application != nil
					if op == "principal" {
						there = o.Principal != nil
					}
					if there != c.there || time.Since(began) < c.least {
						t.Errorf("there: %v, after %v", there, time.Since(began))
					}
				})
			})
		}
	}
}

func TestKeys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "bot", Days: 30, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		w.keys["present"], w.keys["another"], w.keys["broken"] = key, strange, key
		for _, name := range []string{"present", "absent", "another", "broken"} {
			g := agent.Generation{ID: name, Ref: secret.Ref{Backend: "memory", Name: name}, DER: cert.Raw}
			if name == "broken" {
				g.DER = []byte("not a certificate")
			}
			w.rec.Generations = append(w.rec.Generations, g)
		}
		o, err := w.look()
		if want := "map[absent:absent another:mismatched broken:mismatched present:present]"; err != nil || fmt.Sprint(o.Keys) != want {
			t.Errorf("keys %v, want %s: %v", o.Keys, want, err)
		}
	})
}

func TestAssignments(t *testing.T) {
	two := agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: group}, {Role: "Reader", Scope: group + "/providers/A.B/c/d"}, {Role: "Reader", Scope: group2}}}
	one := agent.Assignment{ID: "1", Name: "1", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: group}
	same := one
	same.ID = strings.ToUpper("1")
	for name, c := range map[string]struct {
		meddle   func(*world)
		found    string
		readable string
		unread   string
		fails    bool
	}{
		"whole subscriptions, each that the spec touches": {func(w *world) {
			w.at["/subscriptions/"+sub], w.at["/subscriptions/"+sub2] = []agent.Assignment{one}, []agent.Assignment{{ID: "2", Name: "2", RoleID: "unknown"}}
		}, "1 Reader, 2 unknown", "/subscriptions/" + sub + " /subscriptions/" + sub2, "", false},
		"the caller may list no subscription: then the scopes of the spec": {func(w *world) {
			w.hook["assignments /subscriptions/"+sub] = always(fault.Newf(fault.Forbidden, "x"))
			w.at[group], w.at[group+"/providers/A.B/c/d"] = []agent.Assignment{one}, []agent.Assignment{same}
		}, "1 Reader", group + " " + group + "/providers/A.B/c/d /subscriptions/" + sub2, "", false},
		"the caller may list nothing": {func(w *world) {
			w.hook["assignments /subscriptions/"+sub2] = always(fault.Newf(fault.Forbidden, "x"))
			w.hook["assignments "+group2] = always(fault.Newf(fault.Forbidden, "x"))
		}, "", "/subscriptions/" + sub, "", true},
		"throttled": {func(w *world) {
			w.hook["assignments /subscriptions/"+sub] = firstly(3, fault.Newf(fault.Throttled, "x"))
		}, "", "/subscriptions/" + sub + " /subscriptions/" + sub2, "", false},
		"a subscription that only the record knows": {func(w *world) {
			w.recorded(group3)
			w.at["/subscriptions/"+sub3] = []agent.Assignment{one}
		}, "1 Reader", "/subscriptions/" + sub + " /subscriptions/" + sub2 + " /subscriptions/" + sub3, "", false},
		"one of which only the recorded scope can be read": {func(w *world) {
			w.recorded(group3)
			w.hook["assignments /subscriptions/"+sub3] = always(fault.Newf(fault.Forbidden, "x"))
			w.at[group3] = []agent.Assignment{one}
		}, "1 Reader", "/subscriptions/" + sub + " /subscriptions/" + sub2 + " " + group3, "", false},
		"one of which nothing can be read": {func(w *world) {
			w.recorded(group3)
			w.hook["assignments /subscriptions/"+sub3] = always(fault.Newf(fault.Forbidden, "x"))
			w.hook["assignments "+group3] = always(fault.Newf(fault.Forbidden, "x"))
		}, "", "/subscriptions/" + sub + " /subscriptions/" + sub2, group3, false},
		"one that is gone": {func(w *world) {
			w.recorded(group3)
			w.hook["assignments /subscriptions/"+sub3] = always(notFound())
			w.hook["assignments "+group3] = always(notFound())
		}, "", "/subscriptions/" + sub + " /subscriptions/" + sub2, group3, false},
		"a whole subscription that is recorded and cannot be listed": {func(w *world) {
			w.recorded("/subscriptions/" + sub3)
			w.hook["assignments /subscriptions/"+sub3] = always(fault.Newf(fault.Forbidden, "x"))
		}, "", "/subscriptions/" + sub + " /subscriptions/" + sub2, "/subscriptions/" + sub3, false},
		"a scope of the spec that is recorded and cannot be read": {func(w *world) {
			w.recorded(strings.ToUpper(group2))
			w.hook["assignments /subscriptions/"+sub2] = always(fault.Newf(fault.Forbidden, "x"))
			w.hook["assignments "+group2] = always(fault.Newf(fault.Forbidden, "x"))
		}, "", "/subscriptions/" + sub, group2, false},
		"a recorded scope that nobody can tell about": {func(w *world) {
			w.recorded(group3)
			w.hook["assignments /subscriptions/"+sub3] = always(fault.Newf(fault.Forbidden, "x"))
			w.hook["assignments "+group3] = always(fault.Newf(fault.Unknown, "x"))
		}, "", "/subscriptions/" + sub + " /subscriptions/" + sub2, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.spec.Agents["bot"] = &agent.Agent{Name: "bot", Roles: two}
				c.meddle(w)
				held, err := observe.HeldBy(t.Context(), w, role.Builtin(), w.spec, w.spec.Agents["bot"], w.rec, "sp")
				var found []string
				for _, a := range held.Assignments {
					found = append(found, a.Name+" "+a.Role)
				}
				slices.Sort(found)
				if strings.Join(found, ", ") != c.found || strings.Join(held.Readable, " ") != c.readable || strings.Join(held.Unread, " ") != c.unread || (err != nil) != c.fails {
					t.Errorf("found %q at %q, unread %q: %v", found, held.Readable, held.Unread, err)
				}
			})
		})
	}
}

func TestTheGraphHalfNeedsNoRightInAzure(t *testing.T) {
	half := func(w *world) (agent.Observed, error) {
		o := &observe.Observer{Graph: w, ARM: w, Keys: w, Roles: role.Builtin(), Settle: settle}
		return o.GraphHalf(w.Context(), w.spec, w.spec.Agents["bot"], w.rec)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hook["group"] = always(fault.Newf(fault.Forbidden, "x"))
		o, err := half(w)
		if err != nil || !o.AzureUnread || o.Application == nil || w.count["vault"]+w.count["exists pool"]+w.count["assignments /subscriptions/"+sub] > 0 {
			t.Errorf("%+v, asked %v: %v", o, w.count, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // whoever may look, looks
		w := newWorld(t)
		if o, err := half(w); err != nil || o.AzureUnread || o.Vault == nil {
			t.Errorf("%+v: %v", o, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // an answer that says nothing is not a missing right
		w := newWorld(t)
		w.hook["group"] = always(fault.Newf(fault.Unknown, "x"))
		if o, err := half(w); err == nil || o.AzureUnread {
			t.Errorf("%+v: %v", o, err)
		}
	})
}

// A revoke must not fail because a vault is gone.
func TestIdentityReadsTheIdentityAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := &observe.Observer{Graph: w, ARM: w, Keys: w, Roles: role.Builtin()}
		seen, err := o.Identity(t.Context(), w.spec, w.spec.Agents["bot"], w.rec)
		if err != nil || seen.Application == nil || w.count["vault"]+w.count["group"]+w.count["namesakes"] > 0 {
			t.Errorf("asked %v: %v", w.count, err)
		}
		if seen, err := o.Identity(t.Context(), w.spec, w.spec.Agents["bot"], agent.Record{}); err != nil || seen.Application != nil {
			t.Errorf("%+v: %v", seen, err)
		}
	})
}

// What a service principal that somebody made anew holds is read like what the recorded one holds.
func TestBothPrincipalsAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rec.PrincipalID = "recorded"
		w.at["/subscriptions/"+sub] = []agent.Assignment{{ID: "1", Name: "1", PrincipalID: "sp"}}
		o := &observe.Observer{Graph: w, ARM: w, Keys: w, Roles: role.Builtin()}
		seen, err := o.Identity(t.Context(), w.spec, w.spec.Agents["bot"], w.rec)
		if asked := w.count["assignments /subscriptions/"+sub]; err != nil || asked != 2 || len(seen.Assignments) != 1 || len(seen.Readable) != 1 {
			t.Errorf("asked %d times, %+v: %v", asked, seen, err)
		}
	})
}
