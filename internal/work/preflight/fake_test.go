package preflight

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
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
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// world is one row: a healthy world after one change, and what one check says of it.
type world struct {
	check   string
	name    string // a sentence
	outcome finding.Outcome
	mutate  func(*fake)
	cause   string // of a skip because another check could not be settled
	detail  string // a part of what is said; "" is anything
}

// worlds are all rows.
func worlds() []world { return slices.Concat(identityWorlds(), rbacWorlds(), secretsWorlds()) }

// fake is everything outside of the checks, hand-written and healthy. A method whose name is in fails answers that error.
type fake struct {
	subject Subject
	caller  api.Caller
	ledger  Chain

	fakeIdentity
	fakeRBAC
	fakeSecrets

	mu    sync.Mutex
	fails map[string]error
	asked map[string]int
}

// away is a lookup that failed: a right is missing, so that nobody asks again.
func away() error {
	return &fault.Error{Code: fault.Forbidden, Op: "read it", Status: 403, Hint: "a person needs another right"}
}

// without makes a change that fails one method.
func without(method string) func(*fake) { return func(f *fake) { f.fails[method] = away() } }

// failing makes a change that fails one method with an error.
func failing(method string, err error) func(*fake) { return func(f *fake) { f.fails[method] = err } }

// both makes one change of several.
func both(changes ...func(*fake)) func(*fake) {
	return func(f *fake) {
		for _, c := range changes {
			c(f)
		}
	}
}

type reel struct{}

// ask notes that a method was called, as evidence and by count, and gives the error that it answers.
func (f *fake) ask(ctx context.Context, method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[method]++
	if heard, ok := ctx.Value(reel{}).(*[]finding.Evidence); ok {
		*heard = append(*heard, finding.Evidence{Asked: "GET https://example.test/" + method, Answer: "{}", Status: 200, At: time.Now().UTC()})
	}
	return f.fails[method]
}

func (f *fake) tape(ctx context.Context) (context.Context, func() []finding.Evidence) {
	heard := new([]finding.Evidence)
	return context.WithValue(ctx, reel{}, heard), func() []finding.Evidence {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Clone(*heard)
	}
}

const (
	tenantID      = "11111111-0000-4000-8000-000000000001"
	operatorID    = "11111111-0000-4000-8000-000000000002"
	applicationID = "11111111-0000-4000-8000-000000000003"
	appID         = "11111111-0000-4000-8000-000000000004"
	principalID   = "11111111-0000-4000-8000-000000000005"
	strangerID    = "11111111-0000-4000-8000-000000000009"
	subscription  = "22222222-0000-4000-8000-000000000001"
)

// today is when the checks of these tests are made.
func today() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }

// healthy is a service principal of which everything is as it should be.
func healthy(t *testing.T) *fake {
	t.Helper()
	f := &fake{fails: map[string]error{}, asked: map[string]int{}}
	der := certificate(t, signer(t), today().AddDate(0, -1, 0), 365)
	spec := agent.Spec{Cloud: agent.Public, Tenant: tenantID, Subscription: subscription, Agents: map[string]*agent.Agent{"bot": {KeyVault: "kv-bot", SessionPool: "pool", ContentSafety: "safety"}}}
	spec.Defaults()
	f.subject = Subject{
		Spec: spec, Agent: spec.Agents["bot"], Now: today(),
		Where: api.Resolved{Cloud: agent.Public, Tenant: tenantID, TenantID: tenantID, Subscription: subscription, Home: "/home/op/.local/state/leastkey/public/" + tenantID, Operator: "az"},
		Record: agent.Record{
			Agent: "bot", Kind: agent.ServicePrincipal, UniqueName: "leastkey-0123456789abcdef", ApplicationID: applicationID, AppID: appID, PrincipalID: principalID,
			CreatedBy: operatorID, Subscription: subscription, EnvFile: "/srv/bot/.env", Generations: []agent.Generation{generation(der, "key-1", true)},
		},
	}
	f.caller = api.Caller{Operator: "az", Name: "op@example.test", ObjectID: operatorID, TenantID: tenantID, Subscription: subscription}
	f.ledger = Chain{LedgerVerdict: api.LedgerVerdict{Entries: 3, Head: "abc", Intact: true}}
	f.fakeIdentity = healthyIdentity(f)
	f.fakeRBAC = healthyRBAC(f)
	f.fakeSecrets = healthySecrets(f)
	return f
}

// preflight plugs the fake in.
func (f *fake) preflight() *Preflight {
	return New(Config{
		Operator: func(ctx context.Context) (api.Caller, error) { return f.caller, f.ask(ctx, "Operator") },
		Graph:    fakeGraph{f}, GraphAt: "https://graph.example", ARM: fakeARM{f}, Self: func(Subject) Self { return fakeSelf{f} }, Host: fakeHost{f}, Own: fakeOwn{f}, Identities: fakeIdentities{f},
		Open:   func(ctx context.Context, _ string) (*agent.Run, error) { return f.open, f.ask(ctx, "Open") },
		Ledger: func(ctx context.Context) (Chain, error) { return f.ledger, f.ask(ctx, "Ledger") },
		Roles:  role.Builtin(), Tape: f.tape,
	})
}

// fakeSelf is the identity itself; its methods are in the files of the parts.
type fakeSelf struct{ *fake }

