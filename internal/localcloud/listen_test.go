package localcloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// client trusts the cloud's authority alone; http1 keeps it from HTTP/2.
func client(t *testing.T, r Run, http1 bool) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(r.CAPEM)) {
		t.Fatal("no certificate authority")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: !http1}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestTheListeningCloudSpeaksBothVersionsOfHTTP(t *testing.T) {
	c := listen(t, Config{RunDir: t.TempDir()})
	for _, http1 := range []bool{true, false} {
		resp, err := client(t, c.Run(), http1).Get(discovery(c))
		must(t, err)
		resp.Body.Close()
		if want := map[bool]int{true: 1, false: 2}[http1]; resp.StatusCode != 200 || resp.ProtoMajor != want {
			t.Errorf("%s %d; want HTTP/%d and 200", resp.Proto, resp.StatusCode, want)
		}
	}
	resp, err := get(t.Context(), c.Transport(), discovery(c)) // the in-process way knows the real addresses too
	must(t, err)
	resp.Body.Close()
	ports := map[string]bool{}
	for _, u := range append([]string{c.Endpoints().Login, c.Endpoints().Graph, c.Endpoints().ARM}, c.Endpoints().Vault[DefaultVault], c.Endpoints().Vault[LegacyVault]) {
		ports[u] = true
	}
	if len(ports) != 5 {
		t.Errorf("services share addresses: %v", c.Endpoints())
	}
}

func TestNobodyElseTrustsItsCertificate(t *testing.T) {
	c := listen(t, Config{})
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	_, err := (&http.Client{Transport: tr}).Get(discovery(c))
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("a client without its authority got %v", err)
	}
}

func TestItsAuthorityIsGoodForItsOwnNamesAlone(t *testing.T) {
	own := namesOf([]string{"cloud.internal", "10.1.2.3"})
	c, err := openCA("", own, time.Now())
	must(t, err)
	for name, ok := range map[string]bool{
		"localhost": true, "kv-polyclaw.vault.localhost": true, "cloud.internal": true, "10.1.2.3": true, "::1": true,
		"login.microsoftonline.com": false, "example.com": false, "8.8.8.8": false,
	} {
		conf, err := c.serverTLS(namesOf([]string{"cloud.internal", "10.1.2.3", "login.microsoftonline.com", "example.com", "8.8.8.8"}))
		if !ok {
			conf, err = c.serverTLS(namesOf([]string{name}))
		}
		if ok {
			conf, err = c.serverTLS(own)
		}
		must(t, err)
		leaf, err := x509.ParseCertificate(conf.Certificates[0].Certificate[0])
		must(t, err)
		roots := x509.NewCertPool()
		roots.AddCert(c.cert)
		if _, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFaultsCutRealConnections(t *testing.T) {
	for _, http1 := range []bool{true, false} {
		effects := 0
		c := listen(t, Config{Knobs: Knobs{DropAfter: 1}, Hooks: Hooks{After: func(*http.Request) { effects++ }}})
		resp, err := client(t, c.Run(), http1).Post(discovery(c), "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			t.Errorf("HTTP/1 %v: answered %d", http1, resp.StatusCode)
		}
		if effects != 1 {
			t.Errorf("HTTP/1 %v: %d effects", http1, effects)
		}
	}
}

func TestARestartKeepsPortsAuthorityInstanceAndData(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{RunDir: dir, StateFile: filepath.Join(dir, "cloud.jsonl"), OperatorKey: testKey(), SigningKey: testKey(), Seed: 4}
	first, err := New(cfg)
	must(t, err)
	must(t, first.Listen(t.Context()))
	was, people, token := first.Run(), first.Operators(), first.world.Load().env.NewID()
	must(t, first.Close())

	second := listen(t, cfg)
	is := second.Run()
	if was.Endpoints.Login != is.Endpoints.Login || was.Endpoints.Vault[LegacyVault] != is.Endpoints.Vault[LegacyVault] || was.Management != is.Management {
		t.Errorf("addresses changed: %v, then %v", was.Endpoints, is.Endpoints)
	}
	if was.CAPEM != is.CAPEM || was.Instance != is.Instance {
		t.Error("authority or instance changed")
	}
	if was.Token.Reveal() == is.Token.Reveal() {
		t.Error("the management token outlived its process")
	}
	if len(people) != 6 {
		t.Errorf("%d operators", len(people))
	}
	for i, o := range second.Operators() {
		if p := people[i]; o.ObjectID != p.ObjectID || o.Password.Reveal() != p.Password.Reveal() || o.Certificate.Reveal() != p.Certificate.Reveal() {
			t.Errorf("operator %s changed", o.Name)
		}
	}
	admin := password{second, second.Transport(), people[0]}
	if _, err := admin.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{is.Endpoints.ARM + "/.default"}}); err != nil {
		t.Errorf("the administrator cannot log in again: %v", err)
	}
	if second.world.Load().env.NewID() == token {
		t.Error("the second life gives the ids of the first again")
	}
}

