package agefile

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// PutSecret encrypts v into the file of that secret.
//
// The new file is written, flushed and decrypted again under a temporary name, and only then renamed over the old one, and the folder
// is flushed: whoever reads, and whatever kills this process, there is the old secret or the new one. A temporary file that is left holds
// ciphertext and is removed by the next write.
func (s *Store) PutSecret(ctx context.Context, name string, v secret.Value) error {
	file, ref, err := s.secretFile(name)
	if err != nil {
		return err
	}
	own, err := keystore.CopySecret(v, keystore.MaxSecret, "")
	if err != nil {
		return err
	}
	framed := frame(name, own)
	return s.put(ctx, "put "+ref.String(), file, framed, func(file string, keys *keyring) error {
		got, err := decryptFile(file, keys)
		if err != nil {
			return err
		}
		return keystore.SameSecret(got, framed)
	})
}

// put encrypts plain into file, under the store's lock, in place of what is there. prove opens what was written before it gets the name.
func (s *Store) put(ctx context.Context, op, file string, plain secret.Value, prove func(file string, keys *keyring) error) error {
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted(op, err)
	}
	if err := s.makeDir(); err != nil {
		return because(op, err)
	}
	unlock, err := keystore.Lock(ctx, s.lock)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.sweep(); err != nil {
		return err
	}
	keys, err := s.unlocked(ctx, true)
	if err != nil {
		return because(op, err)
	}
	if err := s.provePassphrase(keys); err != nil {
		return because(op, err)
	}
	ciphertext, err := encrypt(keys, plain)
	if err != nil {
		return because(op, err)
	}
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted(op, err)
	}
	return s.replace(op, file, ciphertext, func(file string) error { return prove(file, keys) })
}

// replace puts content under the name of file once prove has opened it under another. The caller holds the lock.
func (s *Store) replace(op, file string, content []byte, prove func(file string) error) error {
	temp := filepath.Join(s.dir, tempPrefix+rand.Text())
	defer os.Remove(temp) // gone already if all went well
	if err := write(temp, content); err != nil {
		return unavailable(op, err)
	}
	if err := prove(temp); err != nil {
		return because(op, err)
	}
	if err := os.Rename(temp, file); err != nil {
		return unavailable(op, err)
	}
	if err := syncDir(s.dir); err != nil {
		return unavailable(op, err)
	}
	now, err := os.ReadFile(file)
	if err != nil {
		return unavailable("read back: "+op, err)
	}
	if !bytes.Equal(now, content) {
		return fault.New(fault.Corrupt, op+": the file holds something else", "")
	}
	return nil
}

// Secret decrypts the secret of that name. The errors are those of Open, but where the folder is not there, there is no secret either: a
// secret, unlike a key, can be had again.
func (s *Store) Secret(ctx context.Context, name string) (secret.Value, error) {
	file, ref, err := s.secretFile(name)
	if err != nil {
		return secret.Value{}, err
	}
	op := "read " + ref.String()
	if err := ctx.Err(); err != nil {
		return secret.Value{}, keystore.Interrupted(op, err)
	}
	err = s.checkDir()
	if _, none := errors.AsType[missing](err); none {
		return secret.Value{}, fault.Newf(fault.NotFound, "%s does not exist", ref)
	}
	if err != nil {
		return secret.Value{}, because(op, err)
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, fault.Newf(fault.NotFound, "%s does not exist", ref)
	} else if err != nil {
		return secret.Value{}, unavailable(op, err)
	}
	keys, err := s.unlocked(ctx, false)
	if err != nil {
		return secret.Value{}, because(op, err)
	}
	framed, err := decryptFile(file, keys)
	if err != nil {
		return secret.Value{}, because(op, err)
	}
	v, err := unframe(name, framed)
	if err != nil {
		return secret.Value{}, because(op, err)
	}
	return v, nil
}

// DeleteSecret removes the file of that secret. Like Delete it needs no identity.
func (s *Store) DeleteSecret(ctx context.Context, name string) error {
	file, ref, err := s.secretFile(name)
	if err != nil {
		return err
	}
	return s.remove(ctx, "delete "+ref.String(), file)
}

// heading comes before each secret in its file, with the name. age does not know the name of a file, so without it somebody who may write
// into the folder, but not read, could copy a key or the secret of one tenant over the secret of another, and have it sent to whoever
// is asked there.
func heading(name string) []byte { return []byte("leastkey secret 1\n" + name + "\n") }

func frame(name string, v secret.Value) (framed secret.Value) {
	_ = v.Use(func(b []byte) error { // the function cannot fail
		framed = secret.New(slices.Concat(heading(name), b))
		return nil
	})
	return framed
}

func unframe(name string, framed secret.Value) (v secret.Value, err error) {
	err = framed.Use(func(b []byte) error {
		body, ok := bytes.CutPrefix(b, heading(name))
		if !ok || len(body) == 0 {
			return fault.New(fault.Corrupt, "the file does not hold the secret of this name",
				"somebody may have moved files in the keystore; sign in again with leastkey login")
		}
		v = secret.New(bytes.Clone(body))
		clear(b)
		return nil
	})
	return v, err
}
