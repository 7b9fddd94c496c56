// Package world_test runs the clients of login, Graph and ARM against the local cloud, which shares no code with them.
package world_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/world/arm"
	"github.com/leastkey/leastkey/internal/world/entra"
	"github.com/leastkey/leastkey/internal/world/token"
)

var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// certificate is a new one of the same key.
func certificate(t *testing.T) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	must(t, err)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "polyclaw-runtime"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key().Public(), key())
	must(t, err)
	return der
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, fault.Hint(err))
	}
}

func wants(t *testing.T, what string, err error, code fault.Code, service string) {
	t.Helper()
	if !fault.Is(err, code) || (service != "" && fault.Service(err) != service) {
		t.Errorf("%s: %v (%s), want %s %s", what, err, fault.CodeOf(err), code, service)
	}
}

// outside is the local cloud and the clients, as one operator uses them.
type outside struct {
	cloud *localcloud.Cloud
	rt    http.RoundTripper
	login *token.Client
	graph *entra.Client
	arm   *arm.Client
}

func open(t *testing.T, cfg localcloud.Config) *localcloud.Cloud {
	t.Helper()
	cfg.SigningKey, cfg.OperatorKey = key(), key()
	c, err := localcloud.New(cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func as(t *testing.T, c *localcloud.Cloud, rt http.RoundTripper, name string) outside {
	t.Helper()
	ends := c.Endpoints()
	o := outside{cloud: c, rt: rt}
	var err error
	o.login, err = token.New(token.Config{Authority: ends.Login, HTTP: rt, Local: true})
	must(t, err)
	i := slices.IndexFunc(c.Operators(), func(p localcloud.Operator) bool { return p.Name == name })
	who := c.Operators()[i]
	credential := o.login.LocalTestCredential(c.TenantID(), token.AzureCLI, who.UPN, secret.New([]byte(who.Password.Reveal())))
	o.graph, err = entra.New(entra.Config{Endpoint: ends.Graph, Credential: credential, HTTP: rt})
	must(t, err)
	o.arm, err = arm.New(arm.Config{Endpoint: ends.ARM, Credential: credential, HTTP: rt})
	must(t, err)
	return o
}

func (o outside) group() string {
	return role.GroupScope(o.cloud.SubscriptionID(), localcloud.DefaultGroup)
}

func reader(scope string) role.Grant {
	return role.Grant{Role: "Reader", RoleID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: scope}
}

// The whole life of an agent's identity, without lag or faults: every method once, and the answers that a second time gives.
func life(t *testing.T, o outside) {
	ctx := t.Context()
	sub := o.cloud.SubscriptionID()
	id := func(kind, name string) string { return o.group() + "/providers/" + kind + "/" + name }

	tenant, err := o.login.TenantID(ctx, o.cloud.Domain())
	must(t, err)
	if tenant != o.cloud.TenantID() {
		t.Errorf("tenant %s", tenant)
	}
	subTenant, _, err := o.arm.Subscription(ctx, sub)
	must(t, err)
	if subTenant != tenant {
		t.Errorf("the subscription's tenant is %s", subTenant)
	}
	for name, want := range map[string]bool{localcloud.DefaultGroup: true, "no-such-rg": false} {
		if got, err := o.arm.GroupExists(ctx, sub, name); got != want || err != nil {
			t.Errorf("group %s: %v, %v", name, got, err)
		}
	}
	for name, want := range map[string]bool{
		id("Microsoft.App/sessionPools", "polyclaw-pool"): true, id("Microsoft.App/sessionPools", "none"): false,
		id("Microsoft.CognitiveServices/accounts", "polyclaw-safety"): true, id("Microsoft.CognitiveServices/accounts", "none"): false,
	} {
		if got, err := o.arm.Exists(ctx, name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	vault, err := o.arm.Vault(ctx, id("Microsoft.KeyVault/vaults", localcloud.DefaultVault))
	must(t, err)
	if vault == nil || !vault.RBAC || vault.URI == "" {
		t.Errorf("vault %+v", vault)
	}
	legacy, err := o.arm.Vault(ctx, role.GroupScope(sub, localcloud.LegacyGroup)+"/providers/Microsoft.KeyVault/vaults/"+localcloud.LegacyVault)
	must(t, err)
	if legacy == nil || legacy.RBAC {
		t.Errorf("legacy vault %+v", legacy)
	}
	if none, err := o.arm.Vault(ctx, id("Microsoft.KeyVault/vaults", "none")); none != nil || err != nil {
		t.Errorf("no vault: %+v, %v", none, err)
	}

	// Application.
	unique := "leastkey-" + strings.ReplaceAll(uuid.NewString(), "-", "")
	app, created, err := o.graph.UpsertApplication(ctx, unique, "polyclaw-runtime")
	must(t, err)
	again, createdAgain, err := o.graph.UpsertApplication(ctx, unique, "polyclaw-runtime")
	must(t, err)
	if !created || createdAgain || again.ID != app.ID || app.SignInAudience != "AzureADMyOrg" || app.UniqueName != unique {
		t.Errorf("created %v then %v: %+v", created, createdAgain, again)
	}
	names, err := o.graph.Namesakes(ctx, "polyclaw-runtime")
	must(t, err)
	if len(names) != 1 || names[0].ID != app.ID || len(names[0].Owners) == 0 || names[0].Created.IsZero() {
		t.Errorf("namesakes %+v", names)
	}
	must(t, o.graph.SetSingleTenant(ctx, app.ID))

	// Certificates: the second registration must leave the first as it is.
	der1, der2 := certificate(t), certificate(t)
	must(t, o.graph.SetCertificates(ctx, app.ID, nil, []agent.Certificate{{KeyID: uuid.NewString(), DisplayName: "one", DER: der1}}))
	app, err = o.graph.Application(ctx, app.ID)
	must(t, err)
	must(t, o.graph.SetCertificates(ctx, app.ID, app.Certificates, []agent.Certificate{{KeyID: uuid.NewString(), DER: der2}}))
	byAppID, err := o.graph.ApplicationByAppID(ctx, app.AppID)
	must(t, err)
	if len(byAppID.Certificates) != 2 || byAppID.Certificates[0].SHA256 == "" || byAppID.Certificates[0].SHA256 != app.Certificates[0].SHA256 || len(byAppID.Passwords) != 0 {
		t.Errorf("certificates %+v", byAppID.Certificates)
	}

	// Service principal.
	principal, err := o.graph.CreatePrincipal(ctx, app.AppID)
	must(t, err)
	_, err = o.graph.CreatePrincipal(ctx, app.AppID)
	wants(t, "a second service principal", err, fault.Conflict, "")
	_, err = o.graph.CreatePrincipal(ctx, uuid.NewString())
	wants(t, "a service principal of no application", err, fault.NotFound, "")
	found, err := o.graph.Principal(ctx, app.AppID)
	must(t, err)
	if found.ID != principal.ID || !found.Enabled {
		t.Errorf("service principal %+v", found)
	}
	must(t, o.graph.RemovePassword(ctx, "applications", app.ID, uuid.NewString())) // not there, which is what was wanted
	must(t, o.graph.RemovePassword(ctx, "servicePrincipals", principal.ID, uuid.NewString()))

	// Roles.
	g := reader(o.group())
	name := role.AssignmentName(g, principal.ID)
	must(t, o.arm.Assign(ctx, name, g, principal.ID))
	must(t, o.arm.Assign(ctx, name, g, principal.ID))
	wants(t, "the same under another name", o.arm.Assign(ctx, uuid.NewString(), g, principal.ID), fault.Conflict, "RoleAssignmentExists")
	assigned, err := o.arm.AssignmentFor(ctx, g, principal.ID)
	must(t, err)
	if assigned == nil || assigned.Name != name {
		t.Errorf("assignment %+v", assigned)
	}
	all, err := o.arm.Assignments(ctx, "/subscriptions/"+sub, principal.ID)
	must(t, err)
	if len(all) != 1 || all[0].Grant().Key() != g.Key() {
		t.Errorf("assignments %+v", all)
	}
	d, err := o.arm.RoleDefinition(ctx, o.group(), g.RoleID)
	must(t, err)
	if d.Name != "Reader" || len(d.Elevated()) != 0 || !d.Allows("Microsoft.KeyVault/vaults/read") {
		t.Errorf("role %+v", d)
	}

	// Login, with either certificate; one that is not registered is a matter of waiting.
	armScope, graphScope := o.cloud.Endpoints().ARM+"/.default", o.cloud.Endpoints().Graph+"/.default"
	for _, der := range [][]byte{der1, der2} {
		got, err := o.login.Certificate(ctx, tenant, app.AppID, key(), der, armScope)
		must(t, err)
		who, err := token.Who(got.Value)
		must(t, err)
		if who.TenantID != tenant || who.ObjectID != principal.ID || who.Name != app.AppID {
			t.Errorf("the token is of %+v", who)
		}
	}
	_, err = o.login.Certificate(ctx, tenant, app.AppID, key(), certificate(t), armScope)
	wants(t, "a certificate that is not registered", err, fault.NotFound, "AADSTS700027")
	_, err = o.login.Certificate(ctx, tenant, uuid.NewString(), key(), der1, armScope)
	wants(t, "an unknown application", err, fault.NotFound, "AADSTS700016")
	_, err = o.login.Certificate(ctx, tenant, app.AppID, key(), der1, "https://no.such.resource/.default")
	wants(t, "an unknown resource", err, fault.Invalid, "")
	itself := o.login.CertificateCredential(tenant, app.AppID, key(), der1)
	own, err := arm.New(arm.Config{Endpoint: o.cloud.Endpoints().ARM, Credential: itself, HTTP: o.rt})
	must(t, err)
	if ok, err := own.GroupExists(ctx, sub, localcloud.DefaultGroup); !ok || err != nil {
		t.Errorf("the agent cannot use its role: %v, %v", ok, err)
	}
	wrong, err := arm.New(arm.Config{Endpoint: o.cloud.Endpoints().ARM, Audience: strings.TrimSuffix(graphScope, "/.default"), Credential: itself, HTTP: o.rt})
	must(t, err)
	_, err = wrong.GroupExists(ctx, sub, localcloud.DefaultGroup)
	wants(t, "a token for another audience", err, fault.Unauthenticated, "")

	// The end, in the order of revoke.
	must(t, o.graph.SetEnabled(ctx, principal.ID, false))
	_, err = o.login.Certificate(ctx, tenant, app.AppID, key(), der1, armScope)
	wants(t, "a disabled service principal", err, fault.Forbidden, "AADSTS7000112")
	must(t, o.arm.Unassign(ctx, g.Scope, name))
	must(t, o.arm.Unassign(ctx, g.Scope, name))
	if gone, err := o.arm.AssignmentFor(ctx, g, principal.ID); gone != nil || err != nil {
		t.Errorf("assignment %+v, %v", gone, err)
	}
	must(t, o.graph.SetCertificates(ctx, app.ID, nil, nil))
	must(t, o.graph.DeletePrincipal(ctx, principal.ID))
	must(t, o.graph.DeleteApplication(ctx, app.ID))
	wants(t, "a deleted application", o.graph.DeleteApplication(ctx, app.ID), fault.NotFound, "Request_ResourceNotFound")
	_, _, err = o.graph.UpsertApplication(ctx, unique, "polyclaw-runtime")
	wants(t, "the name of a deleted application", err, fault.NotFound, "")
	for _, bin := range []string{principal.ID, app.ID} {
		if at, err := o.graph.DeletedItem(ctx, bin); at.IsZero() || err != nil {
			t.Errorf("recycle bin: %v, %v", at, err)
		}
		must(t, o.graph.Purge(ctx, bin))
		wants(t, "purged twice", o.graph.Purge(ctx, bin), fault.NotFound, "")
		_, err = o.graph.DeletedItem(ctx, bin)
		wants(t, "purged", err, fault.NotFound, "")
	}
	_, err = o.login.Certificate(ctx, tenant, app.AppID, key(), der1, armScope)
	wants(t, "a purged application", err, fault.NotFound, "AADSTS700016")
}

func TestALifeInProcess(t *testing.T) {
	c := open(t, localcloud.Config{})
	life(t, as(t, c, c.Transport(), "admin"))
}

func TestALifeOverTLS(t *testing.T) {
	dir := t.TempDir()
	c := open(t, localcloud.Config{RunDir: dir})
	must(t, c.Listen(t.Context()))
	roots := x509.NewCertPool()
	files, err := filepath.Glob(filepath.Join(dir, "*ca*.pem"))
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		roots.AppendCertsFromPEM(b)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	life(t, as(t, c, tr, "admin"))

	stranger := &http.Transport{}
	defer stranger.CloseIdleConnections()
	_, err = as(t, c, stranger, "admin").login.TenantID(t.Context(), c.Domain())
	wants(t, "a certificate authority that nobody trusts", err, fault.Invalid, "")
}

func TestARefusalNamesTheRight(t *testing.T) {
	c := open(t, localcloud.Config{})
	nobody := as(t, c, c.Transport(), "reader")
	for what, err := range map[string]error{
		"delete an application": nobody.graph.DeleteApplication(t.Context(), anyApplication(t, c)),
		"assign a role":         nobody.arm.Assign(t.Context(), uuid.NewString(), reader(nobody.group()), uuid.NewString()),
	} {
		wants(t, what, err, fault.Forbidden, "")
		want := "Application Administrator (a PIM role may need activating)"
		if what == "assign a role" {
			want = "the caller lacks Microsoft.Authorization/roleAssignments/write on group polyclaw-rg"
		}
		if !strings.Contains(fault.Hint(err), want) {
			t.Errorf("%s: hint %q, want %q", what, fault.Hint(err), want)
		}
	}
	stranger := as(t, c, c.Transport(), "nobody")
	_, err := stranger.arm.GroupExists(t.Context(), c.SubscriptionID(), localcloud.DefaultGroup)
	wants(t, "look for a group without any role", err, fault.Forbidden, "AuthorizationFailed")
}

func anyApplication(t *testing.T, c *localcloud.Cloud) string {
	t.Helper()
	a, _, err := as(t, c, c.Transport(), "admin").graph.UpsertApplication(t.Context(), "leastkey-any", "any")
	must(t, err)
	return a.ID
}

func TestFaultsOfTheCloud(t *testing.T) {
	for name, k := range map[string]struct {
		knobs localcloud.Knobs
		code  fault.Code
	}{
		"throttled":          {localcloud.Knobs{Throttle: 1, RetryAfterShare: 1, RetryAfter: 7 * time.Second}, fault.Throttled},
		"failing":            {localcloud.Knobs{ServerError: 1}, fault.Unavailable},
		"cut off before":     {localcloud.Knobs{DropBefore: 1}, fault.Unavailable},
		"cut off afterwards": {localcloud.Knobs{DropAfter: 1}, fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, localcloud.Config{})
			o := as(t, c, c.Transport(), "admin")
			app := anyApplication(t, c)
			_, err := o.graph.Application(t.Context(), app) // and a token for Graph
			must(t, err)
			_, err = o.arm.GroupExists(t.Context(), c.SubscriptionID(), localcloud.DefaultGroup) // and one for ARM
			must(t, err)
			must(t, c.SetKnobs(k.knobs))
			before := len(c.Requests())
			_, graphErr := o.graph.Application(t.Context(), app)
			_, armErr := o.arm.GroupExists(t.Context(), c.SubscriptionID(), localcloud.DefaultGroup)
			_, loginErr := o.login.Certificate(t.Context(), c.TenantID(), uuid.NewString(), key(), certificate(t), "x")
			for plane, err := range map[string]error{"graph": graphErr, "arm": armErr, "login": loginErr} {
				wants(t, plane, err, k.code, "")
				if k.code == fault.Throttled && fault.RetryAfter(err) != 7*time.Second {
					t.Errorf("%s: RetryAfter %v", plane, fault.RetryAfter(err))
				}
			}
			if n := len(c.Requests()) - before; n != 3 {
				t.Errorf("%d requests for three questions", n)
			}
		})
	}
}

func TestAClockThatIsOffIsShown(t *testing.T) {
	c := open(t, localcloud.Config{Knobs: localcloud.Knobs{ClockOffset: time.Hour}})
	o := as(t, c, c.Transport(), "admin")
	app, _, err := o.graph.UpsertApplication(t.Context(), "leastkey-clock", "clock")
	must(t, err)
	_, err = o.graph.CreatePrincipal(t.Context(), app.AppID)
	must(t, err)
	der := certificate(t)
	must(t, o.graph.SetCertificates(t.Context(), app.ID, nil, []agent.Certificate{{KeyID: uuid.NewString(), DER: der}}))
	_, err = o.login.Certificate(t.Context(), c.TenantID(), app.AppID, key(), der, c.Endpoints().ARM+"/.default")
	wants(t, "a clock an hour behind", err, fault.Invalid, "AADSTS700024")
	if !strings.Contains(fault.Hint(err), "set this machine's clock: it says") {
		t.Errorf("hint %q", fault.Hint(err))
	}
}

// On a cloud's worst day every failure still has a code that tells the job runner what to do: wait, or look at what is there.
func TestEveryFailureOfAHostileCloudCanBeWaitedFor(t *testing.T) {
	waits := map[fault.Code]int{}
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			c := open(t, localcloud.Config{Seed: seed + 1, Knobs: localcloud.Hostile(seed)})
			o := as(t, c, c.Transport(), "admin")
			until := func(what string, f func(context.Context) error) {
				t.Helper()
				for end := time.Now().Add(30 * time.Minute); ; {
					err := f(t.Context())
					if err == nil {
						return
					}
					if !fault.Is(err, fault.NotFound, fault.Throttled, fault.Unavailable, fault.NotYet) || time.Now().After(end) {
						t.Fatalf("seed %d: %s: %v (%s)", seed, what, err, fault.CodeOf(err))
					}
					waits[fault.CodeOf(err)]++
					time.Sleep(max(time.Second, fault.RetryAfter(err)))
				}
			}
			var app, again agent.Application
			until("upsert", func(ctx context.Context) (err error) {
				app, _, err = o.graph.UpsertApplication(ctx, "leastkey-hostile", "hostile")
				return err
			})
			until("upsert again", func(ctx context.Context) (err error) {
				again, _, err = o.graph.UpsertApplication(ctx, "leastkey-hostile", "hostile")
				return err
			})
			if app.ID != again.ID {
				t.Errorf("seed %d: two applications", seed)
			}
			var principal agent.Principal
			until("service principal", func(ctx context.Context) (err error) {
				principal, err = o.graph.CreatePrincipal(ctx, app.AppID)
				if fault.Is(err, fault.Conflict) { // an earlier answer was lost
					principal, err = o.graph.Principal(ctx, app.AppID)
				}
				return err
			})
			der, id := certificate(t), uuid.NewString()
			until("certificate", func(ctx context.Context) error {
				return o.graph.SetCertificates(ctx, app.ID, nil, []agent.Certificate{{KeyID: id, DER: der}})
			})
			g := reader(o.group())
			name := role.AssignmentName(g, principal.ID)
			until("assign", func(ctx context.Context) error { return o.arm.Assign(ctx, name, g, principal.ID) })
			until("see the assignment", func(ctx context.Context) error {
				a, err := o.arm.AssignmentFor(ctx, g, principal.ID)
				if err == nil && a == nil {
					return fault.New(fault.NotYet, "no assignment yet", "")
				}
				return err
			})
			until("log in", func(ctx context.Context) error {
				_, err := o.login.Certificate(ctx, c.TenantID(), app.AppID, key(), der, c.Endpoints().ARM+"/.default")
				return err
			})
			until("list", func(ctx context.Context) error {
				names, err := o.graph.Namesakes(ctx, "hostile")
				if err == nil && len(names) > 1 {
					t.Errorf("seed %d: %d applications", seed, len(names))
				}
				return err
			})
		})
	}
	for _, code := range []fault.Code{fault.NotFound, fault.Throttled, fault.Unavailable} {
		if waits[code] == 0 {
			t.Errorf("no run ever met %s", code)
		}
	}
}

