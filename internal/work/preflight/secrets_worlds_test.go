package preflight

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// setting gives a key of the environment file a value.
func setting(key, value string) func(*fake) { return func(f *fake) { f.set[key] = value } }

// line adds one that no reader takes for an assignment, or that a later one takes back.
func line(text string) func(*fake) { return func(f *fake) { f.loose += text + "\n" } }

// unset takes keys out of it.
func unset(keys ...string) func(*fake) {
	return func(f *fake) {
		for _, k := range keys {
			delete(f.set, k)
		}
	}
}

// file changes the facts of one.
func file(path string, change func(*File)) func(*fake) {
	return func(f *fake) {
		at := f.files[path]
		change(&at)
		f.files[path] = at
	}
}

func mode(m fs.FileMode) func(*File) { return func(f *File) { f.Mode = m } }

func noEnvironment(f *fake) { delete(f.files, envAt) }

func windows(f *fake) {
	f.me.UID = -1
	for path, at := range f.files {
		at.UID = -1
		f.files[path] = at
	}
}

func asUID(uid int) func(*fake) { return func(f *fake) { f.subject.Agent.Runtime.UID = uid } }

// broken is a disk that does not read.
func broken() error { return &fault.Error{Code: fault.Refused, Op: "look at it: input/output error"} }

// loose is a value that is a secret wherever it stands.
const loose = "hunter22hunter22"

