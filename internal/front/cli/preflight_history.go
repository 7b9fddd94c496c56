package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/report"
)

func (c *command) preflightHistory() *cobra.Command {
	var s sheet
	var limit int
	var show string
	cmd := &cobra.Command{
		Use: "history [AGENT]", Short: "List the reports that are kept, or show one of them again",
		Long: `Lists the kept reports of an agent, the newest first, with what changed from one to the next. --show gives one of them whole,
in any form; exit code 3 if that one is not green.`,
		Example: "  leastkey preflight history\n  leastkey preflight history --show latest -o report.html",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			switch {
			case limit < 0:
				return usage("0 lists all", "--limit is a count of reports")
			case show != "":
				return c.showKept(ctx, first(args), show, s)
			case s.format != tableForm && s.format != string(report.JSON) || s.out != "":
				return usage("add --show latest, or the id of a report", "a list of reports is a table or JSON on stdout")
			}
			return c.listKept(ctx, first(args), limit, s.format == string(report.JSON))
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many reports; 0 means all (`N`)")
	cmd.Flags().StringVar(&show, "show", "", "show the report with this `ID`, or the latest")
	s.flags(cmd)
	return cmd
}

func (c *command) showKept(ctx context.Context, name, id string, s sheet) error {
	file, err := beginFile(s.out, 0o600)
	if err != nil {
		return err
	}
	defer file.discard()
	return c.door(ctx, c.target, true, func(d Door) error {
		r, err := d.PreflightRun(ctx, name, id)
		if err != nil {
			return err
		}
		if err := c.showReport(r, s, file); err != nil {
			return err
		}
		return endReport(r)
	})
}

func (c *command) listKept(ctx context.Context, name string, limit int, asJSON bool) error {
	return c.door(ctx, c.target, true, func(d Door) error {
		all, err := d.PreflightRuns(ctx, name, limit)
		if err != nil {
			return err
		}
		if asJSON {
			return c.out.document(list(all))
		}
		c.showHistory(all, name)
		return nil
	})
}

func (c *command) showHistory(all []api.PreflightReport, name string) {
	if len(all) == 0 {
		c.out.line("No preflight is kept here.")
		if name != "" {
			name = " " + quote(name)
		}
		c.next("leastkey preflight%s%s", name, c.same())
		return
	}
	var rows [][]string
	for _, r := range all {
		verdict := "green"
		if !r.Green {
			verdict = "NOT GREEN"
		}
		changed := "-"
		if r.Before != "" {
			changed = fmt.Sprint(len(r.Changes))
		}
		rows = append(rows, []string{when(r.At), verdict, report.Tally(r.Counts), changed, r.ID, api.ShortDigest(r.Digest)})
	}
	c.out.table([]column{{head: "AT"}, {head: "VERDICT"}, {head: "CHECKS", bends: true}, {head: "CHANGED"}, {head: "REPORT"}, {head: "DIGEST"}}, rows)
	c.next("leastkey preflight history %s --show %s%s", quote(all[0].Agent), all[0].ID, c.same())
}
