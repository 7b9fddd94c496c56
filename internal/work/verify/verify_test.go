package verify_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/verify"
)

const (
	tenant = "11111111-0000-0000-0000-000000000001"
	appID  = "44444444-0000-0000-0000-000000000004"
)

var signing = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// world is a Provisioner that is as it should be, until a test changes something.
type world struct {
	file     provisioner.File
	places   []provisioner.Place
	search   error
	sealed   bool // no backup opens
	below    []string
	more     bool // than were looked at
	belowErr error
	looked   []verify.Look
	git      error
	repo     repository
	key      crypto.Signer
	keyErr   error
	app      agent.Application
	appErr   error
	sp       agent.Principal
	spErr    error
	caller   api.Caller
	loginErr error
	logins   int
	helped   verify.Helped
	helpErr  error
	sources  map[string]string
	ask      verify.Ask
	granted  []provisioner.Grant
}

type repository struct {
	shallow          bool
	tracked, ignored []string
	found            []string
	err              error
}

func (r repository) Top() string                                         { return "/repo" }
func (r repository) Shallow() bool                                       { return r.shallow }
func (r repository) Tracked(context.Context, []string) ([]string, error) { return r.tracked, r.err }
func (r repository) Ignored(context.Context, []string) ([]string, error) { return r.ignored, r.err }
func (r repository) Search(context.Context, []secret.Value) ([]string, int, error) {
	return r.found, 7, r.err
}

func (w *world) ApplicationByAppID(context.Context, string) (agent.Application, error) {
	return w.app, w.appErr
}
func (w *world) Principal(context.Context, string) (agent.Principal, error) { return w.sp, w.spErr }
func (w *world) AppRoles(context.Context, string) (string, []provisioner.AppRole, error) {
	return "graph", []provisioner.AppRole{{ID: "1", Value: "User.ReadWrite.All", Enabled: true}}, nil
}
func (w *world) Granted(context.Context, string, string) ([]provisioner.Grant, error) {
	return w.granted, nil
}
func (w *world) Ref(name string) secret.Ref {
	return secret.Ref{Backend: "keychain", Store: "s", Name: name}
}
func (w *world) Open(context.Context, secret.Ref) (crypto.Signer, error) { return w.key, w.keyErr }
func (w *world) Certificate(context.Context, secret.Ref) ([]byte, error) {
	return nil, fault.Newf(fault.NotFound, "none")
}

// certificate is one of the key that lives from a month ago for as long as is said.
func certificate(t *testing.T, key *rsa.PrivateKey, left time.Duration) []byte {
	t.Helper()
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "p"}, NotBefore: now.AddDate(0, -10, 0), NotAfter: now.Add(left)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:])
}

