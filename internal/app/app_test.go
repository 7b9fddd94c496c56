package app

import (
	"context"
	"crypto"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

func with(env map[string]string) *App {
	return &App{Getenv: func(name string) string { return env[name] }}
}

func TestHome(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("paths below are those of Unix")
		return
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"LEASTKEY_HOME first":                  {map[string]string{"LEASTKEY_HOME": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}, "/a"},
		"then the state folder":                {map[string]string{"XDG_STATE_HOME": "/b", "HOME": "/c"}, "/b/leastkey"},
		"a relative state folder is no folder": {map[string]string{"XDG_STATE_HOME": "b", "HOME": "/c"}, "/c/.local/state/leastkey"},
		"then the home folder":                 {map[string]string{"HOME": "/c"}, "/c/.local/state/leastkey"},
		"none of them":                         {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := with(c.env).home()
			if got != c.want || (err != nil) != (c.want == "") {
				t.Errorf("home %q, %v", got, err)
			}
		})
	}
	if dir, err := with(map[string]string{"LEASTKEY_HOME": "/a"}).localDir("/state"); err != nil || dir != "/state/local" {
		t.Errorf("localDir %q %v", dir, err)
	}
}

// The sovereign clouds: tokens asked for at one must never be of another's authority or audience.
func TestRealCloudsDoNotMix(t *testing.T) {
	suffix := map[agent.Cloud][]string{
		agent.Public: {"microsoftonline.com", "microsoft.com", "azure.com"}, agent.USGov: {"microsoftonline.us", "microsoft.us", "usgovcloudapi.net"}, agent.China: {"chinacloudapi.cn"},
	}
	for cloud, e := range realClouds() {
		for _, url := range []string{e.Login, e.Graph, e.ARM, strings.TrimSuffix(e.ARMScope, "/.default"), strings.TrimSuffix(e.GraphScope, "/.default")} {
			ok := strings.HasPrefix(url, "https://")
			within := false
			for _, s := range suffix[cloud] {
				within = within || strings.HasSuffix(url, "."+s)
			}
			if !ok || !within {
				t.Errorf("cloud %s has %s", cloud, url)
			}
		}
		if e.GraphScope != e.Graph+"/.default" {
			t.Errorf("cloud %s asks for Graph as %s", cloud, e.GraphScope)
		}
	}
	if len(realClouds()) != len(suffix) {
		t.Errorf("%d clouds", len(realClouds()))
	}
}

// flaky loses its first requests.
type flaky struct {
	http.RoundTripper
	lost, busy int // so many drops, then so many answers of a service that is away
	asked      int
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.asked++
	switch {
	case f.asked <= f.lost:
		return nil, io.ErrUnexpectedEOF
	case f.asked <= f.lost+f.busy:
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	if f.RoundTripper == nil {
		const issuer = `{"issuer":"https://login.example.org/11111111-0000-0000-0000-000000000001/v2.0"}`
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(issuer)), Request: r}, nil
	}
	return f.RoundTripper.RoundTrip(r)
}

// The first request of every command is no less patient than the rest.
func TestALostDiscoveryIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			name  string
			via   *flaky
			works bool
		}{
			{"dropped twice", &flaky{lost: 2}, true},
			{"away twice", &flaky{busy: 2}, true},
			{"dropped, then away", &flaky{lost: 1, busy: 1}, true},
			{"never there", &flaky{lost: 1000}, false},
		} {
			s := &site{cloud: agent.Public, ends: endpoints{Login: "https://login.example.org"}, transport: row.via}
			began := time.Now()
			id, err := with(nil).resolveTenant(t.Context(), s, filepath.Join(t.TempDir(), "public"), "contoso.com")
			if (err == nil) != row.works || row.works && id != "11111111-0000-0000-0000-000000000001" {
				t.Errorf("%s: %q, %v", row.name, id, err)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("%s: it took %s", row.name, took)
			}
			if strings.Contains(fault.Hint(err), "continues") {
				t.Errorf("%s: nothing was begun, and the hint is %q", row.name, fault.Hint(err))
			}
		}
	})
}

