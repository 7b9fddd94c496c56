// Package arm is the slice of Azure Resource Manager that an agent's identity needs: does a group or resource exist, who holds which
// role, and assigning one. It rests on the official SDK modules.
//
// Nothing retries, waits or registers a resource provider by itself. Absence is only what ARM itself answered about the thing that was
// asked for; every other failure is a [fault.Error]. Types of the SDK stay inside.
package arm

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// Config says where ARM is and who asks.
type Config struct {
	Endpoint   string                 // base URL, https, such as https://management.azure.com
	Audience   string                 // of its tokens, without /.default; "" is Endpoint
	Credential azcore.TokenCredential // required
	HTTP       http.RoundTripper      // nil means http.DefaultTransport
	Now        func() time.Time       // nil means time.Now
	Timeout    time.Duration          // of one request; 0 means a minute
}

// Client asks ARM. It may be used by many goroutines.
type Client struct {
	credential azcore.TokenCredential
	options    *azarm.ClientOptions
	now        func() time.Time
}

// New checks the configuration and makes a client; it sends nothing.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "arm: not an https address", "")
	}
	if cfg.Credential == nil { // azcore would send requests without a token
		return nil, fault.New(fault.Invalid, "arm: no credential", "")
	}
	endpoint := strings.TrimRight(cfg.Endpoint, "/")
	if cfg.Audience == "" {
		cfg.Audience = endpoint
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	options := &azarm.ClientOptions{
		// Registering a provider is a change of the subscription that nobody planned.
		DisableRPRegistration: true,
		ClientOptions: policy.ClientOptions{
			Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: endpoint, Audience: cfg.Audience},
			}},
			Retry:           policy.RetryOptions{MaxRetries: -1}, // waiting is the job runner's
			PerCallPolicies: []policy.Policy{pinned{u.Host}},
			Transport: &http.Client{
				Transport:     cfg.HTTP,
				Timeout:       cfg.Timeout,
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		},
	}
	return &Client{credential: cfg.Credential, options: options, now: cfg.Now}, nil
}

// pinned refuses requests to any other host, so that a link to the next page cannot carry the operator's token away. It also marks a
// request that got no answer, which the SDK's errors do not tell from an answer that did not read.
type pinned struct{ host string }

// Do implements [policy.Policy].
func (p pinned) Do(r *policy.Request) (*http.Response, error) {
	if !strings.EqualFold(r.Raw().URL.Host, p.host) {
		return nil, fault.New(fault.Refused, "arm: the answer leads to another host", "check --cloud and the proxy")
	}
	resp, err := r.Next()
	if err != nil {
		return nil, &noAnswer{err}
	}
	return resp, nil
}

type noAnswer struct{ err error }

func (e *noAnswer) Error() string { return e.err.Error() }
func (e *noAnswer) Unwrap() error { return e.err }

// Subscription tells a subscription's tenant and display name.
func (c *Client) Subscription(ctx context.Context, id string) (tenantID, name string, err error) {
	op := "read subscription " + id
	if !agent.IsGUID(id) {
		return "", "", fault.New(fault.Invalid, "read subscription: not a GUID", "")
	}
	client, err := armsubscriptions.NewClient(c.credential, c.options)
	if err != nil {
		return "", "", c.failed(ctx, op, "/subscriptions/"+id, err)
	}
	got, err := client.Get(ctx, id, nil)
	if err != nil {
		return "", "", c.failed(ctx, op, "/subscriptions/"+id, err)
	}
	if !agent.IsGUID(text(got.TenantID)) {
		return "", "", fault.New(fault.Unknown, op+": the answer names no tenant", "check --cloud and the proxy")
	}
	return strings.ToLower(*got.TenantID), text(got.DisplayName), nil
}

// GroupExists tells whether a resource group exists. It asks by GET, because the refusal of a HEAD does not say which right is missing.
func (c *Client) GroupExists(ctx context.Context, subscription, group string) (bool, error) {
	scope := role.GroupScope(subscription, group)
	op := "look for resource group " + group
	if s, err := role.ParseScope(scope); err != nil || s.Level != role.ResourceGroup || !agent.IsGUID(subscription) {
		return false, fault.New(fault.Invalid, op+": not a resource group", "")
	}
	client, err := armresources.NewResourceGroupsClient(subscription, c.credential, c.options)
	if err != nil {
		return false, c.failed(ctx, op, scope, err)
	}
	if _, err := client.Get(ctx, group, nil); err != nil {
		return absent(c.failed(ctx, op, scope, err))
	}
	return true, nil
}

// Vault reads a key vault by its ARM id; nil means that ARM answered that there is none.
func (c *Client) Vault(ctx context.Context, id string) (*agent.Vault, error) {
	op := "read vault " + role.Short(id)
	s, err := role.ParseScope(id)
	if err != nil || s.Level != role.Resource || s.Group == "" || !strings.EqualFold(s.Provider+"/"+s.Type, "Microsoft.KeyVault/vaults") {
		return nil, fault.New(fault.Invalid, op+": not the id of a vault", "")
	}
	client, err := armkeyvault.NewVaultsClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, id, err)
	}
	got, err := client.Get(ctx, s.Group, s.Name, nil)
	if err != nil {
		_, err = absent(c.failed(ctx, op, id, err))
		return nil, err
	}
	if got.Properties == nil || text(got.ID) == "" {
		return nil, fault.New(fault.Unknown, op+": the answer is not a vault", "check --cloud and the proxy")
	}
	return &agent.Vault{
		ID:   *got.ID,
		RBAC: got.Properties.EnableRbacAuthorization != nil && *got.Properties.EnableRbacAuthorization, // absent is access policies
		URI:  text(got.Properties.VaultURI),
	}, nil
}

// Exists tells whether a resource of a type that agents use exists.
func (c *Client) Exists(ctx context.Context, resourceID string) (bool, error) {
	op := "look for " + role.Short(resourceID)
	s, err := role.ParseScope(resourceID)
	if err != nil || s.Level != role.Resource {
		return false, fault.New(fault.Invalid, op+": not the id of a resource", "")
	}
	version, ok := apiVersion(s.Provider + "/" + s.Type)
	if !ok {
		return false, fault.New(fault.Unsupported, op+": no api-version is known for "+s.Provider+"/"+s.Type, "")
	}
	client, err := armresources.NewClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return false, c.failed(ctx, op, resourceID, err)
	}
	// The SDK puts its own slash before the id.
	if _, err := client.GetByID(ctx, strings.TrimPrefix(s.String(), "/"), version, nil); err != nil {
		return absent(c.failed(ctx, op, resourceID, err))
	}
	return true, nil
}

// apiVersion is one that each type of resource understands; ARM has no default.
func apiVersion(kind string) (string, bool) {
	switch strings.ToLower(kind) {
	case "microsoft.app/sessionpools":
		return "2024-10-02-preview", true
	case "microsoft.app/containerapps", "microsoft.app/managedenvironments":
		return "2024-03-01", true
	case "microsoft.botservice/botservices":
		return "2022-09-15", true
	case "microsoft.cognitiveservices/accounts":
		return "2023-05-01", true
	case "microsoft.containerregistry/registries":
		return "2023-07-01", true
	case "microsoft.keyvault/vaults":
		return "2024-11-01", true
	case "microsoft.managedidentity/userassignedidentities":
		return "2023-01-31", true
	}
	return "", false
}

func text[S ~string](p *S) string {
	if p == nil {
		return ""
	}
	return string(*p)
}
