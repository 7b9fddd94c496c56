package statefile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// BackUpLife is how long a backup is kept: long enough to notice that something is missing, short enough that nobody forgets it.
const BackUpLife = 7 * 24 * time.Hour

// backUpSuffix ends the names of our backups, unfinished those of files that are not whole yet.
const (
	backUpSuffix = ".age"
	unfinished   = ".leastkey-new"
)

// BackUp writes an encrypted copy of a file into dir, 0600, and reads it back. One of that name that is there already is read back instead:
// an earlier try has written it.
func BackUp(ctx context.Context, path, dir, name string, id *age.X25519Identity) (string, error) {
	at, err := resolve(path)
	if err != nil {
		return "", err
	}
	have, err := read(at)
	if err != nil {
		return "", err
	}
	if !have.exists() {
		return "", fault.New(fault.NotFound, "back up "+at+": there is no such file", "")
	}
	defer clear(have.content)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", unavailable("make folder "+dir, err)
	}
	to := filepath.Join(dir, name+backUpSuffix)
	if _, err := os.Lstat(to); err == nil {
		_, err := OpenBackUp(to, id)
		return to, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", unavailable("look at "+to, err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err == nil {
		_, err = w.Write(have.content)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		return "", unavailable("encrypt a copy of "+at, err)
	}
	temp := to + unfinished
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", unavailable("remove unfinished "+temp, err)
	}
	if err := (found{}).write(temp, sealed.Bytes(), 0o600); err != nil {
		return "", errors.Join(err, discard(temp))
	}
	if err := os.Rename(temp, to); err != nil {
		return "", errors.Join(unavailable("write "+to, err), discard(temp))
	}
	if err := syncFolder(dir); err != nil {
		return "", err
	}
	back, err := OpenBackUp(to, id)
	if err != nil {
		return "", err
	}
	return to, back.Use(func(b []byte) error {
		if !bytes.Equal(b, have.content) {
			return fault.Newf(fault.Corrupt, "%s does not give back what was written", to)
		}
		return nil
	})
}

// OpenBackUp decrypts a backup.
func OpenBackUp(path string, id *age.X25519Identity) (secret.Value, error) {
	sealed, err := os.ReadFile(path)
	if err != nil {
		return secret.Value{}, unavailable("read "+path, err)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if _, another := errors.AsType[*age.NoIdentityMatchError](err); another {
		return secret.Value{}, fault.New(fault.Unauthenticated, "backup "+path+" does not open with the identity of the keystore", "")
	}
	if err != nil {
		return secret.Value{}, fault.New(fault.Corrupt, "backup "+path+" is damaged or cut short", "")
	}
	b, err := io.ReadAll(io.LimitReader(r, maxSize))
	if err != nil {
		return secret.Value{}, fault.New(fault.Corrupt, "backup "+path+" is damaged or cut short", "")
	}
	return secret.New(b), nil
}

// BackUpSecret is the legacy secret that a backup of a state file holds; the zero value if it holds none.
func BackUpSecret(path string, id *age.X25519Identity) (v secret.Value, err error) {
	content, err := OpenBackUp(path, id)
	if err != nil {
		return v, err
	}
	err = content.Use(func(b []byte) error {
		o, err := parseObject(b)
		if err == nil {
			v = secret.New([]byte(o.get(provisioner.KeySecret)))
		}
		return err
	})
	return v, err
}

// ExpireBackUps removes from a folder of our backups those that are older than [BackUpLife], with what unfinished tries of that age have
// left, and names what it removed. One that somebody else removes meanwhile is fine, and so is a folder that was never made. It may be cut
// off anywhere and called again. On an error it names what was removed until then.
func ExpireBackUps(dir string, now time.Time) (removed []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("look into "+dir, err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(strings.TrimSuffix(e.Name(), unfinished), backUpSuffix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, unavailable("look at "+path, err)
		}
		if now.Before(info.ModTime().Add(BackUpLife)) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, unavailable("remove expired "+path, err)
		}
		removed = append(removed, path)
	}
	if len(removed) > 0 {
		err = syncFolder(dir)
	}
	return removed, err
}
