// Package vault is the slice of Key Vault's data plane that a preflight needs: the names of the secrets, never a value. It rests on the
// official SDK module.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Config says which vault is asked, and as whom.
type Config struct {
	URL        string                 // of the vault, https, as Azure Resource Manager tells it
	Resource   string                 // audience of its tokens, without /.default, such as https://vault.azure.net
	Tenant     string                 // GUID; the tenant of the credential
	Credential azcore.TokenCredential // required
	HTTP       http.RoundTripper      // nil means http.DefaultTransport
	Now        func() time.Time       // nil means time.Now
	Timeout    time.Duration          // of one request; 0 means a minute
	// Local lifts the rule that the host of a vault lies below the host of its audience: that of a local cloud is a port of this machine.
	Local bool
}

// Client asks one vault. It may be used by many goroutines.
type Client struct {
	name    string
	secrets *azsecrets.Client
	now     func() time.Time
}

// New checks the configuration and makes a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fault.New(fault.Invalid, "vault: not an https address", "")
	}
	audience, err := url.Parse(cfg.Resource)
	if err != nil || audience.Scheme != "https" || audience.Host == "" {
		return nil, fault.New(fault.Invalid, "vault: no audience", "")
	}
	if cfg.Credential == nil {
		return nil, fault.New(fault.Invalid, "vault: no credential", "")
	}
	// Whoever can make us ask another host would get the identity's token. A vault's host lies below the host of its audience in every
	// cloud (Microsoft, "Azure Key Vault security": https://aka.ms/azsdk/blog/vault-uri).
	if !cfg.Local && !strings.HasSuffix(strings.ToLower(u.Hostname()), "."+strings.ToLower(audience.Host)) {
		return nil, fault.New(fault.Refused, "vault: host "+u.Host+" is not below "+audience.Host, "check --cloud")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	client, err := azsecrets.NewClient("https://"+u.Host, only{cfg.Credential, cfg.Resource + "/.default"}, &azsecrets.ClientOptions{
		DisableChallengeResourceVerification: cfg.Local,
		ClientOptions: policy.ClientOptions{
			Retry:            policy.RetryOptions{MaxRetries: -1}, // waiting is the caller's
			PerRetryPolicies: []policy.Policy{known{host: u.Host, resource: cfg.Resource, tenant: cfg.Tenant}},
			Transport: &http.Client{
				Transport: cfg.HTTP, Timeout: cfg.Timeout,
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		},
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "vault: the SDK does not take the address", "")
	}
	name, _, _ := strings.Cut(u.Hostname(), ".")
	return &Client{name: name, secrets: client, now: cfg.Now}, nil
}

// only is a credential for one scope: a challenge that asks for another audience gets nothing.
type only struct {
	azcore.TokenCredential
	scope string
}

// GetToken implements [azcore.TokenCredential].
func (o only) GetToken(ctx context.Context, r policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !slices.Equal(r.Scopes, []string{o.scope}) {
		return azcore.AccessToken{}, fault.New(fault.Refused, "vault: a token for another audience was asked for", "check --cloud and the proxy")
	}
	return o.TokenCredential.GetToken(ctx, r)
}

// known answers the SDK's first request, which it sends without a token to be told which one the vault wants: we know that, so neither a
// round trip is lost nor the vault believed. A 401 that the vault itself answers is final. It also refuses requests to any other host, so
// that a link to the next page cannot carry the token away, and marks a request that got no answer.
type known struct{ host, resource, tenant string }

// Do implements [policy.Policy].
func (k known) Do(r *policy.Request) (*http.Response, error) {
	raw := r.Raw()
	if !strings.EqualFold(raw.URL.Host, k.host) {
		return nil, fault.New(fault.Refused, "vault: the answer leads to another host", "check --cloud and the proxy")
	}
	if raw.Header.Get("Authorization") == "" {
		return &http.Response{
			Status: "401 Unauthorized", StatusCode: http.StatusUnauthorized, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: raw, Body: http.NoBody,
			Header: http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer authorization="https://login.invalid/%s", resource="%s"`, k.tenant, k.resource)}},
		}, nil
	}
	resp, err := r.Next()
	if err != nil {
		return nil, &noAnswer{err}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		resp.Header.Del("WWW-Authenticate")
	}
	return resp, nil
}

type noAnswer struct{ err error }

func (e *noAnswer) Error() string { return e.err.Error() }
func (e *noAnswer) Unwrap() error { return e.err }

// Names lists the names of the secrets, sorted. It reads no value, and neither does the list: Key Vault shows ids and attributes in it
// (Microsoft, "Get Secrets"). fault.Forbidden says which right is missing; fault.NotFound, that the service has no such vault.
func (c *Client) Names(ctx context.Context) ([]string, error) {
	op := "list the secrets of vault " + c.name
	names := []string{}
	for pages := c.secrets.NewListSecretPropertiesPager(nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, c.failed(ctx, op, err)
		}
		for _, s := range page.Value {
			if s == nil || s.ID == nil {
				return nil, fault.New(fault.Unknown, op+": the answer is not Key Vault's", "check --cloud and the proxy")
			}
			names = append(names, s.ID.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

var vaultCode = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,127}$`)

// failed is the fault behind an error of the SDK.
func (c *Client) failed(ctx context.Context, op string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if answered, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return c.refusal(op, answered)
	}
	// A fault in the chain is the credential's, or ours. What the login service did not find must not read as "there is no vault".
	if f, ok := errors.AsType[*fault.Error](err); ok {
		code := f.Code
		switch code {
		case fault.NotFound, fault.Conflict, fault.Invalid:
			code = fault.Unauthenticated
		}
		return &fault.Error{Code: code, Op: op, Err: f}
	}
	if lost, ok := errors.AsType[*noAnswer](err); ok {
		return fault.Lost(op, lost.err)
	}
	// What is left did not read; its text could quote the answer.
	return fault.New(fault.Unknown, op+": the answer is not Key Vault's", "check --cloud and the proxy")
}

// refusal is the fault behind an error answer of Key Vault (Microsoft, "Azure Key Vault REST API error codes").
func (c *Client) refusal(op string, e *azcore.ResponseError) *fault.Error {
	header := http.Header{}
	var answer struct {
		Error struct {
			Code       string `json:"code"`
			Message    string `json:"message"`
			InnerError struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if e.RawResponse != nil {
		header = e.RawResponse.Header
		if body, err := io.ReadAll(e.RawResponse.Body); err == nil { // in memory: the SDK has read it
			_ = json.Unmarshal(body, &answer) // what does not read stays empty, and the status speaks
		}
		_ = e.RawResponse.Body.Close()
	}
	f := &fault.Error{Code: fault.OfStatus(e.StatusCode), Op: op, Status: e.StatusCode, RetryAfter: fault.Wait(header, c.now())}
	if s := fault.Sentence(answer.Error.Message); s != "" {
		f.Err = errors.New(s)
	}
	if !vaultCode.MatchString(answer.Error.Code) {
		if f.Code != fault.Throttled && f.Code != fault.Unavailable {
			f.Code, f.Hint = fault.Unknown, "the answer is not Key Vault's: check --cloud and the proxy"
		}
		return f
	}
	f.Service = answer.Error.Code
	if inner := answer.Error.InnerError.Code; vaultCode.MatchString(inner) {
		f.Service = inner
	}
	switch f.Service {
	case "ForbiddenByRbac":
		f.Hint = "the identity needs Key Vault Secrets Officer or Secrets User on the vault; a new assignment takes minutes to reach it"
	case "ForbiddenByPolicy":
		f.Hint = "the vault uses access policies, in which role assignments do nothing: its owner can switch it with az keyvault update --enable-rbac-authorization true"
	case "ForbiddenByConnection", "ForbiddenByFirewall":
		f.Hint = "the vault's firewall does not let this machine in: ask from a network that it allows, or add this one"
	}
	return f
}