func secretsWorlds() []world {
	unread := func(check, cause string) world {
		w := world{check, "the environment file cannot be read", finding.Unknown, without("HostEnv"), "", "read it"}
		if cause != "" {
			w.outcome, w.cause = finding.Skip, cause
		}
		return w
	}
	all := []world{
		{idEnvMode, "its owner alone may use it", finding.Pass, nil, "", "mode 0600"},
		{idEnvMode, "others may read it", finding.Fail, file(envAt, mode(0o644)), "", "mode 0644"},
		{idEnvMode, "its group may read it", finding.Fail, file(envAt, mode(0o640)), "", "mode 0640"},
		{idEnvMode, "somebody else owns it", finding.Fail, file(envAt, func(f *File) { f.UID = 4711 }), "", "uid 4711"},
		{idEnvMode, "root owns it", finding.Pass, file(envAt, func(f *File) { f.UID = 0 }), "", ""},
		{idEnvMode, "the agent owns it", finding.Pass, both(asUID(10002), file(envAt, func(f *File) { f.UID = 10002 })), "", ""},
		{idEnvMode, "it is a link to another folder", finding.Fail, file(envAt, func(f *File) { f.Link = "/data/.env" }), "", "/data/.env"},
		{idEnvMode, "it is a link within its folder", finding.Pass, file(envAt, func(f *File) { f.Link = "/srv/bot/real.env" }), "", ""},
		{idEnvMode, "it has a second name", finding.Fail, file(envAt, func(f *File) { f.Names = 2 }), "", "2 names"},
		{idEnvMode, "others may write in its folder", finding.Fail, file("/srv/bot", mode(0o777)), "", "mode 0777"},
		{idEnvMode, "others may write in its folder but not take away what is not theirs", finding.Pass, file("/srv/bot", mode(0o1777)), "", ""},
		{idEnvMode, "somebody else owns its folder", finding.Fail, file("/srv/bot", func(f *File) { f.UID = 4711 }), "", "/srv/bot of uid 4711"},
		{idEnvMode, "the agent owns its folder", finding.Pass, both(asUID(10002), file("/srv/bot", func(f *File) { f.UID = 10002 })), "", ""},
		{idEnvMode, "others may write in a folder further up", finding.Fail, func(f *fake) { f.put("/srv", File{Folder: true, Mode: 0o777}) }, "", "/srv of mode 0777"},
		{idEnvMode, "it is a link by way of a folder in which others may write", finding.Fail, func(f *fake) {
			f.hops = []File{{Path: "/pub", Exists: true, Folder: true, Mode: 0o777, UID: 1000}, {Path: "/pub/hop", Exists: true, UID: 1000, Link: "/srv/bot/real.env"}}
		}, "", "/pub of mode 0777"},
		{idEnvMode, "it is a link by way of somebody else's", finding.Fail, func(f *fake) { f.hops = []File{{Path: "/tmp/hop", Exists: true, UID: 4711, Link: "/srv/bot/real.env"}} }, "", "link /tmp/hop of uid 4711"},
		{idEnvMode, "there is none", finding.Skip, noEnvironment, "", "no environment file"},
		{idEnvMode, "the system has no modes", finding.Skip, windows, "", "access lists"},
		{idEnvMode, "its folder cannot be looked at", finding.Unknown, without("Way " + envAt), "", ""},
		unread(idEnvMode, ""),

		{idEnvContent, "it holds ids and references", finding.Pass, nil, "", ""},
		{idEnvContent, "a password stands in it", finding.Fail, setting("DB_PASSWORD", loose), "", "DB_PASSWORD (a password)"},
		{idEnvContent, "a private key stands in it", finding.Fail, setting("NOTE", "-----BEGIN PRIVATE KEY-----"), "", "NOTE (a private key)"},
		{idEnvContent, "a password stands in a comment", finding.Fail, line("# DB_PASSWORD=" + loose), "", "DB_PASSWORD (a password)"},
		{idEnvContent, "a private key stands in no assignment", finding.Fail, line("-----BEGIN PRIVATE KEY-----"), "", "line 1 (a private key)"},
		{idEnvContent, "what another check tells of is not told twice", finding.Pass, setting("BOT_APP_PASSWORD", loose), "", ""},
		unread(idEnvContent, idEnvMode),

		{idCreds, "ids alone", finding.Pass, nil, "", "RUNTIME_SP_APP_ID"},
		{idCreds, "the password of Polyclaw's runtime", finding.Fail, setting(agent.LegacyPassword, loose), "", agent.LegacyPassword},
		{idCreds, "a reference to that password", finding.Fail, setting(agent.LegacyPassword, "@kv:runtime-sp-password"), "", agent.LegacyPassword},
		{idCreds, "a client secret for the SDKs", finding.Fail, setting("AZURE_CLIENT_SECRET", loose), "", "AZURE_CLIENT_SECRET"},
		{idCreds, "a client secret for the SDKs, in small letters", finding.Fail, setting("azure_client_secret", loose), "", "azure_client_secret"},
		{idCreds, "a client secret for the SDKs, given anew as nothing", finding.Fail, both(setting("AZURE_CLIENT_SECRET", ""), line("Azure_Client_Secret="+loose)), "", "Azure_Client_Secret"},
		{idCreds, "a client secret in a comment", finding.Fail, line("# AZURE_CLIENT_SECRET=" + loose), "", "AZURE_CLIENT_SECRET"},
		{idCreds, "a reference that is given anew later", finding.Fail, line("set AZURE_CLIENT_SECRET=@kv:x"), "", "AZURE_CLIENT_SECRET"},
		{idCreds, "a certificate with its key as text", finding.Fail, setting("ARM_CLIENT_CERTIFICATE", "MIIJ"), "", "ARM_CLIENT_CERTIFICATE"},
		{idCreds, "a certificate with its key in a file, for Terraform", finding.Fail, setting("arm_client_certificate_path", "/srv/bot/key.pfx"), "", "private key in a file"},
		{idCreds, "a certificate with its key in a file", finding.Fail, setting("AZURE_CLIENT_CERTIFICATE_PATH", "/srv/bot/key.pem"), "", "private key in a file"},
		{idCreds, "it names no identity", finding.Skip, unset("RUNTIME_SP_APP_ID", "AZURE_CLIENT_ID", "ACA_MI_CLIENT_ID"), "", ""},
		unread(idCreds, idEnvMode),

		{idGitHub, "there is no token", finding.Pass, nil, "", ""},
		{idGitHub, "a token stands in the file", finding.Fail, setting("GITHUB_TOKEN", loose), "", "GITHUB_TOKEN"},
		{idGitHub, "a token under another name", finding.Fail, setting("WHATEVER", "gh"+"p_"+strings.Repeat("a", 36)), "", "WHATEVER"},
		{idGitHub, "a reference to a token", finding.Fail, setting("GITHUB_TOKEN", "@kv:github-token"), "", "can resolve"},
		{idGitHub, "a reference in small letters", finding.Fail, setting("github_token", "@kv:x"), "", "github_token"},
		{idGitHub, "a reference for a server of one's own", finding.Fail, setting("GITHUB_ENTERPRISE_TOKEN", "@kv:x"), "", "GITHUB_ENTERPRISE_TOKEN"},
		{idGitHub, "a reference to a token under another name", finding.Fail, setting("WHATEVER", "@kv:github-token"), "", "WHATEVER"},
		{idGitHub, "a token in a comment", finding.Fail, line("# GITHUB_TOKEN=" + loose), "", "GITHUB_TOKEN"},
		{idGitHub, "the agent's account has a session", finding.Fail, both(asUID(10002), func(f *fake) { f.put("/home/bot/.config/gh/hosts.yml", File{Mode: 0o600}) }), "", "hosts.yml"},
		{idGitHub, "the agent's account has none", finding.Pass, asUID(10002), "", ""},
		{idGitHub, "the agent's account cannot be looked up", finding.Unknown, both(asUID(10002), without("Account")), "", ""},
		{idGitHub, "the agent's home is closed to the operator", finding.Warn, both(asUID(10002), without("Look /home/bot/.git-credentials")), "", "closed to you"},
		{idGitHub, "the agent's home cannot be read", finding.Unknown, both(asUID(10002), failing("Look /home/bot/.git-credentials", broken())), "", ""},
		unread(idGitHub, idEnvMode),

		{idBot, "the password is a reference", finding.Pass, nil, "", "by reference"},
		{idBot, "the password stands in the file", finding.Fail, setting("BOT_APP_PASSWORD", loose), "", "BOT_APP_PASSWORD"},
		{idBot, "only the id", finding.Pass, unset("BOT_APP_PASSWORD"), "", "id alone"},
		{idBot, "neither", finding.Skip, unset("BOT_APP_PASSWORD", "BOT_APP_ID"), "", ""},
		unread(idBot, idEnvMode),

		{idAdmin, "it is a reference", finding.Pass, setting("ADMIN_SECRET", "@kv:admin-secret"), "", "by reference"},
		{idAdmin, "there is none", finding.Skip, nil, "", "hashes"},
		{idAdmin, "it stands in the file", finding.Fail, setting("ADMIN_SECRET", loose), "", "ADMIN_SECRET"},
		{idAdmin, "it is in the environment of this process", finding.Fail, func(f *fake) { f.process["ADMIN_SECRET"] = loose }, "", "this process"},
		{idAdmin, "a reference is in the environment of this process", finding.Skip, func(f *fake) { f.process["ADMIN_SECRET"] = "@kv:admin-secret" }, "", ""},
		{idAdmin, "it is in the environment of this process, and there is no file", finding.Fail, both(noEnvironment, func(f *fake) { f.process["ADMIN_SECRET"] = loose }), "", "this process"},
		unread(idAdmin, idEnvMode),

		{idAdminToken, "the agent has none", finding.Pass, nil, "", ""},
		{idAdminToken, "the agent has the admin secret", finding.Fail, setting("ADMIN_SECRET", loose), "", "ADMIN_SECRET"},
		{idAdminToken, "the agent can resolve the admin secret", finding.Fail, setting("ADMIN_SECRET", "@kv:admin-secret"), "", "ADMIN_SECRET"},
		{idAdminToken, "the agent can resolve it in small letters", finding.Fail, setting("admin_secret", "@kv:x"), "", "admin_secret"},
		{idAdminToken, "the agent can resolve it under another name", finding.Fail, setting("WHATEVER", "@kv:admin-secret"), "", "WHATEVER"},
		{idAdminToken, "the agent has an admin token", finding.Fail, setting("LEASTKEY_TOKEN", loose), "", "LEASTKEY_TOKEN"},
		unread(idAdminToken, idEnvMode),

		{idCallback, "it is a reference", finding.Pass, nil, "", "by reference"},
		{idCallback, "it stands in the file", finding.Fail, setting("ACS_CALLBACK_TOKEN", loose), "", "ACS_CALLBACK_TOKEN"},
		{idCallback, "it is within an address", finding.Fail, setting("ACS_CALLBACK_URL", "https://bot.example/acs?token="+loose), "", "ACS_CALLBACK_URL"},
		{idCallback, "there is none", finding.Skip, unset("ACS_CALLBACK_TOKEN"), "", ""},
		unread(idCallback, idEnvMode),

		{idACS, "it is a reference", finding.Pass, nil, "", "by reference"},
		{idACS, "it stands in the file", finding.Fail, setting("ACS_CONNECTION_STRING", "endpoint=https://acs.example/;access"+"key="+loose), "", "ACS_CONNECTION_STRING"},
		{idACS, "there is none", finding.Skip, unset("ACS_CONNECTION_STRING"), "", ""},
		unread(idACS, idEnvMode),

		{idOpenAI, "the key is a reference", finding.Pass, nil, "", "by reference"},
		{idOpenAI, "the key stands in the file", finding.Fail, setting("AZURE_OPENAI_API_KEY", loose), "", "AZURE_OPENAI_API_KEY"},
		{idOpenAI, "an endpoint without a key", finding.Pass, both(unset("AZURE_OPENAI_API_KEY"), setting("AZURE_OPENAI_ENDPOINT", "https://aoai.example/")), "", "no key"},
		{idOpenAI, "neither", finding.Skip, unset("AZURE_OPENAI_API_KEY"), "", ""},
		unread(idOpenAI, idEnvMode),

		{idStrings, "each is a reference", finding.Pass, nil, "", "AZURE_STORAGE_CONNECTION_STRING"},
		{idStrings, "one stands in the file", finding.Fail, setting("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;Account"+"Key="+loose+loose), "", "AZURE_STORAGE_CONNECTION_STRING"},
		{idStrings, "an address with its password", finding.Fail, setting("DATABASE_URL", "postgres://bot:"+loose+"@db.example/bot"), "", "DATABASE_URL"},
		{idStrings, "there is none", finding.Skip, unset("AZURE_STORAGE_CONNECTION_STRING"), "", ""},
		unread(idStrings, idEnvMode),
	}
	return append(append(all, homesWorlds()...), vaultWorlds()...)
}

