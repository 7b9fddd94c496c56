package migrate_test

import (
	"context"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/migrate"
)

func text(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func writing(both string) agent.Step {
	return agent.Step{ID: "state", Action: provisioner.WriteState, With: map[string]string{"file": stateFile, "app_id": appID, "generation": new, "both": both}}
}

func TestTheStateFileIsWrittenAndRestored(t *testing.T) {
	w := newWorld(t)
	was, g := w.generation(old, anotherKey, true), w.generation(new, theKey, false)
	w.text = map[string]string{provisioner.KeyTenant: tenant, provisioner.KeyClient: appID, provisioner.KeyThumbprint: "0123", provisioner.KeyCert: text(was.DER), provisioner.KeyKeystore: "age:/k#x", "UNKNOWN": "stays"}
	before := maps.Clone(w.text)
	w.file.Certs, w.file.Thumbprint, w.file.Keystore = [][]byte{was.DER}, "0123", "age:/k#x"
	for range 2 { // as a run that was killed does it again
		if _, err := w.do(writing("true")); err != nil {
			t.Fatal(err)
		}
		if w.text[provisioner.KeyCert] != text(g.DER)+text(was.DER) || w.text[provisioner.KeyThumbprint] != "0123" || w.text["UNKNOWN"] != "stays" {
			t.Errorf("both: %v", w.text)
		}
		w.entries[0].Ended = nil
	}
	intent := w.entries[0].Intent["before"]
	w.entries = nil
	if _, err := w.do(writing("")); err != nil {
		t.Fatal(err)
	}
	if w.text[provisioner.KeyCert] != text(g.DER) || len(w.text[provisioner.KeyThumbprint]) != 40 || w.text[provisioner.KeyKeystore] != "" || w.rec.StateFile != stateFile {
		t.Errorf("final: %v", w.text)
	}
	w.entries = nil
	if _, err := w.do(agent.Step{Action: provisioner.RestoreState, With: map[string]string{"file": stateFile, "before": intent}}); err != nil || !maps.Equal(w.text, before) {
		t.Errorf("restored: %v %v\nwant %v", err, w.text, before)
	}
	w.entries = nil
	if _, err := w.do(agent.Step{Action: provisioner.RestoreState, With: map[string]string{"file": stateFile, "before": "?"}}); !fault.Is(cause(err), fault.Corrupt) {
		t.Errorf("a journal that does not read: %v", err)
	}
}

func TestTheStateFileNamesAKeystoreThatIsNotTheUsualOne(t *testing.T) {
	w := newWorld(t)
	w.generation(new, theKey, false)
	w.m.Default = secret.Ref{Backend: "keychain", Store: "elsewhere", Name: tenant}
	if _, err := w.do(writing("")); err != nil || w.text[provisioner.KeyKeystore] != w.Ref(tenant).String() {
		t.Error(err, w.text)
	}
}

func TestABackUpIsRecordedOnce(t *testing.T) {
	atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
		w := newWorld(t)
		w.holds[stateFile] = []string{canary}
		return w, agent.Step{ID: "back-up", Action: provisioner.BackUp, With: map[string]string{"file": stateFile}}
	}, nil, func(t *testing.T, w *world) {
		if len(w.rec.BackUps) != 1 || len(w.vault) != 1 || w.rec.BackUps[0].Path != "/b/run.age" || w.rec.BackUps[0].Key.Zero() {
			t.Errorf("%+v, %d files", w.rec.BackUps, len(w.vault))
		}
	})
}

func TestPermissionSteps(t *testing.T) {
	for _, s := range []agent.Step{
		{ID: "d", Action: provisioner.DeclarePermissions, With: map[string]string{"application": appObject, "roles": "r1 r2"}},
		{ID: "g", Action: provisioner.GrantPermission, With: map[string]string{"principal": principal, "resource": graphID, "role_id": "r1", "role": "X.All"}},
		{ID: "p", Action: provisioner.PinPermissions, With: map[string]string{"roles": "A B"}},
	} {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) { return newWorld(t), s }, nil, func(t *testing.T, w *world) {
			done := map[string]bool{"d": slices.Contains(w.said, "r2"), "g": len(w.granted) > 0, "p": slices.Equal(w.rec.Permissions, []string{"A", "B"})}
			if !done[s.ID] {
				t.Errorf("%s: %v %v %v", s.ID, w.said, w.granted, w.rec.Permissions)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // a service principal that a replica does not know yet
		w := newWorld(t)
		w.hook["grant"] = func(n int) error {
			if n < 3 {
				return notFound()
			}
			return nil
		}
		if _, err := w.do(agent.Step{Action: provisioner.GrantPermission, With: map[string]string{"role_id": "r1"}}); err != nil || len(w.granted) != 1 {
			t.Error(err)
		}
	})
}

