package localcloud

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Management is a client of a running cloud's management API.
type Management struct {
	base  string
	token Credential
	http  *http.Client
}

// Manage makes the client. It trusts the run's own authority alone, and goes through no proxy.
func (r Run) Manage() (*Management, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(r.CAPEM)) {
		return nil, errors.New("the run file holds no certificate authority")
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	m := &Management{base: r.Management, token: r.Token, http: &http.Client{Transport: t}}
	if path, ok := strings.CutPrefix(r.Management, "unix://"); ok {
		m.base = "http://localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}
	}
	return m, nil
}

// Close lets the connections go.
func (m *Management) Close() { m.http.CloseIdleConnections() }

// Health tells who answers.
func (m *Management) Health(ctx context.Context) (Health, error) {
	var h Health
	return h, m.call(ctx, http.MethodGet, "/health", nil, &h)
}

// Knobs reads the knobs.
func (m *Management) Knobs(ctx context.Context) (Knobs, error) {
	var k Knobs
	return k, m.call(ctx, http.MethodGet, "/knobs", nil, &k)
}

// PatchKnobs turns the knobs that a JSON document names, and returns all.
func (m *Management) PatchKnobs(ctx context.Context, document []byte) (Knobs, error) {
	var k Knobs
	return k, m.call(ctx, http.MethodPatch, "/knobs", document, &k)
}

// State counts what there is.
func (m *Management) State(ctx context.Context) (State, error) {
	var s State
	return s, m.call(ctx, http.MethodGet, "/state", nil, &s)
}

// Collected is State after a collection of garbage.
func (m *Management) Collected(ctx context.Context) (State, error) {
	var s State
	return s, m.call(ctx, http.MethodGet, "/state?collect=1", nil, &s)
}

// Vaults are the names of the vaults that there are, in order.
func (m *Management) Vaults(ctx context.Context) ([]string, error) {
	s, err := m.State(ctx)
	return s.Vaults, err
}

// Reset makes the cloud forget everything.
func (m *Management) Reset(ctx context.Context) (Health, error) {
	var h Health
	return h, m.call(ctx, http.MethodPost, "/reset", nil, &h)
}

// ApproveDevice enters a device's code as the user.
func (m *Management) ApproveDevice(ctx context.Context, userCode, upn string) error {
	body, err := json.Marshal(map[string]string{"user_code": userCode, "upn": upn})
	if err != nil {
		return err
	}
	return m.call(ctx, http.MethodPost, "/devicecode/approve", body, nil)
}

// Identity gives a resource its managed-identity endpoint. Beside a [*RefusedError], the errors are those of the connection.
func (m *Management) Identity(ctx context.Context, resource string) (Identity, error) {
	body, err := json.Marshal(map[string]string{"resource": resource})
	if err != nil {
		return Identity{}, err
	}
	var d identityJSON
	err = m.call(ctx, http.MethodPost, "/identities", body, &d)
	return d.identity(), err
}

// RefusedError is a request that the management API refuses.
type RefusedError struct {
	Request string // method and path
	Status  int
	Reason  string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("local cloud: %s: %d %s", e.Request, e.Status, e.Reason)
}

// Is makes the reasons why a resource has no managed-identity endpoint known on this side of the API too.
func (e *RefusedError) Is(target error) bool {
	return strings.HasSuffix(e.Request, " /identities") && e.Status != http.StatusInternalServerError && e.Status == identityStatus(target)
}

// Requests gives each to the requests after number since; with follow it goes on until ctx or the cloud ends.
func (m *Management) Requests(ctx context.Context, since uint64, follow bool, each func(Request) error) error {
	path := "/log?since=" + strconv.FormatUint(since, 10)
	if follow {
		path += "&follow=1"
	}
	resp, err := m.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var r Request
		switch err := dec.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(r); err != nil {
			return err
		}
	}
}

func (m *Management) call(ctx context.Context, method, path string, body []byte, into any) error {
	resp, err := m.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(into)
}

func (m *Management) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, m.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+m.token.Reveal())
	req.Header.Set("Content-Type", "application/json")
	resp, err := m.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var said struct {
		Error string `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said) // an empty text says as much
	return nil, &RefusedError{method + " " + path, resp.StatusCode, said.Error}
}
