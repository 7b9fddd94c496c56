package provisioner_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// world is the little of the outside that decides who can log in: what is registered, what the keystore holds, what the files say. A key
// is called by the certificate that it belongs to.
type world struct {
	passwords map[string]bool
	certs     map[string]string // key id → SHA-256
	expired   map[string]bool   // SHA-256
	keys      map[string]string // entry → SHA-256 of the certificate of the key in it
	record    []agent.Generation
	file      []string // SHA-256 of each certificate in the state file
	secret    bool     // on this machine
	facts     map[string]string
	next      int
}

func modelOf(o provisioner.Observed) *world {
	w := &world{passwords: map[string]bool{}, certs: map[string]string{}, expired: map[string]bool{}, keys: map[string]string{}, facts: map[string]string{}, secret: o.File.HasSecret && o.Secret == provisioner.SecretLive}
	for _, p := range slices.Concat(o.Application.Passwords, o.Principal.Passwords) {
		w.passwords[p.KeyID] = true
	}
	for _, c := range o.Application.Certificates {
		w.certs[c.KeyID] = c.SHA256
		w.expired[c.SHA256] = !o.Now.Before(c.End)
	}
	for _, g := range o.Record.Generations {
		w.expired[g.SHA256] = !o.Now.Before(g.NotAfter)
		if o.Keys[g.ID] == agent.KeyPresent {
			w.keys[g.Ref.String()] = g.SHA256
		}
	}
	w.record = slices.Clone(o.Record.Generations)
	if o.Slot.State == agent.KeyPresent {
		w.keys[slot().String()] = "foreign"
		if o.Slot.Certificate != nil {
			w.keys[slot().String()] = o.Slot.Certificate.SHA256
			w.expired[o.Slot.Certificate.SHA256] = !o.Now.Before(o.Slot.Certificate.End)
		}
	}
	for _, der := range o.File.Certs {
		w.file = append(w.file, sum(strings.TrimPrefix(string(der), "certificate of ")))
	}
	return w
}

// opens tells whether a key logs in.
func (w *world) opens(sha string) bool {
	return !w.expired[sha] && slices.Contains(slices.Collect(maps.Values(w.certs)), sha)
}

// ways are the credentials of this machine that log in now: the secret, and keys wherever the record or the slot has them.
func (w *world) ways() (all []string) {
	if w.secret && len(w.passwords) > 0 {
		all = append(all, "the secret")
	}
	for _, g := range w.record {
		if w.keys[g.Ref.String()] == g.SHA256 && w.opens(g.SHA256) {
			all = append(all, "generation "+g.ID)
		}
	}
	if w.opens(w.keys[slot().String()]) {
		all = append(all, "the slot")
	}
	return all
}

// reader tells whether another program, which knows state file and slot alone, logs in.
func (w *world) reader() bool {
	sha := w.keys[slot().String()]
	return w.opens(sha) && slices.Contains(w.file, sha)
}

func (w *world) generation(id string) *agent.Generation {
	i := slices.IndexFunc(w.record, func(g agent.Generation) bool { return g.ID == id })
	if i < 0 {
		return nil
	}
	return &w.record[i]
}

