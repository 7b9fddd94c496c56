// Package tape notes what is asked of the world and what comes back, so that a finding can show what it rests on: method and address,
// status, time, duration, a digest of the answer and the beginning of it, redacted.
//
// It never notes a header or a body that is sent. Of what comes back it keeps an excerpt whose secrets are replaced, and no digest where
// the answer is a secret: a digest of a short secret can be guessed.
package tape

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// kept bounds how much of an answer is held until its excerpt is made: enough for the first members of any answer.
const kept = 16 << 10

type key struct{}

// reel is one tape. Reels that are laid under one another all hear the request.
type reel struct {
	above *reel
	mu    sync.Mutex
	notes []*note
}

// With lays a tape under the context. The function gives what has been heard so far, in the order in which the requests began; it may be
// called more than once, and while requests are under way.
func With(ctx context.Context) (context.Context, func() []finding.Evidence) {
	above, _ := ctx.Value(key{}).(*reel)
	r := &reel{above: above}
	return context.WithValue(ctx, key{}, r), r.heard
}

func (r *reel) heard() []finding.Evidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]finding.Evidence, len(r.notes))
	for i, n := range r.notes {
		all[i] = n.evidence()
	}
	return all
}

func (r *reel) add(n *note) {
	for ; r != nil; r = r.above {
		r.mu.Lock()
		r.notes = append(r.notes, n)
		r.mu.Unlock()
	}
}

// Transport notes every request that passes it under a context with a tape. Others it leaves alone. It may be used by many goroutines.
func Transport(next http.RoundTripper) http.RoundTripper { return transport{next} }

type transport struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	on, ok := r.Context().Value(key{}).(*reel)
	if !ok {
		return t.next.RoundTrip(r)
	}
	n := &note{what: secrecy(r), sum: sha256.New(), began: time.Now()}
	n.told.Asked, n.told.At = r.Method+" "+address(r.URL), n.began.UTC()
	on.add(n)
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		n.lost(err)
		return resp, err
	}
	n.status(resp.StatusCode)
	if resp.Body == nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		n.end()
		return resp, nil
	}
	resp.Body = &body{resp.Body, n}
	return resp, nil
}

// note is one request on its way.
type note struct {
	mu    sync.Mutex
	told  finding.Evidence
	began time.Time
	what  kind
	sum   hash.Hash
	seen  []byte // the beginning of the answer
	ended bool
}

func (n *note) evidence() finding.Evidence {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.told
	if !n.ended {
		e.Answer, e.Took = "(under way)", time.Since(n.began)
	}
	return e
}

func (n *note) status(s int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told.Status = s
}

func (n *note) read(p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	n.sum.Write(p)
	n.seen = append(n.seen, p[:min(len(p), kept-len(n.seen))]...)
}

// end is the end of the answer.
func (n *note) end() {
	n.finish(func() {
		n.told.Answer = excerpt(n.seen, n.what)
		if n.what == open && len(n.seen) > 0 {
			n.told.Digest = hex.EncodeToString(n.sum.Sum(nil))
		}
	})
}

// cut is an answer that was not read to its end: its digest would be of a part.
func (n *note) cut() { n.finish(func() { n.told.Answer = excerpt(n.seen, n.what) }) }

// lost is a request without an answer, or with one that broke off.
func (n *note) lost(err error) {
	n.finish(func() { n.told.Answer = "no answer: " + clean(fault.Sentence(err.Error())) })
}

func (n *note) finish(tell func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	n.ended, n.told.Took = true, time.Since(n.began)
	tell()
	n.seen = nil
}

// body listens while the client reads.
type body struct {
	io.ReadCloser
	note *note
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	k, err := b.ReadCloser.Read(p)
	b.note.read(p[:k])
	switch {
	case errors.Is(err, io.EOF):
		b.note.end()
	case err != nil:
		b.note.lost(err)
	}
	return k, err
}

// Close implements [io.Closer].
func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.note.cut()
	return err
}
