package migrate_test

import (
	"crypto"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

const (
	old = "aaaaaaaa000000000000000000000001"
	new = "bbbbbbbb000000000000000000000002"
)

func cutPEM(b []byte) (der, rest []byte) {
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, nil
	}
	return block.Bytes, rest
}

func promotion() agent.Step {
	return agent.Step{ID: "promote", Action: provisioner.PromoteKey, With: map[string]string{"generation": new}}
}

func is(t *testing.T, what string, got, want crypto.Signer) {
	t.Helper()
	if got != want {
		t.Errorf("%s holds the wrong key (%v)", what, got != nil)
	}
}

// displaced is the entry of a foreign key that left the slot.
func (w *world) displaced() string {
	for name := range w.keys {
		if strings.HasPrefix(name, tenant+"#displaced-") {
			return name
		}
	}
	return ""
}

func TestAPromotionEndsAlikeWhereverItIsKilled(t *testing.T) {
	t.Run("over an empty slot", func(t *testing.T) {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
			w := newWorld(t)
			w.generation(new, theKey, false)
			return w, promotion()
		}, func(t *testing.T, w *world) {
			if w.slot() != theKey && w.keys[tenant+"#"+new] != theKey {
				t.Error("the key is nowhere")
			}
		}, func(t *testing.T, w *world) {
			g := w.rec.Generation(new)
			is(t, "the slot", w.slot(), theKey)
			if len(w.keys) != 1 || !g.Active || g.Ref != w.Ref(tenant) {
				t.Errorf("%d keys, generation %+v", len(w.keys), g)
			}
		})
	})
	t.Run("over our own earlier key", func(t *testing.T) {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
			w := newWorld(t)
			w.generation(old, anotherKey, true)
			w.generation(new, theKey, false)
			return w, promotion()
		}, func(t *testing.T, w *world) {
			if w.slot() != theKey && w.slot() != anotherKey {
				t.Error("the slot is empty for a moment")
			}
			if w.slot() == theKey && w.keys[tenant+"#"+old] != anotherKey {
				t.Error("the earlier key is gone")
			}
		}, func(t *testing.T, w *world) {
			is(t, "the slot", w.slot(), theKey)
			is(t, "the earlier key's own entry", w.keys[tenant+"#"+old], anotherKey)
			o, g := w.rec.Generation(old), w.rec.Generation(new)
			if len(w.keys) != 2 || o.Active || o.Ref != w.Ref(tenant+"#"+old) || !g.Active || g.Ref != w.Ref(tenant) {
				t.Errorf("%d keys, %+v %+v", len(w.keys), o, g)
			}
		})
	})
	t.Run("over a key that is not ours", func(t *testing.T) {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
			w := newWorld(t)
			w.keys[tenant] = thirdKey
			w.generation(new, theKey, false)
			return w, promotion()
		}, func(t *testing.T, w *world) {
			if w.slot() != thirdKey && w.keys[w.displaced()] != thirdKey {
				t.Error("a key that is not ours is gone")
			}
		}, func(t *testing.T, w *world) {
			is(t, "the slot", w.slot(), theKey)
			is(t, "the entry beside", w.keys[w.displaced()], thirdKey)
			if len(w.keys) != 2 {
				t.Errorf("%d keys", len(w.keys))
			}
		})
	})
}

func TestAPromotionDestroysNothingOfOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*world)
		meanwhile,
		then func(*testing.T, *world)
	}{
		{"somebody filled the empty slot meanwhile", func(w *world) {}, func(_ *testing.T, w *world) { w.keys[tenant] = thirdKey }, func(t *testing.T, w *world) { is(t, "the slot", w.slot(), thirdKey) }},
		{"somebody changed what the slot held meanwhile", func(w *world) { w.generation(old, anotherKey, true) }, func(_ *testing.T, w *world) { w.keys[tenant] = thirdKey }, func(t *testing.T, w *world) {
			is(t, "the slot", w.slot(), thirdKey)
		}},
		{"the entry beside holds another key", func(w *world) { w.generation(old, anotherKey, true); w.keys[tenant+"#"+old] = thirdKey }, func(*testing.T, *world) {}, func(t *testing.T, w *world) {
			is(t, "the slot", w.slot(), anotherKey)
			is(t, "the entry beside", w.keys[tenant+"#"+old], thirdKey)
		}},
		{"the keystore gives back another key than the certificate's", func(w *world) {}, func(_ *testing.T, w *world) { w.keys[tenant+"#"+new] = thirdKey }, func(t *testing.T, w *world) { is(t, "the slot", w.slot(), nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.before(w)
			w.generation(new, theKey, false)
			w.hook["begin"] = func(int) error { c.meanwhile(t, w); return nil }
			if _, err := w.do(promotion()); !fault.Is(err, fault.Conflict) {
				t.Errorf("%v", err)
			}
			c.then(t, w)
		})
	}
	w := newWorld(t)
	w.generation(new, theKey, false)
	w.hook["replace"] = func(int) error { w.keys[tenant] = thirdKey; return nil }
	w.hook["open "+tenant] = func(n int) error {
		if n == 3 {
			w.keys[tenant] = thirdKey // the keychain gives back something else
		}
		return nil
	}
	if _, err := w.do(promotion()); !fault.Is(err, fault.Conflict) || w.keys[tenant+"#"+new] != theKey {
		t.Errorf("a slot that does not give back what was written: %v", err)
	}
	w = newWorld(t)
	w.generation(new, theKey, false)
	w.hook["open "+tenant] = func(int) error { return fault.Newf(fault.Unauthenticated, "locked") }
	if _, err := w.do(promotion()); !fault.Is(err, fault.Unauthenticated) || len(w.entries) != 0 {
		t.Errorf("a locked keychain: %v, %v", err, w.entries)
	}
	if _, err := w.do(agent.Step{Action: provisioner.PromoteKey, With: map[string]string{"generation": "nobody"}}); err == nil {
		t.Error("a generation that nobody recorded is promoted")
	}
}

func restoration(generation, displaced string) agent.Step {
	return agent.Step{ID: "restore-slot", Action: provisioner.RestoreKey, With: map[string]string{"generation": generation, "displaced": displaced, "promoted": new}}
}

