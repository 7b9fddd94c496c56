package provision

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Key credentials are one property that a PATCH replaces as a whole: whoever writes a list that was read from a lagging replica removes
// what others have added since. So on an application that others may have changed, the list is read until three answers in a row agree
// and hold everything we know of; it is journalled with its public certificates; and after the PATCH it is watched until it is quiet,
// and what we did not mean to remove is put back. An application that this very plan has made has no others yet.
// (Microsoft Graph, "Update application": keyCredentials; observed 2026-08.)

// credential is a journalled key credential.
type credential struct {
	agent.Certificate
	DER []byte `json:"der"`
}

func journalled(all []agent.Certificate) (string, error) {
	list := make([]credential, len(all))
	for i, c := range all {
		list[i] = credential{c, c.DER}
	}
	b, err := json.Marshal(list)
	return string(b), err
}

func fromJournal(s string) ([]agent.Certificate, error) {
	var list []credential
	if s == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(s), &list); err != nil {
		return nil, fault.Newf(fault.Corrupt, "the journalled key credentials do not read")
	}
	all := make([]agent.Certificate, len(list))
	for i, c := range list {
		all[i] = c.Certificate
		all[i].DER = c.DER
	}
	return all, nil
}

// fresh tells whether this very plan made the application.
func fresh(c *job.Call) bool {
	return slices.ContainsFunc(c.Run.Plan.Steps, func(s agent.Step) bool { return s.Action == agent.CreateApplication })
}

