// Command bench measures the jobs whose speed is promised and prints each figure beside its target. It asserts nothing: a slow machine is
// no fault of the code.
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/token"
)

func main() {
	runs := flag.Int("runs", 20, "how many times each job runs; the median is shown")
	seconds := flag.Int("seconds", 5, "how long each rate is measured")
	bin := flag.String("bin", "bin/leastkey", "the built binary")
	flag.Parse()
	if err := bench(context.Background(), *runs, time.Duration(*seconds)*time.Second, *bin); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// table prints rows.
type table struct{}

func (table) row(job, figure, target string) { fmt.Printf("%-44s %-46s %s\n", job, figure, target) }

func bench(ctx context.Context, runs int, rate time.Duration, bin string) error {
	var t table
	fmt.Printf("%d cores, %s, median of %d runs\n\n", runtime.NumCPU(), runtime.Version(), runs)
	t.row("job", "figure", "target")
	t.row("---", "------", "------")
	for _, latency := range []time.Duration{0, 150 * time.Millisecond} {
		if err := provision(ctx, t, runs, latency); err != nil {
			return fmt.Errorf("provision at %s: %w", latency, err)
		}
	}
	if err := cold(ctx, t, runs, bin); err != nil {
		return fmt.Errorf("cold processes: %w", err)
	}
	return logins(ctx, t, rate)
}

// place is a local cloud on sockets, a home and a yaml with four role assignments.
type place struct {
	home  string
	cloud *localcloud.Cloud
	app   *app.App
	yaml  string
}

const spec = `cloud: local
tenant: %s
subscription: %s
agents:
  polyclaw-runtime:
    key_vault: kv-polyclaw
    session_pool: polyclaw-pool
`

func newPlace(ctx context.Context, latency time.Duration) (*place, error) {
	home, err := os.MkdirTemp("", "leastkey-bench-")
	if err != nil {
		return nil, err
	}
	cloud, err := localcloud.New(localcloud.Config{RunDir: filepath.Join(home, "local"), Knobs: localcloud.Knobs{Latency: latency}})
	if err != nil {
		return nil, err
	}
	if err := cloud.Listen(ctx); err != nil {
		return nil, err
	}
	p := &place{home: home, cloud: cloud, yaml: filepath.Join(home, "leastkey.yaml")}
	p.app = &app.App{Getenv: func(name string) string {
		if name == "LEASTKEY_HOME" {
			return home
		}
		return ""
	}}
	return p, os.WriteFile(p.yaml, fmt.Appendf(nil, spec, cloud.TenantID(), cloud.SubscriptionID()), 0o600)
}

func (p *place) close() error { return errors.Join(p.cloud.Close(), os.RemoveAll(p.home)) }

// provision measures one fresh provision after the other, each on a new cloud, with the operator's tokens in hand.
func provision(ctx context.Context, t table, runs int, latency time.Duration) error {
	var walls, paths []time.Duration
	var requests int
	for range runs {
		r, err := provisionOnce(ctx, latency)
		if err != nil {
			return err
		}
		walls = append(walls, time.Duration(r.WallMS)*time.Millisecond)
		paths = append(paths, time.Duration(r.CriticalPath)*time.Millisecond)
		requests = r.Requests
		if len(r.Roles) != 4 || r.Proof.Logins != 3 {
			return fmt.Errorf("the job was not done: %d roles, %d logins", len(r.Roles), r.Proof.Logins)
		}
	}
	target := "≤ 0.4 s, ≤ 24 requests, peer 8.9 s"
	if latency > 0 {
		target = "≤ 2 s, wall ≤ 1.25 × critical path, peer 12.6 s"
	}
	wall, path := median(walls), median(paths)
	t.row(fmt.Sprintf("provision fresh, 4 roles, %s a request", latency), fmt.Sprintf("%s, %d requests, steps' critical path %s", ms(wall), requests, ms(path)), target)
	return nil
}

func provisionOnce(ctx context.Context, latency time.Duration) (r api.Report, err error) {
	p, err := newPlace(ctx, latency)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	d, err := p.app.Open(ctx, api.Target{File: p.yaml})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if _, err := d.Caller(ctx); err != nil { // the operator's tokens, in hand
		return r, err
	}
	return d.Apply(ctx, api.ApplyRequest{}, nil)
}

// cold measures processes from exec to exit.
func cold(ctx context.Context, t table, runs int, bin string) error {
	info, err := os.Stat(bin)
	if err != nil {
		return err
	}
	t.row("binary, stripped", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), "≤ 35 MB")
	took, _, err := processes(runs, nil, bin, "version")
	if err != nil {
		return err
	}
	t.row("leastkey version", ms(took), "≤ 15 ms")
	p, err := newPlace(ctx, 0)
	if err != nil {
		return err
	}
	defer p.close()
	env := []string{"LEASTKEY_HOME=" + p.home, "HOME=" + p.home, "PATH=" + os.Getenv("PATH")}
	if _, _, err := processes(1, env, bin, "apply", "--yes", "-f", p.yaml); err != nil {
		return err
	}
	before := p.cloud.Counts()["login"].Requests
	took, rss, err := processes(runs, env, bin, "token", "-f", p.yaml)
	if err != nil {
		return err
	}
	each := float64(p.cloud.Counts()["login"].Requests-before) / float64(runs)
	t.row("leastkey token, cold process", fmt.Sprintf("%s, %.0f MB, %.1f token requests", ms(took), float64(rss)/1e6, each), "≤ 60 ms, ≤ 40 MB, 1 request (provisioner token)")
	return az(t, runs)
}

