// Package agefile is a keystore in a folder: one file per key or secret, encrypted with age (https://age-encryption.org/v1).
//
// It serves where there is no keychain: servers, containers, continuous integration and the local cloud. What protects the keys is
// the age identity or passphrase, which is kept elsewhere; nothing is ever written in clear. age authenticates content but not
// its author: whoever may write into the folder can put another key there, which is why callers compare a key with its certificate.
package agefile

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Config says where the keys are and what opens them. Exactly one of IdentityFile, Passphrase and Development is the source;
// IdentityFile may stand with Development.
type Config struct {
	// Path is the folder of the keys, made with mode 0700 by the first Create if its parent exists. Required. A relative path is
	// made absolute at once, so that a Ref means the same in every working directory.
	Path string

	// IdentityFile holds age identities, one to a line (age-keygen makes one; post-quantum ones too). It lies outside Path,
	// because a backup or a thief who takes the folder must not get both. New keys are encrypted to all identities in it.
	// "" means none, or with Development the file identity.txt in Path.
	IdentityFile string

	// Passphrase asks for the passphrase, once in the life of the Store; nil means none. When a store is new the caller should ask
	// the person twice. Not in use together with the others.
	Passphrase func(ctx context.Context) (secret.Value, error)

	// Development lets the store generate its identity and keep it beside the keys, labelled as development grade: for the local
	// cloud only. A store without it refuses an identity with that label. False means an identity is never generated.
	Development bool

	// WorkFactor is the base-2 logarithm of scrypt's cost for new files under a passphrase. Zero means age's default (18, about a
	// second). Tests take 10.
	WorkFactor int
}

// Store is a folder of encrypted keys.
type Store struct {
	cfg  Config
	dir  string
	lock string

	mu   sync.Mutex // guards keys
	keys *keyring   // loaded at first use; nil before
}

var (
	_ keystore.Store    = (*Store)(nil)
	_ keystore.Lister   = (*Store)(nil)
	_ keystore.Secrets  = (*Store)(nil)
	_ keystore.Replacer = (*Store)(nil)
)

// New is the store that cfg describes. It touches no file: fault.Invalid or fault.Refused if cfg makes no sense. With no source of
// an identity it is refused, and the hint names the flag; there is no plaintext to fall back to.
func New(cfg Config) (*Store, error) {
	if cfg.Path == "" || strings.ContainsAny(cfg.Path, "\x00\r\n") {
		return nil, fault.New(fault.Invalid, "age keystore needs the path of a folder", "for example --keystore age:/var/lib/leastkey/keys")
	}
	dir, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "make path of age keystore absolute", Err: err}
	}
	switch {
	case cfg.Passphrase != nil && (cfg.IdentityFile != "" || cfg.Development):
		return nil, fault.New(fault.Invalid, "age keystore has both a passphrase and an identity file", "choose one")
	case cfg.Passphrase == nil && cfg.IdentityFile == "" && !cfg.Development:
		return nil, fault.New(fault.Refused, "age keystore has nothing to encrypt to",
			"name an identity file outside the key folder with --age-identity, or give a passphrase at a terminal")
	case cfg.WorkFactor < 0 || cfg.WorkFactor > 22:
		return nil, fault.New(fault.Invalid, "scrypt work factor must be 1 to 22, or 0 for the default", "")
	}
	if cfg.IdentityFile == "" && cfg.Development {
		cfg.IdentityFile = filepath.Join(dir, "identity.txt")
	}
	if cfg.IdentityFile != "" {
		if cfg.IdentityFile, err = filepath.Abs(cfg.IdentityFile); err != nil {
			return nil, &fault.Error{Code: fault.Invalid, Op: "make path of age identity absolute", Err: err}
		}
	}
	return &Store{cfg: cfg, dir: dir, lock: filepath.Join(dir, ".lock")}, nil
}

// Ref is age:<path>#<name> with the absolute path.
func (s *Store) Ref(name string) secret.Ref {
	return secret.Ref{Backend: "age", Store: s.dir, Name: name}
}

// Create encrypts key into a new file.
//
// The file appears under its name whole or not at all: it is written and flushed under a temporary name, then linked, which fails
// if the name is taken, and the folder is flushed. A process killed in between leaves at most a temporary file, which holds
// ciphertext, is no entry, and is removed by the next Create.
func (s *Store) Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error) {
	ref := s.Ref(name)
	file, err := s.file(name)
	if err != nil {
		return secret.Ref{}, err
	}
	encoded, err := keystore.EncodeKey(key)
	if err != nil {
		return secret.Ref{}, err
	}
	op := "create " + ref.String()
	if err := ctx.Err(); err != nil {
		return secret.Ref{}, keystore.Interrupted(op, err)
	}
	if err := s.makeDir(); err != nil {
		return secret.Ref{}, err
	}
	unlock, err := keystore.Lock(ctx, s.lock)
	if err != nil {
		return secret.Ref{}, err
	}
	defer unlock()
	if err := s.sweep(); err != nil {
		return secret.Ref{}, err
	}
	if _, err := os.Lstat(file); err == nil {
		return secret.Ref{}, taken(ref)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return secret.Ref{}, unavailable(op, err)
	}
	keys, err := s.unlocked(ctx, true)
	if err != nil {
		return secret.Ref{}, err
	}
	if err := s.provePassphrase(keys); err != nil {
		return secret.Ref{}, err
	}
	ciphertext, err := encrypt(keys, encoded)
	if err != nil {
		return secret.Ref{}, err
	}
	if err := ctx.Err(); err != nil {
		return secret.Ref{}, keystore.Interrupted(op, err)
	}
	if err := place(s.dir, filepath.Base(file), ciphertext); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return secret.Ref{}, taken(ref)
		}
		return secret.Ref{}, unavailable(op, err)
	}
	if err := s.readBack(file, keys, encoded); err != nil {
		// Nobody has been told of the entry yet, and it is not what was asked for.
		_ = os.Remove(file)
		return secret.Ref{}, &fault.Error{Code: fault.CodeOf(err), Op: "read back " + ref.String(), Err: err}
	}
	return ref, nil
}

