// Package clients drives programs that nobody here wrote against `leastkey cloud serve`, and keeps a record of what they asked.
//
// Each client has a running process of the built binary to itself, so that every line of the cloud's request log is that client's. A
// [Suite] is such a process. Its operations are what a person would do with the client; its negative cases end in an error whose text,
// as the client shows it, carries the documented code. TestMain calls [Main], which prints the verdict and compares the record with
// docs/local-cloud-coverage.md; `go test ./internal/testkit/clients -args -write` writes that file.
package clients

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

// Suite is one client's running cloud, and what was seen on it.
type Suite struct {
	client    string
	house     product.House
	run       localcloud.Run
	operators []localcloud.Operator
	manage    *localcloud.Management
	http      *http.Client
	record    *chapter
	one       sync.Mutex // held while an operation runs, because the log does not tell two apart
}

// Start serves a cloud for a client until the end of the test, and opens the client's chapter of the record, under the name of the test.
// A client may have several clouds at once. The flags are those of `leastkey cloud serve`. Without a --state of its own the cloud lives
// in a home folder of its own; it has neither lag nor faults until they are asked for.
func Start(t *testing.T, client string, flags ...string) *Suite {
	t.Helper()
	binary, err := binary()
	must(t, err)
	s := &Suite{client: client, house: product.NewHouse(t, binary), record: seen.chapter(client, t.Name())}
	t.Cleanup(func() { s.record.end(t.Failed()) })
	var info api.CloudInfo
	s.house.Serve(t, &info, "", append([]string{"cloud", "serve"}, flags...)...)
	s.run, err = localcloud.ReadRun(t.Context(), info.Dir)
	must(t, err)
	s.operators, err = localcloud.ReadOperators(s.run)
	must(t, err)
	s.manage, err = s.run.Manage()
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.run.CAPEM))
	s.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	t.Cleanup(func() {
		s.manage.Close()
		s.http.CloseIdleConnections()
	})
	return s
}

// Cloud is where the cloud answers, its authority and its ids.
func (s *Suite) Cloud() localcloud.Run { return s.run }

// HTTP trusts the cloud's authority and nothing else.
func (s *Suite) HTTP() *http.Client { return s.http }

// Operator is one of the cloud's test users, or sp-operator. It panics on another name.
func (s *Suite) Operator(name string) localcloud.Operator {
	i := slices.IndexFunc(s.operators, func(o localcloud.Operator) bool { return o.Name == name })
	if i < 0 {
		panic("the local cloud has no operator " + name)
	}
	return s.operators[i]
}

// Env is the environment of a shell that has taken over what `leastkey cloud env --for CLIENT ARGS` prints: PATH, HOME, TMPDIR,
// LEASTKEY_HOME and the printed variables, nothing of the environment of the test.
func (s *Suite) Env(t *testing.T, client string, args ...string) []string {
	t.Helper()
	return product.Shell(t, s.house.Env, s.Printed(t, client, args...))
}

// Printed is what `leastkey cloud env --for CLIENT ARGS` prints.
func (s *Suite) Printed(t *testing.T, client string, args ...string) string {
	t.Helper()
	r := s.house.Leastkey(t, append([]string{"cloud", "env", "--for", client}, args...)...)
	if r.Code != 0 {
		t.Fatalf("leastkey cloud env --for %s: exit %d\n%s", client, r.Code, r.Stderr)
	}
	return r.Stdout
}

// Note puts a remark into the client's chapter: its version, or what it cannot do.
func (s *Suite) Note(text string) { s.record.note(text) }

// Operation does something with the client that has to succeed, and records every request that arrives meanwhile. It ends the test if f
// fails. Operations of one suite do not run at the same time.
func (s *Suite) Operation(t *testing.T, name string, f func() error) {
	t.Helper()
	if err := s.watch(t, entry{Name: name}, f); err != nil {
		t.Fatalf("%s: %s: %v", s.client, name, err)
	}
}

// Refused does something with the client that has to fail with an error whose text carries the code, such as AADSTS700027. The text is
// that of the client, so f returns the client's own error, unwrapped.
func (s *Suite) Refused(t *testing.T, name, code string, f func() error) {
	t.Helper()
	if err := s.watch(t, entry{Name: name, Code: code}, refusal(code, f)); err != nil {
		t.Errorf("%s: %s: %v", s.client, name, err)
	}
}