func TestOneFolderHasOneCloud(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{RunDir: dir})
	if _, err := New(Config{RunDir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second cloud: %v", err)
	}
}

func TestDamagedStateIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "cloud.jsonl")
	cfg := Config{StateFile: state, SigningKey: testKey()}
	c, err := New(cfg)
	must(t, err)
	must(t, c.Close())
	whole, err := os.ReadFile(state)
	must(t, err)
	for name, damage := range map[string]func(){
		"a line that is no record":     func() { must(t, os.WriteFile(state, append([]byte("{oops\n"), whole...), 0o600)) },
		"an instance file of nonsense": func() { must(t, os.WriteFile(filepath.Join(dir, "instance.json"), []byte("x"), 0o600)) },
		"a state without an instance":  func() { must(t, os.Remove(filepath.Join(dir, "instance.json"))) },
	} {
		t.Run(name, func(t *testing.T) {
			instance, err := os.ReadFile(filepath.Join(dir, "instance.json"))
			must(t, err)
			damage()
			before, err := os.ReadFile(state)
			must(t, err)
			if _, err := New(cfg); err == nil {
				t.Error("it was opened")
			}
			if after, _ := os.ReadFile(state); string(after) != string(before) {
				t.Error("the state file was changed")
			}
			must(t, os.WriteFile(state, whole, 0o600))
			must(t, os.WriteFile(filepath.Join(dir, "instance.json"), instance, 0o600))
		})
	}
	must(t, os.WriteFile(filepath.Join(dir, "instance.json"), []byte(`{"instance":"x","complete":false}`), 0o600))
	open(t, cfg) // a first start that a crash cut short is made again
}

func TestTheRunFileLivesAndDiesWithTheCloud(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := ReadRun(ctx, dir); !errors.Is(err, ErrNoRun) {
		t.Errorf("an empty folder: %v", err)
	}
	c := open(t, Config{RunDir: dir})
	must(t, c.Listen(ctx))
	r, err := ReadRun(ctx, dir)
	must(t, err)
	if r.Instance != c.Instance() || r.Endpoints.Login != c.Endpoints().Login || r.Token.Reveal() != c.Run().Token.Reveal() {
		t.Errorf("read %+v", r)
	}
	people, err := ReadOperators(r)
	must(t, err)
	if len(people) != 6 || people[0].Password.Reveal() != c.Operators()[0].Password.Reveal() || people[5].Certificate.Reveal() != c.Operators()[5].Certificate.Reveal() {
		t.Error("the operators' file does not read back")
	}
	for _, f := range []string{runFile, operatorsFile, operatorPEMFile, caKeyFile} {
		info, err := os.Stat(filepath.Join(dir, f))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, info.Mode())
		}
	}
	path := filepath.Join(dir, runFile)
	left, err := os.ReadFile(path)
	must(t, err)

	must(t, os.Chmod(path, 0o644))
	_, err = ReadRun(ctx, dir)
	if _, stale := errors.AsType[*StaleError](err); err == nil || stale {
		t.Errorf("a run file that others reach: %v", err)
	}
	must(t, os.Chmod(path, 0o600))
	for reason, edit := range map[string][2]string{
		"has ended":             {`"pid": `, `"pid": 99999`},
		"another cloud answers": {c.Instance(), "00000000-0000-4000-8000-000000000000"},
		"401":                   {`"management_token": "`, `"management_token": "x`},
	} {
		must(t, os.WriteFile(path, []byte(strings.Replace(string(left), edit[0], edit[1], 1)), 0o600))
		_, err := ReadRun(ctx, dir)
		if stale, ok := errors.AsType[*StaleError](err); !ok || !strings.Contains(stale.Reason, reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	must(t, os.WriteFile(path, left, 0o600))

	must(t, c.Close())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the run file stays: %v", err)
	}
	must(t, os.WriteFile(path, left, 0o600)) // as a killed process leaves it; the process lives, its cloud does not
	_, err = ReadRun(ctx, dir)
	if _, stale := errors.AsType[*StaleError](err); !stale {
		t.Errorf("a left-over run file: %v", err)
	}
}

func TestServingEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	c := open(t, Config{RunDir: dir})
	ctx, cancel := context.WithCancel(t.Context())
	must(t, c.Listen(ctx))
	cancel()
	deadline, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for {
		if _, err := ReadRun(deadline, dir); errors.Is(err, ErrNoRun) {
			return
		}
		if !pause(deadline, 10*time.Millisecond) {
			t.Fatal("it goes on")
		}
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	for _, address := range []string{"0.0.0.0", "::", "8.8.8.8"} {
		c := open(t, Config{Listen: address})
		if err := c.Listen(t.Context()); err == nil {
			t.Errorf("it listens on %s", address)
		}
	}
}

func TestItListensAtAnotherLoopbackAddress(t *testing.T) {
	var said strings.Builder
	c := listen(t, Config{Listen: "127.0.0.7", Log: &said})
	if !strings.HasPrefix(c.Endpoints().Login, "https://127.0.0.7:") {
		t.Errorf("endpoints %v", c.Endpoints())
	}
	resp, err := client(t, c.Run(), false).Get(discovery(c))
	must(t, err)
	resp.Body.Close()
	if said.Len() != 0 {
		t.Errorf("it warns: %s", said.String())
	}
	if ip, err := listenAddress(t.Context(), "192.168.7.9"); err != nil || ip.String() != "192.168.7.9" {
		t.Errorf("a private address: %v %v", ip, err)
	}
}

func TestAReset(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{RunDir: dir, StateFile: filepath.Join(dir, "state", "cloud.jsonl"), OperatorKey: testKey(), Knobs: Knobs{Lag: Lag{Graph: time.Minute}}}
	c, err := New(cfg) // without a signing key of ours, which would outlive the reset
	must(t, err)
	must(t, c.Listen(t.Context()))
	was, admin, key := c.Run(), c.Operators()[0], c.world.Load().env.Auth.Key()
	m, err := was.Manage()
	must(t, err)
	defer m.Close()
	h, err := m.Reset(t.Context())
	must(t, err)
	is, err := ReadRun(t.Context(), dir)
	must(t, err)
	if is.Instance == was.Instance || h.Instance != is.Instance {
		t.Errorf("instances %s, then %s; answered %s", was.Instance, is.Instance, h.Instance)
	}
	if is.Endpoints.Login != was.Endpoints.Login || is.CAPEM != was.CAPEM {
		t.Error("a reset moved the cloud")
	}
	if again := c.Operators()[0]; again.ObjectID == admin.ObjectID || again.Password.Reveal() == admin.Password.Reveal() {
		t.Error("an operator outlived the reset")
	}
	if c.world.Load().env.Auth.Key().Equal(key) {
		t.Error("tokens of before are still good")
	}
	if c.world.Load().store.Lag(1) != time.Minute {
		t.Error("the reset forgot the knobs")
	}
	m.Close()
	must(t, c.Close())
	again, err := New(cfg)
	must(t, err)
	defer again.Close()
	if again.Instance() != is.Instance {
		t.Error("the reset world was not kept")
	}
}

