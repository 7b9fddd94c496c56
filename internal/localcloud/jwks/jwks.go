// Package jwks finds the signing keys of outside issuers, as Entra does for federated credentials: by the issuer's discovery document
// (OpenID Connect Discovery 1.0) and the key set that it names (RFC 7517).
//
// What an issuer answers is not trusted further than that. A fetch is bounded in size, time and redirects, and there is one at a time for
// an issuer. No issuer waits for another: where too many do not answer, the next is refused at once. A stream of assertions with made-up
// key ids fetches no more than a budget allows.
package jwks

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Bounds. The size of a key set is about a hundred times that of the ones of well-known issuers.
const (
	maxDocument  = 256 << 10
	maxRedirects = 3
	maxKeys      = 200
	maxIssuers   = 256
	maxAtOnce    = 64               // fetches, each of one issuer
	patience     = 10 * time.Second // for both documents together

	shortest = 10 * time.Second // that keys are kept, whatever the issuer says
	usual    = 10 * time.Minute // without a word from the issuer
	longest  = 24 * time.Hour

	burst  = 5                // fetches of one issuer that are allowed at once
	refill = 10 * time.Second // until one more is
)

// What Key can answer besides errors of the fetch.
var (
	ErrNoKey  = errors.New("the issuer has no such key")
	ErrIssuer = errors.New("an issuer is an https URL without user, query and fragment")
	ErrClosed = errors.New("the local cloud is closed")
	errBudget = errors.New("the issuer was asked too often")
	errBusy   = errors.New("too many issuers are being asked at once")
)

// Fetcher finds keys and remembers them. Its methods may be called by many goroutines.
type Fetcher struct {
	now  func() time.Time
	http *http.Client

	life   context.Context
	end    context.CancelFunc
	flying sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights int // under way
	issuers map[string]*issuer
}

// issuer is what is known of one, under the Fetcher's lock.
type issuer struct {
	keys   map[string]*rsa.PublicKey
	until  time.Time     // the keys are good before it
	err    error         // of the last fetch
	flight chan struct{} // closed when the fetch under way ends; nil if there is none
	used   time.Time

	budget   float64
	budgeted time.Time
}

// New makes a fetcher that trusts the system's certificate authorities and those of roots, PEM documents of certificates.
func New(now func() time.Time, roots ...[]byte) (*Fetcher, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any: only those that are given
	}
	for _, pem := range roots {
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("a file of certificate authorities holds no certificate in PEM")
		}
	}
	dial := &net.Dialer{Timeout: patience / 2}
	f := &Fetcher{now: now, issuers: map[string]*issuer{}}
	f.life, f.end = context.WithCancel(context.Background())
	f.http = &http.Client{
		CheckRedirect: sameOrigin,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: patience / 2,
			ResponseHeaderTimeout: patience, MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives: true, // keys are read every few minutes at most; nothing is left open between
		},
	}
	return f, nil
}

// Close ends the fetches under way and waits for them. It may be called more than once.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end()
	f.flying.Wait()
}

// Key is the RSA key that an issuer has under an id. It waits for a fetch no longer than ctx says.
func (f *Fetcher) Key(ctx context.Context, name, id string) (*rsa.PublicKey, error) {
	if !isIssuer(name) {
		return nil, ErrIssuer
	}
	for waited := false; ; waited = true {
		key, flight, err := f.look(name, id, waited)
		if flight == nil {
			return key, err
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look answers from memory, or gives the fetch to wait for. waited says that one has just been waited for, which is enough.
func (f *Fetcher) look(name, id string, waited bool) (*rsa.PublicKey, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, ErrClosed
	}
	now := f.now()
	i := f.of(name, now)
	fresh := now.Before(i.until)
	key := i.keys[id]
	switch {
	case fresh && key != nil:
		return key, nil, nil
	case i.flight != nil:
		return nil, i.flight, nil
	case waited && i.err != nil:
		return nil, nil, i.err
	case waited:
		return nil, nil, ErrNoKey
	case f.flights >= maxAtOnce:
		return nil, nil, errBusy
	case !i.spend(now):
		if fresh {
			return nil, nil, ErrNoKey
		}
		return nil, nil, errors.Join(errBudget, i.err)
	}
	i.flight = make(chan struct{})
	f.flights++
	f.flying.Go(func() { f.fly(name, i) })
	return nil, i.flight, nil
}

// of is the entry of an issuer. The one that was not used for longest makes room for a new one.
func (f *Fetcher) of(name string, now time.Time) *issuer {
	i := f.issuers[name]
	if i == nil {
		if len(f.issuers) >= maxIssuers {
			f.evict()
		}
		i = &issuer{budget: burst, budgeted: now}
		f.issuers[name] = i
	}
	i.used = now
	return i
}

func (f *Fetcher) evict() {
	oldest := ""
	for name, i := range f.issuers {
		if i.flight == nil && (oldest == "" || i.used.Before(f.issuers[oldest].used)) {
			oldest = name
		}
	}
	delete(f.issuers, oldest)
}

// spend takes one fetch from the budget, and tells whether it was there.
func (i *issuer) spend(now time.Time) bool {
	if gone := now.Sub(i.budgeted); gone > 0 {
		i.budget = min(burst, i.budget+gone.Seconds()/refill.Seconds())
	}
	i.budgeted = now
	if i.budget < 1 {
		return false
	}
	i.budget--
	return true
}

// fly fetches, without any lock, and writes down what came of it. A failed fetch leaves keys that are still good as they are.
func (f *Fetcher) fly(name string, i *issuer) {
	ctx, cancel := context.WithTimeout(f.life, patience)
	defer cancel()
	keys, lifetime, err := f.fetch(ctx, name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flights--
	if i.err = err; err == nil {
		i.keys, i.until = keys, f.now().Add(lifetime)
	}
	close(i.flight)
	i.flight = nil
}

// isIssuer tells whether a text can be an issuer that is asked for its keys (OpenID Connect Core 1.0, section 2, "iss").
func isIssuer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && !strings.Contains(s, "#")
}

// sameOrigin lets a request be led on within the host that was asked, and nowhere else.
func sameOrigin(r *http.Request, before []*http.Request) error {
	first := before[0].URL
	if len(before) > maxRedirects || r.URL.Scheme != first.Scheme || !strings.EqualFold(r.URL.Host, first.Host) {
		return errors.New("the issuer redirects too often, or to another origin")
	}
	return nil
}
