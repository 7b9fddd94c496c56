package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// command is one invocation.
type command struct {
	world   World
	streams Streams
	target  api.Target
	cloud   string // --cloud as written
	remote  Remote
	in      *bufio.Reader
	out     *printer // the answer
	err     *printer // the story
	running bool     // the command line was understood; errors before that are usage errors
	brief   bool     // any failure is one line and exit code 1
}

// Run carries out one command line, without the program's name, and gives the exit code. Nothing in it ends the process.
func Run(ctx context.Context, args []string, s Streams, w World) int {
	c := &command{
		world: w, streams: s, in: bufio.NewReader(s.In),
		out: &printer{w: s.Out, width: s.Width, color: s.Color},
		err: &printer{w: s.Err, width: s.ErrWidth, color: s.Color},
	}
	root := c.root()
	if args == nil {
		args = []string{} // cobra takes nil for os.Args
	}
	cmd, rest, err := root.Find(args)
	if err != nil && !completes(args) {
		return c.exit(ctx, unknown(root, firstWord(root, rest)))
	}
	c.brief = err == nil && cmd.Annotations[inOneLine] != ""
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	var code ended
	var wrong *usageError
	if err != nil && !c.running && !errors.As(err, &code) && !errors.As(err, &wrong) {
		err = usage("leastkey --help shows how", "%s", err)
	}
	return c.exit(ctx, err)
}

// inOneLine marks a command for scripts: they have one failure to deal with, whatever its cause, and one line of a log to show for it.
const inOneLine = "in one line"

// completes tells whether a completion script asks: cobra adds the command that answers it only when it executes.
func completes(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

const about = `Leastkey gives each AI agent on Azure an identity of its own: no secret anywhere, the least privilege
that works, and evidence for both.

Begin with "leastkey up": it does the whole job on a local cloud, without an Azure account.

Exit codes: 0 done; 1 failed; 2 usage; 3 findings that fail; 4 stopped midway, run it again;
5 changes pending (plan --exit-code); 130 interrupted with nothing pending.`

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use: "leastkey", Short: "Identities without secrets for AI agents on Azure", Long: about,
		SilenceErrors: true, SilenceUsage: true, DisableSuggestions: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.global(); err != nil {
				return err
			}
			return c.checkRemote(cmd)
		},
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVarP(&c.target.File, "file", "f", "", "path of `leastkey.yaml` (default: the one in the working directory)")
	f.StringVar(&c.cloud, "cloud", "", "`CLOUD` to work on: local, public, usgov or china (default: as the yaml says)")
	f.StringVar(&c.target.Tenant, "tenant", "", "`TENANT`, its GUID or a domain name (default: as the yaml says)")
	f.StringVar(&c.target.Subscription, "subscription", "", "`SUBSCRIPTION`, its GUID (default: as the yaml says)")
	f.StringVar(&c.target.Operator, "operator", "", "`WHOSE` session acts: az, azd, device-code, workload or managed-identity; none, for a rotation")
	f.StringVar(&c.target.Keystore, "keystore", "", "`WHERE` keys live: auto, keychain or age:PATH")
	f.StringVar(&c.target.AgeIdentity, "age-identity", "", "`FILE` with the age identity that opens an age keystore")
	c.remoteFlags(f)

	root.AddGroup(&cobra.Group{ID: "job", Title: "The job:"}, &cobra.Group{ID: "see", Title: "Looking:"},
		&cobra.Group{ID: "provisioner", Title: "Agent ID:"}, &cobra.Group{ID: "local", Title: "The local cloud:"})
	group := func(id string, all ...*cobra.Command) {
		for _, sub := range all {
			sub.GroupID = id
			root.AddCommand(sub)
		}
	}
	group("job", c.up(), c.initialise(), c.login(), c.plan(), c.apply(), c.adopt(), c.migrate(), c.rotate(), c.revoke(), c.serve())
	group("see", c.doctor(), c.status(), c.preflight(), c.roles(), c.token(), c.ledger(), c.state())
	group("provisioner", c.provisioner())
	group("local", c.localCloud())
	root.AddCommand(c.completion(), c.version())
	root.SetHelpCommand(c.help(root))
	root.InitDefaultHelpCmd() // now, because Run looks a command up before it executes
	return root
}

// global checks what every command shares.
func (c *command) global() error {
	c.target.Cloud = agent.Cloud(c.cloud)
	clouds := []string{string(agent.Local), string(agent.Public), string(agent.USGov), string(agent.China)}
	if c.cloud != "" && !slices.Contains(clouds, c.cloud) {
		return usage(didYouMean(role.Nearest(c.cloud, clouds), ""), "--cloud %q is not one of %s", c.cloud, strings.Join(clouds, ", "))
	}
	return nil
}

// run marks where the command line has been understood and the work begins.
func (c *command) run(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.running = true
		return work(cmd.Context(), args)
	}
}

// door opens the target's door for the length of f and says on stderr where it leads, unless quiet.
func (c *command) door(ctx context.Context, t api.Target, quiet bool, f func(Door) error) (err error) {
	d, err := c.open(ctx, t)
	if err != nil {
		return err
	}
	defer func() {
		if closing := d.Close(); closing != nil && err == nil {
			err = closing
		}
	}()
	if !quiet {
		c.err.styled(dim, "%s", c.through(where(d.Target())))
	}
	return f(d)
}

// where says what a command works on: the cloud first, so that nobody takes one for the other.
func where(r api.Resolved) string {
	s := fmt.Sprintf("%s cloud, tenant %s, subscription %s", r.Cloud, orDash(r.TenantID), orDash(r.Subscription))
	if r.Tenant != "" && r.Tenant != r.TenantID {
		s = fmt.Sprintf("%s cloud, tenant %s (%s), subscription %s", r.Cloud, orDash(r.TenantID), r.Tenant, orDash(r.Subscription))
	}
	if r.File != "" {
		s += ", from " + r.File
	}
	return s
}

// next names the command that usually comes next.
func (c *command) next(format string, a ...any) {
	c.err.item(0, dim, "next:", 0, fmt.Sprintf(format, a...))
}

// same repeats the flags that a next command needs to find the same target.
func (c *command) same() string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{
		{"-f", c.target.File}, {"--cloud", c.cloud}, {"--tenant", c.target.Tenant}, {"--subscription", c.target.Subscription},
		{"--operator", c.target.Operator}, {"--keystore", c.target.Keystore}, {"--age-identity", c.target.AgeIdentity},
		{"--server", c.remote.URL}, {"--server-token", c.remote.TokenFile},
	} {
		if f.value != "" {
			b.WriteString(" " + f.name + " " + quote(f.value))
		}
	}
	return b.String()
}

// atMostOne is the argument check of commands that take an agent.
func atMostOne(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage("name one agent", "%s", plural(len(args), "argument", "arguments")+" given, at most one is possible")
	}
	return nil
}

func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("", "unexpected argument %q", args[0])
	}
	return nil
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