func TestALegacyPasswordIsRemoved(t *testing.T) {
	c := open(t, localcloud.Config{})
	o := as(t, c, c.Transport(), "admin")
	app := anyApplication(t, c)
	// The client under test cannot make one, so this request is the test's own.
	admin := c.Operators()[slices.IndexFunc(c.Operators(), func(p localcloud.Operator) bool { return p.Name == "admin" })]
	got, err := o.login.LocalTestLogin(t.Context(), c.TenantID(), token.AzureCLI, admin.UPN, secret.New([]byte(admin.Password.Reveal())), []string{c.Endpoints().Graph + "/.default"})
	must(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.Endpoints().Graph+"/v1.0/applications/"+app+"/addPassword", strings.NewReader(`{}`))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	_ = got.Value.Use(func(b []byte) error { r.Header.Set("Authorization", "Bearer "+string(b)); return nil })
	resp, err := c.Transport().RoundTrip(r)
	must(t, err)
	must(t, resp.Body.Close())
	before, err := o.graph.Application(t.Context(), app)
	must(t, err)
	if len(before.Passwords) != 1 || before.Passwords[0].Hint == "" {
		t.Fatalf("passwords %+v (status %d)", before.Passwords, resp.StatusCode)
	}
	for range 2 {
		must(t, o.graph.RemovePassword(t.Context(), "applications", app, before.Passwords[0].KeyID))
	}
	after, err := o.graph.Application(t.Context(), app)
	must(t, err)
	if len(after.Passwords) != 0 {
		t.Errorf("passwords %+v", after.Passwords)
	}
}

