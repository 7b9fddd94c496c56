package source

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
)

// Most bounds how much is looked at.
type Most struct {
	Files int
	Bytes int64
}

// Below names the regular files in the folders below a folder, of whatever kind, but for those of git and of installed packages. The folder's
// own files are not among them, and links are not followed. all is false where there are more than the bound allows: nobody has looked at
// the rest. A folder that cannot be read is an error.
func Below(ctx context.Context, dir string, most Most) (files []string, all bool, err error) {
	if dir, err = walkable(dir); err != nil {
		return nil, false, err
	}
	errMore := errors.New("there are more")
	var bytes int64
	err = filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return unavailable("look into "+at, err)
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir() && at != dir && (e.Name() == ".git" || e.Name() == "node_modules"):
			return fs.SkipDir
		case !e.Type().IsRegular() || filepath.Dir(at) == dir:
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return unavailable("look at "+at, err)
		}
		if bytes += info.Size(); len(files) == most.Files || bytes > most.Bytes {
			return errMore
		}
		files = append(files, at)
		return nil
	})
	if errors.Is(err, errMore) {
		return files, false, nil
	}
	return files, err == nil, err
}

// walkable is the folder itself: a walk does not follow the link that it begins at.
func walkable(dir string) (string, error) {
	at, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", unavailable("look into "+dir, err)
	}
	return filepath.Clean(at), nil
}
