package client_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/client"
)

// hostile answers without a network, so that time may be virtual.
type hostile map[string]func(*http.Request) (io.Reader, int)

func (h hostile) RoundTrip(r *http.Request) (*http.Response, error) {
	body, status := io.Reader(strings.NewReader(`{"name":"ci","level":"apply"}`)), http.StatusOK
	if f := h[r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api/v1")]; f != nil {
		body, status = f(r)
	}
	if body == nil { // it never answers
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
}

func (h hostile) open(t *testing.T) (*client.Door, error) {
	return client.Open(t.Context(), client.Config{URL: "http://127.0.0.1:1", Token: secret.New([]byte(token)), HTTP: h})
}

// endless says the same for ever, and counts.
type endless struct {
	text string
	read *int64
	ctx  context.Context
	gap  time.Duration
}

func (e endless) Read(p []byte) (int, error) {
	if e.gap > 0 {
		select {
		case <-time.After(e.gap):
		case <-e.ctx.Done():
			return 0, e.ctx.Err()
		}
	}
	n := copy(p, e.text)
	*e.read += int64(n)
	return n, nil
}

func begun(*http.Request) (io.Reader, int) {
	return strings.NewReader(`{"id":"j1","agent":"bot"}`), 202
}

func TestAServerThatNeverEndsAnEvent(t *testing.T) {
	for name, text := range map[string]string{"lines of data": "data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", "one line of data": "data:data:data:data:data:", "a line of anything": "xxxxxxxxxxxxxxxxxxx"} {
		t.Run(name, func(t *testing.T) {
			var read int64
			d, err := hostile{
				"POST /agents/bot/preflight-runs": begun,
				"GET /jobs/j1/events":             func(r *http.Request) (io.Reader, int) { return endless{text: text, read: &read, ctx: r.Context()}, 200 },
				"GET /jobs/j1":                    func(*http.Request) (io.Reader, int) { return strings.NewReader(`{"id":"j1","status":"running"}`), 200 },
			}.open(t)
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.Preflight(t.Context(), api.PreflightRequest{Agent: "bot"}, nil)
			if !fault.Is(err, fault.Unknown) || !strings.Contains(err.Error(), "larger than 1 MiB") {
				t.Errorf("%v", err)
			}
			if read > 4<<20 {
				t.Errorf("%d bytes were read", read)
			}
		})
	}
}

// A report with much evidence may be larger than an event: the job is then asked for.
func TestAResultThatIsLargerThanAnEvent(t *testing.T) {
	long := `{"id":"j1","status":"done","result":{"id":"r1","green":true,"agent":"` + strings.Repeat("b", 2<<20) + `"}}`
	d, err := hostile{
		"POST /agents/bot/preflight-runs": begun,
		"GET /jobs/j1/events": func(*http.Request) (io.Reader, int) {
			return strings.NewReader(`data: {"n":1,"done":` + long + "}\n\n"), 200
		},
		"GET /jobs/j1": func(*http.Request) (io.Reader, int) { return strings.NewReader(long), 200 },
	}.open(t)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.Preflight(t.Context(), api.PreflightRequest{Agent: "bot"}, nil); err != nil || r.ID != "r1" || !r.Green {
		t.Errorf("%v", err)
	}
}

func TestAServerThatKeepsUsWaiting(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(*http.Request) (io.Reader, int)
		within time.Duration
		says   string
	}{
		"it never answers":         {func(*http.Request) (io.Reader, int) { return nil, 0 }, 11 * time.Minute, "has not begun to answer"},
		"it never ends its answer": {func(r *http.Request) (io.Reader, int) { return endless{" ", new(int64), r.Context(), time.Second}, 200 }, 3 * time.Minute, "has not sent the whole answer"},
		"nor that of an error":     {func(r *http.Request) (io.Reader, int) { return endless{" ", new(int64), r.Context(), time.Second}, 500 }, 3 * time.Minute, "has not sent the whole answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				_, err := hostile{"GET /whoami": row.answer}.open(t)
				if took := time.Since(began); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), row.says) || took > row.within {
					t.Errorf("after %s: %v", took, err)
				}
			})
		})
	}
}

// Nothing for a minute is a server that is away, however often it takes the connection.
func TestAServerThatIsSilentAboutAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		d, err := hostile{
			"POST /agents/bot/preflight-runs": begun,
			"GET /jobs/j1/events": func(r *http.Request) (io.Reader, int) {
				return endless{"", new(int64), r.Context(), 2 * time.Hour}, 200
			},
		}.open(t)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Preflight(ctx, api.PreflightRequest{Agent: "bot"}, nil); ctx.Err() != nil || !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	})
}

func TestAnAnswerThatIsTooLarge(t *testing.T) {
	d, err := hostile{"GET /status": func(*http.Request) (io.Reader, int) {
		return io.MultiReader(strings.NewReader("[]"), bytes.NewReader(bytes.Repeat([]byte(" "), 65<<20))), 200
	}}.open(t)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Status(t.Context(), ""); !fault.Is(err, fault.Unknown) || !strings.Contains(err.Error(), "too large") {
		t.Errorf("%v", err)
	}
}
