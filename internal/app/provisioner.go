package app

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/statefile"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
	"github.com/leastkey/leastkey/internal/world/keystore/keychain"
)

// provisionerParts opens what the Provisioner's plans act through, once somebody asks for it.
func (a *App) provisionerParts(p *place, t api.Target, w outside, base provision.Config) func() (*control.ProvisionerParts, error) {
	return func() (*control.ProvisionerParts, error) {
		slots, err := a.provisionerKeys(p, cmp.Or(t.Keystore, p.spec.Provisioner.Keystore, "auto"), t.AgeIdentity)
		if err != nil {
			return nil, err
		}
		var keys provision.Keystore = slots
		if a.Hooks.Keys != nil {
			keys = a.Hooks.Keys(slots)
		}
		cfg := base
		cfg.Keys, cfg.Login = keys, w.graphLogin
		cfg.Entry = func(tenant, _, generation string) string { return tenant + "#" + generation }
		files := migrate.Files(stateFiles{backUps: filepath.Join(p.dir, "backups"), tenant: p.tenant, slots: slots})
		if a.Hooks.Files != nil {
			files = a.Hooks.Files(files)
		}
		m := migrate.New(migrate.Config{
			Graph: w.graph, Keys: slotKeys{keys, slots}, Files: files, Secret: w.legacy, Memory: base.Memory, Tenant: p.tenant,
			Default: usualSlot(p), Settle: p.settle,
		})
		return &control.ProvisionerParts{Provision: provision.New(cfg), Migrate: m, Verify: verifier(p, w, m.Keys, files), Files: func(r api.ProvisionerRequest) (migrate.Where, error) { return a.whereLegacy(p, r) }}, nil
	}
}

// usualSlot is the entry that a reader of the state file takes for granted, so that the file need not name it. On the local cloud there is none:
// its keystore is a folder of the run.
func usualSlot(p *place) secret.Ref {
	if p.cloud == agent.Local {
		return secret.Ref{}
	}
	return secret.Ref{Backend: "keychain", Store: provisioner.Service, Name: p.tenant}
}

// slotKeys is the Provisioner's keystore with the powers that only its plans need. What a test stands in front of stays in front.
type slotKeys struct {
	provision.Keystore
	slots *slotStore
}

// Replace implements [migrate.Keys].
func (s slotKeys) Replace(ctx context.Context, name string, key crypto.Signer) error {
	if r, ok := s.Keystore.(keystore.Replacer); ok {
		return r.Replace(ctx, name, key)
	}
	return s.slots.Replace(ctx, name, key)
}

// Certificate implements [migrate.Keys].
func (s slotKeys) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	return s.slots.Certificate(ctx, ref)
}

// provisionerStore is what every backend of ours can do.
type provisionerStore interface {
	keystore.Store
	keystore.Replacer
	keystore.Secrets
}

// slotStore is the Provisioner's keystore. The entry of the successor's name is read where ours has none, and never written.
type slotStore struct {
	provisionerStore
	successor keystore.Store // nil where there is no keychain
	tenant    string
}

// Open implements [keystore.Store].
func (s *slotStore) Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error) {
	key, err := s.provisionerStore.Open(ctx, ref)
	if !s.elsewhere(ref, err) {
		return key, err
	}
	return s.successor.Open(ctx, s.successor.Ref(ref.Name))
}

// Certificate implements [keystore.Replacer].
func (s *slotStore) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	der, err := s.provisionerStore.Certificate(ctx, ref)
	if !s.elsewhere(ref, err) {
		return der, err
	}
	if _, err := s.provisionerStore.Open(ctx, ref); err == nil {
		return nil, fault.Newf(fault.NotFound, "no certificate lies beside %s", ref)
	}
	return s.successor.(keystore.Replacer).Certificate(ctx, s.successor.Ref(ref.Name))
}

func (s *slotStore) elsewhere(ref secret.Ref, err error) bool {
	return s.successor != nil && ref.Name == s.tenant && fault.Is(err, fault.NotFound)
}

