package entra

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const (
	tenantID = "11111111-2222-3333-4444-555555555555"
	appA     = "aaaaaaaa-0000-0000-0000-000000000001"
	spA      = "aaaaaaaa-0000-0000-0000-000000000002"
	aliceID  = "bbbbbbbb-0000-0000-0000-000000000001"
	alice    = "alice@contoso.onmicrosoft.com"
	password = "correct horse"
	secret   = "abc8Q~secret-of-the-test"
)

var (
	clientKey  = sync.OnceValue(newKey)
	otherKey   = sync.OnceValue(newKey)
	signingKey = sync.OnceValue(newKey)
)

func newKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

// world is a login service over a small directory.
type world struct {
	*Service
	t       testing.TB
	dir     *directory.Directory
	now     func() time.Time
	offset  time.Duration
	ends    service.Endpoints
	cert    []byte
	graphSP string
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, ends: service.Endpoints{Login: "https://login.test", Graph: "https://graph.test", ARM: "https://arm.test:3", Vault: map[string]string{"kv": "https://kv.vault.test:4"}}}
	w.now = func() time.Time { return time.Now().Add(w.offset) }
	store := replica.New(replica.Options{Clock: w.now, Seed: 7})
	w.dir = directory.New(store, directory.Tenant{ID: tenantID, DisplayName: "Contoso", Domain: "contoso.onmicrosoft.com"})
	issuer := func(version string) string {
		if version == "2.0" {
			return w.ends.Login + "/" + tenantID + "/v2.0"
		}
		return w.ends.Login + "/" + tenantID + "/"
	}
	auth, err := authority.New(w.now, issuer, signingKey())
	if err != nil {
		t.Fatal(err)
	}
	w.Service = New(service.Env{
		Dir: w.dir, Auth: auth, Now: w.now,
		TokenLifetime: func() time.Duration { return time.Hour },
		Endpoints:     func() service.Endpoints { return w.ends },
		NewID:         uuid.NewString,
		Random:        func(n int) []byte { b := make([]byte, n); rand.Read(b); return b },
	})
	w.cert = certify(t, clientKey(), w.now().Add(-time.Hour), w.now().Add(24*time.Hour))
	w.seed()
	return w
}

