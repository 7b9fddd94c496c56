package arm

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
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
	tenantID = "11111111-1111-1111-1111-111111111111"
	subID    = "22222222-2222-2222-2222-222222222222"
	otherSub = "33333333-3333-3333-3333-333333333333"
	sub      = "/subscriptions/" + subID
	rg       = sub + "/resourceGroups/rg-bots"
	vaultID  = rg + "/providers/Microsoft.KeyVault/vaults/kv-bots"
	botID    = rg + "/providers/Microsoft.BotService/botServices/bot"

	owner  = "aaaaaaaa-0000-0000-0000-000000000001" // Owner of the subscription
	reader = "aaaaaaaa-0000-0000-0000-000000000002" // Reader of the group
	nobody = "aaaaaaaa-0000-0000-0000-000000000003"
	agent  = "aaaaaaaa-0000-0000-0000-000000000004" // a service principal without roles
	team   = "aaaaaaaa-0000-0000-0000-000000000005" // a group: squad is in it
	squad  = "aaaaaaaa-0000-0000-0000-000000000006" // a group: reader is in it
	absent = "aaaaaaaa-0000-0000-0000-00000000ffff"

	readerRole      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	contributorRole = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	botRole         = "9fc6112f-f48e-4e27-8b09-72a5c94e4ae9"
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

type fixture struct {
	*Service
	t     testing.TB
	store *replica.Store
	arm   string // endpoint
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, arm: "https://arm.test"}
	auth, err := authority.New(time.Now, func(v string) string { return "https://login.test/" + tenantID + "/" + v }, key)
	if err != nil {
		t.Fatal(err)
	}
	f.store = replica.New(replica.Options{Seed: 5})
	dir := directory.New(f.store, directory.Tenant{ID: tenantID, DisplayName: "Contoso", Domain: "contoso.onmicrosoft.com"})
	f.Service = New(service.Env{
		Dir: dir, Auth: auth, Now: time.Now, TokenLifetime: func() time.Duration { return time.Hour },
		Endpoints: func() service.Endpoints { return service.Endpoints{Login: "https://login.test", ARM: f.arm} },
		NewID:     uuid.NewString, Random: func(n int) []byte { b := make([]byte, n); _, _ = rand.Read(b); return b },
	})
	f.write(func(tx replica.Tx) {
		for _, u := range []string{owner, reader, nobody} {
			dir.Users.Put(tx, u, directory.User{ID: u, UserPrincipalName: u[34:] + "@contoso.onmicrosoft.com", AccountEnabled: true})
		}
		dir.ServicePrincipals.Put(tx, agent, directory.ServicePrincipal{ID: agent, AppID: "app-" + agent, ServicePrincipalType: "Application", AccountEnabled: true})
		dir.Groups.Put(tx, team, directory.Group{ID: team, DisplayName: "team", Members: []string{squad}})
		dir.Groups.Put(tx, squad, directory.Group{ID: squad, DisplayName: "squad", Members: []string{reader}})
		f.AddSubscription(tx, subID, "Dev")
		f.AddSubscription(tx, otherSub, "Other")
		f.AddGroup(tx, subID, "rg-bots", "East US")
		f.AddGroup(tx, subID, "rg-other", "eastus")
		f.resource(tx, vaultID, object{"location": "eastus", "properties": object{"enableRbacAuthorization": true, "tenantId": tenantID}})
		f.resource(tx, botID, object{"location": "global"})
		f.assign(tx, sub, "Owner", owner, "User")
		f.assign(tx, rg, "Reader", reader, "User")
	})
	return f
}

func (f *fixture) write(do func(tx replica.Tx)) {
	f.t.Helper()
	if err := f.store.Write(func(tx replica.Tx) error { do(tx); return nil }); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) resource(tx replica.Tx, id string, body object) Resource {
	f.t.Helper()
	r, err := f.AddResource(tx, id, body)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) assign(tx replica.Tx, scope, role, principal, kind string) Assignment {
	f.t.Helper()
	a, err := f.Assign(tx, scope, role, principal, kind)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// token is an access token of the principal, changed as a test wants.
func (f *fixture) token(oid string, change func(*authority.Claims)) string {
	f.t.Helper()
	now := time.Now()
	c := authority.Claims{Audience: "https://management.azure.com/", NotBefore: now.Unix(), IssuedAt: now.Unix(), Expires: now.Add(time.Hour).Unix(), TenantID: tenantID, ObjectID: oid, AppID: "app-" + oid}
	if change != nil {
		change(&c)
	}
	raw, err := f.env.Auth.Mint(c)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

// version is the newest api-version of what the path names.
func version(path string) string {
	c := &call{}
	c.id, c.rest = parsePath(path)
	_, versions := c.versions()
	return "api-version=" + append(versions, "2022-04-01")[0]
}

type answer struct {
	status int
	header http.Header
	body   object
	raw    string
}

// code is the error code of an answer.
func (a answer) code() string {
	e, _ := a.body["error"].(object)
	c, _ := e["code"].(string)
	return c
}

func (a answer) message() string {
	e, _ := a.body["error"].(object)
	m, _ := e["message"].(string)
	return m
}

func (a answer) items() []object {
	var items []object
	list, _ := a.body["value"].([]any)
	for _, i := range list {
		o, _ := i.(object)
		items = append(items, o)
	}
	return items
}

func (a answer) properties() object {
	p, _ := a.body["properties"].(object)
	return p
}

// as sends a request as the principal; path may bring a query, api-version is added.
func (f *fixture) as(oid, method, path string, body any) answer {
	f.t.Helper()
	return f.send(method, path, body, "Bearer "+f.token(oid, nil), true)
}

func (f *fixture) send(method, path string, body any, authorization string, versioned bool) answer {
	f.t.Helper()
	var content string
	switch b := body.(type) {
	case nil:
	case string:
		content = b
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			f.t.Fatal(err)
		}
		content = string(raw)
	}
	path, query, _ := strings.Cut(path, "?")
	if name, value, is := strings.Cut(query, "="); is && strings.HasPrefix(name, "$") {
		query = name + "=" + url.QueryEscape(value)
	}
	if versioned {
		query = strings.TrimPrefix(query+"&"+version(path), "&")
	}
	r := httptest.NewRequest(method, "https://arm.test"+path+"?"+query, strings.NewReader(content))
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if a.raw != "" && json.Unmarshal(w.Body.Bytes(), &a.body) != nil {
		f.t.Fatalf("%s %s: the answer is no JSON: %s", method, path, a.raw)
	}
	return a
}

// want fails the test unless the answer has the status and the error code ("" for none).
func (a answer) want(t testing.TB, status int, code string) answer {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Fatalf("got %d %q, want %d %q: %s", a.status, a.code(), status, code, a.raw)
	}
	return a
}