func processes(runs int, env []string, bin string, args ...string) (time.Duration, int64, error) {
	var all []time.Duration
	var rss int64
	for range runs {
		c := exec.Command(bin, args...)
		c.Env = env
		var out, complaint strings.Builder
		c.Stdout, c.Stderr = &out, &complaint
		began := time.Now()
		if err := c.Run(); err != nil {
			return 0, 0, fmt.Errorf("%s %s: %w\n%s", bin, strings.Join(args, " "), err, complaint.String())
		}
		all = append(all, time.Since(began))
		rss = max(rss, largest(c.ProcessState))
	}
	return median(all), rss, nil
}

// az measures what an operator's token costs where az is the operator.
func az(t table, runs int) error {
	if _, err := exec.LookPath("az"); err != nil {
		t.row("one process of az", "az is not installed", "(reported)")
		return nil
	}
	took, _, err := processes(min(runs, 5), os.Environ(), "az", "version", "--output", "none")
	if err != nil {
		return err
	}
	t.row("one process of az (az version)", ms(took), "(reported: --operator az costs two)")
	return nil
}

// logins compares verified certificate logins with raw signatures, both on every core. The assertions are signed before the clock starts.
func logins(ctx context.Context, t table, d time.Duration) error {
	raw, err := signatures(d)
	if err != nil {
		return err
	}
	rate, err := verified(ctx, d, raw)
	if err != nil {
		return err
	}
	t.row("local cloud: verified certificate logins", fmt.Sprintf("%.0f /s = %.2f × %.0f raw RSA-2048 signatures /s", rate, rate/raw, raw), "≥ 0.7 ×")
	return nil
}

func signatures(d time.Duration) (float64, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256([]byte("bench"))
	return everyCore(d, func(int64) error {
		_, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		return err
	})
}

// everyCore calls f on every core for d and gives the calls per second.
func everyCore(d time.Duration, f func(n int64) error) (float64, error) {
	var n atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, runtime.NumCPU())
	began := time.Now()
	for i := range errs {
		wg.Go(func() {
			for time.Since(began) < d && errs[i] == nil {
				errs[i] = f(n.Add(1) - 1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}

// verified logs in in process, where no socket and no client costs anything: what is measured is the cloud.
func verified(ctx context.Context, d time.Duration, raw float64) (float64, error) {
	cloud, err := localcloud.New(localcloud.Config{})
	if err != nil {
		return 0, err
	}
	defer cloud.Close()
	appID, key, der, err := enlist(ctx, cloud)
	if err != nil {
		return 0, err
	}
	endpoint := cloud.Endpoints().Login + "/" + cloud.TenantID() + "/oauth2/v2.0/token"
	bodies := make([]string, int(raw*d.Seconds()*1.2))
	for i := range bodies {
		a, err := token.Sign(key, der, appID, endpoint, time.Now())
		if err != nil {
			return 0, err
		}
		bodies[i] = "grant_type=client_credentials&client_id=" + appID + "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=" + a + "&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
	}
	client := &http.Client{Transport: cloud.Transport()}
	return everyCore(d, func(n int64) error {
		if n >= int64(len(bodies)) {
			return errors.New("more logins than assertions: the machine changed its speed; run it again")
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(bodies[n]))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("login: %s", resp.Status)
		}
		return nil
	})
}

// enlist makes an application with a certificate, as its administrator would.
func enlist(ctx context.Context, cloud *localcloud.Cloud) (appID string, key *keystore.Key, der []byte, err error) {
	if key, err = keystore.Generate(2048); err != nil {
		return "", nil, nil, err
	}
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "bench", Days: 1, Now: time.Now().Add(-time.Minute)})
	if err != nil {
		return "", nil, nil, err
	}
	e := cloud.Endpoints()
	v := &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), HTTP: &http.Client{Transport: cloud.Transport()}}
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			v.User, v.Password = o.UPN, o.Password.Reveal()
		}
	}
	var made struct {
		AppID string `json:"appId"`
	}
	if _, err := v.Call(ctx, http.MethodPost, "/v1.0/applications", map[string]any{"displayName": "bench", "signInAudience": "AzureADMyOrg",
		"keyCredentials": []any{map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": cert.Raw}}}, &made); err != nil {
		return "", nil, nil, err
	}
	_, err = v.Call(ctx, http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": made.AppID}, nil)
	return made.AppID, key, cert.Raw, err
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }
