package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/report"
)

const largestReport = 64 << 20

func (c *command) preflightVerify() *cobra.Command {
	var f form
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check that a report is as it was made, and made here",
		Long: `Reads a report of any form (JSON, SARIF, JUnit or a page) and says whether it shows what it says, whether its digest is that of
what it says, and whether the ledger here has an entry of that digest after the head that the report names. Exit code 0 if all
of that holds, whatever the report itself has found; exit code 3 if not. A dash reads stdin.`,
		Example: "  leastkey preflight verify report.html",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("leastkey preflight verify report.html", "name one report")
			}
			return nil
		},
		RunE: c.run(func(ctx context.Context, args []string) error { return c.verifyReport(ctx, args[0], f) }),
	}
	f.flags(cmd)
	return cmd
}

func (c *command) verifyReport(ctx context.Context, path string, f form) error {
	doc, err := c.readReport(path)
	if err != nil {
		return err
	}
	return c.door(ctx, c.target, true, func(d Door) error {
		v, err := d.PreflightVerify(ctx, doc.Report)
		if err != nil {
			return err
		}
		v.File = path
		if doc.Differs != "" {
			v.Sealed = false
			v.Detail = strings.TrimSuffix(doc.Differs+"; "+v.Detail, "; ")
		}
		code := api.ExitDone
		if !v.Sealed || !v.Recorded || !v.Intact {
			code = api.ExitFindings
		}
		if f.json {
			if err := c.out.document(v); err != nil {
				return err
			}
			return end(code)
		}
		c.out.judged(v, doc.Format)
		if code != api.ExitDone {
			c.next("leastkey preflight history %s --show %s%s   (if this ledger's own copy is kept)", quote(v.Report.Agent), quote(v.Report.ID), c.same())
		}
		return end(code)
	})
}

// readReport reads a report that may come from anybody.
func (c *command) readReport(path string) (report.Document, error) {
	in := io.Reader(c.in)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return report.Document{}, fault.New(fault.NotFound, "cannot read report "+path+": "+reason(err), "leastkey preflight -o FILE writes one")
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, largestReport+1))
	if err != nil {
		return report.Document{}, fmt.Errorf("read report %s: %w", path, err)
	}
	if len(b) > largestReport {
		return report.Document{}, fault.New(fault.Invalid, fmt.Sprintf("%s is larger than %d MiB", path, largestReport>>20), "a report of the preflight is much smaller")
	}
	doc, err := report.Read(b)
	if err != nil {
		return doc, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

// judged writes the verdict on a report.
func (p *printer) judged(v api.PreflightVerdict, f report.Format) {
	if v.Sealed && v.Recorded && v.Intact {
		p.item(0, green, "GENUINE:", 0, fmt.Sprintf("%s (%s) is as it was made; the ledger here has it as entry %d", v.File, f, v.Entry))
	} else {
		p.item(0, red, "NOT PROVED:", 0, v.File+": "+v.Detail)
	}
	r := v.Report
	p.field("unchanged", yesNo(v.Sealed))
	p.field("recorded", yesNo(v.Recorded))
	p.field("ledger", map[bool]string{true: "intact", false: "BROKEN"}[v.Intact])
	p.field("agent", r.Agent+", tenant "+r.TenantID+", "+string(r.Cloud)+" cloud")
	p.field("when", when(r.At))
	p.field("found", report.Headline(r))
	p.field("digest", r.Digest)
	p.field("ledger head", r.LedgerHead)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}
