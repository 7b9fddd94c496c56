package preflight

import (
	"context"
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// ledgerIntact: without it nobody can say who has asked for what. An empty one beside a recorded identity was emptied by somebody: every
// change is written there before it is made.
func ledgerIntact() Check {
	return Check{
		ID: idLedger, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Ledger Intact", Question: "does every entry of the ledger follow from the one before it?",
		Remedy: "leastkey ledger verify names the first entry that does not; compare the heads that earlier reports have printed, and find out who wrote to the record",
		Decide: func(_ context.Context, a *Ask) Verdict {
			l, err := get(a, &a.run.ledger)
			switch {
			case err != nil:
				return failed(err)
			case !l.Intact:
				return fail("entry %d does not follow from the one before it", l.Broken)
			case l.Entries == 0 && a.Record.Provisioned():
				return fail("the ledger is empty, and an identity is recorded")
			}
			return pass("%d entries, head %s", l.Entries, api.ShortDigest(l.Head))
		},
	}
}

func readLedger(ctx context.Context, a *Ask) (api.LedgerVerdict, error) {
	l, err := a.run.p.Ledger(ctx)
	if err != nil {
		return l, &fault.Error{Code: fault.CodeOf(err), Op: "read the ledger", Err: err, Hint: fault.Hint(err)}
	}
	a.used = append(a.used, finding.Evidence{Asked: "ledger", Answer: fmt.Sprintf("%d entries, head %s, intact: %v", l.Entries, l.Head, l.Intact), At: time.Now().UTC()})
	return l, nil
}
