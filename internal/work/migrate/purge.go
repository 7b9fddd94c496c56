package migrate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// equalAnswers is how many answers in a row must agree.
const equalAnswers = 3

// noPasswords reads application and service principal until three answers in a row have no password, and our certificate.
func (m *Migrate) noPasswords() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		g, _, err := m.recorded(ctx, c)
		if err != nil {
			return agent.Result{}, err
		}
		var (
			app   agent.Application
			since = time.Now()
			equal int
		)
		err = c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
			for equal < equalAnswers {
				var sp agent.Principal
				var err error
				if app, err = m.Graph.Application(ctx, c.With("application")); err == nil {
					sp, err = m.Graph.Principal(ctx, c.With("app_id"))
				}
				if err != nil {
					equal = 0
					return job.Spreading(err)
				}
				if wrong := wrongWith(app, sp, g); wrong != "" {
					equal = 0
					if time.Since(since) >= max(m.Settle, job.DefaultDeadline/2) {
						return fault.New(fault.Conflict, wrong, "somebody has changed the credentials: run it again")
					}
					return fault.Newf(fault.NotYet, "%s", wrong)
				}
				equal++
			}
			return nil
		}})
		if err != nil {
			return agent.Result{}, err
		}
		return agent.Result{Detail: fmt.Sprintf("0 passwords, %d certificates", len(app.Certificates)), Facts: map[string]string{"passwords_left": "0"},
			Evidence: evidence("GET application and service principal, three times", fmt.Sprintf("passwordCredentials [] on both; certificate %s present", g.SHA256))}, nil
	}}
}

func wrongWith(app agent.Application, sp agent.Principal, g agent.Generation) string {
	switch {
	case len(app.Passwords) > 0:
		return fmt.Sprintf("the application still has %d password(s)", len(app.Passwords))
	case len(sp.Passwords) > 0:
		return fmt.Sprintf("the service principal still has %d password(s)", len(sp.Passwords))
	case !slices.ContainsFunc(app.Certificates, func(c agent.Certificate) bool {
		return strings.EqualFold(c.SHA256, g.SHA256) || (c.SHA256 == "" && c.KeyID == g.KeyID)
	}):
		return "our certificate is not on the application"
	}
	return ""
}

// searched is what a step's parameters say of where the secret may lie.
func searched(c *job.Call) Where {
	return Where{State: c.With("state"), Env: c.With("env"), Also: lines(c.With("also")), Edit: lines(c.With("edit"))}
}

// again searches as the step says.
func (m *Migrate) again(ctx context.Context, c *job.Call) (Legacy, error) {
	rec, err := m.Memory.Agent(ctx, provisioner.Name)
	if err != nil {
		return Legacy{}, err
	}
	return m.search(ctx, searched(c), rec)
}

// values are those that the plan was made for, or, in a process that has not made it, those that a search finds. Files are not searched
// again for each step.
func (m *Migrate) values(ctx context.Context, c *job.Call) ([]secret.Value, error) {
	if known := m.remembered(c.With("state")); len(known) > 0 {
		return known, nil
	}
	found, err := m.again(ctx, c)
	return found.Values, err
}

// secretDead asks the login service until every value that lies on this machine is refused, three times in a row.
func (m *Migrate) secretDead() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		values, err := m.values(ctx, c)
		if err != nil {
			return agent.Result{}, err
		}
		r := agent.Result{Evidence: evidence("search for the secret", fmt.Sprintf("%d value(s)", len(values)))}
		for i, v := range values {
			said := ""
			for range equalAnswers {
				var works bool
				if works, said, err = m.Secret(ctx, c.With("app_id"), v); err != nil {
					return r, err
				}
				if works {
					return r, fault.Newf(fault.NotYet, "a replica of the login service still accepts the secret")
				}
			}
			r.Evidence = append(r.Evidence, evidence("POST token with secret "+strconv.Itoa(i+1), said)...)
			r.Detail = said
		}
		return r, nil
	}}
}

func (m *Migrate) purge() job.Handler {
	return job.Handler{Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		values, err := m.values(ctx, c)
		if err != nil {
			return agent.Result{}, err
		}
		did, err := m.Files.Purge(ctx, c.With("file"), values, provisioner.Kind(c.With("kind")), c.With("sha256"))
		return agent.Result{Detail: did, Facts: map[string]string{"purged:" + c.Step.ID: c.With("file")}, Evidence: evidence("write "+c.With("file"), did)}, err
	}}
}

func (m *Migrate) scan() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		found, err := m.again(ctx, c)
		if err != nil {
			return agent.Result{}, err
		}
		var left []string
		for _, p := range found.Places {
			if !p.Foreign && !slices.Contains(left, p.Path) {
				left = append(left, p.Path)
			}
		}
		r := agent.Result{Detail: "nothing found", Facts: map[string]string{provisioner.FactLeft: strings.Join(left, "\n")}, Evidence: evidence("search for the secret", fmt.Sprintf("%d place(s)", len(left)))}
		if len(left) > 0 {
			r.Detail = fmt.Sprintf("%d place(s) still hold it", len(left))
		}
		return r, nil
	}}
}

// Belonging finds the certificate of the key in the active slot: beside the key, in the state file, or on the application.
func (m *Migrate) belonging(ctx context.Context, rec agent.Record, f provisioner.File, app *agent.Application) (provisioner.Slot, error) {
	key, err := m.Keys.Open(ctx, m.slot())
	switch {
	case absent(err):
		return provisioner.Slot{State: agent.KeyAbsent}, nil
	case err != nil:
		return provisioner.Slot{}, fmt.Errorf("open key %s: %w", m.slot(), err)
	}
	s := provisioner.Slot{State: agent.KeyPresent}
	var certs [][]byte
	keyIDs := map[string]string{}
	if app != nil { // these first: a key may have several certificates, and only one that is registered logs in
		for _, c := range app.Certificates {
			certs = append(certs, c.DER)
			keyIDs[strings.ToLower(c.SHA256)] = c.KeyID
		}
	}
	for _, g := range rec.Generations {
		certs = append(certs, g.DER)
	}
	certs = append(certs, f.Certs...)
	beside, err := m.Keys.Certificate(ctx, m.slot())
	switch {
	case err == nil:
		certs = append(certs, beside)
	case !fault.Is(err, fault.NotFound):
		return s, fmt.Errorf("read the certificate beside %s: %w", m.slot(), err)
	}
	if cert := certificateOf(certs, func(der []byte) bool { return len(der) > 0 && observe.Belongs(key, der) }); cert != nil {
		sum := fmt.Sprintf("%x", sha(cert.Raw))
		s.Certificate = &agent.Certificate{SHA256: sum, DER: cert.Raw, KeyID: keyIDs[sum], Start: cert.NotBefore.UTC(), End: cert.NotAfter.UTC()}
	}
	return s, nil
}