type shelf struct{ kept secret.Value }

func (s *shelf) Load(context.Context) (secret.Value, error) {
	if s.kept.Empty() {
		return secret.Value{}, fault.New(fault.NotFound, "nothing kept", "")
	}
	return s.kept, nil
}
func (s *shelf) Save(_ context.Context, v secret.Value) error { s.kept = v; return nil }

// approver enters the code that it is shown, as a person in a browser would.
type approver struct {
	t     *testing.T
	cloud *localcloud.Cloud
	upn   string
}

func (a approver) Write(b []byte) (int, error) {
	words := strings.Fields(string(b))
	if err := a.cloud.ApproveDevice(words[len(words)-1], a.upn); err != nil {
		a.t.Error(err)
	}
	return len(b), nil
}

func TestAPersonSignsInOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, localcloud.Config{})
		ends := c.Endpoints()
		upn := "appadmin@" + c.Domain()
		kept := &shelf{}
		cfg := token.OperatorConfig{Authority: ends.Login, Tenant: c.TenantID(), HTTP: c.Transport(), Local: true, Cache: kept, Prompt: approver{t, c, upn}}
		who, err := token.Login(t.Context(), cfg, ends.ARM+"/.default")
		must(t, err)
		if who.Name != upn || who.TenantID != c.TenantID() || who.Operator != token.DeviceCode {
			t.Errorf("signed in as %+v", who)
		}
		cfg.Prompt = nil // a later command must not need to ask
		operator, err := token.Operator(token.DeviceCode, cfg)
		must(t, err)
		graph, err := entra.New(entra.Config{Endpoint: ends.Graph, Credential: operator, HTTP: c.Transport()})
		must(t, err)
		_, _, err = graph.UpsertApplication(t.Context(), "leastkey-person", "person")
		must(t, err)
		var got api.Token
		got, err = operator.Token(t.Context(), ends.Graph+"/.default")
		must(t, err)
		if again, err := token.Who(got.Value); err != nil || again.Name != upn {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
