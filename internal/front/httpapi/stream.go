package httpapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	maxStreams = 64
	// streamLife ends a stream whose client stays: it comes back with the number of the last event that it has seen, and with a token that is
	// looked at again.
	streamLife = time.Hour
)

// errEnded ends a stream because the server ends.
var errEnded = errors.New("the server is ending")

// stream takes a place for a stream of events. The context ends with the client, with the server, or after an hour; done gives the place back and
// may be called twice. fault.Throttled: there are too many.
func (s *Server) stream(ctx context.Context) (_ context.Context, done func(), err error) {
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, nil, &fault.Error{Code: fault.Throttled, Op: "too many streams are open", RetryAfter: 5 * time.Second, Hint: "close one"}
	}
	s.meters.streams.Inc()
	ctx, timeout := context.WithTimeout(ctx, streamLife)
	ctx, cancel := s.untilTheEnd(ctx)
	return ctx, sync.OnceFunc(func() {
		cancel()
		timeout()
		s.meters.streams.Dec()
		<-s.streams
	}), nil
}

// untilTheEnd is a context that the end of the server ends too.
func (s *Server) untilTheEnd(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(errEnded) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}
