package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// mostLinks is how many links are followed, as by Linux (path_resolution(7)).
const mostLinks = 40

// Way are the facts of every folder and link by which a path is reached, from the root: whoever may change one of them decides where the
// path leads. Those of a link are its own, with where it points as Link. What the path itself is, is not among them, unless it is a link. It
// ends where nothing is there any more.
func Way(path string) (all []Facts, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, unavailable("find "+path, err)
	}
	root := filepath.VolumeName(abs) + string(filepath.Separator)
	at, rest, links, seen := root, places(abs[len(filepath.VolumeName(abs)):]), 0, map[string]bool{}
	for len(rest) > 0 {
		if !seen[at] {
			seen[at] = true
			f, err := Look(at)
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
		next := filepath.Join(at, rest[0]) // for ..: the folder above, at holds no link
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return all, nil
		case err != nil:
			return nil, unavailable("look at "+next, err)
		case info.Mode()&fs.ModeSymlink == 0:
			at = next
			continue
		}
		if links++; links > mostLinks {
			return nil, fault.Newf(fault.Refused, "%s leads through more than %d links", abs, mostLinks)
		}
		to, err := os.Readlink(next)
		if err != nil {
			return nil, unavailable("look at "+next, err)
		}
		all = append(all, Facts{Path: next, Link: to, Exists: true, UID: uid(info), Names: 1})
		if filepath.IsAbs(to) {
			at, to = root, to[len(filepath.VolumeName(to)):]
		}
		rest = append(places(to), rest...)
	}
	return all, nil
}

// places are the names of a path, one after the other.
func places(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == filepath.Separator })
}
