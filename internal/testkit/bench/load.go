package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/token"
)

// connections are how many there are at once; each has one request under way.
var connections = []int{1, 16, 128}

// errEnough ends a measurement before its time.
var errEnough = errors.New("nothing is left to do")

// pace is how many calls took how long, and how much time of the processors: all of this process, which is client and cloud.
type pace struct {
	calls     int64
	took, cpu time.Duration
}

func (p pace) plus(q pace) pace { return pace{p.calls + q.calls, p.took + q.took, p.cpu + q.cpu} }

func (p pace) perSecond() float64 { return float64(p.calls) / p.took.Seconds() }

// against is the ratio of two paces by the time of processors, which others on the machine do not take part in; "" where that is not known.
func (p pace) against(raw pace) string {
	if p.cpu == 0 || raw.cpu == 0 {
		return ""
	}
	return fmt.Sprintf(" (by CPU time %.2f ×)", float64(p.calls)/p.cpu.Seconds()/(float64(raw.calls)/raw.cpu.Seconds()))
}

// atOnce lets workers call f for d. Each has called f once before the clock starts, so that no handshake is measured.
func atOnce(workers int, d time.Duration, f func(worker int) error) (pace, error) {
	var calls atomic.Int64
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, workers)
	var began time.Time
	for i := range workers {
		ready.Add(1)
		done.Go(func() {
			errs[i] = f(i)
			ready.Done()
			<-start
			for errs[i] == nil && time.Since(began) < d {
				if errs[i] = f(i); errs[i] == nil {
					calls.Add(1)
				}
			}
		})
	}
	ready.Wait()
	before := processorTime()
	began = time.Now()
	close(start)
	done.Wait()
	p := pace{calls.Load(), time.Since(began), processorTime() - before}
	for _, err := range errs {
		if err != nil && !errors.Is(err, errEnough) {
			return p, err
		}
	}
	return p, nil
}

// logins compares verified certificate logins with raw signatures, both on every core: in process, where no socket and no client costs
// anything, and over TLS with a client beside it on the same cores.
func (b bench) logins(ctx context.Context, t table) error {
	p, err := newPlace(ctx, 0)
	if err != nil {
		return err
	}
	defer p.close()
	run, err := localcloud.ReadRun(ctx, filepath.Join(p.home, "local"))
	if err != nil {
		return err
	}
	app, err := enlist(ctx, p.cloud)
	if err != nil {
		return err
	}
	sign, err := signature()
	if err != nil {
		return err
	}
	var speed float64
	row := func(name string, workers int, clients []*http.Client, target string) error {
		raw, logins, ratio, err := b.compare(ctx, app, sign, workers, clients)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		speed = raw.perSecond()
		t.row("certificate logins, "+name, fmt.Sprintf("%.0f /s = %.2f × %.0f raw RSA-2048 signatures /s%s", logins.perSecond(), ratio, raw.perSecond(), logins.against(raw)), target)
		return nil
	}
	if err := row("in process", runtime.NumCPU(), []*http.Client{{Transport: p.cloud.Transport()}}, "≥ 0.7 ×"); err != nil {
		return err
	}
	for _, n := range connections {
		clients, hangUp := dial(run.CAPEM, n)
		target := "≥ 0.7 ×"
		if n < runtime.NumCPU() {
			target = "(reported: one at a time)"
		}
		err := row(fmt.Sprintf("TLS, connections: %d", n), n, clients, target)
		hangUp()
		if err != nil {
			return err
		}
	}
	clients, hangUp := dial(run.CAPEM, connections[1])
	defer hangUp()
	bodies, err := app.assertions(int(speed * b.rate.Seconds()))
	if err != nil {
		return err
	}
	said, err := b.profiled(func() error {
		_, err := app.logins(ctx, clients, bodies, len(clients), b.rate)
		return err
	})
	t.row("what bounds them over TLS", said, "(CPU profile; -profile FILE keeps it)")
	return err
}

// compare takes turns, because a machine that others use too changes its speed: in each turn it makes raw signatures for a while, signs
// the assertions of some logins while no clock runs, and logs in. ratio is the median of the turns'.
func (b bench) compare(ctx context.Context, app workload, sign func(int) error, workers int, clients []*http.Client) (raw, logins pace, ratio float64, err error) {
	const turns = 15
	var ratios []float64
	for range turns {
		signed, err := atOnce(runtime.NumCPU(), b.rate/turns, sign)
		if err != nil {
			return raw, logins, 0, err
		}
		bodies, err := app.assertions(int(1.5*signed.perSecond()*b.rate.Seconds()/turns) + workers)
		if err != nil {
			return raw, logins, 0, err
		}
		done, err := app.logins(ctx, clients, bodies, workers, b.rate/turns)
		if err != nil {
			return raw, logins, 0, err
		}
		raw, logins, ratios = raw.plus(signed), logins.plus(done), append(ratios, done.perSecond()/signed.perSecond())
	}
	slices.Sort(ratios)
	return raw, logins, ratios[turns/2], nil
}

// signature makes a raw one.
func signature() (func(int) error, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("bench"))
	return func(int) error {
		_, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		return err
	}, nil
}

// dial makes clients with one connection each, and what ends these. HTTP/1.1 has one request at a time on a connection.
func dial(ca string, n int) (clients []*http.Client, hangUp func()) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	for range n {
		clients = append(clients, &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}})
	}
	return clients, func() {
		for _, c := range clients {
			c.CloseIdleConnections()
		}
	}
}

