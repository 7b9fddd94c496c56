package app

import (
	"context"
	"errors"
	"net/http"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// traced is the program with a span for every call to the outside, written to the file as JSON; without a file it is the program as it is. stop
// writes what is left.
func (a *App) traced(file string) (_ *App, stop func(context.Context) error, err error) {
	if file == "" {
		return a, func(context.Context) error { return nil }, nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, &fault.Error{Code: fault.Invalid, Op: "open the file for traces", Err: err}
	}
	out, err := stdouttrace.New(stdouttrace.WithWriter(f))
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(out))
	with := *a
	with.traces = provider
	with.Hooks.Transport = func(next http.RoundTripper) http.RoundTripper {
		next = spans{tracer: provider.Tracer("leastkey"), next: next}
		if a.Hooks.Transport != nil {
			next = a.Hooks.Transport(next)
		}
		return next
	}
	return &with, func(ctx context.Context) error { return errors.Join(provider.Shutdown(ctx), f.Close()) }, nil
}

// spans gives each call a span. It holds method, host, path and status: no query, no header and no body, which is where secrets travel.
type spans struct {
	tracer trace.Tracer
	next   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (s spans) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := s.tracer.Start(r.Context(), "call "+r.Method+" "+r.URL.Hostname(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Host), attribute.String("url.path", r.URL.Path)))
	defer span.End()
	resp, err := s.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		span.SetStatus(codes.Error, "no answer") // the error's text may quote what it likes
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= 400 {
		span.SetStatus(codes.Error, http.StatusText(resp.StatusCode))
	}
	return resp, nil
}
