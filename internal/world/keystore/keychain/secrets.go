package keychain

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// maxSecret is what every keychain can hold. The Windows Credential Manager takes 2,560 bytes (CRED_MAX_CREDENTIAL_BLOB_SIZE, 5*512);
// in base64 2,400 bytes and a usual name stay below the 4,096 bytes of a command line of macOS' security tool. A Secret Service
// would take more, but a secret that was kept on one system should not be refused on the next.
const maxSecret = 2400

// PutSecret writes v into the entry secret:<name> of the service and reads it back. The entry is changed in place: a keychain has no
// second copy to prove first.
func (s *Store) PutSecret(ctx context.Context, name string, v secret.Value) error {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return err
	}
	own, err := keystore.CopySecret(v, maxSecret, noKeychainHint)
	if err != nil {
		return err
	}
	op := "put " + s.Ref(entry).String()
	return await(ctx, op, func() error {
		unlock, err := s.exclusive(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		if err := ctx.Err(); err != nil {
			return keystore.Interrupted(op, err)
		}
		if err := s.vault.put(ctx, s.service, entry, own); err != nil {
			return because(op, err)
		}
		return s.readBackSecret(ctx, entry, own)
	})
}

func (s *Store) readBackSecret(ctx context.Context, entry string, want secret.Value) error {
	op := "read back " + s.Ref(entry).String()
	got, err := s.vault.get(ctx, s.service, entry)
	if fault.Is(err, fault.NotFound) {
		return notKept(op)
	}
	if err != nil {
		return because(op, err)
	}
	defer clear(got)
	if err := keystore.SameSecret(secret.New(got), want); err != nil {
		return because(op, err)
	}
	return nil
}

// Secret returns what was put last.
func (s *Store) Secret(ctx context.Context, name string) (secret.Value, error) {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return secret.Value{}, err
	}
	op := "read " + s.Ref(entry).String()
	found := make(chan secret.Value, 1)
	err = await(ctx, op, func() error {
		content, err := s.vault.get(ctx, s.service, entry)
		if err != nil {
			return because(op, err)
		}
		found <- secret.New(content)
		return nil
	})
	if err != nil {
		return secret.Value{}, err
	}
	return <-found, nil
}

// DeleteSecret removes the entry secret:<name> and looks again.
func (s *Store) DeleteSecret(ctx context.Context, name string) error {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return err
	}
	return s.remove(ctx, s.Ref(entry))
}
