package provision

import (
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// entry is the keystore name of a generation.
func (p *Provision) entry(tenant, name, generation string) string {
	if p.Entry != nil {
		return p.Entry(tenant, name, generation)
	}
	return tenant + "/" + name + "#" + generation
}

// CheckKeystore tells whether keys can be made, before anything else is: it asks for one that cannot exist. A keystore that is locked, or
// cannot be reached, answers something else than "there is none".
func (p *Provision) CheckKeystore(ctx context.Context, tenant, name string) error {
	ref := p.Keys.Ref(p.entry(tenant, name, nonce()))
	_, err := p.Keys.Open(ctx, ref)
	if err == nil || fault.Is(err, fault.NotFound) || unmade(err) {
		return nil
	}
	return fmt.Errorf("no key can be made in %s %s: %w", ref.Backend, ref.Store, err)
}

// unmade tells whether the keystore itself is not there. Before the first key that is as it should be; of a key that was made, it says
// nothing: the keystore may have been moved, or its disk not mounted.
func unmade(err error) bool {
	u, ok := errors.AsType[interface {
		error
		Unmade() bool
	}](err)
	return ok && u.Unmade()
}

// mintKey makes a generation. Its id is journalled before the key exists, so that a key which a crash left behind can be found; its
// certificate is made anew then, since nobody has seen the first one.
func (p *Provision) mintKey() job.Handler {
	h := job.Handler{
		Intent: func(_ context.Context, c *job.Call) (map[string]string, error) {
			id := nonce()
			return map[string]string{"generation": id, "key": p.Keys.Ref(p.entry(c.Run.Plan.Tenant, c.Run.Agent, id)).String()}, nil
		},
		Done: func(ctx context.Context, c *job.Call) (agent.Result, bool, error) {
			ref, err := secret.ParseRef(c.Intent["key"])
			if err != nil {
				return agent.Result{}, false, err
			}
			key, err := p.Keys.Open(ctx, ref)
			if fault.Is(err, fault.NotFound) || unmade(err) { // nothing is registered for it yet, so another may take its place
				return agent.Result{}, false, nil
			}
			if fault.Is(err, fault.Invalid, fault.Refused, fault.Conflict, fault.Unsupported) { // it says nothing about the key: the store may be another than the one it was made in
				return agent.Result{}, false, &fault.Error{Code: fault.Unknown, Op: "open key " + ref.String(), Err: err, Hint: cmp.Or(fault.Hint(err), "use the keystore that the run began with")}
			}
			if err != nil {
				return agent.Result{}, false, fmt.Errorf("open key %s: %w", ref, err)
			}
			r, err := p.certify(c, ref, key)
			return r, err == nil, err
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			bits, err := strconv.Atoi(c.With("bits"))
			if err != nil {
				return agent.Result{}, err
			}
			key, err := p.Generate(bits)
			if err != nil {
				return agent.Result{}, err
			}
			ref, err := p.Keys.Create(ctx, p.entry(c.Run.Plan.Tenant, c.Run.Agent, c.Intent["generation"]), key)
			if err != nil {
				return agent.Result{}, err
			}
			reopened, err := p.Keys.Open(ctx, ref)
			if err != nil {
				return agent.Result{}, fmt.Errorf("reopen key %s: %w", ref, err)
			}
			return p.certify(c, ref, reopened)
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			g, err := generation(c.Intent["generation"], r.Facts)
			if err != nil {
				return // the facts are our own, made a moment ago
			}
			if old := rec.Generation(g.ID); old != nil {
				*old = g
				return
			}
			rec.Generations = append(rec.Generations, g)
		},
	}
	h.Quit = h.Done
	return h
}

// certify makes the certificate and gathers the facts of a generation.
func (p *Provision) certify(c *job.Call, ref secret.Ref, key crypto.Signer) (agent.Result, error) {
	days, err := strconv.Atoi(c.With("days"))
	if err != nil {
		return agent.Result{}, err
	}
	der, err := p.Certify(key, Subject{CommonName: cmp.Or(c.With("common_name"), c.Run.Agent), Organization: c.With("organization")}, days)
	if err != nil {
		return agent.Result{}, err
	}
	sum := sha256.Sum256(der)
	return agent.Result{
		Detail: ref.String(),
		Facts: map[string]string{agent.FactGeneration: c.Intent["generation"], agent.FactKey: ref.String(), agent.FactSHA256: hex.EncodeToString(sum[:]),
			factCertificate: base64.StdEncoding.EncodeToString(der)},
		Evidence: evidence("reopen "+ref.String(), "certificate "+hex.EncodeToString(sum[:])),
	}, nil
}

// factCertificate is the DER of a generation's certificate, in base64.
const factCertificate = "certificate"

func generation(id string, facts map[string]string) (agent.Generation, error) {
	der, err := base64.StdEncoding.DecodeString(facts[factCertificate])
	if err != nil {
		return agent.Generation{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return agent.Generation{}, err
	}
	ref, err := secret.ParseRef(facts[agent.FactKey])
	if err != nil {
		return agent.Generation{}, err
	}
	return agent.Generation{ID: id, Ref: ref, DER: der, SHA256: facts[agent.FactSHA256], NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC()}, nil
}

// recorded is the generation that a step names, as memory has it.
func (p *Provision) recorded(ctx context.Context, c *job.Call) (agent.Generation, error) {
	rec, err := p.Memory.Agent(ctx, c.Run.Agent)
	if err != nil {
		return agent.Generation{}, err
	}
	g := rec.Generation(c.With("generation"))
	if g == nil {
		return agent.Generation{}, fault.Newf(fault.Corrupt, "generation %q of the plan is not recorded", c.With("generation"))
	}
	return *g, nil
}

// open opens the generation's key and checks it against the certificate.
func (p *Provision) open(ctx context.Context, g agent.Generation) (crypto.Signer, error) {
	key, err := p.Keys.Open(ctx, g.Ref)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", g.Ref, err)
	}
	if !observe.Belongs(key, g.DER) {
		return nil, fault.Newf(fault.Conflict, "key %s is not the one of certificate %s", g.Ref, g.SHA256)
	}
	return key, nil
}

// doomed is where the key lies that is to be deleted: where the record has it now, since a promotion may have moved it after the plan was
// made. An entry that another generation uses is never deleted.
func (p *Provision) doomed(ctx context.Context, c *job.Call) (secret.Ref, error) {
	ref, err := secret.ParseRef(c.With("key"))
	if err != nil {
		return ref, err
	}
	rec, err := p.Memory.Agent(ctx, c.Run.Agent)
	if err != nil {
		return ref, err
	}
	if g := rec.Generation(c.With("generation")); g != nil {
		ref = g.Ref
	}
	for _, g := range rec.Generations {
		if g.ID != c.With("generation") && g.Ref == ref {
			return ref, fault.New(fault.Refused, "key "+ref.String()+" is the one of certificate "+g.SHA256+", which is in use", "this is a fault of leastkey: please report it; nothing was deleted")
		}
	}
	return ref, nil
}

// FactKeyLeft names a key of which nobody could tell whether it is gone.
const FactKeyLeft = "key_left"

func (p *Provision) deleteKey() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			ref, err := p.doomed(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			if _, err := p.Keys.Open(ctx, ref); unmade(err) {
				return agent.Result{Detail: "the keystore is not there, and the key may still be in it: " + ref.String(), Facts: map[string]string{FactKeyLeft: ref.String()}}, nil
			}
			if err := p.Keys.Delete(ctx, ref); err != nil && !fault.Is(err, fault.NotFound) {
				return agent.Result{}, err
			}
			return agent.Result{Detail: ref.String()}, nil
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			if r.Facts[FactKeyLeft] != "" {
				return // until a store has said that it is gone
			}
			kept := rec.Generations[:0:0]
			for _, g := range rec.Generations {
				if g.ID != c.With("generation") {
					kept = append(kept, g)
				}
			}
			rec.Generations = kept
		},
	}
}
