package jwks

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func jwk(id string) map[string]any {
	key := testKey()
	return map[string]any{"kty": "RSA", "use": "sig", "kid": id, "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())}
}

// world is an issuer whose answers a test may spoil, and a fetcher with a clock of its own.
type world struct {
	*Fetcher
	issuer   *httptest.Server
	fetches  atomic.Int64
	discover func(w http.ResponseWriter, r *http.Request)
	set      func(w http.ResponseWriter, r *http.Request)
	clock    atomic.Int64
}

func answer(body any) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(body) }
}

func newWorld(t *testing.T) *world {
	w := &world{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(rw http.ResponseWriter, r *http.Request) {
		w.fetches.Add(1)
		w.discover(rw, r)
	})
	mux.HandleFunc("/keys", func(rw http.ResponseWriter, r *http.Request) { w.set(rw, r) })
	w.issuer = httptest.NewUnstartedServer(mux)
	w.issuer.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.issuer.StartTLS()
	t.Cleanup(w.issuer.Close)
	w.discover = answer(map[string]any{"issuer": w.issuer.URL, "jwks_uri": w.issuer.URL + "/keys"})
	w.set = answer(map[string]any{"keys": []any{jwk("k1")}})
	w.clock.Store(time.Now().UnixNano())
	var err error
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.issuer.Certificate().Raw})
	if w.Fetcher, err = New(func() time.Time { return time.Unix(0, w.clock.Load()) }, ca); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *world) pass(d time.Duration) { w.clock.Add(int64(d)) }

func TestAKeyIsFoundAndKept(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		key, err := w.Key(t.Context(), w.issuer.URL, "k1")
		if err != nil || !key.Equal(&testKey().PublicKey) {
			t.Fatal(key, err)
		}
	}
	if n := w.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	w.pass(usual)
	if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); err != nil || w.fetches.Load() != 2 {
		t.Errorf("after the lifetime: %v, %d fetches", err, w.fetches.Load())
	}
}

func TestARotatedKeyIsFetchedAndMadeUpOnesAreRationed(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); err != nil {
		t.Fatal(err)
	}
	w.set = answer(map[string]any{"keys": []any{jwk("k2")}})
	if _, err := w.Key(t.Context(), w.issuer.URL, "k2"); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); !errors.Is(err, ErrNoKey) {
		t.Errorf("the old key: %v", err)
	}
	for range 50 {
		if _, err := w.Key(t.Context(), w.issuer.URL, rand.Text()); !errors.Is(err, ErrNoKey) {
			t.Fatal(err)
		}
	}
	if n := w.fetches.Load(); n != burst {
		t.Errorf("%d fetches; %d are allowed", n, burst)
	}
	w.pass(refill)
	for range 5 {
		_, _ = w.Key(t.Context(), w.issuer.URL, rand.Text())
	}
	if n := w.fetches.Load(); n != burst+1 {
		t.Errorf("%d fetches after the refill", n)
	}
}