// registerCertificate registers a generation's certificate: as the operator, who writes the whole list, or with the identity's own right
// (with via=key; see own.go).
func (p *Provision) registerCertificate() job.Handler {
	return job.Handler{
		Intent: func(ctx context.Context, c *job.Call) (map[string]string, error) {
			intent := map[string]string{"key_id": uuid.NewString()}
			if c.With("via") == agent.ViaKey {
				shorter, err := p.shorterOnes(ctx, c)
				intent["shorter"] = shorter
				return intent, err
			}
			if fresh(c) {
				return intent, nil
			}
			before, err := p.agreed(ctx, c)
			if err != nil {
				return nil, err
			}
			intent["before"], err = journalled(before)
			return intent, err
		},
		Done: func(ctx context.Context, c *job.Call) (agent.Result, bool, error) {
			if c.With("via") == agent.ViaKey && p.alone() {
				return agent.Result{}, false, nil // nobody may look; Do knows another way
			}
			g, err := p.recorded(ctx, c)
			if err != nil {
				return agent.Result{}, false, err
			}
			app, err := p.Graph.Application(ctx, c.With("application"))
			if err != nil {
				return agent.Result{}, false, job.Spreading(err)
			}
			r, done := shown(app.Certificates, g)
			return r, done, nil
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			g, err := p.recorded(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			if g, err = p.issued(c, g); err != nil {
				return agent.Result{}, err
			}
			if c.With("via") == agent.ViaKey {
				return p.addKey(ctx, c, g)
			}
			before, err := p.before(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			return p.write(ctx, c, g, before)
		},
		Remember: func(c *job.Call, r agent.Result, rec *agent.Record) {
			if g := rec.Generation(c.With("generation")); g != nil {
				g.KeyID = r.Facts[agent.FactKeyID]
				renew(g, r.Facts)
			}
		},
	}
}

// write registers the generation by a PATCH of the whole list, as the operator. Where a policy of the tenant caps the life of certificates,
// shorter ones of the same key are tried.
func (p *Provision) write(ctx context.Context, c *job.Call, g agent.Generation, before []agent.Certificate) (agent.Result, error) {
	if r, there := shown(before, g); there { // the observation came from a replica that lagged
		return r, nil
	}
	id := c.Intent["key_id"]
	keep := slices.DeleteFunc(before, func(b agent.Certificate) bool { return b.KeyID == id })
	for {
		err := p.Graph.SetCertificates(ctx, c.With("application"), keep, []agent.Certificate{credentialOf(c, g, id)})
		if err == nil {
			break
		}
		// A refused PATCH is the only request that could have changed anything.
		if !tooLong(err) || p.byAuthority(c) {
			return agent.Result{}, job.WithoutEffect(unfit(job.Spreading(err)))
		}
		var next bool
		if g, next, err = p.shorter(ctx, g, err); !next {
			return agent.Result{}, job.WithoutEffect(err)
		}
	}
	if !fresh(c) {
		if err := p.quiet(ctx, c, append(slices.Clone(keep), credentialOf(c, g, id)), nil); err != nil {
			return agent.Result{}, err
		}
	}
	return registered(g, id, "PATCH keyCredentials"), nil
}

func credentialOf(c *job.Call, g agent.Generation, keyID string) agent.Certificate {
	return agent.Certificate{KeyID: keyID, DisplayName: "leastkey " + c.Run.Agent, DER: g.DER, SHA256: g.SHA256, Type: "AsymmetricX509Cert", Usage: "Verify", Start: g.NotBefore, End: g.NotAfter}
}

// shown finds the generation among certificates that were read: by its hash, or, where a try that was cut off has registered another
// certificate of the same key, by the key itself. Nobody else can use such a one.
func shown(all []agent.Certificate, g agent.Generation) (agent.Result, bool) {
	if i := slices.IndexFunc(all, func(c agent.Certificate) bool { return strings.EqualFold(c.SHA256, g.SHA256) }); i >= 0 {
		return registered(g, all[i].KeyID, "GET keyCredentials"), true
	}
	for _, c := range all {
		if other, ok := of(g, c.DER); ok {
			return registered(other, c.KeyID, "GET keyCredentials"), true
		}
	}
	return agent.Result{}, false
}

func registered(g agent.Generation, keyID, asked string) agent.Result {
	id := "key id " + keyID
	if keyID == "" {
		id = "key id not seen yet"
	}
	return agent.Result{
		Detail:   "SHA-256 " + g.SHA256[:16] + "…, until " + g.NotAfter.Format(time.DateOnly),
		Facts:    map[string]string{agent.FactKeyID: keyID, agent.FactSHA256: g.SHA256, factCertificate: base64.StdEncoding.EncodeToString(g.DER)},
		Evidence: evidence(asked, id+", SHA-256 "+g.SHA256),
	}
}

func (p *Provision) removeCertificate() job.Handler {
	return job.Handler{
		Intent: func(ctx context.Context, c *job.Call) (map[string]string, error) {
			if c.With("via") == agent.ViaKey {
				return nil, nil
			}
			before, err := p.agreed(ctx, c)
			if err != nil {
				return nil, err
			}
			list, err := journalled(before)
			return map[string]string{"before": list}, err
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			if c.With("via") == agent.ViaKey {
				return p.removeKey(ctx, c)
			}
			before, err := p.before(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			keep := slices.DeleteFunc(slices.Clone(before), func(b agent.Certificate) bool { return b.KeyID == c.With("key_id") })
			r := agent.Result{Detail: "key id " + c.With("key_id"), Evidence: evidence("PATCH keyCredentials", fmt.Sprintf("%d kept", len(keep)))}
			if err := p.Graph.SetCertificates(ctx, c.With("application"), keep, nil); err != nil {
				return r, job.Spreading(err)
			}
			return r, p.quiet(ctx, c, keep, []string{c.With("key_id")})
		},
	}
}

// equalAnswers is how many answers in a row must agree.
const equalAnswers = 3

// before is the list that a change starts from: the journalled one, or, in a run that an earlier process began, the list as it is now.
// Days may lie between: to write the old list would bring back what somebody has removed since, perhaps because its key leaked, and
// remove what somebody has added.
func (p *Provision) before(ctx context.Context, c *job.Call) ([]agent.Certificate, error) {
	if c.Resumed {
		return p.agreed(ctx, c)
	}
	return fromJournal(c.Intent["before"])
}

// agreed reads the key credentials until three answers in a row are equal and hold every key id that was there when the plan was made.
// That one of those was removed meanwhile is believed once it has lasted.
func (p *Provision) agreed(ctx context.Context, c *job.Call) ([]agent.Certificate, error) {
	var last []agent.Certificate
	equal, since := 0, time.Now()
	err := c.Wait(ctx, job.Probe{What: "three equal readings of the key credentials", Try: func(ctx context.Context) error {
		for equal < equalAnswers {
			app, err := p.Graph.Application(ctx, c.With("application"))
			if err != nil {
				equal = 0
				return job.Spreading(err)
			}
			have := ids(app.Certificates)
			for _, id := range strings.Fields(c.With("expected")) {
				if id != c.With("key_id") && !slices.Contains(have, id) && time.Since(since) < p.Settle {
					equal = 0
					return fault.Newf(fault.NotYet, "a reading of the key credentials lacks %s, which the plan has seen", id)
				}
			}
			if equal > 0 && !slices.Equal(have, ids(last)) {
				equal = 0
				return fault.Newf(fault.NotYet, "the key credentials differ between two readings")
			}
			last = app.Certificates
			equal++
		}
		return nil
	}})
	return last, err
}

func ids(all []agent.Certificate) []string {
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = c.KeyID
	}
	slices.Sort(out)
	return out
}

// quiet watches the key credentials until three readings over at least p.Quiet hold what shall be there and not what shall be gone. What
// stays away for longer than any replica lags was removed by a write that crossed ours, and is put back.
func (p *Provision) quiet(ctx context.Context, c *job.Call, want []agent.Certificate, gone []string) error {
	since, equal := time.Now(), 0
	return c.Wait(ctx, job.Probe{What: "the key credentials to be quiet", Try: func(ctx context.Context) error {
		app, err := p.Graph.Application(ctx, c.With("application"))
		if err != nil {
			equal = 0
			return job.Spreading(err)
		}
		have := ids(app.Certificates)
		missing := slices.DeleteFunc(slices.Clone(want), func(w agent.Certificate) bool { return slices.Contains(have, w.KeyID) })
		lingering := slices.ContainsFunc(gone, func(id string) bool { return slices.Contains(have, id) })
		switch long := time.Since(since) >= max(p.Quiet, p.Settle); {
		case len(missing) == 0 && !lingering:
			if equal++; equal >= equalAnswers && time.Since(since) >= p.Quiet {
				return nil
			}
			return fault.Newf(fault.NotYet, "the key credentials have not been quiet for long enough")
		case equal == 0 && long:
			keep := slices.DeleteFunc(app.Certificates, func(a agent.Certificate) bool { return slices.Contains(gone, a.KeyID) })
			if err := p.Graph.SetCertificates(ctx, c.With("application"), keep, missing); err != nil {
				return job.Spreading(err)
			}
			since = time.Now()
		case equal > 0:
			equal, since = 0, time.Now()
		}
		return fault.Newf(fault.NotYet, "the key credentials are not everywhere yet")
	}})
}

func (p *Provision) removePassword() job.Handler {
	return job.Handler{Atomic: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		object := c.With("application")
		if c.With("collection") == "servicePrincipals" {
			object = c.With("principal")
		}
		err := p.Graph.RemovePassword(ctx, c.With("collection"), object, c.With("key_id"))
		if fault.Is(err, fault.NotFound) {
			err = nil
		}
		return agent.Result{Detail: "key id " + c.With("key_id"), Evidence: evidence("POST removePassword", "removed")}, err
	}}
}

// login is the proof that a generation works: several logins in a row, each with the key as the keystore gives it back. After it, and not
// before, the generation is the active one.
func (p *Provision) login() job.Handler {
	return job.Handler{
		Looks: true,
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			g, err := p.recorded(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			var r agent.Result
			since := time.Now()
			err = c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) (err error) {
				r, err = p.logins(ctx, c, g)
				// Certificate, application or service principal may be on its way to the replicas, and a consent into the tokens.
				return p.spreading(c, since, err, agent.CreateApplication, agent.CreatePrincipal, agent.RegisterCertificate, provisioner.GrantPermission)
			}})
			return r, err
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			for i := range rec.Generations {
				rec.Generations[i].Active = rec.Generations[i].ID == c.With("generation")
			}
			// In the same write: between the two an apply would take the old certificate for one that nothing keeps.
			for _, s := range c.Run.Plan.Steps {
				if s.Action == agent.RetireLater {
					retire(rec, s.With["generation"], s.With["overlap"])
				}
			}
		},
	}
}

