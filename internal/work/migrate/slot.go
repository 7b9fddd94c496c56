package migrate

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// The active slot is the entry that other programs know: service and account, without a generation. It is the one entry that changes, so
// what it held is copied beside first, whoever made it; and the new key's own copy goes only once the slot has given the new key back.

// slot is the active entry.
func (m *Migrate) slot() secret.Ref { return m.Keys.Ref(m.Tenant) }

// copyName is the entry beside the slot that keeps a key by its generation, or by its own hash where no generation has it.
func (m *Migrate) copyName(what string) string { return m.Tenant + "#" + what }

// promote puts a proved key into the active slot.
func (m *Migrate) promote() job.Handler {
	return job.Handler{
		// What the slot holds before is written down before it changes: a rollback puts exactly that back.
		Intent: func(ctx context.Context, c *job.Call) (map[string]string, error) {
			rec, err := m.Memory.Agent(ctx, provisioner.Name)
			if err != nil {
				return nil, err
			}
			intent := map[string]string{"generation": "", "displaced": ""}
			old, err := m.Keys.Open(ctx, m.slot())
			switch {
			case absent(err):
				return intent, nil
			case err != nil:
				return nil, err
			}
			intent["generation"], intent["displaced"] = m.aside(rec, old)
			return intent, nil
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			g, rec, err := m.recorded(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			now, err := m.Keys.Open(ctx, m.slot())
			if err != nil && !absent(err) {
				return agent.Result{}, err
			}
			if err != nil || !observe.Belongs(now, g.DER) { // else an earlier try has done it
				if err := m.replace(ctx, c, rec, g, now, err == nil); err != nil {
					return agent.Result{}, err
				}
			}
			if g.Ref != m.slot() {
				if err := m.Keys.Delete(ctx, g.Ref); err != nil && !absent(err) {
					return agent.Result{}, err
				}
			}
			return agent.Result{Detail: m.slot().String(), Facts: map[string]string{"displaced:" + c.Step.ID: c.Intent["displaced"]}, Evidence: evidence("open "+m.slot().String(), "the key of certificate "+g.SHA256)}, nil
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			m.takeSlot(rec, c.With("generation"))
			for i := range rec.Generations {
				rec.Generations[i].Active = rec.Generations[i].ID == c.With("generation")
			}
		},
	}
}

// aside is where a key is kept that leaves the slot: under the generation that it is of, or by its own hash where no generation has it.
func (m *Migrate) aside(rec agent.Record, key crypto.Signer) (generation, name string) {
	for _, g := range rec.Generations {
		if observe.Belongs(key, g.DER) {
			return g.ID, m.copyName(g.ID)
		}
	}
	return "", m.copyName("displaced-" + fingerprint(key))
}

// takeSlot records whose key the slot holds; "" is nobody's that we know. Of every other generation it does not hold the key any more: if
// there is one, it lies beside. No two generations may name one entry, or deleting the key of one would delete the other's.
func (m *Migrate) takeSlot(rec *agent.Record, generation string) {
	for i := range rec.Generations {
		g := &rec.Generations[i]
		switch {
		case g.ID == generation:
			g.Ref = m.slot()
		case g.Ref == m.slot():
			g.Ref = m.Keys.Ref(m.copyName(g.ID))
		}
	}
}

// replace copies what the slot holds and puts the new key there.
func (m *Migrate) replace(ctx context.Context, c *job.Call, rec agent.Record, g agent.Generation, now crypto.Signer, held bool) error {
	key, err := m.Keys.Open(ctx, g.Ref)
	if err != nil {
		return err
	}
	if !observe.Belongs(key, g.DER) {
		return fault.Newf(fault.Conflict, "key %s is not the one of certificate %s", g.Ref, g.SHA256)
	}
	if held {
		if _, name := m.aside(rec, now); name != c.Intent["displaced"] { // journalled is what it held before
			return fault.New(fault.Conflict, "somebody has put a key into the active slot "+m.slot().String()+" meanwhile", "find out who, then run it again")
		}
		if err := m.keep(ctx, c.Intent["displaced"], now); err != nil {
			return err
		}
	}
	if err := m.Keys.Replace(ctx, m.Tenant, key); err != nil {
		return err
	}
	back, err := m.Keys.Open(ctx, m.slot())
	if err != nil {
		return err
	}
	if !observe.Belongs(back, g.DER) {
		return fault.Newf(fault.Conflict, "the active slot %s does not give back the key that was written", m.slot())
	}
	return nil
}

// keep copies a key to an entry of its own, and reads it back.
func (m *Migrate) keep(ctx context.Context, name string, key crypto.Signer) error {
	_, err := m.Keys.Create(ctx, name, key)
	if err != nil && !fault.Is(err, fault.Conflict) {
		return err
	}
	back, err := m.Keys.Open(ctx, m.Keys.Ref(name))
	if err != nil {
		return err
	}
	if !same(back, key) {
		return fault.Newf(fault.Conflict, "%s holds another key already", m.Keys.Ref(name))
	}
	return nil
}

// restoreKey puts back what the slot held before the promotion of a run that is rolled back. A key that somebody else has put there
// meanwhile is neither the run's nor ours, and stays.
func (m *Migrate) restoreKey() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			now, err := m.Keys.Open(ctx, m.slot())
			if err != nil && !fault.Is(err, fault.NotFound) { // that the store is not there says nothing about what it holds
				return agent.Result{}, err
			}
			held := err == nil
			promoted, err := m.promoted(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			name := c.With("displaced")
			if name == "" {
				if !held || !promoted(now) {
					return agent.Result{Detail: "it was empty, and does not hold the key of the run"}, nil
				}
				return agent.Result{Detail: "it was empty"}, m.Keys.Delete(ctx, m.slot())
			}
			old, err := m.Keys.Open(ctx, m.Keys.Ref(name))
			if fault.Is(err, fault.NotFound) {
				return agent.Result{Detail: "it was not changed yet"}, nil
			}
			if err != nil {
				return agent.Result{}, err
			}
			if held && !promoted(now) && !same(now, old) {
				return agent.Result{Detail: "it holds a key that somebody else has put there; what it held before is kept as " + m.Keys.Ref(name).String(), Facts: map[string]string{"slot": "foreign"}}, nil
			}
			if err := m.Keys.Replace(ctx, m.Tenant, old); err != nil {
				return agent.Result{}, err
			}
			back, err := m.Keys.Open(ctx, m.slot())
			if err != nil {
				return agent.Result{}, err
			}
			if !same(back, old) {
				return agent.Result{}, fault.Newf(fault.Conflict, "the active slot %s does not give back the key that was written", m.slot())
			}
			return agent.Result{Detail: m.slot().String()}, m.Keys.Delete(ctx, m.Keys.Ref(name))
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			if r.Facts["slot"] == "foreign" {
				m.takeSlot(rec, "")
				return
			}
			m.takeSlot(rec, c.With("generation"))
			for i := range rec.Generations {
				rec.Generations[i].Active = rec.Generations[i].ID == c.With("generation")
			}
		},
	}
}

