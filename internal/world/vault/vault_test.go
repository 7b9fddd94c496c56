package vault

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	at       = "https://kv-one.vault.azure.net"
	resource = "https://vault.azure.net"
	tenant   = "00000000-0000-4000-8000-0000000000aa"
	bearer   = "CANARY-token"
)

// service answers each request with the next reply and remembers what it was asked.
type service struct {
	t       *testing.T
	replies []reply
	asked   []string
}

type reply struct {
	status int
	body   string
	header http.Header
	err    error
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		s.t.Errorf("%s carries no token", r.URL)
	}
	s.asked = append(s.asked, r.Method+" "+r.URL.Host+r.URL.Path)
	if len(s.replies) == 0 {
		s.t.Fatalf("unexpected %s", r.URL)
	}
	out := s.replies[0]
	s.replies = s.replies[1:]
	if out.err != nil {
		return nil, out.err
	}
	if out.header == nil {
		out.header = http.Header{"Content-Type": {"application/json"}}
	}
	return &http.Response{StatusCode: out.status, Header: out.header, Body: io.NopCloser(strings.NewReader(out.body)), Request: r}, nil
}

// credential gives the token, or fails, and keeps what it was asked for.
type credential struct {
	asked *policy.TokenRequestOptions
	err   error
}

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	*c.asked = o
	return azcore.AccessToken{Token: bearer, ExpiresOn: time.Now().Add(time.Hour)}, c.err
}

func open(t *testing.T, replies ...reply) (*Client, *service, *policy.TokenRequestOptions) {
	t.Helper()
	return openAs(t, nil, replies...)
}

func openAs(t *testing.T, refused error, replies ...reply) (*Client, *service, *policy.TokenRequestOptions) {
	t.Helper()
	s, asked := &service{t: t, replies: replies}, new(policy.TokenRequestOptions)
	c, err := New(Config{URL: at + "/", Resource: resource, Tenant: tenant, Credential: credential{asked, refused}, HTTP: s})
	if err != nil {
		t.Fatal(err)
	}
	return c, s, asked
}

func secretID(name string) string { return `{"id":"` + at + `/secrets/` + name + `"}` }

func TestEveryPageOfNamesIsRead(t *testing.T) {
	c, s, asked := open(t,
		reply{status: 200, body: `{"value":[` + secretID("zeta") + `,` + secretID("alpha") + `],"nextLink":"` + at + `/secrets?api-version=7.6&$skiptoken=x"}`},
		reply{status: 200, body: `{"value":[` + secretID("mid") + `]}`})
	names, err := c.Names(t.Context())
	if err != nil || !slices.Equal(names, []string{"alpha", "mid", "zeta"}) {
		t.Errorf("got %v, %v", names, err)
	}
	if want := []string{"GET kv-one.vault.azure.net/secrets", "GET kv-one.vault.azure.net/secrets"}; !slices.Equal(s.asked, want) {
		t.Errorf("asked %v: each page takes one request, and none goes without a token", s.asked)
	}
	if !slices.Equal(asked.Scopes, []string{resource + "/.default"}) || asked.TenantID != tenant {
		t.Errorf("asked for %+v", asked)
	}
}

func TestAVaultWithoutSecretsIsReadable(t *testing.T) {
	c, _, _ := open(t, reply{status: 200, body: `{"value":[]}`})
	if names, err := c.Names(t.Context()); err != nil || names == nil || len(names) != 0 {
		t.Errorf("got %v, %v", names, err)
	}
}

func TestWhatIsNoListOfNamesIsAnError(t *testing.T) {
	body := func(code, inner string) string {
		return `{"error":{"code":"` + code + `","message":"m","innererror":{"code":"` + inner + `"}}}`
	}
	other := reply{status: 200, body: `{"value":[],"nextLink":"https://evil.example/secrets"}`}
	for name, test := range map[string]struct {
		reply   reply
		code    fault.Code
		service string
	}{
		"no role":             {reply{status: 403, body: body("Forbidden", "ForbiddenByRbac")}, fault.Forbidden, "ForbiddenByRbac"},
		"a firewall":          {reply{status: 403, body: body("Forbidden", "ForbiddenByConnection")}, fault.Forbidden, "ForbiddenByConnection"},
		"not accepted":        {reply{status: 401, body: body("Unauthorized", ""), header: http.Header{"Www-Authenticate": {`Bearer authorization="x", resource="https://evil.example"`}, "Content-Type": {"application/json"}}}, fault.Unauthenticated, "Unauthorized"},
		"not there":           {reply{status: 404, body: body("VaultNotFound", "")}, fault.NotFound, "VaultNotFound"},
		"throttled":           {reply{status: 429, body: body("Throttled", "")}, fault.Throttled, "Throttled"},
		"away":                {reply{status: 503, body: "busy"}, fault.Unavailable, ""},
		"a proxy's 403":       {reply{status: 403, body: "<html>"}, fault.Unknown, ""},
		"a proxy's 404":       {reply{status: 404, body: "<html>"}, fault.Unknown, ""},
		"a page of something": {reply{status: 200, body: "<html>"}, fault.Unknown, ""},
		"entries without ids": {reply{status: 200, body: `{"value":[{}]}`}, fault.Unknown, ""},
		"a redirect":          {reply{status: 302, header: http.Header{"Location": {"https://evil.example/"}}}, fault.Unknown, ""},
		"another host's page": {other, fault.Refused, ""},
		"a cut":               {reply{err: errors.New("connection reset")}, fault.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, s, _ := open(t, test.reply)
			names, err := c.Names(t.Context())
			if names != nil || !fault.Is(err, test.code) || fault.Service(err) != test.service {
				t.Errorf("got %v, %v (%s %s), want %s %s", names, err, fault.CodeOf(err), fault.Service(err), test.code, test.service)
			}
			if len(s.asked) != 1 {
				t.Errorf("asked %v: nothing is tried again, and no challenge of the vault's is followed", s.asked)
			}
		})
	}
}

func TestALoginThatFailsIsNotTheVaults(t *testing.T) {
	c, s, _ := openAs(t, &fault.Error{Code: fault.NotFound, Service: "AADSTS700016"})
	if _, err := c.Names(t.Context()); !fault.Is(err, fault.Unauthenticated) || fault.Service(err) != "AADSTS700016" || len(s.asked) != 0 {
		t.Errorf("got %v, asked %v", err, s.asked)
	}
}

func TestOnlyAVaultOfTheCloudGetsAToken(t *testing.T) {
	cred := credential{asked: new(policy.TokenRequestOptions)}
	for _, where := range []string{"", "http://kv.vault.azure.net", "https://kv.vault.azure.net.evil.example", "https://vault.azure.net", "https://u:p@kv.vault.azure.net", "https://kv.vault.azure.net/x", "https://127.0.0.1:1234"} {
		if _, err := New(Config{URL: where, Resource: resource, Tenant: tenant, Credential: cred}); !fault.Is(err, fault.Invalid, fault.Refused) {
			t.Errorf("%q: %v", where, err)
		}
	}
	if _, err := New(Config{URL: "https://127.0.0.1:1234/", Resource: resource, Tenant: tenant, Credential: cred, Local: true}); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{URL: at, Resource: resource, Tenant: tenant}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	elsewhere := only{cred, resource + "/.default"}
	if _, err := elsewhere.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}}); !fault.Is(err, fault.Refused) {
		t.Error(err)
	}
}
