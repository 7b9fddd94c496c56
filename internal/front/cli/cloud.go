package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func (c *command) localCloud() *cobra.Command {
	return c.parent(&cobra.Command{
		Use: "cloud", Short: "Run and look into the local cloud alone",
		Long: `The local cloud stands for the parts of Entra ID, Microsoft Graph, Azure Resource Manager and Key Vault that an agent's
identity needs. az and the Azure SDKs work against it unchanged.`,
		Example: "  leastkey cloud serve",
	}, c.cloudServe(), c.cloudReset(), c.cloudEnv(), c.cloudLog())
}

func (c *command) cloudServe() *cobra.Command {
	var r api.CloudServeRequest
	var knobs string
	var authorities []string
	var f form
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve a local cloud until interrupted",
		Example: "  leastkey cloud serve --memory --knobs hostile.json",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Cloud == nil {
				return missing("the local cloud")
			}
			if r.Memory && r.State != "" {
				return usage("", "--memory and --state exclude each other")
			}
			var err error
			if r.Knobs, err = readKnobs(knobs); err != nil {
				return err
			}
			if r.IssuerCAs, err = readAuthorities(authorities); err != nil {
				return err
			}
			return c.serveCloud(ctx, r, f)
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&r.Listen, "listen", "", "`ADDRESS`, loopback or private (default: loopback)")
	fl.StringArrayVar(&r.SANs, "san", nil, "further `NAME` or address in its certificate; may be repeated")
	fl.StringVar(&r.State, "state", "", "`FOLDER` to keep it in (default: LEASTKEY_HOME/local)")
	fl.BoolVar(&r.Memory, "memory", false, "keep nothing after the end")
	fl.BoolVar(&r.Empty, "empty", false, "without resource groups and resources")
	fl.Uint64Var(&r.Seed, "seed", 0, "make its ids repeat, for tests (`N` above 0)")
	fl.StringVar(&knobs, "knobs", "", "`FILE` with its lag and faults, in JSON")
	fl.StringArrayVar(&authorities, "issuer-ca", nil, "PEM `FILE` of an authority that issuers of federated credentials may have; may be repeated")
	f.flags(cmd)
	return cmd
}

func (c *command) serveCloud(ctx context.Context, r api.CloudServeRequest, f form) error {
	ready := false
	err := c.world.Cloud.Serve(ctx, r, func(i api.CloudInfo) {
		ready = true
		if f.json {
			if err := c.out.document(i); err != nil {
				c.complain(err.Error(), "")
			}
			return
		}
		c.out.cloud(i)
		c.next("in another terminal: leastkey cloud env --for az")
	})
	if ready && ctx.Err() != nil {
		return nil // being told to end is what it waits for
	}
	return err
}

func (p *printer) cloud(i api.CloudInfo) {
	p.styled(bold, "Local cloud %s", i.Instance)
	p.field("login", i.Login)
	p.field("graph", i.Graph)
	p.field("arm", i.ARM)
	names := make([]string, 0, len(i.Vaults))
	for name := range i.Vaults {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p.field("vault", name+" "+i.Vaults[name])
	}
	p.field("tenant", strings.TrimSpace(i.TenantID+" "+i.Domain))
	p.field("subscription", i.Subscription)
	p.field("authority", i.CA)
	p.field("run folder", i.Dir)
	for _, w := range i.Warnings {
		p.item(2, amber, "warning", labels, w)
	}
}

// readKnobs reads a document of knobs; what they mean is the cloud's business.
func readKnobs(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := readFlag("--knobs", path, "name a JSON file")
	if err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, usage("", "--knobs %s is not JSON", path)
	}
	return b, nil
}