// promoted tells of a key whether the run that is rolled back has promoted it.
func (m *Migrate) promoted(ctx context.Context, c *job.Call) (func(crypto.Signer) bool, error) {
	rec, err := m.Memory.Agent(ctx, provisioner.Name)
	if err != nil {
		return nil, err
	}
	g := rec.Generation(c.With("promoted"))
	return func(key crypto.Signer) bool { return g != nil && observe.Belongs(key, g.DER) }, nil
}

// importKey records the key that the slot holds.
func (m *Migrate) importKey() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			der, err := base64.StdEncoding.DecodeString(c.With("certificate"))
			if err != nil {
				return agent.Result{}, fault.Newf(fault.Invalid, "the plan's certificate does not read")
			}
			key, err := m.Keys.Open(ctx, m.slot())
			if err != nil {
				return agent.Result{}, err
			}
			if !observe.Belongs(key, der) {
				return agent.Result{}, fault.New(fault.Conflict, "the active slot holds another key now", "run it again")
			}
			sum := hex.EncodeToString(sha(der))
			id := sum[:32]
			rec, err := m.Memory.Agent(ctx, provisioner.Name)
			if err != nil {
				return agent.Result{}, err
			}
			for _, g := range rec.Generations { // one of ours that came back into the slot stays the one that it is
				if strings.EqualFold(g.SHA256, sum) {
					id = g.ID
				}
			}
			return agent.Result{Detail: m.slot().String(), Facts: map[string]string{agent.FactGeneration: id, agent.FactSHA256: sum, agent.FactKeyID: c.With("key_id"), agent.FactKey: m.slot().String()},
				Evidence: evidence("open "+m.slot().String(), "the key of certificate "+sum)}, nil
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			m.takeSlot(rec, r.Facts[agent.FactGeneration])
			der, err := base64.StdEncoding.DecodeString(c.With("certificate"))
			if err != nil || rec.Generation(r.Facts[agent.FactGeneration]) != nil {
				return
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return // it was the key's a moment ago
			}
			rec.Generations = append(rec.Generations, agent.Generation{ID: r.Facts[agent.FactGeneration], Ref: m.slot(), DER: der, SHA256: r.Facts[agent.FactSHA256], KeyID: c.With("key_id"), NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC()})
		},
	}
}

// absent tells whether the store was asked and answered that there is none, or does not exist yet.
func absent(err error) bool {
	u, ok := errors.AsType[interface {
		error
		Unmade() bool
	}](err)
	return fault.Is(err, fault.NotFound) || (ok && u.Unmade())
}

func same(a, b crypto.Signer) bool {
	pub, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(b.Public())
}

// fingerprint names a key by the hash of its public half.
func fingerprint(key crypto.Signer) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "unknown"
	}
	return hex.EncodeToString(sha(der))[:16]
}

func sha(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// lines are the lists of a step's parameters.
func lines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}
