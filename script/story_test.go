//go:build unix

package script_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

// patience bounds every wait of a story for something that must come.
const patience = 60 * time.Second

type storyKey struct{}

// story is one story on its way.
type story struct {
	name, work string
	ctx        context.Context
	watch      canary.Watch
	sweep      *canary.Sweep
	learnt     map[string]string // run folder → what its secrets were learnt from
	running    map[string]*process
	clouds     []*attached
	tell       testscript.T
	planted    map[string]string // for the stories that leak on purpose
	identity   string            // the age identity of the story's own keystore
	learnMore  func() error      // what else is secret; nil is nothing
	legacy     legacy.Installed  // the legacy install of the story
	runtime    runtimeInstall    // and that of an agent
}

// attached is a running cloud that the story looks at.
type attached struct {
	dir  string
	view *cloudview.Cloud
	log  func(context.Context) ([]byte, error)
}

// begin gives the story a home of its own, and plans its end.
func begin(env *testscript.Env) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
	s := &story{name: name, work: env.WorkDir, ctx: ctx, learnt: map[string]string{}, running: map[string]*process{}, tell: env.T(), planted: map[string]string{}}
	for variable, folder := range map[string]string{"HOME": "home", "LEASTKEY_HOME": "lk"} {
		dir := filepath.Join(env.WorkDir, folder)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			cancel()
			return err
		}
		env.Setenv(variable, dir)
	}
	env.Setenv("LOCAL", filepath.Join(env.WorkDir, "lk", "local"))
	env.Setenv("SUBSCRIPTION", "/subscriptions/1ea57ce1-0000-4000-8000-000000000002")
	env.Values[storyKey{}] = s
	env.Defer(func() {
		defer cancel()
		s.end()
	})
	return nil
}

// end sweeps what lives, ends it, and sweeps what is left.
func (s *story) end() {
	var bad []string
	complain := func(err error) {
		if err != nil {
			bad = append(bad, err.Error())
		}
	}
	s.prepareSweep()
	complain(s.learn())
	for _, c := range s.clouds {
		complain(s.requestLog(c))
	}
	for _, p := range s.running {
		complain(s.conclude(p))
	}
	complain(s.learn())
	complain(s.sweep.Files(s.work))
	complain(s.databases())
	if s.identity != "" {
		complain(os.RemoveAll(filepath.Dir(s.identity)))
	}
	for _, l := range s.sweep.Leaks() {
		bad = append(bad, "canary: "+l.String())
	}
	if s.sweep.Swept() == 0 {
		bad = append(bad, "canary: nothing was swept")
	}
	if len(bad) > 0 {
		s.tell.Log(s.name + ":\n" + strings.Join(bad, "\n"))
		s.tell.FailNow()
	}
}

// prepareSweep begins the sweep with the first stream.
func (s *story) prepareSweep() {
	if s.sweep != nil {
		return
	}
	excuses := []canary.Excuse{{Story: s.name, Stream: tokenStdout, Exception: canary.ForTokenAnswer}}
	if s.name == headerStory {
		excuses = append(excuses, canary.Excuse{Story: headerStory, Stream: headerStdout, Exception: canary.ForEndpointHeader})
	}
	for _, folder := range []string{"lk/local", "kept/local"} {
		excuses = append(excuses, canary.RunFolder(s.name, folder)...)
	}
	s.sweep = s.watch.Story(s.name, excuses...)
}

// learn reads the secrets of every run folder that there is by now. It is called after every command, so that a key is known before
// another command can delete it.
func (s *story) learn() error {
	s.prepareSweep()
	for _, folder := range []string{"lk/local", "kept/local"} {
		dir := filepath.Join(s.work, filepath.FromSlash(folder))
		if _, err := os.Stat(filepath.Join(dir, "operators.json")); err != nil {
			continue
		}
		from := fingerprint(dir)
		if from == s.learnt[dir] {
			continue
		}
		if _, err := s.watch.RunFolder(dir); err != nil {
			return fmt.Errorf("learn the secrets of %s: %w", folder, err)
		}
		s.learnt[dir] = from
	}
	err := s.learnStore()
	if s.learnMore != nil {
		err = errors.Join(err, s.learnMore())
	}
	return err
}

// learnStore reads the keys of the story's own age keystore, which lies in the folder "store".
func (s *story) learnStore() error {
	dir := filepath.Join(s.work, "store")
	if _, err := os.Stat(dir); s.identity == "" || err != nil {
		return nil
	}
	_, err := s.watch.AgeStore(canary.PrivateKey, dir, s.identity)
	return err
}

// fingerprint changes with the files of a run folder in which secrets lie.
func fingerprint(dir string) string {
	var b strings.Builder
	for _, pattern := range []string{"*.json", "*.pem", "keys/*"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is well formed
		for _, f := range found {
			if info, err := os.Stat(f); err == nil {
				fmt.Fprintln(&b, f, info.ModTime().UnixNano(), info.Size())
			}
		}
	}
	return b.String()
}

func (s *story) requestLog(c *attached) error {
	b, err := c.log(s.ctx)
	if err != nil {
		return nil // it has ended; its log went with it
	}
	s.sweep.Bytes("request log", b)
	return nil
}

// databases sweeps every value of every table: in the file a long one is spread over pages.
func (s *story) databases() error {
	return filepath.WalkDir(s.work, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(d.Name()) != ".db" {
			return err
		}
		rows, err := dump(s.ctx, file)
		if err != nil {
			return nil // damaged on purpose; its bytes are swept all the same
		}
		rel, err := filepath.Rel(s.work, file)
		s.sweep.Bytes(filepath.ToSlash(rel)+" (rows)", rows)
		return err
	})
}

// attachedTo is the cloud that was attached last.
func (s *story) attachedTo(ts *testscript.TestScript) *attached {
	if len(s.clouds) == 0 {
		ts.Fatalf("no cloud runs: cloud start")
	}
	return s.clouds[len(s.clouds)-1]
}

func sortedKeys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
