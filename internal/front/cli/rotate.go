package cli

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

type rotateOptions struct {
	form
	agent       string
	every       bool
	yes         bool
	digest      string
	overlap     time.Duration // specOverlap where the flag was not given
	certificate string
}

// specOverlap leaves the overlap to leastkey.yaml.
const specOverlap = time.Duration(-1)

func (c *command) rotate() *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use: "rotate AGENT | --all", Short: "Replace an agent's key and certificate",
		Long: `Makes a new key, registers its certificate and logs in with it three times; only then the old certificate is removed, shown to
open nothing, and its key deleted. Roles and environment file stay as they are. While the old certificate is valid the
agent's own key does all of it, by proof of possession: --operator none needs nobody's session. Otherwise the operator
registers the new certificate. A managed identity, or one with federated credentials, has no key: there is nothing to do.
It may be interrupted at any time and run again.`,
		Example: "  leastkey rotate polyclaw-runtime\n  leastkey rotate --all --yes --operator none\n  leastkey rotate polyclaw-runtime --overlap 24h     # the first apply after a day removes the old one",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			o.agent = first(args)
			return c.runRotate(ctx, o)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.every, "all", false, "rotate every recorded agent")
	f.DurationVar(&o.overlap, "overlap", specOverlap, "keep the old certificate for this `TIME` (default: certificate.overlap of leastkey.yaml, 0s)")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.StringVar(&o.digest, "digest", "", "carry out only the plan of this digest, in at least 12 `HEX` digits")
	f.StringVar(&o.certificate, "certificate", "", "PEM `FILE` of a certificate that an authority has issued for the key of a rotation that stopped for it")
	o.flags(cmd)
	f.Lookup("overlap").DefValue = "0s" // which the help does not show
	return cmd
}

func (o rotateOptions) check() error {
	switch {
	case o.agent == "" && !o.every:
		return usage("leastkey status lists the agents", "rotate needs the name of an agent, or --all")
	case o.agent != "" && o.every:
		return usage("", "rotate takes the name of an agent or --all, not both")
	case o.every && (o.digest != "" || o.certificate != ""):
		return usage("rotate the agents one by one", "--digest and --certificate are of one agent and do not go with --all")
	case o.overlap < 0 && o.overlap != specOverlap:
		return usage("", "--overlap is a duration of 0s or more")
	}
	return checkPin(o.digest, agent.Rotate.Shows(o.agent))
}

func (c *command) runRotate(ctx context.Context, o rotateOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	issued, err := readCertificate(o.certificate)
	if err != nil {
		return err
	}
	return c.door(ctx, c.target, false, func(d Door) error {
		if o.every {
			return c.rotateAll(ctx, d, o)
		}
		rep, err := c.rotateOne(ctx, d, o, o.agent, issued)
		if err != nil {
			return c.unfinished(rep, o.form, err)
		}
		if err := c.answer(rep, o.form); err != nil {
			return err
		}
		if !o.json {
			c.next("leastkey status %s%s", rep.Agent, c.same())
		}
		return end(api.FindingsExit(rep.Findings))
	})
}

func (c *command) rotateOne(ctx context.Context, d Door, o rotateOptions, name string, issued []byte) (api.Report, error) {
	req := api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: name, Verb: agent.Rotate}, Digest: o.digest, Issued: issued}
	if o.overlap != specOverlap {
		req.Overlap = &o.overlap
	}
	return c.carryOut(ctx, d.Rotate, req, approval{yes: o.yes, pin: o.digest})
}

// rotateAll rotates one after the other and stops at the first that fails; those before it have their new keys and are reported.
func (c *command) rotateAll(ctx context.Context, d Door, o rotateOptions) error {
	records, err := d.State(ctx)
	if err != nil {
		return err
	}
	reports := []api.Report{}
	code := api.ExitDone
	for i, r := range records {
		rep, err := c.rotateOne(ctx, d, o, r.Agent, nil)
		if err != nil {
			err = fmt.Errorf("rotate %s (%s of %d before it have new keys): %w", r.Agent, plural(i, "agent", "agents"), len(records), err)
			if o.json {
				return c.both(reports, err)
			}
			return err
		}
		reports = append(reports, whole(rep))
		if !o.json {
			c.out.report(rep)
		}
		code = max(code, api.FindingsExit(rep.Findings))
	}
	if o.json {
		if err := c.out.document(reports); err != nil {
			return err
		}
		return end(code)
	}
	if len(records) == 0 {
		c.out.line("Nothing to do: no agent is recorded.")
	}
	c.next("leastkey status%s", c.same())
	return end(code)
}

// readCertificate reads the one certificate of a PEM file; nil for no file. A file that holds more is refused: which of a chain is meant
// must not be guessed, and what else lies in it may be a private key.
func readCertificate(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("", "cannot read --certificate: %s", err)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, usage("it is one certificate in PEM", "--certificate %s does not begin with a certificate", path)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, usage("put the agent's own certificate alone into a file", "--certificate %s holds more than one certificate", path)
	}
	return block.Bytes, nil
}
