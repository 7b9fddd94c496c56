package token

import (
	"context"
	"crypto"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// early is how long before its end a token is replaced. One that lives shorter than 25 minutes is used for four fifths of its life.
const early = 5 * time.Minute

// source gets a new token for one scope. claims answers a challenge of a service (continuous access evaluation), "" without one.
type source func(ctx context.Context, scope, claims string) (api.Token, error)

// Credential is what the clients of Graph, ARM and Key Vault take ([azcore.TokenCredential]). It keeps one token per scope in memory,
// and of many that ask at once one goes and the others wait for it. It serves one tenant only.
type Credential struct {
	tenant string
	now    func() time.Time
	source source

	mu     sync.Mutex
	scopes map[string]*slot
}

// slot is the token of one scope. turn admits one at a time; unlike a mutex it can be left when the caller's context ends.
type slot struct {
	turn    chan struct{}
	value   secret.Value
	renew   time.Time
	expires time.Time
}

func newCredential(tenant string, now func() time.Time, s source) *Credential {
	return &Credential{tenant: tenant, now: now, source: s, scopes: map[string]*slot{}}
}

// CertificateCredential is [Client.Certificate] as a credential.
func (c *Client) CertificateCredential(tenant, clientID string, signer crypto.Signer, der []byte) *Credential {
	return newCredential(tenant, c.now, func(ctx context.Context, scope, claims string) (api.Token, error) {
		return c.certificate(ctx, tenant, clientID, signer, der, scope, claims)
	})
}

// LocalTestCredential is [Client.LocalTestLogin] as a credential.
func (c *Client) LocalTestCredential(tenant, clientID, username string, password secret.Value) *Credential {
	return newCredential(tenant, c.now, func(ctx context.Context, scope, _ string) (api.Token, error) {
		return c.LocalTestLogin(ctx, tenant, clientID, username, password, []string{scope})
	})
}

// GetToken implements [azcore.TokenCredential].
func (c *Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := c.token(ctx, o)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	var out azcore.AccessToken
	err = t.Value.Use(func(b []byte) error {
		out = azcore.AccessToken{Token: string(b), ExpiresOn: t.Expires}
		return nil
	})
	return out, err
}

// Token is GetToken for callers that keep a secret a secret.
func (c *Credential) Token(ctx context.Context, scope string) (api.Token, error) {
	return c.token(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
}

func (c *Credential) token(ctx context.Context, o policy.TokenRequestOptions) (api.Token, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] == "" {
		return api.Token{}, fault.New(fault.Invalid, "get token: exactly one scope is needed", "")
	}
	// A vault's challenge names a tenant. Following it would send us to a tenant of the vault owner's choice.
	if o.TenantID != "" && !strings.EqualFold(o.TenantID, c.tenant) {
		return api.Token{}, fault.New(fault.Refused, "get token: the service asks for a token of another tenant", "check tenant and subscription")
	}
	scope := o.Scopes[0]
	s := c.slot(scope)
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return api.Token{}, ctx.Err()
	}
	now := c.now()
	// Claims say that the token in hand was revoked.
	if o.Claims == "" && now.Before(s.renew) {
		return api.Token{Value: s.value, Expires: s.expires, Scope: scope}, nil
	}
	t, err := c.source(ctx, scope, o.Claims)
	if err != nil {
		// A token in hand that still lives bridges a short outage; a refusal is final.
		if o.Claims == "" && fault.Is(err, fault.Unavailable, fault.Throttled) && now.Before(s.expires) {
			return api.Token{Value: s.value, Expires: s.expires, Scope: scope}, nil
		}
		return api.Token{}, err
	}
	life := t.Expires.Sub(now)
	s.value, s.expires, s.renew = t.Value, t.Expires, t.Expires.Add(-min(early, life/5))
	return t, nil
}

func (c *Credential) slot(scope string) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.scopes[scope]
	if !ok {
		s = &slot{turn: make(chan struct{}, 1)}
		c.scopes[scope] = s
	}
	return s
}
