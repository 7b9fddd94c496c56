package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// provisioner are the commands about the privileged application that creates Agent ID objects.
func (c *command) provisioner() *cobra.Command {
	return c.parent(&cobra.Command{
		Use: "provisioner", Short: "The application that creates Agent ID objects, without a secret",
		Long: `The Provisioner is the privileged application that creates Entra Agent ID objects, because tokens of az are refused there.
These commands make it, move it from a client secret to a certificate whose key lives in the keystore, rotate it and get
its tokens. Its ids are kept in .entraclaw-state.json, which is found by --state-file, LEASTKEY_STATE_FILE, leastkey.yaml,
or from the current folder upward.`,
	}, c.provisionerBootstrap(), c.provisionerMigrate(), c.provisionerVerify(), c.provisionerStatus(), c.provisionerRotate(), c.provisionerRetire(),
		c.provisionerRollback(), c.provisionerAdopt(), c.provisionerToken())
}

// provisionerOptions are what the commands that change something share.
type provisionerOptions struct {
	form
	req         api.ProvisionerRequest
	yes         bool
	certificate string // rotate: a file
}

func (o *provisionerOptions) common(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.req.StateFile, "state-file", "", "the Provisioner's state `FILE`")
	o.flags(cmd)
}

// changing adds the flags of a command that carries out a plan.
func (o *provisionerOptions) changing(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.req.DryRun, "dry-run", false, "show the plan and change nothing")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.StringVar(&o.req.Digest, "digest", "", "carry out only the plan of this digest, in at least 12 `HEX` digits")
	o.common(cmd)
}

func (c *command) provisionerBootstrap() *cobra.Command {
	o := provisionerOptions{req: api.ProvisionerRequest{Verb: provisioner.Bootstrap}}
	cmd := &cobra.Command{
		Use: "bootstrap", Short: "Make the Provisioner, or repair it",
		Long: `Makes the application and its service principal, declares and consents the Microsoft Graph permissions that Agent ID needs,
and gives it a certificate whose key lives in the keystore. Run again it repairs what has drifted and does nothing else. A
permission that Graph offers since the last time is an addition that the plan shows and somebody approves. An application
of its name that is not recorded is never taken for it: see leastkey provisioner adopt.`,
		Args: none,
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.runProvisioner(ctx, o) }),
	}
	cmd.Flags().BoolVar(&o.req.CreateBeside, "create-beside", false, "create it although another application has its name")
	o.changing(cmd)
	return cmd
}