func taken(ref secret.Ref) error { return fault.Newf(fault.Conflict, "%s exists already", ref) }

func unavailable(op string, err error) error {
	f := &fault.Error{Code: fault.Unavailable, Op: op, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		// Waiting does not make room, and no entry was changed.
		f.Code, f.Hint = fault.Refused, "make room on the disk, then run it again"
	case errors.Is(err, syscall.EROFS):
		f.Code, f.Hint = fault.Refused, "make the file system writable, then run it again"
	}
	return f
}

func (s *Store) readBack(file string, keys *keyring, want secret.Value) error {
	got, err := decryptFile(file, keys)
	if err != nil {
		return err
	}
	return got.Use(func(b []byte) error { return keystore.SameKey(b, want) })
}

// provePassphrase opens an entry that is there already before a new one is written: a mistyped passphrase would otherwise make a
// key that nobody can open next time.
func (s *Store) provePassphrase(keys *keyring) error {
	if s.cfg.Passphrase == nil || keys.proven.Load() {
		return nil
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		if _, err := decryptFile(filepath.Join(s.dir, escape(entries[0])+extension), keys); err != nil {
			return err
		}
	}
	keys.proven.Store(true)
	return nil
}

// Open decrypts the key of ref. fault.NotFound: the store is there, and the key is not in it. fault.Unavailable: the folder of the store or
// its identity is not there, so nobody can tell; where it was never made the error has a method Unmade. fault.Unauthenticated: the identity or passphrase is not the one the file is encrypted to (a damaged
// header looks the same: age cannot tell). fault.Corrupt: the file is cut or damaged. fault.Refused: its permissions are too wide.
func (s *Store) Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error) {
	if err := keystore.CheckRef(s, ref); err != nil {
		return nil, err
	}
	op := "open " + ref.String()
	if err := ctx.Err(); err != nil {
		return nil, keystore.Interrupted(op, err)
	}
	file, err := s.file(ref.Name)
	if err != nil {
		return nil, err
	}
	if err := s.checkDir(); err != nil {
		return nil, because(op, err)
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		if err := s.opened(); err != nil {
			return nil, because(op, err)
		}
		return nil, fault.Newf(fault.NotFound, "%s does not exist", ref)
	} else if err != nil {
		return nil, unavailable(op, err)
	}
	keys, err := s.unlocked(ctx, false)
	if err != nil {
		return nil, because(op, err)
	}
	plain, err := decryptFile(file, keys)
	if err != nil {
		return nil, because(op, err)
	}
	var key crypto.Signer
	err = plain.Use(func(b []byte) (err error) {
		key, err = keystore.DecodeKey(b)
		return err
	})
	if err != nil {
		return nil, because(op, err)
	}
	return key, nil
}

// opened tells whether what opens the store is there. An empty folder without it is not a store that lacks a key: it may be the mount point
// of one.
func (s *Store) opened() error {
	if s.cfg.IdentityFile == "" {
		return nil
	}
	if _, err := os.Stat(s.cfg.IdentityFile); errors.Is(err, fs.ErrNotExist) {
		return unmade("age identity "+s.cfg.IdentityFile+" does not exist", "put it back; "+whereKeysWent)
	} else if err != nil {
		return unavailable("look at age identity", err)
	}
	return nil
}

// missing is the cause of a fault where the store itself is not there. Before the first key that is as it should be; of a key that was made,
// it says nothing, because the folder may have been moved or its disk not mounted.
type missing string

// Error implements [error].
func (m missing) Error() string { return string(m) }

// Unmade tells that the next Create makes the store.
func (missing) Unmade() bool { return true }

func unmade(what, hint string) error {
	return &fault.Error{Code: fault.Unavailable, Err: missing(what), Hint: hint}
}

const whereKeysWent = "if the keys are gone for good: leastkey revoke, and apply again"

// because adds what was tried and keeps the class of the failure.
func because(op string, err error) error {
	return &fault.Error{Code: fault.CodeOf(err), Op: op, Err: err}
}