// do is what the handler of a step does, as far as the model goes; an error is a step that could not succeed.
func (w *world) do(p agent.Plan, s agent.Step) error {
	with := func(name string) string {
		if fact, ok := strings.CutPrefix(s.With[name], "$"); ok {
			return w.facts[fact]
		}
		return s.With[name]
	}
	g := w.generation(with("generation"))
	switch s.Action {
	case agent.MintKey, agent.RegisterCertificate, agent.Login, provisioner.WriteState, provisioner.PromoteKey, agent.ProveDead:
		if s.Action != agent.MintKey && g == nil {
			return fmt.Errorf("generation %q is not recorded", with("generation"))
		}
	}
	switch s.Action {
	case agent.MintKey:
		w.next++
		id := fmt.Sprintf("%032d", w.next)
		w.record = append(w.record, agent.Generation{ID: id, Ref: beside(id), SHA256: sum(id)})
		w.keys[beside(id).String()] = sum(id)
		w.facts[agent.FactGeneration] = id
	case provisioner.ImportKey:
		sha := w.keys[slot().String()]
		i := slices.IndexFunc(w.record, func(g agent.Generation) bool { return g.SHA256 == sha })
		if i < 0 {
			i, w.record = len(w.record), append(w.record, agent.Generation{ID: sha[:32], SHA256: sha})
		}
		w.moveOut(w.record[i].ID)
		w.record[i].Ref = slot()
		w.facts[agent.FactGeneration] = w.record[i].ID
	case agent.RegisterCertificate:
		if s.With["via"] == agent.ViaKey && !slices.ContainsFunc(w.record, func(g agent.Generation) bool { return g.Active && w.opens(g.SHA256) }) {
			return fmt.Errorf("no valid key proves possession")
		}
		g.KeyID = "k-" + g.ID
		w.certs[g.KeyID] = g.SHA256
	case agent.Login:
		if w.keys[g.Ref.String()] != g.SHA256 || !w.opens(g.SHA256) {
			return fmt.Errorf("generation %s does not log in", g.ID)
		}
		for i := range w.record {
			w.record[i].Active = w.record[i].ID == g.ID
		}
	case provisioner.WriteState:
		if with("both") == "" {
			w.file = nil
		}
		if !slices.Contains(w.file, g.SHA256) {
			w.file = append(w.file, g.SHA256)
		}
	case provisioner.PromoteKey:
		at := slot().String()
		old, held := w.keys[at]
		if held && old != g.SHA256 {
			aside := beside("displaced-" + old).String()
			for _, r := range w.record {
				if r.SHA256 == old {
					aside = beside(r.ID).String()
				}
			}
			w.keys[aside] = old
		}
		w.keys[at] = g.SHA256
		if g.Ref != slot() {
			delete(w.keys, g.Ref.String())
		}
		w.moveOut(g.ID)
		g.Ref = slot()
	case agent.RemovePassword:
		delete(w.passwords, s.With["key_id"])
	case agent.RemoveCertificate:
		if s.With["via"] == agent.ViaKey && !slices.ContainsFunc(w.record, func(g agent.Generation) bool { return g.Active && w.opens(g.SHA256) }) {
			return fmt.Errorf("no valid key proves possession")
		}
		delete(w.certs, s.With["key_id"])
	case agent.ProveDead:
		if w.opens(g.SHA256) {
			return fmt.Errorf("generation %s still logs in", g.ID)
		}
	case agent.DeleteKey:
		ref, err := secret.ParseRef(s.With["key"])
		if err != nil {
			return err
		}
		delete(w.keys, ref.String())
		w.record = slices.DeleteFunc(w.record, func(r agent.Generation) bool { return r.ID == with("generation") })
	case provisioner.NoPasswords:
		if len(w.passwords) > 0 {
			return fmt.Errorf("%d passwords are left", len(w.passwords))
		}
	case provisioner.SecretDeadProof:
		if len(w.passwords) > 0 {
			return fmt.Errorf("the secret still works")
		}
	case provisioner.PurgeSecret:
		if s.With["kind"] == string(provisioner.StateFile) {
			w.secret = false
		}
	}
	return nil
}

// moveOut says of every other generation that the slot has not its key any more.
func (w *world) moveOut(id string) {
	for i := range w.record {
		if w.record[i].ID != id && w.record[i].Ref == slot() {
			w.record[i].Ref = beside(w.record[i].ID)
		}
	}
}

// anywhere draws an install: of the original, of ours, or of both after accidents.
func anywhere(t *rapid.T) provisioner.Observed {
	o := made()
	yes := func(what string) bool { return rapid.Bool().Draw(t, what) }
	for i := range rapid.IntRange(0, 2).Draw(t, "passwords") {
		o.Application.Passwords = append(o.Application.Passwords, agent.Password{KeyID: fmt.Sprint("p", i)})
	}
	if yes("a password of the service principal") {
		o.Principal.Passwords = []agent.Password{{KeyID: "sp"}}
	}
	if yes("a secret on disk") {
		o.File.HasSecret, o.Secret = true, provisioner.SecretDead
		o.Places = []provisioner.Place{{Path: stateFile, Kind: provisioner.StateFile}, {Path: "/w/.env", Kind: provisioner.EnvFile}}
		if len(o.Application.Passwords) > 0 && yes("it works") {
			o.Secret = provisioner.SecretLive
		}
	}
	if yes("another machine") {
		o.Application.Certificates = append(o.Application.Certificates, certificate("machine-b"))
	}
	var inSlot []agent.Certificate
	for i := range rapid.IntRange(0, 3).Draw(t, "generations") {
		id := fmt.Sprintf("gen%029d", i)
		g, c := generation(id, false), certificate(id)
		if rapid.IntRange(0, 3).Draw(t, "expired") == 0 {
			g.NotAfter, c.End = now(), now()
		}
		if yes("overlap") {
			g.RetireAt = now().Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "hours")) * time.Hour)
		}
		if yes("no key id recorded") {
			g.KeyID = ""
		}
		if rapid.IntRange(0, 3).Draw(t, "registered") > 0 {
			o.Application.Certificates = append(o.Application.Certificates, c)
		}
		o.Keys[id] = rapid.SampledFrom([]agent.KeyState{agent.KeyPresent, agent.KeyPresent, agent.KeyAbsent}).Draw(t, "key")
		o.Record.Generations = append(o.Record.Generations, g)
		inSlot = append(inSlot, c)
	}
	original := certificate("original")
	if yes("the original's certificate") {
		o.Application.Certificates = append(o.Application.Certificates, original)
	}
	inSlot = append(inSlot, original)
	if n := len(o.Record.Generations); n > 0 && yes("one is active") {
		o.Record.Generations[rapid.IntRange(0, n-1).Draw(t, "which")].Active = true
	}
	switch rapid.IntRange(0, 2).Draw(t, "slot") {
	case 1:
		o.Slot = provisioner.Slot{State: agent.KeyPresent}
	case 2:
		c := inSlot[rapid.IntRange(0, len(inSlot)-1).Draw(t, "whose key")]
		o.Slot = provisioner.Slot{State: agent.KeyPresent, Certificate: &c}
	}
	// A generation whose record says that it is in the slot: what the keystore answers follows from what the slot holds.
	for i := range o.Record.Generations {
		g := &o.Record.Generations[i]
		if !g.Active && rapid.IntRange(0, 3).Draw(t, "left in the slot") > 0 {
			continue
		}
		g.Ref = slot()
		switch {
		case o.Slot.State != agent.KeyPresent:
			o.Keys[g.ID] = agent.KeyAbsent
		case o.Slot.Certificate != nil && o.Slot.Certificate.SHA256 == g.SHA256:
			o.Keys[g.ID] = agent.KeyPresent
		default:
			o.Keys[g.ID] = agent.KeyMismatched
		}
	}
	for _, g := range o.Record.Generations {
		if yes("in the state file") {
			o.File.Certs = append(o.File.Certs, g.DER)
		}
	}
	return o
}

