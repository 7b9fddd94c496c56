package preflight

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// fakeSecrets is this machine: its files, and the vault as the identity sees it.
type fakeSecrets struct {
	files    map[string]File   // by absolute path; any other is not there
	set      map[string]string // of the environment file
	loose    string            // more lines of it, as the scanner reads them
	given    []Given
	marked   map[string]string // path → kind
	hops     []File            // links on the way to the environment file, and their folders
	me       Account
	accounts map[int]Account
	process  map[string]string // environment of this process
	names    []string          // of the vault's secrets
}

const (
	envAt   = "/srv/bot/.env"
	homeAt  = "/home/op"
	cacheAt = homeAt + "/.azure/msal_token_cache.json"
	dbAt    = "/home/op/.local/state/leastkey/leastkey.db"
	stateAt = "/srv/bot/.entraclaw-state.json"
)

func healthySecrets(*fake) fakeSecrets {
	s := fakeSecrets{
		files: map[string]File{}, marked: map[string]string{}, process: map[string]string{}, names: []string{"acs-callback-token", "acs-connection-string", "azure-openai-api-key", "bot-app-password", "storage-connection-string"},
		me: Account{UID: 1000, Home: homeAt, Azure: homeAt + "/.azure"}, accounts: map[int]Account{10002: {UID: 10002, Home: "/home/bot", Azure: "/home/bot/.azure"}},
	}
	s.set = agent.EnvKeys(appID, tenantID)
	maps.Copy(s.set, map[string]string{
		"BOT_APP_ID": appID, "BOT_APP_PASSWORD": "@kv:bot-app-password", "ACS_CONNECTION_STRING": "@kv:acs-connection-string", "ACS_CALLBACK_TOKEN": "@kv:acs-callback-token",
		"AZURE_OPENAI_API_KEY": "@kv:azure-openai-api-key", "AZURE_STORAGE_CONNECTION_STRING": "@kv:storage-connection-string", "LOG_LEVEL": "info",
	})
	for path, f := range map[string]File{
		"/srv/bot": {Folder: true, Mode: 0o755}, envAt: {Mode: 0o600, Size: 400, Names: 1, SHA256: "digest"}, stateAt: {Mode: 0o600, Size: 300, Names: 1},
		homeAt: {Folder: true, Mode: 0o755}, homeAt + "/.azure": {Folder: true, Mode: 0o755}, cacheAt: {Mode: 0o600, Size: 9000, Names: 1},
		filepath.Dir(dbAt): {Folder: true, Mode: 0o700}, dbAt: {Mode: 0o600, Size: 90000, Names: 1},
	} {
		s.put(path, f)
	}
	return s
}

// put makes a file of the operator's.
func (s *fakeSecrets) put(path string, f File) {
	f.Path, f.Exists = path, true
	if f.UID == 0 {
		f.UID = 1000
	}
	if f.ID == "" {
		f.ID = path
	}
	s.files[path] = f
}

type fakeHost struct{ *fake }

func (f fakeHost) at(path string) File {
	if !filepath.IsAbs(path) {
		path = filepath.Join("/srv/bot", path)
	}
	if found, ok := f.files[path]; ok {
		return found
	}
	return File{Path: path, UID: -1}
}

func (f fakeHost) Look(ctx context.Context, path string) (File, error) {
	if err := f.ask(ctx, "Look "+path); err != nil {
		return File{}, err
	}
	return f.at(path), f.ask(ctx, "Look")
}

func (f fakeHost) Env(ctx context.Context, path string) (File, map[string]secret.Value, []secret.Find, error) {
	set := map[string]secret.Value{}
	var finds []secret.Find
	for _, k := range slices.Sorted(maps.Keys(f.set)) {
		set[k] = secret.New([]byte(f.set[k]))
		if find, ok := secret.Judge(k, set[k], nil); ok {
			finds = append(finds, find)
		}
	}
	return f.at(path), set, append(finds, secret.Scan([]byte(f.loose), nil)...), f.ask(ctx, "HostEnv")
}

// Way is the folders above, and a link of the last place with what it leads to.
func (f fakeHost) Way(ctx context.Context, path string) (all []File, err error) {
	at := f.at(path)
	for dir := filepath.Dir(at.Path); ; dir = filepath.Dir(dir) {
		if folder := f.at(dir); folder.Exists {
			all = append(all, folder)
		}
		if dir == filepath.Dir(dir) {
			slices.Reverse(all)
			if at.Path == envAt {
				all = append(all, f.hops...)
			}
			return all, f.ask(ctx, "Way "+at.Path)
		}
	}
}

func (f fakeHost) Kept(ctx context.Context) ([]File, error) {
	var all []File
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		if strings.HasPrefix(path, filepath.Dir(dbAt)) {
			all = append(all, f.files[path])
		}
	}
	return all, f.ask(ctx, "Kept")
}

func (f fakeHost) Given(ctx context.Context, _ string) ([]Given, error) {
	return f.given, f.ask(ctx, "Given")
}

func (f fakeHost) Marked(ctx context.Context, path string) (string, error) {
	return f.marked[path], f.ask(ctx, "Marked")
}

func (f fakeHost) Me(ctx context.Context) (Account, error) { return f.me, f.ask(ctx, "Me") }

func (f fakeHost) Account(ctx context.Context, uid int) (Account, error) {
	if err := f.ask(ctx, "Account"); err != nil {
		return Account{}, err
	}
	if a, ok := f.accounts[uid]; ok {
		return a, nil
	}
	return Account{}, fault.Newf(fault.NotFound, "no such account")
}

func (f fakeHost) Getenv(key string) secret.Value { return secret.New([]byte(f.process[key])) }

func (f fakeSelf) SecretNames(ctx context.Context, where func() (string, error)) ([]string, error) {
	if _, err := where(); err != nil {
		return nil, err
	}
	return f.names, f.ask(ctx, "SecretNames")
}

// repeatedSecrets are methods that are asked once per file.
func repeatedSecrets(method string) bool {
	return strings.HasPrefix(method, "Look") || strings.HasPrefix(method, "Way") || method == "Marked" || method == "Account"
}
