package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestAnAssertionVerifiesWithAnotherLibrary(t *testing.T) {
	key, der := pair()
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	const audience = authority + "/" + tenant + "/oauth2/v2.0/token"
	text, err := Sign(opaque{key}, der, clientID, audience, now)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key.Public(), nil },
		jwt.WithValidMethods([]string{"PS256"}), jwt.WithAudience(audience), jwt.WithIssuer(clientID), jwt.WithSubject(clientID),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	if got := parsed.Header["x5t#S256"]; got != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("x5t#S256 = %v", got)
	}
	if len(parsed.Header) != 3 {
		t.Errorf("header = %v, want alg, typ and x5t#S256 alone", parsed.Header)
	}
	if exp, _ := claims.GetExpirationTime(); !exp.Equal(now.Add(5 * time.Minute)) {
		t.Errorf("exp = %v", exp)
	}
	again, err := Sign(opaque{key}, der, clientID, audience, now)
	if err != nil || jti(t, again) == jti(t, text) {
		t.Errorf("two assertions have the same jti (%v)", err)
	}
}

func jti(t *testing.T, text string) any {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(text, claims); err != nil {
		t.Fatal(err)
	}
	return claims["jti"]
}

func TestSignRefusesAPairThatCannotWork(t *testing.T) {
	key, der := pair()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"a certificate of another key": second(Sign(other, der, clientID, "x", time.Now())),
		"no certificate":               second(Sign(key, nil, clientID, "x", time.Now())),
		"a certificate and more":       second(Sign(key, append(der[:len(der):len(der)], 0), clientID, "x", time.Now())),
		"an elliptic curve":            second(Sign(curve, certificate(curve), clientID, "x", time.Now())),
	} {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want an invalid fault", name, err)
		}
	}
}

func second(_ string, err error) error { return err }

func TestACertificateLoginIsOneExactRequest(t *testing.T) {
	l := always(grants(canary))
	c := client(t, l)
	key, der := pair()
	got, err := c.Certificate(t.Context(), tenant, clientID, opaque{key}, der, scope)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Value.Equal(secret.New([]byte(canary))) || got.Scope != scope || !got.Expires.Equal(c.now().Add(3599*time.Second)) {
		t.Errorf("token of %q until %v", got.Scope, got.Expires)
	}
	if len(l.asked) != 1 {
		t.Fatalf("%d requests, want 1", len(l.asked))
	}
	a := l.asked[0]
	if a.method != "POST" || a.url != authority+"/"+tenant+"/oauth2/v2.0/token" {
		t.Errorf("asked %s %s", a.method, a.url)
	}
	want := map[string]string{
		"grant_type": "client_credentials", "client_id": clientID, "scope": scope,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	}
	for k, v := range want {
		if a.form.Get(k) != v {
			t.Errorf("%s = %q, want %q", k, a.form.Get(k), v)
		}
	}
	if len(a.form) != len(want)+1 || strings.Count(a.form.Get("client_assertion"), ".") != 2 {
		t.Errorf("the form has other fields: %v", len(a.form))
	}
}