func (p *Provision) logins(ctx context.Context, c *job.Call, g agent.Generation) (agent.Result, error) {
	r := agent.Result{Facts: map[string]string{"logins": c.With("times")}}
	var times int
	if _, err := fmt.Sscan(c.With("times"), &times); err != nil {
		return r, err
	}
	for n := range times {
		key, err := p.open(ctx, g)
		if fault.Is(err, fault.NotFound) { // in the keystore nothing is on its way
			return r, &fault.Error{Code: fault.Conflict, Err: err}
		}
		if err != nil {
			return r, err
		}
		began := time.Now()
		who, err := p.Login(ctx, c.With("app_id"), key, g.DER)
		if err != nil {
			return r, err
		}
		if !strings.EqualFold(who.TenantID, c.Run.Plan.Tenant) || (c.Fact(agent.FactPrincipal) != "" && who.ObjectID != c.Fact(agent.FactPrincipal)) {
			return r, fault.Newf(fault.Conflict, "the token is of principal %s in tenant %s, not of ours", who.ObjectID, who.TenantID)
		}
		if err := permitted(c, who.Roles); err != nil {
			return r, err
		}
		if len(who.Roles) > 0 {
			r.Facts[provisioner.FactPermitted] = strings.Join(who.Roles, " ")
		}
		e := evidence("POST token", fmt.Sprintf("login %d: oid %s", n+1, who.ObjectID))
		e[0].Took = time.Since(began)
		r.Evidence = append(r.Evidence, e...)
	}
	r.Detail = fmt.Sprintf("%d tokens", times)
	return r, nil
}

