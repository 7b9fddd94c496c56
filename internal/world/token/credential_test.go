package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func ask(ctx context.Context, c *Credential, o policy.TokenRequestOptions) (string, error) {
	if o.Scopes == nil {
		o.Scopes = []string{scope}
	}
	t, err := c.GetToken(ctx, o)
	return t.Token, err
}

func TestACredentialAsksOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		c := newCredential(tenant, time.Now, func(ctx context.Context, scope, _ string) (api.Token, error) {
			n := asked.Add(1)
			if err := pause(ctx, time.Second); err != nil {
				return api.Token{}, err
			}
			return api.Token{Value: secret.New(fmt.Append(nil, "token", n)), Expires: time.Now().Add(time.Hour), Scope: scope}, nil
		})
		impatient, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { // goes first or waits for who did; either way its own end does not hurt the others
			if _, err := ask(impatient, c, policy.TokenRequestOptions{}); err != context.DeadlineExceeded {
				t.Errorf("impatient: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if _, err := ask(t.Context(), c, policy.TokenRequestOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if asked.Load() != 2 {
			t.Errorf("%d requests, want the impatient one's and one for all others", asked.Load())
		}
	})
}

func TestACredentialRenewsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, life, failure := 0, time.Hour, error(nil)
		c := newCredential(tenant, time.Now, func(context.Context, string, string) (api.Token, error) {
			n++
			return api.Token{Value: secret.New(fmt.Append(nil, n)), Expires: time.Now().Add(life)}, failure
		})
		expect := func(when, want string) {
			t.Helper()
			if got, err := ask(t.Context(), c, policy.TokenRequestOptions{}); got != want || err != nil {
				t.Errorf("%s: token %q, %v; want %q", when, got, err, want)
			}
		}
		expect("at first", "1")
		time.Sleep(54 * time.Minute)
		expect("six minutes before its end", "1")
		time.Sleep(2 * time.Minute)
		failure = fault.New(fault.Unavailable, "down", "")
		expect("four minutes before its end, while the login service is down", "1")
		failure = nil
		expect("four minutes before its end", "3")
		if got, err := ask(t.Context(), c, policy.TokenRequestOptions{Claims: "{}"}); got != "4" || err != nil {
			t.Errorf("a challenge must bypass the cache: %q, %v", got, err)
		}
		time.Sleep(2 * time.Hour)
		failure = fault.New(fault.Unavailable, "down", "")
		if _, err := ask(t.Context(), c, policy.TokenRequestOptions{}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("an expired token must not be used: %v", err)
		}
		failure, life = nil, time.Minute
		expect("a short token", "6")
		time.Sleep(40 * time.Second)
		expect("a short token in four fifths of its life", "6")
	})
}

func TestACredentialServesOneTenantAndOneScope(t *testing.T) {
	c := newCredential(tenant, time.Now, func(context.Context, string, string) (api.Token, error) {
		t.Error("asked")
		return api.Token{}, nil
	})
	if _, err := ask(t.Context(), c, policy.TokenRequestOptions{TenantID: "33333333-0000-4000-8000-000000000003"}); !fault.Is(err, fault.Refused) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := ask(t.Context(), c, policy.TokenRequestOptions{Scopes: []string{"a", "b"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("two scopes: %v", err)
	}
}

func TestACertificateCredentialPassesClaims(t *testing.T) {
	l := always(grants("token"))
	key, der := pair()
	c := client(t, l).CertificateCredential(tenant, clientID, opaque{key}, der)
	for range 2 {
		if got, err := ask(t.Context(), c, policy.TokenRequestOptions{Claims: `{"access_token":{}}`, EnableCAE: true, TenantID: strings.ToUpper(tenant)}); got != "token" || err != nil {
			t.Fatal(got, err)
		}
	}
	if l.count() != 2 || l.asked[0].form.Get("claims") != `{"access_token":{}}` {
		t.Errorf("%d requests, claims %q", l.count(), l.asked[0].form.Get("claims"))
	}
}

// shelf is a Cache in memory.
type shelf struct {
	kept secret.Value
	err  error
}

func (s *shelf) Load(context.Context) (secret.Value, error) {
	if s.err == nil && s.kept.Empty() {
		return secret.Value{}, fault.New(fault.NotFound, "no entry", "")
	}
	return s.kept, s.err
}
func (s *shelf) Save(_ context.Context, v secret.Value) error { s.kept = v; return s.err }

func withRefresh(token, refresh string) reply {
	r := grants(token)
	r.body.(map[string]any)["refresh_token"] = refresh
	return r
}

const userToken = "h.eyJ0aWQiOiIxMTExMTExMS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJvaWQiOiIyMjIyMjIyMi0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDIiLCJ1cG4iOiJhbm5AY29udG9zby5jb20ifQ.s"

func TestDeviceCodeLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := &login{}
		l.answer = func(n int, a asked) reply {
			if strings.HasSuffix(a.url, "/devicecode") {
				return reply{status: 200, body: map[string]any{"device_code": "CANARY-device", "user_code": "ABC-DEF", "verification_uri": "https://login.leastkey.test/device", "expires_in": 900, "interval": 5, "message": "\x1b[2Jhello"}}
			}
			switch n {
			case 2, 5:
				return refuses(400, 70016, "authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending.")
			case 3:
				return reply{err: io.ErrUnexpectedEOF} // one bad connection must not cost a person the code
			case 4:
				return reply{status: 400, body: `{"error":"slow_down"}`}
			}
			return withRefresh(userToken, "CANARY-refresh")
		}
		var out strings.Builder
		kept := &shelf{}
		caller, err := Login(t.Context(), OperatorConfig{Authority: authority, Tenant: tenant, HTTP: l, Cache: kept, Prompt: &out}, scope)
		if err != nil {
			t.Fatal(err)
		}
		if caller.Name != "ann@contoso.com" || caller.Operator != DeviceCode || caller.TenantID != tenant {
			t.Errorf("caller %+v", caller)
		}
		if want := "To sign in, open https://login.leastkey.test/device and enter the code ABC-DEF\n"; out.String() != want {
			t.Errorf("shown: %q", out.String())
		}
		if !kept.kept.Equal(secret.New([]byte("CANARY-refresh"))) {
			t.Error("the refresh token was not kept")
		}
		if waited := time.Since(start); waited != (5+5+5+10+10)*time.Second {
			t.Errorf("waited %v: the interval, and five seconds more after slow_down", waited)
		}
		if f := l.asked[0].form; f.Get("client_id") != AzureCLI || f.Get("scope") != scope+" offline_access openid profile" {
			t.Errorf("asked for %v", f)
		}
		if f := l.asked[1].form; f.Get("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || f.Get("device_code") != "CANARY-device" {
			t.Errorf("polled with %v", f.Get("grant_type"))
		}
	})
}

