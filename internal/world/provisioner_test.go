package world_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/world/entra"
	"github.com/leastkey/leastkey/internal/world/token"
)

// password gives the application a client secret. The client under test cannot make one, so this request is the test's own.
func password(t *testing.T, o outside, app string) secret.Value {
	t.Helper()
	c := o.cloud
	admin := c.Operators()[slices.IndexFunc(c.Operators(), func(p localcloud.Operator) bool { return p.Name == "admin" })]
	got, err := o.login.LocalTestLogin(t.Context(), c.TenantID(), token.AzureCLI, admin.UPN, secret.New([]byte(admin.Password.Reveal())), []string{c.Endpoints().Graph + "/.default"})
	must(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.Endpoints().Graph+"/v1.0/applications/"+app+"/addPassword", strings.NewReader(`{}`))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	_ = got.Value.Use(func(b []byte) error { r.Header.Set("Authorization", "Bearer "+string(b)); return nil })
	resp, err := c.Transport().RoundTrip(r)
	must(t, err)
	var answer struct {
		Text string `json:"secretText"`
	}
	must(t, json.NewDecoder(resp.Body).Decode(&answer))
	must(t, resp.Body.Close())
	return secret.New([]byte(answer.Text))
}

// The Provisioner's life: permissions, an old secret, and a key that rolls itself.
func TestTheProvisionersLifeInProcess(t *testing.T) {
	c := open(t, localcloud.Config{})
	o, ctx := as(t, c, c.Transport(), "admin"), t.Context()
	tenant, graphScope := c.TenantID(), c.Endpoints().Graph+"/.default"
	app, _, err := o.graph.UpsertApplication(ctx, "leastkey-prov", "EntraClaw Agent ID Provisioner")
	must(t, err)
	sp, err := o.graph.CreatePrincipal(ctx, app.AppID)
	must(t, err)

	// Permissions, as the tenant offers them.
	graphID, offered, err := o.graph.AppRoles(ctx, provisioner.Graph)
	must(t, err)
	wanted, _, missing := provisioner.Required(offered, nil, "seed")
	if len(missing) > 0 || !slices.Contains(wanted, "AgentIdentity.Create.All") {
		t.Fatalf("the local cloud lacks %v of %v", missing, wanted)
	}
	id := map[string]string{}
	for _, r := range offered {
		id[r.Value] = r.ID
	}
	must(t, o.graph.Declare(ctx, app.ID, "00000002-0000-0000-c000-000000000000", []string{uuid.NewString()}))
	for _, role := range wanted[:2] {
		must(t, o.graph.Declare(ctx, app.ID, provisioner.Graph, []string{id[role]}))
	}
	declared, err := o.graph.Declared(ctx, app.ID, provisioner.Graph)
	must(t, err)
	others, err := o.graph.Declared(ctx, app.ID, "00000002-0000-0000-c000-000000000000")
	must(t, err)
	if len(declared) != 2 || len(others) != 1 {
		t.Errorf("declared %v, and of another resource %v", declared, others)
	}
	for range 2 {
		for _, role := range wanted {
			must(t, o.graph.GrantRole(ctx, sp.ID, graphID, id[role]))
		}
	}
	granted, err := o.graph.Granted(ctx, sp.ID, graphID)
	must(t, err)
	if len(granted) != len(wanted) {
		t.Errorf("granted %d of %d", len(granted), len(wanted))
	}
	wants(t, "a role that nobody offers", o.graph.GrantRole(ctx, sp.ID, graphID, uuid.NewString()), fault.Invalid, "")
	another, _, err := o.graph.UpsertApplication(ctx, "leastkey-another", "x")
	must(t, err)
	anothers, err := o.graph.CreatePrincipal(ctx, another.AppID)
	must(t, err)
	wants(t, "a consent by who may not", as(t, c, c.Transport(), "appadmin").graph.GrantRole(ctx, anothers.ID, graphID, id[wanted[0]]), fault.Forbidden, "")

	// The old secret lives and dies.
	old := password(t, o, app.ID)
	if works, said, err := o.login.LegacySecret(ctx, tenant, app.AppID, old, graphScope); !works || said != "" || err != nil {
		t.Errorf("the secret: %v %q %v", works, said, err)
	}
	if works, said, err := o.login.LegacySecret(ctx, tenant, app.AppID, secret.New([]byte("abc8Q~another")), graphScope); works || said != "AADSTS7000215" || err != nil {
		t.Errorf("another secret: %v %q %v", works, said, err)
	}
	if works, _, err := o.login.LegacySecret(ctx, tenant, uuid.NewString(), old, graphScope); works || !fault.Is(err, fault.NotFound) {
		t.Errorf("of no application: %v %v", works, err)
	}
	app, err = o.graph.Application(ctx, app.ID)
	must(t, err)
	for _, p := range app.Passwords {
		must(t, o.graph.RemovePassword(ctx, "applications", app.ID, p.KeyID))
	}
	if works, said, err := o.login.LegacySecret(ctx, tenant, app.AppID, old, graphScope); works || said != "AADSTS7000215" || err != nil {
		t.Errorf("the secret after its removal: %v %q %v", works, said, err)
	}

	// The key rolls itself, and nobody else's.
	first, second := certificate(t), certificate(t)
	foreign := agent.Certificate{KeyID: uuid.NewString(), DisplayName: "machine-b", DER: certificate(t)}
	must(t, o.graph.SetCertificates(ctx, app.ID, nil, []agent.Certificate{{KeyID: uuid.NewString(), DER: first}, foreign}))
	got, err := o.login.Certificate(ctx, tenant, app.AppID, key(), first, graphScope)
	must(t, err)
	who, err := token.Who(got.Value)
	must(t, err)
	if slices.Sort(who.Roles); who.AppIDACR != "2" || !slices.Equal(who.Roles, slices.Sorted(slices.Values(wanted))) {
		t.Errorf("the token has %v by appidacr %q", who.Roles, who.AppIDACR)
	}
	itself, err := entra.New(entra.Config{Endpoint: c.Endpoints().Graph, Credential: o.login.CertificateCredential(tenant, app.AppID, key(), first), HTTP: c.Transport()})
	must(t, err)
	proof := func(der []byte, of string, at time.Time) string {
		t.Helper()
		p, err := token.Proof(key(), der, of, at)
		must(t, err)
		return p
	}
	for what, bad := range map[string]string{"of the client id": proof(first, app.AppID, time.Now()), "of yesterday": proof(first, app.ID, time.Now().Add(-24*time.Hour)), "by a certificate that is not registered": proof(certificate(t), app.ID, time.Now())} {
		if _, err := itself.AddKey(ctx, app.ID, bad, second, "x"); err == nil || fault.Is(err, fault.Unavailable, fault.NotYet) {
			t.Errorf("a proof %s: %v", what, err)
		}
	}
	keyID, err := itself.AddKey(ctx, app.ID, proof(first, app.ID, time.Now()), second, "leastkey @provisioner")
	must(t, err)
	_, err = o.login.Certificate(ctx, tenant, app.AppID, key(), second, graphScope)
	must(t, err)
	app, err = o.graph.Application(ctx, app.ID)
	must(t, err)
	of := func(der []byte) *agent.Certificate {
		sum := sha256.Sum256(der)
		i := slices.IndexFunc(app.Certificates, func(c agent.Certificate) bool { return c.SHA256 == hex.EncodeToString(sum[:]) })
		if i < 0 {
			return nil
		}
		return &app.Certificates[i]
	}
	if len(app.Certificates) != 3 || of(second) == nil || of(second).KeyID != keyID {
		t.Fatalf("%+v, added %s", app.Certificates, keyID)
	}
	must(t, itself.RemoveKey(ctx, app.ID, of(first).KeyID, proof(second, app.ID, time.Now())))
	wants(t, "one that is gone", itself.RemoveKey(ctx, app.ID, of(first).KeyID, proof(second, app.ID, time.Now())), fault.NotFound, "")
	_, err = o.login.Certificate(ctx, tenant, app.AppID, key(), first, graphScope)
	wants(t, "the old certificate", err, fault.NotFound, "AADSTS700027")
	app, err = o.graph.Application(ctx, app.ID)
	must(t, err)
	if len(app.Certificates) != 2 || of(foreign.DER) == nil || of(foreign.DER).KeyID != foreign.KeyID || len(app.Passwords) != 0 {
		t.Errorf("%+v", app)
	}

	// Who may do it.
	for name, want := range map[string]provisioner.Rights{"admin": {Known: true, Enough: true}, "appadmin": {Known: true, Enough: true}, "nobody": {Known: true}} {
		rights, err := as(t, c, c.Transport(), name).graph.Rights(ctx, app)
		if err != nil || rights.Known != want.Known || rights.Enough != want.Enough || rights.Detail == "" {
			t.Errorf("%s: %+v %v", name, rights, err)
		}
	}
	nobody := c.Operators()[slices.IndexFunc(c.Operators(), func(p localcloud.Operator) bool { return p.Name == "nobody" })]
	app.Owners = []agent.Owner{{ID: nobody.ObjectID}}
	if rights, err := as(t, c, c.Transport(), "nobody").graph.Rights(ctx, app); err != nil || !rights.Enough {
		t.Errorf("an owner: %+v %v", rights, err)
	}
}

// A grant that a lagging replica does not show is a matter of waiting, never a failure and never a second grant.
func TestAGrantOnReplicasThatLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, localcloud.Config{})
		o, ctx := as(t, c, c.Transport(), "admin"), t.Context()
		app, _, err := o.graph.UpsertApplication(ctx, "leastkey-prov", "x")
		must(t, err)
		sp, err := o.graph.CreatePrincipal(ctx, app.AppID)
		must(t, err)
		graphID, offered, err := o.graph.AppRoles(ctx, provisioner.Graph)
		must(t, err)
		lag := c.Knobs()
		lag.Lag.Graph = 20 * time.Second
		must(t, c.SetKnobs(lag))
		waited := 0
		for range 2 {
			for end := time.Now().Add(time.Minute); ; waited++ {
				err := o.graph.GrantRole(ctx, sp.ID, graphID, offered[0].ID)
				if err == nil {
					break
				}
				if !fault.Is(err, fault.NotFound) || time.Now().After(end) {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Minute)
		if granted, err := o.graph.Granted(ctx, sp.ID, graphID); err != nil || len(granted) != 1 {
			t.Error(granted, err)
		}
		if waited == 0 {
			t.Error("nothing lagged")
		}
	})
}