func TestARestorationEndsAlikeWhereverItIsKilled(t *testing.T) {
	promoted := func(t *testing.T, before func(*world)) *world {
		w := newWorld(t)
		before(w)
		w.generation(new, theKey, false)
		if _, err := w.do(promotion()); err != nil {
			t.Fatal(err)
		}
		w.effects, w.entries = 0, nil
		return w
	}
	t.Run("to our own earlier key", func(t *testing.T) {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
			return promoted(t, func(w *world) { w.generation(old, anotherKey, true) }), restoration(old, tenant+"#"+old)
		}, func(t *testing.T, w *world) {
			if w.slot() != theKey && w.slot() != anotherKey {
				t.Error("the slot is empty for a moment")
			}
		}, func(t *testing.T, w *world) {
			is(t, "the slot", w.slot(), anotherKey)
			o, g := w.rec.Generation(old), w.rec.Generation(new)
			if len(w.keys) != 1 || !o.Active || o.Ref != w.Ref(tenant) || g.Active || g.Ref == o.Ref {
				t.Errorf("%d keys, %+v %+v", len(w.keys), o, g)
			}
		})
	})
	t.Run("to a key that is not ours", func(t *testing.T) {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
			w := promoted(t, func(w *world) { w.keys[tenant] = thirdKey })
			return w, restoration("", w.displaced())
		}, nil, func(t *testing.T, w *world) {
			is(t, "the slot", w.slot(), thirdKey)
			if g := w.rec.Generation(new); len(w.keys) != 1 || g.Active || g.Ref == w.Ref(tenant) {
				t.Errorf("%d keys, %+v: whoever deletes the key of the run would delete another's", len(w.keys), g)
			}
		})
	})
	t.Run("to an empty slot", func(t *testing.T) {
		atEachCrash(t, func(t *testing.T) (*world, agent.Step) { return promoted(t, func(*world) {}), restoration("", "") }, nil, func(t *testing.T, w *world) {
			if len(w.keys) != 0 || w.rec.Active() != nil {
				t.Errorf("%d keys, %+v", len(w.keys), w.rec.Generations)
			}
		})
	})
	t.Run("of what was not changed yet", func(t *testing.T) {
		w := newWorld(t)
		w.generation(old, anotherKey, true)
		w.generation(new, theKey, false)
		if r, err := w.do(restoration(old, tenant+"#"+old)); err != nil || !strings.Contains(r.Detail, "not changed") {
			t.Error(r, err)
		}
		is(t, "the slot", w.slot(), anotherKey)
		if !w.rec.Generation(old).Active {
			t.Error("the earlier generation is not the active one")
		}
	})
	t.Run("over a key that somebody put there meanwhile", func(t *testing.T) {
		for _, before := range []func(*world){func(*world) {}, func(w *world) { w.generation(old, anotherKey, true) }} {
			w := promoted(t, before)
			w.keys[tenant] = thirdKey
			displaced := ""
			if w.rec.Generation(old) != nil {
				displaced = tenant + "#" + old
			}
			if _, err := w.do(restoration("", displaced)); err != nil {
				t.Error(err)
			}
			is(t, "the slot", w.slot(), thirdKey)
			if displaced != "" {
				is(t, "the earlier key's own entry", w.keys[displaced], anotherKey)
			}
			for _, g := range w.rec.Generations {
				if g.Ref == w.Ref(tenant) {
					t.Errorf("%+v is recorded as what the slot holds", g)
				}
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // without a keystore that answers
		w := promoted(t, func(w *world) { w.generation(old, anotherKey, true) })
		w.hook["open "+tenant] = func(int) error { return unmade() }
		if _, err := w.do(restoration(old, tenant+"#"+old)); err == nil {
			t.Error("a keystore that is not there is taken for an empty one")
		}
	})
}

// gone is the answer of a keystore whose folder is not there.
type gone struct{}

func (gone) Error() string { return "the key folder does not exist" }
func (gone) Unmade() bool  { return true }

func unmade() error { return &fault.Error{Code: fault.Unavailable, Err: gone{}} }

func TestTheOriginalsKeyIsRecordedAsItIs(t *testing.T) {
	importing := func(t *testing.T, w *world, key crypto.Signer) agent.Step {
		return agent.Step{ID: "key", Action: provisioner.ImportKey, With: map[string]string{"certificate": base64.StdEncoding.EncodeToString(certificateOf(t, key)), "key_id": "k1"}}
	}
	atEachCrash(t, func(t *testing.T) (*world, agent.Step) {
		w := newWorld(t)
		w.generation(old, anotherKey, true) // whose key somebody has replaced
		w.keys[tenant] = theKey
		return w, importing(t, w, theKey)
	}, nil, func(t *testing.T, w *world) {
		if len(w.rec.Generations) != 2 {
			t.Fatalf("%d generations", len(w.rec.Generations))
		}
		g := w.rec.Generations[1]
		is(t, "the slot", w.slot(), theKey)
		if g.Ref != w.Ref(tenant) || g.Active || g.KeyID != "k1" || sum(g.DER) != g.SHA256 || g.NotAfter.IsZero() || len(g.ID) != 32 {
			t.Errorf("%+v", g)
		}
		if w.rec.Generations[0].Ref == g.Ref {
			t.Error("two generations name one entry")
		}
	})
	w := newWorld(t)
	w.keys[tenant] = anotherKey
	if _, err := w.do(importing(t, w, theKey)); !fault.Is(err, fault.Conflict) || len(w.rec.Generations) > 0 {
		t.Errorf("another key: %v", err)
	}
	w = newWorld(t)
	if _, err := w.do(importing(t, w, theKey)); !fault.Is(err, fault.NotFound) {
		t.Errorf("no key: %v", err)
	}
	if _, err := w.do(agent.Step{Action: provisioner.ImportKey, With: map[string]string{"certificate": "%"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no certificate: %v", err)
	}
	w = newWorld(t)
	g := w.generation(new, theKey, false)
	w.keys[tenant] = theKey
	r, err := w.do(agent.Step{Action: provisioner.ImportKey, With: map[string]string{"certificate": base64.StdEncoding.EncodeToString(g.DER)}})
	if err != nil || r.Facts[agent.FactGeneration] != new || len(w.rec.Generations) != 1 || w.rec.Generations[0].Ref != w.Ref(tenant) {
		t.Errorf("one of ours that came back: %+v %v, %+v", r, err, w.rec.Generations)
	}
	if _, err := secret.ParseRef(r.Facts[agent.FactKey]); err != nil {
		t.Error(err)
	}
}