func none() agent.Step {
	return agent.Step{Action: provisioner.NoPasswords, With: map[string]string{"application": appObject, "app_id": appID, "generation": new}}
}

func TestNoPasswordIsBelievedAfterThreeAnswersInARow(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		reads  int // of the application; 0: not asked
		fails  fault.Code
	}{
		{"at once", func(*world) {}, 3, ""},
		{"a replica that lags", func(w *world) {
			w.app.Passwords = []agent.Password{{KeyID: "p"}}
			w.hook["application"] = func(n int) error {
				if w.app.Passwords = nil; n < 4 {
					w.app.Passwords = []agent.Password{{KeyID: "p"}}
				}
				return nil
			}
		}, 6, ""},
		{"a password that comes back after two good answers", func(w *world) {
			w.hook["application"] = func(n int) error {
				if w.app.Passwords = nil; n == 3 {
					w.app.Passwords = []agent.Password{{KeyID: "p"}}
				}
				return nil
			}
		}, 6, ""},
		{"an answer that fails between two good ones", func(w *world) {
			w.hook["principal"] = func(n int) error {
				if n == 2 {
					return fault.Newf(fault.Unavailable, "away")
				}
				return nil
			}
		}, 5, ""},
		{"a password that stays", func(w *world) { w.app.Passwords = []agent.Password{{KeyID: "p"}} }, 0, fault.Conflict},
		{"a password of the service principal that stays", func(w *world) { w.sp.Passwords = []agent.Password{{KeyID: "p"}} }, 0, fault.Conflict},
		{"a certificate that somebody removed", func(w *world) { w.app.Certificates = nil }, 0, fault.Conflict},
		{"a certificate whose bytes Graph does not show", func(w *world) { w.app.Certificates[0].SHA256 = "" }, 3, ""},
		{"what may not be read", func(w *world) { w.hook["application"] = func(int) error { return fault.Newf(fault.Forbidden, "no") } }, 1, fault.Forbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.generation(new, theKey, false)
				c.change(w)
				r, err := w.do(none())
				if fault.CodeOf(cause(err)) != c.fails || (c.fails == "" && (err != nil || len(r.Evidence) == 0 || r.Facts["passwords_left"] != "0")) {
					t.Errorf("%+v %v", r, err)
				}
				if c.reads > 0 && w.count["application"] != c.reads {
					t.Errorf("%d readings, want %d", w.count["application"], c.reads)
				}
			})
		})
	}
}

// cause is what stopped a run.
func cause(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.Stopped {
		return f.Err
	}
	return err
}

func where(with map[string]string) map[string]string {
	all := map[string]string{"state": stateFile, "env": envFile, "app_id": appID}
	maps.Copy(all, with)
	return all
}

func TestTheSecretIsProvedDead(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(n int) (bool, string, error)
		asked  int
		fails  fault.Code
	}{
		{"by three refusals", func(int) (bool, string, error) { return false, "AADSTS7000215", nil }, 3, ""},
		{"by three refusals in a row, though a replica lags", func(n int) (bool, string, error) { return n == 2, "AADSTS7000222", nil }, 5, ""},
		{"not while it works", func(int) (bool, string, error) { return true, "", nil }, 0, fault.NotYet},
		{"not by an answer that says nothing of it", func(int) (bool, string, error) { return false, "", fault.Newf(fault.Unauthenticated, "AADSTS700016") }, 1, fault.Unauthenticated},
		{"not by a login service that is away, which is asked again", func(n int) (bool, string, error) {
			if n == 1 {
				return false, "", fault.Newf(fault.Unavailable, "away")
			}
			return false, "AADSTS7000215", nil
		}, 4, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.holds[stateFile], w.kinds[stateFile] = []string{canary}, provisioner.StateFile
				w.secret = func(n int, v string) (bool, string, error) {
					if v != canary {
						t.Errorf("asked is %q", v)
					}
					return c.answer(n)
				}
				r, err := w.do(agent.Step{Action: provisioner.SecretDeadProof, With: where(nil)})
				if fault.CodeOf(cause(err)) != c.fails || (err == nil && (len(r.Evidence) < 2 || !strings.HasPrefix(r.Detail, "AADSTS70002"))) {
					t.Errorf("%+v %v", r, err)
				}
				if c.asked > 0 && w.count["secret"] != c.asked {
					t.Errorf("asked %d times, want %d", w.count["secret"], c.asked)
				}
			})
		})
	}
	w := newWorld(t) // two values: each is asked
	w.holds[stateFile], w.holds[envFile] = []string{canary}, []string{"another-" + canary}
	if _, err := w.do(agent.Step{Action: provisioner.SecretDeadProof, With: where(nil)}); err != nil || w.count["secret"] != 6 {
		t.Error(err, w.count["secret"])
	}
	w = newWorld(t)
	w.hook["legacy"] = func(int) error { return fault.Newf(fault.Forbidden, "a folder does not read") }
	for _, action := range []agent.Action{provisioner.SecretDeadProof, provisioner.PurgeSecret, provisioner.ScanSecret} {
		w.entries = nil
		if _, err := w.do(agent.Step{Action: action, With: where(nil)}); !fault.Is(cause(err), fault.Forbidden) {
			t.Errorf("%s takes what nobody could look into for clean: %v", action, err)
		}
	}
}

