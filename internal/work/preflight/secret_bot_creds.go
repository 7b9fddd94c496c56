package preflight

import (
	"github.com/leastkey/leastkey/internal/domain/finding"
)

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