// refusal turns f round: it has to fail, with the code.
func refusal(code string, f func() error) func() error {
	return func() error {
		err := f()
		switch {
		case err == nil:
			return errors.New("it has succeeded")
		case !strings.Contains(err.Error(), code):
			return fmt.Errorf("its error says nothing of %s: %w", code, err)
		}
		return nil
	}
}

// watch runs one operation and writes it down, also when f ends the test.
func (s *Suite) watch(t *testing.T, e entry, f func() error) error {
	t.Helper()
	if !s.one.TryLock() {
		t.Fatalf("%s: %s: another operation of this suite is running", s.client, e.Name)
	}
	defer s.one.Unlock()
	since, err := s.last(t.Context())
	must(t, err)
	e.Failed = true
	defer func() { s.record.add(e) }()
	if err := survives(f); err != nil {
		return err
	}
	e.Requests, err = s.since(t.Context(), since)
	e.Failed = err != nil
	return err
}

// survives makes an error of a panic: an answer that lacks what a case looks at fails the case, and not all that is left of the run.
func survives(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panics: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

// last is the number of the newest request.
func (s *Suite) last(ctx context.Context) (uint64, error) {
	state, err := s.manage.State(ctx)
	var n uint64
	for _, c := range state.Requests {
		n += c.Requests
	}
	return n, err
}

// since is what was asked after a request, each different line once: how often a client polls depends on the machine.
func (s *Suite) since(ctx context.Context, n uint64) ([]string, error) {
	var all []string
	err := s.manage.Requests(ctx, n, false, func(r localcloud.Request) error {
		if line := line(r); !slices.Contains(all, line) {
			all = append(all, line)
		}
		return nil
	})
	return all, err
}

// asked waits until a request after number n is that line of the record.
func (s *Suite) asked(ctx context.Context, n uint64, want string) error {
	ctx, cancel := context.WithTimeout(ctx, product.Patience)
	defer cancel()
	found := errors.New("found")
	err := s.manage.Requests(ctx, n, true, func(r localcloud.Request) error {
		if line(r) == want {
			return found
		}
		return nil
	})
	if errors.Is(err, found) {
		return nil
	}
	return errors.Join(fmt.Errorf("nobody has asked %s", want), err)
}

// Management calls the management API of the cloud, with a body and for an answer that JSON can carry; both may be nil.
func (s *Suite) Management(method, path string, body, answer any) error {
	status, said, err := s.managed(method, path, body)
	switch {
	case err != nil:
		return err
	case status >= 300:
		return fmt.Errorf("%s %s: %d %s", method, path, status, said)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(said, answer)
}

func (s *Suite) managed(method, path string, body any) (status int, said []byte, err error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, s.run.Management+path, sent)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.run.Token.Reveal())
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	said, err = io.ReadAll(resp.Body)
	return resp.StatusCode, said, err
}

// Knobs turns the knobs that the document names for the rest of the test, or until it is called again; with t's end they are as they were.
func (s *Suite) Knobs(t *testing.T, document map[string]any) {
	t.Helper()
	before, err := s.manage.Knobs(t.Context())
	must(t, err)
	must(t, s.Management(http.MethodPatch, "/knobs", document, nil))
	t.Cleanup(func() { must(t, s.Management(http.MethodPatch, "/knobs", before, nil)) })
}

// Throttled runs f while the cloud answers every request 429 with Retry-After: 1, and lets it go on afterwards.
func (s *Suite) Throttled(f func() error) (err error) {
	busy := map[string]any{"throttle_rate": 1, "retry_after_share": 1, "retry_after": "1s"}
	if err := s.Management(http.MethodPatch, "/knobs", busy, nil); err != nil {
		return err
	}
	defer func() {
		free := map[string]any{"throttle_rate": 0, "retry_after_share": 0, "retry_after": "0s"}
		err = errors.Join(err, s.Management(http.MethodPatch, "/knobs", free, nil))
	}()
	return f()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
