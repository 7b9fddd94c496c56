package agefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// keyring is what opens the files of a store and what new ones are encrypted to.
type keyring struct {
	identities []age.Identity
	recipients []age.Recipient
	hint       string      // what to say when a file is encrypted to somebody else
	proven     atomic.Bool // the passphrase fits the entries that were there
}

// developmentLabel is the first line of a generated identity. A store that is not for development refuses the file.
const developmentLabel = "# leastkey: development grade, for the local cloud only"

// unlocked loads identities or passphrase once. With generate set, and only under the lock, a development store makes its identity.
func (s *Store) unlocked(ctx context.Context, generate bool) (*keyring, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys != nil {
		return s.keys, nil
	}
	var keys *keyring
	var err error
	if s.cfg.Passphrase != nil {
		keys, err = s.fromPassphrase(ctx)
	} else {
		keys, err = s.fromFile(generate)
	}
	if err != nil {
		return nil, err
	}
	s.keys = keys
	return keys, nil
}

func (s *Store) fromPassphrase(ctx context.Context) (*keyring, error) {
	phrase, err := s.cfg.Passphrase(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for passphrase of age keystore: %w", err)
	}
	if phrase.Empty() {
		return nil, fault.New(fault.Invalid, "passphrase of age keystore is empty", "")
	}
	keys := &keyring{hint: "enter the passphrase under which the keys were made"}
	err = phrase.Use(func(b []byte) error {
		id, err := age.NewScryptIdentity(string(b))
		if err != nil {
			return err
		}
		to, err := age.NewScryptRecipient(string(b))
		if err != nil {
			return err
		}
		if s.cfg.WorkFactor != 0 {
			to.SetWorkFactor(s.cfg.WorkFactor)
		}
		keys.identities, keys.recipients = []age.Identity{id}, []age.Recipient{to}
		return nil
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "passphrase of age keystore cannot be used", "")
	}
	return keys, nil
}

func (s *Store) fromFile(generate bool) (*keyring, error) {
	path := s.cfg.IdentityFile
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && generate && s.cfg.Development:
		if err := s.generate(); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &fault.Error{Code: fault.Unavailable, Op: "read age identity", Err: err,
			Hint: "make one with age-keygen -o FILE, outside the key folder, and name it with --age-identity"}
	}
	text, err := s.readIdentity()
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if !s.cfg.Development && bytes.Contains(text, []byte(developmentLabel)) {
		return nil, fault.New(fault.Refused, "age identity "+path+" is of development grade",
			"it was generated for the local cloud; make another with age-keygen and name it with --age-identity")
	}
	return parseIdentities(path, text)
}

func parseIdentities(path string, text []byte) (*keyring, error) {
	ids, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		// The cause is left out: it comes from a parser of secret bytes.
		return nil, fault.New(fault.Invalid, "age identity file "+path+" does not read",
			"it holds lines that begin with AGE-SECRET-KEY-; plugins and passphrase-protected identities are not supported")
	}
	keys := &keyring{identities: ids, hint: "name the identity file that was in use when the key was made with --age-identity"}
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			keys.recipients = append(keys.recipients, id.Recipient())
		case *age.HybridIdentity:
			keys.recipients = append(keys.recipients, id.Recipient())
		default:
			return nil, fault.Newf(fault.Unsupported, "age identity of type %T", id)
		}
	}
	return keys, nil
}

// readIdentity reads the file after looking at where it lies and who may read it.
func (s *Store) readIdentity() ([]byte, error) {
	path := s.cfg.IdentityFile
	if !s.cfg.Development {
		inside, err := within(path, s.dir)
		if err != nil {
			return nil, unavailable("locate age identity", err)
		}
		if inside {
			return nil, fault.New(fault.Refused, "age identity "+path+" lies in the folder of the keys that it opens",
				"move it elsewhere: whoever copies the folder must not get both")
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unavailable("open age identity", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unavailable("look at age identity", err)
	}
	if err := checkIdentityMode(path, info.Mode().Perm()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unavailable("read age identity", err)
	}
	if len(text) > maxFile {
		return nil, fault.New(fault.Invalid, "age identity file "+path+" is too long", "")
	}
	return text, nil
}

// checkIdentityMode refuses an identity that others may read or write. Secrets that a container engine or systemd mounts are excused
// from the first: Docker mounts them 0444 (https://docs.docker.com/engine/swarm/secrets/) and systemd shows 0440 where it grants
// its service by an access control list (systemd.exec(5), LoadCredential); the reader could not change either.
func checkIdentityMode(path string, mode fs.FileMode) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	refused := fs.FileMode(0o077)
	if strings.HasPrefix(path, "/run/secrets/") || strings.HasPrefix(path, "/run/credentials/") {
		refused = 0o022
	}
	if mode&refused != 0 {
		return fault.New(fault.Refused, "age identity "+path+" is open to other users", "chmod 600 "+path)
	}
	return nil
}

// within tells whether file lies in dir or below, links followed.
func within(file, dir string) (bool, error) {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return false, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return false, nil // on another volume
	}
	return filepath.IsLocal(rel), nil
}

// generate makes the identity of a development store. The caller holds the lock. If there are entries already, their identity has been
// lost and a new one would only hide that.
func (s *Store) generate() error {
	entries, err := s.entries()
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fault.Newf(fault.Corrupt, "identity %s of the development keystore is gone, but %d of its entries are there",
			s.cfg.IdentityFile, len(entries)).WithHint("restore it, or start afresh with: leastkey cloud reset")
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return unavailable("generate age identity", err)
	}
	text := fmt.Appendf(nil, "%s\n# public key: %s\n%s\n", developmentLabel, id.Recipient(), id)
	defer clear(text)
	dir, base := filepath.Split(s.cfg.IdentityFile)
	// Another store may share the identity file and have made it in this very moment: then its identity is used.
	if err := place(filepath.Clean(dir), base, text); err != nil && !errors.Is(err, fs.ErrExist) {
		return unavailable("write age identity", err)
	}
	return nil
}