func TestManagementNeedsTheToken(t *testing.T) {
	c := listen(t, Config{})
	r := c.Run()
	hc := client(t, r, false)
	for name, header := range map[string]string{
		"none": "", "an empty one": "Bearer ", "another": "Bearer " + strings.Repeat("x", len(r.Token.Reveal())), "its beginning": "Bearer " + r.Token.Reveal()[:10],
		"another scheme": "Basic " + r.Token.Reveal(),
	} {
		for _, path := range []string{"/health", "/knobs", "/log", "/state", "/nothing"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.Management+path, nil)
			must(t, err)
			req.Header.Set("Authorization", header)
			resp, err := hc.Do(req)
			must(t, err)
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %s answers %d", name, path, resp.StatusCode)
			}
		}
	}
	if len(c.Requests()) != 0 {
		t.Error("management requests are in the log of the services")
	}
}

func TestManagementTurnsKnobsAndShowsTheLog(t *testing.T) {
	for name, socket := range map[string]string{"over loopback": "", "over a Unix socket": filepath.Join(t.TempDir(), "m.sock")} {
		t.Run(name, func(t *testing.T) {
			c := listen(t, Config{ManagementSocket: socket, Knobs: Knobs{Seed: 8}})
			m, err := c.Run().Manage()
			must(t, err)
			defer m.Close()
			k, err := m.PatchKnobs(t.Context(), []byte(`{"throttle_rate":1,"lag":{"arm":"7s"}}`))
			must(t, err)
			if k.Throttle != 1 || k.Lag.ARM != 7*time.Second || k.Seed != 8 || c.Knobs() != k {
				t.Errorf("knobs %+v", k)
			}
			if _, err := m.PatchKnobs(t.Context(), []byte(`{"drop_before_rate":1}`)); err == nil || !strings.Contains(err.Error(), "400") {
				t.Errorf("rates above one together: %v", err)
			}
			if k, err = m.Knobs(t.Context()); err != nil || k.DropBefore != 0 {
				t.Errorf("a refused patch was kept: %+v %v", k, err)
			}
			hc := client(t, c.Run(), false)
			ask := func() {
				resp, err := hc.Get(discovery(c))
				must(t, err)
				resp.Body.Close()
			}
			ask()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			enough := errors.New("enough")
			var seen []uint64
			err = m.Requests(ctx, 0, true, func(r Request) error {
				if r.Status != 429 || r.Plane != planeLogin || r.Fault == "" {
					t.Errorf("logged %+v", r)
				}
				if seen = append(seen, r.N); len(seen) == 3 {
					return enough
				}
				ask() // each request that is followed brings the next
				return nil
			})
			if !errors.Is(err, enough) || len(seen) != 3 || seen[2] != 3 {
				t.Errorf("followed %v: %v", seen, err)
			}
			must(t, m.Requests(ctx, 2, false, func(r Request) error {
				if r.N != 3 {
					t.Errorf("after 2 comes %d", r.N)
				}
				return nil
			}))
			s, err := m.State(t.Context())
			must(t, err)
			if s.Requests[planeLogin].Requests != 3 || s.Objects["users"] != 5 || s.Instance != c.Instance() {
				t.Errorf("state %+v", s)
			}
			if err := m.ApproveDevice(t.Context(), "NOSUCH", "admin@"+c.Domain()); err == nil {
				t.Error("an unknown device code was approved")
			}
		})
	}
}

func TestFollowingTheLogEndsWithTheCloud(t *testing.T) {
	c := listen(t, Config{})
	m, err := c.Run().Manage()
	must(t, err)
	defer m.Close()
	resp, err := client(t, c.Run(), false).Get(discovery(c))
	must(t, err)
	resp.Body.Close()
	err = m.Requests(t.Context(), 0, true, func(Request) error {
		go c.Close() // waits for this very answer to end
		return nil
	})
	if err != nil {
		t.Errorf("the answer was torn: %v", err)
	}
}

func TestTheLogFileHasALinePerRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "requests.jsonl")
	c := open(t, Config{LogFile: path})
	for range 3 {
		resp, err := get(t.Context(), c.Transport(), discovery(c))
		must(t, err)
		resp.Body.Close()
	}
	b, err := os.ReadFile(path)
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var last Request
	must(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	if len(lines) != 3 || last.N != 3 || last.Status != 200 {
		t.Errorf("%s", b)
	}
}
