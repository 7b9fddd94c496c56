package soak

import (
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud"
)

func TestWhatIsMemoryThatGrows(t *testing.T) {
	for _, row := range []struct {
		sentence     string
		heap         func(second int) int
		logins       int // a second
		growsTooMuch bool
	}{
		{"what stays as it is does not", func(int) int { return 8 << 20 }, 0, false},
		{"what fills in the first half does not", func(n int) int { return min(n, 300) << 16 }, 0, false},
		{"what swings does not", func(n int) int { return 8<<20 + n%7<<20 }, 0, false},
		{"what grows with the logins as far as replays must be known does not", func(n int) int { return 8<<20 + n*100*200 }, 100, false},
		{"what grows with the logins beyond that does", func(n int) int { return 8<<20 + n*100*1000 }, 100, true},
		{"a kilobyte for each of fifty requests a second does", func(n int) int { return 8<<20 + n*50<<10 }, 0, true},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			var all []sample
			for n := 0; n < 600; n += 10 {
				all = append(all, sample{time.Duration(n) * time.Second, uint64(row.heap(n)), n * row.logins})
			}
			if grown, allowed := growth(all); (grown > allowed) != row.growsTooMuch {
				t.Errorf("it grows by %d of %d", grown, allowed)
			}
		})
	}
}

func TestWhatNobodyHasAskedFor(t *testing.T) {
	for _, row := range []struct {
		sentence string
		r        localcloud.Request
		want     bool
	}{
		{"an answer of 500 that no knob has made", localcloud.Request{Status: 500}, true},
		{"any other failure of the cloud", localcloud.Request{Status: 503}, true},
		{"one that a knob has made is asked for", localcloud.Request{Status: 500, Fault: "server-error"}, false},
		{"a refusal is none", localcloud.Request{Status: 429}, false},
		{"a client that went away is none", localcloud.Request{}, false},
	} {
		if got := unasked(row.r); got != row.want {
			t.Errorf("%s: %v", row.sentence, got)
		}
	}
}
