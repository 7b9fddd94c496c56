//go:build linux

package faults

import (
	"bytes"
	"context"
	"crypto"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// childFault names, in the environment of a child, what fails in it.
const childFault = "FAULT_CHILD"

// child is the product with one fault in it.
func child(args []string) int {
	a := &app.App{Getenv: os.Getenv, Streams: cli.Standard(os.Getenv), Hooks: hooks(os.Getenv(childFault))}
	return a.Run(context.Background(), args)
}

// hooks are what makes a fault of that name.
func hooks(what string) app.Hooks {
	name, n, _ := strings.Cut(what, ":")
	switch name {
	case "keystore-write":
		return app.Hooks{Keys: func(k provision.Keystore) provision.Keystore {
			return &keys{Keystore: k, create: func() error { return full() }}
		}}
	case "keystore-lies":
		return app.Hooks{Keys: func(k provision.Keystore) provision.Keystore { return &keys{Keystore: k, lies: true} }}
	case "disk-full":
		at, err := strconv.Atoi(n)
		if err != nil {
			panic(err)
		}
		d := &disk{room: at}
		return app.Hooks{
			Journal: func(j control.Journal) control.Journal { return &journal{j, d} },
			State:   func(s control.State) control.State { return &memory{s, d} },
			Files:   func(f migrate.Files) migrate.Files { return &files{f, d} },
			Keys: func(k provision.Keystore) provision.Keystore {
				return &keys{Keystore: k, create: d.write, replace: d.write}
			},
		}
	}
	return app.Hooks{Transport: func(next http.RoundTripper) http.RoundTripper { return &transport{fault: name, next: next} }}
}

// transport answers for the cloud where the fault wants it.
type transport struct {
	fault string
	next  http.RoundTripper
	mu    sync.Mutex
	done  bool
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	switch graph := strings.Contains(r.URL.Path, "/v1.0/"); {
	case t.fault == "upload-refused" && r.Method == http.MethodPatch && t.has(r, "keyCredentials"),
		t.fault == "deletion-refused" && strings.HasSuffix(r.URL.Path, "/removePassword"):
		return answer(r, http.StatusForbidden, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}`), nil
	case t.fault == "authority-wanted" && r.Method == http.MethodPatch && t.has(r, "keyCredentials"):
		return answer(r, http.StatusBadRequest, `{"error":{"code":"CredentialTypeNotAllowedAsPerAppPolicy","message":"Credential type not allowed as per assigned policy."}}`), nil
	case t.fault == "deletion-only-said" && strings.HasSuffix(r.URL.Path, "/removePassword"):
		return answer(r, http.StatusNoContent, ""), nil
	case t.fault == "first-lookup-fails" && graph && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/applications") && t.first():
		return answer(r, http.StatusServiceUnavailable, `{"error":{"code":"ServiceUnavailable","message":"try again"}}`), nil
	case t.fault == "lookup-refused" && graph && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/applications"):
		return answer(r, http.StatusForbidden, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation."}}`), nil
	}
	return t.next.RoundTrip(r)
}

func (t *transport) first() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.done
	t.done = true
	return !was
}

func (t *transport) has(r *http.Request, word string) bool {
	if r.Body == nil {
		return false
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err) // it lies in memory
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return bytes.Contains(b, []byte(word))
}

func answer(r *http.Request, status int, body string) *http.Response {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

// full is what our packages say where a disk is full.
func full() error {
	return &fault.Error{Code: fault.Refused, Op: "write", Err: &os.PathError{Op: "write", Path: "/somewhere", Err: syscall.ENOSPC}}
}

// disk has room for so many writes, and for none after them.
type disk struct {
	mu   sync.Mutex
	room int
}

func (d *disk) write() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room--; d.room < 0 {
		return full()
	}
	return nil
}

type journal struct {
	control.Journal
	d *disk
}

func (j *journal) Start(ctx context.Context, run agent.Run) error {
	if err := j.d.write(); err != nil {
		return err
	}
	return j.Journal.Start(ctx, run)
}

func (j *journal) Begin(ctx context.Context, runID, stepID string, intent map[string]string) (agent.Entry, error) {
	if err := j.d.write(); err != nil {
		return agent.Entry{}, err
	}
	return j.Journal.Begin(ctx, runID, stepID, intent)
}

func (j *journal) End(ctx context.Context, runID, stepID string, r agent.Result) error {
	if err := j.d.write(); err != nil {
		return err
	}
	return j.Journal.End(ctx, runID, stepID, r)
}

func (j *journal) Finish(ctx context.Context, runID string, status agent.RunStatus) error {
	if err := j.d.write(); err != nil {
		return err
	}
	return j.Journal.Finish(ctx, runID, status)
}

type memory struct {
	control.State
	d *disk
}

func (m *memory) Update(ctx context.Context, name string, change func(*agent.Record) error) error {
	if err := m.d.write(); err != nil {
		return err
	}
	return m.State.Update(ctx, name, change)
}

type files struct {
	migrate.Files
	d *disk
}

func (f *files) UpdateState(ctx context.Context, path string, set map[string]string, remove []string) (string, error) {
	if err := f.d.write(); err != nil {
		return "", err
	}
	return f.Files.UpdateState(ctx, path, set, remove)
}

func (f *files) Purge(ctx context.Context, path string, values []secret.Value, kind provisioner.Kind, approved string) (string, error) {
	if err := f.d.write(); err != nil {
		return "", err
	}
	return f.Files.Purge(ctx, path, values, kind, approved)
}

func (f *files) BackUp(ctx context.Context, path, name string) (agent.BackUp, error) {
	if err := f.d.write(); err != nil {
		return agent.BackUp{}, err
	}
	return f.Files.BackUp(ctx, path, name)
}

// keys is a keystore that fails, or gives back another key than it got.
type keys struct {
	provision.Keystore
	create, replace func() error
	lies            bool
}

// Open gives, of what is not the active slot, every time another key if the keystore lies.
func (k *keys) Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error) {
	key, err := k.Keystore.Open(ctx, ref)
	if err == nil && k.lies && strings.Contains(ref.Name, "#") {
		return keystore.Generate(2048)
	}
	return key, err
}

func (k *keys) Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error) {
	if k.create != nil {
		if err := k.create(); err != nil {
			return secret.Ref{}, err
		}
	}
	return k.Keystore.Create(ctx, name, key)
}

// Replace implements [keystore.Replacer].
func (k *keys) Replace(ctx context.Context, name string, key crypto.Signer) error {
	if k.replace != nil {
		if err := k.replace(); err != nil {
			return err
		}
	}
	return k.Keystore.(keystore.Replacer).Replace(ctx, name, key)
}

// Certificate implements [keystore.Replacer].
func (k *keys) Certificate(ctx context.Context, ref secret.Ref) ([]byte, error) {
	return k.Keystore.(keystore.Replacer).Certificate(ctx, ref)
}