// ask sends a request, reads the answer and takes only that status.
func ask(ctx context.Context, client *http.Client, method, url, kind, authorization, body string, want int) error {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		r.Header.Set("Content-Type", kind)
	}
	if authorization != "" {
		r.Header.Set("Authorization", "Bearer "+authorization)
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s %s: %s %s", method, url, resp.Status, said)
	}
	_, err = io.Copy(io.Discard, resp.Body) // or the connection is not used again
	return err
}

// requests measures reads of Graph and writes of role assignments over TLS, in a directory of some size.
func (b bench) requests(ctx context.Context, t table) error {
	p, err := newPlace(ctx, 0)
	if err != nil {
		return err
	}
	defer p.close()
	cloud := p.cloud
	run, err := localcloud.ReadRun(ctx, filepath.Join(p.home, "local"))
	if err != nil {
		return err
	}
	f := filler{cloud: cloud, admin: admin(cloud)}
	if err := f.fill(ctx, b.few, 0); err != nil {
		return err
	}
	graph, err := f.admin.GraphToken(ctx)
	if err != nil {
		return err
	}
	azure, err := f.admin.AzureToken(ctx)
	if err != nil {
		return err
	}
	ends := cloud.Endpoints()
	read := func(url string) func(client *http.Client, n int64) error {
		return func(client *http.Client, _ int64) error {
			return ask(ctx, client, http.MethodGet, url, "", graph, "", http.StatusOK)
		}
	}
	assign := func(client *http.Client, n int64) error {
		url := fmt.Sprintf("%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Authorization/roleAssignments/%s?api-version=2022-04-01", ends.ARM, cloud.SubscriptionID(), localcloud.DefaultGroup, uuid.NewString())
		if err := ask(ctx, client, http.MethodPut, url, "application/json", azure, assignment(cloud.SubscriptionID(), 0, uuid.NewString()), http.StatusCreated); err != nil {
			return err
		}
		return ask(ctx, client, http.MethodDelete, url, "", azure, "", http.StatusOK) // a subscription holds only so many
	}
	for _, load := range []struct {
		name  string
		times float64 // requests of one call
		f     func(client *http.Client, n int64) error
	}{
		{"Graph GET /applications/{id}", 1, read(ends.Graph + "/v1.0/applications/" + f.first.ID)},
		{"Graph GET ?$filter=displayName eq", 1, read(ends.Graph + "/v1.0/applications?" + query("$filter", "displayName eq '"+f.first.DisplayName+"'"))},
		{"role assignments, PUT and DELETE", 2, assign},
	} {
		var rates []string
		for _, n := range connections {
			clients, hangUp := dial(run.CAPEM, n)
			var calls atomic.Int64
			p, err := atOnce(n, b.rate, func(worker int) error { return load.f(clients[worker], calls.Add(1)) })
			hangUp()
			if err != nil {
				return err
			}
			rates = append(rates, fmt.Sprintf("%.0f", load.times*p.perSecond()))
		}
		t.row(load.name, strings.Join(rates, ", ")+" /s", "(reported: at 1, 16, 128 connections)")
	}
	return nil
}

// workload is an application with a certificate.
type workload struct {
	id, endpoint string
	key          *keystore.Key
	der          []byte
}

// enlist makes one, as its administrator would.
func enlist(ctx context.Context, cloud *localcloud.Cloud) (w workload, err error) {
	if w.key, err = keystore.Generate(2048); err != nil {
		return w, err
	}
	cert, err := keystore.Certificate(w.key, keystore.CertificateOptions{CommonName: "bench", Days: 1, Now: time.Now().Add(-time.Minute)})
	if err != nil {
		return w, err
	}
	w.der, w.endpoint = cert.Raw, cloud.Endpoints().Login+"/"+cloud.TenantID()+"/oauth2/v2.0/token"
	var made struct {
		AppID string `json:"appId"`
	}
	v := admin(cloud)
	if _, err := v.Call(ctx, http.MethodPost, "/v1.0/applications", map[string]any{"displayName": "bench", "signInAudience": "AzureADMyOrg",
		"keyCredentials": []any{map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": cert.Raw}}}, &made); err != nil {
		return w, err
	}
	w.id = made.AppID
	_, err = v.Call(ctx, http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": made.AppID}, nil)
	return w, err
}

// assertions signs the bodies of as many logins, on every core.
func (w workload) assertions(n int) ([]string, error) {
	bodies := make([]string, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, runtime.NumCPU())
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil {
				n := next.Add(1) - 1
				if n >= int64(len(bodies)) {
					return
				}
				var a string
				a, errs[i] = token.Sign(w.key, w.der, w.id, w.endpoint, time.Now())
				bodies[n] = "grant_type=client_credentials&client_id=" + w.id + "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=" + a + "&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
			}
		})
	}
	wg.Wait()
	return bodies, errors.Join(errs...)
}

func (w workload) login(ctx context.Context, client *http.Client, body string) error {
	return ask(ctx, client, http.MethodPost, w.endpoint, "application/x-www-form-urlencoded", "", body, http.StatusOK)
}

// logins uses each body once, for d or until there are no more.
func (w workload) logins(ctx context.Context, clients []*http.Client, bodies []string, workers int, d time.Duration) (pace, error) {
	var next atomic.Int64
	return atOnce(workers, d, func(worker int) error {
		n := next.Add(1) - 1
		if n >= int64(len(bodies)) {
			return errEnough
		}
		return w.login(ctx, clients[worker%len(clients)], bodies[n])
	})
}

// admin looks at a cloud in process, as its administrator.
func admin(cloud *localcloud.Cloud) *cloudview.Cloud {
	e := cloud.Endpoints()
	v := &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(), HTTP: &http.Client{Transport: cloud.Transport()}}
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			v.User, v.Password = o.UPN, o.Password.Reveal()
		}
	}
	return v
}