// Delete removes the file of ref. It needs no identity, so a key can be revoked by somebody who cannot read it.
func (s *Store) Delete(ctx context.Context, ref secret.Ref) error {
	if err := keystore.CheckRef(s, ref); err != nil {
		return err
	}
	file, err := s.file(ref.Name)
	if err != nil {
		return err
	}
	return s.remove(ctx, "delete "+ref.String(), file)
}

func (s *Store) remove(ctx context.Context, op, file string) error {
	if err := ctx.Err(); err != nil {
		return keystore.Interrupted(op, err)
	}
	err := s.checkDir()
	if _, none := errors.AsType[missing](err); none {
		return nil
	}
	if err != nil {
		return because(op, err)
	}
	unlock, err := keystore.Lock(ctx, s.lock)
	if err != nil {
		return err
	}
	defer unlock()
	// A temporary file of a killed process may be a second link to the entry, or hold the secret that was to come after it.
	if err := s.sweep(); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(op, err)
	}
	if err := syncDir(s.dir); err != nil {
		return unavailable(op, err)
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return fault.Newf(fault.Unavailable, "%s: the entry is still there", op)
	}
	return nil
}

// List names all keys, sorted. What is not a key (secrets, temporary files, the lock, an identity) is passed over.
func (s *Store) List(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Interrupted("list keys in "+s.dir, err)
	}
	err := s.checkDir()
	if _, none := errors.AsType[missing](err); none {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := s.entries()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e string) bool { return keystore.CheckName(e) != nil }), nil
}

// entries are those of keys and of secrets, sorted.
func (s *Store) entries() ([]string, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, unavailable("list entries of "+s.dir, err)
	}
	var entries []string
	for _, f := range files {
		if e, ok := entryName(f.Name()); ok {
			entries = append(entries, e)
		}
	}
	slices.Sort(entries)
	return entries, nil
}

func encrypt(keys *keyring, plain secret.Value) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, keys.recipients...)
	if err != nil {
		// age says so when classic and post-quantum identities are mixed, which would be as weak as the classic one.
		return nil, &fault.Error{Code: fault.Invalid, Op: "encrypt to age identities",
			Hint: "an identity file must not mix classic and post-quantum identities", Err: err}
	}
	if err := plain.Use(func(b []byte) error { _, err := w.Write(b); return err }); err != nil {
		return nil, unavailable("encrypt entry", err)
	}
	if err := w.Close(); err != nil {
		return nil, unavailable("encrypt entry", err)
	}
	return out.Bytes(), nil
}

// maxFile bounds what is read: the longest secret, and as much again for its name and the header, where an identity takes 0.2 kB or, if it
// is post-quantum, 1.6 kB.
const maxFile = 2 * keystore.MaxSecret

func decryptFile(file string, keys *keyring) (secret.Value, error) {
	f, err := openPrivate(file)
	if err != nil {
		return secret.Value{}, err
	}
	defer f.Close()
	ciphertext, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return secret.Value{}, unavailable("read key file", err)
	}
	if len(ciphertext) > maxFile {
		return secret.Value{}, fault.New(fault.Corrupt, "key file is too long", "")
	}
	r, err := age.Decrypt(bytes.NewReader(ciphertext), keys.identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return secret.Value{}, fault.New(fault.Unauthenticated, "key file is encrypted to another identity or passphrase", keys.hint)
	}
	if err != nil {
		return secret.Value{}, damaged()
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		clear(plain)
		return secret.Value{}, damaged()
	}
	return secret.New(plain), nil
}

func damaged() error {
	return fault.New(fault.Corrupt, "key file is damaged or cut short",
		"restore it from a backup, or delete it and make anew what it held: a key by rotation, a sign-in with leastkey login")
}

// makeDir makes the folder, but not its parents: when a disk is not mounted, keys must not silently go below its mount point.
func (s *Store) makeDir() error {
	if err := os.Mkdir(s.dir, 0o700); err == nil {
		if err := syncDir(filepath.Dir(s.dir)); err != nil {
			return unavailable("make key folder", err)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Code: fault.Unavailable, Op: "make key folder " + s.dir, Err: err,
			Hint: "make the folder above it, or mount its disk"}
	} else if !errors.Is(err, fs.ErrExist) {
		return unavailable("make key folder", err)
	}
	return s.checkDir()
}

// checkDir looks at the folder: fault.Unavailable if it is not there, with the cause missing unless the folder above it is missing too (a
// disk that is not mounted), fault.Refused if others may enter it.
func (s *Store) checkDir() error {
	info, err := os.Stat(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, above := os.Stat(filepath.Dir(s.dir)); above != nil {
			return &fault.Error{Code: fault.Unavailable, Op: "look into key folder " + s.dir, Err: above,
				Hint: "is its disk mounted? If the keys are gone for good, make the empty folder above it"}
		}
		return unmade("key folder "+s.dir+" does not exist", "put it back, or mount its disk; "+whereKeysWent)
	}
	if err != nil {
		return unavailable("look into key folder", err)
	}
	if !info.IsDir() {
		return fault.Newf(fault.Invalid, "%s is not a folder", s.dir)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fault.New(fault.Refused, "key folder "+s.dir+" is open to other users", "chmod 700 "+s.dir)
	}
	return nil
}
