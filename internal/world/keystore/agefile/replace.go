package agefile

import (
	"context"
	"crypto"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Replace encrypts key into the file of that name: written, flushed and decrypted again under a temporary name, then renamed over the old
// one, so that there is always one.
func (s *Store) Replace(ctx context.Context, name string, key crypto.Signer) error {
	file, err := s.file(name)
	if err != nil {
		return err
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		return err
	}
	return s.put(ctx, "replace "+s.Ref(name).String(), file, encoded, func(file string, keys *keyring) error { return s.readBack(file, keys, encoded) })
}

// Certificate is never there: this store keeps keys alone.
func (s *Store) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	if _, err := s.Open(ctx, ref); err != nil {
		return nil, err
	}
	return nil, fault.Newf(fault.NotFound, "no certificate lies beside %s", ref)
}
