package preflight

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// referred is the answer of a check on one kind of secret that the agent needs: in clear it fails, a reference to the vault passes, and
// without it there is nothing to keep.
func (e agentEnv) referred(check, nothing string, keys ...string) Verdict {
	if v, bad := e.inClear(check); bad {
		return v
	}
	var by []string
	slices.Sort(keys)
	for _, key := range keys {
		if e.refers(key) {
			by = append(by, key)
		}
	}
	if len(by) == 0 {
		return skip("%s", nothing)
	}
	return pass("%s: by reference to the vault", strings.Join(by, ", "))
}

const toVault = "az keyvault secret set puts it into the agent's vault; write @kv:NAME in the file instead, and make a new value: the old one has been on a disk"

// botCreds is the reverse of the original's, which passed when the bot's password stood in the file. The id is no secret.
func botCreds() Check {
	return Check{
		ID: idBot, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Bot Credentials", Question: "is the bot's password nowhere in clear?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			v := e.referred(idBot, "there are no bot credentials", "BOT_APP_PASSWORD", "MicrosoftAppPassword")
			if v.Outcome == finding.Skip && (e.has("BOT_APP_ID") || e.has("MicrosoftAppId")) {
				return pass("the bot's id alone, and no password")
			}
			return v
		}),
	}
}

// noGitHub: the seed's promise is that the runtime has no GitHub token. A reference is one for whoever may read the vault, which the agent
// may, so it fails too. The original's check passed always where it ran.
func noGitHub() Check {
	return Check{
		ID: idGitHub, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "No GitHub Token in Runtime", Question: "can the agent not act on GitHub in its operator's name?",
		Remedy: "take it out of the file and out of the agent's vault, and revoke it on GitHub (Settings, Developer settings)",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			v := inEnvironment(func(e agentEnv) Verdict {
				if v, bad := e.inClear(idGitHub); bad {
					return v
				}
				for _, key := range []string{"GITHUB_TOKEN", "GH_TOKEN", "COPILOT_GITHUB_TOKEN", "GITHUB_PAT"} {
					if e.has(key) {
						return fail("%s gives a value to %s, which the agent can resolve", e.file.Path, key)
					}
				}
				return pass("%s has none", e.file.Path)
			})(ctx, a)
			if v.Err != nil || v.Outcome == finding.Fail || a.Agent.Runtime.UID == 0 {
				return v
			}
			return noGitHubSession(ctx, a, v)
		},
	}
}

// noGitHubSession looks for the session of GitHub's own tools in the home of the agent's account, where this machine has one.
func noGitHubSession(ctx context.Context, a *Ask, v Verdict) Verdict {
	account, known, err := agentAccount(ctx, a)
	if err != nil || !known {
		return orError(v, err)
	}
	for _, path := range []string{"/.config/gh/hosts.yml", "/.git-credentials", "/.copilot/config.json"} {
		f, err := a.run.p.Host.Look(ctx, account.Home+path)
		switch {
		case fault.Is(err, fault.Forbidden):
			return unseen(account)
		case err != nil:
			return failed(err)
		case f.Exists:
			v = fail("the agent's account has a session of GitHub's: %s", f.Path)
			v.Evidence = append(v.Evidence, f.evidence(false))
			return v
		}
	}
	return v
}

func orError(v Verdict, err error) Verdict {
	if err != nil {
		return failed(err)
	}
	return v
}

// adminSecret is the reverse of the original's, which passed when ADMIN_SECRET stood in the file that every container reads. An admin
// token of leastkey's is kept as its hash; ADMIN_SECRET comes to the server in a file or systemd credential, never in an environment
// variable, which every child and every crash report sees.
func adminSecret() Check {
	return Check{
		ID: idAdmin, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "Admin Secret", Question: "is the admin server's secret in no file and no environment in clear?",
		Remedy: "make a new one (leastkey serve token add NAME), or give ADMIN_SECRET to the server as a file of mode 0600 or a systemd credential",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			v := inEnvironment(func(e agentEnv) Verdict {
				return e.referred(idAdmin, "there is no admin secret: admin tokens are kept as hashes", "ADMIN_SECRET")
			})(ctx, a)
			if own := a.run.p.Host.Getenv("ADMIN_SECRET"); v.Err == nil && v.Outcome != finding.Fail && !own.Empty() {
				if _, ref := secret.Reference(own); !ref {
					return fail("ADMIN_SECRET is in the environment of this process").because("environment variable ADMIN_SECRET", "set")
				}
			}
			return v
		},
	}
}

