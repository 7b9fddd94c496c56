// Package keychain is a keystore in what the operating system offers to its user: the macOS Keychain, the Windows Credential Manager,
// or on other systems a Secret Service (GNOME Keyring, KWallet, KeePassXC) on the session bus.
//
// It keeps keys from other users and from whoever finds the disk. It is no boundary between the processes of one user: each of
// them may ask the keychain for every entry.
package keychain

import (
	"context"
	"crypto"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Config says which entries of the keychain are ours.
type Config struct {
	// Service is the service of every entry. "" means keystore.AgentService. It must not contain a colon, with which the Windows
	// Credential Manager joins service and account.
	Service string

	// LockPath is a file below LEASTKEY_HOME that serialises writers of this user: a keychain cannot add an entry only if it is absent.
	// "" means no lock, for a caller who holds one already. Without any lock two creates of one name can overwrite each other on
	// macOS and Windows; a Secret Service keeps both entries, which is seen and refused.
	LockPath string
}

// Store is the entries of one service.
type Store struct {
	service, lock string
	vault         vault
}

var (
	_ keystore.Store    = (*Store)(nil)
	_ keystore.Secrets  = (*Store)(nil)
	_ keystore.Replacer = (*Store)(nil)
)

// vault is what the keychains have in common. get: fault.NotFound only if the keychain was reached, is unlocked and has no such entry.
// add is called after a get that answered fault.NotFound. put changes an entry that is there in place, so that there is always one, and
// else adds it. remove of an absent entry is nil.
type vault interface {
	get(ctx context.Context, service, account string) ([]byte, error)
	add(ctx context.Context, service, account string, content secret.Value) error
	put(ctx context.Context, service, account string, content secret.Value) error
	remove(ctx context.Context, service, account string) error
}

// New is the store that cfg describes. It does not touch the keychain.
func New(cfg Config) (*Store, error) {
	if cfg.Service == "" {
		cfg.Service = keystore.AgentService
	}
	if err := keystore.CheckName(cfg.Service); err != nil || strings.Contains(cfg.Service, ":") {
		return nil, fault.New(fault.Invalid, "keychain service is not a plain name", "")
	}
	return &Store{service: cfg.Service, lock: cfg.LockPath, vault: systemVault()}, nil
}

// Ref is keychain:<service>/<account>.
func (s *Store) Ref(name string) secret.Ref {
	return secret.Ref{Backend: "keychain", Store: s.service, Name: name}
}

// Create looks up, refuses if present, writes and reads back, all under the lock. A write is believed only when it has been read
// back: go-keyring feeds macOS' security tool its command on standard input, where the exit code does not speak for the command.
func (s *Store) Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error) {
	ref := s.Ref(name)
	if err := keystore.CheckName(name); err != nil {
		return secret.Ref{}, err
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		return secret.Ref{}, err
	}
	op := "create " + ref.String()
	err = await(ctx, op, func() error {
		unlock, err := s.exclusive(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		old, err := s.vault.get(ctx, s.service, name)
		clear(old)
		if err == nil {
			return fault.Newf(fault.Conflict, "%s exists already", ref)
		}
		if !fault.Is(err, fault.NotFound) {
			return because(op, err)
		}
		if err := ctx.Err(); err != nil {
			return keystore.Interrupted(op, err)
		}
		if err := s.vault.add(ctx, s.service, name, encoded); err != nil {
			return because(op, err)
		}
		return s.readBack(ctx, ref, encoded)
	})
	if err != nil {
		return secret.Ref{}, err
	}
	return ref, nil
}

// readBack turns "absent" into another code: right after a write it means that the keychain does not keep what it is given.
func (s *Store) readBack(ctx context.Context, ref secret.Ref, want secret.Value) error {
	op := "read back " + ref.String()
	got, err := s.vault.get(ctx, s.service, ref.Name)
	if fault.Is(err, fault.NotFound) {
		return notKept(op)
	}
	if err != nil {
		return because(op, err)
	}
	defer clear(got)
	if err := keystore.SameKey(got, want); err != nil {
		return because(op, err)
	}
	return nil
}

func notKept(op string) error {
	return fault.New(fault.Unavailable, op+": the keychain did not keep the entry", noKeychainHint)
}

// Open returns the key of ref.
func (s *Store) Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error) {
	if err := keystore.CheckRef(s, ref); err != nil {
		return nil, err
	}
	op := "open " + ref.String()
	found := make(chan crypto.Signer, 1)
	err := await(ctx, op, func() error {
		content, err := s.vault.get(ctx, s.service, ref.Name)
		if err != nil {
			return because(op, err)
		}
		defer clear(content)
		key, err := keystore.DecodeKey(content)
		if err != nil {
			return because(op, err)
		}
		found <- key
		return nil
	})
	if err != nil {
		return nil, err
	}
	return <-found, nil
}

// Replace changes the entry in place, and reads it back.
func (s *Store) Replace(ctx context.Context, name string, key crypto.Signer) error {
	ref := s.Ref(name)
	if err := keystore.CheckName(name); err != nil {
		return err
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		return err
	}
	op := "replace " + ref.String()
	return await(ctx, op, func() error {
		unlock, err := s.exclusive(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		if err := ctx.Err(); err != nil {
			return keystore.Interrupted(op, err)
		}
		if err := s.vault.put(ctx, s.service, name, encoded); err != nil {
			return because(op, err)
		}
		return s.readBack(ctx, ref, encoded)
	})
}

// Certificate is what the original has stored beside its key.
func (s *Store) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	if err := keystore.CheckRef(s, ref); err != nil {
		return nil, err
	}
	op := "read the certificate beside " + ref.String()
	found := make(chan []byte, 1)
	err := await(ctx, op, func() error {
		content, err := s.vault.get(ctx, s.service, ref.Name)
		if err != nil {
			return because(op, err)
		}
		defer clear(content)
		der, err := keystore.DecodeCertificate(content)
		if err != nil {
			return because(op, err)
		}
		found <- der
		return nil
	})
	if err != nil {
		return nil, err
	}
	return <-found, nil
}

// Delete removes the entry of ref and looks again.
func (s *Store) Delete(ctx context.Context, ref secret.Ref) error {
	if err := keystore.CheckRef(s, ref); err != nil {
		return err
	}
	return s.remove(ctx, ref)
}

func (s *Store) remove(ctx context.Context, ref secret.Ref) error {
	op := "delete " + ref.String()
	return await(ctx, op, func() error {
		unlock, err := s.exclusive(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		if err := s.vault.remove(ctx, s.service, ref.Name); err != nil {
			return because(op, err)
		}
		left, err := s.vault.get(ctx, s.service, ref.Name)
		clear(left)
		switch {
		case fault.Is(err, fault.NotFound):
			return nil
		case err != nil:
			return because(op, err)
		}
		return fault.Newf(fault.Unavailable, "%s: the entry is still there", op)
	})
}

func (s *Store) exclusive(ctx context.Context) (func(), error) {
	if s.lock == "" {
		return func() {}, nil
	}
	return keystore.Lock(ctx, s.lock)
}

// await runs f, which may block in a library that knows no context, and leaves when ctx ends. f then goes on by itself and gives its
// lock back only when its last call has returned, so that an abandoned write cannot meet the next one.
func await(ctx context.Context, op string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted(op, err)
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return keystore.Interrupted(op, ctx.Err())
	}
}

// because adds what was tried and keeps the class of the failure.
func because(op string, err error) error {
	return &fault.Error{Code: fault.CodeOf(err), Op: op, Err: err}
}

const noKeychainHint = "keep keys in encrypted files instead: --keystore age:FOLDER with --age-identity FILE"
