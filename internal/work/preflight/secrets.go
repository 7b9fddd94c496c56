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

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Host is the machine that the preflight runs on: its files, its accounts, the environment of this process. A path that is not absolute lies
// beside leastkey.yaml. What cannot be looked at is an error; what is not there is not.
type Host interface {
	// Look tells the facts of a file or folder, of what a link leads to where it is one.
	Look(ctx context.Context, path string) (File, error)
	// Way are the folders and links that lead to a path, from the root, each link's own way with it, and not what the path is itself.
	Way(ctx context.Context, path string) ([]File, error)
	// Env reads an environment file. Values are what a reader gets, without quotes; the finds are everything in it that gives a secret or
	// a reference to one, whether a reader gets it or not.
	Env(ctx context.Context, path string) (File, map[string]secret.Value, []secret.Find, error)
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
	ID     string // the same for two paths that are one file or folder; "" where the system does not say
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

// told is a find with the check that tells of it, so that each is told once.
type told struct {
	secret.Find
	by string
}

type secretsLookups struct {
	environment lookup[agentEnv]
	me          lookup[Account]
	kept        lookup[[]File]
	names       lookup[[]string] // of the vault's secrets, as the identity
	ledger      lookup[Chain]
}

// wire says who owns each lookup, and how it is read.
func (l *secretsLookups) wire() {
	l.environment = lookup[agentEnv]{owner: idEnvMode, read: readEnvironment}
	l.me = lookup[Account]{owner: idHomes, read: readMe}
	l.kept = lookup[[]File]{owner: idStateFiles, read: func(ctx context.Context, a *Ask) ([]File, error) { return a.run.p.Host.Kept(ctx) }}
	l.names = lookup[[]string]{owner: idVault, read: readVault}
	l.ledger = lookup[Chain]{owner: idLedger, read: readLedger}
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
	file, set, finds, err := a.run.p.Host.Env(ctx, envPath(a.Subject))
	if err != nil {
		return agentEnv{}, err
	}
	e := agentEnv{file: file, set: set}
	for _, f := range finds {
		if t := (told{f, tells(f)}); !slices.ContainsFunc(e.found, t.says) {
			e.found = append(e.found, t)
		}
	}
	a.used = append(a.used, file.evidence(!slices.ContainsFunc(e.found, told.clear)))
	return e, nil
}

// clear tells whether the secret itself lies there, and no reference to one.
func (t told) clear() bool { return t.Kind != "" }

// says tells whether another find would be told in the same words.
func (t told) says(o told) bool {
	return t.by == o.by && t.clear() == o.clear() && t.Reference == o.Reference && t.Key == o.Key && (t.Key != "" || t.Line == o.Line)
}

func readMe(ctx context.Context, a *Ask) (Account, error) {
	me, err := a.run.p.Host.Me(ctx)
	if err != nil {
		return me, err
	}
	a.used = append(a.used, finding.Evidence{Asked: "account of the operator", Answer: fmt.Sprintf("uid %d, home %s, Azure CLI in %s", me.UID, cmp.Or(me.Home, "unknown"), cmp.Or(me.Azure, "unknown")), At: time.Now().UTC()})
	return me, nil
}

// tells is the check that tells of a find. Programs read the names of variables in capitals, libraries in any case, and Windows knows no
// difference, so no spelling of a name is another one. What no other check claims is that of the file's content.
func tells(f secret.Find) string {
	name := secret.Words(f.Key)
	bare := strings.ReplaceAll(name, "_", "")
	begins := func(all ...string) bool {
		return slices.ContainsFunc(all, func(p string) bool { return strings.HasPrefix(name, p) })
	}
	switch kind := f.Kind; {
	case slices.Contains(loginKeys(), name):
		return idCreds
	case begins("GITHUB_", "GH_", "COPILOT_"), strings.Contains(bare, "GITHUB"), strings.Contains(bare, "COPILOT"), kind == "a GitHub token", strings.Contains(name, "_GH_TOKEN"), ofReference(f, "github"):
		return idGitHub
	case begins("BOT_", "MICROSOFT_APP", "MICROSOFTAPP"):
		return idBot
	case begins("ADMIN_", "LEASTKEY_"), strings.Contains(bare, "ADMINSECRET"), strings.Contains(bare, "ADMINTOKEN"), ofReference(f, "adminsecret"), ofReference(f, "admintoken"):
		return idAdmin
	case strings.Contains(name, "CALLBACK"):
		return idCallback
	case name == "ACS_CONNECTION_STRING":
		return idACS
	case begins("AZURE_OPENAI_", "OPENAI_"):
		return idOpenAI
	case strings.Contains(kind, "connection string"), kind == "an account key", kind == "a shared access signature", kind == "an address with its password", kind == "an address with its key":
		return idStrings
	}
	return idEnvContent
}

// ofReference tells whether the vault's secret that a find names is called so: the key may be called otherwise.
func ofReference(f secret.Find, called string) bool {
	return strings.Contains(strings.ToLower(strings.ReplaceAll(f.Reference, "-", "")), called)
}

// clear are the secrets that the check tells of.
func (e agentEnv) clear(check string) (all []string) {
	for _, t := range e.found {
		if t.by == check && t.clear() {
			all = append(all, t.String())
		}
	}
	return all
}

// refersTo are the keys that stand for a secret of the vault of which the check tells, whatever a reader gets of them.
func (e agentEnv) refersTo(check string) (keys []string) {
	for _, t := range e.found {
		if t.by == check && !t.clear() {
			keys = append(keys, t.Key)
		}
	}
	return keys
}

// given are the keys of that name, in whatever case the file spells it, that are given anything.
func (e agentEnv) given(name string) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(e.set)) {
		if strings.EqualFold(key, name) && !e.set[key].Empty() {
			keys = append(keys, key)
		}
	}
	return keys
}

// has tells whether the key is given anything.
func (e agentEnv) has(name string) bool { return len(e.given(name)) > 0 }

// refers tells whether the key names a secret of the vault.
func (e agentEnv) refers(name string) bool {
	return slices.ContainsFunc(e.given(name), func(key string) bool {
		_, ok := secret.Reference(e.set[key])
		return ok
	})
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
