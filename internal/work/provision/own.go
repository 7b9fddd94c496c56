package provision

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
)

// With the right of its own key an identity can add a certificate to its application and remove one, and not even read it (Microsoft
// Graph, "application: addKey" and "application: removeKey"). So an answer that was lost cannot be made good by looking, and must not be by
// asking again, which would register the certificate twice: what tells is a login with the new key.

// addKey registers the generation with proof of possession by the active key.
func (p *Provision) addKey(ctx context.Context, c *job.Call, g agent.Generation) (agent.Result, error) {
	if c.Resumed {
		return p.lookFor(ctx, c, g)
	}
	prover, key, err := p.prover(ctx, c)
	if err != nil {
		return agent.Result{}, job.WithoutEffect(err)
	}
	candidates, err := p.candidates(c, g)
	if err != nil {
		return agent.Result{}, job.WithoutEffect(err)
	}
	self := p.Own(c.With("app_id"), key, prover.DER)
	for _, try := range candidates {
		var keyID string
		keyID, err = self.AddKey(ctx, c.With("application"), key, prover.DER, credentialOf(c, try, ""))
		switch {
		case err == nil:
			return registered(try, keyID, "POST addKey"), nil
		case tooLong(err):
			continue
		case fault.Is(err, fault.Throttled, fault.NotYet): // it had no effect
			return agent.Result{}, err
		case fault.Is(err, fault.Unavailable, fault.Unknown):
			return p.lookFor(ctx, c, try)
		}
		return agent.Result{}, job.WithoutEffect(unfit(spreadingProof(c, prover, err)))
	}
	return agent.Result{}, job.WithoutEffect(err)
}

// lookFor finds out what has become of a request whose answer nobody has seen. An operator reads the application, and if the certificate is
// not there for as long as any replica lags, registers it in the operator's way, which can be repeated. Without an operator a login with
// the new key tells; the key id stays unknown until somebody reads it.
func (p *Provision) lookFor(ctx context.Context, c *job.Call, g agent.Generation) (agent.Result, error) {
	if g.KeyID != "" { // the answer had come, and was recorded
		return registered(g, g.KeyID, "POST addKey"), nil
	}
	if !p.alone() {
		return p.readOrWrite(ctx, c, g)
	}
	key, err := p.open(ctx, g)
	if err != nil {
		return agent.Result{}, err
	}
	candidates, err := p.candidates(c, g)
	if err != nil {
		return agent.Result{}, err
	}
	var r agent.Result
	patience := min(job.DefaultDeadline, max(4*p.Settle, time.Minute))
	err = c.Wait(ctx, job.Probe{What: "a login that shows whether the certificate was registered", Deadline: patience, Try: func(ctx context.Context) error {
		for _, try := range candidates {
			_, err := p.Login(ctx, c.With("app_id"), key, try.DER)
			if err == nil {
				r = registered(try, "", "POST token")
				return nil
			}
			if !unregistered(err) {
				return err
			}
		}
		return fault.Newf(fault.NotYet, "no login with the new key yet")
	}})
	if fault.Is(err, fault.NotYet) {
		return r, &fault.Error{Code: fault.Unknown, Op: "the answer to addKey was lost, and no login shows whether the certificate was registered", Err: err,
			Hint: "an operator, who may read the application, goes on with it: run it without --operator none. The old certificate is still there"}
	}
	return r, err
}

func (p *Provision) readOrWrite(ctx context.Context, c *job.Call, g agent.Generation) (agent.Result, error) {
	var r agent.Result
	found, since := false, time.Now()
	err := c.Wait(ctx, job.Probe{What: "the certificate to show", Try: func(ctx context.Context) error {
		app, err := p.Graph.Application(ctx, c.With("application"))
		if err != nil {
			return job.Spreading(err)
		}
		if r, found = shown(app.Certificates, g); found || time.Since(since) >= p.Settle {
			return nil
		}
		return fault.Newf(fault.NotYet, "the certificate is not on the application")
	}})
	if err != nil || found {
		return r, err
	}
	now, err := p.agreed(ctx, c)
	if err != nil {
		return r, err
	}
	return p.write(ctx, c, g, now)
}