func homesWorlds() []world {
	return []world{
		{idCLI, "the tokens are the operator's alone", finding.Pass, nil, "", ""},
		{idCLI, "others can open the tokens", finding.Fail, file(cacheAt, mode(0o644)), "", "mode 0644"},
		{idCLI, "others could, but cannot pass the folder", finding.Pass, both(file(cacheAt, mode(0o644)), file(homeAt+"/.azure", mode(0o700))), "", ""},
		{idCLI, "others could, but cannot pass the home", finding.Pass, both(file(cacheAt, mode(0o644)), file(homeAt, mode(0o700))), "", ""},
		{idCLI, "somebody else owns the tokens", finding.Fail, file(cacheAt, func(f *File) { f.UID = 4711 }), "", "uid 4711"},
		{idCLI, "the CLI keeps a service principal's secret", finding.Warn, func(f *fake) { f.put(homeAt+"/.azure/service_principal_entries.json", File{Mode: 0o600, Size: 300}) }, "", "in clear"},
		{idCLI, "the CLI keeps no service principal", finding.Pass, func(f *fake) { f.put(homeAt+"/.azure/service_principal_entries.json", File{Mode: 0o600, Size: 2}) }, "", ""},
		{idCLI, "there is no session", finding.Skip, func(f *fake) { delete(f.files, homeAt+"/.azure") }, "", "no Azure CLI session"},
		{idCLI, "nothing says where the home is", finding.Skip, func(f *fake) { f.me.Home, f.me.Azure = "", "" }, "", "HOME"},
		{idCLI, "the system has no modes", finding.Skip, windows, "", "access lists"},
		{idCLI, "the folder cannot be looked at", finding.Unknown, without("Look " + homeAt + "/.azure"), "", ""},
		{idCLI, "the tokens cannot be looked at", finding.Unknown, without("Look " + cacheAt), "", ""},
		{idCLI, "nobody can say who this is", finding.Skip, without("Me"), idHomes, ""},

		{idEnvMode, "nobody can say who this is", finding.Skip, without("Me"), idHomes, ""},
		{idHomes, "the environment file cannot be read", finding.Skip, without("HostEnv"), idEnvMode, ""},
		{idHomes, "account and home of its own", finding.Pass, asUID(10002), "", "uid 10002 with home /home/bot"},
		{idHomes, "an account of another machine or container", finding.Pass, asUID(10003), "", "nobody on this machine"},
		{idHomes, "it runs as the operator", finding.Fail, asUID(1000), "", "the operator"},
		{idHomes, "it has the operator's home", finding.Fail, both(asUID(10002), func(f *fake) { f.accounts[10002] = Account{UID: 10002, Home: homeAt + "/"} }), "", "operator's home"},
		{idHomes, "somebody is logged in as it", finding.Fail, both(asUID(10002), func(f *fake) { f.put("/home/bot/.azure/msal_token_cache.json", File{Mode: 0o600}) }), "", "logged in"},
		{idHomes, "its environment says the operator's home", finding.Fail, setting("HOME", homeAt), "", "HOME"},
		{idHomes, "its environment says the operator's session", finding.Fail, setting("AZURE_CONFIG_DIR", homeAt+"/.azure"), "", "AZURE_CONFIG_DIR"},
		{idHomes, "its environment says a link to the operator's home", finding.Fail, both(setting("HOME", "/srv/h"), func(f *fake) { f.put("/srv/h", File{ID: homeAt}) }), "", "HOME"},
		{idHomes, "its environment says a home with a link to the operator's session", finding.Fail, both(setting("HOME", "/srv/h"), func(f *fake) { f.put("/srv/h/.azure", File{ID: homeAt + "/.azure"}) }), "", "HOME"},
		{idHomes, "its environment says a session that a shell completes", finding.Fail, setting("AZURE_CONFIG_DIR", "$HOME/.azure"), "", "AZURE_CONFIG_DIR"},
		{idHomes, "its environment says a session below whoever's home", finding.Fail, setting("azure_config_dir", "~/.azure"), "", "azure_config_dir"},
		{idHomes, "its environment says a home of its own", finding.Pass, both(asUID(10002), setting("HOME", "/home/bot")), "", ""},
		{idHomes, "the home that its environment says is closed to the operator", finding.Pass, both(asUID(10002), setting("HOME", "/home/bot"), without("Look /home/bot")), "", ""},
		{idHomes, "the home that its environment says cannot be read", finding.Unknown, both(setting("HOME", "/home/bot"), failing("Look /home/bot", broken())), "", ""},
		{idHomes, "its account's home is a link to the operator's", finding.Fail, both(asUID(10002), func(f *fake) { f.put("/home/bot", File{ID: homeAt}) }), "", "operator's home"},
		{idHomes, "its account's session is a link to the operator's", finding.Fail, both(asUID(10002), func(f *fake) { f.put("/home/bot/.azure", File{ID: homeAt + "/.azure"}) }), "", "Azure CLI folder"},
		{idHomes, "nothing says as whom it runs", finding.Skip, nil, "", "runtime.uid"},
		{idHomes, "the system has no uids", finding.Skip, windows, "", "no uids"},
		{idHomes, "nobody can say who this is", finding.Unknown, without("Me"), "", ""},
		{idHomes, "its account cannot be looked up", finding.Unknown, both(asUID(10002), without("Account")), "", ""},
		{idHomes, "its home is closed to the operator", finding.Warn, both(asUID(10002), without("Look /home/bot/.azure/msal_token_cache.json")), "", "closed to you"},
		{idHomes, "its home cannot be read", finding.Unknown, both(asUID(10002), failing("Look /home/bot/.azure/msal_token_cache.json", broken())), "", ""},

		{idStateFiles, "each is its owner's alone", finding.Pass, nil, "", "3 files"},
		{idStateFiles, "others may read the record", finding.Fail, file(dbAt, mode(0o644)), "", "mode 0644"},
		{idStateFiles, "others may write in the folder", finding.Fail, file("/home/op/.local/state/leastkey", mode(0o770)), "", "mode 0770"},
		{idStateFiles, "others may list the folder", finding.Warn, file("/home/op/.local/state/leastkey", mode(0o755)), "", "mode 0755"},
		{idStateFiles, "somebody else owns the record", finding.Fail, file(dbAt, func(f *File) { f.UID = 4711 }), "", "uid 4711"},
		{idStateFiles, "others may read the Provisioner's state file", finding.Fail, file(stateAt, mode(0o644)), "", stateAt},
		{idStateFiles, "the Provisioner's state file has its secret", finding.Fail, func(f *fake) { f.given = []Given{{"PROVISIONER_CLIENT_SECRET", "a secret"}} }, "", "PROVISIONER_CLIENT_SECRET (a secret)"},
		{idStateFiles, "a key lies in the record", finding.Fail, func(f *fake) { f.marked[dbAt] = "a private key" }, "", "a private key"},
		{idStateFiles, "there is no state file of the Provisioner's", finding.Pass, func(f *fake) { delete(f.files, stateAt) }, "", "2 files"},
		{idStateFiles, "others may write in a folder above the record", finding.Fail, func(f *fake) { f.put("/home/op/.local", File{Folder: true, Mode: 0o777}) }, "", "/home/op/.local of mode 0777"},
		{idStateFiles, "somebody else owns a folder above the record", finding.Fail, func(f *fake) { f.put("/home/op/.local", File{Folder: true, Mode: 0o755, UID: 4711}) }, "", "uid 4711"},
		{idStateFiles, "the folders above the record cannot be looked at", finding.Unknown, without("Way " + dbAt), "", ""},
		{idStateFiles, "the folder cannot be read", finding.Unknown, without("Kept"), "", ""},
		{idStateFiles, "the record cannot be searched", finding.Unknown, without("Marked"), "", ""},
		{idStateFiles, "the state file cannot be read", finding.Unknown, without("Given"), "", ""},
		{idStateFiles, "the state file cannot be looked at", finding.Unknown, without("Look .entraclaw-state.json"), "", ""},
		{idStateFiles, "nobody can say who this is", finding.Skip, without("Me"), idHomes, ""},

		{idLedger, "the chain holds", finding.Pass, nil, "", "3 entries"},
		{idLedger, "an entry was changed", finding.Fail, func(f *fake) { f.ledger.Intact, f.ledger.Broken = false, 2 }, "", "entry 2"},
		{idLedger, "every entry was deleted", finding.Fail, func(f *fake) { f.ledger.Entries = 0 }, "", "empty"},
		{idLedger, "its end was cut off", finding.Fail, func(f *fake) { f.ledger.Lost = []string{"run-7"} }, "", "run-7"},
		{idLedger, "its guards were removed", finding.Fail, func(f *fake) { f.ledger.Unguarded = []string{"ledger_only_grows"} }, "", "ledger_only_grows"},
		{idLedger, "it cannot be read", finding.Unknown, without("Ledger"), "", ""},
	}
}

