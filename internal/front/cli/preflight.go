package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/report"
)

// sheet is how a report of the preflight is wanted.
type sheet struct {
	json     bool
	format   string
	out      string
	evidence bool
}

const tableForm = "table"

func forms() []string {
	all := []string{tableForm}
	for _, f := range report.Formats() {
		all = append(all, string(f))
	}
	return all
}

// flags adds them to a command. A file's name tells its form where no other is named.
func (s *sheet) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&s.json, "json", false, "print JSON, for programs")
	f.StringVar(&s.format, "format", tableForm, "`FORM` of the report: "+strings.Join(forms(), ", "))
	f.StringVarP(&s.out, "out", "o", "", "write the report to `FILE` and show the table; its ending names the form: .json, .sarif, .xml, .html")
	f.BoolVar(&s.evidence, "evidence", false, "show in the table what every answer rests on")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return s.settle(cmd.Flags().Changed("format")) }
}

func (s *sheet) settle(named bool) error {
	if s.json {
		if named && s.format != string(report.JSON) {
			return usage("", "--json and --format %s exclude each other", s.format)
		}
		s.format, named = string(report.JSON), true
	}
	if !slices.Contains(forms(), s.format) {
		return usage("", "--format %q is not one of %s", s.format, strings.Join(forms(), ", "))
	}
	if s.out == "" {
		return nil
	}
	if named {
		if s.format == tableForm {
			return usage("name json, sarif, junit or html", "a table is not written to a file")
		}
		return nil
	}
	for _, f := range report.Formats() {
		if strings.EqualFold(filepath.Ext(s.out), f.Suffix()) {
			s.format = string(f)
			return nil
		}
	}
	return usage("add --format json, sarif, junit or html", "the name of %s tells no form", s.out)
}

func (c *command) preflight() *cobra.Command {
	var s sheet
	cmd := &cobra.Command{
		Use: "preflight [AGENT]", Short: "Ask everything of an agent's identity, each answer with its evidence",
		Long: `Runs every check of the agent's identity, its roles and its secrets, side by side, and keeps the report. It changes nothing:
what it tries as the identity is aimed at things that do not exist. Each check passes, fails, warns, is skipped because its
question does not arise or another answer is missing, or is unknown because a lookup failed.

Exit code 0 if the report is green: nothing fails, and everything that must be known is known. Exit code 3 if not.`,
		Example: "  leastkey preflight\n  leastkey preflight polyclaw-runtime --evidence\n  leastkey preflight -o report.html\n  leastkey preflight --format sarif > preflight.sarif",
		Args:    atMostOne,
		RunE:    c.run(func(ctx context.Context, args []string) error { return c.runPreflight(ctx, first(args), s) }),
	}
	s.flags(cmd)
	cmd.AddCommand(c.preflightVerify(), c.preflightHistory(), c.preflightExplain())
	return cmd
}

func (c *command) runPreflight(ctx context.Context, name string, s sheet) error {
	file, err := beginFile(s.out, 0o600) // no secret is in it, but who may do what is; its owner decides whom to show it
	if err != nil {
		return err
	}
	defer file.discard()
	return c.door(ctx, c.target, false, func(d Door) error {
		g := c.progress()
		r, err := d.Preflight(ctx, api.PreflightRequest{Agent: name}, c.answered(g))
		g.close()
		if r.Digest == "" {
			return cmp.Or(err, missing("the preflight"))
		}
		if writing := c.showReport(r, s, file); writing != nil {
			return writing
		}
		if err != nil {
			return fmt.Errorf("the report was not kept: %w", err)
		}
		c.nextAfterPreflight(r, s)
		return endReport(r)
	})
}

// answered counts the answers on the live line.
func (c *command) answered(g *progress) func(api.Event) {
	of := ""
	if c.world.Checks != nil {
		of = fmt.Sprintf(" of %d", len(c.world.Checks()))
	}
	var one sync.Mutex
	n := 0
	return func(e api.Event) {
		one.Lock()
		defer one.Unlock()
		n++
		g.event(api.Event{At: e.At, Step: "preflight", Title: fmt.Sprintf("%d%s checks answered", n, of), Status: api.Begun})
	}
}