func certify(t testing.TB, key *rsa.PrivateKey, from, to time.Time) []byte {
	c := &x509.Certificate{SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: "agent"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (w *world) write(f func(tx replica.Tx)) {
	_ = w.dir.Store.Write(func(tx replica.Tx) error { f(tx); return nil })
}

func (w *world) builtin(tx replica.Tx, appID, name string, roles ...directory.AppRole) string {
	id := uuid.NewString()
	sp := directory.ServicePrincipal{ID: id, AppID: appID, DisplayName: name, AccountEnabled: true, ServicePrincipalNames: []string{appID}, AppRoles: roles}
	sp.AppOwnerOrganizationID = directory.MicrosoftTenantID
	if appID == directory.ARMAppID || appID == directory.VaultAppID {
		sp.PermissionScopes = []directory.PermissionScope{{ID: "s-" + appID, Value: userImpersonates, IsEnabled: true}}
	}
	w.dir.ServicePrincipals.Put(tx, id, sp)
	return id
}

func (w *world) seed() {
	w.write(func(tx replica.Tx) {
		w.graphSP = w.builtin(tx, directory.GraphAppID, "Microsoft Graph",
			directory.AppRole{ID: "role-1", Value: "Application.Read.All", IsEnabled: true},
			directory.AppRole{ID: "role-2", Value: "Not.Given", IsEnabled: true})
		w.builtin(tx, directory.ARMAppID, "Windows Azure Service Management API")
		w.builtin(tx, directory.VaultAppID, "Azure Key Vault")
		w.builtin(tx, directory.ExchangeAppID, "AAD Token Exchange Endpoint")
		w.dir.Users.Put(tx, aliceID, directory.User{ID: aliceID, UserPrincipalName: alice, DisplayName: "Alice", AccountEnabled: true, Password: password})
		off := uuid.NewString()
		w.dir.Users.Put(tx, off, directory.User{ID: off, UserPrincipalName: "off@contoso.onmicrosoft.com", Password: password})
		w.dir.RoleMembers.Put(tx, "r", directory.RoleMember{ID: "r", Template: directory.ApplicationAdministrator, PrincipalID: aliceID})
		w.dir.AppRoleAssignments.Put(tx, "ra", directory.AppRoleAssignment{ID: "ra", PrincipalID: spA, ResourceID: w.graphSP, AppRoleID: "role-1"})
		w.app(tx, appA, spA, func(a *directory.Application, _ *directory.ServicePrincipal) {
			a.KeyCredentials = []directory.KeyCredential{w.key(w.cert)}
			a.PasswordCredentials = []directory.PasswordCredential{{KeyID: "p", Secret: secret, StartDateTime: w.now().Add(-time.Hour), EndDateTime: w.now().Add(time.Hour)}}
		})
	})
}

func (w *world) key(der []byte) directory.KeyCredential {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return directory.KeyCredential{KeyID: uuid.NewString(), Type: "AsymmetricX509Cert", Usage: "Verify", Key: der, StartDateTime: c.NotBefore, EndDateTime: c.NotAfter}
}

func (w *world) app(tx replica.Tx, appID, spID string, change func(*directory.Application, *directory.ServicePrincipal)) {
	a := directory.Application{ID: "obj-" + appID, AppID: appID, DisplayName: "agent"}
	sp := directory.ServicePrincipal{ID: spID, AppID: appID, DisplayName: "agent", AccountEnabled: true, ServicePrincipalNames: []string{appID}}
	if change != nil {
		change(&a, &sp)
	}
	w.dir.Applications.Put(tx, a.ID, a)
	if spID != "" {
		w.dir.ServicePrincipals.Put(tx, sp.ID, sp)
	}
}

// jwt is an assertion that a row of a table may spoil.
type jwt struct {
	header, claims map[string]any
	key            *rsa.PrivateKey
	pss            bool
}

func (w *world) jwt() *jwt {
	sum := sha256.Sum256(w.cert)
	now := w.now()
	return &jwt{
		header: map[string]any{"typ": "JWT", "alg": "RS256", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
		claims: map[string]any{"iss": appA, "sub": appA, "aud": w.ends.Login + "/" + tenantID + "/oauth2/v2.0/token", "jti": uuid.NewString(), "nbf": now.Unix(), "exp": now.Unix() + 600},
		key:    clientKey(),
	}
}

func (j *jwt) sign() string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := part(j.header) + "." + part(j.claims)
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	if j.pss {
		sig, err = rsa.SignPSS(rand.Reader, j.key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 32})
	} else {
		sig, err = rsa.SignPKCS1v15(rand.Reader, j.key, crypto.SHA256, sum[:])
	}
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func thumb(der []byte, sha256d bool) []byte {
	if sha256d {
		s := sha256.Sum256(der)
		return s[:]
	}
	s := sha1.Sum(der)
	return s[:]
}

// form makes a form from name, value pairs.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

const armScope = "https://management.azure.com/.default"

func (w *world) assertionForm(assertion, scope string) url.Values {
	return form("grant_type", "client_credentials", "client_id", appA, "client_assertion_type", jwtBearer, "client_assertion", assertion, "scope", scope)
}

const tokenPath = "/" + tenantID + "/oauth2/v2.0/token"

type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (r reply) text(name string) string { s, _ := r.body[name].(string); return s }

func (r reply) code() int {
	codes, _ := r.body["error_codes"].([]any)
	if len(codes) != 1 {
		return 0
	}
	f, _ := codes[0].(float64)
	return int(f)
}

func (w *world) send(r *http.Request) reply {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	out := reply{status: rec.Code, header: rec.Header(), raw: rec.Body.String(), body: map[string]any{}}
	_ = json.Unmarshal(rec.Body.Bytes(), &out.body)
	return out
}

func (w *world) post(path string, f url.Values) reply {
	r := httptest.NewRequest(http.MethodPost, "https://login.test"+path, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	return w.send(r)
}

func (w *world) get(path string) reply {
	return w.send(httptest.NewRequest(http.MethodGet, "https://login.test"+path, nil))
}

// claims are those of a token in the reply, not verified.
func (w *world) claims(r reply, member string) map[string]any {
	w.t.Helper()
	parts := strings.Split(r.text(member), ".")
	if len(parts) != 3 {
		w.t.Fatalf("no %s in %d %s", member, r.status, r.raw)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		w.t.Fatal(err)
	}
	c := map[string]any{}
	if err := json.Unmarshal(b, &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func words(v any) string { return strings.Trim(fmt.Sprint(v), "[]") }
