// Package token gets access tokens: with a certificate whose key is only ever a crypto.Signer, or as the operator.
//
// A certificate login is one request, straight to the token endpoint. An operator is exactly one kind of credential, never a chain.
// Nothing here retries or waits for replication: errors say what they are ([fault.Code]) and the caller decides. No error, log or
// formatted value holds a token, an assertion or a password.
package token

import (
	"context"
	"crypto"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Config says where the login service is.
type Config struct {
	Authority string            // base URL, https, such as https://login.microsoftonline.com
	HTTP      http.RoundTripper // nil means http.DefaultTransport
	Now       func() time.Time  // nil means time.Now
	Timeout   time.Duration     // of one request; 0 means a minute
	Local     bool              // the local cloud: the only one where [Client.LocalTestLogin] works
}

// Client asks the login service. It may be used by many goroutines.
type Client struct {
	authority string
	http      *http.Client
	now       func() time.Time
	local     bool
}

// New checks the configuration and makes a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Authority)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "login service: not an https address", "")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{
		authority: strings.TrimRight(cfg.Authority, "/"),
		http:      httpClient(cfg.HTTP, cfg.Timeout),
		now:       cfg.Now,
		local:     cfg.Local,
	}, nil
}

// httpClient never follows a redirect: it would carry an assertion or a refresh token to another host.
func httpClient(rt http.RoundTripper, timeout time.Duration) *http.Client {
	if timeout == 0 {
		timeout = time.Minute
	}
	return &http.Client{
		Transport:     rt,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Certificate gets an app-only token with the key behind signer and its registered certificate: one request. The scope is that of one
// resource, such as https://graph.microsoft.com/.default.
//
// fault.NotFound: a replica does not know the application, its service principal or its certificate (yet). fault.Invalid: this
// machine's clock is off, or the pair of key and certificate is. fault.Forbidden: disabled, or blocked by Conditional Access.
func (c *Client) Certificate(ctx context.Context, tenant, clientID string, signer crypto.Signer, der []byte, scope string) (api.Token, error) {
	return c.certificate(ctx, tenant, clientID, signer, der, scope, "")
}

func (c *Client) certificate(ctx context.Context, tenant, clientID string, signer crypto.Signer, der []byte, scope, claims string) (api.Token, error) {
	op := "get token for application " + clientID
	if !agent.IsGUID(clientID) {
		return api.Token{}, fault.New(fault.Invalid, "get token: the client id is not a GUID", "")
	}
	endpoint, err := c.endpoint(tenant, "token")
	if err != nil {
		return api.Token{}, err
	}
	assertion, err := Sign(signer, der, clientID, endpoint, c.now())
	if err != nil {
		return api.Token{}, &fault.Error{Code: codeOr(err, fault.Unknown), Op: op, Err: err}
	}
	form := url.Values{
		"grant_type":            {"client_credentials"},
		"client_id":             {clientID},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
		"scope":                 {scope},
	}
	if claims != "" {
		form.Set("claims", claims)
	}
	got, err := c.ask(ctx, op, endpoint, form)
	if err != nil {
		return api.Token{}, err
	}
	return got.token(scope), nil
}

// LocalTestLogin gets a token for a test operator of the local cloud by its password (resource owner password grant). It is refused on
// every other cloud: there a person signs in by az, azd or a device code, and leastkey never sees a password.
func (c *Client) LocalTestLogin(ctx context.Context, tenant, clientID, username string, password secret.Value, scopes []string) (api.Token, error) {
	op := "sign in as test operator " + username
	if !c.local {
		return api.Token{}, fault.New(fault.Refused, op+": only the local cloud has test operators", "use --operator az or leastkey login")
	}
	endpoint, err := c.endpoint(tenant, "token")
	if err != nil {
		return api.Token{}, err
	}
	form := url.Values{
		"grant_type": {"password"},
		"client_id":  {clientID},
		"username":   {username},
		"scope":      {strings.Join(scopes, " ")},
	}
	_ = password.Use(func(b []byte) error { form.Set("password", string(b)); return nil }) // the function returns nil
	got, err := c.ask(ctx, op, endpoint, form)
	if err != nil {
		return api.Token{}, err
	}
	return got.token(strings.Join(scopes, " ")), nil
}

// TenantID is the GUID of a tenant named by one of its domains: what the issuer of its OpenID Connect discovery document names. A GUID is
// returned as it is, in lower case, without a request.
func (c *Client) TenantID(ctx context.Context, tenantOrDomain string) (string, error) {
	if agent.IsGUID(tenantOrDomain) {
		return strings.ToLower(tenantOrDomain), nil
	}
	op := "find tenant " + fault.Sentence(tenantOrDomain)
	if !validTenant(tenantOrDomain) {
		return "", fault.New(fault.Invalid, "find tenant: neither a GUID nor a domain name", "")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.authority+"/"+tenantOrDomain+"/v2.0/.well-known/openid-configuration", nil)
	if err != nil {
		return "", &fault.Error{Code: fault.Invalid, Op: op, Err: err}
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	if err := c.do(op, r, &document); err != nil {
		return "", err
	}
	issuer, err := url.Parse(document.Issuer)
	if err != nil {
		return "", fault.New(fault.Unknown, op+": the discovery document has no issuer", "check --cloud and the proxy")
	}
	for part := range strings.SplitSeq(issuer.Path, "/") {
		if agent.IsGUID(part) {
			return strings.ToLower(part), nil
		}
	}
	return "", fault.New(fault.Unknown, op+": the discovery document names no tenant", "name the tenant by its GUID or by a domain of its own")
}

// endpoint is an OAuth endpoint of a tenant.
func (c *Client) endpoint(tenant, name string) (string, error) {
	if !validTenant(tenant) {
		return "", fault.New(fault.Invalid, "get token: the tenant is neither a GUID nor a domain name", "")
	}
	return c.authority + "/" + tenant + "/oauth2/v2.0/" + name, nil
}

// validTenant keeps what would change the path out of it.
func validTenant(s string) bool {
	return s != "" && !strings.HasPrefix(s, ".") && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-'
	})
}

// granted is a token answer (RFC 6749, section 5.1).
type granted struct {
	access  secret.Value
	refresh secret.Value
	expires time.Time
}

func (g granted) token(scope string) api.Token {
	return api.Token{Value: g.access, Expires: g.expires, Scope: scope}
}

// ask posts a form to a token endpoint.
func (c *Client) ask(ctx context.Context, op, endpoint string, form url.Values) (granted, error) {
	sent := c.now()
	var answer struct {
		Type    string      `json:"token_type"`
		Expires json.Number `json:"expires_in"` // v1.0 endpoints send it as text; json.Number takes both
		Access  string      `json:"access_token"`
		Refresh string      `json:"refresh_token"`
	}
	if err := c.post(ctx, op, endpoint, form, &answer); err != nil {
		return granted{}, err
	}
	seconds, err := answer.Expires.Int64()
	if err != nil || seconds <= 0 || seconds > 1<<31 || answer.Access == "" || !strings.EqualFold(answer.Type, "Bearer") {
		return granted{}, fault.New(fault.Unknown, op+": the answer holds no bearer token", "check --cloud and the proxy")
	}
	return granted{
		access:  secret.New([]byte(answer.Access)),
		refresh: secret.New([]byte(answer.Refresh)),
		expires: sent.Add(time.Duration(seconds) * time.Second), // by our clock: the one it is compared with
	}, nil
}

// post sends a form and reads the JSON answer into out.
func (c *Client) post(ctx context.Context, op, endpoint string, form url.Values, out any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return &fault.Error{Code: fault.Invalid, Op: op, Err: err}
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.do(op, r, out)
}

// largestAnswer is far above any token answer or discovery document.
const largestAnswer = 1 << 20

func (c *Client) do(op string, r *http.Request, out any) error {
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "leastkey")
	resp, err := c.http.Do(r)
	if err != nil {
		return lost(r.Context(), op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
	if err != nil {
		return lost(r.Context(), op, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(op, resp.StatusCode, resp.Header, body, c.now())
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fault.New(fault.Unknown, op+": the answer is not JSON", "check --cloud and the proxy") // err could quote a token
	}
	return nil
}

// lost passes the end of the caller's own context through unchanged: nothing is wrong with the service then.
func lost(ctx context.Context, op string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return fault.Lost(op, err)
}
