package agent_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

func TestRenew(t *testing.T) {
	const (
		key    = "key certificate<key> login<certificate> "
		remove = "remove-certificate:" + keyID + "<certificate,login> "
		dead   = "dead:" + gen1 + "<remove-certificate:" + keyID + "> "
	)
	verify := func(rest string) string { return "verify<key,certificate,login," + rest + ">" }
	gone := verify("remove-certificate:" + keyID + ",dead:" + gen1 + ",delete-key:" + gen1)
	for name, c := range map[string]struct {
		change                     func(*agent.Observed, *agent.RotateOptions)
		via                        string
		steps, findings, blockedBy string
	}{
		"everything is in order": {
			via: agent.ViaKey, steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login> " + gone,
		},
		"an overlap was asked for": {
			change: func(_ *agent.Observed, opt *agent.RotateOptions) { opt.Overlap = time.Hour },
			via:    agent.ViaKey, steps: key + "retire-later<login> " + verify("retire-later"),
		},
		"without an operator": {
			change: func(o *agent.Observed, opt *agent.RotateOptions) { alone(o, opt) },
			via:    agent.ViaKey, findings: "no-reader:unknown", steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login>",
		},
		"without an operator, and nobody has seen the old certificate's key id": {
			change: func(o *agent.Observed, opt *agent.RotateOptions) {
				alone(o, opt)
				o.Record.Generations[0].KeyID = ""
			},
			via: agent.ViaKey, findings: "key-id-pending:warn no-reader:unknown", steps: strings.TrimSpace(key),
		},
		"nobody had seen the old certificate's key id, and now it can be read": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) { o.Record.Generations[0].KeyID = "" },
			via:    agent.ViaKey, steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login> " + gone,
		},
		"the certificate has expired": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) { o.Record.Generations[0].NotAfter = now() },
			via:    agent.ViaOperator, steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login> " + gone,
		},
		"it has expired, and there is no operator": {
			change: func(o *agent.Observed, opt *agent.RotateOptions) {
				alone(o, opt)
				o.Record.Generations[0].NotAfter = now()
			},
			blockedBy: "needs-operator",
		},
		"the private key is gone": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) { o.Keys[gen1] = agent.KeyAbsent },
			via:    agent.ViaOperator, steps: key + remove + "delete-key:" + gen1 + "<remove-certificate:" + keyID + ",login> " + verify("remove-certificate:"+keyID+",delete-key:"+gen1),
		},
		"the private key is gone, and there is no operator": {
			change: func(o *agent.Observed, opt *agent.RotateOptions) {
				alone(o, opt)
				o.Keys[gen1] = agent.KeyAbsent
			},
			blockedBy: "needs-operator",
		},
		"somebody has removed the certificate": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) { o.Application.Certificates = nil },
			via:    agent.ViaOperator, steps: key + "delete-key:" + gen1 + "<login> " + verify("delete-key:"+gen1),
		},
		"an earlier one is in its overlap": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) {
				older(o)
				o.Record.Generations[1].RetireAt = now().Add(time.Minute)
			},
			via: agent.ViaKey, steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login> " + gone,
		},
		"the overlap of an earlier one has ended": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) {
				older(o)
				o.Record.Generations[1].RetireAt = now()
			},
			via: agent.ViaKey, steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login> " +
				"remove-certificate:k2<remove-certificate:" + keyID + ",login> dead:" + gen2 + "<remove-certificate:k2> delete-key:" + gen2 + "<dead:" + gen2 + ",login> " +
				verify("remove-certificate:"+keyID+",dead:"+gen1+",delete-key:"+gen1+",remove-certificate:k2,dead:"+gen2+",delete-key:"+gen2),
		},
		"a lost answer has left the certificate there twice": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) {
				o.Application.Certificates = append(o.Application.Certificates, certificate("z9", sum1))
			},
			via: agent.ViaKey, steps: key + remove + "remove-certificate:z9<remove-certificate:" + keyID + ",login> dead:" + gen1 + "<remove-certificate:z9> delete-key:" + gen1 + "<dead:" + gen1 + ",login> " +
				verify("remove-certificate:"+keyID+",remove-certificate:z9,dead:"+gen1+",delete-key:"+gen1),
		},
		"it is not provisioned": {
			change:    func(o *agent.Observed, _ *agent.RotateOptions) { *o = untouched() },
			blockedBy: "not-provisioned",
		},
		"the service principal is gone": {
			change:    func(o *agent.Observed, _ *agent.RotateOptions) { o.Principal = nil },
			blockedBy: "no-principal",
		},
		"the service principal is disabled": {
			change:    func(o *agent.Observed, _ *agent.RotateOptions) { o.Principal.Enabled = false },
			blockedBy: "principal-disabled",
		},
		"the application is gone": {
			change:    func(o *agent.Observed, _ *agent.RotateOptions) { o.Application = nil },
			blockedBy: "application-gone",
		},
		"somebody has added a password": {
			change: func(o *agent.Observed, _ *agent.RotateOptions) {
				o.Application.Passwords = []agent.Password{{KeyID: "p1"}}
			},
			via: agent.ViaKey, findings: "password-credential:fail", steps: key + remove + dead + "delete-key:" + gen1 + "<dead:" + gen1 + ",login> " + gone,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, opt := inOrder(), agent.RotateOptions{Options: options()}
			if c.change != nil {
				c.change(&o, &opt)
			}
			p := agent.Renew(wanted(), "bot", o, opt)
			sound(t, p)
			proven(t, p)
			if line(p) != c.steps || findings(p) != c.findings || blockers(p) != c.blockedBy {
				t.Errorf("got  %s\nwant %s\nfindings %q, blocked by %q", line(p), c.steps, findings(p), blockers(p))
			}
			for _, s := range p.Steps {
				if via, ok := s.With["via"]; ok && (via != c.via || (s.Plane == agent.Identity) != (via == agent.ViaKey)) {
					t.Errorf("%s goes via %s on plane %s, want via %s", s.ID, via, s.Plane, c.via)
				}
			}
		})
	}
}