func vaultWorlds() []world {
	refusal := func(code fault.Code, service string) func(*fake) {
		return failing("SecretNames", &fault.Error{Code: code, Op: "list the secrets", Service: service, Hint: "somebody has to do something"})
	}
	noVault := func(f *fake) { f.subject.Agent.KeyVault = "" }
	return []world{
		{idVault, "the identity lists them", finding.Pass, nil, "", "5 secrets"},
		{idVault, "the vault is empty", finding.Pass, func(f *fake) { f.names = nil }, "", "0 secrets"},
		{idVault, "the identity has no role there", finding.Fail, refusal(fault.Forbidden, "ForbiddenByRbac"), "", "ForbiddenByRbac"},
		{idVault, "a firewall keeps it out", finding.Fail, refusal(fault.Forbidden, "ForbiddenByConnection"), "", "ForbiddenByConnection"},
		{idVault, "the data plane knows no such vault", finding.Fail, refusal(fault.NotFound, "VaultNotFound"), "", "VaultNotFound"},
		{idVault, "there is no such vault", finding.Fail, func(f *fake) { f.fakeRBAC.vault = nil }, "", "does not exist"},
		{idVault, "nobody answers", finding.Unknown, refusal(fault.Unavailable, ""), "", ""},
		{idVault, "something that is no vault answers", finding.Unknown, refusal(fault.Unknown, ""), "", ""},
		{idVault, "the login service gives no token for vaults", finding.Unknown, refusal(fault.Unauthenticated, "AADSTS500011"), "", "AADSTS500011"},
		{idVault, "the identity cannot log in at all", finding.Skip, both(refusal(fault.Unauthenticated, "AADSTS700027"), without("Login")), "identity_login", ""},
		{idVault, "its address cannot be read", finding.Skip, without("Vault"), "rbac_vault_mode", ""},
		{idVault, "nothing is recorded", finding.Skip, func(f *fake) { f.subject.Record = agent.Record{Agent: "bot"} }, "identity_configured", ""},
		{idVault, "no key is recorded", finding.Skip, func(f *fake) { f.subject.Record.Generations = nil }, "identity_configured", ""},
		{idVault, "the spec names no vault", finding.Skip, noVault, "", "no key_vault"},
		{idVault, "a managed identity", finding.Skip, func(f *fake) { f.subject.Agent.Kind = agent.ManagedIdentity }, "", "resource"},

		{idReferences, "each is there", finding.Pass, nil, "", "all 5"},
		{idReferences, "one is not", finding.Fail, setting("BOT_APP_PASSWORD", "@kv:lost"), "", "BOT_APP_PASSWORD → lost"},
		{idReferences, "there are none", finding.Skip, unset("BOT_APP_PASSWORD", "ACS_CONNECTION_STRING", "ACS_CALLBACK_TOKEN", "AZURE_OPENAI_API_KEY", "AZURE_STORAGE_CONNECTION_STRING"), "", ""},
		{idReferences, "the vault cannot be asked", finding.Skip, without("SecretNames"), idVault, ""},
		{idReferences, "the environment file cannot be read", finding.Skip, without("HostEnv"), idEnvMode, ""},
		{idReferences, "the spec names no vault", finding.Skip, noVault, "", "no key_vault"},
	}
}