func TestAPurgeEndsAlikeWhereverItIsKilled(t *testing.T) {
	atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
		w := newWorld(t)
		w.holds = map[string][]string{stateFile: {canary}, envFile: {canary, "someone else's"}, stateFile + ".bak": {canary}}
		w.kinds = map[string]provisioner.Kind{stateFile: provisioner.StateFile, envFile: provisioner.EnvFile}
		w.vault["/b/run.age"], w.rec.BackUps = []string{canary}, []agent.BackUp{{Path: "/b/run.age", Expires: time.Now().Add(time.Hour)}}
		return w, agent.Step{ID: "purge-1", Action: provisioner.PurgeSecret, With: where(map[string]string{"file": stateFile, "kind": "state"})}
	}, nil, func(t *testing.T, w *world) {
		if len(w.holds[stateFile]) != 0 || len(w.holds[envFile]) != 2 || len(w.holds[stateFile+".bak"]) != 1 {
			t.Errorf("%v", w.holds)
		}
	})
}

func TestTheScanKnowsTheValueFromTheBackUp(t *testing.T) {
	w := newWorld(t)
	w.vault["/b/run.age"] = []string{canary}
	w.rec.BackUps = []agent.BackUp{{Path: "/b/run.age", Expires: time.Now().Add(time.Hour)}}
	w.holds["/w/notes"], w.kinds["/w/notes"] = []string{canary}, provisioner.Other
	step := agent.Step{ID: "scan", Action: provisioner.ScanSecret, With: where(map[string]string{"also": "/x\n/y", "edit": "/z"})}
	r, err := w.do(step)
	if err != nil || r.Facts[provisioner.FactLeft] != "/w/notes" || !strings.HasPrefix(r.Detail, "1 place") {
		t.Errorf("%+v %v", r, err)
	}
	w.holds, w.entries = nil, nil
	if r, err = w.do(step); err != nil || r.Facts[provisioner.FactLeft] != "" || r.Detail != "nothing found" {
		t.Errorf("%+v %v", r, err)
	}
}

func (w *world) observe(ask migrate.Ask) (provisioner.Observed, error) {
	ask.StateFile, ask.Where = stateFile, migrate.Where{State: stateFile, Env: envFile}
	o, err := w.m.Observe(w.Context(), w.spec, w.rec, ask)
	if strings.Contains(strings.ToUpper(sprint(o, err)), strings.ToUpper(canary)) {
		w.Error("the secret is in the observation")
	}
	return o, err
}

func TestAnObservationSeesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := w.generation(new, theKey, true)
		w.same = []agent.Namesake{{Application: agent.Application{ID: appObject, AppID: strings.ToUpper(appID)}}, {Application: agent.Application{ID: other, AppID: other}}}
		w.roles, w.said, w.granted = []provisioner.AppRole{{ID: "r1", Value: "X"}}, []string{"r1"}, []provisioner.Grant{{ID: "g1", RoleID: "r1"}}
		w.holds[stateFile], w.kinds[stateFile] = []string{canary}, provisioner.StateFile
		o, err := w.observe(migrate.Ask{Permissions: true, Secret: true, Rights: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Namesakes) != 1 || o.Application == nil || o.Principal == nil || o.GraphID != graphID || len(o.Offered)+len(o.Declared)+len(o.Granted) != 3 || !o.Rights.Enough {
			t.Errorf("%+v", o)
		}
		if o.Secret != provisioner.SecretDead || len(o.Places) != 1 || o.Keys[new] != agent.KeyPresent || o.Slot.State != agent.KeyPresent || o.Slot.Certificate.SHA256 != g.SHA256 || o.Slot.Certificate.KeyID != g.KeyID {
			t.Errorf("%+v", o)
		}
	})
}