// provisionerKeys opens the Provisioner's keystore by its name: auto, keychain or age:PATH, as for agents, under the seed's names.
func (a *App) provisionerKeys(p *place, name, identity string) (*slotStore, error) {
	kind, path, _ := strings.Cut(name, ":")
	s := &slotStore{tenant: p.tenant}
	switch {
	case kind == "memory":
		return nil, fault.New(fault.Refused, "a key in memory would be gone with this process, and its certificate would stay", "use auto, keychain or age:PATH")
	case kind == "keychain", kind == "auto" && p.cloud != agent.Local:
		lock := filepath.Join(p.dir, "keychain.lock")
		own, err := keychain.New(keychain.Config{Service: provisioner.Service, LockPath: lock})
		if err != nil {
			return nil, err
		}
		theirs, err := keychain.New(keychain.Config{Service: provisioner.LegacyService, LockPath: lock})
		if err != nil {
			return nil, err
		}
		s.provisionerStore, s.successor = own, theirs
		return s, nil
	case kind == "auto":
		st, err := agefile.New(agefile.Config{Path: a.localKeys(p), Development: true})
		s.provisionerStore = st
		return s, err
	case kind == "age" && path != "":
		st, err := a.openStore(p, name, identity)
		if err != nil {
			return nil, err
		}
		s.provisionerStore = st.(*agefile.Store)
		return s, nil
	}
	return nil, fault.New(fault.Invalid, "no keystore "+name, "use auto, keychain or age:PATH")
}

// whereLegacy resolves the paths of a request.
func (a *App) whereLegacy(p *place, r api.ProvisionerRequest) (migrate.Where, error) {
	state, err := a.statePath(p, r.StateFile)
	if err != nil {
		return migrate.Where{}, err
	}
	w := migrate.Where{State: state, Env: cmp.Or(r.EnvFile, filepath.Join(filepath.Dir(state), ".env"))}
	for _, list := range []struct {
		from    []string
		to      *[]string
		folders bool
	}{{r.Also, &w.Also, true}, {r.Edit, &w.Edit, false}} {
		for _, path := range list.from {
			abs, err := filepath.Abs(path)
			var info fs.FileInfo
			if err == nil {
				info, err = os.Stat(abs)
			}
			switch {
			case err != nil:
				return w, &fault.Error{Code: fault.Usage, Op: "look at " + path, Err: err}
			case info.IsDir() && !list.folders:
				return w, fault.New(fault.Usage, path+" is a folder, and --edit changes one file", "name each file")
			case !info.IsDir() && !info.Mode().IsRegular():
				return w, fault.New(fault.Usage, path+" is not a regular file", "")
			}
			*list.to = append(*list.to, abs)
		}
	}
	if w.Env, err = filepath.Abs(w.Env); err != nil {
		return w, err
	}
	return w, nil
}

// statePath is the Provisioner's state file: the flag's, the variable's, the yaml's, or the nearest one from the current folder upward;
// where there is none yet, the one that would be made in the current folder.
func (a *App) statePath(p *place, flag string) (string, error) {
	if named := cmp.Or(flag, a.Getenv("LEASTKEY_STATE_FILE")); named != "" {
		return filepath.Abs(named)
	}
	if p != nil && p.where.File != "" {
		path := cmp.Or(p.spec.Provisioner.StateFile, ".entraclaw-state.json")
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.base, path)
		}
		successors := filepath.Join(filepath.Dir(path), ".entrabot-state.json")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(successors); err == nil {
				return successors, nil
			}
		}
		return path, nil
	}
	found, ok, err := statefile.FindState(".")
	if err != nil || ok {
		return found, err
	}
	return filepath.Abs(".entraclaw-state.json")
}

// stateFiles fits record/statefile to what a migration asks for.
type stateFiles struct {
	backUps string
	tenant  string
	slots   *slotStore
}

