package localcloud

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// Hosts of the in-process cloud. RFC 6761 reserves .test, so none of these names can lead anywhere.
const (
	loginHost   = "login.leastkey.test"
	graphHost   = "graph.leastkey.test"
	armHost     = "arm.leastkey.test"
	vaultSuffix = ".vault.leastkey.test"
)

// Transport calls the cloud's handlers in the caller's own goroutine, without a socket. It answers for the .leastkey.test hosts and,
// once the cloud listens, for its real addresses; every other host does not exist. All are https, but for the managed-identity
// endpoints, which are plain http as in Azure. A connection that a knob cuts is an error that
// wraps [io.ErrUnexpectedEOF].
func (c *Cloud) Transport() http.RoundTripper { return transport{c} }

type transport struct{ c *Cloud }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, scheme := t.c.handlerOf(r.URL.Host)
	if scheme != r.URL.Scheme {
		return nil, fmt.Errorf("local cloud: %s is served over %s only", r.URL.Host, scheme)
	}
	if h == nil {
		return nil, &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}
	}
	in, err := arrived(r)
	if err != nil {
		return nil, err
	}
	w := newAnswer()
	cut := serveUnlessCut(h, w, in)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cut {
		return nil, fmt.Errorf("local cloud: connection to %s cut: %w", r.URL.Host, io.ErrUnexpectedEOF)
	}
	return w.response(r), nil
}

// arrived is the request as a server reads it from the wire.
func arrived(r *http.Request) (*http.Request, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	u, err := url.ParseRequestURI(in.RequestURI)
	if err != nil {
		return nil, err
	}
	in.URL = u
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	in.RemoteAddr = "127.0.0.1:1"
	if in.Header == nil {
		in.Header = http.Header{}
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in, nil
}

// serveUnlessCut tells whether the handler gave up the connection, which it says as net/http's servers have it: by panicking with
// [http.ErrAbortHandler].
func serveUnlessCut(h http.Handler, w http.ResponseWriter, r *http.Request) (cut bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			cut = true
		default:
			panic(p)
		}
	}()
	h.ServeHTTP(w, r)
	return false
}

// answer is a response held back until it is complete.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: http.Header{}} }

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// send gives the answer to w.
func (a *answer) send(w http.ResponseWriter) {
	a.WriteHeader(http.StatusOK)
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // the client may have gone; it is told nothing then
}

// response is the answer as a client reads it.
func (a *answer) response(r *http.Request) *http.Response {
	a.WriteHeader(http.StatusOK)
	body := a.body.Bytes()
	if r.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		body = nil
	}
	if a.header.Get("Content-Length") == "" && a.status != http.StatusNoContent && r.Method != http.MethodHead {
		a.header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: a.header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}
