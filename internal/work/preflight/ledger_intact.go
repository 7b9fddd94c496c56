package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Chain is what is known of the ledger. A chain whose end was cut off is whole by itself; what it lacks is what it had when reports were
// made, and the triggers that whoever cut it off had to drop.
type Chain struct {
	api.LedgerVerdict
	Lost      []string // reports that are kept, and whose beginning and end it does not hold
	Unguarded []string // triggers of its table that are missing
}

// ledgerIntact: without it nobody can say who has asked for what. An empty one beside a recorded identity was emptied by somebody: every
// change is written there before it is made.
func ledgerIntact() Check {
	return Check{
		ID: idLedger, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Ledger Intact", Question: "does every entry of the ledger follow from the one before it, is none missing at its end, and is it guarded?",
		Remedy: "leastkey ledger verify names the first entry that does not follow; compare the heads that earlier reports have printed, find out who wrote to the record, and restore it from a backup",
		Decide: func(_ context.Context, a *Ask) Verdict {
			l, err := get(a, &a.run.ledger)
			switch {
			case err != nil:
				return failed(err)
			case !l.Intact:
				return fail("entry %d does not follow from the one before it", l.Broken)
			case l.Entries == 0 && a.Record.Provisioned():
				return fail("the ledger is empty, and an identity is recorded")
			case len(l.Lost) > 0:
				return fail("the ledger was cut off or replaced: it does not hold what it did when the preflight reported %s", some(l.Lost))
			case len(l.Unguarded) > 0:
				return fail("somebody has removed what guards the ledger's table: %s", strings.Join(l.Unguarded, ", "))
			}
			return pass("%d entries, head %s", l.Entries, api.ShortDigest(l.Head))
		},
	}
}

// some are the first of many.
func some(all []string) string {
	const shown = 5
	if len(all) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:shown], ", "), len(all)-shown)
	}
	return strings.Join(all, ", ")
}

func readLedger(ctx context.Context, a *Ask) (Chain, error) {
	l, err := a.run.p.Ledger(ctx)
	if err != nil {
		return l, &fault.Error{Code: fault.CodeOf(err), Op: "read the ledger", Err: err, Hint: fault.Hint(err)}
	}
	a.used = append(a.used, finding.Evidence{Asked: "ledger", Answer: fmt.Sprintf("%d entries, head %s, intact: %v, reports that it does not hold: %d, guards that are missing: %d", l.Entries, l.Head, l.Intact, len(l.Lost), len(l.Unguarded)), At: time.Now().UTC()})
	return l, nil
}
