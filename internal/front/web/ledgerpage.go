package web

import (
	"slices"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// pageOfLedger is how many entries are shown unless all are asked for.
const pageOfLedger = 50

type ledgerPage struct {
	Entries answer[[]api.LedgerEntry] // the newest first
	Verdict *answer[api.LedgerVerdict]
	All     bool
}

func (v *visit) ledger() {
	if v.door == nil {
		v.nowhere("ledger")
		return
	}
	page := ledgerPage{All: v.r.Form.Get("all") == "yes"}
	limit := pageOfLedger
	if page.All {
		limit = 0
	}
	entries, err := v.door.Ledger(v.ctx(), limit)
	entries = slices.Clone(entries)
	slices.Reverse(entries)
	page.Entries = ask(entries, err)
	if v.r.Form.Get("verify") == "yes" {
		verdict := ask(v.door.VerifyLedger(v.ctx()))
		page.Verdict = &verdict
	}
	v.show(statusOf(page.Entries.Problem), "ledger", "ledger", "Ledger", page)
}

// More tells whether there may be older entries than are shown.
func (p ledgerPage) More() bool { return !p.All && len(p.Entries.V) == pageOfLedger }
