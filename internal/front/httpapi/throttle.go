package httpapi

import (
	"sync"
	"time"
)

// How many failed logins cost nothing, and how long the wait after further ones grows.
const (
	freeFailures   = 5
	freeEverywhere = 100
	firstWait      = time.Second
	longestWait    = 5 * time.Minute
	forgive        = 15 * time.Minute // without a failure, after which all is forgotten
	maxAddresses   = 10_000
	maxKnown       = 1000
	// While logins have to wait, one a second from each address is looked at all the same, and a few from all unknown ones: enough for whoever
	// has the right secret, and nothing for who guesses one of sixteen characters.
	glimpseEvery = time.Second
	glimpses     = 4
)

// throttle slows down who guesses: each address by itself, and all of them together for who has many.
type throttle struct {
	now  func() time.Time
	mu   sync.Mutex
	by   map[string]*failures
	here failures // from everywhere

	// known are addresses from which the right secret came: what happens elsewhere does not slow them down. Nobody else can fill it.
	known map[string]bool
	seen  map[string]time.Time // when a login from there was last looked at although it had to wait
	every time.Time            // the second that few counts
	few   int

	swept time.Time // when what is forgiven was last forgotten
}

type failures struct {
	n     int
	last  time.Time
	until time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, by: map[string]*failures{}, known: map[string]bool{}, seen: map[string]time.Time{}}
}

// wait is how long a login from there has to wait; 0 is not at all.
func (t *throttle) wait(from string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, wait := t.now(), time.Duration(0)
	if f := t.by[from]; f != nil {
		wait = f.until.Sub(now)
	}
	if !t.known[from] {
		wait = max(wait, t.here.until.Sub(now))
	}
	return max(wait, 0)
}

// glimpse tells whether a login that has to wait is looked at all the same.
func (t *throttle) glimpse(from string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if now.Sub(t.seen[from]) < glimpseEvery {
		return false
	}
	if !t.known[from] {
		if now.Sub(t.every) >= glimpseEvery {
			t.every, t.few = now, 0
			clear(t.seen) // those of this second are all that matter
		}
		if t.few++; t.few > glimpses {
			return false
		}
	}
	t.seen[from] = now
	return true
}

// failed counts a failure from there.
func (t *throttle) failed(from string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	f := t.by[from]
	if f == nil {
		t.makeRoom(now)
		f = &failures{}
		t.by[from] = f
	}
	f.count(now, freeFailures)
	t.here.count(now, freeEverywhere)
}

// succeeded forgets the failures from there.
func (t *throttle) succeeded(from string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, from)
	if len(t.known) >= maxKnown {
		clear(t.known) // each is known again at its next login
	}
	t.known[from] = true
}

func (f *failures) count(now time.Time, free int) {
	if now.Sub(f.last) > forgive {
		f.n = 0
	}
	f.n++
	f.last = now
	if over := f.n - free; over > 0 {
		f.until = now.Add(min(firstWait<<min(over-1, 20), longestWait))
	}
}

// makeRoom bounds the memory that strangers can fill, and the time that it takes. Who has that many addresses is slowed down by the count of all
// of them.
func (t *throttle) makeRoom(now time.Time) {
	if len(t.by) < maxAddresses {
		return
	}
	if now.Sub(t.swept) > time.Minute {
		t.swept = now
		for from, f := range t.by {
			if now.Sub(f.last) > forgive {
				delete(t.by, from)
			}
		}
	}
	for from := range t.by {
		if len(t.by) < maxAddresses {
			return
		}
		delete(t.by, from)
	}
}
