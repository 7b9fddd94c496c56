package app

import (
	"cmp"
	"context"
	"crypto"
	"os"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
	"github.com/leastkey/leastkey/internal/world/keystore/keychain"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

// keys opens the keystore in which new keys are made, and any other that a recorded Ref names. Memory is none of those: a key that ends
// with this process would be registered with Entra and be of use to nobody.
func (a *App) keys(p *place, t api.Target) (provision.Keystore, error) {
	if kind, _, _ := strings.Cut(t.Keystore, ":"); kind == "memory" {
		return nil, fault.New(fault.Refused, "a key in memory would be gone with this process, and its certificate would stay", "use auto, keychain or age:PATH")
	}
	st, err := a.openStore(p, cmp.Or(t.Keystore, "auto"), t.AgeIdentity)
	if err != nil {
		return nil, err
	}
	return &stores{Store: st, other: func(backend string, where string) (keystore.Store, error) {
		return a.openStore(p, backend+":"+where, t.AgeIdentity)
	}}, nil
}

// openStore opens a keystore by its name: auto, keychain or age:PATH; memory, which a record may name, is empty. auto is the operating system's keychain on real clouds;
// the local cloud keeps its keys in its own folder, encrypted to an identity of development grade, so that trying it out leaves nothing
// in anybody's keychain.
func (a *App) openStore(p *place, name, identity string) (keystore.Store, error) {
	kind, path, _ := strings.Cut(name, ":")
	switch {
	case kind == "auto" && p.cloud == agent.Local, kind == "age" && p.cloud == agent.Local && identity == "" && filepath.Clean(path) == a.localKeys(p):
		return agefile.New(agefile.Config{Path: a.localKeys(p), Development: true})
	case kind == "auto", kind == "keychain":
		return keychain.New(keychain.Config{Service: keystore.AgentService, LockPath: filepath.Join(p.dir, "keychain.lock")})
	case kind == "memory":
		return memory.New(), nil
	case kind == "age" && path != "":
		if err := thereIs(identity); err != nil {
			return nil, err
		}
		cfg := agefile.Config{Path: path, IdentityFile: identity}
		if identity == "" && a.Streams.Terminal {
			cfg.Passphrase = func(ctx context.Context) (secret.Value, error) {
				return a.Streams.Secret(ctx, "passphrase of the age keystore "+path)
			}
		}
		return agefile.New(cfg)
	}
	return nil, fault.New(fault.Invalid, "no keystore "+name, "use auto, keychain or age:PATH")
}

// thereIs refuses an identity file that is not there at once: nothing can be waited for, and without it every key would be unknown.
func thereIs(identity string) error {
	if identity == "" {
		return nil
	}
	if _, err := os.Stat(identity); err != nil {
		return &fault.Error{Code: fault.Invalid, Op: "age identity " + identity, Err: err, Hint: "make one with age-keygen -o FILE, outside the key folder, and name it with --age-identity"}
	}
	return nil
}

func (a *App) localKeys(p *place) string { return filepath.Join(p.dir, "keys") }

// stores is the keystore for new keys, which opens those of another one where a Ref names it: a key stays where it was made.
type stores struct {
	keystore.Store
	other func(backend, where string) (keystore.Store, error)
}

// Open implements [provision.Keystore].
func (s *stores) Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error) {
	st, err := s.of(ref)
	if err != nil {
		return nil, err
	}
	return st.Open(ctx, ref)
}

// Delete implements [provision.Keystore].
func (s *stores) Delete(ctx context.Context, ref secret.Ref) error {
	st, err := s.of(ref)
	if err != nil {
		return err
	}
	return st.Delete(ctx, ref)
}

func (s *stores) of(ref secret.Ref) (keystore.Store, error) {
	mine := s.Ref("x")
	if mine.Backend == ref.Backend && mine.Store == ref.Store {
		return s.Store, nil
	}
	return s.other(ref.Backend, ref.Store)
}