// Whatever install, whatever plan, in whatever order the runner takes the steps, stopped anywhere: who could log in can log in.
func TestSomebodyCanAlwaysLogIn(t *testing.T) {
	for range 30 { // some accidents are rare
		rapid.Check(t, somebodyCanAlwaysLogIn)
	}
}

func somebodyCanAlwaysLogIn(t *rapid.T) {
	o, opt := anywhere(t), options()
	opt.NoBackUp = rapid.Bool().Draw(t, "no backup")
	opt.Overlap = time.Duration(rapid.IntRange(0, 1).Draw(t, "overlap asked for")) * time.Hour
	var p agent.Plan
	switch rapid.IntRange(0, 3).Draw(t, "verb") {
	case 0:
		p = provisioner.MigratePlan(spec(), o, opt)
	case 1:
		p = provisioner.RotatePlan(spec(), o, opt)
	case 2:
		p = provisioner.BootstrapPlan(spec(), o, opt)
	case 3:
		opt.SHA256 = rapid.SampledFrom([]string{sum("machine-b"), sum("gen00000000000000000000000000000"), sum("gen00000000000000000000000000001"), sum("original"), ""}).Draw(t, "retire")
		p = provisioner.RetirePlan(spec(), o, opt)
	}
	lawful(t, p)
	w := modelOf(o)
	maps.Copy(w.facts, p.Facts)
	could, read, foreign := len(w.ways()) > 0, w.reader(), w.certs["k-machine-b"]
	left, done := slices.Clone(p.Steps), map[string]bool{}
	for len(left) > 0 {
		var ready []int
		for i, s := range left {
			if !slices.ContainsFunc(s.After, func(id string) bool { return !done[id] }) {
				ready = append(ready, i)
			}
		}
		i := ready[rapid.IntRange(0, len(ready)-1).Draw(t, "next")]
		s := left[i]
		if err := w.do(p, s); err != nil {
			t.Fatalf("%s: %s: %v\nplan %s", p.Verb, s.ID, err, line(p))
		}
		left, done[s.ID] = slices.Delete(left, i, i+1), true
		if could && len(w.ways()) == 0 {
			t.Fatalf("%s: after %s nothing of this machine logs in\nplan %s", p.Verb, s.ID, line(p))
		}
		if read && !w.reader() {
			t.Fatalf("%s: after %s another program finds no certificate of the key in the slot (file %v, slot %s)\nplan %s", p.Verb, s.ID, w.file, w.keys[slot().String()], line(p))
		}
		could, read = could || len(w.ways()) > 0, read || w.reader()
	}
	if len(p.Steps) == 0 {
		return
	}
	if len(w.passwords) > 0 {
		t.Fatalf("%s ends beside %d passwords: %s", p.Verb, len(w.passwords), line(p))
	}
	if !slices.Contains(w.ways(), "generation "+w.facts[agent.FactGeneration]) {
		t.Fatalf("%s ends, and its own generation does not log in: %s", p.Verb, line(p))
	}
	if p.Verb != provisioner.Retire && (!w.reader() || w.secret) {
		t.Fatalf("%s ends, and another program does not log in with the slot and the state file, or a secret is left: %s", p.Verb, line(p))
	}
	if p.Verb != provisioner.Retire && w.certs["k-machine-b"] != foreign {
		t.Fatalf("%s takes another machine's certificate: %s", p.Verb, line(p))
	}
}