func good(t *testing.T) *world {
	key, err := signing()
	if err != nil {
		t.Fatal(err)
	}
	der := certificate(t, key, 300*24*time.Hour)
	dir := t.TempDir()
	runbook := filepath.Join(dir, "runbook.md")
	if err := os.WriteFile(runbook, []byte("how"), 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state.json")
	return &world{
		file:   provisioner.File{Path: state, Exists: true, Mode: 0o600, Tenant: tenant, Client: appID, Thumbprint: thumbprint(der), Certs: [][]byte{der}},
		repo:   repository{ignored: []string{state, state + ".bak.1"}},
		key:    key,
		caller: api.Caller{AppID: appID, TenantID: tenant, AppIDACR: "2", Roles: []string{"A", "B"}},
		helped: verify.Helped{Path: "/bin/provisioner-token", Token: true, Bytes: 900},
		ask:    verify.Ask{State: state, Runbook: runbook, Record: agent.Record{Permissions: []string{"A", "B"}}, Now: time.Now()},
	}
}

func (w *world) check(ctx context.Context) verify.Seen {
	v := verify.New(verify.Config{
		Graph: w, Keys: w, Tenant: tenant,
		State: func(context.Context, string) (provisioner.File, error) {
			if w.file.Path == "" {
				return w.file, fault.Newf(fault.Corrupt, "it does not read")
			}
			return w.file, nil
		},
		Search: func(_ context.Context, look verify.Look) ([]secret.Value, []provisioner.Place, error) {
			w.looked = append(w.looked, look)
			switch {
			case len(look.BackUps) > 0 && w.sealed:
				return nil, nil, fault.Newf(fault.Unauthenticated, "the backup does not open")
			case len(look.BackUps) > 0:
				return []secret.Value{secret.New([]byte("of the backup"))}, w.places, w.search
			}
			return nil, w.places, w.search
		},
		Below: func(context.Context, string) ([]string, bool, error) { return w.below, !w.more, w.belowErr },
		Git:   func(context.Context, string) (verify.Repository, error) { return w.repo, w.git },
		Login: func(context.Context, string, crypto.Signer, []byte) (api.Caller, error) {
			w.logins++
			return w.caller, w.loginErr
		},
		Sources: func(_ context.Context, _ string, look func(string, string, []byte) error) (int, error) {
			for path, content := range w.sources {
				if err := look(path, "shell", []byte(content)); err != nil {
					return 0, err
				}
			}
			return len(w.sources), nil
		},
		Helper: func(context.Context, string, string) (verify.Helped, error) { return w.helped, w.helpErr },
	})
	return v.Check(ctx, w.ask)
}

// notGood are the outcomes that are no pass, by id.
func notGood(s verify.Seen) map[string]finding.Outcome {
	some := map[string]finding.Outcome{}
	for _, f := range s.Findings {
		if f.Outcome != finding.Pass {
			some[f.ID] = f.Outcome
		}
	}
	return some
}

func TestEachDamageTurnsItsOwnCheck(t *testing.T) {
	away := fault.New(fault.Forbidden, "read: 403", "ask for Directory Readers")
	type outcomes map[string]finding.Outcome
	for _, row := range []struct {
		name string
		do   func(*testing.T, *world)
		want outcomes
	}{
		{"nothing", func(*testing.T, *world) {}, outcomes{}},
		{"the secret in another file", func(_ *testing.T, w *world) {
			w.places = []provisioner.Place{{Path: "/x/.env", Line: 3, Kind: provisioner.EnvFile}}
		}, outcomes{"secret-on-disk": finding.Fail}},
		{"the secret in the state file is that file's question", func(_ *testing.T, w *world) {
			w.file.HasSecret, w.places = true, []provisioner.Place{{Path: "/x/state", Kind: provisioner.StateFile}}
		}, outcomes{"state-file": finding.Fail}},
		{"a file that cannot be read", func(_ *testing.T, w *world) { w.search = away }, outcomes{"secret-on-disk": finding.Unknown, "secret-in-history": finding.Unknown}},
		{"a backup that does not open", func(t *testing.T, w *world) { w.backUp(t, time.Hour); w.sealed = true }, outcomes{"secret-on-disk": finding.Unknown, "secret-in-history": finding.Unknown}},
		{"an older backup that does not open", func(t *testing.T, w *world) {
			w.backUp(t, time.Hour)
			w.ask.Record.BackUps = append(w.ask.Record.BackUps, agent.BackUp{Path: "/gone", Expires: w.ask.Now.Add(time.Hour)})
			w.sealed = true
		}, outcomes{"secret-on-disk": finding.Unknown, "secret-in-history": finding.Unknown}},
		{"a backup", func(t *testing.T, w *world) { w.backUp(t, time.Hour) }, outcomes{}},
		{"a backup that has expired, and does not open", func(t *testing.T, w *world) { w.backUp(t, -time.Hour); w.sealed = true }, outcomes{}},
		{"a backup that was deleted", func(_ *testing.T, w *world) {
			w.ask.Record.BackUps, w.sealed = []agent.BackUp{{Path: "/gone", Expires: w.ask.Now.Add(time.Hour)}}, true
		}, outcomes{}},
		{"more files than are looked at", func(_ *testing.T, w *world) { w.more = true }, outcomes{"secret-on-disk": finding.Unknown}},
		{"the secret among more files than are looked at", func(_ *testing.T, w *world) {
			w.more, w.places = true, []provisioner.Place{{Path: "/x/a/b", Kind: provisioner.Other}}
		}, outcomes{"secret-on-disk": finding.Fail}},
		{"a folder below that cannot be read", func(_ *testing.T, w *world) { w.belowErr = away }, outcomes{"secret-on-disk": finding.Unknown, "secret-in-history": finding.Unknown}},
		{"no repository", func(_ *testing.T, w *world) { w.git = fault.Newf(fault.NotFound, "none") }, outcomes{"secret-in-history": finding.Skip, "state-ignored": finding.Skip}},
		{"no git", func(_ *testing.T, w *world) { w.git = fault.Newf(fault.Unsupported, "no git") }, outcomes{"secret-in-history": finding.Skip, "state-ignored": finding.Skip}},
		{"a repository that does not open", func(_ *testing.T, w *world) { w.git = fault.Newf(fault.Unavailable, "damaged") }, outcomes{"secret-in-history": finding.Unknown, "state-ignored": finding.Unknown}},
		{"a history that cannot be read", func(_ *testing.T, w *world) { w.repo.err = away }, outcomes{"secret-in-history": finding.Unknown, "state-ignored": finding.Unknown}},
		{"a shallow clone", func(_ *testing.T, w *world) { w.repo.shallow = true }, outcomes{"secret-in-history": finding.Unknown}},
		{"the secret in the history", func(_ *testing.T, w *world) { w.repo.found = []string{"blob 1"} }, outcomes{"secret-in-history": finding.Fail}},
		{"a tracked copy", func(_ *testing.T, w *world) { w.repo.tracked = []string{"state.json.bak.1"} }, outcomes{"state-ignored": finding.Fail}},
		{"copies are not ignored", func(_ *testing.T, w *world) { w.repo.ignored = w.repo.ignored[:1] }, outcomes{"state-ignored": finding.Fail}},
		{"others can read the state file", func(_ *testing.T, w *world) { w.file.Mode = 0o640 }, outcomes{"state-file": finding.Fail}},
		{"another tenant's state file", func(_ *testing.T, w *world) { w.file.Tenant = appID }, outcomes{"state-file": finding.Fail}},
		{"a password on the application", func(_ *testing.T, w *world) { w.app.Passwords = []agent.Password{{KeyID: "1"}} }, outcomes{"no-password-application": finding.Fail}},
		{"a password on the principal", func(_ *testing.T, w *world) { w.sp.Passwords = []agent.Password{{KeyID: "1"}} }, outcomes{"no-password-principal": finding.Fail}},
		{"the application cannot be read", func(_ *testing.T, w *world) { w.appErr = away }, outcomes{"no-password-application": finding.Unknown}},
		{"the application is gone", func(_ *testing.T, w *world) { w.appErr = fault.Newf(fault.NotFound, "404") }, outcomes{"no-password-application": finding.Fail}},
		{"the principal cannot be read", func(_ *testing.T, w *world) { w.spErr = away }, outcomes{"no-password-principal": finding.Unknown}},
		{"nobody is signed in", func(_ *testing.T, w *world) {
			w.ask.Operator = fault.Newf(fault.Unauthenticated, "az is not logged in")
		},
			outcomes{"no-password-application": finding.Unknown, "no-password-principal": finding.Unknown}},
		{"no key", func(_ *testing.T, w *world) { w.key, w.keyErr = nil, fault.Newf(fault.NotFound, "no entry") }, outcomes{"key": finding.Fail, "certificate-life": finding.Skip, "token": finding.Skip}},
		{"a locked keychain", func(_ *testing.T, w *world) { w.key, w.keyErr = nil, fault.Newf(fault.Unavailable, "locked") }, outcomes{"key": finding.Unknown, "certificate-life": finding.Skip, "token": finding.Skip}},
		{"another's key", func(t *testing.T, w *world) {
			other, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			w.key = other
		}, outcomes{"key": finding.Fail, "certificate-life": finding.Skip, "token": finding.Skip}},
		{"another certificate's thumbprint", func(_ *testing.T, w *world) { w.file.Thumbprint = strings.Repeat("0", 40) }, outcomes{"key": finding.Fail}},
		{"the original writes no certificate", func(_ *testing.T, w *world) {
			w.ask.Record.Generations = []agent.Generation{{Active: true, DER: w.file.Certs[0]}}
			w.file.Certs = nil
		}, outcomes{}},
		{"twenty days left", func(t *testing.T, w *world) { w.lives(t, 20) }, outcomes{"certificate-life": finding.Warn}},
		{"five days left", func(t *testing.T, w *world) { w.lives(t, 5) }, outcomes{"certificate-life": finding.Fail}},
		{"it has ended", func(t *testing.T, w *world) { w.lives(t, -1) }, outcomes{"certificate-life": finding.Fail}},
		{"the login is refused", func(_ *testing.T, w *world) {
			w.loginErr = &fault.Error{Code: fault.NotYet, Service: "AADSTS700027", Status: 401}
		}, outcomes{"token": finding.Fail}},
		{"the login gives no answer", func(_ *testing.T, w *world) { w.loginErr = errors.New("no route to host") }, outcomes{"token": finding.Unknown}},
		{"a token of another application", func(_ *testing.T, w *world) { w.caller.AppID = tenant }, outcomes{"token": finding.Fail}},
		{"a token by password", func(_ *testing.T, w *world) { w.caller.AppIDACR = "1" }, outcomes{"token": finding.Fail}},
		{"a token that does not say", func(_ *testing.T, w *world) { w.caller.AppIDACR = "" }, outcomes{"token": finding.Fail}},
		{"a token of another tenant", func(_ *testing.T, w *world) { w.caller.TenantID = appID }, outcomes{"token": finding.Fail}},
		{"a permission is missing", func(_ *testing.T, w *world) { w.caller.Roles = []string{"B"} }, outcomes{"token": finding.Fail}},
		{"a permission too many is another question's", func(_ *testing.T, w *world) { w.caller.Roles = []string{"A", "B", "C"} }, outcomes{}},
		{"nothing is pinned", func(_ *testing.T, w *world) {
			w.ask.Record.Permissions, w.granted, w.caller.Roles = nil, []provisioner.Grant{{RoleID: "1"}}, []string{"User.ReadWrite.All"}
		}, outcomes{}},
		{"nothing is pinned, and the consented one is not in the token", func(_ *testing.T, w *world) {
			w.ask.Record.Permissions, w.granted = nil, []provisioner.Grant{{RoleID: "1"}}
		}, outcomes{"token": finding.Fail}},
		{"nothing is pinned or consented", func(_ *testing.T, w *world) { w.ask.Record.Permissions = nil }, outcomes{"token": finding.Unknown}},
		{"code that reads the secret", func(_ *testing.T, w *world) { w.sources = map[string]string{"a.sh": "echo $PROVISIONER_CLIENT_SECRET"} }, outcomes{"code": finding.Fail}},
		{"no helper", func(_ *testing.T, w *world) {
			w.helped, w.helpErr = verify.Helped{}, fault.Newf(fault.NotFound, "none")
		}, outcomes{"helper": finding.Fail}},
		{"a helper that fails", func(_ *testing.T, w *world) { w.helpErr = fault.Newf(fault.Unavailable, "exit 1") }, outcomes{"helper": finding.Fail}},
		{"a helper that talks", func(_ *testing.T, w *world) { w.helped.Token = false }, outcomes{"helper": finding.Fail}},
		{"no runbook", func(_ *testing.T, w *world) { w.ask.Runbook += "x" }, outcomes{"runbook": finding.Fail}},
		{"a state file that does not read", func(_ *testing.T, w *world) { w.file = provisioner.File{} },
			outcomes{"state-file": finding.Fail, "no-password-application": finding.Unknown, "no-password-principal": finding.Unknown, "key": finding.Fail, "certificate-life": finding.Skip, "token": finding.Unknown}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := good(t)
			row.do(t, w)
			seen := w.check(t.Context())
			got := notGood(seen)
			for id, want := range row.want {
				if got[id] != want {
					t.Errorf("%s is %q, want %q", id, got[id], want)
				}
			}
			if len(got) != len(row.want) {
				t.Errorf("not good are %v, want %v", got, row.want)
			}
			if len(seen.Findings) != 12 {
				t.Errorf("%d items, want all 12", len(seen.Findings))
			}
			for _, f := range seen.Findings {
				if f.Outcome == finding.Pass && len(f.Evidence) == 0 {
					t.Errorf("%s passes without evidence", f.ID)
				}
				if f.Question == "" || f.Detail == "" {
					t.Errorf("%s says nothing: %+v", f.ID, f)
				}
			}
			if w.logins > 1 {
				t.Errorf("%d logins, want one", w.logins)
			}
		})
	}
}