// adminToken: with the admin secret the agent can ask the admin server to spend its operator's session, as in the original, whose two
// containers read one file. A reference is no better here: the agent may read the vault.
func adminToken() Check {
	return Check{
		ID: idAdminToken, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "No Admin Access for the Agent", Question: "can the agent not ask the admin server in its operator's name?",
		Remedy: "take it out of the agent's environment file, and out of its vault; then make a new one",
		Decide: inEnvironment(func(e agentEnv) Verdict {
			var bad []string
			for _, key := range []string{"ADMIN_SECRET", "ADMIN_TOKEN", "LEASTKEY_TOKEN", "LEASTKEY_ADMIN_TOKEN"} {
				if e.has(key) {
					bad = append(bad, key)
				}
			}
			if len(bad) > 0 {
				return fail("%s gives a value to %s", e.file.Path, strings.Join(bad, ", "))
			}
			return pass("%s has none", e.file.Path)
		}),
	}
}

// callbackTokens: the token with which callers prove that a callback is Azure's. Its one right place is the vault, named by the
// agent's file: in clear it can be read there, and within an address it is written into every log on the way.
func callbackTokens() Check {
	return Check{
		ID: idCallback, Category: finding.Secrets, Severity: finding.Medium, Required: true,
		Name: "Callback Token", Question: "is the callback token only where the vault keeps it?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			for _, key := range slices.Sorted(maps.Keys(e.set)) {
				if strings.Contains(strings.ToUpper(key), "CALLBACK") && inAddress(e.set[key]) {
					return fail("%s has a token within the address of %s", e.file.Path, key)
				}
			}
			return e.referred(idCallback, "there is no callback token", "ACS_CALLBACK_TOKEN")
		}),
	}
}

// inAddress tells whether a value is an address that carries a token.
func inAddress(v secret.Value) (yes bool) {
	_ = v.Use(func(b []byte) error { // the function returns nil
		lower := strings.ToLower(string(b))
		_, query, _ := strings.Cut(lower, "?")
		yes = strings.HasPrefix(lower, "http") && (strings.Contains(query, "token=") || strings.Contains(query, "code=") || strings.Contains(query, "secret="))
		return nil
	})
	return yes
}

// acsString is the reverse of the original's, which passed when the connection string stood in the file with its key.
func acsString() Check {
	return Check{
		ID: idACS, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "ACS Connection String", Question: "is the connection string of Communication Services nowhere in clear?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			return e.referred(idACS, "there is no connection string of Communication Services", "ACS_CONNECTION_STRING")
		}),
	}
}

// openAIKey: an endpoint is no secret, and with a role (Cognitive Services OpenAI User) the agent needs no key.
func openAIKey() Check {
	return Check{
		ID: idOpenAI, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Azure OpenAI Configuration", Question: "is no key of Azure OpenAI in clear?", Remedy: toVault + "; better, give the identity Cognitive Services OpenAI User and no key",
		Decide: inEnvironment(func(e agentEnv) Verdict {
			v := e.referred(idOpenAI, "Azure OpenAI is not configured", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY")
			if v.Outcome == finding.Skip && e.has("AZURE_OPENAI_ENDPOINT") {
				return pass("an endpoint, and no key: the identity's role is enough")
			}
			return v
		}),
	}
}

// connectionStrings are those of storage, queues, databases and anything else: each holds a key that lives until somebody changes it.
func connectionStrings() Check {
	return Check{
		ID: idStrings, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Connection Strings", Question: "is every connection string a reference to the vault?", Remedy: toVault,
		Decide: inEnvironment(func(e agentEnv) Verdict {
			var keys []string
			for key := range e.set {
				if strings.HasSuffix(strings.ToUpper(key), "CONNECTION_STRING") && key != "ACS_CONNECTION_STRING" {
					keys = append(keys, key)
				}
			}
			return e.referred(idStrings, "there is no connection string", keys...)
		}),
	}
}
