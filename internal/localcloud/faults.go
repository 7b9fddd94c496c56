package localcloud

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// kind is what goes wrong with one request. Its text is what the request log says.
type kind string

const (
	none             kind = ""
	throttled        kind = "throttled"
	serverError      kind = "server-error"
	serverErrorAfter kind = "server-error-after-effect"
	dropBefore       kind = "drop-before-effect"
	dropAfter        kind = "drop-after-effect"
)

// fault is the lot that a request has drawn.
type fault struct {
	kind       kind
	status     int           // of throttled and server errors
	retryAfter time.Duration // 0 means no header
	before     time.Duration // latency ahead of the effect
	after      time.Duration // latency behind it
}

// lottery draws faults. A lot depends on the knobs' seed, on the shape of the request (plane, method, path without ids) and on how
// many requests of that shape came before, so that requests which overtake each other do not change each other's fate.
type lottery struct {
	mu     sync.Mutex
	counts [256]uint64 // by shape, hashed: bounded, whatever clients ask for
}

func (l *lottery) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts = [256]uint64{}
}

func (l *lottery) draw(k Knobs, plane string, r *http.Request) fault {
	h := shape(plane, r.Method, r.URL.Path)
	l.mu.Lock()
	n := l.counts[h%uint64(len(l.counts))]
	l.counts[h%uint64(len(l.counts))]++
	l.mu.Unlock()
	return lot(k, rand.New(rand.NewPCG(k.Seed^h, n)))
}

// lot draws always the same number of times, so that turning one knob does not change what another does.
func lot(k Knobs, r *rand.Rand) fault {
	which, header, effect, code, more := r.Float64(), r.Float64(), r.Float64(), r.IntN(4), r.Float64()
	latency := k.Latency + time.Duration(more*float64(k.Jitter))
	f := fault{before: latency / 2, after: latency - latency/2}
	hit := func(rate float64) bool {
		which -= rate
		return which < 0
	}
	switch {
	case hit(k.Throttle):
		f.kind, f.status = throttled, http.StatusTooManyRequests
		if header < k.RetryAfterShare {
			f.retryAfter = max(time.Second, k.RetryAfter)
		}
	case hit(k.ServerError):
		f.kind, f.status = serverError, http.StatusInternalServerError+[]int{0, 2, 3, 4}[code]
		if effect < k.ServerErrorAfterEffect {
			f.kind = serverErrorAfter
		}
	case hit(k.DropBefore):
		f.kind = dropBefore
	case hit(k.DropAfter):
		f.kind = dropAfter
	}
	return f
}

// inside is the lot as a request of a batch meets it: it has no connection of its own, so one that was to be cut times out behind the
// service that takes batches apart.
func (f fault) inside() fault {
	switch f.kind {
	case dropBefore:
		f.kind, f.status = serverError, http.StatusGatewayTimeout
	case dropAfter:
		f.kind, f.status = serverErrorAfter, http.StatusGatewayTimeout
	}
	return f
}

// shape hashes a request without what is different from run to run: ids, and names that contain one.
func shape(plane, method, path string) uint64 {
	h := fnv.New64a()
	for _, part := range append([]string{plane, method}, strings.Split(strings.ToLower(path), "/")...) {
		if identifies(part) {
			part = "*"
		}
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// identifies tells whether a path segment looks like it holds an id: a run of at least twelve hexadecimal digits.
func identifies(segment string) bool {
	run := 0
	for i := range len(segment) {
		if c := segment[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			if run++; run == 12 {
				return true
			}
			continue
		}
		run = 0
	}
	return false
}

// pause waits, and tells whether it did so to the end.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
