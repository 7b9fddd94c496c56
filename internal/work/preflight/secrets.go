package preflight

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Host is the machine that the preflight runs on: its files, its accounts, the environment of this process. A path that is not absolute lies
// beside leastkey.yaml. What cannot be looked at is an error; what is not there is not.
type Host interface {
	// Look tells the facts of a file or folder, of what a link leads to where it is one.
	Look(ctx context.Context, path string) (File, error)
	// Env reads an environment file. Values are what a reader gets, without quotes.
	Env(ctx context.Context, path string) (File, map[string]secret.Value, error)
	// Kept are the folder of the record and everything in it.
	Kept(ctx context.Context) ([]File, error)
	// Given are the keys of a state file whose values look like secrets; Marked is what any file holds of a secret with a mark, "" if nothing.
	Given(ctx context.Context, path string) ([]Given, error)
	Marked(ctx context.Context, path string) (kind string, err error)
	// Me is who runs this; Account is the one of that uid, fault.NotFound if this machine knows none.
	Me(ctx context.Context) (Account, error)
	Account(ctx context.Context, uid int) (Account, error)
	Getenv(key string) secret.Value
}

// File is what is known of a file without its content.
type File struct {
	Path   string // absolute
	Exists bool
	Folder bool
	Mode   fs.FileMode // permission bits
	UID    int         // of the owner; -1 where the system has no owners of this kind, and then Mode says nothing
	Size   int64
	Names  uint64 // hard links
	SHA256 string // hex, of an environment file
	Link   string // where the path leads if it is a link, absolute
}

// open tells whether anybody but the owner may do anything with it.
func (f File) open() bool { return f.UID >= 0 && f.Mode.Perm()&0o077 != 0 }

func (f File) String() string {
	switch {
	case !f.Exists:
		return "not there"
	case f.UID < 0:
		return fmt.Sprintf("%d bytes", f.Size)
	}
	s := fmt.Sprintf("mode %04o, owner uid %d", f.Mode.Perm(), f.UID)
	if !f.Folder {
		s += fmt.Sprintf(", %d bytes", f.Size)
	}
	if f.Link != "" {
		s += ", by a link to " + f.Link
	}
	return s
}

// evidence is the facts of the file. The digest is left out of a file with secrets: a short one could be guessed from it.
func (f File) evidence(digest bool) finding.Evidence {
	e := finding.Evidence{Asked: "file " + f.Path, Answer: f.String(), At: time.Now().UTC()}
	if f.Folder {
		e.Asked = "folder " + f.Path
	}
	if digest {
		e.Digest = f.SHA256
	}
	return e
}

// Given is a key that is given what looks like a secret.
type Given struct{ Key, Kind string }

func (g Given) String() string { return g.Key + " (" + g.Kind + ")" }

// Account is a user of this machine.
type Account struct {
	UID   int    // -1 where there are none of this kind
	Home  string // "" if nothing says
	Azure string // folder of the Azure CLI's session, "" if nothing says
}

// agentEnv is the agent's environment file.
type agentEnv struct {
	file  File
	set   map[string]secret.Value
	found []told
}

// told is a secret in clear with the check that tells of it, so that each is told once.
type told struct {
	Given
	by string
}

type secretsLookups struct {
	environment lookup[agentEnv]
	me          lookup[Account]
	kept        lookup[[]File]
	names       lookup[[]string] // of the vault's secrets, as the identity
	ledger      lookup[api.LedgerVerdict]
}

// wire says who owns each lookup, and how it is read.
func (l *secretsLookups) wire() {
	l.environment = lookup[agentEnv]{owner: idEnvMode, read: readEnvironment}
	l.me = lookup[Account]{owner: idHomes, read: readMe}
	l.kept = lookup[[]File]{owner: idStateFiles, read: func(ctx context.Context, a *Ask) ([]File, error) { return a.run.p.Host.Kept(ctx) }}
	l.names = lookup[[]string]{owner: idVault, read: readVault}
	l.ledger = lookup[api.LedgerVerdict]{owner: idLedger, read: readLedger}
}