// permitted tells whether the token carries the permissions that the step names. One that this plan has consented to is on its way into
// the tokens; any other was taken away by somebody.
func permitted(c *job.Call, have []string) error {
	missing := slices.DeleteFunc(strings.Fields(c.With("roles")), func(role string) bool { return slices.Contains(have, role) })
	if len(missing) == 0 {
		return nil
	}
	e := fault.New(fault.Conflict, "the token lacks "+strings.Join(missing, ", "), "the consent was taken away, or never given: leastkey provisioner bootstrap")
	if slices.ContainsFunc(c.Run.Plan.Steps, func(s agent.Step) bool { return s.Action == provisioner.GrantPermission }) {
		e.Code, e.Hint = fault.NotYet, ""
	}
	return e
}

// refused tells whether the login service has said that this key opens nothing: not that it is away, throttled, or that a clock is wrong.
func refused(err error) bool {
	switch fault.Service(err) {
	case "AADSTS700016", "AADSTS7000112", "AADSTS7000229", "AADSTS700027":
		return true
	}
	return false
}

// proveDead logs in until it is refused three times in a row.
func (p *Provision) proveDead() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		g, err := p.recorded(ctx, c)
		if err != nil {
			return agent.Result{}, err
		}
		key, err := p.open(ctx, g)
		if fault.Is(err, fault.NotFound, fault.Conflict) || unmade(err) {
			return agent.Result{Detail: "the key is not in the keystore: nothing to prove with"}, nil
		}
		if err != nil {
			return agent.Result{}, err
		}
		var said string
		for range equalAnswers {
			_, err := p.Login(ctx, c.With("app_id"), key, g.DER)
			switch {
			case err == nil:
				return agent.Result{}, fault.Newf(fault.NotYet, "a replica of the login service still accepts the key")
			case !refused(err):
				return agent.Result{}, err
			}
			said = fault.Service(err)
		}
		return agent.Result{Detail: said, Evidence: evidence("POST token", said)}, nil
	}}
}