// backUp records one that is there.
func (w *world) backUp(t *testing.T, life time.Duration) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.age")
	if err := os.WriteFile(path, []byte("age"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.ask.Record.BackUps = append(w.ask.Record.BackUps, agent.BackUp{Path: path, Expires: w.ask.Now.Add(life)})
}

// Once no backup knows the value any more, a pass says that it was not looked for.
func TestAPassSaysWhatWasLookedFor(t *testing.T) {
	const unknown = "not known any more"
	for _, row := range []struct {
		name  string
		do    func(*testing.T, *world)
		known bool
	}{
		{"no backup", func(*testing.T, *world) {}, false},
		{"one that opens", func(t *testing.T, w *world) { w.backUp(t, time.Hour) }, true},
		{"one that has expired", func(t *testing.T, w *world) { w.backUp(t, -time.Hour) }, false},
		{"one that was deleted", func(_ *testing.T, w *world) {
			w.ask.Record.BackUps = []agent.BackUp{{Path: "/gone", Expires: w.ask.Now.Add(time.Hour)}}
		}, false},
	} {
		w := good(t)
		row.do(t, w)
		for _, f := range w.check(t.Context()).Findings {
			if f.ID == "secret-on-disk" || f.ID == "secret-in-history" {
				if f.Outcome != finding.Pass || strings.Contains(f.Detail, unknown) == row.known {
					t.Errorf("%s: %s is %s: %s", row.name, f.ID, f.Outcome, f.Detail)
				}
			}
		}
	}
}

func TestFoldersBelowAreSearched(t *testing.T) {
	w := good(t)
	w.ask.Also, w.below = []string{"/also"}, []string{"/x/a/b", "/x/c/d"}
	w.check(t.Context())
	if len(w.looked) != 1 || !slices.Equal(w.looked[0].Also, []string{"/also", "/x/a/b", "/x/c/d"}) {
		t.Errorf("%+v", w.looked)
	}
}

func (w *world) lives(t *testing.T, days int) {
	key, err := signing()
	if err != nil {
		t.Fatal(err)
	}
	der := certificate(t, key, time.Duration(days)*24*time.Hour+time.Hour)
	w.file.Certs, w.file.Thumbprint = [][]byte{der}, thumbprint(der)
}

// A service that is away is asked again for a while, and then nobody could tell.
func TestAServiceThatIsAwayIsAskedAgain(t *testing.T) {
	if _, err := signing(); err != nil { // outside of the bubble
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := good(t)
		w.loginErr = &fault.Error{Code: fault.Unavailable, Status: 503, Service: "x"}
		began := time.Now()
		got := notGood(w.check(t.Context()))
		if len(got) != 1 || got["token"] != finding.Unknown || w.logins < 3 || time.Since(began) > time.Minute {
			t.Errorf("%v after %d logins and %s", got, w.logins, time.Since(began))
		}
	})
}

func TestTheListHasItsOrder(t *testing.T) {
	var ids []string
	for _, f := range good(t).check(t.Context()).Findings {
		ids = append(ids, f.ID)
	}
	want := []string{"secret-on-disk", "secret-in-history", "state-ignored", "state-file", "no-password-application", "no-password-principal", "key", "certificate-life", "token", "code", "helper", "runbook"}
	if !slices.Equal(ids, want) {
		t.Errorf("%q\nwant\n%q", ids, want)
	}
}
