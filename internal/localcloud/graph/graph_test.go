package graph

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
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

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const host = "https://localhost:40002"

// keyPool holds RSA keys that tests share, because making them takes longer than the tests.
var keyPool = sync.OnceValue(func() (keys [3]*rsa.PrivateKey) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// cloud is a Graph with a seeded tenant, a few users and a client application for each permission that a test asks for.
type cloud struct {
	t   testing.TB
	env service.Env
	s   *Service
	dir *directory.Directory

	admin, appAdmin, roleAdmin, reader, nobody string // object ids of users
	next                                       int
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	store := replica.New(replica.Options{Seed: 7})
	dir := directory.New(store, directory.Tenant{ID: "11111111-1111-4111-8111-111111111111", DisplayName: "Contoso", Domain: "contoso.onmicrosoft.com"})
	auth, err := authority.New(time.Now, func(v string) string { return "https://local/" + v }, keyPool()[0])
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, dir: dir}
	var mu sync.Mutex
	c.env = service.Env{
		Dir: dir, Auth: auth, Now: time.Now, TokenLifetime: func() time.Duration { return time.Hour },
		Endpoints: func() service.Endpoints { return service.Endpoints{Login: "https://localhost:40001", Graph: host} },
		NewID: func() string {
			mu.Lock()
			defer mu.Unlock()
			c.next++
			return fmt.Sprintf("00000000-0000-4000-8000-%012x", c.next)
		},
		Random: func(n int) []byte {
			b := make([]byte, n)
			_, _ = rand.Read(b)
			return b
		},
	}
	c.s = New(c.env)
	c.write(func(tx replica.Tx) {
		SeedTenant(tx, dir, c.env.NewID)
		for _, u := range []struct {
			name, role string
			id         *string
		}{{"admin", directory.GlobalAdministrator, &c.admin}, {"appadmin", directory.ApplicationAdministrator, &c.appAdmin}, {"roleadmin", directory.PrivilegedRoleAdministrator, &c.roleAdmin}, {"reader", directory.DirectoryReaders, &c.reader}, {"nobody", "", &c.nobody}} {
			*u.id = c.env.NewID()
			dir.Users.Put(tx, *u.id, directory.User{ID: *u.id, UserPrincipalName: u.name + "@contoso.onmicrosoft.com", DisplayName: u.name, AccountEnabled: true, CreatedDateTime: tx.Now(), Password: "canary-password"})
			if u.role != "" {
				dir.RoleMembers.Put(tx, u.role+"/"+*u.id, directory.RoleMember{ID: u.role + "/" + *u.id, Template: u.role, PrincipalID: *u.id})
			}
		}
	})
	return c
}

func (c *cloud) write(f func(tx replica.Tx)) {
	_ = c.dir.Store.Write(func(tx replica.Tx) error { f(tx); return nil })
}

// client is a caller with a token.
type client struct {
	c     *cloud
	token string
	id    string // of the principal
	appID string
}

func (c *cloud) mint(claims authority.Claims) string {
	now := time.Now().Unix()
	if claims.Audience == "" {
		claims.Audience = "https://graph.microsoft.com"
	}
	claims.IssuedAt, claims.NotBefore, claims.Expires, claims.TenantID = now, now, now+3600, c.dir.Tenant.ID
	token, err := c.env.Auth.Mint(claims)
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

// app is a client application with permissions of its own; it has no application object, as one of another tenant.
func (c *cloud) app(permissions ...string) client {
	p := directory.ServicePrincipal{ID: c.env.NewID(), AppID: c.env.NewID(), DisplayName: "client", ServicePrincipalType: "Application", AccountEnabled: true, CreatedDateTime: time.Now()}
	p.ServicePrincipalNames = []string{p.AppID}
	c.write(func(tx replica.Tx) { c.dir.ServicePrincipals.Put(tx, p.ID, p) })
	return c.as(p.ID, p.AppID, permissions...)
}

// as is an application that exists.
func (c *cloud) as(id, appID string, permissions ...string) client {
	return client{c, c.mint(authority.Claims{ObjectID: id, Subject: id, AppID: appID, IDType: "app", Roles: permissions}), id, appID}
}

// user is a user at Azure CLI.
func (c *cloud) user(id string, scopes ...string) client {
	if len(scopes) == 0 {
		scopes = []string{directory.AzureCLIScopes}
	}
	return client{c, c.mint(authority.Claims{ObjectID: id, Subject: id, AppID: directory.AzureCLIAppID, IDType: "user", Scope: strings.Join(scopes, " "), UPN: "x@y"}), id, directory.AzureCLIAppID}
}

// answer is what came back.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   map[string]any
	text   string
}