func TestWhatAnIssuerMayNotAnswer(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(answer(map[string]any{"keys": []any{jwk("k1")}})))
	defer elsewhere.Close()
	for _, row := range []struct {
		name  string
		spoil func(w *world)
	}{
		{"a document of another issuer", func(w *world) {
			w.discover = answer(map[string]any{"issuer": w.issuer.URL + "/", "jwks_uri": w.issuer.URL + "/keys"})
		}},
		{"a document that is not JSON", func(w *world) {
			w.discover = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
		}},
		{"keys over plain http", func(w *world) {
			w.discover = answer(map[string]any{"issuer": w.issuer.URL, "jwks_uri": "http://localhost/keys"})
		}},
		{"keys of a host that nobody vouches for", func(w *world) {
			other := "https://127.0.0.2:1/keys"
			w.discover = answer(map[string]any{"issuer": w.issuer.URL, "jwks_uri": other})
		}},
		{"a redirect to another origin", func(w *world) {
			w.set = func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, elsewhere.URL, http.StatusFound) }
		}},
		{"redirects without end", func(w *world) {
			w.set = func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/keys", http.StatusFound) }
		}},
		{"an error", func(w *world) {
			w.set = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusServiceUnavailable) }
		}},
		{"too much", func(w *world) {
			w.set = func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"keys":[],"x":"`+strings.Repeat("x", maxDocument)+`"}`)
			}
		}},
		{"too many keys", func(w *world) {
			w.set = answer(map[string]any{"keys": make([]map[string]any, maxKeys+1)})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			row.spoil(w)
			if key, err := w.Key(t.Context(), w.issuer.URL, "k1"); err == nil || errors.Is(err, ErrNoKey) {
				t.Errorf("got %v, %v", key, err)
			}
		})
	}
}

func TestWhatIsNoIssuer(t *testing.T) {
	w := newWorld(t)
	for _, s := range []string{"", "issuer", "http://localhost", "https://", "https://u@localhost", "https://localhost?x", "https://localhost?", "https://localhost#", "file:///etc/passwd"} {
		if _, err := w.Key(t.Context(), s, "k1"); !errors.Is(err, ErrIssuer) {
			t.Errorf("%q: %v", s, err)
		}
	}
	unknown, err := New(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer unknown.Close()
	if _, err := unknown.Key(t.Context(), w.issuer.URL, "k1"); err == nil {
		t.Error("an issuer whose authority nobody named is trusted")
	}
	if _, err := New(time.Now, []byte("no certificate")); err == nil {
		t.Error("a file without certificates is taken")
	}
}

func TestOneFetchServesAllWhoWait(t *testing.T) {
	w := newWorld(t)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	set := w.set
	w.set = func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-goOn
		set(rw, r)
	}
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Key(impatient, w.issuer.URL, "k1"); !errors.Is(err, context.Canceled) {
		t.Errorf("one who gives up: %v", err)
	}
	close(goOn)
	wait.Wait()
	if n := w.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// Issuers that do not answer must not use up the patience of those that wait for another.
func TestSlowIssuersDoNotKeepOthersWaiting(t *testing.T) {
	w := newWorld(t)
	arrived := make(chan struct{}, 2*maxAtOnce)
	slow := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	slow.Config.ErrorLog = log.New(io.Discard, "", 0)
	slow.TLS = w.issuer.TLS.Clone()
	slow.StartTLS()
	defer slow.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer w.Close()
	hang := func(from, to int) {
		for n := from; n < to; n++ {
			waiting.Go(func() { _, _ = w.Key(ctx, fmt.Sprintf("%s/%d", slow.URL, n), "k1") })
		}
		for range to - from {
			<-arrived
		}
	}
	hang(0, 8)
	begun := time.Now()
	if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); err != nil || time.Since(begun) > patience/2 {
		t.Errorf("beside eight that hang: %v after %v", err, time.Since(begun))
	}
	hang(8, maxAtOnce)
	begun = time.Now()
	if _, err := w.Key(t.Context(), slow.URL+"/one-more", "k1"); !errors.Is(err, errBusy) || time.Since(begun) > patience/2 {
		t.Errorf("beside as many as there may be: %v after %v", err, time.Since(begun))
	}
	if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); err != nil {
		t.Errorf("keys that are known: %v", err)
	}
}

func TestCloseEndsAFetchThatHangs(t *testing.T) {
	w := newWorld(t)
	arrived := make(chan struct{})
	w.set = func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.Key(context.Background(), w.issuer.URL, "k1")
		done <- err
	}()
	<-arrived
	w.Close()
	if err := <-done; err == nil {
		t.Error("a fetch that was ended found a key")
	}
	if _, err := w.Key(t.Context(), w.issuer.URL, "k1"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestHowLongKeysAreKept(t *testing.T) {
	for _, row := range []struct {
		name, control, age string
		want               time.Duration
	}{
		{"without a word", "", "", usual},
		{"as the issuer says", "public, max-age=3600", "", time.Hour},
		{"less what it has aged", "max-age=3600", "600", 50 * time.Minute},
		{"never for longer than a day", "max-age=2147483647", "", longest},
		{"for a moment, even if not at all is said", "max-age=0", "", shortest},
		{"for a moment, even if no-store is said", "no-store, max-age=3600", "", shortest},
		{"as usual, if the number is none", "max-age=soon", "", usual},
	} {
		h := http.Header{"Cache-Control": {row.control}, "Age": {row.age}}
		if got := lifetime(h); got != row.want {
			t.Errorf("%s: %v; want %v", row.name, got, row.want)
		}
	}
}

func TestKeysThatAreLeftOut(t *testing.T) {
	change := func(name string, value any) map[string]any {
		k := jwk("k1")
		k[name] = value
		return k
	}
	for name, key := range map[string]map[string]any{
		"one for encryption":     change("use", "enc"),
		"an elliptic one":        change("kty", "EC"),
		"a symmetric one":        {"kty": "oct", "kid": "k1", "k": "c2VjcmV0"},
		"one without an id":      change("kid", ""),
		"one that is too small":  change("n", base64.RawURLEncoding.EncodeToString(testKey().N.Bytes()[:128])),
		"one that is too large":  change("n", strings.Repeat("f", 2000)),
		"an even exponent":       change("e", "AQAA"),
		"an exponent of 1":       change("e", "AQ"),
		"an exponent too large":  change("e", "AQAAAAAB"),
		"what is no number":      change("n", "%%"),
		"one without a exponent": change("e", ""),
	} {
		b, _ := json.Marshal(map[string]any{"keys": []any{key}})
		if keys, err := Parse(b); err != nil || len(keys) != 0 {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	good, _ := json.Marshal(map[string]any{"keys": []any{jwk("k1")}})
	f.Add(good)
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"a","n":"","e":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := Parse(b)
		if err != nil && len(keys) > 0 {
			t.Fatal("keys beside an error")
		}
		for id, key := range keys { // what was read reads again, as the same
			again, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": id, "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())}}})
			if err != nil {
				t.Fatal(err)
			}
			if back, err := Parse(again); err != nil || !back[id].Equal(key) {
				t.Fatalf("%s: %v", again, err)
			}
		}
	})
}