func (c *command) provisionerMigrate() *cobra.Command {
	o := provisionerOptions{req: api.ProvisionerRequest{Verb: provisioner.Migrate}}
	cmd := &cobra.Command{
		Use: "migrate", Short: "Move the Provisioner from its client secret to a certificate",
		Long: `Registers a certificate and proves it, then removes every password credential of application and service principal, proves
the old secret dead, and takes it off this machine: out of the state file and the environment file. Any other place that
holds it is named, and changed only by --edit. A failure before the first removal puts everything back; after it the way is
forward, and the next run goes on (exit 4). Every other holder of the secret stops working, so beside --yes it wants
--sole-holder or --others-accept.`,
		Example: "  leastkey provisioner migrate --dry-run\n  leastkey provisioner migrate --yes --sole-holder",
		Args:    none,
		RunE:    c.run(func(ctx context.Context, _ []string) error { return c.runProvisioner(ctx, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.req.EnvFile, "env-file", "", "environment `FILE` that may hold the secret (default: .env beside the state file)")
	f.StringArrayVar(&o.req.Also, "also", nil, "search this `PATH` too, with everything below it; may be repeated")
	f.StringArrayVar(&o.req.Edit, "edit", nil, "remove the secret from this `FILE` too; the lines are shown, without their content; may be repeated")
	f.BoolVar(&o.req.SoleHolder, "sole-holder", false, "nobody else holds the secret")
	f.BoolVar(&o.req.OthersAccept, "others-accept", false, "its other holders know that it stops working now")
	f.BoolVar(&o.req.NoBackUp, "no-backup", false, "do not keep an encrypted copy of the state file for seven days")
	o.changing(cmd)
	return cmd
}

func (c *command) provisionerRotate() *cobra.Command {
	o := provisionerOptions{req: api.ProvisionerRequest{Verb: agent.Rotate}}
	cmd := &cobra.Command{
		Use: "rotate", Short: "Replace the Provisioner's key and certificate",
		Long: `Makes a new key, registers its certificate and proves it, then removes the old one. While the old certificate is valid the
Provisioner does it by proof of possession, with no directory permission, and --operator none needs nobody; otherwise the
operator registers the new one. Certificates of other machines stay.`,
		Args: none,
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.runProvisioner(ctx, o) }),
	}
	f := cmd.Flags()
	f.DurationVar(&o.req.Overlap, "overlap", 0, "keep the old certificate for this `TIME`; the next bootstrap or rotate after it removes it")
	f.StringVar(&o.certificate, "certificate", "", "PEM `FILE` of a certificate that an authority has issued for the key of a rotation that stopped for it")
	o.changing(cmd)
	return cmd
}

func (c *command) provisionerRetire() *cobra.Command {
	o := provisionerOptions{req: api.ProvisionerRequest{Verb: provisioner.Retire}}
	cmd := &cobra.Command{
		Use: "retire SHA256", Short: "Remove another machine's certificate, or an earlier one",
		Long: "Removes the certificate of that SHA-256 from the application. leastkey provisioner status lists them by age. The one in use is refused.",
		Args: cobra.ExactArgs(1),
		RunE: c.run(func(ctx context.Context, args []string) error {
			o.req.SHA256 = args[0]
			return c.runProvisioner(ctx, o)
		}),
	}
	o.changing(cmd)
	return cmd
}

func (c *command) provisionerRollback() *cobra.Command {
	o := provisionerOptions{req: api.ProvisionerRequest{Verb: provisioner.Rollback}}
	cmd := &cobra.Command{
		Use: "rollback", Short: "Take a migration back, as far as that is possible",
		Long: `Before the first password was removed everything goes back: certificate and key of the migration are removed, keystore and
state file are as they were. After it the secret cannot come back, and nobody needs it: what there is to say is said, and
an earlier certificate of this machine, if its key is still there, is put back into use.`,
		Args: none,
		RunE: c.run(func(ctx context.Context, _ []string) error { return c.runProvisioner(ctx, o) }),
	}
	o.changing(cmd)
	return cmd
}

func (c *command) provisionerStatus() *cobra.Command {
	var o provisionerOptions
	cmd := &cobra.Command{
		Use: "status", Short: "Show its credentials, permissions and what falls due",
		Args: none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			return c.door(ctx, c.target, false, func(d Door) error {
				rep, err := d.ProvisionerStatus(ctx, o.req)
				if err != nil {
					return err
				}
				return c.provisionerAnswer(rep, o)
			})
		}),
	}
	o.common(cmd)
	return cmd
}

func (c *command) provisionerAdopt() *cobra.Command {
	var o provisionerOptions
	var appID string
	cmd := &cobra.Command{
		Use: "adopt --app-id ID", Short: "Record an existing application as the Provisioner",
		Long: `Shows the application with its owners and credentials and, once approved, writes it into the state file and the record. It
changes nothing in the cloud.`,
		Args: none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if !agent.IsGUID(appID) {
				return usage("leastkey provisioner bootstrap --dry-run lists the applications of its name", "adopt needs --app-id with the client id (a GUID) of the application")
			}
			if !o.yes && !c.streams.Terminal {
				return usage("look at the application first, then repeat with --yes", "adopt needs approval, and there is no terminal to ask on")
			}
			a := approval{c: c, ctx: ctx}
			return c.door(ctx, c.target, false, func(d Door) error {
				rep, err := d.ProvisionerAdopt(ctx, o.req, appID, func(app agent.Application) (bool, error) {
					c.err.application(app)
					if o.yes {
						return true, nil
					}
					ok, err := c.confirm(ctx, "Adopt this application?")
					a.declined, a.err = !ok && err == nil, err
					return ok, err
				})
				if err := a.result(err); err != nil {
					return err
				}
				return c.provisionerAnswer(rep, o)
			})
		}),
	}
	cmd.Flags().StringVar(&appID, "app-id", "", "client `ID` (appId) of the application")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	o.common(cmd)
	return cmd
}

func (c *command) provisionerToken() *cobra.Command {
	var stateFile, scope string
	cmd := &cobra.Command{
		Use: "token", Short: "Print an access token of the Provisioner, alone on stdout",
		Long: `Logs in with the certificate and prints the access token and a line end, nothing else: one request, no az, and nothing is
changed anywhere. The small program provisioner-token does the same. The token is a secret for about an hour: pipe it, do
not paste it.`,
		Args:        none,
		Annotations: map[string]string{inOneLine: "yes"},
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.ProvisionerToken == nil {
				return missing("the Provisioner's token")
			}
			t, err := c.world.ProvisionerToken(ctx, c.target, stateFile, scope)
			if err != nil {
				return err
			}
			return c.writeToken(t)
		}),
	}
	cmd.Flags().StringVar(&stateFile, "state-file", "", "the Provisioner's state `FILE`")
	cmd.Flags().StringVar(&scope, "scope", "", "`SCOPE` of the token (default: Microsoft Graph)")
	return cmd
}

