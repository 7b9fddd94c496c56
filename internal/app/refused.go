package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// How many refused attempts of one caller are entered within which time: enough to see that somebody tries, and not enough to fill the disk.
const (
	refusalsKept   = 20
	refusalsWithin = time.Hour
)

// refusals counts the attempts of callers that were refused before they came to the door. Callers have a token or a session, so they are few.
type refusals struct {
	mu sync.Mutex
	by map[string]tally
}

type tally struct {
	n     int
	since time.Time
}

// enters tells whether one more is entered, and whether it is the last for now.
func (r *refusals) enters(actor string, now time.Time) (yes, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[string]tally{}
	}
	t := r.by[actor]
	if now.Sub(t.since) >= refusalsWithin {
		t = tally{since: now}
	}
	t.n++
	r.by[actor] = t
	return t.n <= refusalsKept, t.n == refusalsKept
}

// Refused implements [httpapi.House]. The entry is in the ledger of the cloud, or, where that cannot be reached, in the server's own.
func (h *house) Refused(ctx context.Context, actor, action, subject string, why error) error {
	ctx = context.WithoutCancel(ctx) // whoever hangs up has tried all the same
	yes, last := h.refusals.enters(actor, time.Now())
	if !yes {
		return nil
	}
	said := why.Error()
	if last {
		said += "; further attempts within the hour are not entered"
	}
	l, err := h.enter(ctx, actor)
	if err != nil {
		_, err := h.tokens.ledger.Append(ctx, api.LedgerEntry{Actor: actor, Action: action, Subject: subject, Detail: said})
		return err
	}
	return errors.Join(l.Refused(ctx, action, subject, said), l.Close())
}
