package memory

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// PutSecret keeps a copy of v.
func (s *Store) PutSecret(ctx context.Context, name string, v secret.Value) error {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return err
	}
	own, err := keystore.CopySecret(v, keystore.MaxSecret, "")
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted("put "+s.Ref(entry).String(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[name] = own
	return nil
}

// Secret returns what was put last.
func (s *Store) Secret(ctx context.Context, name string) (secret.Value, error) {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return secret.Value{}, err
	}
	if err := ctx.Err(); err != nil {
		return secret.Value{}, keystore.Interrupted("read "+s.Ref(entry).String(), err)
	}
	s.mu.Lock()
	v, ok := s.secrets[name]
	s.mu.Unlock()
	if !ok {
		return secret.Value{}, fault.Newf(fault.NotFound, "%s does not exist", s.Ref(entry))
	}
	return v, nil
}

// DeleteSecret forgets the secret.
func (s *Store) DeleteSecret(ctx context.Context, name string) error {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted("delete "+s.Ref(entry).String(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.secrets, name)
	return nil
}