const (
	idEnvMode    = "secret_env_file_mode"
	idEnvContent = "secret_env_file_content"
	idCLI        = "secret_admin_cli_isolated"
	idHomes      = "secret_home_separation"
	idGitHub     = "secret_no_github_runtime"
	idBot        = "secret_bot_creds"
	idAdmin      = "secret_admin_secret"
	idAdminToken = "secret_admin_token"
	idVault      = "secret_kv_reachable"
	idReferences = "secret_kv_references"
	idACS        = "secret_acs_present"
	idOpenAI     = "secret_aoai_present"
	idStrings    = "secret_connection_strings"
	idCallback   = "secret_callback_tokens"
	idCreds      = "secret_identity_creds"
	idStateFiles = "secret_state_files"
	idLedger     = "ledger_intact"
)

func secretsChecks() []Check {
	return []Check{
		cliIsolated(), homesApart(), envFileMode(), envFileContent(), identityCreds(), noGitHub(), botCreds(), adminSecret(), adminToken(),
		callbackTokens(), acsString(), openAIKey(), connectionStrings(), vaultReachable(), vaultReferences(), stateFiles(), ledgerIntact(),
	}
}

// envPath is the file that the agent reads: the one that was written, also where the spec names another by now.
func envPath(s Subject) string { return cmp.Or(s.Record.EnvFile, s.Agent.EnvFile) }

func readEnvironment(ctx context.Context, a *Ask) (agentEnv, error) {
	file, set, err := a.run.p.Host.Env(ctx, envPath(a.Subject))
	if err != nil {
		return agentEnv{}, err
	}
	e := agentEnv{file: file, set: set}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if kind := secret.Assignment(key, set[key]); kind != "" {
			e.found = append(e.found, told{Given{key, kind}, tells(key, kind)})
		}
	}
	a.used = append(a.used, file.evidence(len(e.found) == 0))
	return e, nil
}

func readMe(ctx context.Context, a *Ask) (Account, error) {
	me, err := a.run.p.Host.Me(ctx)
	if err != nil {
		return me, err
	}
	a.used = append(a.used, finding.Evidence{Asked: "account of the operator", Answer: fmt.Sprintf("uid %d, home %s, Azure CLI in %s", me.UID, cmp.Or(me.Home, "unknown"), cmp.Or(me.Azure, "unknown")), At: time.Now().UTC()})
	return me, nil
}

// tells is the check that tells of a secret which is given to that key.
func tells(key, kind string) string {
	switch name := strings.ToUpper(key); {
	case slices.Contains(loginKeys(), name):
		return idCreds
	case strings.HasPrefix(name, "BOT_"), strings.HasPrefix(name, "MICROSOFTAPP"):
		return idBot
	case strings.HasPrefix(name, "ADMIN_"), strings.HasPrefix(name, "LEASTKEY_"):
		return idAdmin
	case strings.HasPrefix(name, "GITHUB_"), strings.HasPrefix(name, "GH_"), strings.HasPrefix(name, "COPILOT_"), kind == "a GitHub token":
		return idGitHub
	case strings.Contains(name, "CALLBACK"):
		return idCallback
	case name == "ACS_CONNECTION_STRING":
		return idACS
	case strings.HasPrefix(name, "AZURE_OPENAI_"), strings.HasPrefix(name, "OPENAI_"):
		return idOpenAI
	case strings.Contains(kind, "connection string"), kind == "an account key", kind == "a shared access signature", kind == "an address with its password":
		return idStrings
	}
	return idEnvContent
}

// clear are the secrets that the check tells of.
func (e agentEnv) clear(check string) (all []string) {
	for _, t := range e.found {
		if t.by == check {
			all = append(all, t.String())
		}
	}
	return all
}

// has tells whether the key is given anything.
func (e agentEnv) has(key string) bool { return !e.set[key].Empty() }

// refers tells whether the key names a secret of the vault.
func (e agentEnv) refers(key string) bool {
	_, ok := secret.Reference(e.set[key])
	return ok
}

// inEnvironment asks the agent's environment file. Without one there is nothing in it; that it is missed is another check's to tell.
func inEnvironment(decide func(agentEnv) Verdict) func(context.Context, *Ask) Verdict {
	return func(_ context.Context, a *Ask) Verdict {
		e, err := get(a, &a.run.environment)
		switch {
		case err != nil:
			return failed(err)
		case !e.file.Exists:
			return skip("there is no environment file %s", e.file.Path)
		}
		return decide(e)
	}
}

// inClear fails for the secrets of the file that are the check's to tell of.
func (e agentEnv) inClear(check string) (Verdict, bool) {
	clear := e.clear(check)
	if len(clear) == 0 {
		return Verdict{}, false
	}
	return fail("%s holds in clear: %s", e.file.Path, strings.Join(clear, ", ")), true
}