// State implements [migrate.Files].
func (stateFiles) State(_ context.Context, path string) (provisioner.File, error) {
	f, _, err := statefile.ReadState(path)
	return f, err
}

// UpdateState implements [migrate.Files].
func (stateFiles) UpdateState(ctx context.Context, path string, set map[string]string, remove []string) (string, error) {
	ch, err := statefile.UpdateState(ctx, path, set, remove)
	return told(ch), err
}

// Legacy implements [migrate.Files].
func (s stateFiles) Legacy(ctx context.Context, w migrate.Where) (migrate.Legacy, error) {
	known := slices.Clone(w.Known)
	for _, b := range w.BackUps {
		if _, err := os.Stat(b); errors.Is(err, fs.ErrNotExist) {
			continue // one that is gone knows nothing any more
		}
		id, err := s.identity(ctx, false)
		if err != nil {
			return migrate.Legacy{}, fmt.Errorf("open backup %s: %w", b, err)
		}
		v, err := statefile.BackUpSecret(b, id)
		if err != nil {
			return migrate.Legacy{}, err
		}
		if !v.Empty() && !slices.ContainsFunc(known, v.Equal) {
			known = append(known, v)
		}
	}
	temp := []string{os.TempDir()}
	if _, err := os.Stat("/tmp"); err == nil && !slices.Contains(temp, "/tmp") {
		temp = append(temp, "/tmp") // the original's instructions name it
	}
	values, places, err := statefile.Legacy(ctx, statefile.Where{State: w.State, Env: w.Env, Temp: temp, Also: w.Also, Edit: w.Edit}, known, statefile.Ours(w.Ours))
	return migrate.Legacy{Values: values, Places: places}, err
}

// Purge implements [migrate.Files].
func (stateFiles) Purge(ctx context.Context, path string, values []secret.Value, kind provisioner.Kind, approved string) (string, error) {
	ch, err := statefile.Purge(ctx, path, values, kind, approved)
	return told(ch), err
}

// BackUp implements [migrate.Files].
func (s stateFiles) BackUp(ctx context.Context, path, name string) (agent.BackUp, error) {
	id, err := s.identity(ctx, true)
	if err != nil {
		return agent.BackUp{}, err
	}
	if _, err := statefile.ExpireBackUps(s.backUps, time.Now()); err != nil {
		return agent.BackUp{}, err
	}
	at, err := statefile.BackUp(ctx, path, s.backUps, name, id)
	if err != nil {
		return agent.BackUp{}, err
	}
	info, err := os.Stat(at)
	if err != nil {
		return agent.BackUp{}, &fault.Error{Code: fault.Unavailable, Op: "look at " + at, Err: err}
	}
	made := info.ModTime().UTC().Truncate(time.Second)
	return agent.BackUp{Path: at, Made: made, Expires: made.Add(statefile.BackUpLife), Key: s.slots.Ref(s.name())}, nil
}

// name is what the backups' identity is called in the keystore.
func (s stateFiles) name() string { return "backup/" + s.tenant }

// identity is the one that backups are encrypted to. It is a secret of the keystore, and made by the first backup.
func (s stateFiles) identity(ctx context.Context, make bool) (*age.X25519Identity, error) {
	v, err := s.slots.Secret(ctx, s.name())
	if fault.Is(err, fault.NotFound) && make {
		fresh, ferr := age.GenerateX25519Identity()
		if ferr != nil {
			return nil, ferr
		}
		if err := s.slots.PutSecret(ctx, s.name(), secret.New([]byte(fresh.String()))); err != nil {
			return nil, err
		}
		v, err = s.slots.Secret(ctx, s.name())
	}
	if err != nil {
		return nil, err
	}
	var id *age.X25519Identity
	err = v.Use(func(b []byte) (err error) {
		if id, err = age.ParseX25519Identity(strings.TrimSpace(string(b))); err != nil {
			err = fault.Newf(fault.Corrupt, "the backups' identity in the keystore does not read")
		}
		return err
	})
	return id, err
}