// alone is what a rotation without an operator rests on: the record and the keys.
func alone(o *agent.Observed, opt *agent.RotateOptions) {
	opt.Alone = true
	*o = agent.Observed{Record: o.Record, Keys: o.Keys, Now: o.Now}
}

// However the steps of a rotation are ordered and wherever it stops, a certificate is registered whose key is in the keystore and opens it;
// and whoever adds or removes one by the right of a key has such a key.
func TestEveryPrefixOfARotationLogsIn(t *testing.T) {
	rotations := 0
	rapid.Check(t, func(t *rapid.T) {
		s, o, opts := world(t)
		opt := agent.RotateOptions{Options: opts, Overlap: rapid.SampledFrom([]time.Duration{0, 0, time.Hour}).Draw(t, "overlap")}
		full := o
		if rapid.Bool().Draw(t, "alone") {
			alone(&o, &opt)
		}
		p := agent.Renew(s, "bot", o, opt)
		sound(t, p)
		proven(t, p)
		again := o
		if !opt.Alone {
			again = shuffled(o, rapid.Uint64().Draw(t, "order of the answers"))
		}
		if p.Digest() != agent.Renew(s, "bot", again, opt).Digest() {
			t.Errorf("the same world in another order gives another plan: %s", line(p))
		}
		if len(p.Blockers) > 0 {
			return
		}
		rotations++
		w := replay(full, opt.Alone)
		worked := w.opens() != ""
		done := map[string]bool{}
		for len(done) < len(p.Steps) {
			var ready []agent.Step
			for _, step := range p.Steps {
				if !done[step.ID] && !slices.ContainsFunc(step.After, func(id string) bool { return !done[id] }) {
					ready = append(ready, step)
				}
			}
			step := ready[rapid.IntRange(0, len(ready)-1).Draw(t, "next")]
			if step.With["via"] == agent.ViaKey && !w.works(w.active) && (worked || !opt.Alone) {
				t.Errorf("%s goes by the right of key %s, which opens nothing: %s", step.ID, w.active, line(p))
			}
			w.do(step)
			done[step.ID] = true
			worked = worked || w.opens() != ""
			if worked && w.opens() == "" {
				t.Fatalf("after %s nothing logs in any more: %s", step.ID, line(p))
			}
		}
		if !w.works(minted) || w.active != minted {
			t.Errorf("the new key is not the one that logs in: %s", line(p))
		}
	})
	if rotations < 5 {
		t.Errorf("only %d of the drawn worlds could be rotated", rotations)
	}
}