// readAuthorities reads certificates; a file without one is a mistake of the command, and not of an issuer that is refused later.
func readAuthorities(paths []string) ([][]byte, error) {
	var all [][]byte
	for _, path := range paths {
		b, err := readFlag("--issuer-ca", path, "name a PEM file of certificates")
		if err != nil {
			return nil, err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(b) {
			return nil, usage("name a PEM file of certificates", "--issuer-ca %s holds no certificate", path)
		}
		all = append(all, b)
	}
	return all, nil
}

// readFlag reads a small file that a flag names.
func readFlag(flag, path, hint string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(hint, "cannot read %s %s: %s", flag, path, reason(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", flag, path, err)
	}
	return b, nil
}

func (c *command) cloudReset() *cobra.Command {
	var state string
	var f form
	cmd := &cobra.Command{
		Use: "reset", Short: "Forget the local cloud, with its record and keys",
		Example: "  leastkey cloud reset",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Cloud == nil {
				return missing("the local cloud")
			}
			gone, err := c.world.Cloud.Reset(ctx, state)
			if err != nil {
				return err
			}
			if f.json {
				return c.out.document(map[string][]string{"removed": list(gone)})
			}
			if len(gone) == 0 {
				c.out.line("Nothing to do: there is no local cloud.")
			}
			for _, path := range gone {
				c.out.line("removed %s", path)
			}
			c.next("leastkey up")
			return nil
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "`FOLDER` of the local cloud (default: LEASTKEY_HOME/local)")
	f.flags(cmd)
	return cmd
}

func (c *command) cloudEnv() *cobra.Command {
	clients, workloads := []string{"az", "go", "js", "python", "curl"}, []string{"go", "js", "python", "curl"}
	var client, resource string
	var f form
	cmd := &cobra.Command{
		Use: "env", Short: "Print what az and the SDKs need to use the running local cloud",
		Long: `Prints shell lines that point a client at the running local cloud and at nothing else. They hold no secret, unless
--resource is given: then a program gets what code on that Azure resource has, a managed-identity endpoint with a header
that is a secret of this local cloud. It gives tokens of the identities that the resource has at that moment.`,
		Example: `  eval "$(leastkey cloud env --for az)"
  eval "$(leastkey cloud env --for go --resource /subscriptions/…/providers/Microsoft.App/containerApps/bot)"`,
		Args: none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if client == "" {
				client = map[bool]string{true: "curl", false: "az"}[resource != ""] // az has no use for a resource's identities
			}
			if !slices.Contains(clients, client) {
				return usage(didYouMean(role.Nearest(client, clients), ""), "--for %q is not one of %s", client, strings.Join(clients, ", "))
			}
			if resource != "" && !slices.Contains(workloads, client) {
				return usage("", "--resource goes with --for %s", strings.Join(workloads, ", "))
			}
			if c.world.Cloud == nil {
				return missing("the local cloud")
			}
			e, err := c.world.Cloud.Env(ctx, client, resource)
			if err != nil {
				return err
			}
			return c.printEnv(e, f)
		}),
	}
	cmd.Flags().StringVar(&client, "for", "", "`CLIENT`: "+strings.Join(clients, ", ")+" (default: az, with --resource curl)")
	cmd.Flags().StringVar(&resource, "resource", "", "with the managed identities of this resource, by its ARM `ID`")
	f.flags(cmd)
	return cmd
}

// printEnv is the one place where the header of a managed-identity endpoint is opened.
func (c *command) printEnv(e api.CloudEnv, f form) error {
	write := func(e api.CloudEnv) error {
		if f.json {
			e.Set = list(e.Set)
			return c.out.document(e)
		}
		return c.out.shell(e)
	}
	if e.Header.Empty() {
		return write(e)
	}
	return e.Header.Use(func(b []byte) error {
		with := e
		with.Set = append(slices.Clip(e.Set), api.EnvVar{Name: "IDENTITY_HEADER", Value: string(b)})
		return write(with)
	})
}

// shell writes lines for eval. They are never wrapped, and a value that a shell or a terminal could take for something else is refused.
func (p *printer) shell(e api.CloudEnv) error {
	var b strings.Builder
	for _, n := range e.Notes {
		b.WriteString("# " + clean(n) + "\n")
	}
	for _, v := range e.Set {
		if !variable(v.Name) || strings.ContainsFunc(v.Value, unicode.IsControl) {
			return fault.New(fault.Refused, "the value of "+v.Name+" cannot be written for a shell", "choose a run folder without such characters in its name")
		}
		b.WriteString("export " + v.Name + "=" + quote(v.Value) + "\n")
	}
	for _, line := range e.Commands {
		if strings.ContainsFunc(line, unicode.IsControl) {
			return fault.New(fault.Refused, "a command cannot be written for a shell", "choose a run folder without such characters in its name")
		}
		b.WriteString(line + "\n")
	}
	p.raw(b.String())
	return nil
}

// variable tells whether the text names an environment variable.
func variable(name string) bool {
	return name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == "" && (name[0] < '0' || name[0] > '9')
}

func (c *command) cloudLog() *cobra.Command {
	var f form
	var follow bool
	cmd := &cobra.Command{
		Use: "log", Short: "Show what the running local cloud was asked",
		Example: "  leastkey cloud log --follow",
		Args:    none,
		RunE: c.run(func(ctx context.Context, _ []string) error {
			if c.world.Cloud == nil {
				return missing("the local cloud")
			}
			err := c.world.Cloud.Log(ctx, follow, func(r api.CloudRequest) error { return c.logLine(r, f) })
			if follow && ctx.Err() != nil {
				return nil // it follows until it is told to end
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with each request as it comes")
	f.flags(cmd)
	return cmd
}

// logLine writes one request; as JSON, one object a line, so that a program can read while it grows.
func (c *command) logLine(r api.CloudRequest, f form) error {
	if f.json {
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		_, err = c.out.Write(append(cleanJSON(b), '\n'))
		return err
	}
	status := fmt.Sprint(r.Status)
	if r.Status == 0 {
		status = "cut"
	}
	plane := r.Plane
	if r.Vault != "" {
		plane += " " + r.Vault
	}
	text := fmt.Sprintf("%-6s %-6s %s %s (%s)", plane, r.Method, status, r.URL, took(int64(r.MS)))
	if r.Fault != "" {
		text += " fault: " + r.Fault
	}
	c.out.item(0, dim, r.At.UTC().Format("15:04:05.000"), 0, text)
	return c.out.err
}