// runProvisioner shows the plan and, unless it is a dry run, carries it out.
func (c *command) runProvisioner(ctx context.Context, o provisionerOptions) error {
	if err := checkPin(o.req.Digest, o.req.Verb.Shows(provisioner.Name)); err != nil {
		return err
	}
	var err error
	if o.req.Issued, err = readCertificate(o.certificate); err != nil {
		return err
	}
	a := approval{c: c, ctx: ctx, yes: o.yes, pin: o.req.Digest}
	o.req.Approve = func(ans api.PlanAnswer) (bool, error) {
		if err := holders(o, ans.Plan); err != nil {
			a.err = err
			return false, err
		}
		return a.approve(ans)
	}
	return c.door(ctx, c.target, false, func(d Door) error {
		g := c.progress()
		rep, err := d.Provisioner(ctx, o.req, g.event)
		g.close()
		if err := a.result(err); err != nil {
			return c.provisionerUnfinished(rep, o, err)
		}
		return c.provisionerAnswer(rep, o)
	})
}

// again is what the plan was made with, so that the next command makes the same one.
func (o provisionerOptions) again(p agent.Plan) string {
	var b strings.Builder
	for _, f := range []struct{ flag, value string }{{"state-file", o.req.StateFile}, {"env-file", o.req.EnvFile}, {"certificate", o.certificate}} {
		if f.value != "" {
			b.WriteString(" --" + f.flag + " " + quote(f.value))
		}
	}
	for _, f := range []struct {
		flag string
		all  []string
	}{{"also", o.req.Also}, {"edit", o.req.Edit}} {
		for _, path := range f.all {
			b.WriteString(" --" + f.flag + " " + quote(path))
		}
	}
	for _, f := range []struct {
		flag string
		set  bool
	}{{"create-beside", o.req.CreateBeside}, {"no-backup", o.req.NoBackUp}, {"sole-holder", o.req.SoleHolder}, {"others-accept", o.req.OthersAccept}} {
		if f.set {
			b.WriteString(" --" + f.flag)
		}
	}
	if o.req.Overlap > 0 {
		b.WriteString(" --overlap " + o.req.Overlap.String())
	}
	if p.Verb == provisioner.Retire {
		b.WriteString(" " + quote(o.req.SHA256))
	}
	if o.req.SoleHolder || o.req.OthersAccept || !removesPasswords(p) {
		return b.String()
	}
	return b.String() + " --sole-holder (or --others-accept)"
}

func removesPasswords(p agent.Plan) bool {
	return p.Verb == provisioner.Migrate && slices.ContainsFunc(p.Steps, func(s agent.Step) bool { return s.Action == agent.RemovePassword })
}

// holders wants to hear who else loses the secret, where nobody is asked.
func holders(o provisionerOptions, p agent.Plan) error {
	if removesPasswords(p) && (o.yes || o.req.Digest != "") && !o.req.SoleHolder && !o.req.OthersAccept {
		return usage("say that you know: --sole-holder if there is none, --others-accept if they do", "every other holder of the secret stops working now")
	}
	return nil
}

func (c *command) provisionerAnswer(rep api.ProvisionerReport, o provisionerOptions) error {
	if o.json {
		if err := c.out.document(rep); err != nil {
			return err
		}
		return end(api.FindingsExit(rep.Findings))
	}
	if rep.Plan != nil {
		c.out.plan(api.PlanAnswer{Plan: *rep.Plan, Digest: rep.Digest})
		c.next("leastkey provisioner %s --digest %s%s%s", rep.Verb, api.ShortDigest(rep.Digest), o.again(*rep.Plan), c.same())
		return nil
	}
	c.out.provisionerReport(rep, time.Now())
	switch rep.Verb {
	case provisioner.Bootstrap, agent.Rotate:
		c.next("leastkey provisioner status%s", c.same())
	case provisioner.Migrate:
		c.next("leastkey provisioner verify%s", c.same())
	case "adopt":
		c.next("leastkey provisioner bootstrap --dry-run%s", c.same())
	}
	return end(api.FindingsExit(rep.Findings))
}

// provisionerUnfinished says how far it came before it fails.
func (c *command) provisionerUnfinished(rep api.ProvisionerReport, o provisionerOptions, err error) error {
	if o.json {
		return c.both(rep, err)
	}
	if rep.Changed || len(rep.Findings) > 0 {
		c.err.provisionerReport(rep, time.Now())
		c.err.blank()
	}
	return err
}