// A domain that moves to another tenant must not take our plans with it.
func TestAChangedTenantStops(t *testing.T) {
	first, second := "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"
	answer := first
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base := "https://" + r.Host + "/" + answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"issuer":"` + base + `/v2.0","token_endpoint":"` + base + `/oauth2/v2.0/token","authorization_endpoint":"` + base + `/oauth2/v2.0/authorize"}`))
	}))
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "public")
	a := with(nil)
	s := &site{cloud: agent.Public, ends: endpoints{Login: srv.URL}, transport: srv.Client().Transport}
	for range 2 {
		if id, err := a.resolveTenant(t.Context(), s, dir, "Contoso.com"); err != nil || id != first {
			t.Fatalf("tenant %q: %v", id, err)
		}
	}
	answer = second
	if id, err := a.resolveTenant(t.Context(), s, dir, "contoso.COM"); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), second) {
		t.Errorf("tenant %q: %v", id, err)
	}
	if id, err := a.resolveTenant(t.Context(), s, dir, strings.ToUpper(second)); err != nil || id != second {
		t.Errorf("a GUID is asked for: %q %v", id, err)
	}
	path := filepath.Join(dir, "tenants.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.resolveTenant(t.Context(), s, dir, "contoso.com"); !fault.Is(err, fault.Corrupt) {
		t.Errorf("a broken file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "{" {
		t.Errorf("the broken file was overwritten: %q %v", b, err)
	}
}

func TestTestUsersExistOnTheLocalCloudAlone(t *testing.T) {
	for _, operator := range []string{"local", "local:admin"} {
		p := newPlace(api.Target{})
		p.site, p.operator = &site{cloud: agent.Public}, operator
		if _, err := with(nil).credential(p, nil); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", operator, err)
		}
		p.operators = func() (map[string]testOperator, error) { return map[string]testOperator{"reader": {}}, nil }
		if _, err := with(nil).credential(p, nil); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Hint(err), "reader") {
			t.Errorf("a user that is not there: %v", err)
		}
	}
}

func TestKeystoreNames(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		keystore string
		cloud    agent.Cloud
		backend  string
	}{
		"auto on the local cloud is a file of its folder": {"auto", agent.Local, "age"},
		"memory":                        {"memory", agent.Public, "memory"},
		"an age file without path":      {"age:", agent.Local, ""},
		"a store that is none":          {"vault:x", agent.Public, ""},
		"nothing at all":                {"", agent.Public, ""},
		"a keystore with a blank in it": {"auto ", agent.Local, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(api.Target{})
			p.site = &site{cloud: c.cloud, dir: dir}
			st, err := with(nil).openStore(p, c.keystore, "")
			if c.backend == "" {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || st.Ref("x").Backend != c.backend {
				t.Errorf("%v: %v", st, err)
			}
		})
	}
}

// Never the development identity outside of the run folder, and never on a real cloud.
func TestAnAgeFileOfOnesOwnNeedsAnIdentity(t *testing.T) {
	for _, cloud := range []agent.Cloud{agent.Local, agent.Public} {
		p := newPlace(api.Target{})
		p.site = &site{cloud: cloud, dir: t.TempDir()}
		st, err := with(nil).openStore(p, "age:"+filepath.Join(t.TempDir(), "keys"), "")
		if err == nil {
			_, err = st.Create(t.Context(), "x", testKey(t))
		}
		if err == nil {
			t.Errorf("on cloud %s a key is kept in a file that nothing encrypts for its owner", cloud)
		}
	}
}

func TestKeysStayWhereTheyWereMade(t *testing.T) {
	mine, other := memory.New(), memory.New()
	asked := ""
	s := &stores{Store: mine, other: func(backend, where string) (keystore.Store, error) { asked = backend + ":" + where; return other, nil }}
	ref, err := mine.Create(t.Context(), "x", testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), ref); err != nil || asked != "" {
		t.Errorf("asked %q: %v", asked, err)
	}
	ref.Backend, ref.Store = "age", "/elsewhere"
	if _, err := s.Open(t.Context(), ref); !fault.Is(err, fault.NotFound) && err == nil || asked != "age:/elsewhere" {
		t.Errorf("asked %q: %v", asked, err)
	}
}

func TestClearEnvLeavesWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	e := envFile{base: dir}
	path := filepath.Join(dir, ".env")
	if did, err := e.Clear(t.Context(), ".env", map[string]string{"A": "1"}); err != nil || did != "there is no file" {
		t.Errorf("%q %v", did, err)
	}
	if err := os.WriteFile(path, []byte("# mine\nA=1\nB=changed\nD=too\nOTHER=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	did, err := e.Clear(t.Context(), ".env", map[string]string{"A": "1", "B": "2", "C": "3", "D": "4"})
	if err != nil || !strings.HasSuffix(did, "not ours: B, D") {
		t.Errorf("%q %v", did, err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "# mine\nB=changed\nD=too\nOTHER=x\n" {
		t.Errorf("the file is %q %v", b, err)
	}
	if got := e.Path("/abs/.env"); got != "/abs/.env" {
		t.Errorf("an absolute path becomes %q", got)
	}
}

func TestLocalErrorsHaveAClass(t *testing.T) {
	for code, err := range map[fault.Code]error{fault.NotFound: localcloud.ErrNoRun, fault.Busy: localcloud.ErrInUse} {
		if got := localError(errors.Join(err)); !fault.Is(got, code) || fault.Hint(got) == "" {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	if got := localError(&localcloud.StaleError{}); !fault.Is(got, fault.NotFound) || fault.Hint(got) == "" {
		t.Errorf("a stale run file becomes %v", got)
	}
	if localError(nil) != nil || localError(context.Canceled) != context.Canceled {
		t.Error("other errors change")
	}
}

func TestClock(t *testing.T) {
	for name, c := range map[string]struct {
		date string
		want finding.Outcome
	}{
		"right":               {time.Now().UTC().Format(http.TimeFormat), finding.Pass},
		"three minutes apart": {time.Now().Add(3 * time.Minute).UTC().Format(http.TimeFormat), finding.Pass},
		"six minutes ahead":   {time.Now().Add(-6 * time.Minute).UTC().Format(http.TimeFormat), finding.Fail},
		"six minutes behind":  {time.Now().Add(6 * time.Minute).UTC().Format(http.TimeFormat), finding.Fail},
		"nobody can tell":     {"", finding.Unknown},
	} {
		if got := clock(&http.Response{Header: http.Header{"Date": {c.date}}}); got.Outcome != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What the local cloud is asked for without a yaml must be a spec like any other.
func TestLocalSpecIsValid(t *testing.T) {
	s := LocalSpec("contoso.localhost.example", "22222222-0000-0000-0000-000000000002")
	if bad := s.Validate(role.Builtin()); len(bad) > 0 {
		t.Errorf("%+v", bad)
	}
	if got := len(s.Grants(s.Agents["polyclaw-runtime"], role.Builtin())); got != 5 {
		t.Errorf("%d roles, want the seed's five", got)
	}
}

func testKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := keystore.Generate(2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