// Whatever the checks say, no value is in it: of any key, in any world.
func TestNoFindingShowsAValue(t *testing.T) {
	f := healthy(t)
	for _, key := range []string{"RUNTIME_SP_PASSWORD", "AZURE_CLIENT_SECRET", "BOT_APP_PASSWORD", "GITHUB_TOKEN", "ADMIN_SECRET", "ACS_CALLBACK_TOKEN", "ACS_CONNECTION_STRING", "AZURE_OPENAI_API_KEY", "STORAGE_CONNECTION_STRING", "DB_PASSWORD"} {
		f.set[key] = loose
	}
	f.set["ACS_CALLBACK_URL"] = "https://bot.example/acs?token=" + loose
	f.process["ADMIN_SECRET"] = loose
	failed := 0
	for _, c := range secretsChecks() {
		got := f.check(t, c.ID)
		if text := fmt.Sprintf("%+v", got); strings.Contains(text, loose) {
			t.Errorf("%s shows a value: %s", c.ID, text)
		}
		for _, e := range got.Evidence {
			if e.Digest == "digest" {
				t.Errorf("%s shows the digest of a file with secrets in it", c.ID)
			}
		}
		if got.Outcome == finding.Fail {
			failed++
		}
	}
	if failed < 9 {
		t.Errorf("only %d checks fail", failed)
	}
}

