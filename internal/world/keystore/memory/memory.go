// Package memory is a keystore that lives and dies with its process: for tests, and for keys that need not outlive one run.
package memory

import (
	"context"
	"crypto"
	"maps"
	"slices"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Store keeps encoded keys in a map, so that what it gives back has gone through the same encoding as in every other store.
type Store struct {
	mu      sync.Mutex
	entries map[string]secret.Value // keys
	secrets map[string]secret.Value
}

var (
	_ keystore.Store    = (*Store)(nil)
	_ keystore.Lister   = (*Store)(nil)
	_ keystore.Secrets  = (*Store)(nil)
	_ keystore.Replacer = (*Store)(nil)
)

// New is an empty store.
func New() *Store {
	return &Store{entries: make(map[string]secret.Value), secrets: make(map[string]secret.Value)}
}

// Ref is memory:<name>.
func (s *Store) Ref(name string) secret.Ref { return secret.Ref{Backend: "memory", Name: name} }

// Create keeps a copy of key.
func (s *Store) Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error) {
	ref := s.Ref(name)
	if err := keystore.CheckName(name); err != nil {
		return secret.Ref{}, err
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		return secret.Ref{}, err
	}
	if err := ctx.Err(); err != nil {
		return secret.Ref{}, keystore.Interrupted("create "+ref.String(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.entries[name]; taken {
		return secret.Ref{}, fault.Newf(fault.Conflict, "%s exists already", ref)
	}
	if err := encoded.Use(func(b []byte) error { return keystore.SameKey(b, encoded) }); err != nil {
		return secret.Ref{}, err
	}
	s.entries[name] = encoded
	return ref, nil
}

// Open returns the key of ref.
func (s *Store) Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error) {
	if err := keystore.CheckRef(s, ref); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, keystore.Interrupted("open "+ref.String(), err)
	}
	s.mu.Lock()
	encoded, ok := s.entries[ref.Name]
	s.mu.Unlock()
	if !ok {
		return nil, fault.Newf(fault.NotFound, "%s does not exist", ref)
	}
	var key crypto.Signer
	err := encoded.Use(func(b []byte) (err error) {
		key, err = keystore.DecodeKey(b)
		return err
	})
	return key, err
}

// Replace keeps a copy of key in place of what was there.
func (s *Store) Replace(ctx context.Context, name string, key crypto.Signer) error {
	if err := keystore.CheckName(name); err != nil {
		return err
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted("replace "+s.Ref(name).String(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[name] = encoded
	return nil
}

// Certificate is never there: this store keeps keys alone.
func (s *Store) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	if _, err := s.Open(ctx, ref); err != nil {
		return nil, err
	}
	return nil, fault.Newf(fault.NotFound, "no certificate lies beside %s", ref)
}

// Delete forgets the key of ref.
func (s *Store) Delete(ctx context.Context, ref secret.Ref) error {
	if err := keystore.CheckRef(s, ref); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted("delete "+ref.String(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, ref.Name)
	return nil
}

// List names all keys, sorted.
func (s *Store) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Interrupted("list keys", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.entries)), nil
}