func TestDeviceCodeEndsWhenNobodyEntersIt(t *testing.T) {
	for name, last := range map[string]reply{
		"in silence": refuses(400, 70016, "authorization_pending", "AADSTS70016: Authorization is pending."),
		"expired":    refuses(400, 70020, "expired_token", "AADSTS70020: The provided value for the input parameter 'device_code' is not valid."),
		"declined":   refuses(400, 70018, "authorization_declined", "AADSTS70018: declined."),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &login{answer: func(n int, _ asked) reply {
					if n == 1 {
						return reply{status: 200, body: map[string]any{"device_code": "d", "user_code": "u", "verification_uri": "https://x", "expires_in": 30, "interval": 5}}
					}
					return last
				}}
				_, err := Login(t.Context(), OperatorConfig{Authority: authority, Tenant: tenant, HTTP: l, Cache: &shelf{}, Prompt: io.Discard}, scope)
				if !fault.Is(err, fault.Unauthenticated) || fault.Hint(err) != "run: leastkey login" {
					t.Errorf("%v, hint %q", err, fault.Hint(err))
				}
			})
		})
	}
}

func TestAKeptSignIn(t *testing.T) {
	open := func(t *testing.T, l *login, cache Cache) *Credential {
		t.Helper()
		c, err := Operator(DeviceCode, OperatorConfig{Authority: authority, Tenant: tenant, HTTP: l, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Run("serves later commands and is replaced by each use", func(t *testing.T) {
		l := always(withRefresh(userToken, "second"))
		kept := &shelf{kept: secret.New([]byte("first"))}
		got, err := ask(t.Context(), open(t, l, kept), policy.TokenRequestOptions{})
		if err != nil || got != userToken {
			t.Fatal(err)
		}
		if f := l.asked[0].form; f.Get("refresh_token") != "first" || f.Get("grant_type") != "refresh_token" {
			t.Errorf("asked with %v", f.Get("grant_type"))
		}
		if !kept.kept.Equal(secret.New([]byte("second"))) {
			t.Error("the new refresh token was not kept")
		}
	})
	t.Run("that does not exist asks for one", func(t *testing.T) {
		_, err := ask(t.Context(), open(t, always(grants("x")), &shelf{}), policy.TokenRequestOptions{})
		if !fault.Is(err, fault.Unauthenticated) || fault.Hint(err) != "run: leastkey login" {
			t.Errorf("%v", err)
		}
	})
	t.Run("that is over asks for a new one", func(t *testing.T) {
		l := always(refuses(400, 700082, "invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity."))
		_, err := ask(t.Context(), open(t, l, &shelf{kept: secret.New([]byte("CANARY"))}), policy.TokenRequestOptions{})
		if !fault.Is(err, fault.Unauthenticated) || fault.Hint(err) != "run: leastkey login" || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v", err)
		}
	})
	t.Run("that cannot be read is not taken for absent", func(t *testing.T) {
		_, err := ask(t.Context(), open(t, always(grants("x")), &shelf{err: fault.New(fault.Unavailable, "keychain locked", "unlock it")}), policy.TokenRequestOptions{})
		if !fault.Is(err, fault.Unavailable) || fault.Hint(err) != "unlock it" {
			t.Errorf("%v", err)
		}
	})
}

func TestOperatorKinds(t *testing.T) {
	if _, err := Operator("chain", OperatorConfig{Authority: authority, Tenant: tenant}); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown kind: %v", err)
	}
	if _, err := Operator(AZ, OperatorConfig{Authority: authority, Tenant: "contoso.com"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("tenant by domain: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	for _, kind := range []string{AZ, AZD} {
		if _, err := Operator(kind, OperatorConfig{Authority: authority, Tenant: tenant}); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(fault.Hint(err), "--operator") {
			t.Errorf("%s is not installed: %v", kind, err)
		}
	}
	t.Setenv("AZURE_CLIENT_ID", "")
	os.Unsetenv("AZURE_CLIENT_ID") // Setenv above restores it
	if _, err := Operator(Workload, OperatorConfig{Authority: authority, Tenant: tenant}); !fault.Is(err, fault.Invalid) || fault.Hint(err) == "" {
		t.Errorf("workload without its environment: %v", err)
	}
}

// az puts a stand-in for the Azure CLI on the path.
func az(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestTheOperatorAZ(t *testing.T) {
	argv := filepath.Join(t.TempDir(), "argv")
	az(t, `echo "$@" >>`+argv+`
echo '{"accessToken":"CANARY","expires_on":4102444800}'`)
	c, err := Operator(AZ, OperatorConfig{Authority: authority, Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second from memory: az takes a second to start
		if got, err := ask(t.Context(), c, policy.TokenRequestOptions{Scopes: []string{"https://127.0.0.1:8443/.default"}}); got != "CANARY" || err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(argv)
	if want := "account get-access-token -o json --resource https://127.0.0.1:8443 --tenant " + tenant + "\n"; err != nil || string(b) != want {
		t.Errorf("az was called with %q (%v)", b, err)
	}
}

func TestTheOperatorAZIsNotSignedIn(t *testing.T) {
	az(t, `echo "ERROR: AADSTS70043: The refresh token has expired. Trace ID: x" >&2; exit 1`)
	c, err := Operator(AZ, OperatorConfig{Authority: authority, Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ask(t.Context(), c, policy.TokenRequestOptions{})
	if !fault.Is(err, fault.Unauthenticated) || fault.Service(err) != "AADSTS70043" || fault.Hint(err) != "run: az login --tenant "+tenant {
		t.Errorf("%v, service %q, hint %q", err, fault.Service(err), fault.Hint(err))
	}
	if want := "get operator token from az: AADSTS70043: The refresh token has expired"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestTheOperatorWorkload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	discovery := reply{status: 200, body: map[string]string{
		"issuer": authority + "/" + tenant + "/v2.0", "token_endpoint": authority + "/" + tenant + "/oauth2/v2.0/token", "authorization_endpoint": authority + "/" + tenant + "/oauth2/v2.0/authorize",
	}}
	for name, c := range map[string]struct {
		reply reply
		code  fault.Code
	}{
		"is let in":                            {grants("token"), ""},
		"is unknown, which is not a replica's": {refuses(400, 700016, "unauthorized_client", "AADSTS700016: Application with identifier 'x' was not found in the directory 'y'."), fault.Unauthenticated},
		"meets an outage":                      {reply{status: 503, body: "busy"}, fault.Unavailable},
		"loses the connection":                 {reply{err: io.ErrUnexpectedEOF}, fault.Unavailable},
		"gets nonsense with a token inside":    {reply{status: 200, body: `{"access_token":"` + canary + `",`}, fault.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			l := &login{answer: func(_ int, a asked) reply {
				if a.method == "GET" {
					return discovery
				}
				return c.reply
			}}
			cred, err := Operator(Workload, OperatorConfig{Authority: authority, Tenant: tenant, HTTP: l, Local: true, ClientID: clientID, TokenFile: file})
			if err != nil {
				t.Fatal(err)
			}
			_, err = ask(t.Context(), cred, policy.TokenRequestOptions{})
			if fault.CodeOf(err) != c.code {
				t.Errorf("%v (%s), want %s", err, fault.CodeOf(err), c.code)
			}
			if _, isFault := errors.AsType[*fault.Error](err); err != nil && (!isFault || strings.Contains(err.Error()+fault.Hint(err), "CANARY")) {
				t.Errorf("not a clean fault: %v", err)
			}
			for _, a := range l.asked {
				if !strings.HasPrefix(a.url, authority+"/"+tenant+"/") {
					t.Errorf("asked %s", a.url)
				}
			}
		})
	}
}
