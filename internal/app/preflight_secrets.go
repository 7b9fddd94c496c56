package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/sqlite"
	"github.com/leastkey/leastkey/internal/record/statefile"
	"github.com/leastkey/leastkey/internal/work/preflight"
	"github.com/leastkey/leastkey/internal/world/token"
	"github.com/leastkey/leastkey/internal/world/vault"
)

// preflightHost is this machine, as the checks ask about it.
type preflightHost struct {
	app    *App
	p      *place
	search func(context.Context, func([]byte) string) (string, error) // of the record
}

func (h preflightHost) path(path string) string { return envFile{h.p.base}.Path(path) }

func fileOf(f statefile.Facts) preflight.File {
	return preflight.File{Path: f.Path, Exists: f.Exists, Folder: f.Folder, Mode: f.Mode, UID: f.UID, Size: f.Size, Names: f.Names, SHA256: f.SHA256, Link: f.Link, ID: f.ID}
}

// Look implements [preflight.Host].
func (h preflightHost) Look(_ context.Context, path string) (preflight.File, error) {
	f, err := statefile.Look(h.path(path))
	return fileOf(f), err
}

// Env implements [preflight.Host].
func (h preflightHost) Env(_ context.Context, path string) (preflight.File, map[string]secret.Value, []secret.Find, error) {
	f, set, finds, err := statefile.Environment(h.path(path))
	return fileOf(f), set, finds, err
}

// Way implements [preflight.Host].
func (h preflightHost) Way(_ context.Context, path string) ([]preflight.File, error) {
	way, err := statefile.Way(h.path(path))
	var all []preflight.File
	for _, f := range way {
		all = append(all, fileOf(f))
	}
	return all, err
}

// Kept implements [preflight.Host]. A file that is gone by the time it is looked at was one of ours that had its day, such as a database's
// log.
func (h preflightHost) Kept(ctx context.Context) ([]preflight.File, error) {
	var all []preflight.File
	add := func(path string) error {
		f, err := h.Look(ctx, path)
		if err == nil && f.Exists {
			all = append(all, f)
		}
		return err
	}
	if home, err := h.app.home(); err == nil && filepath.Clean(home) != filepath.Clean(h.p.dir) {
		if err := add(home); err != nil {
			return nil, err
		}
	}
	err := filepath.WalkDir(h.p.dir, func(path string, _ fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return &fault.Error{Code: fault.Unknown, Op: "look into " + path, Err: err, Hint: "run leastkey as the owner of " + h.p.dir}
		}
		return add(path)
	})
	return all, err
}

// Given implements [preflight.Host].
func (h preflightHost) Given(_ context.Context, path string) ([]preflight.Given, error) {
	found, err := statefile.GivenIn(h.path(path))
	var all []preflight.Given
	for _, g := range found {
		all = append(all, preflight.Given(g))
	}
	return all, err
}

// Marked implements [preflight.Host]. The record is searched through its open handle, never by its path; see [sqlite.Part].
func (h preflightHost) Marked(ctx context.Context, path string) (string, error) {
	if filepath.Clean(path) == filepath.Join(h.p.dir, dbName) {
		return h.search(ctx, secret.Marked)
	}
	if sqlite.Part(path) {
		return "", nil // what it holds is the handle's to tell
	}
	return statefile.MarkedIn(h.path(path))
}

// Me implements [preflight.Host]. Home and folder are those that the Azure CLI would take.
func (h preflightHost) Me(context.Context) (preflight.Account, error) {
	me := preflight.Account{UID: os.Geteuid(), Home: h.app.Getenv("HOME"), Azure: h.app.Getenv("AZURE_CONFIG_DIR")}
	if me.Home == "" && runtime.GOOS == "windows" {
		me.Home = h.app.Getenv("USERPROFILE")
	}
	if me.Azure == "" && me.Home != "" {
		me.Azure = filepath.Join(me.Home, ".azure")
	}
	return me, nil
}

// Account implements [preflight.Host].
func (h preflightHost) Account(_ context.Context, uid int) (preflight.Account, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	var none user.UnknownUserIdError
	switch {
	case errors.As(err, &none):
		return preflight.Account{}, fault.Newf(fault.NotFound, "this machine has no uid %d", uid)
	case err != nil:
		return preflight.Account{}, &fault.Error{Code: fault.Unknown, Op: fmt.Sprintf("look up uid %d", uid), Err: err}
	}
	return preflight.Account{UID: uid, Home: u.HomeDir, Azure: filepath.Join(u.HomeDir, ".azure")}, nil
}

// Getenv implements [preflight.Host].
func (h preflightHost) Getenv(key string) secret.Value {
	if v := h.app.Getenv(key); v != "" {
		return secret.New([]byte(v))
	}
	return secret.Value{}
}

// SecretNames implements [preflight.Self].
func (s preflightSelf) SecretNames(ctx context.Context, where func() (string, error)) ([]string, error) {
	cred, err := s.vaultCredential(ctx)
	if err != nil {
		return nil, err
	}
	early := make(chan struct{})
	go func() { // whether it works or not: the client asks the credential again, which then has the answer
		defer close(early)
		_, _ = cred.Token(ctx, s.p.ends.Vault+"/.default")
	}()
	at, err := where()
	<-early
	if err != nil {
		return nil, err
	}
	c, err := vault.New(vault.Config{URL: at, Resource: s.p.ends.Vault, Tenant: s.p.tenant, Credential: cred, HTTP: s.p.transport, Local: s.p.cloud == agent.Local})
	if err != nil {
		return nil, err
	}
	return c.Names(ctx)
}

func (s preflightSelf) vaultCredential(ctx context.Context) (*token.Credential, error) {
	g := s.subject.Record.Active()
	if g == nil {
		return nil, fault.New(fault.Unauthenticated, "no key of "+s.subject.Record.Agent+" is recorded", "leastkey apply "+s.subject.Record.Agent)
	}
	key, err := s.keys.Open(ctx, g.Ref)
	if err != nil {
		return nil, &fault.Error{Code: fault.Unauthenticated, Op: "open key " + g.Ref.String(), Err: err, Hint: fault.Hint(err)}
	}
	tokens, err := token.New(token.Config{Authority: s.p.ends.Login, HTTP: s.p.transport, Local: s.p.cloud == agent.Local})
	if err != nil {
		return nil, err
	}
	return tokens.CertificateCredential(s.p.tenant, s.subject.Record.AppID, key, g.DER), nil
}
