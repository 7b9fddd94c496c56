package agefile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

const (
	extension  = ".age"
	tempPrefix = ".tmp-"
	maxBase    = 255 // bytes in a file name on common file systems
	digits     = "0123456789ABCDEF"
)

// file is the path of the key of that name.
func (s *Store) file(name string) (string, error) {
	if err := keystore.CheckName(name); err != nil {
		return "", err
	}
	return s.path(name)
}

// secretFile is the path of the secret of that name, and what it is called.
func (s *Store) secretFile(name string) (file string, ref secret.Ref, err error) {
	entry, err := keystore.SecretEntry(name)
	if err != nil {
		return "", secret.Ref{}, err
	}
	file, err = s.path(entry)
	return file, s.Ref(entry), err
}

func (s *Store) path(entry string) (string, error) {
	base := escape(entry) + extension
	if len(base) > maxBase {
		return "", fault.New(fault.Invalid, "name is too long for a file name",
			"upper-case letters, spaces and signs count three times")
	}
	return filepath.Join(s.dir, base), nil
}

// escape percent-encodes every byte but lower-case letters, digits and "-_.". Upper-case letters are encoded too, because on the file
// systems of macOS and Windows two names that differ in case would be one file, and a key would open under another's name.
func escape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

// entryName is the entry, of a key or a secret, whose file is base; false if base is not the file of any.
func entryName(base string) (string, bool) {
	body, ok := strings.CutSuffix(base, extension)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(body); i++ {
		if body[i] != '%' {
			b.WriteByte(body[i])
			continue
		}
		if i+2 >= len(body) {
			return "", false
		}
		hi, lo := strings.IndexByte(digits, body[i+1]), strings.IndexByte(digits, body[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	name := b.String()
	// Only the one spelling that escape makes is an entry; a second would be a second file for one name.
	if _, ok := keystore.SecretName(name); !ok && keystore.CheckName(name) != nil || escape(name) != body {
		return "", false
	}
	return name, true
}

// place puts content under a new name in dir, whole or not at all: fs.ErrExist if the name is taken. The caller holds the lock.
func place(dir, base string, content []byte) error {
	temp := filepath.Join(dir, tempPrefix+rand.Text())
	if err := write(temp, content); err != nil {
		_ = os.Remove(temp)
		return err
	}
	if err := reveal(temp, filepath.Join(dir, base)); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncDir(dir)
}

func write(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// reveal gives the file its name. A link never replaces what is there. Where the file system has no links (exFAT, some network and
// FUSE file systems) a look under our lock and a rename take its place: that holds against every leastkey process.
func reveal(temp, final string) error {
	err := os.Link(temp, final)
	if err == nil {
		return os.Remove(temp)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, look := os.Lstat(final); look == nil {
		return fs.ErrExist
	} else if !errors.Is(look, fs.ErrNotExist) {
		return look
	}
	return os.Rename(temp, final)
}

// syncDir flushes the folder, so that a name survives a power cut. Windows has no such call and journals names itself.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// sweep removes what killed processes left. The caller holds the lock, so no living Create owns a temporary file.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return unavailable("look into key folder", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return unavailable("remove temporary file", err)
			}
		}
	}
	return nil
}

// openPrivate opens a key file that nobody else may read or write. It is refused rather than tightened: who could read the file
// until now may have done so, and a person has to judge that. A file that is exchanged while it is opened is looked at again, because
// PutSecret does that; a link would be seen then.
func openPrivate(path string) (f *os.File, err error) {
	for range 8 { // PutSecret flushes to the disk between two exchanges, so a second one in a row is rare
		var exchanged bool
		if f, exchanged, err = openOnce(path); !exchanged {
			return f, err
		}
	}
	return nil, err
}

func openOnce(path string) (f *os.File, exchanged bool, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, false, unavailable("look at key file", err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, fault.Newf(fault.Refused, "key file %s is not a regular file", path)
	}
	if f, err = os.Open(path); err != nil {
		return nil, false, unavailable("open key file", err)
	}
	opened, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, false, unavailable("look at key file", err)
	}
	if !os.SameFile(info, opened) {
		_ = f.Close()
		return nil, true, fault.Newf(fault.Unavailable, "key file %s was exchanged while it was opened", path)
	}
	if runtime.GOOS != "windows" && opened.Mode().Perm()&0o077 != 0 {
		_ = f.Close()
		return nil, false, fault.New(fault.Refused, "key file "+path+" is open to other users",
			"chmod 600 the file, and replace the key or secret if somebody else could have copied it and its identity")
	}
	return f, false, nil
}