// unregistered tells whether the login service knows no such certificate, which may be because it has not arrived yet.
func unregistered(err error) bool {
	return fault.Is(err, fault.NotFound) && refused(err)
}

// removeKey removes a certificate with proof of possession by the active key, which must be another. It may be repeated: a certificate that
// is not there any more is gone.
func (p *Provision) removeKey(ctx context.Context, c *job.Call) (agent.Result, error) {
	prover, key, err := p.prover(ctx, c)
	if err != nil {
		return agent.Result{}, err
	}
	id := c.With("key_id")
	if id == "" || strings.EqualFold(prover.KeyID, id) || strings.EqualFold(prover.SHA256, c.With("sha256")) {
		return agent.Result{}, fault.Newf(fault.Refused, "certificate %s is the one in use", c.With("sha256"))
	}
	self, since := p.Own(c.With("app_id"), key, prover.DER), time.Now()
	r := agent.Result{Detail: "key id " + id, Evidence: evidence("POST removeKey", "removed key id "+id)}
	err = c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
		err := self.RemoveKey(ctx, c.With("application"), id, key, prover.DER)
		if fault.Is(err, fault.NotFound) {
			if time.Since(since) >= p.Settle {
				r.Evidence = evidence("POST removeKey", "not found: "+id)
				return nil
			}
			return job.Spreading(err)
		}
		return spreadingProof(c, prover, err)
	}})
	return r, err
}

// spreadingProof turns the refusal of a proof into "not yet" where the certificate that signed it was registered by this very plan, so that
// a replica may not show it yet. Any other that is refused was expired or removed, and waiting does not bring it back.
func spreadingProof(c *job.Call, prover agent.Generation, err error) error {
	if !unproven(err) || !registeredHere(c, prover) {
		return err
	}
	return &fault.Error{Code: fault.NotYet, Err: err, Hint: fault.Hint(err)}
}

// unproven tells whether Graph did not take the proof, or the login service did not know the certificate.
func unproven(err error) bool {
	if fault.Is(err, fault.Unauthenticated) && fault.Service(err) == "Authentication_Unauthorized" {
		return true
	}
	for e := err; e != nil; {
		f, ok := errors.AsType[*fault.Error](e)
		if !ok {
			return false
		}
		if unregistered(f) {
			return true
		}
		e = f.Err
	}
	return false
}

func registeredHere(c *job.Call, g agent.Generation) bool {
	return slices.ContainsFunc(c.Run.Plan.Steps, func(s agent.Step) bool {
		return s.Action == agent.RegisterCertificate && (s.With["generation"] == g.ID || (s.With["generation"] == "$generation" && c.Fact(agent.FactGeneration) == g.ID))
	})
}

// retireLater keeps an earlier certificate until its overlap ends. The login that made its successor the active one has written the date
// already; a run that goes on later does not move it.
func (p *Provision) retireLater() job.Handler {
	return job.Handler{
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			overlap, err := time.ParseDuration(c.With("overlap"))
			if err != nil {
				return agent.Result{}, fault.Newf(fault.Invalid, "overlap %q is no duration", c.With("overlap"))
			}
			g, err := p.recorded(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			until := g.RetireAt
			if until.IsZero() {
				until = time.Now().Add(overlap)
			}
			return agent.Result{Detail: "until " + until.UTC().Format(time.DateTime) + " UTC"}, nil
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			retire(rec, c.With("generation"), c.With("overlap"))
		},
	}
}

// retire writes down until when a generation stays, once.
func retire(rec *agent.Record, id, overlap string) {
	d, err := time.ParseDuration(overlap)
	if g := rec.Generation(id); err == nil && g != nil && !g.Active && g.RetireAt.IsZero() {
		g.RetireAt = time.Now().UTC().Add(d).Truncate(time.Second)
	}
}
