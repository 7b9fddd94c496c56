package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/statefile"
)

// envFile is the agent's environment file. A relative path lies beside leastkey.yaml.
type envFile struct{ base string }

// Path implements [provision.EnvFile].
func (e envFile) Path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(e.base, path)
}

// Write implements [provision.EnvFile].
func (e envFile) Write(ctx context.Context, path string, set map[string]string) (string, error) {
	ch, err := statefile.UpdateEnv(ctx, e.Path(path), set, nil)
	return told(ch), err
}

// Clear implements [provision.EnvFile]. A key whose value is not ours has been set by somebody else and stays. Where the folder is gone,
// the file went with it: nobody can be asked to bring a folder back so that a key can be removed from it.
func (e envFile) Clear(ctx context.Context, path string, ours map[string]string) (string, error) {
	if _, err := os.Stat(filepath.Dir(e.Path(path))); errors.Is(err, fs.ErrNotExist) {
		return "there is no file", nil
	}
	have, exists, err := statefile.ReadEnv(e.Path(path))
	if err != nil || !exists {
		return "there is no file", err
	}
	var remove, left []string
	for _, key := range slices.Sorted(maps.Keys(ours)) {
		switch have[key] {
		case ours[key]:
			remove = append(remove, key)
		case "":
		default:
			left = append(left, key)
		}
	}
	ch, err := statefile.UpdateEnv(ctx, e.Path(path), nil, remove)
	did := told(ch)
	if len(left) > 0 {
		did += "; left alone, because their value is not ours: " + strings.Join(left, ", ")
	}
	return did, err
}

func told(ch statefile.Change) string {
	if ch.Unchanged {
		return ch.Path + " is as it should be"
	}
	s := fmt.Sprintf("%s: %d set, %d removed", ch.Path, len(ch.Set), len(ch.Removed))
	if ch.ModeBefore != 0 && ch.ModeBefore != ch.ModeAfter {
		s += fmt.Sprintf(", mode tightened from %04o to %04o", ch.ModeBefore.Perm(), ch.ModeAfter.Perm())
	}
	return s
}

// readEnv reads our keys of the file for an observation, and says where it lies. What else is in it may be somebody's secret, and goes no
// further.
func readEnv(base string) func(string) (string, map[string]string, error) {
	return func(path string) (string, map[string]string, error) {
		at := envFile{base}.Path(path)
		have, _, err := statefile.ReadEnv(at)
		maps.DeleteFunc(have, func(key, _ string) bool { return !slices.Contains(agent.EnvNames(), key) })
		return at, have, err
	}
}

// readLegacy reads the environment file of a runtime with a client secret: a path that somebody has typed is read from where they are, that
// of the spec lies beside leastkey.yaml.
func readLegacy(base string) func(named, spec string) (agent.Legacy, secret.Value, error) {
	return func(named, spec string) (agent.Legacy, secret.Value, error) {
		at, err := envFile{base}.Path(spec), error(nil)
		if named != "" {
			if at, err = filepath.Abs(named); err != nil {
				return agent.Legacy{}, secret.Value{}, err
			}
		}
		return statefile.ReadLegacyRuntime(at)
	}
}