func TestWhatCannotBeReadIsNeverAbsent(t *testing.T) {
	for _, op := range []string{"state", "namesakes", "application", "principal", "federated", "owners", "roles", "declared", "granted", "rights", "open " + tenant, "open " + tenant + "#" + old, "beside", "legacy"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.generation(old, anotherKey, false)
				w.generation(new, theKey, true)
				w.holds[stateFile] = []string{canary}
				w.hook[op] = func(int) error { return fault.Newf(fault.Forbidden, "no") }
				if _, err := w.observe(migrate.Ask{Permissions: true, Secret: true, Rights: true}); !fault.Is(err, fault.Forbidden) {
					t.Errorf("%v", err)
				}
				w.hook[op] = func(n int) error {
					if n == 1 {
						return fault.Newf(fault.Unavailable, "away")
					}
					return nil
				}
				w.count = map[string]int{}
				if _, err := w.observe(migrate.Ask{Permissions: true, Secret: true, Rights: true}); err != nil && !strings.HasPrefix(op, "open") && op != "state" && op != "beside" && op != "legacy" {
					t.Errorf("once away: %v", err)
				}
			})
		})
	}
}

func TestObservationsThatDecide(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*testing.T, *world)
		check  func(*testing.T, *world, provisioner.Observed, error)
	}{
		{"an application that is gone is absent once that has lasted", func(_ *testing.T, w *world) { w.app = nil }, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Application != nil {
				t.Error(err)
			}
		}},
		{"a service principal that a replica does not know is waited for", func(_ *testing.T, w *world) {
			w.hook["principal"] = func(n int) error {
				if n < 3 {
					return notFound()
				}
				return nil
			}
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Principal == nil {
				t.Error(err)
			}
		}},
		{"a keystore that is not there says nothing of a key that was made", func(_ *testing.T, w *world) {
			w.generation(new, theKey, true)
			w.hook["open "+tenant] = func(int) error { return unmade() }
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err == nil {
				t.Errorf("it is taken for %s", o.Keys[new])
			}
		}},
		{"before the first key it is an empty one", func(_ *testing.T, w *world) {
			w.hook["open "+tenant] = func(int) error { return unmade() }
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Slot.State != agent.KeyAbsent {
				t.Error(o.Slot, err)
			}
		}},
		{"a key of another certificate is mismatched", func(_ *testing.T, w *world) {
			w.generation(new, theKey, true)
			w.keys[tenant] = thirdKey
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Keys[new] != agent.KeyMismatched || o.Slot.State != agent.KeyPresent || o.Slot.Certificate != nil {
				t.Error(o.Keys, o.Slot, err)
			}
		}},
		{"the certificate in the original's bundle is found", func(t *testing.T, w *world) {
			w.keys[tenant], w.beside[tenant] = theKey, certificateOf(t, theKey)
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Slot.Certificate == nil || o.Slot.Certificate.SHA256 != sum(w.beside[tenant]) {
				t.Error(o.Slot, err)
			}
		}},
		{"of two certificates of the key, the registered one counts", func(t *testing.T, w *world) {
			w.generation(new, theKey, true)
			time.Sleep(24 * time.Hour)
			w.file.Certs = [][]byte{certificateOf(t, theKey)}
			w.beside[tenant] = w.file.Certs[0]
			w.rec.Generations = nil
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Slot.Certificate == nil || o.Slot.Certificate.KeyID != "k-"+new {
				t.Error(o.Slot, err)
			}
		}},
		{"a secret that works anywhere is live", func(_ *testing.T, w *world) {
			w.holds[stateFile], w.holds[envFile] = []string{canary}, []string{"z" + canary}
			w.secret = func(n int, v string) (bool, string, error) { return v == canary, "", nil }
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Secret != provisioner.SecretLive {
				t.Error(o.Secret, err)
			}
		}},
		{"an unclear answer is not taken for dead", func(_ *testing.T, w *world) {
			w.holds[stateFile], w.holds[envFile] = []string{canary}, []string{"z" + canary}
			w.secret = func(n int, v string) (bool, string, error) {
				if v == canary {
					return false, "", fault.Newf(fault.Unauthenticated, "?")
				}
				return false, "AADSTS7000215", nil
			}
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Secret != provisioner.SecretUnknown {
				t.Error(o.Secret, err)
			}
		}},
		{"another tenant's secret is not sent to this one's login service", func(_ *testing.T, w *world) {
			w.file.Tenant, w.holds[stateFile] = other, []string{canary}
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Secret != provisioner.SecretUnknown || w.count["secret"] > 0 || len(o.Places) != 1 {
				t.Error(o.Secret, w.count["secret"], err)
			}
		}},
		{"whoever owns the application has the right", func(_ *testing.T, w *world) {
			w.owners = []agent.Owner{{ID: "me"}}
			w.rights = func(a agent.Application) provisioner.Rights {
				return provisioner.Rights{Known: true, Enough: len(a.Owners) == 1 && a.Owners[0].ID == "me"}
			}
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || !o.Rights.Enough {
				t.Error(o.Rights, err)
			}
		}},
		{"file and record name two objects", func(_ *testing.T, w *world) { w.rec.ApplicationID = other }, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), appObject) {
				t.Error(err)
			}
		}},
		{"nobody says which application it is", func(_ *testing.T, w *world) {
			w.file, w.holds[stateFile] = provisioner.File{Path: stateFile}, []string{canary}
		}, func(t *testing.T, w *world, o provisioner.Observed, err error) {
			if err != nil || o.Application != nil || w.count["application"] > 0 || w.count["secret"] > 0 || o.Secret != provisioner.NoSecret {
				t.Error(o, err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c.change(t, w)
				o, err := w.observe(migrate.Ask{Secret: true, Rights: true})
				c.check(t, w, o, err)
			})
		})
	}
	w := newWorld(t)
	w.generation(new, theKey, true)
	o, err := w.observe(migrate.Ask{Alone: true, Permissions: true})
	if err != nil || o.Application != nil || w.count["application"]+w.count["principal"]+w.count["namesakes"]+w.count["roles"] > 0 || o.Keys[new] != agent.KeyPresent {
		t.Errorf("alone: %+v %v, calls %v", o, err, w.calls)
	}
}

