package soak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/clients"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

// place is the running cloud.
type place struct {
	house      product.House
	cmd        *exec.Cmd
	ended      chan error
	stderr     string // file
	races      string // folder with one file for each process that met one
	run        localcloud.Run
	operators  map[string]localcloud.Operator
	manage     *localcloud.Management
	issuer     *clients.Issuer
	transports []*http.Transport
}

// build makes the binary. The race detector is C.
func (s *soak) build(race bool) string {
	binary := filepath.Join(s.TempDir(), "leastkey")
	args := []string{"build", "-o", binary}
	cgo := "CGO_ENABLED=0"
	if race {
		cgo, args = "CGO_ENABLED=1", append(args, "-race")
		out, err := exec.Command("go", "env", "CC").Output()
		s.must(err)
		if cc := strings.Fields(string(out)); len(cc) == 0 {
			s.Fatal("go env CC names no C compiler")
		} else if _, err := exec.LookPath(cc[0]); err != nil {
			s.Fatalf("the race detector needs a C compiler, and %s is not there: install the Debian package gcc", cc[0])
		}
	}
	cmd := exec.Command("go", append(args, "github.com/leastkey/leastkey/cmd/leastkey")...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// serve starts the cloud, without lag and without faults.
func (s *soak) serve(race bool) {
	s.house = product.NewHouse(s.T, s.build(race))
	s.races = s.TempDir()
	s.stderr = filepath.Join(s.TempDir(), "stderr")
	said, err := os.Create(s.stderr)
	s.must(err)
	defer said.Close()
	s.issuer = clients.NewIssuer(s.T)
	s.cmd = exec.Command(s.house.Binary, "cloud", "serve", "--memory", "--json", "--issuer-ca", s.issuer.CAFile)
	s.cmd.Dir, s.cmd.Stderr = s.house.Home, said
	s.cmd.Env = append(s.house.Env, "GORACE=halt_on_error=0 log_path="+filepath.Join(s.races, "race"))
	stdout, err := s.cmd.StdoutPipe()
	s.must(err)
	s.must(s.cmd.Start())
	s.Cleanup(func() { _ = s.cmd.Process.Kill() }) // where the run ends early; after stop there is nothing to kill
	var info api.CloudInfo
	s.must(json.NewDecoder(stdout).Decode(&info))
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.cmd.Wait() }()

	s.run, err = localcloud.ReadRun(s.Context(), info.Dir)
	s.must(err)
	all, err := localcloud.ReadOperators(s.run)
	s.must(err)
	s.operators = map[string]localcloud.Operator{}
	for _, o := range all {
		s.operators[o.Name] = o
	}
	s.manage, err = s.run.Manage()
	s.must(err)
}

// connect makes a client that trusts the cloud, with connections of its own.
func (s *soak) connect() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.run.CAPEM))
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	s.transports = append(s.transports, t)
	return &http.Client{Transport: t, Timeout: time.Minute}
}

// hangUp ends the connections of all clients.
func (s *soak) hangUp() {
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
}

func (s *soak) knobs(k localcloud.Knobs) {
	document, err := json.Marshal(k)
	s.must(err)
	if _, err := s.manage.PatchKnobs(context.WithoutCancel(s.Context()), document); err != nil {
		s.violate("the management API: %v", err)
	}
}

// idle waits until the cloud has no more than so many goroutines, 0 for as few as it comes to within some seconds.
func (s *soak) idle(most int) localcloud.State {
	patience := 3 * time.Second
	if most > 0 {
		patience = 90 * time.Second
		most += stayers
	}
	var best localcloud.State
	for began := time.Now(); time.Since(began) < patience; {
		state, err := s.manage.Collected(s.Context())
		s.must(err)
		if best.Goroutines == 0 || state.Goroutines <= best.Goroutines {
			best = state
		}
		if best.Goroutines <= most {
			return best
		}
		s.must(pause(s.Context(), 200*time.Millisecond))
	}
	if most > 0 {
		s.violate("%d goroutines stay, of %d that there were before the clients", best.Goroutines, most-stayers)
	}
	return best
}

// stayers are goroutines that may be there at the end and not at the beginning: the garbage collector starts its workers when it first
// needs them, one a processor.
const stayers = 4

// stop ends the cloud, which has to end well: with a race it does not, nor if it has gone already.
func (s *soak) stop() {
	s.manage.Close()
	s.must(s.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-s.ended:
		if err != nil {
			s.violate("the cloud ended: %v", err)
		}
	case <-time.After(product.Patience):
		s.violate("the cloud does not end")
		_ = s.cmd.Process.Kill()
	}
	races, err := filepath.Glob(filepath.Join(s.races, "*"))
	s.must(err)
	for _, file := range races {
		text, err := os.ReadFile(file)
		s.must(err)
		s.violate("%d data races, of which the first:\n%.6000s", strings.Count(string(text), "WARNING: DATA RACE"), text)
	}
	said, err := os.ReadFile(s.stderr)
	s.must(err)
	if i := strings.Index(string(said), "panic"); i >= 0 {
		s.violate("the cloud panics:\n%.6000s", said[i:])
	}
}
