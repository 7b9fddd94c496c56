package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

const (
	maxStreams = 64
	// ownStreams is how many of them one caller may have: nobody takes all of them from the others.
	ownStreams = 8
	// streamLife ends a stream whose client stays: it comes back with the number of the last event that it has seen.
	streamLife = time.Hour
)

// Why a stream ends before its job.
var (
	errEnded = errors.New("the server is ending")
	errGone  = errors.New("the token or session has ended")
)

// places counts what is open, for each caller and for all.
type places struct {
	mu  sync.Mutex
	by  map[string]int
	all int
}

// take takes a place for a caller; false is that there is none.
func (p *places) take(who string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxStreams || p.by[who] >= ownStreams {
		return false
	}
	p.by[who]++
	p.all++
	return true
}

func (p *places) give(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.by[who]--; p.by[who] == 0 {
		delete(p.by, who)
	}
}

// stream takes a place for a stream of events. The context ends with the client, with the server, with the caller's token or session, or after an
// hour; done gives the place back and may be called twice. fault.Throttled: there are too many.
func (s *Server) stream(r *http.Request) (_ context.Context, done func(), err error) {
	who, _ := WhoOf(r.Context())
	if !s.streams.take(who.self()) {
		return nil, nil, &fault.Error{Code: fault.Throttled, Op: "too many streams are open", RetryAfter: 5 * time.Second, Hint: "close one"}
	}
	s.meters.streams.Inc()
	ctx, timeout := context.WithTimeout(r.Context(), streamLife)
	ctx, cancel := s.whileWelcome(ctx, r)
	return ctx, sync.OnceFunc(func() {
		cancel()
		timeout()
		s.meters.streams.Dec()
		s.streams.give(who.self())
	}), nil
}

// whileWelcome is a context that ends with the server too, and, within a heartbeat, with the token or the session of the request.
func (s *Server) whileWelcome(ctx context.Context, r *http.Request) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(errEnded) })
	who, known := WhoOf(r.Context())
	if known {
		go func() {
			again := time.NewTicker(heartbeat)
			defer again.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-again.C:
				}
				if !s.welcome(ctx, who, r) {
					cancel(errGone)
					return
				}
			}
		}()
	}
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// welcome tells whether a caller who came in would still come in. It prolongs no session. Where that cannot be read, the answer is no: the client
// asks again, and is told why.
func (s *Server) welcome(ctx context.Context, who Who, r *http.Request) bool {
	if who.Session {
		c, err := r.Cookie(cookieName(s.c.TLS))
		if err != nil || !s.sessions.lives(secret.New([]byte(c.Value))) {
			return false
		}
	}
	if who.token == "" {
		return true
	}
	token, err := s.c.Tokens.Current(ctx, who.token)
	return err == nil && token.Made.Equal(who.made)
}