// check asks one question, in virtual time: a service that is away is asked again for a while.
func (f *fake) check(t *testing.T, id string) (got finding.Finding) {
	t.Helper()
	i := slices.IndexFunc(Checks(), func(c Check) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("there is no check %s", id)
	}
	synctest.Test(t, func(t *testing.T) {
		got = f.preflight().run(t.Context(), f.subject, Checks()[i:i+1], nil)[0]
	})
	return got
}

// keyPair is one RSA key of the tests' own, because making one takes a while.
var keyPair = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func signer(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := keyPair()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// certificate is self-signed by the key.
func certificate(t *testing.T, key crypto.Signer, from time.Time, days int) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: "bot"}, NotBefore: from, NotAfter: from.AddDate(0, 0, days)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func generation(der []byte, keyID string, active bool) agent.Generation {
	g := agent.Generation{ID: "gen-" + keyID, Ref: secret.Ref{Backend: "keychain", Store: "leastkey-agent", Name: tenantID + "/bot#" + keyID}, DER: der, SHA256: digest(der), KeyID: keyID, Active: active}
	if cert, err := x509.ParseCertificate(der); err == nil {
		g.NotBefore, g.NotAfter = cert.NotBefore, cert.NotAfter
	}
	return g
}

// registered is the certificate as Graph shows it.
func registered(g agent.Generation) agent.Certificate {
	return agent.Certificate{KeyID: g.KeyID, SHA256: g.SHA256, DER: g.DER, Type: "AsymmetricX509Cert", Usage: "Verify", Start: g.NotBefore, End: g.NotAfter}
}

func digest(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func TestWorlds(t *testing.T) {
	for _, w := range worlds() {
		t.Run(w.check+"/"+w.name, func(t *testing.T) {
			f := healthy(t)
			if w.mutate != nil {
				w.mutate(f)
			}
			got := f.check(t, w.check)
			if got.Outcome != w.outcome || got.Cause != w.cause {
				t.Errorf("%s because of %q, want %s because of %q: %s", got.Outcome, got.Cause, w.outcome, w.cause, got.Detail)
			}
			if !strings.Contains(got.Detail, w.detail) {
				t.Errorf("says %q, want %q in it", got.Detail, w.detail)
			}
			wellTold(t, got)
		})
	}
}

// wellTold is what every finding owes its reader.
func wellTold(t *testing.T, f finding.Finding) {
	t.Helper()
	if f.Detail == "" || strings.Contains(f.Detail+f.Remedy, "%!") {
		t.Errorf("it says %q, and advises %q", f.Detail, f.Remedy)
	}
	switch f.Outcome {
	case finding.Pass:
		if len(f.Evidence) == 0 {
			t.Error("it passes without evidence")
		}
		if f.Remedy != "" {
			t.Errorf("it passes, and advises %q", f.Remedy)
		}
	case finding.Fail, finding.Warn:
		if f.Remedy == "" {
			t.Error("it does not say what to do")
		}
		if len(f.Evidence) == 0 {
			t.Error("it accuses without evidence")
		}
	}
}

// Each check has a world in which it passes, one in which it does not, and one in which it cannot tell: so that turning its decision
// around turns a row red.
func TestEveryCheckHasItsThreeWorlds(t *testing.T) {
	known := map[string][3]bool{}
	for _, c := range Checks() {
		if _, twice := known[c.ID]; twice {
			t.Errorf("%s is there twice", c.ID)
		}
		known[c.ID] = [3]bool{}
		if c.Name == "" || c.Question == "" || c.Severity == "" || c.Category == "" || c.Remedy == "" || c.Decide == nil {
			t.Errorf("%s is not described: %+v", c.ID, c)
		}
	}
	for _, w := range worlds() {
		has, ok := known[w.check]
		if !ok {
			t.Errorf("a row is about %q, which is no check", w.check)
			continue
		}
		switch {
		case w.outcome == finding.Pass:
			has[0] = true
		case w.outcome == finding.Fail, w.outcome == finding.Warn:
			has[1] = true
		case w.outcome == finding.Unknown, w.cause != "":
			has[2] = true
		}
		known[w.check] = has
	}
	for id, has := range known {
		for i, what := range []string{"in which it passes", "in which it does not pass", "in which it cannot tell"} {
			if !has[i] {
				t.Errorf("%s has no world %s", id, what)
			}
		}
	}
}

// Everything together, on a healthy identity: nothing fails, warns or is unknown, and nothing is read twice.
func TestTheHealthyWorldIsGreen(t *testing.T) {
	f := healthy(t)
	var told int
	var all []finding.Finding
	synctest.Test(t, func(t *testing.T) {
		all = f.preflight().Run(t.Context(), f.subject, func(finding.Finding) { told++ })
	})
	if told != len(Checks()) {
		t.Errorf("%d findings were told of %d", told, len(Checks()))
	}
	for i, got := range all {
		if got.ID != Checks()[i].ID {
			t.Errorf("place %d is of %s, want %s", i, got.ID, Checks()[i].ID)
		}
		if got.ID == "rbac_reads_secrets" && got.Outcome == finding.Warn {
			continue // two roles of the seed's set hand out keys
		}
		if got.Outcome != finding.Pass && (got.Outcome != finding.Skip || got.Cause != "") {
			t.Errorf("%s: %s: %s", got.ID, got.Outcome, got.Detail)
		}
	}
	if !finding.Green(all) {
		t.Error("it is not green")
	}
	for method, n := range f.asked {
		if n > 1 && !repeated(method) {
			t.Errorf("%s was asked %d times", method, n)
		}
	}
}
