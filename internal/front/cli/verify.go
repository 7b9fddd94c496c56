package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

func (c *command) provisionerVerify() *cobra.Command {
	var f form
	var req api.VerifyRequest
	var report string
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no secret is left, and that the certificate works",
		Long: `Answers the checklist of the migration, each item with evidence: the secret is in no file and in no git history, application
and service principal have no password, the key is in the keystore and is the certificate's, the state file is clean, 0600
and ignored by git, the certificate gets a token with the right claims and lives long enough, no code uses a secret, the
token helper works, a runbook is there. It changes nothing. Exit code 3 if an item fails, or if nobody could tell.

The runbook is looked for at docs/runbooks/cert-auth-migration.md beside the state file. A line of code that is right as it
is gets the comment leastkey:allow, on it or above it.`,
		Example: "  leastkey provisioner verify\n  leastkey provisioner verify --report md > summary.md",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if report != "" && report != "md" {
				return usage("", "--report %q is not md", report)
			}
			return c.runVerify(ctx, req, report, f)
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&req.StateFile, "state-file", "", "the Provisioner's state `FILE`")
	fl.StringArrayVar(&req.Also, "also", nil, "search this `PATH` too, with everything below it; may be repeated")
	fl.StringVar(&req.Runbook, "runbook", "", "the runbook's `FILE`")
	fl.StringVar(&req.Helper, "helper", "", "the token helper, a `PROGRAM` (default: provisioner-token)")
	fl.StringVar(&report, "report", "", "print a summary for a pull request, in `FORM` md")
	f.flags(cmd)
	return cmd
}

func (c *command) runVerify(ctx context.Context, req api.VerifyRequest, report string, f form) error {
	return c.door(ctx, c.target, false, func(d Door) error {
		ans, err := d.ProvisionerVerify(ctx, req)
		if err != nil {
			return err
		}
		switch code := api.FindingsExit(ans.Findings); {
		case report == "md":
			if _, err := c.out.Write([]byte(markdown(ans))); err != nil {
				return err
			}
			return end(code)
		case f.json:
			if err := c.out.document(ans); err != nil {
				return err
			}
			return end(code)
		default:
			c.out.verified(ans)
			c.nextAfterVerify(code)
			return end(code)
		}
	})
}

func (c *command) nextAfterVerify(code int) {
	if code == api.ExitDone {
		c.next("leastkey provisioner verify --report md%s   (for the pull request)", c.same())
		return
	}
	c.next("leastkey provisioner verify%s   (once that is done)", c.same())
}

// verified writes the checklist for a person.
func (p *printer) verified(a api.VerifyAnswer) {
	p.styled(bold, "The Provisioner's checklist: %s", tally(a.Findings))
	p.field("client id", a.ApplicationID)
	p.field("tenant", a.TenantID)
	p.field("state file", a.StateFile)
	if !a.Key.Zero() {
		p.field("key", a.Key.String())
	}
	if !a.NotAfter.IsZero() {
		p.field("certificate", a.SHA256+", until "+when(a.NotAfter))
	}
	p.field("ledger head", api.ShortDigest(a.LedgerHead))
	p.blank()
	for _, f := range a.Findings {
		p.findings(2, []finding.Finding{f})
		if f.Outcome == finding.Pass { // what it rests on is shown here even where it is good
			for _, e := range f.Evidence {
				p.text(10, dim, evidence(e))
			}
		}
	}
}
