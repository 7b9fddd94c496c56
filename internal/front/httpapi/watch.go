package httpapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// writePatience is how long a client may take to accept what is written to it. It holds for each write, so that an answer may take long and
// a client that never reads is still let go.
const writePatience = 30 * time.Second

// note is what is learnt about a request on its way, for the log and the meters.
type note struct {
	id      string
	address string
	route   string // the pattern, never the path
	who     Who
}

type noteKey struct{}

// noteOf is the request's note; outside a request one that nobody reads.
func noteOf(ctx context.Context) *note {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n
	}
	return &note{}
}

// watch logs, measures and traces each request, and answers for a handler that panics. What is logged holds no query, no header and no body.
func (s *Server) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &note{id: rand.Text()[:16], address: s.addressOf(r)}
		began := time.Now()
		ctx, span := s.tracer.Start(context.WithValue(r.Context(), noteKey{}, n), "http "+method(r.Method), trace.WithSpanKind(trace.SpanKindServer))
		out := &writer{ResponseWriter: w, rc: http.NewResponseController(w)}
		out.Header().Set("X-Request-Id", n.id)
		if r.ContentLength != 0 { // until the body was read, or for the rest of it that nobody wants
			_ = out.rc.SetReadDeadline(time.Now().Add(bodyPatience))
		}
		s.meters.running.Inc()
		aborted := true // an abort goes on as a panic
		defer func() {
			s.meters.running.Dec()
			s.wrote(n, r, out, time.Since(began), aborted)
			finish(span, n, out.status)
		}()
		aborted = s.guarded(out, r.WithContext(ctx), next)
		if aborted {
			panic(http.ErrAbortHandler)
		}
		out.patience() // for what the server itself still flushes
	})
}

// guarded serves, and turns a panic into an answer without detail. It tells whether the connection has to be cut: an answer that has begun
// cannot become another one.
func (s *Server) guarded(w *writer, r *http.Request, next http.Handler) (cut bool) {
	defer func() {
		switch cause := recover(); {
		case cause == nil:
		case cause == http.ErrAbortHandler: //nolint:errorlint // it is compared as net/http does
			cut = true
		default:
			s.c.Log.Error("panic", "request", noteOf(r.Context()).id, "cause", fault.Sentence(fmt.Sprint(cause)), "stack", string(debug.Stack()))
			if cut = w.status != 0; !cut {
				s.reply(w, r, plain(http.StatusInternalServerError, fault.Unknown, "something went wrong here", "the server's log has it under request "+noteOf(r.Context()).id))
			}
		}
	}()
	next.ServeHTTP(w, r)
	return false
}

func (s *Server) wrote(n *note, r *http.Request, w *writer, took time.Duration, cut bool) {
	status := w.status
	if status == 0 && !cut {
		status = http.StatusOK
	}
	route := n.routeOr("none")
	s.meters.requests.WithLabelValues(method(r.Method), route, fmt.Sprint(status)).Inc()
	s.meters.durations.WithLabelValues(route).Observe(took.Seconds())
	s.c.Log.Info("request", "request", n.id, "method", method(r.Method), "route", route, "status", status, "ms", float64(took.Microseconds())/1000,
		"bytes", w.n, "actor", n.who.Name, "role", string(n.who.Level), "from", n.address)
}

// routeOr is the pattern without its method.
func (n *note) routeOr(other string) string {
	if _, p, ok := strings.Cut(n.route, " "); ok {
		return p
	}
	if n.route == "" {
		return other
	}
	return n.route
}

// method bounds what a client can put into logs and labels.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

func finish(span trace.Span, n *note, status int) {
	span.SetAttributes(attribute.String("http.route", n.routeOr("none")), attribute.Int("http.response.status_code", status), attribute.String("leastkey.request", n.id))
	if n.who.Name != "" {
		span.SetAttributes(attribute.String("leastkey.actor", n.who.Name))
	}
	if status >= 500 {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	span.End()
}

// writer remembers the status, and gives each write its time.
type writer struct {
	http.ResponseWriter
	rc     *http.ResponseController
	status int
	n      int64
}

func (w *writer) patience() { _ = w.rc.SetWriteDeadline(time.Now().Add(writePatience)) }

// WriteHeader implements [http.ResponseWriter].
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.patience()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.patience()
	n, err := w.ResponseWriter.Write(b)
	w.n += int64(n)
	return n, err
}

// Flush implements [http.Flusher].
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (w *writer) FlushError() error {
	w.patience()
	return w.rc.Flush()
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
