package preflight

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// certificatesKnown asks whose each certificate is. By its hash, never by its display name: a name proves nothing.
func certificatesKnown() Check {
	return Check{
		ID: "identity_certificates_known", Name: "Certificates Known", Severity: finding.Critical, Required: true,
		Question: "is every certificate on application and service principal ours, or listed under certificates?",
		Remedy:   "find out whose it is; one of another machine of yours is listed under certificates, any other is removed: leastkey apply --remove-foreign SHA256",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := a.registered()
			if err != nil {
				return failed(err)
			}
			var foreign, overdue []string
			count, bringing := map[agent.Ownership]int{}, 0
			for _, c := range all {
				whose := a.Record.Whose(a.Agent, c)
				if a.Record.Unproven(c) {
					bringing++
					continue
				}
				count[whose]++
				if whose == agent.Foreign {
					foreign = append(foreign, cmp.Or(c.SHA256, "key id "+c.KeyID))
				}
				if whose == agent.OursOlder && a.overdue(c) {
					overdue = append(overdue, c.SHA256)
				}
			}
			slices.Sort(foreign)
			left := a.left(all)
			switch {
			case len(foreign) > 0:
				return fail("whoever has the key of one of these can be the agent: %s", strings.Join(slices.Compact(foreign), ", "))
			case len(overdue) > 0:
				return warn("rotated out, and still accepted after its time: %s", strings.Join(overdue, ", ")).instead("leastkey apply " + a.Record.Agent + ", which removes it")
			}
			if len(left) > 0 {
				var steps []string
				for _, of := range left {
					steps = append(steps, "leastkey apply "+a.Record.Agent+" --remove-foreign "+of)
				}
				return warn("the spec says that %s logs in, and these certificates of ours still do as well: %s", a.Agent.LogsIn(), strings.Join(left, ", ")).
					instead("once every workload has logged in with its own token: " + strings.Join(steps, "; "))
			}
			return pass("%d current, %d being brought in, %d of ours from before, %d listed in the spec", count[agent.Current], bringing, count[agent.OursOlder], count[agent.Known])
		},
	}
}

// left are the certificates of ours that still open an identity which the spec has without any, by SHA-256 or key id: federated is meant
// to be the only way in.
func (a *Ask) left(all []agent.Certificate) (ids []string) {
	if !a.Agent.Keyless() {
		return nil
	}
	for _, c := range all {
		if whose := a.Record.Whose(a.Agent, c); whose == agent.Current || whose == agent.OursOlder {
			ids = append(ids, cmp.Or(c.SHA256, c.KeyID))
		}
	}
	return ids
}

// overdue tells whether a certificate of ours should have been removed by now.
func (a *Ask) overdue(c agent.Certificate) bool {
	for _, g := range a.Record.Generations {
		if strings.EqualFold(g.SHA256, c.SHA256) && c.SHA256 != "" {
			return !g.RetireAt.IsZero() && g.RetireAt.Before(a.Now)
		}
	}
	return false
}

// registered are the certificates of both objects.
func (a *Ask) registered() ([]agent.Certificate, error) {
	a.soon(func(a *Ask) { _, _ = a.principal() })
	app, err := a.application()
	if err != nil {
		return nil, err
	}
	sp, err := a.principal()
	return slices.Concat(app.Certificates, sp.Certificates), err
}
