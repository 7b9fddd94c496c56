// Command bench measures the jobs whose speed is promised and prints each figure beside its target. It asserts nothing: a slow machine is
// no fault of the code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
)

func main() {
	runs := flag.Int("runs", 20, "how many times each job runs; the median is shown")
	seconds := flag.Int("seconds", 5, "how long each rate is measured")
	bin := flag.String("bin", "bin/leastkey", "the built binary")
	profile := flag.String("profile", "", "file for the CPU profile of the logins; without it only what stands out is shown")
	flag.Parse()
	b := bench{runs: *runs, rate: time.Duration(*seconds) * time.Second, bin: *bin, profile: *profile, few: 100, many: 10_000}
	if err := b.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// table prints rows.
type table struct{}

func (table) row(job, figure, target string) { fmt.Printf("%-44s %-46s %s\n", job, figure, target) }

// bench says how much is measured.
type bench struct {
	runs      int           // of each job
	rate      time.Duration // how long each rate is measured
	bin       string
	profile   string
	few, many int // applications beside which listings are compared; each has four role assignments
}

func (b bench) run(ctx context.Context) error {
	var t table
	fmt.Printf("%d cores, %s, median of %d runs\n\n", runtime.NumCPU(), runtime.Version(), b.runs)
	t.row("job", "figure", "target")
	t.row("---", "------", "------")
	for _, latency := range []time.Duration{0, 150 * time.Millisecond} {
		if err := provision(ctx, t, b.runs, latency); err != nil {
			return fmt.Errorf("provision at %s: %w", latency, err)
		}
	}
	for _, latency := range []time.Duration{0, 150 * time.Millisecond} {
		if err := preflight(ctx, t, b.runs, latency); err != nil {
			return fmt.Errorf("preflight at %s: %w", latency, err)
		}
	}
	if err := cold(ctx, t, b.runs, b.bin); err != nil {
		return fmt.Errorf("cold processes: %w", err)
	}
	if err := b.logins(ctx, t); err != nil {
		return fmt.Errorf("logins: %w", err)
	}
	if err := b.requests(ctx, t); err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	return b.growth(ctx, t)
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
	t.row("leastkey token, cold process", fmt.Sprintf("%s, %.0f MB, %.1f token requests", ms(took), float64(rss)/1e6, each), "(reported)")
	if err := provisionerToken(t, p, runs, env, bin); err != nil {
		return err
	}
	return az(t, runs)
}

// provisionerToken measures the token command that scripts call instead of a request with a secret. provisioner-token is the same code.
func provisionerToken(t table, p *place, runs int, env []string, bin string) error {
	env = append(env, "LEASTKEY_STATE_FILE="+filepath.Join(p.home, ".entraclaw-state.json"))
	if _, _, err := processes(1, env, bin, "provisioner", "bootstrap", "--yes"); err != nil {
		return err
	}
	before := total(p.cloud)
	took, rss, err := processes(runs, env, bin, "provisioner", "token")
	if err != nil {
		return err
	}
	t.row("leastkey provisioner token, cold process", fmt.Sprintf("%s, %.0f MB, %.1f requests", ms(took), float64(rss)/1e6, float64(total(p.cloud)-before)/float64(runs)), "≤ 60 ms, ≤ 40 MB, 1 request")
	return nil
}

// total is how many requests the cloud was asked on all planes.
func total(c *localcloud.Cloud) (n int) {
	for _, plane := range c.Counts() {
		n += int(plane.Requests)
	}
	return n
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

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }
