package localcloud

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is one line of the request log. It holds nothing of bodies, of the Authorization header beyond who it says the caller is,
// or of query parameters that are not known to be harmless.
type Request struct {
	N       uint64    `json:"n"` // counts from 1 since the cloud was made
	Time    time.Time `json:"time"`
	Plane   string    `json:"plane"` // login, graph, arm, vault or identity
	Vault   string    `json:"vault,omitempty"`
	Method  string    `json:"method"`
	URL     string    `json:"url"`             // path and query
	Batch   bool      `json:"batch,omitempty"` // of a Graph batch, whose own line comes after those of its requests
	Status  int       `json:"status"`          // 0: the connection was cut, or the client went away
	Ms      float64   `json:"ms"`
	AppID   string    `json:"appid,omitempty"` // what the token says; refused tokens say it too
	Object  string    `json:"oid,omitempty"`
	Client  string    `json:"client_request_id,omitempty"`
	Agent   string    `json:"user_agent,omitempty"`
	Fault   string    `json:"fault,omitempty"` // what a knob made of it
	Request string    `json:"request_id,omitempty"`
}

// Count is how often a plane was asked.
type Count struct {
	Requests uint64 `json:"requests"`
	Faults   uint64 `json:"faults"`
}

// Bounds of the log in memory: its lines, and in bytes what a caller may put into one.
const (
	remembered = 8192
	maxURL     = 2048
	maxAgent   = 256
	maxClient  = 64
	maxMethod  = 16
)

// bounded is s, or its beginning and an ellipsis. It is a copy always: a method or path that net/http has read is a piece of the whole
// request line, and would keep that alive.
func bounded(s string, most int) string {
	if len(s) <= most {
		return strings.Clone(s)
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// requestLog keeps the last requests, and all of them in a file if there is one.
type requestLog struct {
	mu        sync.Mutex
	n         uint64
	ring      []Request // oldest first
	counts    map[string]Count
	file      *os.File
	fileErr   error
	followers map[chan struct{}]bool // each is told, at most once ahead, that there is more
	closed    bool
}

func openRequestLog(path string) (*requestLog, error) {
	l := &requestLog{counts: map[string]Count{}, followers: map[chan struct{}]bool{}}
	if path == "" {
		return l, nil
	}
	var err error
	l.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return l, err
}

func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.n++
	r.N = l.n
	if len(l.ring) == remembered {
		l.ring = slices.Clone(l.ring[remembered/4:])
	}
	l.ring = append(l.ring, r)
	c := l.counts[r.Plane]
	c.Requests++
	if r.Fault != "" {
		c.Faults++
	}
	l.counts[r.Plane] = c
	if l.file != nil && l.fileErr == nil {
		line, err := json.Marshal(r)
		if err == nil {
			_, err = l.file.Write(append(line, '\n'))
		}
		l.fileErr = err
	}
	for f := range l.followers {
		select {
		case f <- struct{}{}:
		default:
		}
	}
}

// since returns the remembered requests with a number above n.
func (l *requestLog) since(n uint64) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.ring, n+1, func(r Request, n uint64) int {
		switch {
		case r.N < n:
			return -1
		case r.N > n:
			return 1
		}
		return 0
	})
	return slices.Clone(l.ring[i:])
}

func (l *requestLog) tally() map[string]Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[string]Count{}
	for p, c := range l.counts {
		counts[p] = c
	}
	return counts
}

// follow returns a channel that gets a value after new requests and is closed with the log, and what ends it.
func (l *requestLog) follow() (<-chan struct{}, func()) {
	f := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		close(f)
		return f, func() {}
	}
	l.followers[f] = true
	return f, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.followers, f)
	}
}

// close ends the log and says whether its file has every line.
func (l *requestLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for f := range l.followers {
		close(f)
	}
	l.followers = nil
	if l.file == nil {
		return nil
	}
	if err := l.file.Close(); l.fileErr == nil {
		return err
	}
	return l.fileErr
}

// describe is what the log says of a request before it is answered.
func describe(plane, vault string, r *http.Request) Request {
	e := Request{
		Plane: plane, Vault: vault, Method: bounded(r.Method, maxMethod), URL: bounded(shown(r.URL), maxURL),
		Client: bounded(r.Header.Get("client-request-id"), maxClient), Agent: bounded(r.UserAgent(), maxAgent),
	}
	if e.Client == "" {
		e.Client = bounded(r.Header.Get("x-ms-client-request-id"), maxClient)
	}
	e.AppID, e.Object = caller(r.Header.Get("Authorization"))
	return e
}

// shown is the path and the query, the values of parameters that may be a secret left out.
func shown(u *url.URL) string {
	s := u.EscapedPath()
	if u.RawQuery == "" {
		return s
	}
	parts := strings.Split(u.RawQuery, "&")
	for i, p := range parts {
		name, _, valued := strings.Cut(p, "=")
		if plain, err := url.QueryUnescape(name); valued && (err != nil || !harmless(strings.ToLower(plain))) {
			parts[i] = name + "=…"
		}
	}
	return s + "?" + strings.Join(parts, "&")
}

// harmless lists query parameters that carry no secret: OData's, and those of Azure's own that we have met. A code, a token or an
// assertion in a query is none of them.
func harmless(name string) bool {
	switch name {
	case "$filter", "$select", "$top", "$expand", "$count", "$orderby", "$search", "$skip", "$skiptoken", "$format",
		"api-version", "maxresults", "authorization_endpoint", "resource",
		"client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id": // which managed identity is meant
		return true
	}
	return false
}

// caller reads, without checking it, whom a bearer token is about.
func caller(authorization string) (appID, objectID string) {
	scheme, token, _ := strings.Cut(authorization, " ")
	parts := strings.Split(token, ".")
	if !strings.EqualFold(scheme, "bearer") || len(parts) != 3 {
		return "", ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", ""
	}
	var c struct {
		AppID string `json:"appid"`
		AZP   string `json:"azp"`
		OID   string `json:"oid"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return "", ""
	}
	if c.AppID == "" {
		c.AppID = c.AZP
	}
	return id(c.AppID), id(c.OID)
}

// id lets only what looks like a GUID into the log: a caller may put anything into a token.
func id(s string) string {
	if len(s) != 36 {
		return ""
	}
	for i := range len(s) {
		if !strings.ContainsRune("0123456789abcdefABCDEF-", rune(s[i])) {
			return ""
		}
	}
	return s
}
