package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Times of a connection. A whole request has none: bodies and writes have their own, and some answers take as long as the work.
const (
	headerPatience = 10 * time.Second
	idlePatience   = 2 * time.Minute
	maxHeaders     = 64 << 10
)

// Serve answers on the listener until the context ends. Then nothing new is taken, streams are told, and what runs has grace to finish; after that
// connections are cut. keys is nil for plain HTTP. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener, keys *tls.Config, grace time.Duration) error {
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeaders,
		ErrorLog:  slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
		TLSConfig: keys,
	}
	served := make(chan error, 1)
	go func() {
		if keys != nil {
			served <- srv.ServeTLS(l, "", "")
			return
		}
		served <- srv.Serve(l)
	}()
	select {
	case err := <-served:
		s.Close()
		return err
	case <-ctx.Done():
	}
	s.Close()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(within)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
