package localcloud

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestAPatchChangesOnlyWhatItNames(t *testing.T) {
	k := Hostile(5)
	want := k
	want.Lag.Graph, want.Throttle = 3*time.Second, 0.25
	must(t, json.Unmarshal([]byte(`{"lag":{"graph":"3s"},"throttle_rate":0.25}`), &k))
	if k != want {
		t.Errorf("got %+v\nwant %+v", k, want)
	}
}

func TestKnobsReadBackAsTheyWereWritten(t *testing.T) {
	for seed := range uint64(20) {
		want := Hostile(seed)
		want.ClockOffset, want.TokenLifetime = -90*time.Second, 5*time.Minute
		b, err := json.Marshal(want)
		must(t, err)
		var got Knobs
		must(t, json.Unmarshal(b, &got))
		if got != want {
			t.Fatalf("seed %d: got %+v\nwant %+v\nfrom %s", seed, got, want, b)
		}
		must(t, got.Check())
		if want.Lag.Graph > 2*time.Minute {
			t.Errorf("seed %d: lag %v", seed, want.Lag.Graph)
		}
	}
}

func TestKnobsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, document := range map[string]string{
		"an unknown name":           `{"throttel_rate":0.1}`,
		"a rate above one":          `{"throttle_rate":1.1}`,
		"a negative rate":           `{"drop_after_rate":-0.1}`,
		"rates above one together":  `{"throttle_rate":0.6,"server_error_rate":0.6}`,
		"a duration without a unit": `{"latency":"5"}`,
		"a duration as a number":    `{"latency":5}`,
		"a negative lag":            `{"lag":{"arm":"-1s"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var k Knobs
			err := json.Unmarshal([]byte(document), &k)
			if err == nil {
				err = k.Check()
			}
			if err == nil {
				t.Errorf("%s was accepted", document)
			}
		})
	}
	if (Knobs{Throttle: math.NaN()}).Check() == nil {
		t.Error("a rate that is no number was accepted")
	}
}

func TestFaultsComeAsOftenAsTheKnobsSay(t *testing.T) {
	k := Hostile(11)
	k.Latency, k.Jitter = 100*time.Millisecond, 50*time.Millisecond
	const n = 20000
	got, headers := map[kind]float64{}, 0.0
	var l lottery
	r := httptest.NewRequest(http.MethodGet, "/v1.0/applications", nil)
	for range n {
		f := l.draw(k, planeGraph, r)
		got[f.kind] += 1.0 / n
		if f.retryAfter > 0 {
			headers += 1.0 / n
		}
		if d := f.before + f.after; d < k.Latency || d > k.Latency+k.Jitter {
			t.Fatalf("latency %v", d)
		}
		if (f.kind == serverError || f.kind == serverErrorAfter) && (f.status < 500 || f.status == 501 || f.status > 504) {
			t.Fatalf("status %d", f.status)
		}
	}
	for what, share := range map[kind]float64{
		none: 0.70, throttled: 0.10, serverError: 0.04, serverErrorAfter: 0.04, dropBefore: 0.06, dropAfter: 0.06,
	} {
		if math.Abs(got[what]-share) > 0.01 {
			t.Errorf("%q: %.3f of requests; want %.3f", what, got[what], share)
		}
	}
	if math.Abs(headers-0.05) > 0.01 {
		t.Errorf("Retry-After on %.3f of requests; want 0.05", headers)
	}
}

func TestALotDependsOnSeedShapeAndCountAlone(t *testing.T) {
	k := Hostile(3)
	draw := func(l *lottery, path string) fault {
		return l.draw(k, planeGraph, httptest.NewRequest(http.MethodGet, path, nil))
	}
	const one, other = "/v1.0/applications/11111111-2222-3333-4444-555555555555", "/v1.0/servicePrincipals"
	var alone, mixed, renamed lottery
	for i := range 200 {
		want := draw(&alone, one)
		for range rand.IntN(3) { // other requests in between, a different number each time
			draw(&mixed, other)
		}
		if got := draw(&mixed, one); got != want {
			t.Fatalf("draw %d: %+v; alone it was %+v", i, got, want)
		}
		if got := draw(&renamed, "/v1.0/applications/99999999-8888-7777-6666-000000000000"); got != want {
			t.Fatalf("draw %d: another id changed the lot", i)
		}
	}
	k.Seed++
	var reseeded lottery
	same := 0
	alone.reset()
	for range 200 {
		a := draw(&reseeded, one)
		k.Seed--
		b := draw(&alone, one)
		k.Seed++
		if a == b {
			same++
		}
	}
	if same == 200 {
		t.Error("another seed gives the same faults")
	}
}

func TestTheClockOffsetMovesEveryDateOfTheCloud(t *testing.T) {
	key := testKey()
	synctest.Test(t, func(t *testing.T) {
		const offset = -60 * 24 * time.Hour
		c := open(t, Config{SigningKey: key, OperatorKey: key, Knobs: Knobs{ClockOffset: offset}})
		w := c.world.Load()
		w.store.Primary(func(v replica.View) {
			want := time.Now().Add(offset)
			if !v.Now().Equal(want) {
				t.Errorf("the services' views are of %v; the cloud has %v", v.Now(), want)
			}
			for _, u := range w.dir.Users.All(v) {
				if !u.CreatedDateTime.Equal(want) {
					t.Errorf("%s was made %v; the cloud has %v", u.DisplayName, u.CreatedDateTime, want)
				}
			}
			for _, p := range w.dir.ServicePrincipals.All(v) {
				if !p.CreatedDateTime.Equal(want) {
					t.Errorf("%s was made %v; the cloud has %v", p.DisplayName, p.CreatedDateTime, want)
				}
			}
			for _, a := range w.dir.Applications.All(v) {
				if k := a.KeyCredentials; len(k) != 1 || !k[0].StartDateTime.Before(want) || k[0].StartDateTime.Before(want.Add(-2*time.Hour)) {
					t.Errorf("the certificate of %s begins %v; the cloud has %v, and would refuse one of the future", a.DisplayName, k[0].StartDateTime, want)
				}
			}
		})
	})
}
