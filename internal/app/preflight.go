package app

import (
	"context"

	"github.com/leastkey/leastkey/internal/work/preflight"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/tape"
)

// preflight plugs the checks in. They look as the operator, as the identity itself and at this machine, and change nothing.
func (a *App) preflight(p *place, w outside, keys provision.Keystore, mem recall) *preflight.Preflight {
	return preflight.New(preflight.Config{
		Operator: w.operatorHere(p),
		Graph:    preflightGraph{w.graph.Client, min(p.settle, longestAbsence)},
		GraphAt:  p.ends.Graph,
		ARM:      w.arm,
		Self: func(s preflight.Subject) preflight.Self {
			return preflightSelf{app: a, p: p, w: w, keys: keys, subject: s, own: new(ownCredential)}
		},
		Host:       preflightHost{app: a, p: p, search: mem.search},
		Identities: w.arm,
		Own:        preflightOwn{p: p, w: w, keys: keys},
		Ledger: func(ctx context.Context) (preflight.Chain, error) {
			v, err := mem.ledger.Verify(ctx)
			if err != nil {
				return preflight.Chain{}, err
			}
			gone, err := mem.ledger.Unguarded(ctx)
			return preflight.Chain{LedgerVerdict: v, Unguarded: gone}, err
		},
		Roles: p.roles,
		Tape:  tape.With,
	})
}

// preflightSelf acts as the identity of the subject, with the key that this machine has.
type preflightSelf struct {
	app     *App
	p       *place
	w       outside
	keys    provision.Keystore
	subject preflight.Subject
	own     *ownCredential
}