func TestRefusals(t *testing.T) {
	const clock = "AADSTS700024: Client assertion is not within its valid time range. Current time: 2026-08-01T11:40:00.1234567Z, assertion valid from 2026-08-01T12:00:00.0000000Z, expiry time of assertion 2026-08-01T12:05:00.0000000Z."
	const notFound = "AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: 'AB']."
	for name, c := range map[string]struct {
		reply   reply
		code    fault.Code
		service string
		hint    string // a part
	}{
		"a certificate that a replica does not know is not found": {refuses(401, 700027, "invalid_client", notFound), fault.NotFound, "AADSTS700027", "not yet everywhere"},
		"an expired certificate is not":                           {refuses(401, 700027, "invalid_client", "AADSTS700027: Client assertion contains an invalid signature. [Reason - The key used is expired., Thumbprint …]"), fault.Unauthenticated, "AADSTS700027", "expired"},
		"a wrong signature is not":                                {refuses(401, 700027, "invalid_client", "AADSTS700027: Client assertion contains an invalid signature. [Reason - The provided signature value did not match the expected signature value.]"), fault.Unauthenticated, "AADSTS700027", "another key"},
		"an unknown application is not found":                     {refuses(400, 700016, "unauthorized_client", "AADSTS700016: Application with identifier 'x' was not found in the directory 'y'."), fault.NotFound, "AADSTS700016", ""},
		"a missing service principal is not found":                {refuses(401, 7000229, "invalid_client", "AADSTS7000229: The client application x is missing service principal in the tenant y."), fault.NotFound, "AADSTS7000229", ""},
		"a wrong clock shows both":                                {refuses(401, 700024, "invalid_client", clock), fault.Invalid, "AADSTS700024", "it says 2026-08-01T12:00:00Z, the login service's says 2026-08-01T11:40:00Z"},
		"a disabled application is forbidden":                     {refuses(400, 7000112, "unauthorized_client", "AADSTS7000112: Application 'x'(y) is disabled."), fault.Forbidden, "AADSTS7000112", "disabled"},
		"conditional access forbids":                              {refuses(400, 53003, "access_denied", "AADSTS53003: Access has been blocked by Conditional Access policies."), fault.Forbidden, "AADSTS53003", "Conditional Access"},
		"an unknown tenant is bad input":                          {refuses(400, 90002, "invalid_request", "AADSTS90002: Tenant 'x' not found."), fault.Invalid, "AADSTS90002", "tenant"},
		"an unknown resource is bad input":                        {refuses(400, 500011, "invalid_resource", "AADSTS500011: The resource principal named x was not found."), fault.Invalid, "AADSTS500011", "--cloud"},
		"any other refusal is unauthenticated":                    {refuses(401, 50012, "invalid_client", "AADSTS50012: Client assertion audience claim does not match Realm issuer."), fault.Unauthenticated, "AADSTS50012", "another login service"},
		"429 is throttled":                                        {reply{status: 429, body: `{"error":"too_many"}`, header: http.Header{"Retry-After": {"7"}}}, fault.Throttled, "too_many", ""},
		"503 is unavailable":                                      {reply{status: 503, body: "busy"}, fault.Unavailable, "", ""},
		"temporarily unavailable is so whatever its status":       {refuses(400, 90033, "temporarily_unavailable", "AADSTS90033: A transient error has occurred."), fault.Unavailable, "AADSTS90033", ""},
		"a stranger's 404 says nothing":                           {reply{status: 404, body: "<html>portal</html>"}, fault.Unknown, "", "proxy"},
		"a stranger's 200 is no token":                            {reply{status: 200, body: "<html>" + canary + "</html>"}, fault.Unknown, "", "proxy"},
		"a redirect is not followed":                              {reply{status: 307, body: "", header: http.Header{"Location": {"https://evil.test/"}}}, fault.Unknown, "", "proxy"},
		"a cut connection is unavailable":                         {reply{err: io.ErrUnexpectedEOF}, fault.Unavailable, "", ""},
		"a token of another type is refused":                      {reply{status: 200, body: `{"token_type":"pop","expires_in":1,"access_token":"` + canary + `"}`}, fault.Unknown, "", "proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			l := always(c.reply)
			err := client(t, l).certificateLogin(t.Context())
			f, ok := errors.AsType[*fault.Error](err)
			if !ok {
				t.Fatalf("%v is no fault", err)
			}
			if f.Code != c.code || fault.Service(err) != c.service || !strings.Contains(fault.Hint(err), c.hint) {
				t.Errorf("%s %q, hint %q; want %s %q with %q", f.Code, fault.Service(err), fault.Hint(err), c.code, c.service, c.hint)
			}
			if strings.Contains(f.Error()+f.Hint, "CANARY") || strings.Contains(f.Error(), "Trace ID") {
				t.Errorf("the error tells too much: %v", f)
			}
			if c.reply.status == 429 && fault.RetryAfter(err) != 7*time.Second {
				t.Errorf("RetryAfter = %v", fault.RetryAfter(err))
			}
			if l.count() != 1 {
				t.Errorf("%d requests, want 1: nothing is retried or followed here", l.count())
			}
		})
	}
}

func TestTheEndOfTheCallersContextPassesThrough(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client(t, always(grants("x"))).certificateLogin(ctx); err != context.Canceled {
		t.Errorf("%v, want context.Canceled itself", err)
	}
}

