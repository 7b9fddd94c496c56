package localcloud

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestInProcessRequestsWaitInVirtualTime(t *testing.T) {
	key := testKey()
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Config{SigningKey: key, OperatorKey: key, Knobs: Knobs{Latency: 30 * time.Second, ClockOffset: -time.Hour}})
		start := time.Now()
		resp, err := get(t.Context(), c.Transport(), discovery(c))
		must(t, err)
		defer resp.Body.Close()
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("the request took %v of virtual time", d)
		}
		date, err := http.ParseTime(resp.Header.Get("Date"))
		must(t, err)
		if ahead := time.Since(date); ahead < 59*time.Minute || ahead > 61*time.Minute {
			t.Errorf("the Date header is %v behind; the clock is an hour behind", ahead)
		}
		var doc struct{ Issuer string }
		must(t, json.NewDecoder(resp.Body).Decode(&doc))
		if want := c.Endpoints().Login + "/" + c.TenantID() + "/v2.0"; doc.Issuer != want {
			t.Errorf("issuer %q; want %q", doc.Issuer, want)
		}
	})
}

func TestACancelledRequestReturnsAtOnce(t *testing.T) {
	key := testKey()
	synctest.Test(t, func(t *testing.T) {
		effects := 0
		c := open(t, Config{SigningKey: key, OperatorKey: key, Knobs: Knobs{Latency: time.Hour}, Hooks: Hooks{After: func(*http.Request) { effects++ }}})
		for _, wait := range []time.Duration{time.Second, 31 * time.Minute} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			start := time.Now()
			_, err := get(ctx, c.Transport(), discovery(c))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != wait {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		}
		if effects != 1 {
			t.Errorf("%d effects; only the request that was given up in the second half of its latency had one", effects)
		}
	})
}

func TestFaultsHitBeforeOrAfterTheEffect(t *testing.T) {
	for _, row := range []struct {
		name   string
		knobs  Knobs
		status int // 0: cut
		effect bool
		fault  string
	}{
		{"a healthy request has its effect", Knobs{}, 200, true, ""},
		{"a throttled request has none", Knobs{Throttle: 1, RetryAfterShare: 1, RetryAfter: 1500 * time.Millisecond}, 429, false, "throttled"},
		{"a failed request has none", Knobs{ServerError: 1}, 500, false, "server-error"},
		{"a failed request may have had one", Knobs{ServerError: 1, ServerErrorAfterEffect: 1}, 500, true, "server-error-after-effect"},
		{"a request cut off early has none", Knobs{DropBefore: 1}, 0, false, "drop-before-effect"},
		{"a request cut off late has one", Knobs{DropAfter: 1}, 0, true, "drop-after-effect"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before, after := 0, 0
			hooks := Hooks{Before: func(*http.Request) { before++ }, After: func(*http.Request) { after++ }}
			c := open(t, Config{Knobs: row.knobs, Hooks: hooks})
			resp, err := get(t.Context(), c.Transport(), discovery(c))
			if row.status == 0 {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("a cut connection gives %v", err)
				}
			} else {
				must(t, err)
				resp.Body.Close()
				if resp.StatusCode/100 != row.status/100 {
					t.Errorf("status %d; want %d or its like", resp.StatusCode, row.status)
				}
				if row.status == 429 && resp.Header.Get("Retry-After") != "2" {
					t.Errorf("Retry-After %q; one second and a half rounds up", resp.Header.Get("Retry-After"))
				}
			}
			if did := after == 1; did != row.effect || before != after {
				t.Errorf("before %d, after %d; want an effect: %v", before, after, row.effect)
			}
			log := c.Requests()
			if len(log) != 1 || log[0].Fault != row.fault || (log[0].Status == 0) != (row.status == 0) {
				t.Errorf("log: %+v", log)
			}
			if n := c.Counts()[planeLogin]; n.Requests != 1 || (n.Faults == 1) != (row.fault != "") {
				t.Errorf("counts: %+v", n)
			}
		})
	}
}

func TestEachPlaneIsRefusedInItsOwnWords(t *testing.T) {
	c := open(t, Config{Knobs: Knobs{Throttle: 1}})
	e := c.Endpoints()
	for plane, url := range map[string]string{
		"temporarily_unavailable": e.Login + "/adfs/oauth2/token",
		"TooManyRequests":         e.Graph + "/v1.0/me",
		`"TooManyRequests"`:       e.ARM + "/subscriptions",
		"Throttled":               e.Vault[DefaultVault] + "/secrets",
	} {
		resp, err := get(t.Context(), c.Transport(), url)
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != 429 || !strings.Contains(string(b), plane) || resp.Header.Get("Retry-After") != "" {
			t.Errorf("%s: %d %s", url, resp.StatusCode, b)
		}
	}
}

func TestOtherHostsDoNotExist(t *testing.T) {
	c := open(t, Config{})
	_, err := get(t.Context(), c.Transport(), "https://login.microsoftonline.com/common")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
		t.Errorf("got %v", err)
	}
	if _, err = get(t.Context(), c.Transport(), "http://"+loginHost+"/"); err == nil {
		t.Error("plain http was served")
	}
}

