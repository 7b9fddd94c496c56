package app

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/statefile"
)

// checkEnvFile refuses a change that would have the server write where it has no business. leastkey.yaml itself may name any file: whoever edits it
// has this machine. Whoever sends a change has a token, and with a path of their choice would write into any file that the server's user may
// write. So theirs lies below leastkey.yaml's folder, links followed, and is a new file or one that has our keys already. What holds today may
// stay as it is, and the default is what no word means.
func checkEnvFile(file string, c api.SpecChange, have agent.Spec) error {
	if c.EnvFile == nil || *c.EnvFile == "" || *c.EnvFile == agent.DefaultEnvFile {
		return nil
	}
	path := *c.EnvFile
	if a := have.Agents[c.Agent]; a != nil && a.EnvFile == path {
		return nil
	}
	refuse := func(why string) error {
		return fault.New(fault.Invalid, "env_file: "+why, "through the server it is a clean relative path below leastkey.yaml's folder, such as "+c.Agent+".env; any other is written into leastkey.yaml by hand")
	}
	if strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return refuse("the path has characters that nobody sees")
	}
	if !filepath.IsLocal(path) || filepath.Clean(path) != path || path == "." {
		return refuse(path + " is no clean relative path")
	}
	if file == "" { // a server without a leastkey.yaml writes none
		return nil
	}
	dir := filepath.Dir(file)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "look at leastkey.yaml's folder", Err: err}
	}
	defer root.Close()
	info, err := root.Stat(path) // it follows no link that leads out
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return refuse(path + " leads elsewhere, or cannot be looked at")
	case !info.Mode().IsRegular():
		return refuse(path + " is no file")
	}
	set, _, err := statefile.ReadEnv(filepath.Join(dir, path))
	if err != nil {
		return refuse(path + " is there, and is no environment file")
	}
	for _, key := range agent.EnvNames() {
		if _, ok := set[key]; ok {
			return nil
		}
	}
	return refuse(path + " is there, and was not written by leastkey")
}
