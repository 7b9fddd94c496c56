//go:build unix

package crash

import (
	"context"
	"crypto"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Environment variables of a child.
const (
	childMode = "CRASH_CHILD"
	recordTo  = "CRASH_RECORD" // file that gets every point
	dieAt     = "CRASH_DIE_AT" // the point at which it kills itself
)

// child is the product with a point before and after everything that it changes.
func child(args []string) int {
	p := &passing{die: os.Getenv(dieAt), record: os.Getenv(recordTo), seen: map[string]int{}}
	a := &app.App{Getenv: os.Getenv, Streams: cli.Standard(os.Getenv), Hooks: app.Hooks{
		Transport: func(t http.RoundTripper) http.RoundTripper { return &transport{p, t} },
		Journal:   func(j control.Journal) control.Journal { return &journal{j, p} },
		State:     func(s control.State) control.State { return &memory{s, p} },
		Keys:      func(k provision.Keystore) provision.Keystore { return &keys{k, p} },
		Env:       func(e provision.EnvFile) provision.EnvFile { return &env{e, p} },
		Files:     func(f migrate.Files) migrate.Files { return &files{f, p} },
	}}
	return a.Run(context.Background(), args)
}

// passing counts points by name, so that the same name and number is the same place whatever runs beside it.
type passing struct {
	mu          sync.Mutex
	seen        map[string]int
	die, record string
}

func (p *passing) at(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[name]++
	point := fmt.Sprintf("%s #%d", name, p.seen[name])
	if point == p.die {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
	if p.record == "" {
		return
	}
	f, err := os.OpenFile(p.record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, point)
	if err := f.Close(); err != nil {
		panic(err)
	}
}

// around puts a point before and after f.
func (p *passing) around(name string, f func() error) error {
	p.at(name + " before")
	err := f()
	p.at(name + " after")
	return err
}

type transport struct {
	p    *passing
	next http.RoundTripper
}

var ids = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|leastkey-[0-9a-f]{32}`)

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	path := ids.ReplaceAllString(r.URL.Path, "ID")
	err = t.p.around("http "+r.Method+" "+strings.ReplaceAll(path, " ", "_"), func() error {
		resp, err = t.next.RoundTrip(r)
		return err
	})
	return resp, err
}

type journal struct {
	control.Journal
	p *passing
}

func (j *journal) Start(ctx context.Context, run agent.Run) error {
	return j.p.around("journal start", func() error { return j.Journal.Start(ctx, run) })
}

func (j *journal) Begin(ctx context.Context, runID, stepID string, intent map[string]string) (e agent.Entry, err error) {
	err = j.p.around("journal begin "+ids32.ReplaceAllString(stepID, "ID"), func() error {
		e, err = j.Journal.Begin(ctx, runID, stepID, intent)
		return err
	})
	return e, err
}

var ids32 = regexp.MustCompile(`[0-9a-f]{32}|[0-9a-fA-F-]{36}`)

func (j *journal) End(ctx context.Context, runID, stepID string, r agent.Result) error {
	return j.p.around("journal end "+ids32.ReplaceAllString(stepID, "ID"), func() error { return j.Journal.End(ctx, runID, stepID, r) })
}

func (j *journal) Withdraw(ctx context.Context, runID, stepID string) error {
	return j.p.around("journal withdraw "+ids32.ReplaceAllString(stepID, "ID"), func() error { return j.Journal.Withdraw(ctx, runID, stepID) })
}

func (j *journal) Finish(ctx context.Context, runID string, status agent.RunStatus) error {
	return j.p.around("journal finish", func() error { return j.Journal.Finish(ctx, runID, status) })
}

type memory struct {
	control.State
	p *passing
}

func (m *memory) Update(ctx context.Context, name string, change func(*agent.Record) error) error {
	return m.p.around("state update", func() error { return m.State.Update(ctx, name, change) })
}

type keys struct {
	provision.Keystore
	p *passing
}

func (k *keys) Create(ctx context.Context, name string, key crypto.Signer) (ref secret.Ref, err error) {
	err = k.p.around("key create", func() error {
		ref, err = k.Keystore.Create(ctx, name, key)
		return err
	})
	return ref, err
}

func (k *keys) Delete(ctx context.Context, ref secret.Ref) error {
	return k.p.around("key delete", func() error { return k.Keystore.Delete(ctx, ref) })
}

// Replace implements [keystore.Replacer]. Only the Provisioner's keystore is ever asked.
func (k *keys) Replace(ctx context.Context, name string, key crypto.Signer) error {
	return k.p.around("key replace", func() error { return k.Keystore.(keystore.Replacer).Replace(ctx, name, key) })
}

// Certificate implements [keystore.Replacer].
func (k *keys) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	return k.Keystore.(keystore.Replacer).Certificate(ctx, ref)
}

// files are the state file, the places that hold the secret, and the backup.
type files struct {
	migrate.Files
	p *passing
}

func (f *files) UpdateState(ctx context.Context, path string, set map[string]string, remove []string) (did string, err error) {
	err = f.p.around("file update", func() error {
		did, err = f.Files.UpdateState(ctx, path, set, remove)
		return err
	})
	return did, err
}

func (f *files) Purge(ctx context.Context, path string, values []secret.Value, kind provisioner.Kind, approved string) (did string, err error) {
	err = f.p.around("file purge "+string(kind), func() error {
		did, err = f.Files.Purge(ctx, path, values, kind, approved)
		return err
	})
	return did, err
}

func (f *files) BackUp(ctx context.Context, path, name string) (b agent.BackUp, err error) {
	err = f.p.around("file back-up", func() error {
		b, err = f.Files.BackUp(ctx, path, name)
		return err
	})
	return b, err
}

type env struct {
	provision.EnvFile
	p *passing
}

func (e *env) Write(ctx context.Context, path string, set map[string]string) (s string, err error) {
	err = e.p.around("env write", func() error {
		s, err = e.EnvFile.Write(ctx, path, set)
		return err
	})
	return s, err
}

func (e *env) Clear(ctx context.Context, path string, ours map[string]string) (s string, err error) {
	err = e.p.around("env clear", func() error {
		s, err = e.EnvFile.Clear(ctx, path, ours)
		return err
	})
	return s, err
}