func TestTheLogKeepsNoSecret(t *testing.T) {
	c := open(t, Config{})
	const canary = "canary-5b1f"
	url := c.Endpoints().Graph + "/v1.0/applications?$filter=appId%20eq%20'x'&code=" + canary + "&$select=id&c%6Fde=" + canary
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(canary))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+canary+".eyJhcHBpZCI6ImNhbmFyeS01YjFmIiwib2lkIjoiMTExMTExMTEtMjIyMi0zMzMzLTQ0NDQtNTU1NTU1NTU1NTU1In0."+canary)
	r.Header.Set("client-request-id", "a-client")
	resp, err := c.Transport().RoundTrip(r)
	must(t, err)
	resp.Body.Close()
	b, err := json.Marshal(c.Requests())
	must(t, err)
	if strings.Contains(string(b), canary) {
		t.Errorf("the log has the canary: %s", b)
	}
	for _, want := range []string{"$filter=appId%20eq%20'x'", "$select=id", "11111111-2222-3333-4444-555555555555", "a-client"} {
		if !strings.Contains(string(b), strings.ReplaceAll(want, "&", `\u0026`)) {
			t.Errorf("the log lacks %s: %s", want, b)
		}
	}
}

func TestTheLogDoesNotGrowWithWhatCallersSend(t *testing.T) {
	const requests, size = 200, 64 << 10
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var l requestLog
	l.counts = map[string]Count{}
	before := heap()
	for i := range requests {
		long := strings.Repeat("é", size/2)
		// As net/http reads it: method and target are pieces of one line.
		raw := fmt.Sprintf("GET /v1.0/%s?$filter=%s&n=%d HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nClient-Request-Id: %s\r\n\r\n", long, long, i, long, long)
		if i%2 == 0 {
			raw = fmt.Sprintf("GET /v1.0/a?%s=%d HTTP/1.1\r\nHost: x\r\n\r\n", long, i)
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		must(t, err)
		e := describe(planeGraph, "", r)
		l.add(e)
		if len(e.URL) > maxURL+3 || len(e.Agent) > maxAgent+3 || len(e.Client) > maxClient+3 || !utf8.ValidString(e.URL+e.Agent+e.Client) {
			t.Fatalf("logged %d bytes of URL, %d of agent, %d of id", len(e.URL), len(e.Agent), len(e.Client))
		}
	}
	if grown := heap() - before; grown > requests*4<<10 {
		t.Errorf("%d requests of %d kB keep %d kB", requests, size>>10, grown>>10)
	}
	if len(l.since(0)) != requests {
		t.Error("a line is missing")
	}
}

func TestEachRequestOfABatchHasItsOwnFaultAndLine(t *testing.T) {
	for _, row := range []struct {
		name   string
		knobs  Knobs
		status int
		effect bool
		fault  string
	}{
		{"a healthy one is answered", Knobs{}, 204, true, ""},
		{"a throttled one has no effect", Knobs{Throttle: 1, RetryAfterShare: 1, RetryAfter: 7 * time.Second}, 429, false, "throttled"},
		{"a failed one may have had one", Knobs{ServerError: 1, ServerErrorAfterEffect: 1}, 0, true, "server-error-after-effect"},
		{"one that would be cut off early times out", Knobs{DropBefore: 1}, 504, false, "server-error"},
		{"one that would be cut off late times out after its effect", Knobs{DropAfter: 1}, 504, true, "server-error-after-effect"},
	} {
		t.Run(row.name, func(t *testing.T) {
			hooks := 0
			c := open(t, Config{Knobs: row.knobs, Hooks: Hooks{Before: func(*http.Request) { hooks++ }, After: func(*http.Request) { hooks++ }}})
			effect := false
			next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { effect = true; w.WriteHeader(204) })
			w := httptest.NewRecorder()
			c.world.Load().env.Item(next, w, httptest.NewRequest(http.MethodPost, "/v1.0/applications", nil))
			if row.status != 0 && w.Code != row.status || row.status == 0 && w.Code < 500 || effect != row.effect || hooks == 2 != effect {
				t.Errorf("status %d, effect %v, %d hooks", w.Code, effect, hooks)
			}
			if row.status == 429 && w.Header().Get("Retry-After") != "7" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			log := c.Requests()
			if len(log) != 1 || log[0].Fault != row.fault || log[0].Status != w.Code || !log[0].Batch || log[0].URL != "/v1.0/applications" {
				t.Errorf("log: %+v", log)
			}
		})
	}
}

func FuzzCaller(f *testing.F) {
	f.Add("Bearer a.eyJhcHBpZCI6IjEifQ.b")
	f.Add("bearer ..")
	f.Add("Basic x")
	f.Fuzz(func(t *testing.T, header string) {
		if app, oid := caller(header); len(app)%36 != 0 || len(oid)%36 != 0 {
			t.Errorf("%q gives %q and %q", header, app, oid)
		}
	})
}

func TestIdsRepeatWithASeed(t *testing.T) {
	a, b := open(t, Config{Seed: 9}), open(t, Config{Seed: 9})
	for i, o := range a.Operators() {
		if p := b.Operators()[i]; o.ObjectID != p.ObjectID {
			t.Errorf("%s: %s and %s", o.Name, o.ObjectID, p.ObjectID)
		} else if o.UPN != "" && o.Password.Reveal() == p.Password.Reveal() {
			t.Errorf("%s: the password repeats too", o.Name)
		}
	}
	if a.Instance() == b.Instance() {
		t.Error("two clouds are one instance")
	}
}
