package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

type migrateOptions struct {
	form
	agent   string
	prepare bool
	envFile string
	dryRun  bool
	yes     bool
	digest  string
}

func (c *command) migrate() *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use: "migrate [AGENT] --prepare", Short: "Give an agent that runs on a client secret its certificate beside it",
		Long: `For an agent of Polyclaw's, whose client secret is RUNTIME_SP_PASSWORD of an environment file. Its application is the one that
RUNTIME_SP_APP_ID of that file names, in the tenant of RUNTIME_SP_TENANT, and never one of a display name; if it is not
recorded yet, its owners and credentials are shown and the same approval adopts it. A key is made, its certificate is
registered beside every other credential and proved by three logins, and the environment file learns the ids.

Nothing is removed: a running container still logs in with the secret, and its line stays in the file. So the command ends
with 3 and the finding legacy-password as long as a password is there, and with 0 only once none is: certificate and
password side by side are never a success. Removing the passwords comes with the broker, in a later version, after whatever
uses them has fetched a token the new way. Without --prepare nothing is done. Roles are left to leastkey apply.`,
		Example: "  leastkey migrate polyclaw-runtime --prepare --dry-run\n  leastkey migrate polyclaw-runtime --prepare --env-file /data/.env --yes",
		Args:    atMostOne,
		RunE: c.run(func(ctx context.Context, args []string) error {
			o.agent = first(args)
			return c.runMigrate(ctx, o)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.prepare, "prepare", false, "register and prove the certificate, and remove nothing")
	f.StringVar(&o.envFile, "env-file", "", "environment `FILE` that holds the secret (default: env_file of leastkey.yaml)")
	f.BoolVar(&o.dryRun, "dry-run", false, "show the plan and change nothing")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.StringVar(&o.digest, "digest", "", "carry out only the plan of this digest, in at least 12 `HEX` digits")
	o.flags(cmd)
	return cmd
}

func (c *command) runMigrate(ctx context.Context, o migrateOptions) error {
	if !o.prepare {
		return usage("add --prepare: it registers and proves the certificate, and removes nothing",
			"a running container still logs in with the secret, so migrate cannot remove it: that comes with the broker, in a later version")
	}
	if err := checkPin(o.digest, agent.Migrate.Shows(o.agent)); err != nil {
		return err
	}
	req := api.ApplyRequest{PlanRequest: api.PlanRequest{Agent: o.agent, Verb: agent.Migrate, EnvFile: o.envFile}, Digest: o.digest, DryRun: o.dryRun}
	return c.door(ctx, c.target, false, func(d Door) error {
		rep, err := c.carryOut(ctx, d.Migrate, req, approval{yes: o.yes, pin: o.digest})
		if err != nil {
			return c.unfinished(rep, o.form, err)
		}
		if rep.Plan != nil && !o.json {
			c.preparation(rep, o)
			return end(api.FindingsExit(rep.Findings))
		}
		if err := c.answer(rep, o.form); err != nil {
			return err
		}
		if !o.json {
			c.next("leastkey plan %s%s   (roles, and what else the spec asks for)", rep.Agent, c.same())
		}
		return end(api.FindingsExit(rep.Findings))
	})
}

// preparation shows the plan of a dry run, and the command that carries out exactly this one.
func (c *command) preparation(rep api.Report, o migrateOptions) {
	ans := api.PlanAnswer{Plan: *rep.Plan, Digest: rep.Digest, Adopts: rep.Adopts}
	if ans.Adopts != nil {
		c.out.application(*ans.Adopts)
	}
	c.out.plan(ans)
	if ans.Plan.Empty() {
		c.next("leastkey status %s%s", rep.Agent, c.same())
		return
	}
	file := ""
	if o.envFile != "" {
		file = " --env-file " + quote(o.envFile)
	}
	c.next("leastkey migrate %s --prepare%s --digest %s%s", rep.Agent, file, api.ShortDigest(rep.Digest), c.same())
}