func TestASearchKnowsWhatBackUpsAndThisProcessKnow(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.vault["/b/1.age"], w.vault["/b/2.age"] = []string{canary}, []string{"expired-" + canary}
	w.rec.BackUps = []agent.BackUp{{Path: "/b/1.age", Expires: now.Add(time.Hour)}, {Path: "/b/2.age", Expires: now}}
	w.secret = func(_ int, v string) (bool, string, error) {
		if v != canary {
			t.Errorf("asked is %q", v)
		}
		return false, "AADSTS7000215", nil
	}
	ask := migrate.Ask{StateFile: stateFile, Where: migrate.Where{State: stateFile, Env: envFile}, Secret: true}
	o, err := w.m.Observe(t.Context(), w.spec, w.rec, ask)
	if err != nil || o.Secret != provisioner.SecretDead || w.count["secret"] != 1 {
		t.Errorf("%v %s, asked %d times", err, o.Secret, w.count["secret"])
	}
	// What was found at planning is what the steps act on, and they do not search again.
	w.rec.BackUps, w.holds[envFile], w.kinds[envFile] = nil, []string{canary}, provisioner.EnvFile
	searches := w.count["legacy"]
	for _, s := range []agent.Step{{ID: "dead", Action: provisioner.SecretDeadProof, With: where(nil)}, {ID: "purge-1", Action: provisioner.PurgeSecret, With: where(map[string]string{"file": envFile, "kind": "environment"})}} {
		if _, err := w.do(s); err != nil {
			t.Error(err)
		}
	}
	if len(w.holds[envFile]) != 0 || w.count["legacy"] != searches {
		t.Errorf("%v, %d searches", w.holds, w.count["legacy"]-searches)
	}
}

func TestOnlyTheLoginServiceVouchesForAFoundValue(t *testing.T) {
	for _, c := range []struct {
		name string
		say  func() (bool, string, error)
		want bool
	}{
		{"it works", func() (bool, string, error) { return true, "", nil }, true},
		{"it is refused", func() (bool, string, error) { return false, "AADSTS7000215", nil }, false},
		{"there is no clear answer", func() (bool, string, error) { return false, "", fault.Newf(fault.Unavailable, "away") }, false},
	} {
		w := newWorld(t)
		w.secret = func(int, string) (bool, string, error) { return c.say() }
		asked := false
		w.vouch = func(ours func(context.Context, secret.Value) (bool, error)) {
			asked = true
			if yes, err := ours(t.Context(), secret.New([]byte(canary))); err != nil || yes != c.want {
				t.Errorf("%s: %v %v", c.name, yes, err)
			}
		}
		if _, err := w.m.Observe(t.Context(), w.spec, w.rec, migrate.Ask{StateFile: stateFile, Where: migrate.Where{State: stateFile, Env: envFile}, Secret: true}); err != nil || !asked {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
