package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// AzureCLI is the client id of the Azure CLI, a public client that every tenant knows. It is what azidentity signs developers in with.
const AzureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// Cache keeps the refresh token of one person in one tenant between commands. Only the refresh token is kept: access tokens are short-lived,
// and both together do not fit the Windows Credential Manager.
type Cache interface {
	// Load returns what Save kept. fault.NotFound: nobody signed in.
	Load(ctx context.Context) (secret.Value, error)
	Save(ctx context.Context, refreshToken secret.Value) error
}

// deviceLogin signs a person in by the device authorization grant (RFC 8628). The flow is spoken here and not through MSAL, whose
// errors quote whole answers, tokens included, and whose cache keeps every access token.
type deviceLogin struct {
	client   *Client
	tenant   string
	clientID string
	cache    Cache
	prompt   io.Writer // nil: never ask, only use what the cache has

	mu sync.Mutex // a refresh token may be replaced by each use, so uses are one after another
}

// Login signs a person in by device code, now and whatever the cache has, keeps the refresh token in cfg.Cache and tells who it was.
// cfg.Prompt is told where to go and which code to enter. The scope is of one resource; the sign-in serves the others too.
func Login(ctx context.Context, cfg OperatorConfig, scope string) (api.Caller, error) {
	if cfg.Prompt == nil || cfg.Cache == nil {
		return api.Caller{}, fault.New(fault.Invalid, "sign in by device code: nowhere to show the code or to keep the sign-in", "")
	}
	d, err := newDeviceLogin(cfg)
	if err != nil {
		return api.Caller{}, err
	}
	got, err := d.interactive(ctx, scope, "")
	if err != nil {
		return api.Caller{}, err
	}
	caller, err := Who(got.Value)
	caller.Operator = DeviceCode
	return caller, err
}

func newDeviceLogin(cfg OperatorConfig) (*deviceLogin, error) {
	client, err := New(Config{Authority: cfg.Authority, HTTP: cfg.HTTP, Now: cfg.Now, Local: cfg.Local})
	if err != nil {
		return nil, err
	}
	d := &deviceLogin{client: client, tenant: cfg.Tenant, clientID: cfg.ClientID, cache: cfg.Cache, prompt: cfg.Prompt}
	if d.clientID == "" {
		d.clientID = AzureCLI
	}
	return d, nil
}

// get is the source of the device-code operator: the kept sign-in, or a new one if there is somebody to ask.
func (d *deviceLogin) get(ctx context.Context, scope, claims string) (api.Token, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	got, err := d.silent(ctx, scope, claims)
	if fault.Is(err, fault.Unauthenticated) && d.prompt != nil {
		return d.interactive(ctx, scope, claims)
	}
	return got, err
}

// silent uses the kept refresh token (RFC 6749, section 6).
func (d *deviceLogin) silent(ctx context.Context, scope, claims string) (api.Token, error) {
	const op = "use the kept sign-in"
	signIn := fault.New(fault.Unauthenticated, op+": nobody is signed in", "run: leastkey login")
	if d.cache == nil {
		return api.Token{}, signIn
	}
	kept, err := d.cache.Load(ctx)
	switch {
	case fault.Is(err, fault.NotFound) || (err == nil && kept.Empty()):
		return api.Token{}, signIn
	case err != nil:
		return api.Token{}, &fault.Error{Code: fault.CodeOf(err), Op: op, Err: err}
	}
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {d.clientID}, "scope": {scopes(scope)}}
	_ = kept.Use(func(b []byte) error { form.Set("refresh_token", string(b)); return nil }) // the function returns nil
	got, err := d.redeem(ctx, op, form, claims)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.Unauthenticated {
		return api.Token{}, f.WithHint("run: leastkey login")
	}
	if err != nil {
		return api.Token{}, err
	}
	return got.token(scope), nil
}

