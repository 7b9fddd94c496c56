package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/front/client"
)

// remote opens the door of an admin server.
func (a *App) remote(ctx context.Context, r cli.Remote) (cli.Door, error) {
	token := r.Token
	if token.Empty() {
		path, err := a.tokenFile(r.TokenFile)
		if err != nil {
			return nil, err
		}
		if token, err = readToken(path); err != nil {
			return nil, err
		}
	}
	return client.Open(ctx, client.Config{URL: r.URL, Token: token})
}

// tokenFile is where the token for a server is kept: named, or leastkey/token in the user's configuration folder.
func (a *App) tokenFile(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if x := a.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(x) {
		return filepath.Join(x, "leastkey", "token"), nil
	}
	h := a.Getenv("HOME")
	if h == "" && runtime.GOOS == "windows" {
		h = a.Getenv("USERPROFILE")
	}
	if h == "" {
		return "", fault.New(fault.Usage, "neither XDG_CONFIG_HOME nor HOME is set", "name the token's file with --server-token")
	}
	return filepath.Join(h, ".config", "leastkey", "token"), nil
}

// longestToken bounds what is read of a file that somebody named.
const longestToken = 4096

// readToken reads a file that nobody else may read: what others can read is no secret any more.
func readToken(path string) (secret.Value, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Value{}, fault.New(fault.Usage, "no token in "+path, "put the one that leastkey serve token add printed there, or name its file with --server-token")
	}
	if err != nil {
		return secret.Value{}, &fault.Error{Code: fault.Usage, Op: "read the token", Err: err}
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return secret.Value{}, &fault.Error{Code: fault.Usage, Op: "read the token", Err: err}
	}
	if info.IsDir() {
		return secret.Value{}, fault.New(fault.Usage, path+" is a folder", "--server-token names a file")
	}
	if runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return secret.Value{}, fault.New(fault.Refused, "others may read "+path, "chmod 600 "+path+"; or hand it over with --server-token - and stdin")
	}
	b, err := io.ReadAll(io.LimitReader(f, longestToken+1))
	b = bytes.TrimSpace(b)
	if err != nil || len(b) == 0 || len(b) > longestToken || bytes.ContainsAny(b, "\r\n") {
		return secret.Value{}, fault.New(fault.Usage, path+" holds no token", "it is one line")
	}
	return secret.New(b), nil
}