// Every kind of secret is told of by exactly one check.
func TestEachSecretIsToldOnce(t *testing.T) {
	for _, key := range []string{"BOT_APP_PASSWORD", "GITHUB_TOKEN", "ACS_CALLBACK_TOKEN", "ACS_CONNECTION_STRING", "AZURE_OPENAI_API_KEY", "STORAGE_CONNECTION_STRING", "DB_PASSWORD", "AZURE_CLIENT_SECRET"} {
		find, _ := secret.Judge(key, secret.New([]byte(loose)), nil)
		by := tells(find)
		fresh := healthy(t)
		fresh.set[key] = loose
		var failing []string
		for _, c := range secretsChecks() {
			if fresh.check(t, c.ID).Outcome == finding.Fail {
				failing = append(failing, c.ID)
			}
		}
		if len(failing) != 1 || failing[0] != by {
			t.Errorf("%s is told by %v, want %s", key, failing, by)
		}
	}
}

// No find is lost between the checks: whatever it is, and however its key is spelled, the one that is to tell of it fails and names it.
func TestNoFindIsLost(t *testing.T) {
	f := healthy(t)
	kinds := map[string]bool{}
	for _, name := range append(loginKeys(), "GITHUB_TOKEN", "GH_TOKEN", "COPILOT_TOKEN", "MY_GITHUB_PAT", "BOT_APP_PASSWORD", "BOT_SECRET", "MicrosoftAppPassword", "ADMIN_SECRET", "ADMIN_PASSWORD", "LEASTKEY_TOKEN", "X_ADMIN_TOKEN",
		"ACS_CALLBACK_TOKEN", "CALLBACK_SECRET", "ACS_CONNECTION_STRING", "acsConnectionString", "AZURE_OPENAI_KEY", "OPENAI_API_KEY", "STORAGE_CONNECTION_STRING", "STORAGE_KEY", "DB_PASS", "AZURE_SEARCH_ADMIN_KEY", "ARM_ACCESS_KEY", "NOTE", "") {
		for _, key := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "_", "-")} {
			for _, value := range []string{loose, "0123456789012", "/k3yAbcd/EFGH0123", "gh" + "p_" + strings.Repeat("a", 36), "postgres://u:" + loose + "@h/db", "AccountKey=" + loose + loose, "https://h/?token=" + loose, "https://h/?sig=" + loose + loose, "MIIJqQIBAzCC"} {
				find, ok := secret.Judge(key, secret.New([]byte(value)), nil)
				if !ok {
					continue
				}
				find.Line = 7
				e := agentEnv{file: File{Path: envAt, Exists: true}, set: map[string]secret.Value{}, found: []told{{find, tells(find)}}}
				kinds[tells(find)] = true
				for _, spelling := range []string{"set", "unset"} {
					if spelling == "set" {
						e.set[key] = secret.New([]byte(value))
					} else {
						delete(e.set, key)
					}
					if !f.tellsOf(t, e, key) {
						t.Errorf("%s=%s (%s) is told by %s, which does not fail", key, value, spelling, tells(find))
					}
				}
			}
		}
	}
	if len(kinds) < 8 {
		t.Errorf("only %d checks were to tell: %v", len(kinds), kinds)
	}
}

// tellsOf asks the check that is to tell of a find, and is true where it fails and names the key.
func (f *fake) tellsOf(t *testing.T, e agentEnv, key string) bool {
	t.Helper()
	r := newRun(t.Context(), f.preflight(), f.subject)
	r.environment.read = func(context.Context, *Ask) (agentEnv, error) { return e, nil }
	for _, c := range secretsChecks() {
		if c.ID == e.found[0].by {
			got := r.answer(t.Context(), c)
			return got.Outcome == finding.Fail && strings.Contains(got.Detail, key)
		}
	}
	return false
}