const minted = "new"

// lives is what a rotation changes: what is registered and what is in the keystore.
type lives struct {
	keys       map[string]bool   // generation → its own key is in the keystore
	registered map[string]string // key id → generation
	expired    map[string]bool
	active     string
}

func replay(o agent.Observed, alone bool) *lives {
	w := &lives{keys: map[string]bool{}, registered: map[string]string{}, expired: map[string]bool{}}
	for _, g := range o.Record.Generations {
		w.keys[g.ID], w.expired[g.ID] = o.Keys[g.ID] == agent.KeyPresent, !o.Now.Before(g.NotAfter)
		if g.Active {
			w.active = g.ID
		}
		if alone { // nobody has looked: it is as recorded
			w.registered["of "+g.ID] = g.ID
			continue
		}
		if o.Application == nil {
			continue
		}
		for _, c := range o.Application.Certificates {
			if strings.EqualFold(c.SHA256, g.SHA256) || (c.SHA256 == "" && c.KeyID == g.KeyID) {
				w.registered[c.KeyID] = g.ID
			}
		}
	}
	if alone {
		for _, g := range o.Record.Generations {
			if g.KeyID != "" {
				delete(w.registered, "of "+g.ID)
				w.registered[g.KeyID] = g.ID
			}
		}
	}
	return w
}

func (w *lives) works(g string) bool {
	for _, have := range w.registered {
		if have == g && w.keys[g] && !w.expired[g] {
			return true
		}
	}
	return false
}

// opens is a generation that logs in, "" if none does.
func (w *lives) opens() string {
	for _, g := range w.registered {
		if w.works(g) {
			return g
		}
	}
	return ""
}

func (w *lives) do(s agent.Step) {
	switch s.Action {
	case agent.MintKey:
		w.keys[minted] = true
	case agent.RegisterCertificate:
		w.registered["its key id"] = minted
	case agent.Login:
		w.active = minted
	case agent.RemoveCertificate:
		delete(w.registered, s.With["key_id"])
	case agent.DeleteKey:
		w.keys[s.With["generation"]] = false
	}
}

func TestExpiry(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		life, left time.Duration
		want       string
	}{
		"a year's, with half of it left":                 {365 * day, 180 * day, ""},
		"a year's, with a month and a day left":          {365 * day, 31 * day, ""},
		"a year's, with a month left":                    {365 * day, 30 * day, "warn"},
		"a year's, with eight days left":                 {365 * day, 8 * day, "warn"},
		"a year's, with a week left":                     {365 * day, 7 * day, "fail"},
		"a year's, with nothing left":                    {365 * day, 0, "fail"},
		"a week's, made just now":                        {7 * day, 7 * day, ""},
		"a week's, with two days left":                   {7 * day, 2 * day, "warn"},
		"a week's, with half a day left":                 {7 * day, 12 * time.Hour, "fail"},
		"one of an unknown beginning, with a month left": {0, 30 * day, "warn"},
	} {
		t.Run(name, func(t *testing.T) {
			var begin time.Time
			if c.life > 0 {
				begin = now().Add(c.left - c.life)
			}
			f, soon := agent.Expiry(begin, now().Add(c.left), now(), "rotate it")
			if soon != (c.want != "") || (soon && (string(f.Outcome) != c.want || f.Remedy != "rotate it")) {
				t.Errorf("got %+v, %v", f, soon)
			}
		})
	}
}
