// Package entra is the slice of Microsoft Graph v1.0 that an agent's identity needs: applications, service principals and the recycle
// bin.
//
// There is deliberately no way here to add a password credential to anything; there is one to remove it. Nothing retries or waits:
// each method says by its [fault.Code] what Graph answered, and what a replica may not know yet is NotFound, also where Graph has
// other words for it. Types of the wire stay inside.
package entra

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Config says where Graph is and who asks.
type Config struct {
	Endpoint   string                 // base URL, https, such as https://graph.microsoft.com
	Scope      string                 // of its tokens; "" is Endpoint/.default
	Credential azcore.TokenCredential // required
	HTTP       http.RoundTripper      // nil means http.DefaultTransport
	Now        func() time.Time       // nil means time.Now
	Timeout    time.Duration          // of one request; 0 means a minute
}

// Client asks Graph. It may be used by many goroutines.
type Client struct {
	base     string
	pipeline runtime.Pipeline
	now      func() time.Time
}

// New checks the configuration and makes a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "graph: not an https address", "")
	}
	if cfg.Credential == nil { // azcore would send requests without a token
		return nil, fault.New(fault.Invalid, "graph: no credential", "")
	}
	endpoint := strings.TrimRight(cfg.Endpoint, "/")
	if cfg.Scope == "" {
		cfg.Scope = endpoint + "/.default"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	return &Client{
		base: endpoint + "/v1.0",
		now:  cfg.Now,
		pipeline: runtime.NewPipeline("leastkey", "", runtime.PipelineOptions{
			PerCall:  []policy.Policy{pinned{u.Host}},
			PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(cfg.Credential, []string{cfg.Scope}, nil)},
		}, &policy.ClientOptions{
			Retry: policy.RetryOptions{MaxRetries: -1}, // waiting is the job runner's
			Transport: &http.Client{
				Transport:     cfg.HTTP,
				Timeout:       cfg.Timeout,
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		}),
	}, nil
}

// pinned refuses requests to any other host, so that a link to the next page cannot carry the operator's token away.
type pinned struct{ host string }

// Do implements [policy.Policy].
func (p pinned) Do(r *policy.Request) (*http.Response, error) {
	if !strings.EqualFold(r.Raw().URL.Host, p.host) {
		return nil, fault.New(fault.Refused, "graph: the answer leads to another host", "check --cloud and the proxy")
	}
	return r.Next()
}

// call is one request.
type call struct {
	op     string // what a person reads
	need   right  // what a caller who is refused lacks
	method string
	path   string // below /v1.0, escaped
	url    string // instead of path: the next page
	query  url.Values
	prefer string
	body   any // sent as JSON; nil sends none
	out    any // the JSON answer of status 200 or 201; nil drops it
}

// do sends the request and returns the status of a success.
func (c *Client) do(ctx context.Context, k call) (int, error) {
	at := k.url
	if at == "" {
		at = c.base + k.path
		if len(k.query) > 0 {
			at += "?" + k.query.Encode()
		}
	}
	r, err := runtime.NewRequest(ctx, k.method, at)
	if err != nil {
		return 0, &fault.Error{Code: fault.Invalid, Op: k.op, Err: err}
	}
	r.Raw().Header.Set("Accept", "application/json")
	if k.prefer != "" {
		r.Raw().Header.Set("Prefer", k.prefer)
	}
	if k.body != nil {
		if err := runtime.MarshalAsJSON(r, k.body); err != nil {
			return 0, &fault.Error{Code: fault.Invalid, Op: k.op, Err: err}
		}
	}
	resp, err := c.pipeline.Do(r)
	if err != nil {
		return 0, failed(ctx, k.op, err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // the body is in memory
	if err != nil {
		return 0, failed(ctx, k.op, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return 0, refusal(k, resp.StatusCode, resp.Header, body, c.now())
	}
	if k.out != nil && resp.StatusCode != http.StatusNoContent {
		if err := json.Unmarshal(body, k.out); err != nil {
			return 0, fault.New(fault.Unknown, k.op+": the answer is not Graph's", "check --cloud and the proxy")
		}
	}
	return resp.StatusCode, nil
}

// failed is the fault behind a request that got no answer of Graph.
func failed(ctx context.Context, op string, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	// A fault in the chain is the credential's, or ours. What the login service did not find must not read as "Graph has no such
	// object".
	if f, ok := errors.AsType[*fault.Error](err); ok {
		code := f.Code
		switch code {
		case fault.NotFound, fault.Conflict, fault.Invalid:
			code = fault.Unauthenticated
		}
		return &fault.Error{Code: code, Op: op, Err: f}
	}
	return fault.Lost(op, err)
}

// pages reads a collection to its end, whatever its length.
func pages[T any](ctx context.Context, c *Client, k call, each func(T) error) error {
	for {
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		k.out = &page
		if _, err := c.do(ctx, k); err != nil {
			return err
		}
		for _, v := range page.Value {
			if err := each(v); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if page.Next == k.url {
			return fault.New(fault.Unknown, k.op+": the list leads back to itself", "")
		}
		k.url = page.Next
	}
}

// object is the path of an object by its id.
func object(collection, id string) (string, error) {
	if !agent.IsGUID(id) {
		return "", fault.New(fault.Invalid, "graph: the object id is not a GUID", "")
	}
	return "/" + collection + "/" + id, nil
}

// keyed is the path of an object by an alternate key (OData 4.01, URL conventions, 4.3.2).
func keyed(collection, key, value string) string {
	return "/" + collection + "(" + key + "='" + url.PathEscape(strings.ReplaceAll(value, "'", "''")) + "')"
}