// do sends a request; body may be nil, a string or anything that JSON can write. headers are "Name: value".
func (u client) do(method, path string, body any, headers ...string) answer {
	u.c.t.Helper()
	var text []byte
	switch b := body.(type) {
	case nil:
	case string:
		text = []byte(b)
	default:
		text, _ = json.Marshal(b)
	}
	if !strings.HasPrefix(path, "/v1.0") && !strings.HasPrefix(path, "/beta") {
		path = "/v1.0/" + path
	}
	path = strings.ReplaceAll(path, " ", "%20")
	r := httptest.NewRequest(method, host+path, bytes.NewReader(text))
	if len(text) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	u.c.s.ServeHTTP(w, r)
	a := answer{t: u.c.t, what: method + " " + path, status: w.Code, header: w.Header(), text: w.Body.String()}
	if w.Body.Len() > 0 && strings.HasPrefix(w.Body.String(), "{") {
		if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil {
			u.c.t.Fatal(err)
		}
	}
	return a
}

func (u client) get(path string, headers ...string) answer {
	u.c.t.Helper()
	return u.do("GET", path, nil, headers...)
}
func (u client) post(path string, body any) answer {
	u.c.t.Helper()
	return u.do("POST", path, body)
}
func (u client) patch(path string, body any, headers ...string) answer {
	u.c.t.Helper()
	return u.do("PATCH", path, body, headers...)
}
func (u client) del(path string) answer { u.c.t.Helper(); return u.do("DELETE", path, nil) }

// is checks the status, and for an error its code and the start of its message, written "code: message".
func (a answer) is(status int, problem ...string) answer {
	a.t.Helper()
	got := ""
	if e, ok := a.body["error"].(map[string]any); ok {
		got = fmt.Sprint(e["code"], ": ", e["message"])
	}
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.text)
	}
	for _, p := range problem {
		if !strings.HasPrefix(got, p) {
			a.t.Fatalf("%s: %q, want %q", a.what, got, p)
		}
	}
	return a
}

func (a answer) str(name string) string {
	a.t.Helper()
	s, ok := a.body[name].(string)
	if !ok {
		a.t.Fatalf("%s: no %s in %s", a.what, name, a.text)
	}
	return s
}

func (a answer) list(name string) []map[string]any {
	a.t.Helper()
	raw, ok := a.body[name].([]any)
	if !ok {
		a.t.Fatalf("%s: no list %s in %s", a.what, name, a.text)
	}
	list := []map[string]any{}
	for _, v := range raw {
		list = append(list, v.(map[string]any))
	}
	return list
}

func (a answer) value() []map[string]any { a.t.Helper(); return a.list("value") }

// texts are the elements of a list of texts.
func (a answer) texts() []string {
	a.t.Helper()
	list, _ := a.body["value"].([]any)
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i], _ = v.(string)
	}
	return texts
}

// cert is a self-signed certificate, base64 of DER.
type cert struct {
	key *rsa.PrivateKey
	der []byte
}

func (c cert) b64() string { return base64.StdEncoding.EncodeToString(c.der) }

func makeCert(t testing.TB, n int, from, to time.Time) cert {
	t.Helper()
	key := keyPool()[n]
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(n) + 1), Subject: pkix.Name{CommonName: "bot"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return cert{key, der}
}

// fresh is a certificate that is valid now, for a year.
func fresh(t testing.TB, n int) cert {
	now := time.Now()
	return makeCert(t, n, now.Add(-time.Hour), now.AddDate(1, 0, 0))
}

func keyBody(c cert) map[string]any {
	return map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": c.b64()}
}

// makeApp makes an application with its service principal.
func (u client) makeApp(name string) (id, appID, principal string) {
	u.c.t.Helper()
	a := u.post("applications", map[string]any{"displayName": name, "signInAudience": "AzureADMyOrg"}).is(201)
	p := u.post("servicePrincipals", map[string]any{"appId": a.str("appId")}).is(201)
	return a.str("id"), a.str("appId"), p.str("id")
}

func query(path, filter string) string { return path + "?$filter=" + url.QueryEscape(filter) }