// interactive shows a code and waits until somebody has entered it, it ends, or ctx does.
func (d *deviceLogin) interactive(ctx context.Context, scope, claims string) (api.Token, error) {
	const op = "sign in by device code"
	endpoint, err := d.client.endpoint(d.tenant, "devicecode")
	if err != nil {
		return api.Token{}, err
	}
	var code struct {
		Device   string `json:"device_code"`
		User     string `json:"user_code"`
		URI      string `json:"verification_uri"`
		URL      string `json:"verification_url"` // the older spelling
		Expires  int    `json:"expires_in"`
		Interval int    `json:"interval"`
	}
	begun := d.client.now()
	if err := d.client.post(ctx, op, endpoint, url.Values{"client_id": {d.clientID}, "scope": {scopes(scope)}}, &code); err != nil {
		return api.Token{}, err
	}
	if code.URI == "" {
		code.URI = code.URL
	}
	if code.Device == "" || code.User == "" || code.URI == "" {
		return api.Token{}, fault.New(fault.Unknown, op+": the answer holds no code", "check --cloud and the proxy")
	}
	// Our own sentence: the service's message would reach the terminal with whatever is in it.
	if _, err := fmt.Fprintf(d.prompt, "To sign in, open %s and enter the code %s\n", fault.Sentence(code.URI), fault.Sentence(code.User)); err != nil {
		return api.Token{}, &fault.Error{Code: fault.Unavailable, Op: op + ": show the code", Err: err}
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {d.clientID}, "device_code": {code.Device}}
	interval := time.Duration(max(code.Interval, 1)) * time.Second
	end := begun.Add(time.Duration(max(code.Expires, 1)) * time.Second)
	for d.client.now().Before(end) {
		if err := pause(ctx, interval); err != nil {
			return api.Token{}, err
		}
		got, err := d.redeem(ctx, op, form, claims)
		switch {
		case err == nil:
			return got.token(scope), nil
		case ctx.Err() != nil:
			return api.Token{}, ctx.Err()
		case oauthCodeOf(err) == "authorization_pending":
		case oauthCodeOf(err) == "slow_down":
			interval += 5 * time.Second // RFC 8628, section 3.5
		case fault.Is(err, fault.Unavailable, fault.Throttled):
			interval = max(interval, min(fault.RetryAfter(err), time.Minute))
		case oauthCodeOf(err) == "authorization_declined" || oauthCodeOf(err) == "access_denied":
			return api.Token{}, fault.New(fault.Unauthenticated, op+": declined", "run: leastkey login")
		case oauthCodeOf(err) == "expired_token" || oauthCodeOf(err) == "code_expired":
			return api.Token{}, fault.New(fault.Unauthenticated, op+": the code was not entered in time", "run: leastkey login")
		default:
			return api.Token{}, err
		}
	}
	return api.Token{}, fault.New(fault.Unauthenticated, op+": the code was not entered in time", "run: leastkey login")
}

// redeem exchanges a grant for tokens and keeps the new refresh token. A sign-in that cannot be kept is an error: the next command
// would find the old, used one.
func (d *deviceLogin) redeem(ctx context.Context, op string, form url.Values, claims string) (granted, error) {
	endpoint, err := d.client.endpoint(d.tenant, "token")
	if err != nil {
		return granted{}, err
	}
	if claims != "" {
		form.Set("claims", claims)
	}
	got, err := d.client.ask(ctx, op, endpoint, form)
	if err != nil {
		return granted{}, err
	}
	if d.cache != nil && !got.refresh.Empty() {
		if err := d.cache.Save(ctx, got.refresh); err != nil {
			return granted{}, &fault.Error{Code: codeOr(err, fault.Unavailable), Op: op + ": keep the sign-in", Err: err}
		}
	}
	return got, nil
}

// scopes adds what makes Entra answer with a refresh token.
func scopes(scope string) string {
	return strings.Join([]string{scope, "offline_access", "openid", "profile"}, " ")
}

func oauthCodeOf(err error) string {
	if e, ok := errors.AsType[*oauthError](err); ok {
		return e.code
	}
	return ""
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
