package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
)

func (c *command) ledger() *cobra.Command {
	return c.parent(&cobra.Command{
		Use: "ledger", Short: "Show or verify who asked for what, allowed or not",
		Long:    "The ledger is append-only and each entry holds the hash of the one before. Keep its head elsewhere to notice a ledger that was rewritten whole.",
		Example: "  leastkey ledger verify",
	}, c.ledgerShow(), c.ledgerVerify())
}

func (c *command) ledgerShow() *cobra.Command {
	var f form
	var limit int
	cmd := &cobra.Command{
		Use: "show", Short: "Show the newest entries, oldest first",
		Example: "  leastkey ledger show --limit 100",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if limit < 0 {
				return usage("0 shows all", "--limit is a count of entries")
			}
			return c.door(ctx, c.target, true, func(d Door) error {
				all, err := d.Ledger(ctx, limit)
				if err != nil {
					return err
				}
				if f.json {
					return c.out.document(list(all))
				}
				c.showLedger(all)
				return nil
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many entries; 0 means all (`N`)")
	f.flags(cmd)
	return cmd
}

func (c *command) showLedger(all []api.LedgerEntry) {
	if len(all) == 0 {
		c.out.line("The ledger is empty.")
		return
	}
	var rows [][]string
	for _, e := range all {
		verdict := "allowed"
		if !e.Allowed {
			verdict = "REFUSED"
		}
		rows = append(rows, []string{fmt.Sprint(e.Seq), e.At.UTC().Format("2006-01-02 15:04:05"), verdict, e.Action, orDash(e.Subject), e.Actor, orDash(e.Detail), api.ShortDigest(e.Hash)})
	}
	c.out.table([]column{{head: "N"}, {head: "AT (UTC)"}, {head: "VERDICT"}, {head: "ACTION"}, {head: "AGENT", bends: true},
		{head: "WHO", bends: true}, {head: "DETAIL", bends: true}, {head: "HASH"}}, rows)
	c.next("leastkey ledger verify%s", c.same())
}

func (c *command) ledgerVerify() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that every entry follows from the one before",
		Example: "  leastkey ledger verify --json",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			return c.door(ctx, c.target, true, func(d Door) error {
				v, err := d.VerifyLedger(ctx)
				if err != nil {
					return err
				}
				return c.verified(v, f)
			})
		}),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) verified(v api.LedgerVerdict, f form) error {
	code := api.ExitDone
	if !v.Intact {
		code = api.ExitFindings
	}
	if f.json {
		if err := c.out.document(v); err != nil {
			return err
		}
		return end(code)
	}
	if v.Intact {
		c.out.item(0, green, "intact:", 0, fmt.Sprintf("%s, head %s", plural(int(v.Entries), "entry", "entries"), orDash(v.Head)))
		c.next("compare the head with the one that your last report printed")
		return nil
	}
	c.out.item(0, red, "BROKEN:", 0, fmt.Sprintf("entry %d does not follow from the one before; %s in all", v.Broken, plural(int(v.Entries), "entry", "entries")))
	c.next("keep a copy of the record before anything else, then: leastkey ledger show --limit 0%s", c.same())
	return end(code)
}
