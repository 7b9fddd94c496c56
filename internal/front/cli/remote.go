package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Remote says which admin server does the work, and where the token for it is.
type Remote struct {
	URL       string
	TokenFile string       // "" is the default one, in the user's configuration folder
	Token     secret.Value // what came through stdin; then no file is read
}

// fromStdin is the name of a token file that means stdin.
const fromStdin = "-"

func (c *command) remoteFlags(f *pflag.FlagSet) {
	f.StringVar(&c.remote.URL, "server", "", "have the admin server at `URL` do it; looking, planning, applying, rotating, revoking and checking work there")
	f.StringVar(&c.remote.TokenFile, "server-token", "", "`FILE` with the token for --server, or - for stdin (default: leastkey/token in the configuration folder)")
}

// served are the commands that work through a server: the others are about this machine, or hand out what is not for a network.
func served() []string {
	return []string{"apply", "ledger", "migrate", "plan", "preflight", "provisioner", "revoke", "roles", "rotate", "state", "status"}
}

// checkRemote refuses what does not go with --server, before anything is done: a flag that were passed over would make somebody think that it
// was heeded.
func (c *command) checkRemote(cmd *cobra.Command) error {
	if c.remote.URL == "" {
		if c.remote.TokenFile != "" {
			return usage("add --server URL", "--server-token is for a server")
		}
		return nil
	}
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	path := strings.TrimPrefix(cmd.CommandPath(), "leastkey ")
	if !slices.Contains(served(), top.Name()) || path == "preflight explain" || path == "provisioner token" {
		return usage("these work through a server: "+strings.Join(served(), ", "), "leastkey %s is about this machine and does not go with --server", path)
	}
	for _, f := range []struct{ name, value string }{
		{"--file", c.target.File}, {"--cloud", c.cloud}, {"--tenant", c.target.Tenant}, {"--subscription", c.target.Subscription},
		{"--operator", c.target.Operator}, {"--keystore", c.target.Keystore}, {"--age-identity", c.target.AgeIdentity},
	} {
		if f.value != "" {
			return usage("the server has its own", "%s does not go with --server", f.name)
		}
	}
	return nil
}

// open opens the door: the server's, where one is named.
func (c *command) open(ctx context.Context, t api.Target) (Door, error) {
	if c.remote.URL == "" {
		if c.world.Open == nil {
			return nil, missing("working with leastkey.yaml")
		}
		return c.world.Open(ctx, t)
	}
	if c.world.Remote == nil {
		return nil, missing("working through a server")
	}
	r := c.remote
	if r.TokenFile == fromStdin {
		line, err := c.in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the token from stdin: %w", err)
		}
		r.Token = secret.New([]byte(strings.TrimSpace(line)))
		if r.Token.Empty() {
			return nil, usage("", "there is no token on stdin")
		}
	}
	return c.world.Remote(ctx, r)
}

// through says which server the work goes through, before where it leads.
func (c *command) through(where string) string {
	if c.remote.URL == "" {
		return where
	}
	return "server " + c.remote.URL + ": " + where
}