// endReport ends a command by what a report says.
func endReport(r api.PreflightReport) error {
	if r.Green {
		return nil
	}
	return end(api.ExitFindings)
}

// showReport writes the report as it is wanted: to stdout, or to the file beside a table.
func (c *command) showReport(r api.PreflightReport, s sheet, file *draft) error {
	if s.format == tableForm {
		c.out.preflight(r, s.evidence)
		return nil
	}
	b, err := report.Write(r, report.Format(s.format))
	if err != nil {
		return err
	}
	if s.out == "" {
		_, err := c.out.Write(b)
		return err
	}
	if err := file.commit(b); err != nil {
		return err
	}
	c.out.preflight(r, s.evidence)
	c.err.line("wrote %s, as %s", s.out, s.format)
	return nil
}

func (c *command) nextAfterPreflight(r api.PreflightReport, s sheet) {
	switch {
	case !r.Green:
		for _, f := range r.Findings {
			if f.Outcome == finding.Fail || f.Required && f.Outcome == finding.Unknown {
				c.next("leastkey preflight explain %s, or, once that is done: leastkey preflight %s%s", f.ID, quote(r.Agent), c.same())
				return
			}
		}
	case s.out != "":
		c.next("leastkey preflight verify %s%s   (whoever has this ledger can check it)", quote(s.out), c.same())
	default:
		c.next("leastkey preflight %s -o report.html%s   (for whoever asks for proof)", quote(r.Agent), c.same())
	}
}

// preflight writes a report for a person.
func (p *printer) preflight(r api.PreflightReport, evidenced bool) {
	st := red
	if r.Green {
		st = green
	}
	p.styled(st, "Preflight of %s. %s", r.Agent, report.Headline(r))
	p.field("when", when(r.At)+", in "+took(r.WallMS)+fmt.Sprintf(", %s, %d in a row", plural(r.Requests, "request", "requests"), r.Rounds))
	p.field("client id", r.AppID)
	p.field("tenant", r.TenantID)
	if r.As.Name != "" {
		p.field("looked as", who(r.As))
	} else {
		p.field("looked as", "nobody: no operator could be identified")
	}
	p.field("report", r.ID)
	p.field("digest", r.Digest)
	p.field("ledger head", r.LedgerHead)
	p.changes(r)
	for _, g := range report.Groups(r.Findings) {
		p.blank()
		p.styled(bold, "%s: %s", g.Title(), report.Tally(g.Counts()))
		for _, f := range g.Findings {
			p.answer(f, evidenced)
		}
	}
}

// changes are what came out otherwise than in the run before.
func (p *printer) changes(r api.PreflightReport) {
	for i, c := range r.Changes {
		label := ""
		if i == 0 {
			label = "changed"
		}
		before := "not asked"
		if c.Was != "" {
			before, _ = verdict(c.Was)
		}
		now, _ := verdict(c.Now)
		p.item(2, dim, label, labels, fmt.Sprintf("%s: %s before, now %s", c.ID, before, now))
	}
}

// answer writes one finding. What passed needs no more than its name.
func (p *printer) answer(f finding.Finding, evidenced bool) {
	word, st := verdict(f.Outcome)
	text := cmp.Or(f.Name, f.Question, f.ID)
	detail, more, _ := strings.Cut(strings.TrimSuffix(f.Detail, "\n"), "\n")
	if f.Outcome != finding.Pass && detail != "" {
		text += ": " + detail
	}
	p.item(2, st, word, 8, text+" ("+f.ID+")")
	if more != "" && f.Outcome != finding.Pass {
		for line := range strings.SplitSeq(more, "\n") {
			p.text(10, plain, line)
		}
	}
	if evidenced && f.Outcome == finding.Pass && f.Detail != "" {
		p.text(10, plain, f.Detail)
	}
	if f.Remedy != "" && f.Outcome != finding.Pass {
		p.item(10, bold, "do:", 0, f.Remedy)
	}
	if evidenced {
		for _, e := range f.Evidence {
			p.text(10, dim, evidence(e))
		}
	}
}
