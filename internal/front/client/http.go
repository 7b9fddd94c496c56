package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// prefix is where the API begins.
const prefix = "/api/v1"

// What a server may make us keep, and how long it may make us wait. An answer may take as long as the work behind it: the longest is a plan for
// which the server waits for a cloud that throttles it.
const (
	largestAnswer = 64 << 20
	largestEvent  = 1 << 20
	untilAnswer   = 10 * time.Minute // until the answer begins
	untilRead     = 2 * time.Minute  // until all of it has come; a stream has a bound of its own
)

func (d *Door) get(ctx context.Context, path string, into any) error {
	return d.call(ctx, http.MethodGet, path, nil, into)
}

// call asks and decodes. An error answer becomes the fault that it tells of.
func (d *Door) call(ctx context.Context, method, path string, body, into any) error {
	resp, err := d.send(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	defer shut(resp.Body)
	b, err := whole(resp.Body, largestAnswer+1)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return lost(method+" "+d.base+prefix+path, err)
	case len(b) > largestAnswer:
		return fault.Newf(fault.Unknown, "%s %s: the answer is too large", method, path)
	case resp.StatusCode >= 300:
		return d.problem(resp, b)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fault.New(fault.Unknown, fmt.Sprintf("%s %s: the answer does not read", method, path), "is this an admin server of the same version? leastkey version")
	}
	return nil
}

func (d *Door) send(ctx context.Context, method, path string, body any, header map[string]string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.base+prefix+path, r)
	if err != nil {
		return nil, fault.New(fault.Usage, "the server's address is not one", "")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	_ = d.token.Use(func(b []byte) error {
		req.Header.Set("Authorization", "Bearer "+string(b))
		return nil
	})
	within, stop := context.WithCancelCause(ctx)
	late := time.AfterFunc(untilAnswer, func() { stop(slow("the server has not begun to answer", untilAnswer)) })
	resp, err := d.http.Do(req.WithContext(within))
	if err != nil || !late.Stop() {
		cause := context.Cause(within)
		stop(nil)
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case cause != nil:
			err = lost(method+" "+d.base+prefix+path, cause)
		default:
			err = lost(method+" "+d.base+prefix+path, err)
		}
		if resp != nil {
			shut(resp.Body)
		}
		return nil, err
	}
	resp.Body = &answerBody{resp.Body, within, stop}
	return resp, nil
}

func slow(what string, since time.Duration) error {
	return fmt.Errorf("%s within %s", what, since)
}

// answerBody is the body of an answer, whose request ends with it.
type answerBody struct {
	io.ReadCloser
	ctx  context.Context
	stop context.CancelCauseFunc
}

// Close lets go of the connection.
func (b *answerBody) Close() error {
	b.stop(nil)
	return b.ReadCloser.Close()
}

// Read gives the reason where the request was ended because of its time.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && context.Cause(b.ctx) != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

// whole reads a body to its end, or up to the limit, in bounded time.
func whole(body io.Reader, limit int64) ([]byte, error) {
	if b, ok := body.(*answerBody); ok {
		late := time.AfterFunc(untilRead, func() { b.stop(slow("the server has not sent the whole answer", untilRead)) })
		defer late.Stop()
	}
	return io.ReadAll(io.LimitReader(body, limit))
}

// shut closes an answer's body: it was read to its end, or nobody wants the rest.
func shut(body io.Closer) { _ = body.Close() }

// lostError is an answer that did not come.
type lostError struct{ cause *fault.Error }

func (l *lostError) Error() string { return l.cause.Error() }
func (l *lostError) Unwrap() error { return l.cause }

func lost(op string, err error) error {
	f := fault.Lost(op, err)
	if f.Hint == "" {
		f = f.WithHint("is the admin server running there? leastkey serve")
	}
	return &lostError{f}
}

// refusal is a problem as a fault. The answer that came with it is kept.
type refusal struct {
	cause   *fault.Error
	blocked *api.PlanAnswer
}

func (r *refusal) Error() string { return r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }

// problem turns an error answer into a fault. What is no problem of ours, such as a proxy's page, is told by its status alone: its text may
// be anybody's.
func (d *Door) problem(resp *http.Response, b []byte) error {
	wait := fault.Wait(resp.Header, time.Now())
	if resp.StatusCode < 400 {
		return fault.New(fault.Refused, fmt.Sprintf("%s redirects to elsewhere (%d), which is not followed", d.base, resp.StatusCode), "give the address that it redirects to, if you trust it")
	}
	var p api.BlockedPlan
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" || json.Unmarshal(b, &p) != nil || p.Status != resp.StatusCode {
		return &fault.Error{Code: fault.OfStatus(resp.StatusCode), Op: fmt.Sprintf("%s answers %d %s", d.base, resp.StatusCode, http.StatusText(resp.StatusCode)), RetryAfter: wait,
			Hint: "is this the address of an admin server?"}
	}
	f := faultOf(p.Problem)
	f.RetryAfter = wait
	if p.Plan != nil {
		return &refusal{f, p.Plan}
	}
	return f
}

// faultOf is the fault that a problem tells of.
func faultOf(p api.Problem) *fault.Error {
	code := fault.Code(p.Code)
	if api.HTTPStatus(code) == http.StatusInternalServerError { // unknown, or no code of ours
		code = fault.OfStatus(p.Status)
		if p.Status == http.StatusInternalServerError {
			code = fault.Unknown
		}
	}
	said := p.Detail
	if said == "" {
		said = p.Title
	}
	return &fault.Error{Code: code, Op: said, Hint: p.Hint}
}

// planOf is the plan that a refusal came with.
func planOf(err error) (api.PlanAnswer, bool) {
	if r, ok := errors.AsType[*refusal](err); ok && r.blocked != nil {
		return *r.blocked, true
	}
	return api.PlanAnswer{}, false
}

// unoffered is the answer of what a server does not do for others.
func unoffered(what string) error {
	return fault.New(fault.Unsupported, what+" is not done through a server", "run it on the server's own machine, without --server")
}