func TestTenantID(t *testing.T) {
	document := reply{status: 200, body: map[string]string{"issuer": "https://login.leastkey.test/" + strings.ToUpper(tenant) + "/v2.0"}}
	for name, c := range map[string]struct {
		in       string
		reply    reply
		want     string
		code     fault.Code
		requests int
	}{
		"a domain is looked up":          {"contoso.onmicrosoft.com", document, tenant, "", 1},
		"a GUID is not":                  {strings.ToUpper(tenant), document, tenant, "", 0},
		"an unknown domain is bad input": {"nobody.example", refuses(400, 90002, "invalid_tenant", "AADSTS90002: Tenant 'nobody.example' not found."), "", fault.Invalid, 1},
		"common names no tenant":         {"common", reply{status: 200, body: map[string]string{"issuer": "https://login.leastkey.test/{tenantid}/v2.0"}}, "", fault.Unknown, 1},
		"a path is no tenant":            {"../x", document, "", fault.Invalid, 0},
		"nothing is no tenant":           {"", document, "", fault.Invalid, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := always(c.reply)
			got, err := client(t, l).TenantID(t.Context(), c.in)
			if got != c.want || fault.CodeOf(err) != c.code || l.count() != c.requests {
				t.Errorf("TenantID(%q) = %q, %v after %d requests", c.in, got, err, l.count())
			}
		})
	}
}

func TestAPasswordGoesNowhereButToTheLocalCloud(t *testing.T) {
	l := always(grants("token"))
	password := secret.New([]byte("CANARY"))
	if _, err := client(t, l).LocalTestLogin(t.Context(), tenant, AzureCLI, "admin", password, []string{scope}); !fault.Is(err, fault.Refused) || l.count() != 0 {
		t.Errorf("%v after %d requests, want a refusal without one", err, l.count())
	}
	local := client(t, l, func(c *Config) { c.Local = true })
	if _, err := local.LocalTestLogin(t.Context(), tenant, AzureCLI, "admin", password, []string{scope}); err != nil {
		t.Fatal(err)
	}
	if f := l.asked[0].form; f.Get("grant_type") != "password" || f.Get("username") != "admin" || f.Get("password") != "CANARY" || f.Get("client_id") != AzureCLI {
		t.Errorf("form fields of the login are wrong: %d", len(f))
	}
}

func TestNewWantsHTTPS(t *testing.T) {
	for _, bad := range []string{"", "http://login.test", "login.test", "https://user:pw@login.test", "https://login.test/?x=y"} {
		if _, err := New(Config{Authority: bad}); !fault.Is(err, fault.Invalid) || strings.Contains(fmt.Sprint(err), "pw") {
			t.Errorf("New(%q): %v", bad, err)
		}
	}
}

func FuzzWho(f *testing.F) {
	segment := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	f.Add("h." + segment(`{"tid":"`+tenant+`","oid":"`+clientID+`","upn":"ann@contoso.com","appid":"x"}`) + ".s")
	f.Add("h." + segment(`{"tid":"`+tenant+`","oid":"`+clientID+`","appid":"x","aud":["a"],"exp":1.5}`) + ".s")
	f.Add("h." + segment(`{"tid":1}`) + ".s")
	f.Add("..")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Who(secret.New([]byte(text)))
		if err != nil {
			if !fault.Is(err, fault.Unknown) || c.TenantID != "" {
				t.Errorf("%v with %v", err, c)
			}
			return
		}
		if len(c.TenantID) != 36 || len(c.ObjectID) != 36 || strings.ContainsAny(c.Name, "\x1b\n\r") {
			t.Errorf("%+v", c)
		}
	})
}

func TestWho(t *testing.T) {
	segment := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	user, err := Who(secret.New([]byte("h." + segment(`{"tid":"`+tenant+`","oid":"`+clientID+`","upn":"ann@contoso.com","appid":"`+AzureCLI+`"}`) + ".s")))
	if err != nil || user.Name != "ann@contoso.com" || user.TenantID != tenant || user.ObjectID != clientID {
		t.Errorf("%+v, %v", user, err)
	}
	app, err := Who(secret.New([]byte("h." + segment(`{"tid":"`+tenant+`","oid":"`+clientID+`","appid":"`+AzureCLI+`"}`) + ".s")))
	if err != nil || app.Name != AzureCLI {
		t.Errorf("%+v, %v", app, err)
	}
	if _, err := Who(secret.New([]byte(strings.Repeat("a", largestToken+1)))); !fault.Is(err, fault.Unknown) {
		t.Errorf("a huge token: %v", err)
	}
}
